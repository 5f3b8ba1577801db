"""What a tool does to the world: the server's annotations, and the operator's confirmations.

Annotations are the server's own word. They raise effects always; they lower them only where the operator trusts
the server, or has confirmed the effects of that very tool. A confirmation is pinned to a hash over everything
the server says about the tool (name, texts, schemas, annotations): once any of it changes, the confirmation no
longer counts and the tool is as dangerous as an unknown one again.

Stored: one JSON file, `{operation: {"hash", "effects", "by", "at"}}`, written whole and atomically.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import orjson

from inhabit.contracts.effects import UNKNOWN_EFFECTS, Effects, Trust, checked_effects
from inhabit.errors import ConfigError

__all__ = ["EffectsReview", "Proposal", "derive", "pin"]

State = Literal["new", "confirmed", "changed"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One line of `inhabit effects review`. `schema_hash` is what a confirmation must repeat.

    `changed`: confirmed once, but the server has since said something else about the tool.
    """

    name: str
    proposed: Effects
    current: Effects
    schema_hash: str
    state: State
    reason: str


def pin(tool: Mapping[str, Any]) -> str:
    """SHA-256 (hex, 16 bytes) over all that the server says about a tool."""
    body = {key: tool.get(key) for key in ("name", "title", "description", "inputSchema", "outputSchema", "annotations")}
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]


def derive(annotations: object, *, trusted: bool, base: Effects = UNKNOWN_EFFECTS) -> Effects:
    """`base` raised by the annotations; with `trusted`, what the annotations say in full."""
    hints: Mapping[str, Any] = cast("Mapping[str, Any]", annotations) if isinstance(annotations, Mapping) else {}
    raised = _raised(base, hints)
    return _believed(raised, hints) if trusted and hints else raised


class EffectsReview:
    """The operator's confirmed effects, kept in one file. A missing file is an empty table.

    Raises `ConfigError` for a file that is not such a table.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._entries = _read(path)

    def confirmed(self, name: str, schema_hash: str) -> Effects | None:
        """The effects confirmed for exactly this form of the tool."""
        entry = self._entries.get(name)
        return entry.effects if entry is not None and entry.hash == schema_hash else None

    def state(self, name: str, schema_hash: str) -> State:
        entry = self._entries.get(name)
        if entry is None:
            return "new"
        return "confirmed" if entry.hash == schema_hash else "changed"

    def proposals(self, tools: Iterable[tuple[str, Mapping[str, Any], Effects]]) -> list[Proposal]:
        """What a person is asked: `tools` gives operation name, the server's tool, effects as they count now."""
        result: list[Proposal] = []
        for name, tool, current in tools:
            hash_ = pin(tool)
            proposed = derive(tool.get("annotations"), trusted=True)
            result.append(Proposal(name, proposed, current, hash_, self.state(name, hash_), _reason(tool)))
        return result

    def confirm(self, name: str, effects: Effects, schema_hash: str, *, by: str = "operator") -> None:
        """Keep `effects` for this form of the tool, replacing an earlier confirmation."""
        self._entries[name] = _Entry(schema_hash, effects, by, int(self._clock()))
        self._write()

    def withdraw(self, name: str) -> bool:
        """Forget a confirmation. False when there was none."""
        if self._entries.pop(name, None) is None:
            return False
        self._write()
        return True

    def _write(self) -> None:
        body = {name: asdict(entry) for name, entry in sorted(self._entries.items())}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        draft.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
        draft.replace(self._path)


@dataclass(frozen=True, slots=True)
class _Entry:
    hash: str
    effects: Effects
    by: str
    at: int


def _read(path: Path) -> dict[str, _Entry]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    fix = "repair it, or remove it and confirm again with `inhabit effects review`"
    try:
        table = orjson.loads(raw)
        return {str(name): _entry(str(name), item, path) for name, item in cast("dict[str, Any]", table).items()}
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a table of confirmed effects: {error}", fix=fix) from None


def _entry(name: str, item: Mapping[str, Any], path: Path) -> _Entry:
    effects = checked_effects(item["effects"], where=f"{path}: {name}")
    return _Entry(str(item["hash"]), effects, str(item["by"]), int(item["at"]))


def _raised(base: Effects, hints: Mapping[str, Any]) -> Effects:
    """Only ever more dangerous than `base`."""
    result = base
    if hints.get("destructiveHint") is True and hints.get("readOnlyHint") is not True:
        result = replace(result, irreversible=True, writes="internal" if result.writes == "none" else result.writes)
    if hints.get("readOnlyHint") is False and result.writes == "none":
        result = replace(result, writes="internal")
    if hints.get("openWorldHint") is True:
        result = replace(result, trust="untrusted", writes="external" if result.may_write else "none")
    if hints.get("idempotentHint") is False:
        result = replace(result, idempotent=not result.may_write and result.idempotent)
    return result


def _believed(base: Effects, hints: Mapping[str, Any]) -> Effects:
    """The specification's defaults for what is left out are the dangerous ones: they are kept."""
    open_world = hints.get("openWorldHint") is not False
    trust: Trust = "untrusted" if open_world else "trusted"
    if hints.get("readOnlyHint") is True:
        return Effects(base.reads, trust, "none", irreversible=False, idempotent=True)
    return Effects(base.reads, trust, "external" if open_world else "internal",
                   irreversible=hints.get("destructiveHint") is not False,
                   idempotent=hints.get("idempotentHint") is True)


def _reason(tool: Mapping[str, Any]) -> str:
    hints = tool.get("annotations")
    told = {key: value for key, value in cast("Mapping[str, Any]", hints).items() if isinstance(value, bool)} if isinstance(
        hints, Mapping) else {}
    if not told:
        return "the server says nothing about it"
    return "the server says " + ", ".join(f"{key}={str(value).lower()}" for key, value in told.items())
