"""`group.function` for every operation of a document: readable, unique, the same at each compilation.

- The group is the first tag, else what stands before the first separator of the operationId, else the first
  static segment of the path that is not a version.
- The function is the operationId in lower_snake, without the group's own words where they only repeat it
  (`issues/list-for-repo` → `issues.list_for_repo`, `listCoreV1NamespacedPod` → `core_v1.list_namespaced_pod`,
  `GetCustomersCustomer` → `customers.get_customer`); without an operationId it is method and path.
- Two that would meet keep their full form; what still meets is numbered in the document's order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from inhabit.connectors.names import MAX_NAME_CHARS, from_words, identifier, is_reserved, unique, words

__all__ = ["Nameable", "names"]

_MAX_GROUP_CHARS = 40
_VERSION = re.compile(r"(?:v[0-9][0-9a-z.]*|api|rest|[0-9][0-9.-]*)\Z", re.IGNORECASE)
_PARAMETER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Nameable:
    method: str
    path: str
    operation_id: str
    tags: Sequence[str]


def names(operations: Sequence[Nameable]) -> list[str]:
    """One `group.function` for each operation, in the same order."""
    groups = [_group(operation) for operation in operations]
    full = [_full(operation) for operation in operations]
    short = [_short(group, parts) for group, parts in zip(groups, full, strict=True)]
    counts = Counter(zip(groups, short, strict=True))
    chosen = [f"{group}.{brief if counts[group, brief] == 1 else from_words(parts)}"
              for group, brief, parts in zip(groups, short, full, strict=True)]
    return unique(chosen)


def _group(operation: Nameable) -> str:
    for tag in operation.tags[:1]:
        name = identifier(tag)
        if len(name) <= _MAX_GROUP_CHARS and not name.startswith("n_") and not is_reserved(name.rstrip("_")):
            return name
    head, separator, _ = operation.operation_id.partition("/")
    if separator and head and not operation.tags:
        return identifier(head)
    for segment in operation.path.split("/"):
        segment = segment.split("?")[0].split("#")[0]
        if segment and "{" not in segment and not _VERSION.match(segment) and any(char.isalpha() for char in segment):
            return _cut(segment)
    return "api"


def _cut(segment: str) -> str:
    """As many words of a path segment as a group may have characters."""
    kept = words(segment)
    while len(kept) > 1 and sum(map(len, kept)) + len(kept) > _MAX_GROUP_CHARS:
        kept.pop()
    return from_words(kept) if kept else identifier(segment)


def _full(operation: Nameable) -> list[str]:
    """The words of the operationId; of method and path where there is none, or only one too long to read."""
    own = words(operation.operation_id)
    if own and sum(map(len, own)) + len(own) <= MAX_NAME_CHARS:
        return own
    by_path = _by_path(operation)
    return by_path if not own or sum(map(len, by_path)) + len(by_path) <= MAX_NAME_CHARS else own


def _by_path(operation: Nameable) -> list[str]:
    segments = [segment for segment in operation.path.split("?")[0].split("/") if segment]
    parts = [word for segment in segments if "{" not in segment and not _VERSION.match(segment) for word in words(segment)]
    if segments and _PARAMETER.search(segments[-1]):
        parts += ["by", *(word for found in _PARAMETER.findall(segments[-1]) for word in words(found))]
    return [operation.method.lower(), *(parts or ["root"])]


def _short(group: str, parts: Sequence[str]) -> str:
    """The function without the words that the group says already: all of them at the start or after the verb,
    else those that both begin with, as long as two words remain."""
    own = [word for word in group.split("_") if word]
    for at in (0, 1):
        rest = [*parts[:at], *parts[at + len(own):]]
        if list(parts[at:at + len(own)]) == own and len(rest) > at:
            return _told(rest, own)
    common = 0
    while common < min(len(own), len(parts) - 2) and own[common] == parts[common]:
        common += 1
    return _told(parts[common:], own)


def _told(parts: Sequence[str], own: Sequence[str]) -> str:
    """A reserved word alone (`delete`, `import`) gets its object: `delete_repo`."""
    name = from_words(parts)
    alone = len(parts) == 1 and name != parts[0] and list(parts) != list(own)
    return from_words([*parts, *own[:-1], _singular(own[-1])]) if alone else name


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word
