"""The JSON bodies that the bridge hands on: results, errors, arguments nobody could read. Leaves without state.

Invariant: whatever a connector or a worker gave, what comes out is JSON, and an error is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation
from inhabit.errors import InhabitError, LimitExceeded, ResultInvalid
from inhabit.limits import MAX_JSON_DEPTH, Limits
from inhabit.wire.values import TOO_MANY_ITEMS, decode_value, encode_value

__all__ = ["NAME_CHARS", "binaries_in", "canonical", "error_body", "references", "result_body"]

NAME_CHARS = 256
_MESSAGE_CHARS = 16 * 1024
_ERROR_BYTES = 256 * 1024
"""One error with its details; a result that broke its schema travels in them up to 64 KB."""
_UNREADABLE_BYTES = 1_000


def result_body(operation: Operation, value: Any, limits: Limits) -> bytes:
    """Raises `ResultInvalid` for what is not JSON data, `LimitExceeded` for too much of it."""
    try:
        body = encode_value(value, max_items=limits.value_items)
    except InhabitError as error:
        if error.specific_code == TOO_MANY_ITEMS:
            raise _too_large(operation, "value_items", limits.value_items, "items") from None
        raise ResultInvalid(f"{operation.name} answered with something that is not JSON data: {error.message}",
                            effect="happened" if operation.effects.may_write else "none") from None
    if len(body) > limits.value_bytes:
        raise _too_large(operation, "value_bytes", limits.value_bytes, "bytes")
    return body


def _too_large(operation: Operation, limit: str, value: int, unit: str) -> LimitExceeded:
    error = LimitExceeded.of(limit, value, unit, what=f"the result of {operation.name}",
                             fix="ask for less: a filter, a page, fewer fields")
    error.effect = "happened" if operation.effects.may_write else "none"
    return error


def error_body(error: InhabitError, operation: str) -> bytes:
    """An error as the program gets it, whatever a connector put into it: bounded, and JSON. Its details are what goes."""
    value = {**error.as_value(), "operation": operation[:NAME_CHARS]}
    if len(error.message) > _MESSAGE_CHARS:
        value["message"] = f"{error.message[:_MESSAGE_CHARS]}… {len(error.message) - _MESSAGE_CHARS} more characters"
    try:
        body = encode_value(value)
        if len(body) <= _ERROR_BYTES:
            return body
        why = f"{len(body)} bytes"
    except InhabitError as refused:
        why = refused.message
    value["details"] = {"omitted": why}
    return encode_value({key: _plain(item) if isinstance(item, str) else item for key, item in value.items()})


def _plain(text: str) -> str:
    return text[:_MESSAGE_CHARS + 64].encode("utf-8", "replace").decode()


def canonical(body: bytes) -> bytes:
    """The arguments as they are recorded, whatever a worker sent: canonical JSON that any reader of the journal can read.
    It depends on the body alone, so that a replay, where the operation may be gone, finds the same.
    """
    try:
        return encode_value(decode_value(body, max_depth=MAX_JSON_DEPTH), canonical=True)
    except InhabitError:
        return encode_value({"$unreadable": body[:_UNREADABLE_BYTES].decode("utf-8", "replace")})


def references(value: Any) -> Iterator[Mapping[str, Any]]:
    """The `$binary` references anywhere in a value, in the order in which they stand."""
    stack: list[Any] = [value]
    while stack:
        node = stack.pop()
        if is_object(node):
            if isinstance(node.get("$binary"), str):
                yield node
            stack.extend(reversed(list(node.values())))
        elif is_array(node):
            stack.extend(reversed(node))


def binaries_in(body: bytes) -> set[str]:
    """The hashes that a JSON text refers to. `\\u0024` is `$` too, so a text with escapes is read."""
    if b"$binary" not in body and b"\\u" not in body:
        return set()
    return {reference["$binary"] for reference in references(decode_value(body))}
