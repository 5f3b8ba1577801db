"""`Inhabit`: the only place that joins implementations to protocols.

    app = Inhabit(capabilities=[orders, openapi("github.json", secret="GITHUB_TOKEN"), mcp("npx -y some-server")])
    async with app:
        run = await app.execute("return (await shop.orders.list({})).length", principal="ada")

Nothing is dialled, opened or started before `start`, which `async with`, the first call and the ASGI app's
lifespan all do. A source that cannot be opened is left out and named in `problems`; the rest works.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from inhabit.app.connecting import AppConnections
from inhabit.app.governing import Governing, PolicySource
from inhabit.app.home import Home
from inhabit.app.notifying import Notices, keep_expiring
from inhabit.app.reviewing import AppReview
from inhabit.app.sources import Source, connectors_of, secrets_of
from inhabit.catalog import Catalog
from inhabit.config import ApprovalsConfig, Config, ServerConfig
from inhabit.connectors.functions import Capability
from inhabit.connectors.mcp import EffectsReview
from inhabit.contracts.clock import now_ms
from inhabit.contracts.connector import Connector, ConnectorContext, ConnectorProblem
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.contracts.result import RunResult
from inhabit.contracts.run import Mode, RunHeader
from inhabit.errors import ConfigError, InhabitError, Unavailable
from inhabit.isolates.jail import JailPolicy
from inhabit.isolates.pool import WorkerPool
from inhabit.kernel.grants import Grant
from inhabit.limits import LIVE_RUNS, LIVE_RUNS_OF_ONE_TENANT, Limits
from inhabit.runtime.approvals import Desk
from inhabit.runtime.context import Control
from inhabit.runtime.directory import ConnectedCatalog
from inhabit.runtime.plans import Plans
from inhabit.runtime.questions import OpenQuestions
from inhabit.runtime.service import Caller, Parts, Runtime
from inhabit.server.attenuable import Attenuable
from inhabit.server.auth import Identity, TokenCheck
from inhabit.server.ceremonies import Ceremonies
from inhabit.server.http import create_app
from inhabit.server.tokens import authority_of, authority_value, check_rights, revoke
from inhabit.server.tools import model_tools
from inhabit.store.audit.events import IN_PROCESS
from inhabit.store.ids import new_run_id
from inhabit.store.retention import Retention
from inhabit.store.secrets import EnvironmentSecrets, Secrets
from inhabit.store.tokens import TokenRecord
from inhabit.tokens import PREFIX, TokenKeys

__all__ = ["Inhabit"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Inhabit:
    """One runtime over the given capabilities.

    `home`: where journal, connections and caches lie (default `$INHABIT_HOME`, else `.inhabit`). `grants`: user or
    `tenant/user` → grant; `"default"` for the others. Without `grants`, a user may use all that this app was given,
    which is what a start for oneself means; with several tenants there is no such default. `limits`: as
    `inhabit.limits`. `policy`: a file, the same as values, or a `Policy`. `retention`: what is forgotten (default 30 days, 10 GiB a
    tenant). Raises `ConfigError`, `InvalidInput`.
    """

    def __init__(self, capabilities: Sequence[Source] = (), *, home: Path | str | None = None, name: str = "inhabit",
                 limits: Mapping[str, Any] | Limits | None = None, grants: Mapping[str, Any] | None = None,
                 server: ServerConfig | None = None, policy: PolicySource = None, approvals: ApprovalsConfig | None = None,
                 secrets: Secrets | None = None, retention: Retention | None = None) -> None:
        self.name = name
        self.server = server or ServerConfig.model_validate({})
        self.home = Home(Path(home or os.environ.get("INHABIT_HOME") or ".inhabit"), url=self.server.public_url, retention=retention)
        self.problems: dict[str, InhabitError] = {}
        self._limits = limits if isinstance(limits, Limits) else Limits.of(limits)
        self._grants = _grants(grants, several=self.server.tenants == "several")
        self._sources: list[Connector] = [c.connector() if isinstance(c, Capability) else c for c in capabilities]
        named = Counter(source.name for source in self._sources)
        if named and max(named.values()) > 1:
            raise ConfigError(f"{max(named, key=lambda name: named[name])!r} is the name of more than one source",
                              fix="give each its own; one capability can hold several functions")
        self.governing = Governing(policy)
        self.secrets = secrets or EnvironmentSecrets()
        self.approvals = approvals or ApprovalsConfig.model_validate({})
        self.own_approvals = self.server.tenants == "single" if self.approvals.self is None else self.approvals.self
        self._desk: Desk | None = None
        self._plans: Plans | None = None
        self._attenuable: Attenuable | None = None
        self._ceremonies: Ceremonies | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._connecting = AppConnections(self.home, self._sources, self.grant_of)
        self._runtime: Runtime | None = None
        self._resumed = False
        self._starting = asyncio.Lock()

    @classmethod
    def from_config(cls, config: Config, *, home: Path | str | None = None) -> Inhabit:
        """The app that an `inhabit.toml` describes."""
        place = Home(Path(home or config.base / ".inhabit"))
        return cls(connectors_of(config, EffectsReview(place.effects)), home=place.path, name=config.name, limits=config.limits,
                   grants=config.grants, server=config.server,
                   policy=config.resolve(config.policy.file) if config.policy is not None else None, approvals=config.approvals,
                   secrets=secrets_of(config.secrets, place.path, config.base), retention=Retention(config.retention.max_age_days, config.retention.max_bytes))

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self, *, resume: bool = True) -> Runtime:
        """Open the home, the sources and the workers; settle what an earlier process left. Idempotent.

        Without `resume` it is opened to be looked at: no worker is forked, no program runs, and unfinished runs stay as
        they are, until a start with it. Raises `Unavailable` when the home is in use or cannot be written, or when a jail
        layer is missing that several tenants need.
        """
        async with self._starting:
            if self._runtime is None:
                self._runtime = await self._opened()
            if resume and not self._resumed:
                try:
                    await self._runtime.start()
                    self._expiring = asyncio.create_task(keep_expiring(self.desk), name="expire approvals")
                except BaseException:
                    await self._end()
                    raise
                self._resumed = True
            return self._runtime

    async def stop(self) -> None:
        """Close everything; runs that go on are taken up at the next start. Idempotent."""
        async with self._starting:
            await self._end()

    async def __aenter__(self) -> Inhabit:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def started(self) -> bool:
        return self._runtime is not None

    @property
    def runtime(self) -> Runtime:
        """Raises `Unavailable` before `start`."""
        return _started(self._runtime)

    async def _end(self) -> None:
        runtime, self._runtime, self._resumed = self._runtime, None, False
        if self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
        if runtime is not None:
            try:
                await runtime.stop()
            finally:
                await self._close()

    async def _opened(self) -> Runtime:
        self.home.open()
        self.problems.clear()
        directory = ConnectedCatalog(Catalog(self.home.cache))
        pool = WorkerPool(self.home.cache, jail=JailPolicy(
            require="all" if self.server.tenants == "several" else "warn",
            accept_missing=frozenset(self.server.accept_missing_layers)))
        notices = Notices(self.approvals.webhook, self.home.outbound)
        questions = OpenQuestions(told=notices.tell)
        runtime = Runtime(Parts(directory, pool, self.home.journal, self.home.blobs, lambda: new_run_id(now_ms()), self._limits, now_ms,
                                live_runs=LIVE_RUNS if self.server.tenants == "several" else LIVE_RUNS_OF_ONE_TENANT,
                                conversations=self.home.store.conversations,
                                control=Control(self.governing.policy, self.home.store.ledger_of, trouble=self.governing.trouble), questions=questions,
                                alive=self._alive, stores=self.home.journal))
        self._attenuable = Attenuable(self.home.tokens, TokenKeys(self.home.token_keys))
        self._plans = Plans(runtime)
        self._ceremonies = Ceremonies(self.home.store.passkeys, now_ms)
        self._desk = Desk(runtime, self.home.store.approvals, own=self.own_approvals, needs_passkey=self._needs_passkey)
        try:
            await asyncio.gather(*(self._connect(directory, source) for source in self._sources))
            await self._connecting.list_unlisted()
            self.governing.begin(self._known)
            questions.begin(await self.home.store.approvals.waiting())
        except BaseException:
            await runtime.stop()
            await self._close()
            raise
        return runtime

    async def _close(self) -> None:
        await asyncio.gather(*(source.close() for source in self._sources), return_exceptions=True)
        await self.home.close()

    async def _connect(self, directory: ConnectedCatalog, source: Connector) -> None:
        context = ConnectorContext(
            outbound=self.home.outbound, connections=self.home.connections, cache=self.home.cache,
            changed=directory.catalog.changed, secret=self.secrets.resolve)
        try:
            await source.open(context)
            await directory.add(source)
        except InhabitError as error:
            self.problems[source.name] = error
            _log.warning("%s is left out: %s%s", source.name, error, f" ({error.fix})" if error.fix else "")

    def sources(self) -> Mapping[str, tuple[int, tuple[ConnectorProblem, ...]]]:
        """By name, how many operations each open source has, and what could not be used of it; one that nobody can reach now
        has none and says why."""
        return {source.name: (sum(1 for _ in source.operations()), source.problems()) for source in self._sources
                if source.name not in self.problems}

    @property
    def source_names(self) -> tuple[str, ...]:
        """Of every source that it was given, opened or not."""
        return tuple(source.name for source in self._sources)

    def operations(self) -> tuple[Operation, ...]:
        """Of every open source: what a policy is held against."""
        return tuple(operation for source in self._sources if source.name not in self.problems for operation in source.operations())

    @property
    def desk(self) -> Desk:
        """Where people answer. Raises `Unavailable` before `start`."""
        return _started(self._desk)

    @property
    def plans(self) -> Plans:
        """What plans would write, applied or dropped. Raises `Unavailable` before `start`."""
        return _started(self._plans)

    async def _needs_passkey(self, principal: Principal) -> bool:
        assert self._ceremonies is not None, "a desk stands in a started app"
        chosen = self.approvals.passkeys
        return chosen == "required" or (chosen == "enrolled" and await self._ceremonies.enrolled(principal))

    async def attended_for(self, principal: Principal) -> bool:
        """Whether somebody can answer what this principal's programs ask: at a start for oneself its owner, else another
        person of the tenant with an approver's token.
        """
        return self.own_approvals or await self.home.tokens.has_approver(tenant=principal.tenant, besides=principal.user, now_ms=now_ms())

    def _known(self) -> tuple[Sequence[Operation], bool]:
        return self.operations(), not self.problems and all(held for held, _ in self.sources().values())

    # -- use ----------------------------------------------------------------------------------------------

    def caller(self, principal: str | Principal, *, grant: Grant | Sequence[Any] | None = None, door: str = "python",
               attended: bool = False, conversation: str = "", closed: bool = False) -> Caller:
        """`principal` with the grant the app has for them, narrowed by `grant` when one is given."""
        who = Principal.parse(principal)
        held = self.grant_of(who)
        if grant is not None:
            held = held.within(grant if isinstance(grant, Grant) else Grant.from_value(list(grant)))
        return Caller(who, held, door, attended, conversation, closed=closed)

    def grant_of(self, principal: Principal) -> Grant:
        """The principal's own grant, else the user's, else the default, else nothing.

        A bare user name means the user of the tenant `default`: `ada` of another tenant is somebody else.
        """
        bare = (principal.user,) if principal.tenant == "default" or self.server.tenants == "single" else ()
        for key in (f"{principal.tenant}/{principal.user}", *bare, "default"):
            if key in self._grants:
                return self._grants[key]
        return Grant.nothing()

    async def execute(self, source: str, *, principal: str | Principal, language: str | None = None, input: Any = None,
                      grant: Grant | Sequence[Any] | None = None, limits: Mapping[str, Any] | None = None,
                      wait_s: float | None = None, attended: bool = False, conversation: str = "", closed: bool = False,
                      mode: Mode = "live") -> RunResult:
        """Run a program for `principal`. `attended`: somebody answers what it asks; else what would be asked for its flow of
        information is denied. `mode`: `plan` holds what it would write, for `plans`. `conversation`: whose model wrote the program; its runs know what it has read. `closed`: whoever
        wrote program and input has read nothing of strangers but through this conversation, so that what they spelled out is their own
        word. Raises `ProgramError` when nothing ran; see `Runtime.execute`.
        """
        runtime = await self.start()
        caller = self.caller(principal, grant=grant, attended=attended, conversation=conversation, closed=closed)
        return await runtime.execute(source, caller, language=language, input=input, limits=limits, wait_s=wait_s, mode=mode)

    async def search(self, query: str, *, principal: str | Principal, language: str = "typescript") -> str:
        """Declarations of the operations that fit `query`, as a model reads them."""
        runtime = await self.start()
        return await runtime.search(query, self.caller(principal), language=language)

    def tools(self, kind: str, *, principal: str | Principal, attended: bool = False, closed: bool = False) -> Any:
        """`search` and `execute` for an existing model loop, which is one conversation: "openai", "anthropic" or "pydantic-ai".
        `closed`: the loop has no other tools through which its model reads what strangers write."""
        caller = self.caller(principal, door="tools", attended=attended, conversation=f"tools:{token_hex(8)}", closed=closed)
        return model_tools(kind, self.start, caller, self.server.options(self.name).tools)

    def asgi(self) -> ASGIApp:
        """The HTTP API and `/mcp` for any ASGI host; mounted under a prefix, it starts with the first request."""
        return _Mounted(self)

    def http_app(self, check_token: TokenCheck) -> ASGIApp:
        """The same over an app that is started, for tokens that `check_token` knows."""
        home = self.home
        return create_app(
            self.runtime, journal=home.journal, check_token=check_token, blobs=home.blobs, tokens=home.tokens, backup=home.store.backup,
            connecting=self._connecting, effects=AppReview(self._sources),
            options=self.server.options(self.name), desk=self.desk, plans=self.plans, labels=home.store.conversations, attenuable=self.attenuable,
            passkeys=home.store.passkeys, ceremonies=self._ceremonies)

    @property
    def attenuable(self) -> Attenuable:
        """Tokens that their holders narrow by themselves. Raises `Unavailable` before `start`."""
        return _started(self._attenuable)

    async def check_token(self, token: str, /) -> Identity | None:
        """Who a bearer token stands for: its principal's grant as it is now, narrowed by the token's own."""
        if token.startswith(PREFIX):
            said = await self.attenuable.check(token, now_ms=now_ms())
            return None if said is None else Identity(
                said.id, said.principal, self.grant_of(said.principal).within(said.grant), attended=await self.attended_for(said.principal), attenuable=True,
                chain=said.chain)
        found = await self.home.tokens.verify(token, now_ms=now_ms())
        if found is None:
            return None
        said = authority_of(found.authority)
        return Identity(found.id, found.principal, self.grant_of(found.principal).within(said.grant), attended=await self.attended_for(found.principal),
                        approve=said.approve, vouch=said.vouch)

    async def _alive(self, header: RunHeader) -> bool:
        return await self.home.tokens.alive(header.token, tenant=header.principal.tenant, now_ms=now_ms())

    async def create_token(self, principal: str | Principal, *, grant: Grant | Sequence[Any] = ("**",), label: str = "",
                           expires_ms: int | None = None, approve: bool = False, vouch: bool = False, attenuable: bool = False) -> tuple[str, TokenRecord]:
        """A new bearer token, shown this once. It can never do more than its principal may. `approve`: it answers approvals.
        `vouch`: a product's backend that holds it may start programs as `closed`.
        `attenuable`: its holders make narrower ones from it (`inhabit.tokens.attenuate`); it ends in 30 days, or by `expires_ms`.
        """
        authority = grant if isinstance(grant, Grant) else Grant.from_value(list(grant))
        for warning in self.runtime.unmatched(authority, Grant.of("**")) if grant != ("**",) else ():
            _log.warning("a token for %s: %s", principal, warning)
        who = Principal.parse(principal)
        check_rights(who, approve=approve, vouch=vouch, attenuable=attenuable)
        if attenuable:
            return await self.attenuable.issue(who, authority, now_ms=now_ms(), expires_ms=expires_ms, label=label)
        return await self.home.tokens.create(who, authority_value(authority, approve=approve, vouch=vouch), now_ms=now_ms(),
                                             expires_ms=expires_ms, label=label)

    async def revoke_token(self, token_id: str, *, tenant: str = "default") -> None:
        """Refuse a token, and all made from it, from now on; when this returns no run that they started makes a call any more.
        Raises `NotFound`."""
        await self.runtime.revoke(await revoke(self.home.tokens, token_id, tenant=tenant, now_ms=now_ms(), by=IN_PROCESS))


class _Mounted:
    """The server's app behind a start that happens once, by lifespan or by the first request; the end of the lifespan
    that started it stops it. A host that mounts it passes no lifespan on: it stops the app in its own.
    """

    def __init__(self, app: Inhabit) -> None:
        self._app = app
        self._runtime: Runtime | None = None
        self._server: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        was_started = self._app.started
        runtime = await self._app.start()
        if self._server is None or runtime is not self._runtime:    # the app may have been stopped and started since
            self._runtime, self._server = runtime, self._app.http_app(self._app.check_token)
        await self._server(scope, receive, send)
        if scope["type"] == "lifespan" and not was_started:
            await self._app.stop()


def _started(part: _T | None) -> _T:
    if part is None:
        raise Unavailable("the app is not started", fix="use `async with app:` or `await app.start()`")
    return part


def _grants(given: Mapping[str, Any] | None, *, several: bool) -> dict[str, Grant]:
    if given is None:
        return {} if several else {"default": Grant.of("**")}
    return {user: grant if isinstance(grant, Grant) else Grant.from_value(grant) for user, grant in given.items()}
