"""What a plan would have written, laid over what it reads.

Model: things by kind and key, as `Resource` declares them of operations. A held write changes its thing here; a later read
of the run gets the live thing with that laid over, and a thing that only the plan has is answered from here alone.

It knows fields, not meaning: a list shows a new thing where every argument that is also a member of it is equal, and
other filters, orders and pages are the upstream's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Resource
from inhabit.errors import CallError
from inhabit.policy.results import REDACTED

__all__ = ["Overlay"]

_PAGING = frozenset({"page", "cursor", "offset", "after", "page_token", "pageToken", "starting_after"})
_SEEN_MOST = 10_000


class Overlay:
    """That of one run."""

    def __init__(self) -> None:
        self._changed: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._made: dict[tuple[str, str], None] = {}
        self._seen: dict[tuple[str, str], Mapping[str, Any]] = {}

    def known(self, resource: Resource | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Members that the answer of a write would have: those of the thing as the run knows it, then those given."""
        if resource is None:
            return dict(arguments)
        given = {name: value for name, value in arguments.items() if name != resource.argument}
        if resource.role == "create":
            return given
        named = _named(resource, arguments)
        before = {} if resource.role == "replace" else {**self._seen.get(named, {}), **(self._changed.get(named) or {})}
        return {**before, **given, resource.key: arguments.get(resource.argument)}

    def write(self, resource: Resource, arguments: Mapping[str, Any], answer: Any) -> None:
        """A held write was answered."""
        if resource.role == "delete":
            self._changed[_named(resource, arguments)] = None
            return
        told: Mapping[str, Any] = answer if is_object(answer) else {}
        if resource.role == "create":
            key = told.get(resource.key, REDACTED)
            if key != REDACTED:   # else nobody can ask for it
                self._made[resource.kind, str(key)] = None
                self._changed[resource.kind, str(key)] = {**self.known(resource, arguments), **told}
            return
        # What a rule hides of the answer is not laid over reads of which it is not hidden.
        shown = {name: value for name, value in told.items() if not _hides(value)}
        self._changed[_named(resource, arguments)] = {**self.known(resource, arguments), **shown}

    def alone(self, resource: Resource | None, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """A thing that nobody upstream has. Raises `CallError` for one that the run has deleted."""
        if resource is None or resource.role != "read":
            return None
        named = _named(resource, arguments)
        changed = self._changed.get(named, {})
        if changed is None:
            raise CallError(f"there is no {resource.kind} {named[1][:100]}: this plan deletes it", code="not_found")
        return dict(changed) if named in self._made else None

    def saw(self, resource: Resource | None, told: Any) -> None:
        """The program was told this of a read: answers that are made up may repeat it."""
        if resource is None or resource.role not in ("read", "list"):
            return
        inner = told.get(resource.items) if resource.role == "list" and resource.items and is_object(told) else told
        for thing in inner if is_array(inner) else (inner,):
            if is_object(thing) and len(self._seen) < _SEEN_MOST:
                self._seen[resource.kind, str(thing.get(resource.key))] = thing

    def read(self, resource: Resource | None, arguments: Mapping[str, Any], value: Any) -> Any:
        """A live result with what was written laid over it."""
        if resource is None:
            return value
        if resource.role == "read":
            return self._thing(resource, value) if is_object(value) else value
        if resource.role != "list":
            return value
        if not resource.items:
            return self._list(resource, arguments, value) if is_array(value) else value
        held = value.get(resource.items) if is_object(value) else None
        return {**value, resource.items: self._list(resource, arguments, held)} if is_array(held) else value

    def _list(self, resource: Resource, arguments: Mapping[str, Any], things: Any) -> list[Any]:
        shown: list[Any] = []
        for thing in things:
            if not is_object(thing):
                shown.append(thing)
            elif self._changed.get((resource.kind, str(thing.get(resource.key))), {}) is not None:
                shown.append(self._thing(resource, thing))
        if not _PAGING & arguments.keys():
            made = (self._changed[named] for named in self._made if named[0] == resource.kind)
            shown += [dict(thing) for thing in made if thing is not None and _fits(thing, arguments)]
        return shown

    def _thing(self, resource: Resource, thing: Mapping[str, Any]) -> dict[str, Any]:
        return {**thing, **(self._changed.get((resource.kind, str(thing.get(resource.key)))) or {})}


def _named(resource: Resource, arguments: Mapping[str, Any]) -> tuple[str, str]:
    return resource.kind, str(arguments.get(resource.argument))


def _hides(value: Any) -> bool:
    if is_object(value):
        return any(_hides(member) for member in value.values())
    return any(_hides(item) for item in value) if is_array(value) else value == REDACTED


def _fits(thing: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    return all(thing[name] == value for name, value in arguments.items() if name in thing)
