"""Which URLs a run was given: by its user, or by a call that returned them as they stand.

A URL that a program makes can carry what the program has read, a letter at a time if need be. So where the run has read
private data, an operation that declares a `url_argument` goes only to a URL from here (`kernel.flow`). What the
program sends along in other free arguments of a call that only reads is taken like a URL that it made.

A call cannot be made to say a URL: one that stands in a call's own arguments is not learnt from its answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inhabit.contracts.json import is_array, is_object
from inhabit.contracts.operation import Operation

__all__ = ["GIVEN_BY_PEOPLE", "Urls"]

GIVEN_BY_PEOPLE = frozenset({"python", "cli", "http"})
"""Doors at which a run's input is the word of a person or a product; through the others a model speaks."""
_URL = re.compile(rb"https?://[^\x00-\x20\"'<>`{}|\\^]+")
_AFTER = b".,;:!?)]*"
_MOST = 20_000
"""URLs of one run: from there on no more are learnt."""


class Urls:
    """Those of one run."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def learn(self, body: bytes, arguments: bytes = b"") -> None:
        """From a JSON text: an answer of a call that was given `arguments`."""
        found = _urls(body) if b"://" in body and len(self._known) < _MOST else None
        if found:
            self._known |= found - _urls(arguments)

    def built(self, operation: Operation, arguments: Mapping[str, Any]) -> bool:
        """Whether a call goes to a place, or takes along words, of the program's own making."""
        if not operation.url_argument or operation.url_argument not in arguments:
            return False
        url = arguments[operation.url_argument]
        if not isinstance(url, str) or url.encode("utf-8", "replace") not in self._known:
            return True
        return not operation.effects.may_write and any(
            name != operation.url_argument and not _chosen(operation, name) for name in arguments)


def _chosen(operation: Operation, name: str) -> bool:
    """An argument that says one of a few words."""
    schema = operation.input_schema.get("properties", {}).get(name)
    return is_object(schema) and (is_array(schema.get("enum")) or schema.get("type") == "boolean")


def _urls(body: bytes) -> set[bytes]:
    """As they stand in a JSON text, and without what a sentence puts behind one."""
    found = set(_URL.findall(body))
    return found | {url.rstrip(_AFTER) for url in found}
