"""Controls of the information flow: labels, handles, URLs, calls that an author spelled out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from inhabit.errors import CallError
from inhabit.kernel import decide as decide_kernel
from inhabit.kernel.flow import CLEAN
from inhabit.runtime import bridge, driving, service, spelled
from inhabit.runtime.extraction import Extraction
from inhabit.runtime.handles import Handles
from inhabit.runtime.provenance import Urls
from inhabit.runtime.spelled import Spelled
from inhabit.server import runs
from tests.switches.off import Control, all_of, gone, replaced

LAUNDERING = "tests/attacks/test_attack_laundering.py"
FLOW, AUTHOR, SPELLED = "tests/attacks/test_attack_flow.py", "tests/attacks/test_attack_author.py", "tests/runtime/test_spelled.py"

_given: Callable[..., Any] = Handles.given
_made: Callable[..., None] = Handles.__init__
_decided: Callable[..., Any] = decide_kernel.decide
_HELD: dict[str, Any] = {}


def _shared(handles: Any, *args: Any) -> None:
    _made(handles, *args)
    handles._held = _HELD


def _for_ever(calls: Any, _: Any, operation: Any, arguments: Any) -> bool:
    return any(calls._is(call, operation, arguments) for call in calls._left)


def _everybody(runtime: Any, prepared: Any, *_: Any) -> Any:
    return spelled.spelled_calls(prepared.calls, runtime.parts.directory.operation)


class _Every(frozenset[str]):
    def issuperset(self, *_: Any) -> bool:
        return True


def _lifting(facts: Any, *given: Any) -> Any:
    return _decided(facts._replace(reviewed=_Every()), *given)


async def _talks(_: Any, call: Any) -> Any:
    raise CallError(f"{call.arguments['of']!r} is not that")


CONTROLS: dict[str, Control] = {
    "information flow": Control(gone((decide_kernel, "guard")), ("tests/kernel/test_flow.py", "tests/policy/test_examples.py", FLOW)),
    "flow: labels of answers": Control(gone((bridge, "brought_by"), answer=CLEAN), (FLOW, "-k", "E11 or E12 or E13 or C25_a")),
    "flow: labels of handles": Control(replaced(Handles, "given", lambda *args: _given(*args)._replace(labels=CLEAN)), (FLOW, "-k", "E10 or joins_its_labels")),
    "flow: conversations": Control(gone((driving, "brought"), answer=[]), (FLOW, "-k", "E09")),
    "flow: runs that are looked at": Control(gone((service.Runtime, "_heard")), (LAUNDERING, "-k", "E09_a_run_of_another")),
    "flow: what a run that is undone has read": Control(gone((service, "had_read"), answer=()), (LAUNDERING, "-k", "E09_a_rollback")),
    "flow: words about handles": Control(
        all_of(replaced(bridge, "veiled", lambda error, _: error),
               gone((bridge, "kept_error"), answer=b'{"code": "call_failed", "message": "the launch code"}')), (FLOW, "-k", "E01_a_program")),
    "flow: handles are a run's own": Control(replaced(Handles, "__init__", _shared), (FLOW, "-k", "E01_a_handle_of_another_run")),
    "flow: URLs": Control(gone((Urls, "built"), answer=False), (FLOW, "-k", "C24 or C25")),
    "flow: URLs that were given": Control(gone((Urls, "built"), answer=True), (FLOW, "-k", "C26")),
    "flow: spelled calls are compared": Control(gone((spelled, "_fits"), answer=True), (AUTHOR, SPELLED, "-k", "E13")),
    "flow: spelled calls are good once": Control(replaced(Spelled, "takes", _for_ever), (AUTHOR, SPELLED, "-k", "E12")),
    "flow: who is vouched for": Control(replaced(service.Runtime, "_spelled", _everybody), (AUTHOR, "-k", "E13_nobody or E09 or E10_a_handle")),
    "flow: who may vouch over HTTP": Control(
        replaced(runs, "_vouched", lambda caller, _identity: replace(caller, closed=True)), (AUTHOR, "-k", "E07_only or E02_the_right or E09_over_http")),
    "approvals: a hold that came later": Control(replaced(bridge, "decide", _lifting), ("tests/runtime/test_asking.py", "-k", "E04_a_rule")),
    "flow: where handles go": Control(replaced(Handles, "given", lambda *args: _given(*args)._replace(where=CLEAN)), (AUTHOR, "-k", "E10_a_stranger")),
    "flow: bits of extractions": Control(gone((Handles, "tell")), (AUTHOR, "-k", "E12_a_run")),
    "flow: one error of extractions": Control(replaced(Extraction, "call", _talks), (AUTHOR, "-k", "E01_every")),
}
