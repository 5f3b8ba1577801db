"""Which operations of a document are over one kind of thing: they list, make, read, change, delete it.

Model: paths are grouped by their collection (`/repos/{}/{}/issues`); the item is the same with one
placeholder more. Of a group the document has to say what a thing is (the answer of the read, else a list's
items) and how the last placeholder names one. All of a group or nothing: without both a write and a read
there is nothing to lay over anything.

What is derived here is laid over what a plan reads, so where it is not clear it is left out: a thing's key
(then lists and what is made stay as they are), a parameter whose type is not the type of the member with its
name, a group with two operations in one place. The plan then names the writes that a read may not show.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inhabit.connectors.openapi.shapes import fits, kinds
from inhabit.contracts.operation import Resource
from inhabit.contracts.schema import Schemas

__all__ = ["resource_of_record", "resources_of"]

_PLACEHOLDER = re.compile(r"\{([^{}/]+)\}\Z")
_VERSIONED = re.compile(r"v?\d[\w.]*\Z|api\Z", re.IGNORECASE)
_NAMES = ("name", "slug", "number", "key", "code", "uuid", "guid", "sid", "login", "handle")
_UNIQUE = re.compile(
    r"\bunique\b.*\bidentif|\bidentif\w* (of|for) (the|this) (object|resource)", re.IGNORECASE)
_VERSIONS = (
    "etag", "_etag", "revision", "resource_version", "resourceVersion", "lock_version", "lockVersion")
_NAMING = frozenset({"string", "integer", "number"})
_ROLES = {"get": "read", "put": "replace", "patch": "update", "delete": "delete"}
_ALIKE = 0.6
"""Of the members that the answer of a create has, this share must be members of the thing: else it is a job,
not the thing.
"""


@dataclass(slots=True)
class _Group:
    """`items` and `whole`: by method; None where there are two."""

    path: str
    items: dict[str, int | None] = field(default_factory=dict[str, "int | None"])
    whole: dict[str, int | None] = field(default_factory=dict[str, "int | None"])


def resources_of(
    records: Sequence[Mapping[str, Any]], definitions: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any] | None]:
    """For each record, as the compiler makes it, the fields of its `Resource` as plain data, or None."""
    found: list[dict[str, Any] | None] = [None] * len(records)
    schemas = Schemas(definitions)
    for group in _groups(records):
        for index, resource in _Things(group, records, schemas).resources():
            found[index] = {name: value for name, value in resource.items() if name != "named"}
    return found


def resource_of_record(connector: str, held: Mapping[str, Any] | None) -> Resource | None:
    """From the plain data of `resources_of`."""
    if held is None:
        return None
    members: Sequence[Sequence[str]] | None = held["members"]
    return Resource(
        f"{connector} {held['kind']}", held["role"], held["key"], held["argument"], held["items"],
        held["version"], tuple(held["within"]), held["wrapped"],
        None if members is None else tuple((arg, name) for arg, name in members))


def _groups(records: Sequence[Mapping[str, Any]]) -> Iterable[_Group]:
    groups: dict[str, _Group] = {}
    for index, record in enumerate(records):
        segments = _segments(record["path"])
        if not segments or any("{" in part and not _PLACEHOLDER.match(part) for part in segments):
            continue
        is_item = _PLACEHOLDER.match(segments[-1]) is not None
        collection = segments[:-1] if is_item else segments
        if not any(part for part in collection if "{" not in part and not _VERSIONED.match(part)):
            continue
        path = "/" + "/".join("{}" if "{" in part else part for part in collection)
        group = groups.setdefault(path, _Group(path))
        place = group.items if is_item else group.whole
        place[record["method"]] = None if record["method"] in place else index
    return groups.values()


def _segments(path: str) -> list[str]:
    return path.strip("/").removesuffix(".json").split("/")


class _Things:
    """One group's."""

    def __init__(self, group: _Group, records: Sequence[Mapping[str, Any]], schemas: Schemas) -> None:
        self._group = group
        self._records = records
        self._schemas = schemas
        self._word = next((part for part in reversed(group.path.split("/")) if part != "{}"), "")

    def resources(self) -> Iterable[tuple[int, dict[str, Any]]]:
        items, whole = _only(self._group.items), _only(self._group.whole)
        writes = items.keys() & {"put", "patch", "delete", "post"} or whole.keys() & {"post"}
        if not writes or not (items.keys() | whole.keys()) & {"get"}:
            return ()
        key, thing = self._thing(items, whole)
        if thing is None:
            return ()
        found = self._of_one(items, key, thing) | self._of_all(whole, key, thing)
        roles = {resource["role"] for resource in found.values()}
        return found.items() if roles & {"read", "list"} and roles - {"read", "list"} else ()

    # -- what a thing is --------------------------------------------------------------------------------

    def _thing(
        self, items: Mapping[str, int], whole: Mapping[str, int],
    ) -> tuple[str, Mapping[str, Any] | None]:
        """Its key and its members: of the read's answer, else of the list's; None where neither tells."""
        named = next(iter(items.values()), None)
        if "get" in items:
            answer = self._answer(items["get"])
            if key := self._key(named, answer):
                return key, answer
            parts = [members for part in answer.values() if (members := self._schemas.members(part))]
            held = [(key, inner) for inner in parts if (key := self._key(named, inner))]
            return held[0] if len(held) == 1 else ("", answer or None)
        if "get" in whole and named is not None:
            for _, inner in self._lists(whole["get"]):
                if key := self._key(named, inner):
                    return key, inner
        if "get" in whole and named is None and "post" in whole:     # added to; nobody asks for one
            for _, inner in self._lists(whole["get"]):
                if "id" in inner:
                    return "id", inner
        return "", None

    def _answer(self, index: int) -> Mapping[str, Any]:
        return self._schemas.members(self._records[index]["output"])

    def _lists(self, index: int) -> list[tuple[str, Mapping[str, Any]]]:
        """Members of the things in a list's answer, by the member that holds them."""
        output = self._records[index]["output"]
        items = self._schemas.items(output)
        if items is not None:
            return [("", self._schemas.members(items))]
        held = [(name, self._schemas.items(part)) for name, part in self._schemas.members(output).items()]
        things = [(name, self._schemas.members(part)) for name, part in held if part is not None]
        return [(name, thing) for name, thing in things if thing]

    def _key(self, index: int | None, thing: Mapping[str, Any]) -> str:
        """The member that the last placeholder names, "" where that is not clear."""
        if index is None or not thing:
            return ""
        record = self._records[index]
        placeholder = _segments(record["path"])[-1][1:-1]
        parameter = record["input"]["properties"].get(_arguments(record).get(placeholder, ""), {})
        members = {_plain(name): name for name in thing}
        meant, own = _plain(placeholder), _singular(_plain(self._word))

        def alike(name: str, *, strictly: bool = False) -> bool:
            return name in members and self._names(parameter, thing[members[name]], strictly)

        if meant == own and own not in ("", *_NAMES, "id"):
            return self._bare(thing, members, alike)
        if alike(meant):
            return members[meant]
        for name in ("id", *_NAMES):
            stem = meant.removesuffix(name)
            if stem != meant and alike(name) and meant != "username" and (not stem or _related(stem, own)):
                return members[name]
        return ""

    def _names(self, parameter: Any, member: Any, strictly: bool) -> bool:
        """Whether a placeholder's value can be a member's; a document may call a number text in a path."""
        given, held = kinds(parameter, self._schemas) or _NAMING, kinds(member, self._schemas)
        return bool(held) and held <= _NAMING and (bool(given & held) if strictly else given <= _NAMING)

    def _bare(self, thing: Mapping[str, Any], members: Mapping[str, str], alike: Any) -> str:
        """`/customers/{customer}`: its id, where nothing else that must be there could be meant."""
        rivals = [name for name in _NAMES if alike(name, strictly=True)]
        if alike("id", strictly=True):
            said = _UNIQUE.search(str(self._schemas.plain(thing[members["id"]]).get("description", "")))
            return members["id"] if said or not rivals else ""
        return members[rivals[0]] if len(rivals) == 1 else ""

    # -- operations over one, and over all --------------------------------------------------------------

    def _of_one(
        self, items: Mapping[str, int], key: str, thing: Mapping[str, Any],
    ) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for method, index in items.items():
            changes = method == "post" and not items.keys() & {"put", "patch"}
            posted = changes and self._same(index, key, thing)
            role = _ROLES.get(method) or ("update" if posted else "")
            wrapped = self._wrapped(index, key)
            if not role or (role == "read" and wrapped is None):
                continue
            resource = self._resource(index, role, key, wrapped or "", one=True)
            if role in ("update", "replace"):
                # A thing with a new name is in another place.
                naming = {key} if key else {name for name in thing if _plain(name) in ("id", *_NAMES)}
                members = self._members(index, thing, flat=True)
                naming |= {*_VERSIONS}
                resource["members"] = [[arg, name] for arg, name in members if name not in naming]
                if not resource["members"]:
                    continue
            if resource["named"]:
                found[index] = resource
        return found

    def _of_all(
        self, whole: Mapping[str, int], key: str, thing: Mapping[str, Any],
    ) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        if "get" in whole and key:
            lists = [name for name, inner in self._lists(whole["get"]) if self._alike(inner, thing, key)]
            if len(lists) == 1:
                found[whole["get"]] = self._resource(whole["get"], "list", key, "") | {"items": lists[0]}
        if "post" in whole and key and self._same(whole["post"], key, thing):
            post = whole["post"]
            # In one of several bodies it may name another thing: the issue that becomes an item of a board.
            but = key if self._several(post) else ""
            members = [[arg, name] for arg, name in self._members(post, thing) if name != but]
            resource = self._resource(post, "create", key, self._wrapped(post, key) or "")
            found[post] = resource | {"members": members}
        return {index: resource for index, resource in found.items() if resource["named"]}

    def _same(self, index: int, key: str, thing: Mapping[str, Any]) -> bool:
        """Whether an operation answers with the thing itself."""
        wrapped = self._wrapped(index, key) if key else None
        if wrapped is None:
            return False
        answer = self._answer(index)
        inner = self._schemas.members(answer[wrapped]) if wrapped else answer
        return self._alike(inner, thing, key)

    def _alike(self, inner: Mapping[str, Any], thing: Mapping[str, Any], key: str) -> bool:
        """Whether two answers are of the same thing: they share members, and no member is of two kinds."""
        shared = [(kinds(inner[name], self._schemas), kinds(thing[name], self._schemas))
                  for name in inner if name in thing]
        if key not in inner or key not in thing or len(shared) < _ALIKE * len(inner):
            return False
        return all(one & other or not one or not other for one, other in shared)

    def _wrapped(self, index: int, key: str) -> str | None:
        """The member of an answer that is the thing, "" where the answer is; None where none is."""
        answer = self._answer(index)
        if not key or key in answer:
            return "" if answer else None
        held = [name for name, part in answer.items() if key in self._schemas.members(part)]
        return held[0] if len(held) == 1 else None

    def _members(self, index: int, thing: Mapping[str, Any], *, flat: bool = False) -> list[list[str]]:
        """Parameters of the body whose type is that of the member with the same name. `flat`: no objects and
        none in lists, since of one that is changed nobody knows what becomes of its other members.
        """
        record = self._records[index]
        body: Mapping[str, Any] = record["plan"].get("body") or {}
        if body.get("kind") not in ("json", "form", "multipart"):
            return []
        properties = record["input"]["properties"]
        props: Mapping[str, str] = body.get("props", {})
        given: dict[str, tuple[str, Any]] = {arg: (name, properties[arg]) for arg, name in props.items()}
        if "arg" in body:
            inner = self._schemas.members(properties[body["arg"]])
            given = {f"{body['arg']}.{name}": (name, part) for name, part in inner.items()}
        spelled = Counter(_plain(name) for name in thing)
        members = {_plain(name): name for name in thing if spelled[_plain(name)] == 1}
        found = [(arg, name if name in thing else members.get(_plain(name), ""), part)
                 for arg, (name, part) in given.items()]
        return [[arg, name] for arg, name, part in found
                if name and fits(part, thing[name], self._schemas, flat=flat)]

    def _several(self, index: int) -> bool:
        """Whether a body can have one of several forms."""
        record = self._records[index]
        body: Mapping[str, Any] = record["plan"].get("body") or {}
        arg = body.get("arg")
        return arg is not None and len(self._schemas.variants(record["input"]["properties"][arg])) > 1

    def _resource(
        self, index: int, role: str, key: str, wrapped: str, *, one: bool = False,
    ) -> dict[str, Any]:
        """`named`: whether all placeholders of the path are parameters."""
        record = self._records[index]
        arguments = _arguments(record)
        names = [arguments.get(part[1:-1], "") for part in _segments(record["path"]) if "{" in part]
        answer = self._answer(index)
        thing = self._schemas.members(answer[wrapped]) if wrapped else answer
        version = next((name for name in _VERSIONS if name in thing), "") if role != "delete" else ""
        return {"kind": self._group.path, "role": role, "key": key, "argument": names[-1] if one else "",
                "within": names[:-1] if one else names, "wrapped": wrapped, "items": "", "version": version,
                "members": None, "named": all(names)}


def _arguments(record: Mapping[str, Any]) -> dict[str, str]:
    """The parameter of each placeholder."""
    return {entry["name"]: entry["arg"] for entry in record["plan"]["params"] if entry["in"] == "path"}


def _only(found: Mapping[str, int | None]) -> dict[str, int]:
    return {method: index for method, index in found.items() if index is not None}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _related(stem: str, own: str) -> bool:
    """Whether `{issue_number}`, `{repo_id}` speak of the collection's own things."""
    return stem == own or own.endswith(stem) or stem.endswith(own) or own.startswith(stem)
