"""All that the CLI prints goes through here: text from outside can never move the cursor or set a title.

`safe` makes control characters visible (`\\x1b`), among them C1 controls and the marks that turn the direction
of text. `show_json` does the same in JSON's own spelling, so that what is printed is still JSON.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson

__all__ = ["complain", "progress", "safe", "say", "show_json", "table"]

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff]")
_UNSAFE_INLINE = re.compile(_UNSAFE.pattern[:-1] + "\t\n]")
QUIET_S = 1.0
"""Work shorter than this shows no progress."""


def safe(text: str, *, inline: bool = False) -> str:
    """`text` with everything a terminal would act on made visible; `inline` also escapes tabs and line breaks."""
    return (_UNSAFE_INLINE if inline else _UNSAFE).sub(lambda found: _escape(found.group()), text)


def say(text: str = "") -> None:
    """A line, or several, for the person."""
    print(safe(text), flush=True)


def complain(text: str) -> None:
    print(safe(text), file=sys.stderr, flush=True)


def show_json(value: Any, *, indent: bool = True) -> None:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0, default=dict).decode()
    print(_UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", body), flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as their longest cell; cells of one line."""
    cells = [[safe(str(cell), inline=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in ([*headings], *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


@asynccontextmanager
async def progress(what: str) -> AsyncGenerator[None]:
    """Say on stderr what is going on, once it has taken more than a second; on a terminal the seconds count up."""
    ticking = asyncio.create_task(_tick(safe(what, inline=True)))
    try:
        yield
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking


async def _tick(what: str) -> None:
    begun = time.monotonic()
    await asyncio.sleep(QUIET_S)
    live = sys.stderr.isatty()
    print(f"{what} ...", end="" if live else "\n", file=sys.stderr, flush=True)
    if not live:
        return
    try:
        while True:
            await asyncio.sleep(1.0)
            print(f"\r{what} ... {time.monotonic() - begun:.0f} s", end="", file=sys.stderr, flush=True)
    finally:
        print(file=sys.stderr, flush=True)


def _escape(character: str) -> str:
    code = ord(character)
    if character == "\n":
        return "\\n"
    if character == "\t":
        return "\\t"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
