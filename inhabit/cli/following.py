"""A run's entries as they are written, over a stream that may break off: a restart of the server, a network that comes and goes.

Each entry comes once: what comes after a break is asked for behind the last one that was seen (Last-Event-ID). The server is
looked for anew each time, since one that was started again has another token, and perhaps another port.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx2

from inhabit.cli.client import Api, remote_client, server_note
from inhabit.cli.terminal import complain
from inhabit.errors import Denied, Unavailable

__all__ = ["follow"]

RETRY_S = 0.5
PATIENCE_S = 60.0
"""For so long a server that went away is looked for."""


async def follow(args: argparse.Namespace, client: Api, run_id: str) -> AsyncGenerator[dict[str, Any]]:
    """Raises `Unavailable` when the server stays away; what is said then is what was seen and how to go on."""
    after, lost_at, why = 0, 0.0, ""
    while True:
        try:
            async for entry in client.events(f"/v1/runs/{run_id}/events", after=after):
                after, lost_at = entry["number"], 0.0
                yield entry
            return
        except (httpx2.TransportError, Unavailable) as error:
            why = str(error) or type(error).__name__
        except Denied as error:
            if not lost_at:
                raise
            why = str(error)
        if not lost_at:
            lost_at = time.monotonic()
            complain(f"the server went away after entry {after}; looking for it for {PATIENCE_S:.0f} s")
        client = await _found_again(args, lost_at, f"the stream of run {run_id} broke off after entry {after} ({why})")


async def _found_again(args: argparse.Namespace, lost_at: float, what: str) -> Api:
    while time.monotonic() - lost_at < PATIENCE_S:
        await asyncio.sleep(RETRY_S)
        note = await asyncio.to_thread(server_note, args)
        if note is not None:
            return remote_client(note)
    raise Unavailable(f"{what}, and no server came back within {PATIENCE_S:.0f} s",
                      fix="start it with `inhabit serve`, which takes the run up, then `inhabit runs tail` again")
