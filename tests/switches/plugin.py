"""The pytest plugin of `python -m tests.switches`: switches one control off, and writes down what became of each case."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.switches.controls import CONTROLS
from tests.switches.off import Switch

__all__ = ["Plugin", "images_in", "switch_off"]

_HERE = Path(__file__).parent


def images_in(cache: Path) -> Path:
    """Where in pytest's own cache the tests of the engine keep images (`tests/isolates/js_harness.py`)."""
    return cache / "d" / "inhabit-images"


def switch_off(name: str, report: Path) -> None:
    """In this process. Raises `LookupError` where a thing that is to be replaced is not there."""
    CONTROLS[name].off(Switch(lambda *line: _note(report, *line)))


class Plugin:
    """One JSON line `[kind, name, text]` a case that began and one a phase that ended: a case that never ends is told by its
    absence. Appended at once: it is read also when the process did not come to its end.
    """

    def __init__(self, report: Path, switched_off: str, cache: Path) -> None:
        self._path = report
        self._switched_off = switched_off
        self._cache = cache

    def pytest_configure(self) -> None:
        if self._switched_off:
            try:
                switch_off(self._switched_off, self._path)
            except LookupError as error:
                raise pytest.UsageError(str(error)) from None
            if CONTROLS[self._switched_off].beside:
                path = (str(_HERE / "beside"), str(_HERE.parents[1]), os.environ.get("PYTHONPATH", ""))
                os.environ |= {"SWITCHED_OFF": self._switched_off, "SWITCH_REPORT": str(self._path), "PYTHONPATH": os.pathsep.join(path)}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """An engine's image where tests of the runtime look for one (`tests/runtime/conftest.py`): to make it takes seconds."""
        shutil.copytree(images_in(self._cache), session.config._tmp_path_factory.getbasetemp() / "engine-cache")  # type: ignore[attr-defined]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _note(self._path, "began", nodeid, "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message.partition("\n")[0] if crash is not None else str(report.longrepr or "").rpartition("\n")[2]
        _note(self._path, report.outcome if report.when == "call" or report.outcome == "failed" else report.when, report.nodeid, why[:160])


def _note(report: Path, kind: str, name: str, text: str) -> None:
    with report.open("a") as file:
        file.write(json.dumps([kind, name, text]) + "\n")
