"""Where the operator's secrets come from: `Secrets.resolve(name)` at every use, so that a rotated value needs no restart.

    environment   INHABIT_SECRET_NAME, else NAME, of this process
    sealed file   see `sealed`
    keyring       the operating system's, by the `keyring` library
    command       a program that prints one secret: no shell, bounded in time and output

A value is a `Secret` from here on: printing, formatting or pickling it gives nothing. None means that it does not
resolve; whoever needs it then fails before anything is sent, naming the secret. Keyring and command are slow, and may
hang: they are asked on a thread of their own, `resolve` waits for it beside the event loop and at most `timeout_s`. An
answer counts for `FRESH_S`; then it is asked for again beside the calls, dropped when it is not there any more, and
`STALE_S` old it counts no more, whatever became of the asking.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inhabit.contracts.connector import Secret
from inhabit.errors import ConfigError, Unavailable
from inhabit.store.sealed import MAX_SECRET_BYTES

__all__ = ["FRESH_S", "KEYRING_SERVICE", "STALE_S", "TIMEOUT_S", "CommandSecrets", "EnvironmentSecrets", "KeyringSecrets", "Secrets"]

FRESH_S = 30.0
STALE_S = 300.0
TIMEOUT_S = 5.0
KEYRING_SERVICE = "inhabit"
_MAX_ASKING = 16            # threads of one place that wait; one that hangs keeps its thread
_ASK_ANEW_S = 60.0          # an asking that hangs this long is left alone, and its name asked for again
_END_S = 1.0                # for a command that is killed at its time to be gone
_log = logging.getLogger(__name__)
_Answer = concurrent.futures.Future[Secret | None]


class Secrets(Protocol):
    def get(self, name: str) -> Secret | None:
        """The value as it is now; None when it does not resolve. May wait, for a bounded time: not on an event loop."""
        ...

    async def resolve(self, name: str) -> Secret | None:
        """The same on an event loop, which goes on. Raises `Unavailable` when the place does not answer in time."""
        ...


class EnvironmentSecrets:
    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def get(self, name: str) -> Secret | None:
        value = self._environment.get(f"INHABIT_SECRET_{name}") or self._environment.get(name)
        return Secret(value) if value else None

    async def resolve(self, name: str) -> Secret | None:
        return self.get(name)


@dataclass(frozen=True, slots=True)
class _Asking:
    answer: _Answer
    since_s: float


class _Kept:
    """Answers of a slow place, by name. The first is waited for; later ones are renewed beside the calls. Of many that
    want one name, one asks."""

    def __init__(self, place: str, ask: Callable[[str], str | None], *, timeout_s: float, fresh_s: float, clock: Callable[[], float]) -> None:
        self._place = place
        self._ask = ask
        self._timeout_s = timeout_s
        self._fresh_s = fresh_s
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, Secret | None]] = {}
        self._asking: dict[str, _Asking] = {}
        self._threads = 0

    def get(self, name: str) -> Secret | None:
        kept, answer = self._now(name)
        if kept is not None:
            return kept
        try:
            return answer.result(self._timeout_s)
        except TimeoutError:
            raise self._hangs(name) from None

    async def resolve(self, name: str) -> Secret | None:
        kept, answer = self._now(name)
        if kept is not None:
            return kept
        try:
            # Shielded: whoever gives up waiting does not take the answer from the others.
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answer)), self._timeout_s)
        except TimeoutError:
            raise self._hangs(name) from None

    def _now(self, name: str) -> tuple[Secret | None, _Answer]:
        """What is known, and what is being asked. Raises `Unavailable` when too many hang already."""
        with self._lock:
            at, kept = self._answers.get(name, (0.0, None))
            age_s = self._clock() - at
            if kept is not None and age_s < self._fresh_s:
                return kept, _Answer()
            usable = kept if kept is not None and age_s < STALE_S else None
            asking = self._asking.get(name)
            if asking is not None and time.monotonic() - asking.since_s < _ASK_ANEW_S:
                return usable, asking.answer
            if self._threads < _MAX_ASKING:
                return usable, self._asked(name)
        if usable is None:
            raise self._hangs(name)
        return usable, _Answer()

    def _asked(self, name: str) -> _Answer:
        asking = self._asking[name] = _Asking(concurrent.futures.Future(), time.monotonic())
        self._threads += 1
        threading.Thread(target=self._renew, args=(name, asking), name="inhabit-secret", daemon=True).start()
        return asking.answer

    def _renew(self, name: str, asking: _Asking) -> None:
        found: Secret | None = None
        try:
            value = self._ask(name)
            found = Secret(value) if value else None
        finally:
            with self._lock:
                self._threads -= 1
                if self._asking.get(name) is asking:      # else it took too long, and another asks
                    self._answers[name] = (self._clock(), found)
                    del self._asking[name]
            asking.answer.set_result(found)

    def _hangs(self, name: str) -> Unavailable:
        _log.warning("%s has not answered for the secret %s within %g s", self._place, name, self._timeout_s)
        return Unavailable(f"the secret {name} cannot be had: {self._place} has not answered within {self._timeout_s:g} s", code="secret_timeout",
                           fix=f"see why {self._place} waits: often it is locked, or asks somebody something")


class KeyringSecrets:
    """Raises `ConfigError` when the library is not installed."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, fresh_s: float = FRESH_S, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            self._keyring: Any = importlib.import_module("keyring")
        except ImportError:
            raise ConfigError("the secrets lie in the keyring, and the library for it is not installed",
                              fix="pip install 'inhabit[keyring]'") from None
        self._kept = _Kept("the keyring", self._ask, timeout_s=timeout_s, fresh_s=fresh_s, clock=clock)

    def get(self, name: str) -> Secret | None:
        return self._kept.get(name)

    async def resolve(self, name: str) -> Secret | None:
        return await self._kept.resolve(name)

    def put(self, name: str, value: Secret) -> None:
        self._keyring.set_password(KEYRING_SERVICE, name, value.reveal())

    def remove(self, name: str) -> bool:
        held = self._ask(name) is not None
        if held:
            self._keyring.delete_password(KEYRING_SERVICE, name)
        return held

    def _ask(self, name: str) -> str | None:
        try:
            return self._keyring.get_password(KEYRING_SERVICE, name)
        except Exception as error:  # noqa: BLE001  every backend has errors of its own; their text may quote what it holds
            _log.warning("the keyring did not give the secret %s: %s", name, type(error).__name__)
            return None


class CommandSecrets:
    """`argv` is run for each secret, `{name}` in it replaced. Raises `ConfigError` for one without it."""

    def __init__(self, argv: Sequence[str], *, timeout_s: float = TIMEOUT_S, fresh_s: float = FRESH_S,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if not argv or not any("{name}" in word for word in argv[1:]):
            raise ConfigError("the command for secrets does not say where the name goes", fix='e.g. command = ["pass", "show", "inhabit/{name}"]')
        self._argv = tuple(argv)
        self._timeout_s = timeout_s
        self._kept = _Kept(f"the command {argv[0]}", self._ask, timeout_s=timeout_s + _END_S, fresh_s=fresh_s, clock=clock)

    def get(self, name: str) -> Secret | None:
        return self._kept.get(name)

    async def resolve(self, name: str) -> Secret | None:
        return await self._kept.resolve(name)

    def _ask(self, name: str) -> str | None:
        argv = [self._argv[0], *(word.replace("{name}", name) for word in self._argv[1:])]
        try:
            printed, code = _bounded(argv, self._timeout_s)
        except OSError as error:
            _log.warning("the command for the secret %s cannot be run: %s", name, error.strerror)
            return None
        if code != 0 or len(printed) > MAX_SECRET_BYTES:
            reason = f"it printed more than {MAX_SECRET_BYTES} bytes" if len(printed) > MAX_SECRET_BYTES else f"exit code {code}"
            _log.warning("the command for the secret %s gave none: %s", name, reason)
            return None
        with contextlib.suppress(UnicodeDecodeError):
            return printed.decode().removesuffix("\n").removesuffix("\r") or None
        _log.warning("the command for the secret %s printed no text", name)
        return None


def _bounded(argv: list[str], timeout_s: float) -> tuple[bytes, int]:
    """What a program prints, at most one byte too many, and its exit code; killed, with what it started, when its time is over."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None, "it was asked for"
    timer = threading.Timer(timeout_s, _kill, (process,))
    timer.start()
    try:
        printed = process.stdout.read(MAX_SECRET_BYTES + 1)
        if len(printed) > MAX_SECRET_BYTES:
            _kill(process)
        return printed, process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.stdout.close()
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:      # not reaped: its number is still its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
