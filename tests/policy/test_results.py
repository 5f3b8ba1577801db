"""Fields of results that programs do not see."""

from __future__ import annotations

from typing import Any

import pytest

from inhabit.policy.results import REDACTED, redacted

X = REDACTED


@pytest.mark.parametrize(("paths", "value", "expected"), [
    (["card"], {"card": "1", "name": "a"}, {"card": X, "name": "a"}),
    (["customer.iban"], {"customer": {"iban": 1, "id": 2}}, {"customer": {"iban": X, "id": 2}}),
    (["lines.*.price"], {"lines": [{"price": 1, "id": 2}, {"price": 3}]}, {"lines": [{"price": X, "id": 2}, {"price": X}]}),
    (["lines.price"], {"lines": [{"price": 1}]}, {"lines": [{"price": X}]}),
    (["card"], [{"card": 1}, [{"card": 2}]], [{"card": X}, [{"card": X}]]),
    (["*.card"], [{"card": 1}], [{"card": X}]),
    (["*.card"], {"a": {"card": 1}, "b": {"card": 2}}, {"a": {"card": X}, "b": {"card": X}}),
    (["*"], {"a": 1, "b": [1]}, {"a": X, "b": X}),
    (["a", "b.c"], {"a": {"x": 1}, "b": {"c": None, "d": 5}}, {"a": X, "b": {"c": X, "d": 5}}),
    (["a.b"], {"a": "text"}, {"a": "text"}),
    (["a"], "text", "text"), (["a"], None, None), ([], {"a": 1}, {"a": 1}),
])
def test_named_fields_are_replaced(paths: list[str], value: Any, expected: Any) -> None:
    before = repr(value)
    assert redacted(value, paths) == expected and repr(value) == before
