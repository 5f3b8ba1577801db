"""A policy file that may change under a running server: the last good policy stays in force until the next good one.

Model: nothing watches; whoever wants the policy asks, and the file is looked at again when its identity, size or time
differ. A new file moved into its place (the way to change a policy) counts at once. One that is written there, in place or as
a new file under the name, may be half there, and half a policy is a laxer one: it counts once it has stood still for `SETTLE_S`, by the
file's own times, or, where those lie ahead of the clock, since it was first seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from inhabit.errors import ConfigError
from inhabit.kernel.policy import EVERYBODY, Policy, Scope
from inhabit.policy.document import Document, read_policy, refused
from inhabit.policy.problems import Place, Problem
from inhabit.policy.toml import MAX_POLICY_BYTES

__all__ = ["SETTLE_S", "Loaded", "Loader"]

SETTLE_S = 0.5
Check = Callable[[Document], Sequence[Problem]]
_Identity = tuple[int, int, int, int]


class Loaded(NamedTuple):
    """`policy` is what holds. `problems` are those of the file as it is now; where one is an error, it is not what holds.
    `changed`: another policy holds than when it was last asked.
    """

    policy: Policy
    problems: tuple[Problem, ...] = ()
    changed: bool = False


class Loader:
    """Raises `ConfigError` from its constructor when there is no good policy to begin with."""

    def __init__(self, path: Path, *, scope: Scope = EVERYBODY, check: Check | None = None,
                 clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._scope = scope
        self._check: Check = check or (lambda document: document.problems)
        self._clock = clock
        self._wall = wall
        self._seen: _Identity | None = None
        self._moving: tuple[_Identity, float] | None = None
        identity, text = self._read()
        policy, problems = self._judged(text)
        if policy is None:
            raise refused(str(path), problems)
        self._seen = identity
        self._policy = policy
        self._problems = problems

    @property
    def policy(self) -> Policy:
        """What holds, without looking at the file."""
        return self._policy

    def look(self) -> Loaded:
        """Take up a change, if there is one; costs one `stat` when there is none. Never raises."""
        try:
            if not self._has_settled():
                return Loaded(self._policy, self._problems)
            identity, text = self._read()
            if identity is None:
                return Loaded(self._policy, self._problems)
        except ConfigError as error:
            self._seen = None
            self._problems = (Problem("error", Place(), "", error.message, "the policy that was read before stays in force"),)
            return Loaded(self._policy, self._problems)
        self._seen = identity
        policy, self._problems = self._judged(text)
        changed = policy is not None and policy.version != self._policy.version
        if policy is not None and changed:
            self._policy = policy
        return Loaded(self._policy, self._problems, changed)

    def _has_settled(self) -> bool:
        """Whether there is something new that can be read now."""
        try:
            status = os.stat(self._path)
        except OSError:
            return True     # reading says what is wrong
        found = _identity(status)
        if found == self._seen:
            self._moving = None
            return False
        moved = status.st_ctime_ns > status.st_mtime_ns     # something befell it after its last byte was written
        if moved and (self._seen is None or found[:2] != self._seen[:2]):
            return True
        if self._wall() - max(status.st_mtime, status.st_ctime) >= SETTLE_S:
            return True     # whoever asks first after a quiet hour is not told what held before it
        if self._moving is None or self._moving[0] != found:
            self._moving = (found, self._clock())
        return self._clock() - self._moving[1] >= SETTLE_S

    def _read(self) -> tuple[_Identity | None, str]:
        """The text with the identity of the very file it was read from; None: it was written meanwhile."""
        try:
            with self._path.open("rb") as file:
                identity = _identity(os.fstat(file.fileno()))
                body = file.read(MAX_POLICY_BYTES + 1)
                still = _identity(os.fstat(file.fileno())) == identity
            return identity if still else None, body.decode()
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self._path} is not UTF-8 text") from None

    def _judged(self, text: str) -> tuple[Policy | None, tuple[Problem, ...]]:
        document = read_policy(text, file=str(self._path), scope=self._scope)
        problems = tuple(self._check(document))
        if any(problem.severity == "error" for problem in problems):
            return None, problems
        return document.policy(), problems


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
