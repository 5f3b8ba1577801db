"""Whose runs a caller may see: its own tenant's and user's, as far as its own authority reaches.

A run's journal holds what its operations answered. So it is shown to a caller whose grant holds every layer that
the run was started under, or else shows each operation that the run could call: a token that was handed a part
reads no more of the past than it could ask for now. An agent sees the runs of that agent only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import RunHeader
from inhabit.kernel.grants import Clause, Grant

__all__ = ["may_see"]

_ALL = (Clause("**"),)


def may_see(principal: Principal, grant: Grant, header: RunHeader, names: Iterable[str]) -> bool:
    """`names`: every operation there is."""
    owner = header.principal
    if (owner.tenant, owner.user) != (principal.tenant, principal.user) or principal.agent not in (None, owner.agent):
        return False
    return _reaches(grant, header.grant, names)


def _reaches(grant: Grant, recorded: Mapping[str, Any], names: Iterable[str]) -> bool:
    bounds = [layer for layer in grant.layers if layer != _ALL]
    if not bounds or not recorded:
        return True
    then = Grant.from_value(recorded)
    if all(layer in then.layers for layer in bounds):
        return True
    return all(grant.shows(name) for name in names if then.shows(name))
