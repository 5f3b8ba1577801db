"""The last listing of each server, on disk, so that Inhabit starts without starting every server.

One file a connector: `{"config": digest, "listing": …}`. A file of another configuration, or one that cannot be
read, is as good as none: the server is asked again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, cast

import orjson

from inhabit.connectors.mcp.tools import Listing

__all__ = ["ListingCache", "digest"]


class ListingCache:
    def __init__(self, folder: Path, connector: str, config: str) -> None:
        self._path = folder / f"mcp-{connector.replace('.', '-')}.json"
        self._config = config

    def load(self) -> Listing | None:
        try:
            value = cast("dict[str, Any]", orjson.loads(self._path.read_bytes()))
            return Listing.from_value(value["listing"]) if value["config"] == self._config else None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None

    def store(self, listing: Listing) -> None:
        """Raises `OSError` when the folder cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        draft.write_bytes(orjson.dumps({"config": self._config, "listing": listing.as_value()}))
        draft.replace(self._path)


def digest(value: Any) -> str:
    """SHA-256 (hex, 16 bytes) of plain data."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:32]
