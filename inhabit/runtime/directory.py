"""The catalog and the connectors behind it, as the bridge wants to see them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from inhabit.catalog import Catalog
from inhabit.contracts.connector import Connector
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal

__all__ = ["ConnectedCatalog"]

_log = logging.getLogger(__name__)


class ConnectedCatalog:
    """Implements `bridge.Directory`. Connectors are added once they are open."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.connectors: dict[str, Connector] = {}

    async def add(self, connector: Connector) -> None:
        self.connectors[connector.name] = connector
        await self.catalog.add(connector)

    def operation(self, name: str) -> Operation | None:
        return self.catalog.operation(name)

    def connector_of(self, operation: Operation) -> Connector:
        return self.connectors[operation.connector]

    def nearest(self, name: str, visible: Callable[[str], bool] | None) -> tuple[str, ...]:
        return tuple(self.catalog.nearest(name, visible))

    def observe(self, operation: Operation, principal: Principal, value: Any) -> None:
        drift = self.catalog.observe(operation.name, principal.tenant, value)
        if drift:
            _log.warning("%s answers in a new shape: %s", operation.name, drift)
