"""The policy of an app: found once its sources are open, looked at again at every decision, counted in the ledger.

A file that changes takes effect with the next call of any run. One that is wrong at the start is refused with every
error; one that becomes wrong changes nothing: the last good policy holds, and `trouble` says so until it is mended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.policy import NO_POLICY, Policy
from inhabit.policy.check import checked
from inhabit.policy.document import Document, read_policy, refused
from inhabit.policy.loader import Loader
from inhabit.policy.problems import Problem

__all__ = ["Governing", "PolicySource"]

_log = logging.getLogger(__name__)

PolicySource = Path | str | Mapping[str, Any] | Policy | None
"""A file, the same as values, a policy made in Python, or none."""
Known = Callable[[], tuple[Sequence[Operation], bool]]
"""The operations that there are, and whether these are all: a source may be out of reach."""


class Governing:
    """One for an app. `begin` before the first decision."""

    def __init__(self, source: PolicySource) -> None:
        self._source = source
        self._policy = source if isinstance(source, Policy) else NO_POLICY
        self._loader: Loader | None = None
        self._said: tuple[Problem, ...] = ()

    @property
    def file(self) -> Path | None:
        return Path(self._source) if isinstance(self._source, Path | str) else None

    def begin(self, known: Known) -> None:
        """Read the policy and hold it against the operations. Raises `ConfigError` that lists every error by its line."""
        if self._source is None or isinstance(self._source, Policy):
            return

        def check(document: Document) -> Sequence[Problem]:
            operations, complete = known()
            return checked(document, operations, complete=complete)

        file = self.file
        if file is not None:
            self._loader = Loader(file, check=check)
            self.policy(Principal("nobody"))
            return
        assert isinstance(self._source, Mapping)
        document = read_policy(self._source, file="policy")
        problems = tuple(check(document))
        if _errors(problems):
            raise refused(document.file, problems)
        self._policy = document.policy()
        self._note("policy", problems)

    def policy(self, _principal: Principal, /) -> Policy:
        """What holds now."""
        if self._loader is None:
            return self._policy
        loaded = self._loader.look()
        if loaded.problems is not self._said or loaded.changed:
            mended = _errors(self._said) and not _errors(loaded.problems)
            self._note(str(self.file), loaded.problems)
            if mended:      # whoever was told that it does not hold is told that it does
                _log.warning("%s: in order again; policy %s holds", self.file, loaded.policy.version)
            if loaded.changed:
                _log.info("%s: policy %s holds from now on", self.file, loaded.policy.version)
        return loaded.policy

    def trouble(self) -> str:
        """Why the file as it is now is not what holds; empty when it is."""
        if self._loader is None:
            return ""
        errors = _errors(self._loader.look().problems)
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        return f"{errors[0].text(str(self.file))}{more}; the last good policy stays in force" if errors else ""

    def _note(self, file: str, problems: tuple[Problem, ...]) -> None:
        """Say each new problem once."""
        for problem in problems:
            if problem not in self._said:
                (_log.error if problem.severity == "error" else _log.warning)("%s", problem.text(file))
        self._said = problems


def _errors(problems: Sequence[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]
