"""MCP servers as capabilities, over stdio and streamable HTTP."""

from inhabit.connectors.mcp.connector import McpConnector
from inhabit.connectors.mcp.credentials import ConnectionValue, SecretName
from inhabit.connectors.mcp.effects import EffectsReview, Proposal

__all__ = ["ConnectionValue", "EffectsReview", "McpConnector", "Proposal", "SecretName"]
