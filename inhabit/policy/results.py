"""Redaction: fields of a result that a program must not see, replaced by one word before it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inhabit.contracts.json import is_array, is_object

__all__ = ["REDACTED", "redacted"]

REDACTED = "[redacted]"


def redacted(value: Any, paths: Sequence[str]) -> Any:
    """A copy of JSON data without what the paths name (`customer.iban`, `lines.*.price`): a name is a field, `*` every
    element or field. A list on the way that no `*` names is gone through: what is hidden in one is hidden in many.
    """
    for path in paths:
        value = _without(value, path.split("."))
    return value


def _without(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return REDACTED
    if is_array(value):
        inner = path[1:] if path[0] == "*" else path
        return [_without(item, inner) for item in value]
    if is_object(value):
        return {name: _without(item, path[1:]) if path[0] in ("*", name) else item for name, item in value.items()}
    return value
