"""What the routes of `server/effects.py` do: the operator's review of what the tools of MCP servers are taken to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from inhabit.connectors.mcp import McpConnector
from inhabit.contracts.connector import Connector
from inhabit.errors import NotFound

__all__ = ["AppReview"]


class AppReview:
    """Implements `inhabit.server.effects.EffectsDesk`. What is confirmed holds at once, and from then on."""

    def __init__(self, sources: Sequence[Connector]) -> None:
        self._servers = {source.name: source for source in sources if isinstance(source, McpConnector)}

    def proposals(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return {name: [asdict(proposal) for proposal in server.proposals()] for name, server in self._servers.items()}

    async def confirm(self, source: str, tools: Mapping[str, str], *, by: str) -> Sequence[str]:
        server = self._servers.get(source)
        if server is None:
            raise NotFound(f"there is no MCP server {source!r}", fix=f"one of {', '.join(self._servers) or 'none'}")
        return await server.confirm(tools, by=by)
