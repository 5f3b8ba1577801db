"""A scripted stand-in for a model: it calls tools as written down, and keeps what it was answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inhabit.server.tools import ModelTools
from inhabit.server.toolset import ToolAnswer

__all__ = ["Exchange", "ScriptedModel"]

Step = tuple[str, Mapping[str, Any]] | Callable[[Sequence["Exchange"]], tuple[str, Mapping[str, Any]]]
"""A tool call, or a function from what happened so far to one."""


@dataclass(frozen=True, slots=True)
class Exchange:
    tool: str
    arguments: Mapping[str, Any]
    answer: ToolAnswer


@dataclass(slots=True)
class ScriptedModel:
    """`ScriptedModel([("search", {"query": "orders"}), ("execute", {"program": "return 1"})])`."""

    steps: Sequence[Step]
    exchanges: list[Exchange] = field(default_factory=list[Exchange])

    async def play(self, tools: ModelTools) -> list[Exchange]:
        """Make every call in order against `app.tools(...)`."""
        for step in self.steps:
            tool, arguments = step(self.exchanges) if callable(step) else step
            self.exchanges.append(Exchange(tool, arguments, await tools.call(tool, arguments)))
        return self.exchanges
