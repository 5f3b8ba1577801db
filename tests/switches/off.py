"""Switching a control off: its code is replaced in the test process. The product has no such switch.

A switch that does not bite must not look like a control that nobody needs: a name that is not there refuses to be replaced,
a replacement that no case reached is told, and so is one that failed by itself (it was made for another signature, say)
and turned cases red by that alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inhabit.limits import CEILINGS, Limits

__all__ = ["Control", "EqualToAll", "Off", "Switch", "all_of", "gone", "replaced", "unbounded"]

_HERE = str(Path(__file__).parent)
_OWN_FAULTS = (TypeError, AttributeError, NameError, LookupError, RecursionError)


class EqualToAll(str):
    """For a check that compares what it is given."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, _: object) -> bool:
        return True

    def __ne__(self, _: object) -> bool:
        return False


class Switch:
    """What a control's `off` works with. `note` is told of places that are replaced, reached, and of replacements that fail."""

    def __init__(self, note: Callable[[str, str, str], None]) -> None:
        self._note = note
        self._reached: set[str] = set()

    def replace(self, owner: Any, name: str, what: Any) -> None:
        """Raises `LookupError` where there is no such thing to replace."""
        place = f"{getattr(owner, '__module__', '')}.{owner.__qualname__}.{name}" if isinstance(owner, type) else f"{owner.__name__}.{name}"
        try:
            held = inspect.getattr_static(owner, name)
        except AttributeError:
            raise LookupError(f"there is no {place} any more: say where the control is now") from None
        if isinstance(what, type) or not callable(what):
            self.put(owner, name, what)     # a value: nobody can see who reads it
            return
        self._note("placed", place, "")
        told = self._told(place, what)
        if isinstance(held, property):
            told = property(told)
        elif isinstance(held, staticmethod | classmethod):
            told = staticmethod(told)
        self.put(owner, name, told)

    def put(self, owner: Any, name: str, what: Any) -> None:
        setattr(owner, name, what)

    def _told(self, place: str, what: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(what):
            async def later(*given: Any, **named: Any) -> Any:
                self._reach(place)
                try:
                    return await what(*given, **named)
                except _OWN_FAULTS as error:
                    self._fault(place, error)
                    raise
            return later

        def now(*given: Any, **named: Any) -> Any:
            self._reach(place)
            try:
                return what(*given, **named)
            except _OWN_FAULTS as error:
                self._fault(place, error)
                raise
        return now

    def _reach(self, place: str) -> None:
        if place not in self._reached:
            self._reached.add(place)
            self._note("reached", place, "")

    def _fault(self, place: str, error: BaseException) -> None:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        if last is not None and last.tb_frame.f_code.co_filename.startswith(_HERE):
            self._note("fault", place, repr(error)[:200])


Off = Callable[[Switch], None]


@dataclass(frozen=True)
class Control:
    """`off` switches it off in this process; `cases` are arguments of pytest. `beside`: it is to be off in the Python processes
    that they start too. `case_s`: how long one may take, where it is known that one takes for ever.
    """

    off: Off
    cases: tuple[str, ...]
    beside: bool = False
    case_s: int | None = None


def replaced(owner: Any, name: str, what: Any) -> Off:
    return lambda switch: switch.replace(owner, name, what)


def gone(*places: tuple[Any, str], answer: Any = None) -> Off:
    """These functions give `answer` and do nothing; one that is awaited is awaited."""
    def off(switch: Switch) -> None:
        for owner, name in places:
            switch.replace(owner, name, _later(answer) if inspect.iscoroutinefunction(getattr(owner, name, None)) else lambda *_, **__: answer)
    return off


def _later(answer: Any) -> Callable[..., Any]:
    async def nothing(*_: Any, **__: Any) -> Any:
        return answer
    return nothing


def all_of(*offs: Off) -> Off:
    """One control that stands in several places."""
    def off(switch: Switch) -> None:
        for one in offs:
            one(switch)
    return off


def unbounded(name: str) -> Off:
    """No run has this limit: every `Limits` that is made says a hundred times its ceiling (memory: its ceiling)."""
    most = getattr(CEILINGS, name) * (1 if name == "memory_bytes" else 100)
    made: Callable[..., None] = Limits.__init__

    @functools.wraps(made)
    def without(limits: Limits, *given: Any, **named: Any) -> None:
        made(limits, *given, **named)
        object.__setattr__(limits, name, most)

    return replaced(Limits, "__init__", without)
