"""Does each control hold anything? `python -m tests.switches [NAME …]` prints: control → the cases that go red without it.

For each control the cases that belong to it run twice: as they are, where all must be green, and in a process in
which the control was switched off, where some must be red. A control without a red case is proved by nobody, and the
command fails. A case that stays green is held by another layer too.

Controls are switched off by replacing their code in the test process (this module is a pytest plugin there). The
product has no such switch. Layers of the jail have a test that does both by itself: `test_switched_off_goes_red`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inhabit.connectors import http
from inhabit.connectors.redaction import Redactor
from inhabit.egress import addresses, bodies, broker, dialling, origins, resolve, transport
from inhabit.egress.origins import Origin, of_url
from inhabit.egress.resolve import Resolver
from inhabit.errors import CallError
from inhabit.isolates.pool.isolate import PooledIsolate
from inhabit.isolates.pool.watch import Watch
from inhabit.kernel import caveats
from inhabit.kernel import decide as decide_kernel
from inhabit.kernel import policy as policy_kernel
from inhabit.kernel.flow import CLEAN
from inhabit.kernel.grants import Grant, Permitted
from inhabit.kernel.policy import Policy
from inhabit.limits import CEILINGS, Limits
from inhabit.policy import conditions, loader
from inhabit.runtime import bridge, driving, service, spelled, visibility
from inhabit.runtime.extraction import Extraction
from inhabit.runtime.handles import Handles
from inhabit.runtime.provenance import Urls
from inhabit.runtime.schemas import Validators
from inhabit.runtime.spelled import Spelled
from inhabit.store import ledger, secrets
from inhabit.wire import values
from inhabit.wire.frames import FrameParser

ROOT = Path(__file__).resolve().parents[1]
_CASE_S, _CONTROL_S = 40, 300


@dataclass(frozen=True)
class Control:
    """`off` switches it off in this process; `cases` are arguments of pytest."""

    off: Callable[[], None]
    cases: tuple[str, ...]


def _unbounded(name: str) -> Callable[[], None]:
    """No run has this limit: every `Limits` that is made says a hundred times its ceiling (memory: its ceiling)."""
    most = getattr(CEILINGS, name) * (1 if name == "memory_bytes" else 100)

    def off() -> None:
        made: Callable[..., None] = Limits.__init__

        @functools.wraps(made)
        def without(limits: Limits, *given: Any, **named: Any) -> None:
            made(limits, *given, **named)
            object.__setattr__(limits, name, most)

        _replace(Limits, "__init__", without)
    return off


def _gone(*places: tuple[Any, str], answer: Any = None) -> Callable[[], None]:
    """These functions give `answer` and do nothing."""
    def off() -> None:
        for owner, name in places:
            _replace(owner, name, lambda *_, **__: answer)
    return off


def _frames_of_any_length() -> None:
    made: Callable[..., None] = FrameParser.__init__
    _replace(FrameParser, "__init__", lambda parser, kinds, **_: made(parser, kinds, max_bytes=2**40))


def _secrets_pass() -> None:
    _replace(Redactor, "clean", lambda _, data: data)


def _all_granted() -> None:
    _replace(Grant, "permits", lambda *_: Permitted("**", ()))
    _replace(Grant, "shows", lambda *_: True)


def _text_passes() -> None:
    _replace(conditions, "_text", lambda text, _: text)
    _replace(conditions, "_fields", lambda source, names: {name: source[name] for name in names if name in source})


def _keys_alike() -> None:
    _replace(policy_kernel, "_key", lambda parts: "".join(map(str, parts)))


def _prefixes_of_text() -> None:
    _replace(caveats, "_stays", lambda _: True)
    _replace(caveats, "is_url", lambda _: False)


def _at_once() -> None:
    _replace(loader, "SETTLE_S", 0.0)


def _anything_loads() -> None:
    _replace(loader.Loader, "_judged", lambda *_: (Policy(version="empty"), ()))


def _ledger_of_any_size() -> None:
    _replace(ledger.TenantLedger, "_room", lambda _: True)


def _handles_unlabelled() -> None:
    given: Callable[..., Any] = Handles.given
    _replace(Handles, "given", lambda *args: given(*args)._replace(labels=CLEAN))


def _words_unveiled() -> None:
    _replace(bridge, "veiled", lambda error, _: error)
    _replace(bridge, "kept_error", lambda: b'{"code": "call_failed", "message": "the launch code"}')


def _handles_shared() -> None:
    made: Callable[..., None] = Handles.__init__
    held: dict[str, Any] = {}

    def shared(handles: Any, *args: Any) -> None:
        made(handles, *args)
        handles._held = held

    _replace(Handles, "__init__", shared)


def _handles_only_content() -> None:
    given: Callable[..., Any] = Handles.given
    _replace(Handles, "given", lambda *args: given(*args)._replace(where=CLEAN))


def _spelled_for_ever() -> None:
    _replace(Spelled, "takes", lambda calls, _, operation, arguments: any(calls._is(call, operation, arguments) for call in calls._left))


def _everybody_vouched_for() -> None:
    _replace(service.Runtime, "_spelled", lambda runtime, prepared, *_: spelled.spelled_calls(prepared.calls, runtime.parts.directory.operation))


def _extraction_talks() -> None:
    async def talks(_: Any, call: Any) -> Any:
        raise CallError(f"{call.arguments['of']!r} is not that")

    _replace(Extraction, "call", talks)


def _nothing_is_charged() -> None:
    _replace(ledger.TenantLedger, "reserve", lambda *_: ())


class _Everything(frozenset[Any]):
    def __contains__(self, _: object) -> bool:
        return True


def _any_origin() -> None:
    _replace(transport.GuardedTransport, "_decide", lambda _, url, __: of_url(url))


def _hosts_as_written() -> None:
    _replace(origins, "_host", lambda raw: raw.lower())


def _resolved_twice() -> None:
    """What is dialled is asked for again, after the check."""
    checked = dialling.checked_addresses

    async def again(origin: Origin, resolver: Resolver, *, private: bool) -> Any:
        await checked(origin, resolver, private=private)
        return await resolver.resolve(origin.host, origin.port)

    _replace(dialling, "checked_addresses", again)


def _first_address_alone() -> None:
    async def first(origin: Origin, resolver: Resolver, *, private: bool) -> Any:
        found = list(await resolver.resolve(origin.host, origin.port))
        return [one for one in found if addresses.refusal(one, private=private) is None]

    _replace(dialling, "checked_addresses", first)


def _bodies_of_any_size() -> None:
    made: Callable[..., None] = bodies.BoundedBody.__init__
    _replace(bodies.BoundedBody, "__init__", lambda body, stream, codings, _, exchange: made(body, stream, codings, 2**60, exchange))


def _libraries_log_all() -> None:
    _replace(broker, "logging", SimpleNamespace(INFO=0, getLogger=lambda _: SimpleNamespace(setLevel=lambda _: None)))


def _secrets_are_waited_for() -> None:
    async def resolve(kept: Any, name: str) -> Any:
        return kept.get(name)

    _replace(secrets._Kept, "resolve", resolve)


def _replace(owner: Any, name: str, what: Any) -> None:
    setattr(owner, name, what)


PROGRAMS, RESUME, VALUES, AUTHORITY = (f"tests/attacks/test_attack_{name}.py" for name in ("programs", "resume", "values", "authority"))
FRAMES, POOL, JS, JS_ENGINE, PYTHON = (f"tests/isolates/test_{name}.py" for name in ("hostile_frames", "pool", "js_hostile", "js_engine", "python_attacks"))
CONDITIONS, ATTACKS_ON_POLICY, POLICY_KERNEL = "tests/policy/test_conditions.py", "tests/attacks/test_attack_policy.py", "tests/kernel/test_policy.py"
BROKER, HTTP, EGRESS = "tests/egress/test_broker.py", "tests/connectors/test_http_connector.py", "tests/attacks/test_attack_egress.py"
CONNECTIONS, TENANTS = "tests/attacks/test_attack_connections.py", "tests/attacks/test_attack_tenants.py"
FLOW, AUTHOR = "tests/attacks/test_attack_flow.py", "tests/attacks/test_attack_author.py"
LEDGER = "tests/store/test_store_ledger.py"
BRIDGE, DRIVER, SERVICE = (f"tests/runtime/test_{name}.py" for name in ("bridge", "driver", "service"))

CONTROLS: dict[str, Control] = {
    "kill timer": Control(_gone((Watch, "_end")), (POOL, FRAMES, "-k", "B01_a_loop or B22_a_worker or D19 or longer_than_sent")),
    "limit cpu_ms": Control(_unbounded("cpu_ms"), (PROGRAMS, "-k", "stopped_at_its_limit and (B01 or B02 or B03)")),
    "limit wall_ms": Control(_unbounded("wall_ms"), (DRIVER, "-k", "B22_wall_limit")),
    "limit call_ms": Control(_unbounded("call_ms"), (RESUME, "-k", "B16")),
    "limit memory_bytes": Control(_unbounded("memory_bytes"), (JS, PYTHON, "-k", "(B04_to_B12_memory_bombs and (Uint8Array or 3e7)) or (B04_to_B12_memory and not bombs)")),
    "limit log_bytes": Control(_unbounded("log_bytes"), (FRAMES, DRIVER, JS_ENGINE, JS, PYTHON, VALUES, "-k", "B17 or limit_of_logs")),
    "limit calls": Control(_unbounded("calls"), (FRAMES, DRIVER, JS_ENGINE, PYTHON, RESUME, "-k", "B19_call_flood or limits_of_calls or B19_host_call or (B20 and calls)")),
    "limit calls_in_flight": Control(_unbounded("calls_in_flight"), (BRIDGE, JS_ENGINE, JS, PYTHON, "-k", "B19_calls_in_flight or limits_of_calls or B19_a_flood or B19_host_call")),
    "limit value_bytes": Control(_unbounded("value_bytes"), (BRIDGE, JS_ENGINE, PYTHON, "-k", "value_bounds or limits_of_calls or B19_timers_and_values")),
    "limit source_bytes": Control(_unbounded("source_bytes"), (RESUME, "-k", "B30")),
    "limit input_bytes": Control(_unbounded("input_bytes"), (RESUME, "-k", "B14")),
    "limit timers": Control(_unbounded("timers"), (JS_ENGINE, PYTHON, "-k", "limit_of_timers or B19_timers_and_values")),
    "limit journal_bytes": Control(_unbounded("journal_bytes"), (BRIDGE, RESUME, "-k", "B25_journal_quota or (B20 and journal)")),
    "limit result_tokens": Control(_unbounded("result_tokens"), (SERVICE, "-k", "large_result")),
    "wire: length of a frame": Control(_frames_of_any_length, ("tests/wire/test_frames.py", FRAMES, "-k", "D01")),
    "wire: depth and items of a value": Control(_gone((values, "_over_bounds")), ("tests/wire/test_values.py", BRIDGE, "-k", "D16 or D15_items or D18_cycles")),
    "wire: integers beyond 64 bits": Control(_gone((values, "_exact_integer"), answer=0), ("tests/wire/test_values.py", "-k", "D15_text_that_is_refused")),
    "worker: one count a delivery": Control(_gone((PooledIsolate, "_check_counts")), (FRAMES, "-k", "D07_counts")),
    "worker: log text": Control(_gone((PooledIsolate, "_check_logs")), (FRAMES, "-k", "B17")),
    "addresses": Control(_gone((resolve, "refusal"), (addresses, "refusal")), ("tests/egress", "-k", "C01_loopback or C06 or C07_metadata_is_refused_even")),
    "redaction": Control(_secrets_pass, (HTTP, "tests/connectors/test_openapi.py", EGRESS, CONNECTIONS, "-k", "C15 or C18_an_encoded or C28_what")),
    "egress: granted origins": Control(_any_origin, (BROKER, "-k", "C02 or C05 or C09 or C12")),
    "egress: one form of a host": Control(_hosts_as_written, (BROKER, "tests/egress/test_addresses.py", "-k", "C03 or C04 or C06")),
    "egress: one resolution": Control(_resolved_twice, (BROKER, "-k", "C08")),
    "egress: every address": Control(_first_address_alone, (BROKER, "-k", "C08")),
    "egress: headers across origins": Control(lambda: _replace(transport, "_ACROSS_ORIGINS", _Everything()), (BROKER, HTTP, "-k", "C09")),
    "egress: headers of the connection": Control(lambda: _replace(transport, "_HOP_BY_HOP", frozenset()), (BROKER, "-k", "C11 or C13 or C14")),
    "egress: decoded bytes": Control(_bodies_of_any_size, (BROKER, "-k", "B15 or B16_a_body")),
    "egress: the library's log": Control(_libraries_log_all, (CONNECTIONS, "-k", "O1")),
    "http: grants": Control(_gone((http._Granted, "allows"), answer=True), (HTTP, EGRESS, "-k", "E03 or C05 or C09 or C10 or C21 or C30")),
    "http: headers of a program": Control(lambda: _replace(http, "_NEVER_SENT", frozenset()), (HTTP, EGRESS, "-k", "C22_a_programs or C16")),
    "secrets: beside the loop": Control(_secrets_are_waited_for, ("tests/store/test_store_secrets.py", "-k", "B22")),
    "tenants: whose a run is": Control(_gone((visibility.Sight, "sees"), answer=True), (TENANTS, "-k", "E18")),
    "grants": Control(_all_granted, ("tests/kernel", BRIDGE, AUTHORITY, "-k", "E01 or E02 or E03 or denied_call or outside_the_grant or counted_over_the_run")),
    "policy: what conditions may see": Control(_text_passes, (CONDITIONS, ATTACKS_ON_POLICY, "-k", "E23_what_cannot or E08_no_key")),
    "policy: amounts": Control(_gone((policy_kernel, "_is_amount"), answer=True), (POLICY_KERNEL, "-k", "E08")),
    "policy: keys of limits": Control(_keys_alike, (POLICY_KERNEL, "-k", "E08")),
    "policy: rules": Control(_gone((decide_kernel, "judged")), (POLICY_KERNEL, ATTACKS_ON_POLICY, "tests/policy", "-k", "E02 or strictest or cannot_be_judged or examples")),
    "policy: URLs by parts": Control(_prefixes_of_text, (CONDITIONS, ATTACKS_ON_POLICY, "-k", "E03 or E23")),
    "policy: half a file": Control(_at_once, ("tests/policy/test_loader.py",)),
    "policy: the last good one stays": Control(_anything_loads, ("tests/policy/test_loader.py", "-k", "E21")),
    "information flow": Control(_gone((decide_kernel, "guard")), ("tests/kernel/test_flow.py", "tests/policy/test_examples.py", FLOW)),
    "flow: labels of answers": Control(_gone((bridge, "brought_by"), answer=CLEAN), (FLOW, "-k", "E11 or E12 or E13 or C25_a")),
    "flow: labels of handles": Control(_handles_unlabelled, (FLOW, "-k", "E10 or joins_its_labels")),
    "flow: conversations": Control(_gone((driving, "brought"), answer=[]), (FLOW, "-k", "E09")),
    "flow: words about handles": Control(_words_unveiled, (FLOW, "-k", "E01_a_program")),
    "flow: handles are a run's own": Control(_handles_shared, (FLOW, "-k", "E01_a_handle_of_another_run")),
    "flow: URLs": Control(_gone((Urls, "built"), answer=False), (FLOW, "-k", "C24 or C25")),
    "flow: spelled calls are compared": Control(_gone((spelled, "_fits"), answer=True), (AUTHOR, "tests/runtime/test_spelled.py", "-k", "E13")),
    "flow: spelled calls are good once": Control(_spelled_for_ever, (AUTHOR, "tests/runtime/test_spelled.py", "-k", "E12")),
    "flow: who is vouched for": Control(_everybody_vouched_for, (AUTHOR, "-k", "E13_nobody or E09 or E10_a_handle")),
    "flow: where handles go": Control(_handles_only_content, (AUTHOR, "-k", "E10_a_stranger")),
    "flow: bits of extractions": Control(_gone((Handles, "tell")), (AUTHOR, "-k", "E12_a_run")),
    "flow: one error of extractions": Control(_extraction_talks, (AUTHOR, "-k", "E01_every")),
    "ledger: keys of a tenant": Control(_ledger_of_any_size, (LEDGER, "-k", "E08_a_program")),
    "ledger: charges are booked": Control(_nothing_is_charged, (LEDGER, "-k", "E08_concurrent or F01_a_restart")),
    "schemas of arguments": Control(_gone((Validators, "arguments")), (BRIDGE, AUTHORITY, "-k", "failure_is_a_value or A10 or B13_a_pattern or recursive_schema")),
}
_JAIL = ("tests/isolates/test_jail_layers.py", "-k", "switched_off_goes_red")


# -- the pytest plugin ----------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--switch-off", default="")
    parser.addoption("--switch-report", default="")


def pytest_configure(config: pytest.Config) -> None:
    if name := config.getoption("--switch-off"):
        CONTROLS[name].off()
    config.pluginmanager.register(_Reporter(Path(config.getoption("--switch-report"))))


class _Reporter:
    """One JSON line a case that began and one a phase that ended: a case that never ends is told by its absence."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._note(nodeid, "began")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report.nodeid, report.outcome if report.when == "call" or report.outcome == "failed" else report.when)

    def _note(self, case: str, outcome: str) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps([case, outcome]) + "\n")


# -- the command ----------------------------------------------------------------------------------------------


def run(cases: Sequence[str], switched_off: str) -> dict[str, bool]:
    """Case → green. A case that did not come to its end is red. Raises `RuntimeError` when there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report"
        path.touch()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.switches", f"--timeout={_CASE_S}",
                   "--switch-off", switched_off, "--switch-report", str(path), *cases]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_CONTROL_S, check=False)
            if not path.read_text():
                raise RuntimeError(f"pytest ran none of {' '.join(cases)}: {done.stdout[-1_500:]}{done.stderr[-500:]}")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    ends: dict[str, set[str]] = {}
    for case, outcome in lines:
        ends.setdefault(case, set()).add(outcome)
    return {case: "passed" in outcomes and "failed" not in outcomes and "teardown" in outcomes for case, outcomes in ends.items()}


def show(control: str, on: dict[str, bool], off: dict[str, bool]) -> bool:
    """Print one row; whether the control is proved."""
    red = [case for case, green in off.items() if not green and on.get(case)]
    broken = [case for case, green in on.items() if not green]
    proved = bool(red) and not broken
    print(f"{control:34} {len(on):5} cases, {len(red):4} red without it   {'' if proved else 'NOT PROVED'}", flush=True)
    for case in red[:6]:
        print(f"    {case.rpartition('/')[2][:120]}")
    if len(red) > 6:
        print(f"    and {len(red) - 6} more")
    for case in broken:
        print(f"    not green with it: {case}")
    return proved


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*CONTROLS, "jail", []], metavar="NAME", help="all of them by default")
    chosen = parser.parse_args(arguments).names or [*CONTROLS, "jail"]
    os.nice(5)
    proved: list[bool] = []
    for name in chosen:
        if name != "jail":
            cases = CONTROLS[name].cases
            proved.append(show(name, run(cases, ""), run(cases, name)))
    if "jail" in chosen:
        layers = run(_JAIL, "")
        for case, green in layers.items():
            print(f"jail: {case.rpartition('[')[2].rstrip(']'):28} {'red without it' if green else 'NOT PROVED'}")
        proved += layers.values()
    print(f"{sum(proved)} of {len(proved)} controls proved")
    return 0 if all(proved) else 1


if __name__ == "__main__":
    sys.exit(main())
