"""Modules that Monty lacks and that need the run's own randomness: `uuid` and `secrets`.

Their functions are answered here, in the worker, from the seeded source; nothing of the guest is executed.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_monty import ExternalModule, FunctionSnapshot

from inhabit.isolates.python.ambient import Ambient

__all__ = ["PROVIDED", "Modules"]

PROVIDED = frozenset({"secrets", "uuid"})
_MOST_BYTES = 65_536


class Modules:
    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._functions: dict[str, Callable[..., Any]] = {
            "uuid.uuid4": ambient.uuid4,
            "secrets.token_hex": self._token_hex,
            "secrets.token_bytes": self._token,
            "secrets.token_urlsafe": self._token_urlsafe,
            "secrets.randbelow": ambient.below,
            "secrets.choice": self._choice,
        }

        self.provided = {name: functools.partial(self._module, name) for name in PROVIDED}
        """For Monty's `external_modules`: made when a program imports them."""

    def _module(self, name: str) -> ExternalModule:
        return ExternalModule({
            key.partition(".")[2]: _named(key) for key in self._functions if key.startswith(f"{name}.")})

    def call(self, name: str, snapshot: FunctionSnapshot) -> Any:
        """The answer, or None when `name` is no function of a module."""
        function = self._functions.get(name)
        if function is None:
            return None
        try:
            return {"return_value": function(*snapshot.args, **snapshot.kwargs)}
        except (TypeError, ValueError, IndexError, KeyError) as error:
            return {"exc_type": "ValueError", "message": f"{name}: {error}"}

    def _choice(self, sequence: Sequence[Any]) -> Any:
        return sequence[self._ambient.below(len(sequence))]

    def _token(self, nbytes: int | None = None) -> bytes:
        return self._ambient.token(min(32 if nbytes is None else nbytes, _MOST_BYTES))

    def _token_hex(self, nbytes: int | None = None) -> str:
        return self._token(nbytes).hex()

    def _token_urlsafe(self, nbytes: int | None = None) -> str:
        return base64.urlsafe_b64encode(self._token(nbytes)).rstrip(b"=").decode()


def _named(name: str) -> Callable[[], None]:
    def function() -> None: ...
    function.__name__ = name
    return function
