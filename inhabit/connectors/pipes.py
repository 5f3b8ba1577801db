"""The pipes of a child process, let go of."""

from __future__ import annotations

import asyncio

__all__ = ["close_pipes"]


def close_pipes(process: asyncio.subprocess.Process) -> None:
    """Close this side of them. `Process.wait` waits for the pipes too: for one that is full and unread, or that a
    grandchild holds, it would wait for ever. The transport is the only way to them, and has no public name.
    """
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
