"""From a source to its compiled file: read, or fetch through the broker, compile once, and keep by content.

Two things lie in the cache: `HASH.sqlite` is the compiled form of a document set (HASH covers the bytes of all
its documents and the compiler's version), and `sources/KEY.json` remembers which set a source last was: the
stamps of its files (size, modification time, inode), or the ETag of its URL. With unchanged stamps nothing is
read but that; with changed ones the bytes are hashed; only new bytes are parsed.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import orjson

from inhabit.connectors.openapi.cache import CompiledFile, write
from inhabit.connectors.openapi.compiler import COMPILER_VERSION, compile_document
from inhabit.connectors.openapi.document import Documents, external_references
from inhabit.connectors.openapi.source import MAX_DOCUMENT_BYTES, digest, is_url, joined, parse, read_file
from inhabit.contracts.json import is_object
from inhabit.contracts.outbound import Outbound, Reach
from inhabit.errors import CallError, ConfigError, Denied

__all__ = ["Loader", "origin_of"]

_MAX_DOCUMENTS = 500
_SETTLED_S = 2.0
"""A file changed this recently is hashed anyway: a second change may carry the same time."""


def origin_of(url: str) -> str:
    parts = httpx2.URL(url)
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


class Loader:
    def __init__(self, location: str, directory: Path, outbound: Outbound, *, private_addresses: bool) -> None:
        self._location = location
        self._directory = directory
        self._outbound = outbound
        self._private = private_addresses
        self.notes: list[tuple[str, str]] = []

    async def load(self) -> tuple[str, CompiledFile]:
        """The set's hash and its opened compiled file. Raises `ConfigError` when there is nothing to open."""
        remembered = self._remembered()
        if remembered is not None and self._unchanged(remembered):
            opened = self._open(remembered["set"])
            if opened is not None:
                return remembered["set"], opened
        try:
            bodies, etag = await self._bodies(_etag(remembered))
        except (CallError, Denied) as error:
            opened = self._open(remembered["set"]) if remembered is not None else None
            if opened is None:
                raise ConfigError(f"{self._location} could not be fetched: {error.message}", fix="check the URL, or give a file") from None
            self.notes.append(("", f"could not be fetched ({error.message}); the copy of {remembered['at'] if remembered else ''} is used"))
            return str(remembered["set"] if remembered else ""), opened
        opened = self._open(remembered["set"]) if remembered is not None and not bodies else None
        if opened is not None and remembered is not None:
            return remembered["set"], opened
        if not bodies:      # unchanged upstream, but our copy is gone
            bodies, etag = await self._bodies(None)
        return await self._compiled(bodies, etag)

    # -- what is remembered ------------------------------------------------------------------------------------

    def _memory(self) -> Path:
        return self._directory / "sources" / f"{hashlib.sha256(self._location.encode()).hexdigest()[:32]}.json"

    def _remembered(self) -> dict[str, Any] | None:
        try:
            found = orjson.loads(self._memory().read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None
        return dict(found) if is_object(found) and found.get("version") == COMPILER_VERSION else None

    def _unchanged(self, remembered: Mapping[str, Any]) -> bool:
        """Whether every file still has the stamp it had, and had it for a while."""
        files = remembered.get("files")
        if not files:
            return False
        return all(_stamp(location) == tuple(stamp) for location, stamp in files.items())

    def _remember(self, bodies: Mapping[str, bytes], name: str, etag: str | None) -> None:
        now = time.time()
        stamps = {location: _stamp(location) for location in bodies if not is_url(location)}
        settled = all(stamp is not None and now - stamp[1] / 1e9 > _SETTLED_S for stamp in stamps.values())
        memory = {"version": COMPILER_VERSION, "set": name, "etag": etag, "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime(now)),
                  "files": stamps if settled and len(stamps) == len(bodies) else {},
                  "urls": [location for location in bodies if is_url(location)]}
        self._memory().parent.mkdir(parents=True, exist_ok=True)
        self._memory().write_bytes(orjson.dumps(memory))

    # -- reading -----------------------------------------------------------------------------------------------

    async def _bodies(self, etag: str | None) -> tuple[dict[str, bytes], str | None]:
        """The root document's bytes; nothing when its URL still has the given ETag."""
        if not is_url(self._location):
            return {self._location: await asyncio.to_thread(read_file, self._location)}, None
        return await self._fetched(self._location, etag)

    async def _fetched(self, location: str, etag: str | None = None) -> tuple[dict[str, bytes], str | None]:
        reach = Reach((origin_of(location),), private_addresses=self._private, max_response_bytes=MAX_DOCUMENT_BYTES)
        async with self._outbound.client(reach) as client:
            known = {"If-None-Match": etag} if etag else {}
            response = await client.get(location, headers={"Accept": "application/json, application/yaml, */*;q=0.5", **known})
            body = await response.aread()
        if response.status_code == 304 and etag:
            return {}, etag
        if response.status_code != 200:
            raise ConfigError(f"{location} answered {response.status_code}", fix="give the URL of an OpenAPI document that needs no login, or a file")
        return {location: body}, response.headers.get("etag")

    async def _referred(self, location: str, base: str) -> bytes:
        """A document that another refers to: below the root's own folder, or at the root's own origin."""
        if is_url(self._location):
            if not is_url(location) or origin_of(location) != origin_of(self._location):
                raise ConfigError(f"$ref to {location}: another origin than the document's", fix="bundle the document")
            bodies, _ = await self._fetched(location)
            return bodies[location]
        if is_url(location) or not Path(location).is_relative_to(Path(self._location).parent):
            raise ConfigError(f"$ref to {location}: outside the folder of the document", fix="bundle the document")
        return await asyncio.to_thread(read_file, location)

    # -- compiling ---------------------------------------------------------------------------------------------

    async def _compiled(self, bodies: dict[str, bytes], etag: str | None) -> tuple[str, CompiledFile]:
        single = digest(bodies[self._location] + COMPILER_VERSION.encode())[:40]
        opened = self._open(single)
        if opened is not None and not opened.meta.get("others"):
            self._remember(bodies, single, etag)
            return single, opened
        parsed = {self._location: await asyncio.to_thread(parse, bodies[self._location], self._location)}
        missing = await self._gather(bodies, parsed)
        name = single if len(bodies) == 1 else _set_name(bodies)
        opened = self._open(name) if len(bodies) > 1 else None
        if opened is None:
            await asyncio.to_thread(self._compile, parsed, name, missing)
            opened = self._open(name)
        if opened is None:
            raise ConfigError(f"{self._directory} does not keep what is written to it", fix="give a writable cache folder")
        self._remember(bodies, name, etag)
        return name, opened

    async def _gather(self, bodies: dict[str, bytes], parsed: dict[str, Any]) -> list[tuple[str, str, str]]:
        """Load what the documents refer to; what cannot be had is a problem, not a failure."""
        missing: list[tuple[str, str, str]] = []
        waiting = [(self._location, reference) for reference in external_references(parsed[self._location])]
        while waiting:
            base, reference = waiting.pop()
            location = joined(base, reference)
            if location in parsed:
                continue
            try:
                if len(parsed) >= _MAX_DOCUMENTS:
                    raise ConfigError(f"more than {_MAX_DOCUMENTS} documents refer to each other")
                body = await self._referred(location, base)
                parsed[location] = await asyncio.to_thread(parse, body, location)
                bodies[location] = body
            except (ConfigError, CallError, Denied) as error:
                missing.append((base, "", error.message))
                continue
            waiting += [(location, more) for more in external_references(parsed[location])]
        return missing

    def _compile(self, parsed: Mapping[str, Any], name: str, missing: Sequence[tuple[str, str, str]]) -> None:
        compiled = compile_document(Documents(self._location, parsed))
        compiled.problems = [*missing, *compiled.problems]
        compiled.problem_count += len(missing)
        compiled.meta["others"] = len(parsed) - 1 + len(missing)
        try:
            write(self._directory / f"{name}.sqlite", compiled)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the cache {self._directory} cannot be written: {error}", fix="give a writable cache folder") from None

    def _open(self, name: str) -> CompiledFile | None:
        path = self._directory / f"{name}.sqlite"
        if not path.exists():
            return None
        try:
            return CompiledFile(path)
        except (sqlite3.Error, orjson.JSONDecodeError):
            path.unlink(missing_ok=True)
            return None


def _etag(remembered: Mapping[str, Any] | None) -> str | None:
    """Usable only for a set of one: the parts of a larger one can change without the root."""
    return remembered.get("etag") if remembered is not None and len(remembered.get("urls", ())) == 1 else None


def _stamp(location: str) -> tuple[int, int, int] | None:
    try:
        found = Path(location).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _set_name(bodies: Mapping[str, bytes]) -> str:
    parts = [f"{location} {digest(body)}" for location, body in sorted(bodies.items())]
    return digest("\n".join([COMPILER_VERSION, *parts]).encode())[:40]
