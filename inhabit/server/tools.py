"""`search` and `execute` for a model loop that exists already: definitions in its provider's form, and `call`.

    tools = app.tools("anthropic", principal="ada")
    ... client.messages.create(tools=tools.definitions, ...)
    answer = await tools.call(block.name, block.input)      # answer.text is the tool's result
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, cast, get_args

import orjson

from inhabit.errors import ConfigError, InvalidInput, Unavailable
from inhabit.runtime.service import Caller, Runtime
from inhabit.server.toolset import ToolAnswer, ToolDefinition, ToolOptions, Toolset

__all__ = ["ModelTools", "ToolKind", "model_tools"]

ToolKind = Literal["openai", "openai-responses", "anthropic", "pydantic-ai"]
"""`openai` is the Chat Completions form, `openai-responses` the flat one of the Responses API."""

Start = Callable[[], Awaitable[Runtime]]


class ModelTools:
    """`definitions` is what a provider's API takes as `tools`. The caller is fixed: a model cannot name another."""

    def __init__(self, kind: ToolKind, start: Start, caller: Caller, options: ToolOptions | None = None) -> None:
        self.definitions: list[dict[str, Any]] = [_definition(kind, tool) for tool in Toolset.definitions]
        self._start = start
        self._caller = caller
        self._options = options

    async def call(self, name: str, arguments: Mapping[str, Any] | str) -> ToolAnswer:
        """Carry out a tool call. `arguments` may be JSON text, as some providers give it. Never raises for what a
        model got wrong: the answer says it, with `is_error`.
        """
        toolset = Toolset(await self._start(), self._options)
        try:
            given = _object(arguments) if isinstance(arguments, str) else arguments
        except InvalidInput as error:
            value = {"error": error.as_value()}
            return ToolAnswer(orjson.dumps(value).decode(), value, is_error=True)
        return await toolset.call(name, given, self._caller)


def model_tools(kind: str, start: Start, caller: Caller, options: ToolOptions | None = None) -> Any:
    """`ModelTools`, or for "pydantic-ai" a list of its `Tool`s. Raises `ConfigError` for another kind, `Unavailable`
    when pydantic-ai is not installed.
    """
    if kind not in get_args(ToolKind):
        raise ConfigError(f"there are no tools of kind {kind!r}", fix=f"one of {', '.join(get_args(ToolKind))}")
    tools = ModelTools(cast(ToolKind, kind), start, caller, options)
    if kind != "pydantic-ai":
        return tools
    try:
        module = importlib.import_module("inhabit.server.tools_pydantic_ai")
    except ModuleNotFoundError as error:
        raise Unavailable("pydantic-ai is not installed", fix="pip install pydantic-ai-slim") from error
    return module.pydantic_ai_tools(tools)


def _definition(kind: ToolKind, tool: ToolDefinition) -> dict[str, Any]:
    body = {"name": tool.name, "description": tool.description}
    schema = dict(tool.input_schema)
    match kind:
        case "openai":
            return {"type": "function", "function": {**body, "parameters": schema}}
        case "openai-responses":
            return {"type": "function", **body, "parameters": schema, "strict": False}
        case "anthropic" | "pydantic-ai":
            return {**body, "input_schema": schema}


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(text or "{}")
    except ValueError as error:
        raise InvalidInput(f"the arguments are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("the arguments must be a JSON object")
    return cast(dict[str, Any], value)
