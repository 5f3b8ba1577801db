"""Records for the store's tests."""

from __future__ import annotations

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Intent, Outcome, RunHeader, Terminal
from inhabit.store.ids import new_run_id

END = Terminal("completed", b"null", 9, {"cpu_ms": 1.5})


def header(number: int = 0, *, user: str = "ada", tenant: str = "default", **more: object) -> RunHeader:
    fields: dict[str, object] = {
        "run_id": new_run_id(1_000 + number), "principal": Principal(user, tenant), "language": "javascript",
        "program_hash": "h", "source": "return 1", "code": "(async()=>{return 1})", "input": b"null", "engine": "e/1",
        "seed": 2**53 - 1, "clock_ms": 1_000 + number} | more
    return RunHeader(**fields)  # pyright: ignore[reportArgumentType]


def intent(sequence: int, arguments: bytes = b"{}") -> Intent:
    return Intent(sequence, "shop.orders.cancel", arguments, {"verdict": "allow", "rule": "r"}, "s", f"k{sequence}", True, False, 6)


def outcome(sequence: int, value: bytes = b"1") -> Outcome:
    return Outcome(sequence, True, value, 0.5, 7)


def ended(at_ms: int, value: bytes = b"null") -> Terminal:
    return Terminal("completed", value, at_ms)
