"""Output types learnt from results, where an operation declares none.

A record keeps shape only: which types were seen where, in how many values, which properties were missing at
times. Never a value, and never a key that could be one: an object whose keys look like data (ids, e-mails,
dates, free text, too many of them) becomes a record `{[key: string]: T}`. Records belong to a tenant; one
tenant's results never shape what another sees. Files: one a tenant and operation, rewritten only when the
shape changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from inhabit.catalog.nodes import is_list, is_object, list_of, object_of
from inhabit.catalog.shapes import ANYTHING, Array, Object, Property, Record, Scalar, Shape, Union

__all__ = ["OBSERVED", "Observations", "forget_learnt"]

OBSERVED = "observed"
"""The folder, in a home's cache."""

_MAX_DEPTH = 8
_MAX_KEYS = 60
_MAX_NODES = 2_000
_SAMPLED_ITEMS = 50
_KEPT = 5_000
_SAME_TYPED_KEYS = 12
"""As many keys with one scalar type are more likely a table keyed by data than a structure."""
_ENOUGH = 3
"""Values seen before a difference counts as drift."""
_MAX_DRIFTS = 5

_PLAIN_KEY = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$-]{0,47}\Z")
_DATA_KEY = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-|[0-9a-fA-F]{12,}\Z|.*\d{4}[-_]\d{2}|.*\d{5}|[A-Za-z0-9]{20,}\Z(?<=\d)|(?=.*\d.*\d.*\d)[A-Za-z0-9_-]{10,}\Z"
    r"|[A-Z]{1,4}[-_]?\d+\Z|.*@.")

_KINDS = frozenset({"null", "boolean", "integer", "number", "string", "array", "object", "binary", "any"})

Learnt = dict[str, Any]
"""`{"n": values seen, "types": [scalar names], "keys": {name: Learnt}, "record": Learnt, "items": Learnt}`."""


class Observations:
    """Learnt shapes by tenant and operation, remembered in memory and on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: OrderedDict[tuple[str, str], Learnt | None] = OrderedDict()

    def observe(self, operation: str, tenant: str, value: Any) -> tuple[str, ...]:
        """Learn from one result. Returns how it contradicts what was recorded; empty when it does not."""
        before = self._load(operation, tenant)
        seen = _learn(value, 0, [_MAX_NODES])
        drifts = tuple(_drifts(before, seen, "result")[:_MAX_DRIFTS]) if before and before["n"] >= _ENOUGH else ()
        after = _merge(before, seen) if before else seen
        self._hold(operation, tenant, after)
        if before is None or before["n"] <= _ENOUGH or _signature(before) != _signature(after):
            self._save(operation, tenant, after)
        return drifts

    def shape(self, operation: str, tenant: str) -> Shape | None:
        """What was learnt, as a type."""
        learnt = self._load(operation, tenant)
        return None if learnt is None else _shape(learnt)

    def _load(self, operation: str, tenant: str) -> Learnt | None:
        key = (tenant, operation)
        if key not in self._held:
            self._hold(operation, tenant, self._read(operation, tenant))
        self._held.move_to_end(key)
        return self._held[key]

    def _hold(self, operation: str, tenant: str, learnt: Learnt | None) -> None:
        self._held[(tenant, operation)] = learnt
        if len(self._held) > _KEPT:
            self._held.popitem(last=False)

    def _path(self, operation: str, tenant: str) -> Path:
        return self._folder / _of(tenant) / f"{hashlib.sha256(operation.encode()).hexdigest()[:24]}.json"

    def _read(self, operation: str, tenant: str) -> Learnt | None:
        try:
            stored = orjson.loads(self._path(operation, tenant).read_bytes())
            learnt = stored["learnt"]
            return learnt if stored["operation"] == operation and _well_formed(learnt) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _save(self, operation: str, tenant: str, learnt: Learnt) -> None:
        path = self._path(operation, tenant)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(orjson.dumps({"operation": operation, "learnt": learnt}))
            temporary.replace(path)
        except OSError:   # remembered in memory only, then
            with suppress(OSError):
                temporary.unlink()


def forget_learnt(cache: Path, tenant: str) -> None:
    """Remove what was learnt of a tenant's results, while no server runs: a name of a field may be somebody's. Raises `OSError`."""
    if (folder := cache / OBSERVED / _of(tenant)).exists():
        shutil.rmtree(folder)


def _of(tenant: str) -> str:
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]


def _well_formed(stored: object) -> bool:
    """Whether a stored record has the form that this module writes."""
    learnt = object_of(stored)
    if not isinstance(learnt.get("n"), int) or not set(map(str, list_of(learnt.get("types")))) <= _KINDS or "types" not in learnt:
        return False
    inner = [*(learnt[word] for word in ("items", "record") if word in learnt), *object_of(learnt.get("keys")).values()]
    return all(map(_well_formed, inner))


def _learn(value: Any, depth: int, budget: list[int]) -> Learnt:
    """The shape of one value. `budget` is what is left of the nodes to look at."""
    budget[0] -= 1
    if depth > _MAX_DEPTH or budget[0] <= 0:
        return {"n": 1, "types": ["any"]}
    match value:
        case None:
            return {"n": 1, "types": ["null"]}
        case bool():
            return {"n": 1, "types": ["boolean"]}
        case int():
            return {"n": 1, "types": ["integer"]}
        case float():
            return {"n": 1, "types": ["number"]}
        case str():
            return {"n": 1, "types": ["string"]}
        case _ if is_list(value):
            return _learn_array(value, depth, budget)
        case _ if is_object(value):
            return _learn_object(value, depth, budget)
        case _:
            return {"n": 1, "types": ["any"]}


def _learn_array(value: Sequence[Any], depth: int, budget: list[int]) -> Learnt:
    learnt: Learnt = {"n": 1, "types": ["array"]}
    for item in value[:_SAMPLED_ITEMS]:
        one = _learn(item, depth + 1, budget)
        learnt["items"] = _merge(learnt["items"], one) if "items" in learnt else one
    return learnt


def _learn_object(value: Mapping[Any, Any], depth: int, budget: list[int]) -> Learnt:
    if "$binary" in value:
        return {"n": 1, "types": ["binary"]}
    as_data = len(value) > _MAX_KEYS or not all(isinstance(key, str) and _structural(key) for key in value)
    inner = {str(key): _learn(item, depth + 1, budget) for key, item in list(value.items())[:_SAMPLED_ITEMS * 2]}
    learnt: Learnt = {"n": 1, "types": ["object"]}
    if as_data or _table(inner):
        learnt["record"] = _together(inner)
    else:
        learnt["keys"] = inner
    return learnt


def _structural(key: str) -> bool:
    return bool(_PLAIN_KEY.match(key)) and not _DATA_KEY.match(key)


def _table(keys: Mapping[str, Learnt]) -> bool:
    """Many keys whose values are all of one scalar type."""
    if len(keys) < _SAME_TYPED_KEYS:
        return False
    kinds = {tuple(one["types"]) for one in keys.values()}
    return len(kinds) == 1 and kinds != {("object",)} and kinds != {("array",)}


def _together(keys: Mapping[str, Learnt]) -> Learnt:
    merged: Learnt | None = None
    for one in keys.values():
        merged = one if merged is None else _merge(merged, one)
    return merged or {"n": 0, "types": []}


def _merge(left: Learnt, right: Learnt) -> Learnt:
    """What both have shown; a record absorbs keys."""
    merged: Learnt = {"n": left["n"] + right["n"], "types": sorted({*left["types"], *right["types"]})}
    for word in ("items", "record"):
        if word in left and word in right:
            merged[word] = _merge(left[word], right[word])
        elif word in left or word in right:
            merged[word] = left.get(word) or right[word]
    keys = _merged_keys(left.get("keys"), right.get("keys"))
    if keys is not None:
        if "record" in merged or len(keys) > _MAX_KEYS or _table(keys):
            absorbed = _together(keys)
            merged["record"] = _merge(merged["record"], absorbed) if "record" in merged else absorbed
        else:
            merged["keys"] = keys
    return merged


def _merged_keys(left: dict[str, Learnt] | None, right: dict[str, Learnt] | None) -> dict[str, Learnt] | None:
    if left is None or right is None:
        return left if right is None else right
    return {key: _merge(left[key], right[key]) if key in left and key in right else left.get(key) or right[key]
            for key in {**left, **right}}


def _drifts(before: Learnt, seen: Learnt, path: str) -> list[str]:
    """Where a new value has a type that was never seen, or lacks what was always there."""
    known = set(before["types"])
    new = [kind for kind in seen["types"] if kind not in known and not (kind == "integer" and "number" in known) and "any" not in known]
    found = [f"{path}: {' or '.join(before['types'])} became {' or '.join(new)}"] if new and before["types"] else []
    if "items" in before and "items" in seen:
        found.extend(_drifts(before["items"], seen["items"], f"{path}[]"))
    if "record" in before and "record" in seen:
        found.extend(_drifts(before["record"], seen["record"], f"{path}[*]"))
    if "keys" in before and "keys" in seen:
        objects = max((one["n"] for one in before["keys"].values()), default=0)
        for key, one in before["keys"].items():
            if key in seen["keys"]:
                found.extend(_drifts(one, seen["keys"][key], f"{path}.{key}"))
            elif objects >= _ENOUGH and one["n"] == objects:
                found.append(f"{path}.{key}: always there before, missing now")
    return found


def _signature(learnt: Learnt) -> Any:
    """The shape without its counts, but with what is optional."""
    keys = learnt.get("keys")
    most = max((one["n"] for one in keys.values()), default=0) if keys else 0
    return (learnt["types"], _signature(learnt["items"]) if "items" in learnt else None,
            _signature(learnt["record"]) if "record" in learnt else None,
            {key: (one["n"] == most, _signature(one)) for key, one in keys.items()} if keys is not None else None)


def _shape(learnt: Learnt) -> Shape:
    if "any" in learnt["types"] or not learnt["types"]:
        return ANYTHING
    options: list[Shape] = []
    for kind in learnt["types"]:
        if kind == "array":
            options.append(Array(_shape(learnt["items"]) if "items" in learnt else ANYTHING))
        elif kind == "object":
            options.append(_object(learnt))
        elif kind == "binary":
            options.append(Record(ANYTHING))
        elif not (kind == "integer" and "number" in learnt["types"]):
            options.append(Scalar(kind))
    options.sort(key=lambda one: one == Scalar("null"))
    return options[0] if len(options) == 1 else Union(tuple(options))


def _object(learnt: Learnt) -> Shape:
    if "record" in learnt:
        return Record(_shape(learnt["record"]))
    keys: Mapping[str, Learnt] = learnt.get("keys", {})
    if not keys:
        return Record(ANYTHING)
    most = max(one["n"] for one in keys.values())
    return Object(tuple(Property(key, _shape(one), one["n"] == most) for key, one in keys.items()))
