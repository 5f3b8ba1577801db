"""What `prepare` leaves for the guest: one comment line at the end of the code.

The line is data, not trusted: a program may write one itself and gains nothing, since the names in it are held
against the run's names again and the prelude is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["COMMON", "DOT", "ERROR_FIELD", "PRELUDE", "SETTLED", "Plan"]

DOT = "·"
"""U+00B7 may stand inside an identifier: `shop·orders·list` is one name, as wide as `shop.orders.list`."""
ERROR_FIELD = f"error{DOT}field"
SETTLED = f"gather{DOT}settled"

COMMON = frozenset({
    "asyncio", "base64", "collections", "copy", "datetime", "decimal", "functools", "hashlib", "itertools", "json", "math", "random",
    "re", "time",
})
"""Modules that a program may use without importing them."""

PRELUDE = f"""\
import {", ".join(sorted(COMMON))}
async def one{DOT}settled(awaitable):
    try:
        return await awaitable
    except Exception as error:
        return error
async def {SETTLED}(*awaitables):
    return await asyncio.gather(*[one{DOT}settled(each) for each in awaitables])
"""
"""Fed before a program that needs it: `gather(..., return_exceptions=True)`, and imports it forgot."""

_MARK = "\n# inhabit "


@dataclass(frozen=True, slots=True)
class Plan:
    """`operations`: dotted names that were made functions. `prelude`: whether it is fed first."""

    operations: tuple[str, ...] = ()
    prelude: bool = False

    def write(self, code: str) -> str:
        body: dict[str, Any] = {"operations": self.operations, "prelude": self.prelude}
        return f"{code.rstrip()}{_MARK}{orjson.dumps(body).decode()}\n"

    @classmethod
    def read(cls, code: str) -> Plan:
        """Of code without a line, or with one that is not ours, an empty plan."""
        _, mark, line = code.rpartition(_MARK)
        if not mark:
            return cls()
        try:
            body: Any = orjson.loads(line)
            names = [name for name in body["operations"] if isinstance(name, str)]
            return cls(tuple(names[:10_000]), body["prelude"] is True)
        except (ValueError, KeyError, TypeError):
            return cls()
