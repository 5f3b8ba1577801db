"""What a plan would have written, laid over what it reads.

Model: things by kind, what they lie in and key, as `Resource` declares them of operations. A held write changes its thing
here; a later read of the run gets the live thing with that laid over, and a thing that only the plan has is answered from
here alone, in the shape that the read declares (`fit`).

It knows fields, not meaning: a list shows a thing that was made or changed where every argument that is also a member of it
is equal, and other filters, orders and pages are the upstream's. Of a write it lays over what it was given and what its
preview told; what was made up for want of both is never laid over what is live.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Resource
from inhabit.errors import CallError
from inhabit.policy.results import REDACTED

__all__ = ["Fit", "Overlay", "name_of", "spread", "unwrapped"]

Fit = Callable[[Mapping[str, Any]], dict[str, Any]]
_PAGING = frozenset({"page", "cursor", "offset", "after", "page_token", "pageToken", "starting_after"})
_SEEN_MOST = 10_000
_Named = tuple[str, ...]
_EMPTY: Mapping[str, Any] = {}


class Overlay:
    """That of one run."""

    def __init__(self) -> None:
        self._changed: dict[_Named, dict[str, Any] | None] = {}
        self._made: dict[_Named, None] = {}
        self._seen: dict[_Named, Mapping[str, Any]] = {}

    def known(self, resource: Resource | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Members that the answer of a write would have: those of the thing as the run knows it, then those given."""
        if resource is None:
            return dict(arguments)
        if resource.role == "create":
            return _given(resource, arguments)
        named = name_of(resource, arguments)
        before = {} if resource.role == "replace" else {**self._seen.get(named, {}), **(self._changed.get(named) or {})}
        key = {resource.key: arguments.get(resource.argument)} if resource.key else {}
        return {**before, **_given(resource, arguments), **key}

    def write(self, resource: Resource, arguments: Mapping[str, Any], answer: Any, told: Collection[str]) -> None:
        """A held write was answered. `told`: members of the answer that are no guess."""
        thing = unwrapped(resource, answer)
        if resource.role == "create":
            key = thing.get(resource.key, REDACTED)
            if key not in (None, "", REDACTED):   # else nobody can ask for it
                named = name_of(resource, arguments, key)
                self._made[named] = None
                self._changed[named] = {**_given(resource, arguments), **thing}
            return
        named = name_of(resource, arguments)
        if resource.role == "delete":
            self._changed[named] = None
            return
        # What a rule hides of the answer is not laid over reads of which it is not hidden.
        shown = {name: thing[name] for name in told if name in thing and not _hides(thing[name])}
        self._changed[named] = {**(self._changed.get(named) or {}), **_given(resource, arguments), **shown}

    def alone(self, resource: Resource | None, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """A thing that nobody upstream has. Raises `CallError` for one that the run has deleted."""
        if resource is None or resource.role in ("create", "list"):
            return None
        named = name_of(resource, arguments)
        changed = self._changed.get(named, {})
        if changed is None:
            raise CallError(f"there is no {resource.kind} {named[-1][:100]}: this plan deletes it", code="not_found")
        return dict(changed) if named in self._made else None

    def puts(self, resource: Resource | None, arguments: Mapping[str, Any]) -> bool:
        """Whether the run has written the one thing that a read is about."""
        return resource is not None and resource.role == "read" and bool(self.planned(resource, arguments))

    def planned(self, resource: Resource | None, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Members that the run has given the thing that a call is about."""
        return None if resource is None or resource.role in ("create", "list") else self._changed.get(name_of(resource, arguments))

    def saw(self, resource: Resource | None, arguments: Mapping[str, Any], told: Any) -> None:
        """The program was told this of a read: answers that are made up may repeat it."""
        if resource is None or resource.role not in ("read", "list"):
            return
        if resource.role == "read":
            self._keep(name_of(resource, arguments), unwrapped(resource, told))
            return
        inner = _member(told, resource.items)
        for thing in inner if is_array(inner) and resource.key else ():
            if is_object(thing):
                self._keep(name_of(resource, arguments, thing.get(resource.key)), thing)

    def _keep(self, named: _Named, thing: Mapping[str, Any]) -> None:
        if len(self._seen) < _SEEN_MOST:
            self._seen[named] = thing

    def read(self, resource: Resource | None, arguments: Mapping[str, Any], value: Any, fit: Fit) -> Any:
        """A live result with what was written laid over it; the same object where nothing was."""
        if resource is None or not any(named[0] == resource.kind for named in self._changed):
            return value
        if resource.role == "read":
            changed = self._changed.get(name_of(resource, arguments))
            inner = _member(value, resource.wrapped)
            return _put(value, resource.wrapped, {**inner, **changed}) if changed and is_object(inner) else value
        if resource.role != "list" or not resource.key:
            return value
        inner = _member(value, resource.items)
        return _put(value, resource.items, self._list(resource, arguments, inner, fit)) if is_array(inner) else value

    def _list(self, resource: Resource, arguments: Mapping[str, Any], things: Any, fit: Fit) -> list[Any]:
        filters = {name: value for name, value in arguments.items() if name not in resource.within}
        shown: list[Any] = []
        for thing in things:
            changed = self._changed.get(name_of(resource, arguments, thing.get(resource.key)), _EMPTY) if is_object(thing) else _EMPTY
            if changed is None:
                continue
            laid = {**thing, **{name: value for name, value in changed.items() if name in thing}} if changed else thing
            if not changed or _fits(laid, filters):
                shown.append(laid)
        if not _PAGING & arguments.keys():
            here = name_of(resource, arguments, "")[:-1]
            made = [self._changed[named] for named in self._made if named[:-1] == here]
            shown += [fit(thing) for thing in made if thing is not None and _fits(thing, filters)]
        return shown


def unwrapped(resource: Resource, answer: Any) -> Mapping[str, Any]:
    """The one thing in an answer, nothing where there is none."""
    inner = _member(answer, resource.wrapped)
    return inner if is_object(inner) else _EMPTY


def _member(value: Any, name: str) -> Any:
    if not name:
        return value
    return value.get(name) if is_object(value) else None


def _put(value: Any, name: str, inner: Any) -> Any:
    return {**value, name: inner} if name else inner


def name_of(resource: Resource, arguments: Mapping[str, Any], key: Any = None) -> _Named:
    where = (str(arguments.get(name)) for name in resource.within)
    return (resource.kind, *where, str(arguments.get(resource.argument) if key is None else key))


def spread(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, where `members` speaks of `body.title` those in `body` instead of it."""
    whole = {name.partition(".")[0] for name, _ in resource.members or () if "." in name}
    flat = {name: value for name, value in arguments.items() if name not in whole or not is_object(value)}
    for name in whole:
        inner = arguments.get(name)
        flat.update({f"{name}.{member}": value for member, value in inner.items()} if is_object(inner) else {})
    return flat


def _given(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Members of the thing that a write was given."""
    if resource.members is not None:
        flat = spread(resource, arguments)
        return {member: flat[name] for name, member in resource.members if name in flat}
    return {name: value for name, value in arguments.items() if name != resource.argument and name not in resource.within}


def _hides(value: Any) -> bool:
    if is_object(value):
        return any(_hides(member) for member in value.values())
    return any(_hides(item) for item in value) if is_array(value) else value == REDACTED


def _fits(thing: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    return all(thing[name] == value for name, value in arguments.items() if name in thing)
