"""Which Inhabit this is, as it tells clients and upstream servers; read from the installed package once."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["VERSION"]

VERSION = version("inhabit")
