"""What an app keeps on disk, opened together and closed together.

    journal.db       runs, binary values, tokens
    connections.db   sealed upstream credentials, key in connections.key
    tokens.keys      what attenuable tokens are signed with
    effects.json     effects of MCP tools that a person confirmed
    cache/           indexes, compiled descriptions, engine images; may be deleted at any time
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from inhabit.connectors.connections import OAuthConnections
from inhabit.connectors.oauth import OAuthFlows
from inhabit.contracts.clock import now_ms
from inhabit.egress import Broker
from inhabit.errors import Unavailable
from inhabit.store.blobs import SqliteBlobs
from inhabit.store.connections import ConnectionStore
from inhabit.store.journal import SqliteJournal
from inhabit.store.ledger import Ledger
from inhabit.store.store import Store
from inhabit.store.tokens import TokenStore

__all__ = ["Home"]

_log = logging.getLogger(__name__)
_PRUNE_EVERY_S = 3_600
_NO_WAY_BACK = "http://127.0.0.1/"


class Home:
    """Paths of an app; its stores between `open` and `close`. `url`: where people reach the app, once it is known.
    `outbound`: the one way out, of its sources and of sign-ins: one trust store is read for all."""

    def __init__(self, path: Path, *, url: str | None = None) -> None:
        self.path = path
        self.url = url
        self.outbound = Broker()
        self._store: Store | None = None
        self._ledger: Ledger | None = None
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
    def store(self) -> Store:
        """Raises `Unavailable` while the home is not open."""
        if self._store is None:
            raise Unavailable("the app's home is not open", fix="start the app first")
        return self._store

    @property
    def journal(self) -> SqliteJournal:
        return self.store.journal

    @property
    def blobs(self) -> SqliteBlobs:
        return self.store.blobs

    @property
    def tokens(self) -> TokenStore:
        return self.store.tokens

    @property
    def ledger(self) -> Ledger:
        """Usage of the policy's limits. Raises `Unavailable` while the home is not open."""
        if self._ledger is None:
            raise Unavailable("the app's home is not open", fix="start the app first")
        return self._ledger

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
        self._vault = ConnectionStore(self.path / "connections.db", self.path / "connections.key")
        try:
            self._store = Store.open(self.path / "journal.db")
        except BaseException:
            self._vault.close()
            raise
        self._flows = OAuthFlows(self.outbound, self._vault, redirect_uri=_NO_WAY_BACK)      # each sign-in names its own way back
        self._connections = OAuthConnections(self._vault, self._flows, connect_url=self._connect_url)
        self._ledger = self._store.ledger(now_ms())
        self._tasks = [asyncio.create_task(self._store.keep_pruning(now_ms), name="prune the journal"),
                       asyncio.create_task(_keep_pruning(self._ledger), name="prune the ledger")]

    async def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            self._ledger = None
            self._connections = self._flows = None
            self._vault.close()
            await store.close()

    def _connect_url(self, connector: str) -> str | None:
        return f"{self.url.rstrip('/')}/connect/{connector}" if self.url else None


async def _keep_pruning(ledger: Ledger) -> None:
    """Until cancelled. What cannot be pruned now is pruned an hour later."""
    while True:
        try:
            await ledger.prune()
        except Unavailable as error:
            _log.warning("the ledger was not pruned: %s", error)
        await asyncio.sleep(_PRUNE_EVERY_S)
