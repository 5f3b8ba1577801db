"""The Python engine: Monty behind `inhabit.contracts.program.Engine`, inside a jailed worker.

For the pool:
- `load` runs where workers are forked from; it starts no thread and no process.
- `executables` names the files the child needs: Monty's binary and the libraries it is linked with.
- `attach` (also `warm`) starts the child, in the worker, before the last layers of the jail; `child` says which
  system calls are needed until then and after.
- One guest at a time (`max_guests`): the child serves one session. Checks share it, between guests.
- After `WorkerLost` or `LimitExceeded` the worker is to be replaced; no second child is ever started.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic_monty import MontyCrashedError, MontyError, MontySyntaxError, MontyTypingError, __version__
from pydantic_monty._binary import find_monty_binary  # pyright: ignore[reportPrivateUsage]

from inhabit.contracts.program import Boot, Language, Prepared, Problem
from inhabit.errors import Unavailable, WorkerLost
from inhabit.isolates.jail.root import libraries_of
from inhabit.isolates.python.advice import explain
from inhabit.isolates.python.child import Child
from inhabit.isolates.python.failures import frames_of
from inhabit.isolates.python.guest import PythonGuest
from inhabit.isolates.python.plan import COMMON
from inhabit.isolates.python.prepare import checkable, prepare
from inhabit.isolates.python.typecheck import GATE, STUB_PRELUDE, problems_of, roots_of

__all__ = ["PythonEngine"]

_CHECK_CPU_S = 2.0
_CHECK_MEMORY = 128 * 1024 * 1024
_WARM_UP = "import json\nx = await a.b.c(d=[1, {\"e\": -2}])\ntry:\n    del x[1]\nexcept OperationError as e:\n    print(e.code)\nreturn x"
_REWRITE = 1
"""Counts changes of what `rewrite` and the prelude mean; part of the version, so that a replay can refuse."""


class PythonEngine:
    """Implements `inhabit.contracts.program.Engine`."""

    language: Language = "python"
    max_guests: ClassVar[int] = 1

    def __init__(self, binary: str, fingerprint: str, *, watched: bool = True) -> None:
        self._binary = binary
        self._child = Child(binary, watched=watched)
        self._warm = False
        self.version = f"pydantic-monty {__version__} {fingerprint} rewrite {_REWRITE}"

    @classmethod
    def build(cls, cache: Path) -> None:
        """Nothing to build; the fingerprint of the binary is worked out once and kept."""
        cls.load(cache)

    @classmethod
    def load(cls, cache: Path, *, watched: bool = True) -> Self:
        """`watched=False` where no parent kills by CPU time: Monty's own clock then stops a program, which counts
        time on the wall. Raises `Unavailable` when the interpreter's binary is not installed.
        """
        try:
            binary = find_monty_binary()
        except FileNotFoundError as error:
            raise Unavailable(f"the Python interpreter is not installed: {error}",
                              fix="pip install pydantic-monty==1.4.0") from None
        prepare(_WARM_UP, ("a",))   # what the first parse makes is shared by every worker forked from here
        return cls(binary, _fingerprint(binary, cache), watched=watched)

    def executables(self) -> Sequence[str]:
        return (self._binary, *libraries_of(self._binary)) if sys.platform == "linux" else (self._binary,)

    def attach(self) -> None:
        """Start the interpreter. Raises `WorkerLost`."""
        self._child.spawn()
        if not self._warm:
            self._warm = True
            self._parses("x = 1")   # the child's first session costs some milliseconds more than the next

    warm = attach

    def close(self) -> None:
        """End the interpreter; for use outside a worker, whose end does the same."""
        self._child.close()

    def prepare(self, source: str, names: tuple[str, ...]) -> Prepared:
        """Never raises for bad source. Raises `WorkerLost` when the interpreter died over it."""
        prepared, failure = prepare(source, names)
        if failure is None and prepared.problems:
            return prepared
        problem = self._parses(prepared.code)
        if failure is not None:   # refused by this Python's grammar: Monty's, which is newer, decides
            worse = problem if problem and problem.code == "unsupported" else failure.problem
            return Prepared("", problems=(worse,)) if problem else Prepared(prepared.code)
        return Prepared(prepared.code, prepared.calls, (problem,)) if problem else prepared

    def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        """Check the source as given against stubs. A check that the interpreter does not survive refuses nothing;
        this worker is spent then, and says so when it is asked for a guest."""
        options = {"type_check": True, "type_check_stubs": f"{STUB_PRELUDE}{stubs}", "type_check_format": "concise"}
        try:
            error = self._checked(GATE + checkable(code, roots_of(stubs)), options)
        except WorkerLost:
            return ()
        return problems_of(error.display(), stubs, COMMON) if isinstance(error, MontyTypingError) else ()

    def create(self, boot: Boot) -> PythonGuest:
        return PythonGuest(self._child, boot)

    def _parses(self, code: str) -> Problem | None:
        """What Monty's own parser has against the code."""
        error = self._checked(GATE + code, {})
        if error is None:
            return None
        message = str(error)
        name, _, text = message.partition(": ")
        frames = frames_of(error)
        line, column = (frames[-1].line - 1, frames[-1].column) if frames else (1, 1)
        if isinstance(error, MontySyntaxError):
            return Problem(f"syntax: {text or message}", max(line, 1), column)
        hint = explain(name, text)
        return Problem(hint or text or message, max(line, 1), column, "unsupported" if hint else "syntax")

    def _checked(self, code: str, options: dict[str, Any]) -> MontyError | None:
        session = self._child.open(cpu_s=_CHECK_CPU_S, memory_bytes=_CHECK_MEMORY, **options)
        try:
            session.monty.feed_start(code)
            return None
        except MontyCrashedError as error:
            raise self._child.gone(str(error)) from None
        except MontyError as error:
            return error
        finally:
            session.close()


def _fingerprint(binary: str, cache: Path) -> str:
    """Of the binary's bytes, remembered by path, size and time of change."""
    stat = os.stat(binary)
    key = hashlib.sha256(f"{os.path.realpath(binary)} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    kept = cache / f"monty-{key}"
    try:
        return kept.read_text()
    except OSError:
        pass
    with open(binary, "rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_text(fingerprint)
    except OSError:
        pass   # worked out again the next time
    return fingerprint
