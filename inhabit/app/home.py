"""What an app keeps on disk, opened together and closed together.

    tenants/NAME/    a tenant's runs, values, questions, usage, conversations (journal.db) and upstream credentials (connections.db)
    server.db        tokens; its lock makes the home one process's
    audit.key        signs the audit logs of all stores
    connections.db   registrations at sign-in servers, sign-ins under way; connections.key seals credentials
    tokens.keys      what attenuable tokens are signed with
    effects.json     effects of MCP tools that a person confirmed
    cache/           indexes, compiled descriptions, engine images; may be deleted at any time
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from inhabit.connectors.connections import OAuthConnections
from inhabit.connectors.oauth import OAuthFlows
from inhabit.contracts.clock import now_ms
from inhabit.egress import Broker
from inhabit.errors import Unavailable
from inhabit.store.retention import Retention
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.journal import TenantsJournal
from inhabit.store.tenants.readings import TenantsBlobs
from inhabit.store.tenants.stores import Stores
from inhabit.store.tokens import TokenStore

__all__ = ["Home"]

_NO_WAY_BACK = "http://127.0.0.1/"


class Home:
    """Paths of an app; its stores between `open` and `close`. `url`: where people reach the app, once it is known.
    `outbound`: the one way out, of its sources and of sign-ins: one trust store is read for all."""

    def __init__(self, path: Path, *, url: str | None = None, retention: Retention | None = None) -> None:
        self.path = path
        self.url = url
        self.retention = retention or Retention()
        self.outbound = Broker()
        self._store: Stores | None = None
        self._connections: OAuthConnections | None = None
        self._flows: OAuthFlows | None = None

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def effects(self) -> Path:
        return self.path / "effects.json"

    @property
    def token_keys(self) -> Path:
        return self.path / "tokens.keys"

    @property
    def store(self) -> Stores:
        """Raises `Unavailable` while the home is not open."""
        if self._store is None:
            raise Unavailable("the app's home is not open", fix="start the app first")
        return self._store

    @property
    def journal(self) -> TenantsJournal:
        return self.store.journal

    @property
    def blobs(self) -> TenantsBlobs:
        return self.store.blobs

    @property
    def tokens(self) -> TokenStore:
        return self.store.tokens

    @property
    def connections(self) -> OAuthConnections:
        """Upstream credentials, one per principal and source. Raises `Unavailable` while the home is not open."""
        if self._connections is None:
            raise Unavailable("the app's home is not open", fix="start the app first")
        return self._connections

    @property
    def flows(self) -> OAuthFlows:
        """Sign-ins at OAuth servers. Raises `Unavailable` while the home is not open."""
        if self._flows is None:
            raise Unavailable("the app's home is not open", fix="start the app first")
        return self._flows

    def open(self) -> None:
        """Open the stores; what is older than the retention is forgotten from time to time. Within an event loop.

        Raises `Unavailable`: in use by another process, not writable, damaged."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.cache.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written: {error.strerror}",
                              fix="make it writable for this user, or name another home") from error
        stores = Stores.open(self.path, now_ms)     # takes the home
        try:
            self._vault = TenantsConnections(self.path)
        except BaseException:
            stores.close_now()
            raise
        self._store = stores
        self._flows = OAuthFlows(self.outbound, self._vault, redirect_uri=_NO_WAY_BACK)      # each sign-in names its own way back
        self._connections = OAuthConnections(self._vault, self._flows, connect_url=self._connect_url)
        self._tasks = [asyncio.create_task(self._store.keep_pruning(now_ms, self.retention), name="prune the stores"),
                       asyncio.create_task(self._store.keep_closing(), name="close stores that nobody uses")]

    async def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            self._connections = self._flows = None
            self._vault.close()
            await store.close()

    def _connect_url(self, connector: str) -> str | None:
        return f"{self.url.rstrip('/')}/connect/{connector}" if self.url else None
