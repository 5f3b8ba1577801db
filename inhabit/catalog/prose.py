"""The words around a declaration: its one line, what it does to the world, which errors it documents."""

from __future__ import annotations

import re

from inhabit.contracts.operation import Operation

__all__ = ["effects_of", "errors_of", "one_line", "summary_of"]

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'(])")
_MARKUP = re.compile(r"<[^<>]{1,200}>|\[([^\]]{1,200})\]\([^)]{1,400}\)|[*_]{2}|`{3,}|^#+\s*", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\u200b-\u200f\u202a-\u202e\ud800-\udfff]+")


def one_line(text: str, limit: int) -> str:
    """`text` without line breaks, control characters and markup, at most `limit` characters."""
    if limit <= 0 or not text:
        return ""
    plain = _MARKUP.sub(lambda found: found.group(1) or "", text[: limit * 4 + 400])
    plain = " ".join(_CONTROL.sub(" ", plain).split())
    if len(plain) <= limit:
        return plain
    cut = plain[:limit]
    return cut[: cut.rfind(" ") if " " in cut[limit // 2 :] else limit].rstrip(",;:. ") + "…"


def summary_of(operation: Operation, limit: int) -> str:
    """What the operation is for: its summary, or the first sentence of its description."""
    text = operation.summary.strip() or operation.description.strip()
    extra = operation.description.strip()
    shown = one_line(_SENTENCE.split(text, maxsplit=1)[0] if limit <= 160 else text, limit)
    if limit > 160 and operation.summary.strip() and extra and not extra.startswith(operation.summary.strip()):
        shown = f"{shown}{'' if shown.endswith(('.', '!', '?')) else '.'} {one_line(extra, limit - len(shown))}".strip()
    return f"Deprecated. {shown}".strip() if operation.deprecated else shown


def effects_of(operation: Operation) -> str:
    """`reads private`, or `writes external, irreversible`."""
    effects = operation.effects
    if effects.writes == "none":
        return f"reads {effects.reads}" if effects.reads != "none" else ""
    return f"writes {effects.writes}{', irreversible' if effects.irreversible else ''}"


def errors_of(operation: Operation, limit: int) -> str:
    """`errors: not_found, card_declined`."""
    if limit <= 0 or not operation.errors:
        return ""
    codes = [one_line(error.code, 40) for error in operation.errors]
    more = f", … {len(codes) - limit} more" if len(codes) > limit else ""
    return f"errors: {', '.join(codes[:limit])}{more}"
