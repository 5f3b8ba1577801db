"""Loads a module of the command line by its name, when it is needed: the one place where that is done.

A command that talks to a server that runs, and `--help`, must not pay for the server, the engines and the search.
"""

from __future__ import annotations

import gc
import importlib
from types import ModuleType

__all__ = ["load"]


def load(name: str) -> ModuleType:
    """`inhabit.cli.NAME`. What it imports stays for good: looking through it for garbage costs a sixth of a start."""
    gc.disable()
    try:
        return importlib.import_module(f"inhabit.cli.{name}")
    finally:
        gc.freeze()
        gc.enable()
