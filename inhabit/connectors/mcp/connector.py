"""MCP servers as capabilities: `NAME.tool(…)`, and `NAME.resources.list/templates/read`.

A server is started, or dialled, by the first call that needs it; until then its operations come from the listing
kept on disk. Every fresh session is listed before its first call is sent, and a call whose operation is no longer
what was checked and decided is refused with nothing sent. Everything a server says is hostile input; what it asks
of a client (sampling, elicitation, roots) is refused by name. Where credentials are personal, principals may be
offered different tools: what is searched is the union, what can be called is what the caller's session lists.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from inhabit.connectors.mcp.cache import ListingCache, digest
from inhabit.connectors.mcp.calling import (
    SessionGone,
    Stage,
    list_resources,
    list_templates,
    read_resource,
    run_tool,
    upstream,
)
from inhabit.connectors.mcp.credentials import (
    ANONYMOUS,
    Access,
    AuthMode,
    ConnectionValue,
    EnvironmentValue,
    HeaderValue,
    SecretName,
    environment,
    operator_secret,
)
from inhabit.connectors.mcp.effects import EffectsReview, Proposal, derive, pin
from inhabit.connectors.mcp.http import SESSION_GONE, Sender, serve_http
from inhabit.connectors.mcp.link import Link, LinkFailed
from inhabit.connectors.mcp.links import Down, Links
from inhabit.connectors.mcp.stdio import Command, Streams, Tail, serve_stdio
from inhabit.connectors.mcp.text import one_line
from inhabit.connectors.mcp.tools import RESOURCES, Listing, Tool, Tools, read_tools
from inhabit.connectors.names import identifier
from inhabit.connectors.oauth import OAuthTarget
from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.effects import UNKNOWN_EFFECTS, Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.outbound import Reach
from inhabit.contracts.principal import Principal
from inhabit.errors import (
    CallTimeout,
    ConfigError,
    InhabitError,
    MissingConnection,
    Unavailable,
    UpstreamError,
)

__all__ = ["McpConnector"]

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_START_TIMEOUT_S = 60.0      # a first `npx` may have to install the server
DEFAULT_FIRST_LIST_S = 15.0         # how long `open` waits for a server that was never listed
MAX_BACKGROUND_ATTEMPTS = 5
MAX_LISTINGS = 64
REMOTE_CONCURRENCY = 100            # a remote server is made for many clients at once
_LISTER = Principal("listing", "inhabit")
"""For whom a server with personal credentials is listed at start: nobody, unless a shared secret answers for all."""

_log = logging.getLogger(__name__)


class McpConnector:
    """One MCP server. Exactly one of `command` (stdio) and `url` (streamable HTTP).

    `env` is all that a local server gets beyond PATH, HOME and the locale; a `SecretName` is looked up on the host, a
    `ConnectionValue` in the calling principal's connection (the server then runs once a principal). `secret` is
    an operator's secret for a remote server, sent as a bearer token; `headers` are sent with every request to it.
    `client`: id, and name of the secret, of an OAuth client that the operator registered by hand. `concurrency`: calls that may write are that many at once on one session, those that only read (by the server's word
    or the operator's) are not counted; by default one for a local server, since many of them lose one of two writes that
    come together, and `REMOTE_CONCURRENCY` for a remote one. `assume` are the effects of a tool about which
    nothing is known; annotations raise them, and lower them only with `trust_annotations` or a confirmation in
    `review`. `timeout_s` bounds one call, besides the call's own deadline. Raises `ConfigError`.
    """

    def __init__(self, name: str, *, command: Sequence[str] | None = None, url: str | None = None,
                 env: Mapping[str, EnvironmentValue] | None = None, cwd: str | Path | None = None,
                 auth: AuthMode = "auto", secret: str | None = None, headers: Mapping[str, HeaderValue] | None = None,
                 client: tuple[str, str | None] | None = None, concurrency: int | None = None, private_addresses: bool = False, trust_annotations: bool = False, assume: Effects = UNKNOWN_EFFECTS,
                 review: EffectsReview | None = None, timeout_s: float = DEFAULT_TIMEOUT_S,
                 start_timeout_s: float = DEFAULT_START_TIMEOUT_S, first_list_s: float = DEFAULT_FIRST_LIST_S) -> None:
        _check(name, command, url, env, secret, auth, headers)
        self.name = name
        self._command = tuple(command) if command is not None else None
        self._url = httpx2.URL(url) if url is not None else None
        self._env = dict(env or {})
        self._cwd = Path(cwd) if cwd is not None else None
        self._headers = dict(headers or {})
        shared = secret is not None or (auth == "auto" and any(isinstance(value, SecretName) for value in self._headers.values()))
        self._auth: AuthMode = "secret" if shared else auth
        self._secret = secret
        self._client = client
        self._concurrency = concurrency or (1 if command is not None else REMOTE_CONCURRENCY)
        self._private_addresses = private_addresses
        self._trust_annotations = trust_annotations
        self._assume = assume
        self._review = review
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._first_list_s = first_list_s
        self._context: ConnectorContext | None = None
        self._links: Links | None = None
        self._cache: ListingCache | None = None
        self._listings: dict[str, Listing] = {}
        self._tools = Tools()
        self._fingerprint = digest([])
        self._trouble: str | None = None
        self._tried = asyncio.Event()
        self._background: asyncio.Task[None] | None = None

    # the contract

    async def open(self, context: ConnectorContext) -> None:
        """Take the listing kept from before; without one, ask the server, waiting at most `first_list_s` seconds.

        A server that does not answer is a problem of this connector, not of the start: it is asked again in the
        background, and `context.changed` is called when it answers.
        """
        self._context = context
        self._links = Links(self._link)
        self._cache = ListingCache(context.cache, self.name, digest(self._identity()))
        kept = self._cache.load()
        if kept is not None:
            self._adopt(ANONYMOUS, kept)
            return
        self._background = asyncio.create_task(self._first_listing(), name=f"first listing of {self.name}")
        first_try = asyncio.create_task(self._tried.wait())
        await asyncio.wait({self._background, first_try}, timeout=self._first_list_s, return_when=asyncio.FIRST_COMPLETED)
        first_try.cancel()

    def fingerprint(self) -> str:
        return self._fingerprint

    def operations(self) -> Iterable[Operation]:
        return self._tools.operations()

    def operation(self, name: str) -> Operation | None:
        return self._tools.operation(name)

    def problems(self) -> tuple[ConnectorProblem, ...]:
        own = (ConnectorProblem(self.name, "", self._trouble),) if self._trouble else ()
        return own + self._tools.problems

    async def call(self, call: Call) -> Any:
        """Raises `UpstreamError`, `MissingConnection`, `CallTimeout`, `ResultInvalid`."""
        stage = Stage(call.operation.effects.may_write)
        deadline = min(call.deadline_s, asyncio.get_running_loop().time() + self._timeout_s)
        scope = asyncio.timeout_at(deadline)
        try:
            async with scope:
                try:
                    return await self._call(call, stage)
                except SessionGone:
                    return await self._call(call, stage)
        except TimeoutError:
            if not scope.expired():
                raise
            doing = ("did not answer" if stage.sent else "was busy with other calls that may write" if stage.waiting
                     else "could not be started or reached")
            raise CallTimeout(f"{call.operation.name}: the server {doing} within the call's time", effect=stage.effect,
                              details={"connector": self.name}) from None
        except SessionGone as gone:
            raise gone.error from None

    async def close(self) -> None:
        if self._background is not None:
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
        if self._links is not None:
            await self._links.close()

    # what the application asks besides

    async def refresh(self, principal: Principal | None = None) -> None:
        """List the server anew, starting it if need be; after a principal has connected, for that principal.

        Raises what a call raises. `context.changed` is called when the operations are other ones.
        """
        key = await self._key(principal or _LISTER)
        link = await self._linked(key)
        async with link.listed:
            await self._list(link)

    @property
    def signs_in(self) -> bool:
        """False where nobody signs in: a local server, or one that is called with the operator's secret."""
        return self._url is not None and self._auth not in ("none", "secret")

    def takes_keys(self) -> bool:
        """Whether some session is opened with what its principal connected."""
        return self.signs_in if self._url is not None else self._personal_command

    async def oauth_target(self, scopes: Sequence[str] = ()) -> OAuthTarget | None:
        """What `OAuthFlows.authorize_url` is given to connect a principal; None where nobody signs in."""
        if not self.signs_in:
            return None
        client_id, secret = self._client or (None, None)
        value = await operator_secret(self._opened(), self.name, secret) if secret is not None else None
        return OAuthTarget(self.name, str(self._url), self._private_addresses, tuple(scopes), client_id, value)

    def proposals(self) -> list[Proposal]:
        """What `inhabit effects review` shows: one line a tool."""
        review = self._review
        tools = ((name, tool.raw, tool.operation.effects) for name, tool in self._tools.by_operation.items())
        return review.proposals(tools) if review is not None else []

    async def confirm(self, tools: Mapping[str, str], *, by: str) -> list[str]:
        """Take the server's word for the named tools that still are what was shown (name → hash); returns their names."""
        meant = [proposal for proposal in self.proposals() if tools.get(proposal.name) == proposal.schema_hash]
        for proposal in meant:
            assert self._review is not None, "without a review there are no proposals"
            self._review.confirm(proposal.name, proposal.proposed, proposal.schema_hash, by=by)
        await self.reviewed()
        return [proposal.name for proposal in meant]

    async def reviewed(self) -> None:
        """Take up confirmations made since: effects, and with them schema hashes, may be other ones."""
        if self._rebuild() and self._context is not None:
            await self._context.changed(self)

    # calls

    async def _call(self, call: Call, stage: Stage) -> Any:
        link = await self._linked(await self._key(call.principal))
        link.in_flight += 1
        try:
            if link.listing is None:
                async with link.listed:
                    if link.listing is None:
                        await self._list(link)
            return await self._perform(link, call, stage)
        except SessionGone:
            self._sessions().drop(link)
            stage.sent = False
            raise
        finally:
            link.in_flight -= 1

    async def _perform(self, link: Link, call: Call, stage: Stage) -> Any:
        name = call.operation.name
        if name in self._tools.resources:
            verbs = {f"{self.name}.{RESOURCES}.list": list_resources, f"{self.name}.{RESOURCES}.templates": list_templates,
                     f"{self.name}.{RESOURCES}.read": read_resource}
            return await verbs[name](link, call, stage)
        tool = self._tools.by_operation.get(name)
        if tool is None or not _offers(link.listing, tool.remote):
            raise UpstreamError(f"the server of {self.name} no longer offers {name}", code="operation_gone",
                                fix="search again: its list of tools has changed")
        if tool.operation is not call.operation and tool.operation.schema_hash() != call.operation.schema_hash():
            raise UpstreamError(f"the server of {self.name} has changed {name} since this call was checked; nothing was sent",
                                code="operation_changed", fix="search again: its parameters or effects are other ones now")
        if _only_reads(tool):
            return await run_tool(link, tool, call, stage)
        stage.waiting = link.writes.locked()
        async with link.writes:
            stage.waiting = False
            return await run_tool(link, tool, call, stage)

    async def _linked(self, key: str) -> Link:
        """A started session. Raises the `CallError` that says why there is none."""
        try:
            return await self._sessions().get(key)
        except Down as down:
            raise self._why_down(down, key) from down

    def _why_down(self, down: Down, key: str) -> InhabitError:
        cause = down.cause
        if isinstance(cause, InhabitError):
            return cause
        what = self._command[0] if self._command is not None else str(self._url)
        if isinstance(cause, FileNotFoundError | NotADirectoryError | PermissionError):
            return UpstreamError(f"the server of {self.name} cannot be started: {one_line(str(cause))}", code="upstream_down",
                                 fix=f"install {what}, or give its full path")
        again = f"; tried again in {down.again_s:.0f} s" if down.again_s >= 1 else ""
        return UpstreamError(f"the server of {self.name} ({one_line(what, 80)}) is down: {down.reason}{again}",
                             code="upstream_down", details={"again_s": round(down.again_s, 1)})

    # sessions

    async def _key(self, principal: Principal) -> str:
        if self._command is not None:
            return str(principal) if self._personal_command else ANONYMOUS
        return await self._access().key(principal)

    def _link(self, key: str) -> Link:
        if self._command is not None:
            tail = Tail()
            return Link(lambda: self._spawned(key, tail), key=key, start_timeout_s=self._start_timeout_s,
                        changed=self._relisted, tail=tail, writes=self._concurrency)
        url, sender = self._url, self._sender(key)
        assert url is not None
        return Link(lambda: serve_http(str(url), sender), key=key, start_timeout_s=self._start_timeout_s,
                    changed=self._relisted, sender=sender, writes=self._concurrency)

    @asynccontextmanager
    async def _spawned(self, key: str, tail: Tail) -> AsyncGenerator[Streams]:
        assert self._command is not None
        principal = Principal.parse(key) if key != ANONYMOUS else None
        values, hidden = await environment(self._env, self._opened(), self.name, principal)
        tail.hide(hidden)
        async with serve_stdio(Command(self._command, values, self._cwd), tail) as streams:
            yield streams

    def _sender(self, key: str) -> Sender:
        """A client of its own for each session: the stream that stays open must not take another's place."""
        assert self._url is not None
        reach = Reach((_origin(self._url),), private_addresses=self._private_addresses, timeout_s=self._timeout_s)
        return Sender(self._opened().outbound.client(reach), self._access().of(key))

    def _access(self) -> Access:
        return Access(self.name, self._auth, self._opened(), self._secret, self._headers)

    @property
    def _personal_command(self) -> bool:
        return any(isinstance(value, ConnectionValue) for value in self._env.values())

    def _opened(self) -> ConnectorContext:
        if self._context is None:
            raise Unavailable(f"the connector {self.name} is not open")
        return self._context

    def _sessions(self) -> Links:
        if self._links is None:
            raise Unavailable(f"the connector {self.name} is not open")
        return self._links

    # listings

    async def _first_listing(self) -> None:
        """Ask a server that was never listed, a few times; what went wrong is a problem that a person can read."""
        for _attempt in range(MAX_BACKGROUND_ATTEMPTS):
            try:
                await self.refresh()
                return
            except MissingConnection as error:
                self._trouble = error.message + (f"; {error.fix}" if error.fix and error.fix not in error.message else "")
                return
            except InhabitError as error:
                self._trouble = error.message + (f"; {error.fix}" if error.fix else "")
                pause = float(error.details.get("again_s", 1.0))
            finally:
                self._tried.set()
            await asyncio.sleep(max(pause, 1.0))

    async def _relisted(self, link: Link) -> None:
        """The server says that its lists have changed."""
        try:
            async with link.listed:
                await self._list(link)
        except InhabitError as error:
            _log.info("%s could not be listed again: %s", self.name, error.message)

    async def _list(self, link: Link) -> None:
        """Ask one session for everything and take it up. The caller holds `link.listed`."""
        try:
            async with asyncio.timeout(self._start_timeout_s):
                listing = await link.list_all()
        except TimeoutError:
            raise UpstreamError(f"the server of {self.name} did not list its tools within {self._start_timeout_s:g} s",
                                code="upstream_down") from None
        except MCPError as error:
            failure = upstream(error, link, self.name, "none")
            if failure.specific_code == SESSION_GONE:
                self._sessions().drop(link)
            raise failure from error
        except ValidationError:
            raise UpstreamError(f"the server of {self.name} answered with a list of tools that is none") from None
        except LinkFailed as error:
            raise UpstreamError(f"the server of {self.name} is down: {error}", code="upstream_down") from error
        link.listing = listing
        self._trouble = None
        if self._adopt(link.key, listing):
            self._keep(listing)
            await self._opened().changed(self)

    def _adopt(self, key: str, listing: Listing) -> bool:
        """Whether the operations are other ones now."""
        if self._listings.get(key) == listing:
            return False
        self._listings.pop(key, None)
        if key != ANONYMOUS:
            self._listings.pop(ANONYMOUS, None)     # what was kept on disk, or seen without a credential
        self._listings[key] = listing
        while len(self._listings) > MAX_LISTINGS:
            self._listings.pop(next(iter(self._listings)))
        return self._rebuild()

    def _rebuild(self) -> bool:
        self._tools = read_tools(self.name, _merged(self._listings.values()), self._effects)
        before, self._fingerprint = self._fingerprint, digest(
            [[o.name, o.schema_hash(), o.description] for o in self._tools.operations()])
        return before != self._fingerprint

    def _effects(self, name: str, tool: Mapping[str, Any]) -> Effects:
        confirmed = self._review.confirmed(name, pin(tool)) if self._review is not None else None
        if confirmed is not None:
            return confirmed
        return derive(tool.get("annotations"), trusted=self._trust_annotations, base=self._assume)

    def _keep(self, listing: Listing) -> None:
        if self._cache is None:
            return
        try:
            self._cache.store(_merged(self._listings.values()))
        except OSError as error:
            _log.warning("the listing of %s cannot be kept: %s", self.name, error)

    def _identity(self) -> dict[str, Any]:
        """What makes a kept listing another server's. Values of the environment may be secret: names only."""
        return {"command": self._command, "url": str(self._url), "env": sorted(self._env), "cwd": str(self._cwd),
                "auth": self._auth, "secret": self._secret, "headers": sorted(self._headers)}


def _only_reads(tool: Tool) -> bool:
    """For taking turns alone: a server that lies about this harms its own state, and lowers no effect."""
    hints = tool.raw.get("annotations")
    return not tool.operation.effects.may_write or (isinstance(hints, Mapping) and cast("Mapping[str, Any]", hints).get("readOnlyHint") is True)


def _offers(listing: Listing | None, remote: str) -> bool:
    return listing is not None and any(tool.get("name") == remote for tool in listing.tools)


def _merged(listings: Iterable[Listing]) -> Listing:
    """The newest listing, then what others were offered besides."""
    newest_first = list(listings)[::-1]
    if len(newest_first) == 1:
        return newest_first[0]
    tools: dict[str, Mapping[str, Any]] = {}
    for listing in newest_first:
        for tool in listing.tools:
            tools.setdefault(str(tool.get("name")), tool)
    newest = newest_first[0]
    return Listing(tuple(tools.values()), any(listing.resources for listing in newest_first), newest.server,
                   newest.instructions, newest.problems)


def _origin(url: httpx2.URL) -> str:
    port = url.port or {"https": 443, "http": 80}[url.scheme]
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}:{port}"


def _check(name: str, command: Sequence[str] | None, url: str | None, env: Mapping[str, EnvironmentValue] | None,
           secret: str | None, auth: AuthMode, headers: Mapping[str, HeaderValue] | None) -> None:
    if not all(part and identifier(part) == part for part in name.split(".")):
        fixed = ".".join(identifier(part) for part in name.split("."))
        raise ConfigError(f"connector name {name!r} cannot be written in a program", fix=f"for example {fixed!r}")
    if (command is None) == (url is None):
        raise ConfigError(f"{name}: exactly one of command and url is needed", fix='command = ["npx", "-y", "…"] or url = "https://…"')
    if command is not None:
        if isinstance(command, str) or not command or not all(command):
            raise ConfigError(f"{name}: command must be a list of words, got {command!r}", fix='["npx", "-y", "some-server"]')
        if secret is not None:
            raise ConfigError(f"{name}: a local server gets its secrets through env", fix='env = {TOKEN = {secret = "NAME"}}')
        if headers:
            raise ConfigError(f"{name}: headers are for a remote server", fix="leave them out, or give a url")
    if url is not None:
        parsed = httpx2.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"{name}: url {url!r} is not an http(s) address")
        if parsed.userinfo:
            raise ConfigError(f"{name}: the url carries a credential", fix="leave it out and use secret or a connection")
        if env:
            raise ConfigError(f"{name}: env is for a local server", fix="leave it out, or give a command")
    if auth == "secret" and secret is None:
        raise ConfigError(f"{name}: auth = \"secret\" needs the name of the secret", fix='secret = "GITHUB_TOKEN"')
