"""The public routes of an app that is opened for one command, where no server runs: answered in this process."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2

from inhabit.cli.opening import caller_from, open_app
from inhabit.cli.terminal import progress
from inhabit.server.auth import Identity

__all__ = ["local_client"]


@asynccontextmanager
async def local_client(args: argparse.Namespace, *, resume: bool) -> AsyncGenerator[httpx2.AsyncClient]:
    """`resume`: take unfinished runs up, and be able to run programs; else it is only looked at."""
    app = open_app(args)
    async with progress("starting"):
        await app.start(resume=resume)
    try:
        caller = await caller_from(args, app)
        identity = Identity("cli", caller.principal, caller.grant, operator=True, attended=caller.attended)

        async def check(_: str) -> Identity | None:
            return identity

        transport = httpx2.ASGITransport(app=app.http_app(check))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers={"authorization": "Bearer local"}) as client:
            yield client
    finally:
        await app.stop()
