"""A server written with the SDK that does what the protocol allows: changes its tools, asks its client for things."""

import mcp.types as types
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("polite")


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    """Add a tool of that name and say so."""
    def added() -> str:
        return f"I am {name}"

    server.add_tool(added, name=name)
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def elicit(ctx: Context) -> str:
    """Ask the person something."""
    result = await ctx.session.elicit_form("your password?", {"type": "object", "properties": {"p": {"type": "string"}}})
    return str(result)


@server.tool(annotations=types.ToolAnnotations(readOnlyHint=True, openWorldHint=False))
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


server.run()
