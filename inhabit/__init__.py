"""Inhabit: a safe place to run the programs that models write, over the systems you have.

The names below are loaded when they are first used: a jailed worker imports rooms of this package and must not
carry the server with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inhabit.app import Inhabit
    from inhabit.app.sources import http, mcp, openapi, sql
    from inhabit.connectors.functions import Capability
    from inhabit.connectors.http import HostGrant
    from inhabit.contracts.connector import Call
    from inhabit.contracts.effects import Effects
    from inhabit.contracts.principal import Principal
    from inhabit.contracts.reconciled import Reconciled
    from inhabit.contracts.result import RunResult
    from inhabit.errors import CallError, Denied, InhabitError
    from inhabit.kernel.grants import Grant
    from inhabit.limits import Limits
    from inhabit.runtime.extraction import Extraction
    from inhabit.store.retention import Retention

__all__ = [
    "Call", "CallError", "Capability", "Denied", "Effects", "Extraction", "Grant", "HostGrant", "Inhabit", "InhabitError", "Limits", "Principal",
    "Reconciled", "Retention", "RunResult", "http", "mcp", "openapi", "sql",
]

_HOMES = {
    "Call": "inhabit.contracts.connector", "CallError": "inhabit.errors", "Capability": "inhabit.connectors.functions",
    "Denied": "inhabit.errors", "HostGrant": "inhabit.connectors.http",
    "Effects": "inhabit.contracts.effects", "Extraction": "inhabit.runtime.extraction", "Grant": "inhabit.kernel.grants", "Inhabit": "inhabit.app",
    "InhabitError": "inhabit.errors", "Limits": "inhabit.limits", "Principal": "inhabit.contracts.principal",
    "Reconciled": "inhabit.contracts.reconciled", "Retention": "inhabit.store.retention", "RunResult": "inhabit.contracts.result", "http": "inhabit.app.sources", "mcp": "inhabit.app.sources",
    "openapi": "inhabit.app.sources", "sql": "inhabit.app.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'inhabit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
