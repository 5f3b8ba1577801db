"""Entries and headers ↔ drafts of records (see `packing` for how a draft lies on disk).

One number names each kind of entry on disk; a kind is never renumbered, a new field is appended to the JSON array
with a default here, so that old records stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import (
    Asked,
    Decided,
    Delivered,
    Entry,
    Intent,
    Logged,
    Outcome,
    Resumed,
    RunHeader,
    Suspended,
    Terminal,
)
from inhabit.errors import InvalidInput
from inhabit.store.packing import Draft

__all__ = ["INTENT", "OUTCOME", "STANDING", "TERMINAL", "decode_entry", "decode_header", "encode_entry", "encode_header"]

HEADER, INTENT, OUTCOME, DELIVERED, LOGGED, RESUMED, TERMINAL, ASKED, DECIDED, SUSPENDED = range(10)
STANDING = frozenset({RESUMED, ASKED, DECIDED, SUSPENDED})
"""Kinds that change what lists show of a run."""


def encode_entry(entry: Entry) -> Draft:
    """Raises `InvalidInput` for a field that is not plain JSON data."""
    try:
        return _ENCODERS[type(entry)](entry)
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidInput(f"{type(entry).__name__} cannot be journaled: {error}", fix="plain JSON data only") from error


def decode_entry(kind: int, meta: bytes, parts: Sequence[bytes]) -> Entry:
    return _DECODERS[kind](orjson.loads(meta), parts)


def encode_header(header: RunHeader) -> Draft:
    """Raises `InvalidInput` for a field that is not plain JSON data."""
    h, p = header, header.principal
    fields = [h.run_id, [p.user, p.tenant, p.agent], h.language, h.program_hash, h.engine, h.seed, h.clock_ms, h.names,
              h.grant, h.limits, h.policy_version, h.schema_hashes, h.rung, h.origin, h.parent_run,
              h.mode, h.attended, h.labels, h.conversation, h.plan, h.token, h.spelled]
    try:
        return Draft(HEADER, _json(fields), (_text(h.source), _text(h.code), h.input))
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidInput(f"the header of run {h.run_id} cannot be journaled: {error}",
                           fix="plain JSON data only") from error


def decode_header(meta: bytes, parts: Sequence[bytes]) -> RunHeader:
    (run_id, who, language, program_hash, engine, seed, clock_ms, names,
     grant, limits, policy_version, schema_hashes, rung, origin, parent_run, *later) = orjson.loads(meta)
    mode, attended, labels, conversation, plan, *last = later or ("live", False, (), "", None)
    return RunHeader(
        run_id, Principal(who[0], who[1], who[2]), language, program_hash, _untext(parts[0]), _untext(parts[1]),
        parts[2], engine, seed, clock_ms, tuple(names), grant, limits, policy_version, schema_hashes, rung, origin,
        parent_run, mode, attended, tuple((name, operation) for name, operation in labels), conversation, plan,
        *last,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} is not JSON data")


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain)


def _text(value: str) -> bytes:
    # A guest may log half of a surrogate pair; the journal keeps what it said.
    return value.encode("utf-8", "surrogatepass")


def _untext(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _encode_intent(e: Intent) -> Draft:
    return Draft(INTENT, _json((e.sequence, e.operation, e.decision, e.schema_hash, e.idempotency_key, e.may_write,
                                e.idempotent, e.at_ms)), (e.arguments,))


def _decode_intent(f: list[Any], parts: Sequence[bytes]) -> Intent:
    return Intent(f[0], f[1], parts[0], f[2], f[3], f[4], f[5], f[6], f[7])


def _encode_outcome(e: Outcome) -> Draft:
    more = (e.binaries, e.simulated, e.seen) if e.seen else (e.binaries, e.simulated) if e.simulated else (e.binaries,) if e.binaries else ()
    return Draft(OUTCOME, _json((e.sequence, e.ok, e.duration_ms, e.at_ms, e.labels, *more)),
                 (e.value,) if e.kept is None else (e.value, e.kept))


def _decode_outcome(f: list[Any], parts: Sequence[bytes]) -> Outcome:
    return Outcome(f[0], f[1], parts[0], f[2], f[3], tuple(f[4]), tuple(f[5]) if len(f) > 5 else (), len(f) > 6 and f[6],
                   parts[1] if len(parts) > 1 else None, f[7] if len(f) > 7 else "")


def _encode_delivered(e: Delivered) -> Draft:
    return Draft(DELIVERED, _json((e.kind, e.id, e.issued_before, e.clock_ms)), ())


def _decode_delivered(f: list[Any], parts: Sequence[bytes]) -> Delivered:
    return Delivered(f[0], f[1], f[2], f[3])


def _encode_logged(e: Logged) -> Draft:
    return Draft(LOGGED, _json((e.level,)), (_text(e.text),))


def _decode_logged(f: list[Any], parts: Sequence[bytes]) -> Logged:
    return Logged(f[0], _untext(parts[0]))


def _encode_resumed(e: Resumed) -> Draft:
    return Draft(RESUMED, _json((e.at_ms, e.reason, e.reissued)), ())


def _decode_resumed(f: list[Any], parts: Sequence[bytes]) -> Resumed:
    return Resumed(f[0], f[1], tuple(f[2]))


def _encode_terminal(e: Terminal) -> Draft:
    return Draft(TERMINAL, _json((e.state, e.at_ms, e.usage, *((e.binaries,) if e.binaries else ()))), (e.value,))


def _decode_terminal(f: list[Any], parts: Sequence[bytes]) -> Terminal:
    return Terminal(f[0], parts[0], f[1], f[2], tuple(f[3]) if len(f) > 3 else ())


def _encode_asked(e: Asked) -> Draft:
    return Draft(ASKED, _json(tuple(e)), ())


def _decode_asked(f: list[Any], parts: Sequence[bytes]) -> Asked:
    return Asked(f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7])


def _encode_decided(e: Decided) -> Draft:
    return Draft(DECIDED, _json(e[:7]), () if e.arguments is None else (e.arguments,))


def _decode_decided(f: list[Any], parts: Sequence[bytes]) -> Decided:
    return Decided(f[0], f[1], f[2], f[3], f[4], f[5], f[6], parts[0] if parts else None)


def _encode_suspended(e: Suspended) -> Draft:
    return Draft(SUSPENDED, _json(tuple(e) if e.parked is not None else e[:2]), ())


def _decode_suspended(f: list[Any], parts: Sequence[bytes]) -> Suspended:
    return Suspended(f[0], f[1], f[2] if len(f) > 2 else None)


_ENCODERS: Mapping[type, Callable[[Any], Draft]] = {
    Intent: _encode_intent, Outcome: _encode_outcome, Delivered: _encode_delivered, Logged: _encode_logged,
    Resumed: _encode_resumed, Terminal: _encode_terminal, Asked: _encode_asked, Decided: _encode_decided,
    Suspended: _encode_suspended,
}
_DECODERS: Mapping[int, Callable[[list[Any], Sequence[bytes]], Entry]] = {
    INTENT: _decode_intent, OUTCOME: _decode_outcome, DELIVERED: _decode_delivered, LOGGED: _decode_logged,
    RESUMED: _decode_resumed, TERMINAL: _decode_terminal, ASKED: _decode_asked, DECIDED: _decode_decided,
    SUSPENDED: _decode_suspended,
}
