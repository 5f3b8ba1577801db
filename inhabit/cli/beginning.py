"""What `inhabit init` does once its options are read."""

from __future__ import annotations

import argparse

from inhabit.cli.mcp_json import import_servers
from inhabit.cli.terminal import complain, say
from inhabit.config import parse_config
from inhabit.errors import InvalidInput

TEMPLATE = '''name = "home"

[server]
host = "127.0.0.1"
port = 8642

# Each source is one table; its name is the first word of its operations in programs.
#
# [mcp.files]
# command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"]
#
# [mcp.remote]
# url = "https://mcp.example.com/mcp"
# auth = "oauth"
#
# [openapi.github]
# source = "github.json"          # path or URL
# secret = "GITHUB_TOKEN"         # the name of an environment variable, never the value
#
# [sql.crm]
# path = "crm.db"
# tables = {customers = ["id", "name"], orders = "*"}
#
# [http.web]
# allow = [{origin = "https://api.example.com", methods = ["GET"], path = "/v1/"}]
#
# [python.shop]
# module = "examples.shop.app:capabilities"
#
# [grants]                        # without this table you may use everything above
# default = ["shop.**"]
'''


def main(args: argparse.Namespace) -> int:
    if args.output.exists() and not args.force:
        raise InvalidInput(f"{args.output} exists", fix="--force writes over it")
    imported = import_servers(args.source) if args.source else None
    text = TEMPLATE if imported is None else f'name = "home"\n\n{imported.toml}'
    config = parse_config(text, args.output)
    args.output.write_text(text, encoding="utf-8")
    say(f"wrote {args.output}" + (f" with {len(config.mcp)} servers" if imported else ""))
    if imported is not None:
        for name, why in imported.skipped.items():
            complain(f"left out {name}: {why}")
        if imported.secrets:
            complain(f"set these variables before you start: {', '.join(imported.secrets)}")
        for name, source in config.mcp.items():
            if source.url is not None and source.auth is None:
                complain(f"where {name} wants a sign-in: inhabit connect {name}")
        if config.mcp:
            complain("until you confirm what they do, their tools count as able to do anything, and may wait for you: inhabit effects review")
        complain("commands are run as they were; only the variables named in the file reach them")
    complain("next: inhabit doctor, then inhabit serve")
    return 0
