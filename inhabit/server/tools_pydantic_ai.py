"""The two tools as pydantic-ai `Tool`s. Loaded only when asked for: pydantic-ai is not a dependency of Inhabit."""

from __future__ import annotations

from typing import Any

from pydantic_ai import ModelRetry, Tool

from inhabit.server.tools import ModelTools

__all__ = ["pydantic_ai_tools"]


def pydantic_ai_tools(tools: ModelTools) -> list[Tool[Any]]:
    """For `Agent(tools=...)`. A call that a model can put right (`invalid_input`, `program_invalid`) is a retry."""
    return [_tool(tools, definition) for definition in tools.definitions]


def _tool(tools: ModelTools, definition: dict[str, Any]) -> Tool[Any]:
    name: str = definition["name"]

    async def call(**arguments: Any) -> Any:
        answer = await tools.call(name, arguments)
        if answer.is_error and answer.value is not None and "run" not in answer.value:
            raise ModelRetry(answer.text)
        return answer.text if answer.value is None else answer.value

    return Tool[Any].from_schema(call, name, definition["description"], definition["input_schema"])
