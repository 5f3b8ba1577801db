"""Where the operator's secrets come from: `Secrets.get(name)` at every use, so that a rotated value needs no restart.

    environment   INHABIT_SECRET_NAME, else NAME, of this process
    sealed file   see `sealed`
    keyring       the operating system's, by the `keyring` library
    command       a program that prints one secret: no shell, bounded in time and output

A value is a `Secret` from here on: printing, formatting or pickling it gives nothing. None means that it does not
resolve; whoever needs it then fails before anything is sent, naming the secret. Keyring and command are slow: their
answer counts for `FRESH_S`, then it is asked for again beside the calls, and dropped when it is not there any more.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from inhabit.contracts.connector import Secret
from inhabit.errors import ConfigError
from inhabit.store.sealed import MAX_SECRET_BYTES

__all__ = ["FRESH_S", "KEYRING_SERVICE", "CommandSecrets", "EnvironmentSecrets", "KeyringSecrets", "Secrets"]

FRESH_S = 30.0
KEYRING_SERVICE = "inhabit"
_log = logging.getLogger(__name__)


class Secrets(Protocol):
    def get(self, name: str) -> Secret | None:
        """The value as it is now; None when it does not resolve."""
        ...


class EnvironmentSecrets:
    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def get(self, name: str) -> Secret | None:
        value = self._environment.get(f"INHABIT_SECRET_{name}") or self._environment.get(name)
        return Secret(value) if value else None


class _Kept:
    """Answers of a slow place, by name. The first is waited for; later ones are renewed beside the calls."""

    def __init__(self, ask: Callable[[str], str | None], fresh_s: float, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, Secret | None]] = {}
        self._asking: set[str] = set()

    def get(self, name: str) -> Secret | None:
        with self._lock:
            at, kept = self._answers.get(name, (0.0, None))
            if kept is not None and self._clock() - at < self._fresh_s:
                return kept
            if kept is not None and name in self._asking:
                return kept
            self._asking.add(name)
        if kept is None:
            return self._renew(name)
        threading.Thread(target=self._renew, args=(name,), name="inhabit-secret", daemon=True).start()
        return kept

    def _renew(self, name: str) -> Secret | None:
        value = self._ask(name)
        found = Secret(value) if value else None
        with self._lock:
            self._answers[name] = (self._clock(), found)
            self._asking.discard(name)
        return found


class KeyringSecrets:
    """Raises `ConfigError` when the library is not installed."""

    def __init__(self, *, fresh_s: float = FRESH_S, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            self._keyring: Any = importlib.import_module("keyring")
        except ImportError:
            raise ConfigError("the secrets lie in the keyring, and the library for it is not installed",
                              fix="pip install 'inhabit[keyring]'") from None
        self._kept = _Kept(self._ask, fresh_s, clock)

    def get(self, name: str) -> Secret | None:
        return self._kept.get(name)

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

    def __init__(self, argv: Sequence[str], *, timeout_s: float = 5.0, fresh_s: float = FRESH_S,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if not argv or not any("{name}" in word for word in argv[1:]):
            raise ConfigError("the command for secrets does not say where the name goes", fix='e.g. command = ["pass", "show", "inhabit/{name}"]')
        self._argv = tuple(argv)
        self._timeout_s = timeout_s
        self._kept = _Kept(self._ask, fresh_s, clock)

    def get(self, name: str) -> Secret | None:
        return self._kept.get(name)

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
