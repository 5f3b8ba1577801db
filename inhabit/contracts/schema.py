"""What a schema says at its top: references followed, `allOf` joined, alternatives side by side.

Model: whatever fits a schema fits one of its variants, each a schema without `$ref`, `allOf`, `anyOf`,
`oneOf` at its top. Where two of the parts say the same word, the outer one is taken; members and required
names are joined. `null` is left out where there are other variants: what may be null is read as what it is
otherwise.
Invariant: a schema is a stranger's, so it is read in so many steps, and into so many variants. A variant
`{}`, which says nothing, stands for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain, islice, product
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Schema

__all__ = ["MAX_VARIANTS", "Schemas", "types_of"]

MAX_VARIANTS = 64
_MAX_STEPS = 1_000
_MAX_DEPTH = 20
_COMPOSED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_NOTHING: Schema = {}


class Schemas:
    """Over the named types of one operation, or of one document."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._named: dict[str, Sequence[Schema]] = {}

    def variants(self, schema: Any) -> Sequence[Schema]:
        """At least one, at most `MAX_VARIANTS` and `{}`."""
        if not is_object(schema):
            return (_NOTHING,)
        if _COMPOSED.isdisjoint(schema):
            return (schema,)
        name = schema.get("$ref") if len(schema) == 1 else None
        if not isinstance(name, str):
            return self._found(schema)
        if name not in self._named:     # a document refers to one type from many places
            self._named[name] = self._found(schema)
        return self._named[name]

    def plain(self, schema: Any) -> Schema:
        """The first variant."""
        return self.variants(schema)[0]

    def members(self, schema: Any) -> Mapping[str, Any]:
        """Those of an object by their names, empty where none are said."""
        properties = self.plain(schema).get("properties")
        return properties if is_object(properties) else _NOTHING

    def items(self, schema: Any) -> Any:
        """The schema of an array's items, None for what is no array."""
        plain = self.plain(schema)
        return plain.get("items", _NOTHING) if "array" in types_of(plain) else None

    def _found(self, schema: Schema) -> Sequence[Schema]:
        found = list(islice(self._each(schema, iter(range(_MAX_STEPS)), _MAX_DEPTH), MAX_VARIANTS + 1))
        known = found[:MAX_VARIANTS]
        left = [one for one in known if one.get("type") != "null"] or known
        return left if len(found) == len(known) else [*left, _NOTHING]

    def _each(self, schema: Any, steps: Iterator[int], depth: int) -> Iterator[Schema]:
        if not is_object(schema) or depth == 0 or next(steps, None) is None:
            yield _NOTHING
            return
        if _COMPOSED.isdisjoint(schema):
            yield schema
            return
        name = schema.get("$ref")
        named = [self._definitions.get(name.removeprefix("#/$defs/"))] if isinstance(name, str) else []
        # of each of these, one has to be fitted
        parts = [named, *([part] for part in _parts(schema, "allOf")),
                 _parts(schema, "anyOf"), _parts(schema, "oneOf")]
        own = {word: value for word, value in schema.items() if word not in _COMPOSED}
        several = [self._of_any(part, steps, depth - 1) for part in parts if part]
        yield from (reduce(_joined, (*chosen, own)) for chosen in product(*several))

    def _of_any(self, options: Sequence[Any], steps: Iterator[int], depth: int) -> list[Schema]:
        each = (self._each(option, steps, depth) for option in options)
        return list(islice(chain.from_iterable(each), MAX_VARIANTS + 1))


def types_of(schema: Schema) -> tuple[str, ...]:
    """The JSON types of a variant's values, as it says them or lets them be seen; empty where it does not."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return (kind,)
    if is_array(kind):
        return tuple(str(one) for one in kind)
    if "properties" in schema:
        return ("object",)
    texts = schema.get("enum")
    return ("string",) if is_array(texts) and texts and all(isinstance(text, str) for text in texts) else ()


def _parts(schema: Schema, word: str) -> Sequence[Any]:
    parts = schema.get(word)
    return parts if is_array(parts) else ()


def _joined(inner: Schema, outer: Schema) -> Schema:
    both = {**inner, **outer}
    one, other = inner.get("properties"), outer.get("properties")
    if is_object(one) and is_object(other):
        both["properties"] = {**one, **other}
    some, more = _parts(inner, "required"), _parts(outer, "required")
    if some and more:
        both["required"] = list(dict.fromkeys(name for name in (*some, *more) if isinstance(name, str)))
    return both
