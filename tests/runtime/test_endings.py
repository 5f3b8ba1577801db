"""What the end of a run says: never less than what is known to have happened."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from inhabit.contracts.principal import Principal
from inhabit.contracts.program import Finished
from inhabit.contracts.run import Intent, Outcome, RunHeader, RunRecord, StoredEntry
from inhabit.errors import WorkerLost
from inhabit.limits import DEFAULT_LIMITS
from inhabit.runtime.endings import ended, given_up
from inhabit.runtime.writes import Writes


def intent(sequence: int, *, may_write: bool = True) -> Intent:
    return Intent(sequence, "a.b", b"{}", {"verdict": "allow"}, "", f"run:{sequence}", may_write, False, 0)


def record(*entries: Any) -> RunRecord:
    header = RunHeader("run", Principal("ada"), "typescript", "hash", "source", "code", b"null", "engine", 7, 0)
    return RunRecord(header, tuple(StoredEntry(n, entry) for n, entry in enumerate(entries, 1)), "running")


def lost(*, neighbours: bool = False) -> WorkerLost:
    error = WorkerLost("the worker ended")
    error.neighbours = neighbours
    return error


def test_given_up_after_reads_may_be_run_again() -> None:
    state, error = given_up(record(intent(1, may_write=False), Outcome(1, True, b"1", 0.1, 0)), [lost(), lost(neighbours=True), lost()])
    assert (state, error["effect"], error["retryable"]) == ("failed", "none", True) and "smaller steps" in error["fix"]
    assert "2 of its workers died" in error["message"] and "1 more while they worked for other runs" in error["message"]


def test_given_up_after_a_write_says_which_and_does_not_advise_to_repeat_it() -> None:
    state, error = given_up(record(intent(1), Outcome(1, True, b"1", 0.1, 0)), [lost()])
    assert (state, error["effect"], error["retryable"]) == ("failed", "happened", False)
    assert error["details"]["written_calls"] == [{"sequence": 1, "operation": "a.b"}] and "read before" in error["fix"]


def test_given_up_with_an_unanswered_write_is_unknown() -> None:
    state, error = given_up(record(intent(1), Outcome(1, True, b"1", 0.1, 0), intent(2)), [lost()])
    assert (state, error["effect"]) == ("unknown", "unknown")
    assert [call["sequence"] for call in error["details"]["unknown_calls"]] == [2] and error["details"]["written"] == 1


@pytest.mark.parametrize(("body", "effect"), [
    (b'{"effect":"none"}', "none"), (b'{"effect":"happened"}', "happened"), (b'{"effect":"unknown"}', "unknown"), (b"3", "unknown")])
def test_failed_write_counts_as_its_error_says(body: bytes, effect: str) -> None:
    writes = Writes()
    writes.note(intent(1), Outcome(1, False, body, 0.1, 0))
    assert writes.told({"effect": "none"})["effect"] == effect
    assert writes.told({"effect": "unknown"})["effect"] == "unknown"


@pytest.mark.parametrize("value", [b'{"a":"\\ud800"}', b"[" * 1_000])
def test_result_that_cannot_be_recorded_says_what_was_written_before_it(value: bytes) -> None:
    writes = Writes()
    writes.note(intent(1), Outcome(1, True, b"1", 0.1, 0))
    state, body = ended(Finished(True, value), DEFAULT_LIMITS, writes)
    error = orjson.loads(body)
    assert (state, error["code"], error["effect"]) == ("failed", "result_not_json", "happened")


def test_why_an_operation_failed_is_kept_with_its_fix_and_cut_where_it_is_long() -> None:
    def error(**more: Any) -> dict[str, Any]:
        thrown = orjson.dumps({"code": "http_404", "message": "404: Not Found", **more})
        return orjson.loads(ended(Finished(False, thrown), DEFAULT_LIMITS, Writes())[1])

    short = error(details={"body": {"error": "no such order"}}, fix="look again", operation="shop.a")
    assert short["details"] == {"operation": "shop.a", "details": {"body": {"error": "no such order"}}} and short["fix"] == "look again"
    assert len(error(details={"body": "x" * 9_000})["details"]["details"]) < 2_100
    assert error(details=None, fix=7)["details"] == {} and "fix" not in error(fix=7)
