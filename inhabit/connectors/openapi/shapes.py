"""What compiled schemas have to do with one another: kinds of a value, and one fitting another."""

from __future__ import annotations

from typing import Any

from inhabit.contracts.json import is_array
from inhabit.contracts.operation import Schema
from inhabit.contracts.schema import Schemas, types_of

__all__ = ["fits", "kinds"]

_ANNOTATIONS = frozenset({
    "default", "deprecated", "description", "example", "examples", "readOnly", "title", "writeOnly"})


def kinds(schema: Any, schemas: Schemas) -> frozenset[str]:
    return frozenset(types_of(schemas.plain(schema))) - {"null"}


def fits(given: Any, held: Any, schemas: Schemas, *, flat: bool = False) -> bool:
    """Whether whatever one schema takes is surely a value of the other; where one says nothing, that is not
    known. `flat`: and no object.
    """
    some, more = kinds(given, schemas), kinds(held, schemas)
    several = len(schemas.variants(given)) > 1 or len(schemas.variants(held)) > 1
    if several or not some or not some <= (more | {"integer"} if "number" in more else more):
        return False
    one, other = schemas.plain(given), schemas.plain(held)
    asked, allowed = one.get("enum"), other.get("enum")
    if allowed is not None and not (is_array(asked) and all(value in allowed for value in asked)):
        return False
    if "array" in some:
        return fits(one.get("items"), other.get("items"), schemas, flat=flat)
    return "object" not in some or (not flat and _asked(one) == _asked(other))


def _asked(schema: Schema) -> Schema:
    """Without what it only tells people."""
    return {word: value for word, value in schema.items() if word not in _ANNOTATIONS}
