"""A run is followed over a server that goes away and comes back with another token."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from inhabit.cli import following
from inhabit.cli.client import Api
from inhabit.errors import Denied, Unavailable

ENTRIES: list[dict[str, Any]] = [{"number": n, "type": "logged"} for n in range(1, 5)] + [{"number": 5, "type": "terminal"}]


class Server:
    """Breaks off after `upto` entries, each time it is asked; `asked` is what it was asked for."""

    def __init__(self, *breaks: int | type[Exception]) -> None:
        self.breaks = list(breaks)
        self.asked: list[str | None] = []

    def client(self, _note: Any = None) -> Api:
        return Api(httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer), base_url="http://server"), serves=True)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        after = request.headers.get("last-event-id")
        self.asked.append(after)
        until = self.breaks.pop(0)
        if isinstance(until, type):
            if until is Denied:
                return httpx2.Response(401, json={"detail": "no such token"})
            raise until("gone")
        shown = [entry for entry in ENTRIES if int(after or 0) < entry["number"] <= until]
        return httpx2.Response(200, text="".join(f"id: {e['number']}\nevent: {e['type']}\ndata: {as_text(e)}\n\n" for e in shown))


def as_text(value: dict[str, Any]) -> str:
    return "{" + ", ".join(f'"{key}": {each if isinstance(each, int) else chr(34) + each + chr(34)}' for key, each in value.items()) + "}"


def there(_args: argparse.Namespace) -> dict[str, str]:
    return {"url": "http://server", "token": "t"}


def nowhere(_args: argparse.Namespace) -> None:
    return None


async def seen(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(following, "RETRY_S", 0.001)
    monkeypatch.setattr(following, "server_note", there)
    monkeypatch.setattr(following, "remote_client", server.client)
    entries: AsyncGenerator[dict[str, Any]] = following.follow(argparse.Namespace(), server.client(), "r")
    async with aclosing(entries):
        return [entry["number"] async for entry in entries]


async def test_what_comes_after_a_break_is_asked_for_behind_what_was_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    server = Server(2, httpx2.ConnectError, Denied, 3, 5)
    assert await seen(server, monkeypatch) == [1, 2, 3, 4, 5]
    assert server.asked == [None, "2", "2", "2", "3"]
    assert "the server went away after entry 2" in capsys.readouterr().err


async def test_a_server_that_stays_away_is_said_plainly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "PATIENCE_S", 0.01)
    monkeypatch.setattr(following, "RETRY_S", 0.02)
    with pytest.raises(Unavailable, match=r"run r broke off after entry 2 .* no server came back within") as caught:
        monkeypatch.setattr(following, "server_note", nowhere)
        async for _ in following.follow(argparse.Namespace(), Server(2).client(), "r"):
            pass
    assert "inhabit serve" in (caught.value.fix or "")


async def test_a_token_that_never_held_is_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Denied):
        await seen(Server(Denied), monkeypatch)
