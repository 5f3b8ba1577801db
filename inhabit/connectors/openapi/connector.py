"""`OpenApiConnector`: every operation of an OpenAPI document as an operation of one capability.

Model: `open` gets the compiled file (from the cache, or by compiling); operations are built from its records
when they are asked for. A call is: take the arguments apart (`request`), attach the credential (`auth`), send
through the injected `Outbound`, read the answer (`answer`).

Invariants: nothing is dialled but the document's servers (or the operator's `base_url`); a credential goes to
the base origin alone, and to those the operator names in `origins`; what comes back is scrubbed of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import httpx2
import orjson

from inhabit.connectors.credentials import Credentials
from inhabit.connectors.openapi.answer import failure, value_of
from inhabit.connectors.openapi.auth import Authenticator
from inhabit.connectors.openapi.cache import CompiledFile
from inhabit.connectors.openapi.crud import resource_of_record
from inhabit.connectors.openapi.loading import Loader, origin_of
from inhabit.connectors.openapi.request import Prepared, prepare
from inhabit.connectors.openapi.source import is_url, location_of
from inhabit.connectors.redaction import Redactor
from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import ErrorDoc, Operation
from inhabit.contracts.outbound import Reach
from inhabit.errors import ConfigError, InvalidInput, NotFound

__all__ = ["OpenApiConnector"]

_MAX_HELD = 4_096
_MAX_PROBLEMS = 200
_READS = Effects(reads="private", trust="untrusted", writes="none", irreversible=False, idempotent=True)
_EFFECTS: Mapping[str, Effects] = {
    "get": _READS, "head": _READS, "options": _READS,
    "put": Effects(irreversible=False, idempotent=True), "delete": Effects(irreversible=True, idempotent=True),
    "post": Effects(irreversible=False), "patch": Effects(irreversible=False),
}


class OpenApiConnector:
    """`name` is the capability; `source` a path or URL of an OpenAPI 3.0, 3.1 or Swagger 2.0 document.

    - `base_url` replaces the document's servers. `private_addresses` lets it lead to loopback or private ranges
      (default: only where `base_url` is such an address or `localhost`, or `source` is and the server has exactly its origin).
    - `secret`: the name of the operator's secret, or scheme → name; without it each principal's connection is used.
    - `auth` overrides the document's security: see `credentials.scheme_of`.
    - `headers` are sent with each request. `origins`: more places that get the credential.
    - `include`, `exclude`: patterns (`*`) over operation names, tags and `METHOD /path`; no `include` means all.
    - `effects`: pattern over names → the effect fields that the operator declares.
    """

    def __init__(self, name: str, source: str | Path, *, base_url: str | None = None,
                 secret: str | Mapping[str, str] | None = None, auth: str | Mapping[str, str] | None = None,
                 headers: Mapping[str, str] | None = None, include: Sequence[str] = (), exclude: Sequence[str] = (),
                 effects: Mapping[str, Mapping[str, Any]] | None = None, private_addresses: bool | None = None,
                 origins: Sequence[str] = (), timeout_s: float = 60.0) -> None:
        self.name = name
        self._location = location_of(source)
        self._base_url = base_url
        self._secret = secret
        self._auth = auth
        self._headers = dict(headers or {})
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._effects = {pattern: dict(fields) for pattern, fields in (effects or {}).items()}
        self._private = private_addresses
        self._origins = tuple(origins)
        self._timeout_s = timeout_s
        self._held: OrderedDict[str, Operation] = OrderedDict()
        self._hidden: frozenset[str] = frozenset()
        self._file: CompiledFile | None = None
        self._set = ""
        self._base = ""
        self._notes: list[ConnectorProblem] = []
        self._clients: dict[str, httpx2.AsyncClient] = {}

    async def open(self, context: ConnectorContext) -> None:
        """Raises `ConfigError` when the document cannot be had, read or recognised."""
        loader = Loader(self._location, context.cache / "openapi", context.outbound,
                        private_addresses=self._may_be_private(self._location if is_url(self._location) else None))
        self._set, self._file = await loader.load()
        self._context = context
        self._notes = [ConnectorProblem(self.name, pointer, reason) for pointer, reason in loader.notes]
        self._base = self._base_of(self._file.meta["servers"])
        self._authenticator = Authenticator(self.name, self._file.meta["schemes"], self._secret, self._auth)
        if self._include or self._exclude:
            self._hidden = frozenset(name for name, path, tags in self._file.labels() if not self._shown(name, path, tags))

    def fingerprint(self) -> str:
        settings = orjson.dumps([self.name, self._set, self._include, self._exclude, self._effects], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(settings).hexdigest()[:32]

    def operations(self) -> Iterable[Operation]:
        for record in self._opened().records():
            if record["name"] not in self._hidden:
                yield self._operation(record)

    def operation(self, name: str) -> Operation | None:
        held = self._held.get(name)
        if held is not None:
            self._held.move_to_end(name)
            return held
        record = self._record(name)
        if record is None:
            return None
        held = self._held[name] = self._operation(record)
        if len(self._held) > _MAX_HELD:
            self._held.popitem(last=False)
        return held

    def problems(self) -> tuple[ConnectorProblem, ...]:
        meta = self._opened().meta
        found = [ConnectorProblem(self.name, pointer if location == self._location else f"{location}#{pointer}", reason)
                 for location, pointer, reason in meta["problems"][:_MAX_PROBLEMS]]
        if meta["problem_count"] > len(found):
            found.append(ConnectorProblem(self.name, "", f"and {meta['problem_count'] - len(found)} more problems"))
        return (*self._notes, *found)

    def takes_keys(self) -> bool:
        """Whether some call sends what its principal connected: an operation asks for a credential, and it is not the operator's."""
        if self._secret is not None or self._auth is not None:
            return self._secret is None
        return any(any(record["plan"]["security"] or ()) for record in self._opened().records())

    async def call(self, call: Call) -> Any:
        record = self._record(call.operation.name)
        if record is None:
            raise NotFound(f"{call.operation.name} is no longer part of {self.name}")
        plan = record["plan"]
        base = self._server(plan)
        prepared = await prepare(plan, call)
        credentials = Credentials()
        if self._trusted(base):
            credentials = await self._authenticator.credentials(plan["security"], call, self._context)
        response, body = await self._send(record["method"], base, prepared, credentials)
        redactor = Redactor(credentials.secrets)
        response.headers, body = redactor.headers(response.headers), redactor.clean(body)
        if not response.is_success:
            raise failure(response, body, call.operation)
        return await value_of(response, body, call, plan.get("answer"))

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- operations --------------------------------------------------------------------------------------------

    def _opened(self) -> CompiledFile:
        if self._file is None:
            raise ConfigError(f"{self.name} is not open", fix="await connector.open(context) first")
        return self._file

    def _record(self, name: str) -> dict[str, Any] | None:
        prefix, _, rest = name.partition(".")
        if prefix != self.name or rest in self._hidden:
            return None
        return self._opened().record(rest)

    def _operation(self, record: Mapping[str, Any]) -> Operation:
        name = f"{self.name}.{record['name']}"
        return Operation(
            name=name, input_schema=record["input"], output_schema=record["output"], summary=record["summary"],
            description=record["description"], effects=self._effects_of(name, record), definitions=self._opened().definitions,
            errors=tuple(ErrorDoc(code, description) for code, description in record["errors"]), connector=self.name,
            origin=f"{record['method'].upper()} {record['path']}", tags=tuple(record["tags"]), deprecated=record["deprecated"],
            resource=resource_of_record(self.name, record["resource"]))

    def _effects_of(self, name: str, record: Mapping[str, Any]) -> Effects:
        effects = _EFFECTS[record["method"]]
        if record["plan"].get("idempotency"):
            effects = replace(effects, idempotent=True)     # the journal's key makes a second call the same one
        for pattern, fields in self._effects.items():
            if fnmatchcase(name, pattern):
                effects = replace(effects, **fields)
        return effects

    def _shown(self, name: str, path: str, tags: Sequence[str]) -> bool:
        subjects = [name, f"{self.name}.{name}", path, path.partition(" ")[2], *tags]
        chosen = not self._include or any(fnmatchcase(subject, pattern) for pattern in self._include for subject in subjects)
        return chosen and not any(fnmatchcase(subject, pattern) for pattern in self._exclude for subject in subjects)

    # -- where to ----------------------------------------------------------------------------------------------

    def _base_of(self, servers: Sequence[Mapping[str, Any]]) -> str:
        """The base URL, empty when the document leaves it open."""
        if self._base_url is not None:
            return self._base_url.rstrip("/")
        found = next((url for url in map(self._absolute, servers) if url), "")
        if not found:
            self._notes.append(ConnectorProblem(self.name, "/servers", "no server with an absolute address; calls need base_url"))
        return found

    def _absolute(self, server: Mapping[str, Any]) -> str:
        url = str(server["url"])
        for name, default in server.get("variables", {}).items():
            url = url.replace(f"{{{name}}}", default)
        if is_url(self._location):
            url = urljoin(self._location, url)
        return url.rstrip("/") if is_url(url) and "{" not in url else ""

    def _server(self, plan: Mapping[str, Any]) -> str:
        base = self._base
        if "server" in plan and self._base_url is None:
            base = self._absolute(plan["server"]) or base
        if not base:
            raise InvalidInput(f"the document of {self.name} names no server", fix=f"set base_url of {self.name}")
        return base

    def _trusted(self, base: str) -> bool:
        return origin_of(base) in {origin_of(self._base), *(origin_of(origin) for origin in self._origins)} if self._base else False

    def _named_by_operator(self, base: str) -> str | None:
        """Of what the operator wrote, the address that leads there: `base_url`, or the very origin of `source`."""
        if self._base_url is not None and base == self._base:
            return self._base_url
        same = is_url(self._location) and origin_of(base) == origin_of(self._location)
        return self._location if same else None

    def _may_be_private(self, url: str | None) -> bool:
        """The operator wrote it: said so, or gave an address that is nothing else."""
        if self._private is not None:
            return self._private
        if url is None:
            return False
        host = httpx2.URL(url).host
        try:
            return not ipaddress.ip_address(host).is_global
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    # -- sending -----------------------------------------------------------------------------------------------

    def _client(self, base: str) -> httpx2.AsyncClient:
        origin = origin_of(base)
        client = self._clients.get(origin)
        if client is None:
            reach = Reach((origin,), private_addresses=self._may_be_private(self._named_by_operator(base)), timeout_s=self._timeout_s)
            client = self._clients[origin] = self._context.outbound.client(reach)
        return client

    async def _send(self, method: str, base: str, prepared: Prepared, credentials: Credentials) -> tuple[httpx2.Response, bytes]:
        query = "&".join(part for part in (prepared.query, urlencode(credentials.query)) if part)
        path, _, fixed = prepared.path.partition("?")
        url = base + path + ("?" + "&".join(part for part in (fixed, query) if part) if fixed or query else "")
        headers = {**prepared.headers, **self._headers, **credentials.headers}
        cookies = {**prepared.cookies, **credentials.cookies}
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        client = self._client(base)
        request = client.build_request(method.upper(), url, headers=headers, content=prepared.content, files=prepared.files)
        response = await client.send(request, stream=True)
        try:
            return response, await response.aread()
        finally:
            await asyncio.shield(response.aclose())
