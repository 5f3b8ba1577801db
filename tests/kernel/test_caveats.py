"""A prefix bound against spellings that decode into something else."""

import pytest

from inhabit.kernel.caveats import broken


@pytest.mark.parametrize("value", [
    "docs/%2e%2e/x", "docs/%252e%252e/x", "docs/%25252e%25252e/x", "docs/%" + "25" * 12 + "2e", "docs/..%2fx", "docs/\u2025/x", "elsewhere/x",
])
def test_E03_a_prefix_is_not_left_by_encoding(value: str) -> None:
    caveat = {"argument": "path", "prefix": "docs/"}
    assert broken([caveat], "0.0", None, {"path": value}, 0, {}) is not None  # type: ignore[arg-type]


def test_a_plain_path_is_within_its_prefix() -> None:
    assert broken([{"argument": "path", "prefix": "docs/"}], "0.0", None, {"path": "docs/a b.txt"}, 0, {}) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "same"), [
    ({"a": [1, "x"]}, True), ({"a": [1, "y"]}, False), ({"a": [True, "x"]}, False), ({"a": [1]}, False), ({"b": [1, "x"]}, False), ([1, "x"], False)])
def test_one_of_compares_whole_values_with_their_types(value: object, same: bool) -> None:
    caveat = {"argument": "status", "one_of": [{"a": [1, "x"]}]}
    assert (broken([caveat], "0.0", None, {"status": value}, 0, {}) is None) is same  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["https://api.test.evil.org/v1/x", "https://user@api.test/v1/x", "x" * 9_000, 5])
def test_E03_a_url_prefix_is_compared_by_parts(value: object) -> None:
    caveat = {"argument": "url", "prefix": "https://api.test/v1"}
    assert broken([caveat], "0.0", None, {"url": value}, 0, {}) is not None  # type: ignore[arg-type]
