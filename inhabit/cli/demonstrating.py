"""What `inhabit demo` does once its options are read."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import shutil
import socket
from pathlib import Path
from typing import Any, cast

from inhabit.app import Inhabit
from inhabit.cli.hosting import host
from inhabit.cli.terminal import progress, safe, say, show_json
from inhabit.contracts.clock import now_ms
from inhabit.contracts.principal import Principal
from inhabit.contracts.result import RunResult
from inhabit.errors import Unavailable
from inhabit.server.hosting import bind, url_of

_CUSTOMER = Principal("ada")
_SHOP = "examples.shop.app"
_ENDINGS = {".py": "python", ".ts": "typescript"}


async def main(args: argparse.Namespace) -> int:
    shop = _shop()
    if args.fresh and (args.home / "shop.db").exists():
        shutil.rmtree(args.home)
    if args.once:
        async with progress("starting"):
            app: Inhabit = shop.build(args.home)
            await app.start()
        try:
            return await _programs(app, shop.PROGRAMS)
        finally:
            await app.stop()
    with bind(args.host, args.port) as opened:
        return await _served(shop, args.home, opened)


async def _served(shop: Any, home: Path, opened: socket.socket) -> int:
    app: Inhabit = shop.build(home)
    async with progress("starting"):
        await app.start()
    try:
        token = await _new_token(app)
        url = url_of(opened)
        say(f"shop     {url}  (OpenAPI: {url}/openapi.json)\nMCP      {url}/mcp\ntoken    {token}")
        serving = asyncio.create_task(host(app, opened, _CUSTOMER, lambda _: None))
        code = await _programs(app, shop.PROGRAMS)
        say(f'\nserving until interrupted; try, after `. .venv/bin/activate`:\n  inhabit runs list --home {home} --as {_CUSTOMER.user}\n'
            f'  curl -H "Authorization: Bearer {token}" {url}/v1/runs')
        await serving
        return code
    finally:
        await app.stop()


async def _new_token(app: Inhabit) -> str:
    """This start's token; that of an earlier start is refused from now on."""
    now = now_ms()
    for record in await app.home.tokens.list(tenant=_CUSTOMER.tenant):
        if record.label == "demo" and record.revoked_ms is None:
            await app.home.tokens.revoke(record.id, tenant=_CUSTOMER.tenant, now_ms=now)
    token, _ = await app.create_token(_CUSTOMER, label="demo")
    return token


async def _programs(app: Inhabit, folder: Path) -> int:
    failed = 0
    for path in sorted(folder.iterdir()):
        if path.suffix not in _ENDINGS:
            continue
        async with progress(f"running {path.name}"):
            result = await app.execute(path.read_text(encoding="utf-8"), principal=_CUSTOMER, language=_ENDINGS[path.suffix])
        _show(path, result)
        failed += result.state != "completed"
    return 1 if failed else 0


def _show(path: Path, result: RunResult) -> None:
    say(f"\n{path.name} ({_ENDINGS[path.suffix]}): {result.state}, {result.calls} call{'' if result.calls == 1 else 's'}, run {result.run_id}")
    value = result.value if result.state == "completed" else result.error
    rows = cast(list[Any], value) if isinstance(value, list) else []
    if rows and all(isinstance(row, dict) for row in rows):
        _table(rows)
    else:
        show_json(value)


def _table(rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    cells = [names, *([safe(str(row.get(name, "")), inline=True) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _shop() -> Any:
    """The example's module. It is part of a checkout, not of the installed package."""
    try:
        return importlib.import_module(_SHOP)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("examples"):
            raise
        raise Unavailable("the demo's shop is not here", fix="run it in a checkout: make demo") from None
