"""`python -m tests.switches` finds what it switches off: a control that has moved is told here, and not only when it is run."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.attacks.ids import WORDS, carriers
from tests.switches.controls import CONTROLS, STRUCTURAL
from tests.switches.off import Switch, gone


class Looking(Switch):
    """Looks, and replaces nothing. Raises `TypeError` where the function could not be called as the one that it stands for."""

    def replace(self, owner: Any, name: str, what: Any) -> None:
        super().replace(owner, name, what)
        held = inspect.getattr_static(owner, name)
        if inspect.isfunction(held) and callable(what):
            asked = inspect.signature(held).parameters.values()
            inspect.signature(what).bind(*[one for one in asked if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty],
                                         **{one.name: one for one in asked if one.kind is one.KEYWORD_ONLY and one.default is one.empty})

    def put(self, owner: Any, name: str, what: Any) -> None: ...


@pytest.mark.parametrize("name", CONTROLS)
def test_what_a_control_replaces_is_there(name: str) -> None:
    CONTROLS[name].off(Looking(lambda *_: None))


def test_a_replacement_for_another_signature_is_told() -> None:
    with pytest.raises(TypeError):
        Looking(lambda *_: None).replace(Switch, "_reach", lambda _: None)


def test_a_name_that_is_gone_is_told() -> None:
    with pytest.raises(LookupError, match="say where the control is now"):
        gone((Switch, "no_such_thing"))(Looking(lambda *_: None))


def test_a_replacement_tells_that_it_was_reached_and_that_it_failed_by_itself() -> None:
    class Door:
        def opens(self, key: str) -> bool:
            return key == "right"

    told: list[tuple[str, ...]] = []
    switch = Switch(lambda *line: told.append(line))
    switch.replace(Door, "opens", lambda _: True)   # for another signature than it is called with
    assert [line[0] for line in told] == ["placed"]
    with pytest.raises(TypeError):
        Door().opens("wrong")
    assert [line[0] for line in told] == ["placed", "reached", "fault"]


def test_what_is_said_of_ids_without_a_control_is_about_ids_that_are_carried_or_wait() -> None:
    assert {one for one in STRUCTURAL if one not in WORDS or one[0] not in "CEF"} == set()
    assert {one for one in STRUCTURAL if not STRUCTURAL[one].startswith("waits with") and one not in carriers()} == set()
