"""The CLI as a client of the public routes: of a server that runs on this home, else of an app opened here.

A server leaves `server.json` in its home: its URL, a token that lives as long as it does, readable by the owner alone, and for
whom that token speaks. `INHABIT_URL` and `INHABIT_TOKEN` point anywhere else; a token alone is for the server of this home.

Invariant: who acts is who was named. A server knows people by their tokens, so an `--as` or a token that this command could
not keep to is an error, never somebody else's word.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from inhabit.cli.loading import load
from inhabit.cli.options import home_of
from inhabit.contracts.json import is_object
from inhabit.contracts.principal import Principal
from inhabit.errors import CallError, Denied, InhabitError, InvalidInput, NotFound, Unavailable

__all__ = ["NOTE_NAME", "Api", "api", "keep_to", "remote_api", "remote_client", "running_server", "server_note", "write_note"]

NOTE_NAME = "server.json"
_ERRORS: dict[int, type[InhabitError]] = {401: Denied, 403: Denied, 404: NotFound, 413: InvalidInput, 422: InvalidInput, 503: Unavailable}


class Api:
    """Answers as plain data; errors as the errors they were. `serves`: what is asked carries runs on, so that one that is
    going on comes to an end."""

    def __init__(self, client: httpx2.AsyncClient, *, serves: bool) -> None:
        self._client = client
        self.serves = serves

    async def get(self, path: str, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return _value(await self._client.get(path, params=given))

    async def bytes_of(self, path: str) -> bytes:
        response = await self._client.get(path)
        if response.status_code >= 400:
            _value(response)
        return response.content

    async def delete(self, path: str) -> None:
        _value(await self._client.delete(path))

    async def post(self, path: str, body: Any = None) -> Any:
        return _value(await self._client.post(path, json=body) if body is not None else await self._client.post(path))

    async def events(self, path: str, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The data of each server-sent event behind entry `after`, to the terminal one. Raises `Unavailable` when the stream
        ends before it."""
        headers = {"last-event-id": str(after)} if after else {}
        last = ""
        async with self._client.stream("GET", path, timeout=None, headers=headers) as response:
            if response.status_code >= 400:
                await response.aread()
                _value(response)
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    entry = orjson.loads(line[6:])
                    last = entry["type"]
                    yield entry
        if response.status_code != 204 and last != "terminal":   # 204: the run had ended, and all of it was seen
            raise Unavailable("the server ended the stream")


@asynccontextmanager
async def api(args: argparse.Namespace, *, resume: bool = False) -> AsyncGenerator[Api]:
    """The server that the environment names, or the one that runs on this home, or an app opened for this command: to be
    looked at, unless `resume` says that it is to run programs and take up those that an earlier process left.
    """
    note = server_note(args)
    if note is not None:
        keep_to(args, note)
        async with remote_api(note) as client:
            yield client
        return
    if os.environ.get("INHABIT_TOKEN"):
        raise Unavailable("INHABIT_TOKEN is set, and no server runs on this home that could know it",
                          fix="inhabit serve starts one, INHABIT_URL names another, or unset INHABIT_TOKEN")
    async with load("local").local_client(args, resume=resume) as client:
        yield Api(client, serves=resume)


@asynccontextmanager
async def remote_api(note: dict[str, str]) -> AsyncGenerator[Api]:
    """A server by its `url` and `token`."""
    async with _http_client(note) as client:
        try:
            yield Api(client, serves=True)
        except httpx2.TransportError as error:
            raise Unavailable(f"the server at {note['url']} does not answer: {error}", fix="inhabit serve starts one") from None


def server_note(args: argparse.Namespace) -> dict[str, str] | None:
    """The server that the environment names, or the one that runs on this home now; with the environment's token, if it has one."""
    note, token = _from_environment(), os.environ.get("INHABIT_TOKEN")
    if note is not None:
        return note
    here = running_server(_home(args))
    return here if here is None or not token else {"url": here["url"], "token": token}


def keep_to(args: argparse.Namespace, note: dict[str, str]) -> None:
    """Raises `Denied` where somebody is named (`--as`) for whom the token of `note` does not speak, or nobody here can tell."""
    named: str | None = getattr(args, "principal", None)
    if named is None or str(Principal.parse(named)) == note.get("principal"):
        return
    speaks = note.get("principal") or "whoever its token was made for"
    raise Denied(f"--as {named}: the server at {note['url']} takes this command as {speaks}",
                 fix=f"leave --as out, or put a token of `inhabit token create --for {named}` into INHABIT_TOKEN")


def remote_client(note: dict[str, str]) -> Api:
    """For one long request to a server that may go away."""
    return Api(_http_client(note), serves=True)


def _http_client(note: dict[str, str]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=note["url"], headers=_bearer(note["token"]), timeout=700)


def write_note(home: Path, url: str, token: str, principal: Principal) -> Path:
    """Leave word for later commands on this home; remove the file when the server stops."""
    path = home / NOTE_NAME
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps({"url": url, "token": token, "principal": str(principal)}))
    return path


def running_server(home: Path | None) -> dict[str, str] | None:
    """What the server on this home left, if it still listens: a killed one leaves its note behind."""
    if home is None:
        return None
    try:
        note = orjson.loads((home / NOTE_NAME).read_bytes())
        url, token, principal = str(note["url"]), str(note["token"]), str(note.get("principal", ""))
        address = urlsplit(url)
        socket.create_connection((address.hostname or "", address.port or 80), timeout=1).close()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {"url": url, "token": token, "principal": principal}


def _home(args: argparse.Namespace) -> Path | None:
    try:
        return home_of(args)
    except InhabitError:
        return None


def _from_environment() -> dict[str, str] | None:
    url = os.environ.get("INHABIT_URL")
    if not url:
        return None
    token = os.environ.get("INHABIT_TOKEN")
    if not token:
        raise InvalidInput("INHABIT_URL is set but INHABIT_TOKEN is not", fix="inhabit token create makes one")
    return {"url": url.rstrip("/"), "token": token}


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _value(response: httpx2.Response) -> Any:
    if response.status_code == 204:
        return None
    try:
        value = response.json()
    except ValueError:
        raise Unavailable(f"{response.url} answered {response.status_code} with something that is not JSON") from None
    if response.status_code < 400:
        return value
    if not is_object(value) or (response.status_code == 404 and "code" not in value):
        raise Unavailable(f"{response.url} answered {response.status_code}, and not as Inhabit does",
                          fix="INHABIT_URL is where it is mounted, with the path: http://127.0.0.1:8000/inhabit")
    kind = _ERRORS.get(response.status_code, CallError)
    raise kind(value.get("detail", "the server refused"), fix=value.get("fix"), code=value.get("code"),
               details=value.get("details"))
