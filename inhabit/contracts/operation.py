"""One typed function of a capability: the shape that every connector gives and every room reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from inhabit.contracts.effects import UNKNOWN_EFFECTS, Effects
from inhabit.contracts.json import is_array, is_object

__all__ = ["ErrorDoc", "Operation", "Resource", "Schema"]

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12). References have the form `#/$defs/NAME` and point into `Operation.definitions`."""


@dataclass(frozen=True, slots=True)
class ErrorDoc:
    """An error that the operation documents: the code a program can match, and when it occurs."""

    code: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """How an operation stands to a kind of things, so that a plan's later reads see what its earlier writes would have
    done. `kind`: the same word in all operations over them. `argument`: the parameter that names a thing (none for `create`
    and `list`, nor, with `key` "", where there is only one); `within`: those that name what it lies in, outermost first. `key`: the member of a thing that names it, "" where
    that is not known: then lists and what is made are left as they are. `items`: the member of a list's answer that holds the things, ""
    where the answer is the list; `wrapped`: the same of an answer with one thing. `version`: the member that changes whenever a thing
    does. `members`: which parameters of a write are members of the thing, each with the member's name (`body.title`: what is in the parameter
    `body`); None: all, by their own names.
    """

    kind: str
    role: Literal["create", "read", "list", "update", "replace", "delete"]
    key: str = "id"
    argument: str = ""
    items: str = ""
    version: str = ""
    within: tuple[str, ...] = ()
    wrapped: str = ""
    members: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` is the full dotted path a program writes: capability, then function (`shop.orders.cancel`).

    Every segment is an identifier in TypeScript and Python. `input_schema` is an object schema; its
    properties are the parameters. `definitions` is the capability's shared, possibly lazy, map of named
    types; only what is referred to counts as part of the operation. `output_schema` is None when the
    source declares none. `url_argument` names the parameter that says where a request goes; `content` those that say neither
    where a call goes nor what it does, but only what it brings there. `extracts`: the operation tells one small typed value of what a handle holds, and its answers
    tell a run at most this many bits in all (0: it is no such operation). `origin` is how the source names it (`GET /orders/{id}`, an MCP tool name).
    """

    name: str
    input_schema: Schema
    output_schema: Schema | None = None
    summary: str = ""
    description: str = ""
    effects: Effects = UNKNOWN_EFFECTS
    definitions: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    errors: tuple[ErrorDoc, ...] = ()
    connector: str = ""
    origin: str = ""
    tags: tuple[str, ...] = ()
    deprecated: bool = False
    timeout_ms: int | None = None
    revert: str | None = None
    preview: str | None = None
    reconcile: str | None = None
    resource: Resource | None = None
    url_argument: str = ""
    content: tuple[str, ...] = ()
    extracts: int = 0

    @property
    def capability(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def function(self) -> str:
        return self.name.rpartition(".")[2]

    def reachable(self) -> dict[str, Schema]:
        """The named types that the operation's schemas refer to, directly or not."""
        found: dict[str, Schema] = {}
        stack: list[Any] = [self.input_schema, self.output_schema]
        while stack:
            node = stack.pop()
            if is_object(node):
                ref = node.get("$ref")
                if isinstance(ref, str) and ref.startswith("#/$defs/"):
                    name = ref[8:]
                    if name not in found and name in self.definitions:
                        found[name] = self.definitions[name]
                        stack.append(found[name])
                stack.extend(node.values())
            elif is_array(node):
                stack.extend(node)
        return found

    def schema_hash(self) -> str:
        """SHA-256 (hex, 16 bytes) over name, schemas, reachable types and effects: what a pin binds."""
        body = orjson.dumps(
            {"name": self.name, "in": self.input_schema, "out": self.output_schema, "defs": self.reachable(),
             "effects": [self.effects.reads, self.effects.trust, self.effects.writes,
                         self.effects.irreversible, self.effects.idempotent],
             **({"content": self.content} if self.content else {}), **({"extracts": self.extracts} if self.extracts else {})},
            option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=dict)
        return hashlib.sha256(body).hexdigest()[:32]
