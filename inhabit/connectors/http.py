"""`http.fetch`: plain requests to places that the operator granted, and nowhere else.

Model: a `HostGrant` is origin + methods + path prefix (+ credential). A request must match one of them exactly
before anything is dialled, and so must every redirect hop. What a program sends as Authorization, Cookie or
Host is dropped: a grant is for the operator's credential, not for carrying data into somebody else's account.
The answer is data whatever its status; what it echoes of a credential is scrubbed.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx2
import orjson

from inhabit.connectors.credentials import Credentials, attach, scheme_of
from inhabit.connectors.redaction import Redactor
from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.effects import Effects
from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import ErrorDoc, Operation
from inhabit.contracts.outbound import Reach
from inhabit.errors import ConfigError, Denied, InvalidInput, MissingConnection, UpstreamError

__all__ = ["HostGrant", "HttpConnector"]

_SAFE = frozenset({"GET", "HEAD"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_MAX_HEADERS = 50
_PORTS = {"http": 80, "https": 443}
_NEVER_SENT = frozenset({
    "authorization", "cookie", "host", "proxy-authorization", "connection", "content-length", "transfer-encoding", "upgrade",
    "te", "trailer", "keep-alive", "proxy-connection", "expect", "http2-settings",
})
_BINARY = {"type": "object", "required": ["$binary"], "properties": {"$binary": {"type": "string"}, "type": {"type": "string"}, "size": {"type": "integer"}}}
_OUTPUT: Mapping[str, Any] = {
    "type": "object", "required": ["status", "headers", "url"],
    "properties": {
        "status": {"type": "integer"}, "url": {"type": "string", "description": "where it came from, after redirects"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}, "description": "names in lower case"},
        "json": {"description": "the content, when it is JSON"}, "body": {"type": "string", "description": "the content, when it is text"},
        "binary": {**_BINARY, "description": "a reference to the content, when it is anything else"},
    },
}


@dataclass(frozen=True, slots=True)
class HostGrant:
    """`origin` is `scheme://host[:port]`; `path` a prefix that ends at a segment; `secret` the name of the
    operator's credential and `auth` how it is sent (`credentials.scheme_of`). `private_addresses`: the origin may
    be loopback or private (default: only where it is such an address itself, or `localhost`).
    """

    origin: str
    methods: Sequence[str] = ("GET", "HEAD")
    path: str = "/"
    secret: str | None = None
    auth: str | Mapping[str, str] = "bearer"
    private_addresses: bool | None = None


class HttpConnector:
    """Raises `ConfigError` for a grant that cannot be read. No grants: nothing can be fetched."""

    def __init__(self, name: str = "http", hosts: Sequence[HostGrant] = (), *, max_response_bytes: int = 16 * 1024 * 1024,
                 timeout_s: float = 60.0) -> None:
        self.name = name
        self._grants = [_Granted.of(grant) for grant in hosts]
        self._max_response_bytes = max_response_bytes
        self._timeout_s = timeout_s
        self._clients: dict[tuple[str, bool], httpx2.AsyncClient] = {}
        self._operations = {operation.name: operation for operation in self._described()}

    async def open(self, context: ConnectorContext) -> None:
        self._context = context

    def fingerprint(self) -> str:
        return hashlib.sha256(repr([self.name, *(grant.shown for grant in self._grants)]).encode()).hexdigest()[:32]

    def operations(self) -> Iterable[Operation]:
        return self._operations.values()

    def operation(self, name: str) -> Operation | None:
        return self._operations.get(name)

    def problems(self) -> tuple[ConnectorProblem, ...]:
        return ()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def call(self, call: Call) -> Any:
        """Raises `Denied` for a place, method or redirect that is not granted."""
        arguments = call.arguments
        method = "GET" if call.operation.function == "get" else str(arguments.get("method", "GET")).upper()
        content, media = await _content(arguments.get("body"), call)
        headers = _guest_headers(arguments.get("headers") or {})
        if media and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = media
        url, sent = _parsed(arguments["url"]), False
        async with asyncio.timeout(self._timeout_s):
            for _ in range(_MAX_REDIRECTS + 1):
                granted = self._decide(method, url, redirected=sent)
                response, body = await self._send(granted, method, url, headers, content)
                sent = True
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return await _answer(response, body, url, call)
                url = _joined(url, response.headers["location"])
                if response.status_code == 303 or (response.status_code in {301, 302} and method == "POST"):
                    method, content = ("HEAD" if method == "HEAD" else "GET"), None
                    headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
        raise UpstreamError(f"{url.host} redirects more than {_MAX_REDIRECTS} times", code="response_refused")

    def _decide(self, method: str, url: httpx2.URL, *, redirected: bool) -> _Granted:
        """The one decision of a hop."""
        for grant in self._grants:
            if grant.allows(method, url):
                return grant
        place = f"{method} {url.scheme}://{url.host}{url.path}"[:300]
        granted = "; ".join(grant.shown for grant in self._grants[:10]) or "nothing"
        raise Denied(f"{'a redirect to ' if redirected else ''}{place} is not granted", code="egress_denied",
                     fix=f"granted: {granted}", details={"rule": "http.grants", "reason": "no grant for this place"})

    async def _send(self, granted: _Granted, method: str, url: httpx2.URL, headers: Mapping[str, str],
                    content: bytes | None) -> tuple[httpx2.Response, bytes]:
        credentials = await self._credentials(granted.grant)
        replaced = {name.lower() for name in credentials.headers}
        sent = {**{name: value for name, value in headers.items() if name.lower() not in replaced}, **credentials.headers}
        if credentials.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in credentials.cookies.items())
        if credentials.query:
            url = url.copy_merge_params(dict(credentials.query))
        client = self._client(granted)
        response = await client.send(client.build_request(method, url, headers=sent, content=content), stream=True)
        try:
            body = await response.aread()
        finally:
            await asyncio.shield(response.aclose())
        redactor = Redactor(credentials.secrets)
        response.headers = redactor.headers(response.headers)       # before anybody looks where a redirect leads
        return response, redactor.clean(body)

    async def _credentials(self, grant: HostGrant) -> Credentials:
        credentials = Credentials()
        if grant.secret is not None:
            value = await self._context.secret(grant.secret)
            if value is None:
                raise MissingConnection(f"{self.name} needs the secret {grant.secret} for {grant.origin}, which is not set",
                                        fix=f"set {grant.secret} where the server runs")
            attach(credentials, scheme_of(grant.auth), value.reveal())
        return credentials

    def _client(self, granted: _Granted) -> httpx2.AsyncClient:
        key = (granted.grant.origin, granted.private)
        if key not in self._clients:
            self._clients[key] = self._context.outbound.client(Reach(
                (granted.grant.origin,), private_addresses=granted.private, max_redirects=0,
                max_response_bytes=self._max_response_bytes, timeout_s=self._timeout_s))
        return self._clients[key]

    # -- what programs see -------------------------------------------------------------------------------------

    def _described(self) -> Iterable[Operation]:
        methods = sorted({method for grant in self._grants for method in grant.methods})
        writing = any(method not in _SAFE for method in methods)
        granted = "; ".join(grant.shown for grant in self._grants) or "nothing"
        reads = Effects(reads="private", trust="untrusted", writes="none", irreversible=False, idempotent=True)
        properties: dict[str, Any] = {
            "url": {"type": "string", "description": "absolute http(s) URL"},
            "method": {"enum": methods or ["GET"], "default": "GET"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": _MAX_HEADERS,
                        "description": "Authorization, Cookie and Host are not sent: credentials are the operator's"},
            "body": {"description": "text, data (sent as JSON) or a binary reference"},
        }
        notes = f"Granted: {granted}. The answer is returned whatever its status."
        errors = (ErrorDoc("egress_denied", "the place, method or redirect is not granted"),
                  ErrorDoc("response_too_large", "the answer exceeded its limit"), ErrorDoc("call_timeout", "no full answer in time"))
        yield Operation(
            name=f"{self.name}.fetch", summary="Send an HTTP request to a granted host", description=notes, errors=errors,
            input_schema={"type": "object", "properties": properties, "required": ["url"], "additionalProperties": False},
            output_schema=_OUTPUT, effects=Effects() if writing else reads, connector=self.name, origin="HTTP", tags=("http",),
            url_argument="url")
        if writing:
            yield Operation(
                name=f"{self.name}.get", summary="Read from a granted host with GET", description=notes, errors=errors,
                input_schema={"type": "object", "properties": {key: properties[key] for key in ("url", "headers")},
                              "required": ["url"], "additionalProperties": False},
                output_schema=_OUTPUT, effects=reads, connector=self.name, origin="HTTP GET",
                tags=("http",), url_argument="url")


@dataclass(frozen=True, slots=True)
class _Granted:
    """A grant, read once: canonical origin and path prefix."""

    grant: HostGrant
    scheme: str
    host: str
    port: int
    methods: frozenset[str]
    prefix: str
    private: bool

    @classmethod
    def of(cls, grant: HostGrant) -> _Granted:
        try:
            url = _parsed(grant.origin)
        except InvalidInput as error:
            raise ConfigError(f"origin of a grant: {error.message}", fix="scheme://host or scheme://host:port") from None
        methods = frozenset(method.upper() for method in grant.methods)
        if url.path not in ("", "/") or url.query:
            raise ConfigError(f"origin {grant.origin!r} has a path", fix="put the path into `path`")
        if not methods or not methods <= _METHODS:
            raise ConfigError(f"methods of {grant.origin}: {sorted(methods - _METHODS) or 'none'}", fix=f"some of {', '.join(sorted(_METHODS))}")
        if not grant.path.startswith("/") or not _plain_path(grant.path):
            raise ConfigError(f"path {grant.path!r} of {grant.origin}", fix="a plain path from /, without . or ..")
        scheme_of(grant.auth)
        private = _is_private(url.host) if grant.private_addresses is None else grant.private_addresses
        return cls(grant, url.scheme, _host(url), url.port or _PORTS[url.scheme], methods, grant.path, private)

    @property
    def shown(self) -> str:
        return f"{'/'.join(sorted(self.methods))} {self.grant.origin}{self.prefix}"

    def allows(self, method: str, url: httpx2.URL) -> bool:
        if method not in self.methods or (url.scheme, _host(url), url.port or _PORTS[url.scheme]) != (self.scheme, self.host, self.port):
            return False
        path = url.raw_path.decode("ascii").partition("?")[0]
        if self.prefix == "/":
            return True
        if not _plain_path(path):
            return False
        return path == self.prefix or path.startswith(self.prefix if self.prefix.endswith("/") else self.prefix + "/")


def _parsed(text: str) -> httpx2.URL:
    """Raises `InvalidInput` for anything but a plain absolute http(s) URL."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeError):
        raise InvalidInput(f"{text[:200]!r} is not a URL", code="arguments_invalid") from None
    if url.scheme not in _PORTS or not url.host or url.userinfo:
        raise InvalidInput(f"{text[:200]!r} is not an absolute http or https URL without credentials", code="arguments_invalid")
    return url.copy_with(fragment=None)


def _joined(url: httpx2.URL, location: str) -> httpx2.URL:
    try:
        return _parsed(str(url.join(location)))
    except (httpx2.InvalidURL, UnicodeError, ValueError, InvalidInput):
        raise UpstreamError(f"{url.host} redirects to something that is not a URL", code="response_refused") from None


def _host(url: httpx2.URL) -> str:
    return url.raw_host.decode("ascii").lower().removesuffix(".")


def _plain_path(path: str) -> bool:
    """No segment that a server could read as a way out of a prefix, in any encoding it may undo."""
    for _ in range(3):
        if "\\" in path or "//" in path or any(part.split(";")[0] in {".", ".."} for part in path.split("/")):
            return False
        decoded = unquote(path)
        if decoded.count("/") != path.count("/"):
            return False
        if decoded == path:
            return True
        path = decoded
    return False


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _guest_headers(given: Mapping[str, Any]) -> dict[str, str]:
    """Raises `InvalidInput` for a name or value that HTTP cannot carry."""
    kept: dict[str, str] = {}
    for name, value in given.items():
        text = str(value)
        if not name or not name.isascii() or not all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in name):
            raise InvalidInput(f"{name[:100]!r} is not a header name", code="arguments_invalid")
        if any(ord(char) < 32 and char != "\t" for char in text) or "\x7f" in text or not text.isascii():
            raise InvalidInput(f"the value of header {name} has characters that a header cannot carry", code="arguments_invalid")
        if name.lower() not in _NEVER_SENT:
            kept[name] = text
    return kept


async def _content(body: Any, call: Call) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    if is_object(body) and isinstance(body.get("$binary"), str):
        return await call.blobs.get(body, tenant=call.principal.tenant), str(body.get("type", "application/octet-stream"))
    if is_object(body) or is_array(body) or isinstance(body, bool | int | float):
        return orjson.dumps(body), "application/json"
    raise InvalidInput("body must be text, data or a binary reference", code="arguments_invalid")


async def _answer(response: httpx2.Response, body: bytes, url: httpx2.URL, call: Call) -> dict[str, Any]:
    result: dict[str, Any] = {"status": response.status_code, "url": str(url), "headers": dict(response.headers.items())}
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == "application/json" or media.endswith("+json"):
        try:
            return {**result, "json": orjson.loads(body)}
        except orjson.JSONDecodeError:
            pass
    text = _text(body, media, response.charset_encoding or "utf-8")
    if text is not None:
        return {**result, "body": text}
    reference = await call.blobs.put(body, tenant=call.principal.tenant, mime=media or "application/octet-stream")
    return {**result, "binary": reference}


def _text(body: bytes, media: str, charset: str) -> str | None:
    """The content as text when it says so, or says nothing and is UTF-8."""
    textual = not media or media.startswith("text/") or media.endswith(("json", "xml", "yaml", "javascript", "x-www-form-urlencoded"))
    if not textual and body:
        return None
    try:
        return body.decode(charset)
    except (LookupError, UnicodeDecodeError):
        return body.decode("utf-8", "replace") if media else None
