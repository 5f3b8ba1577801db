"""Does each control hold anything? `python -m tests.switches [NAME …]` prints: control → the cases that go red without it.

The cases of each control run in a process in which it was switched off, where some must be red; then all of them run as they
are, in one process, where all must be green. A control without a red case is proved by nobody, and the command fails; so
it does where a switch did not bite (`off`). A case that stays green is held by another layer too.

At the end: every attack of the classes C, E and F with the controls whose absence turns a case of it red. One without
fails the command, unless `controls.STRUCTURAL` says why there is nothing to switch off. Layers of the jail have a test
that does both by itself: `test_switched_off_goes_red`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis as hypothesis  # imported once, and not again by every process that is forked from here
import pytest
import pytest_asyncio as pytest_asyncio

import inhabit.app as _app  # noqa: F401
from inhabit.isolates.javascript import JavaScriptEngine
from tests.attacks.ids import WORDS, ids_in
from tests.switches.controls import CONTROLS, STRUCTURAL
from tests.switches.plugin import Plugin, images_in

ROOT = Path(__file__).resolve().parents[2]
_CASE_S, _CONTROL_S, _ALL_S = 120, 600, 3_600
_LOOK_S = 0.05
_CLASSES = "CEF"
_JAIL = ("tests/isolates/test_jail_layers.py", "-k", "switched_off_goes_red")


class NoCases(Exception):
    pass


@dataclass
class Ran:
    """`green`: case → whether it came to its end and was green. `why`: of those that failed. `misses`: what was replaced and
    never reached, or failed by itself.
    """

    green: dict[str, bool]
    why: dict[str, str] = field(default_factory=dict[str, str])
    misses: list[str] = field(default_factory=list[str])


def run(cases: Sequence[str], cache: Path, switched_off: str = "", limit_s: float = _CONTROL_S) -> Ran:
    """`cases`: arguments of pytest. Raises `NoCases` when there is none."""
    case_s = CONTROLS[switched_off].case_s if switched_off else _CASE_S
    with tempfile.TemporaryDirectory() as folder:
        path, said, listed = Path(folder) / "report", Path(folder) / "said", Path(folder) / "cases"
        path.touch()
        listed.write_text("\n".join(cases))
        _in_a_fork(lambda: _pytest(f"@{listed}", switched_off, path, said, case_s or _CASE_S, cache), limit_s)
        lines: list[list[str]] = [json.loads(line) for line in path.read_text().splitlines()]
        end = said.read_text(errors="replace")[-1_500:]
    told: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for kind, name, text in lines:
        told[kind][name] = text
    if not told["began"]:
        raise NoCases(f"pytest ran none of {' '.join(cases)[:300]}: {end}")
    passed = told["passed"].keys() & told["teardown"].keys() - told["failed"].keys()
    misses = [f"{place} was replaced and never reached" for place in told["placed"].keys() - told["reached"].keys()]
    misses += [f"the replacement of {place} failed by itself: {text}" for place, text in told["fault"].items()]
    return Ran({case: case in passed for case in told["began"] if case not in told["skipped"]}, told["failed"], misses)


def _pytest(cases: str, switched_off: str, report: Path, said: Path, case_s: int, cache: Path) -> int:
    """In this process, which is a fork of the one that has everything imported."""
    output = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    options = ("-q", "-o", f"cache_dir={cache}", "-W", "ignore::pytest.PytestAssertRewriteWarning", f"--timeout={case_s}")
    code = pytest.main([*options, cases], [Plugin(report, switched_off, cache)])
    sys.stdout.flush()
    return code


def _in_a_fork(work: Callable[[], object], limit_s: float) -> None:
    """With what it started it is killed when it takes too long. What it raises ends there: further up folders are removed that
    are not its own.
    """
    process = os.fork()
    if not process:
        try:
            os.setsid()
            work()
        except BaseException:  # noqa: BLE001 - whatever it was, it is told where the cases would be
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    deadline = time.monotonic() + limit_s
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return
        time.sleep(_LOOK_S)


def show(control: str, off: Ran) -> list[str]:
    """Print one row; the red cases."""
    red = [case for case, green in off.green.items() if not green]
    print(f"{control:38} {len(off.green):4} cases, {len(red):4} red without it   {'' if red and not off.misses else 'NOT PROVED'}", flush=True)
    for case in red[:6]:
        print(f"    {_short(case)}: {off.why.get(case, 'did not come to its end')[:100]}")
    if len(red) > 6:
        print(f"    and {len(red) - 6} more")
    for line in off.misses:
        print(f"    {line}")
    return red


def _short(case: str) -> str:
    path, _, name = case.partition("::")
    return f"{path.rpartition('/')[2]}::{name}"[:120]


def closing(red: Mapping[str, Sequence[str]]) -> list[str]:
    """Print ids → controls; the ids that nothing turned red and nothing explains."""
    turned: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name, cases in red.items():
        for one in {one for case in cases for one in ids_of(case)}:
            turned[one][name] = None
    print("\nids → the controls without which a case of them is red")
    for one in sorted(turned):
        print(f"{one} {WORDS[one]}: {', '.join(turned[one])}")
    print("\nids without a control")
    missing: list[str] = []
    for one in WORDS:
        if one[0] in _CLASSES and one not in turned:
            print(f"{one} {WORDS[one]}: {STRUCTURAL.get(one, 'NOT PROVED')}")
            missing += [one] if one not in STRUCTURAL else []
    return missing


def ids_of(case: str) -> set[str]:
    """The attacks of a case: those of its own parameters, else of its test."""
    name, _, parameters = case.rpartition("::")[2].partition("[")
    return ids_in(parameters) & WORDS.keys() or ids_in(name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*CONTROLS, "jail", []], metavar="NAME", help="all of them by default, and the table of ids")
    names: Sequence[str] = parser.parse_args(arguments).names
    os.nice(5)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as cache:
        _in_a_fork(lambda: JavaScriptEngine.build(images_in(Path(cache))), _CONTROL_S)     # it leaves threads behind, and what has threads is not forked
        return judged(names, Path(cache))


def judged(names: Sequence[str], cache: Path) -> int:
    """The code that the command ends with. `cache`: pytest's own, with the engines' images."""
    chosen = names or [*CONTROLS, "jail"]
    proved: dict[str, bool] = {}
    red: dict[str, list[str]] = {}
    seen: dict[str, None] = {}
    for name in chosen:
        if name != "jail":
            try:
                off = run(CONTROLS[name].cases, cache, name)
            except NoCases as error:
                print(f"{name:38} NOT PROVED: {error}", flush=True)
                proved[name], red[name] = False, []
                continue
            red[name] = show(name, off)
            proved[name] = bool(red[name]) and not off.misses
            seen |= dict.fromkeys(off.green)
    on = run([*seen], cache, limit_s=_ALL_S) if seen else Ran({})
    for case in seen:
        if not on.green.get(case):
            print(f"not green with all controls: {_short(case)}: {on.why.get(case, 'did not come to its end')}")
    for name, cases in red.items():
        red[name] = [case for case in cases if on.green.get(case)]
        proved[name] = proved[name] and bool(red[name])
    if "jail" in chosen:
        layers = run(_JAIL, cache).green
        for case, green in layers.items():
            name = f"jail: {case.rpartition('[')[2].rstrip(']')}"
            print(f"{name:38} {'red without it' if green else 'NOT PROVED'}")
            proved[name], red[name] = green, [case] if green else []
    missing = [] if names else closing(red)
    unproved = [name for name, is_proved in proved.items() if not is_proved]
    print(f"\n{len(proved) - len(unproved)} of {len(proved)} controls proved" + "".join(f"\nnot proved: {name}" for name in unproved))
    return 1 if unproved or missing or not all(on.green.get(case) for case in seen) else 0


if __name__ == "__main__":
    sys.exit(main())
