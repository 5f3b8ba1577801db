"""Learnt output types: shape only, within a tenant, bounded, and honest about change."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.catalog import Catalog
from inhabit.catalog.observe import Observations
from tests.catalog.catalog_kit import shop


def _type(catalog: Catalog, tenant: str = "acme") -> str:
    text = catalog.search("shop.report", tenant=tenant).text
    return text.split("Promise<", 1)[1].rsplit(">;", 1)[0]


async def _catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    await catalog.add(shop())
    return catalog


async def test_types_are_learnt_merged_and_marked(tmp_path: Path) -> None:
    catalog = await _catalog(tmp_path)
    assert _type(catalog) == "unknown"
    assert catalog.observe("shop.report", "acme", {"total": 1, "rows": [{"a": "x"}, {"a": None, "b": True}]}) == ()
    catalog.observe("shop.report", "acme", {"total": 1.5, "rows": []})
    assert _type(catalog) == "{ total: number; rows: { a: string | null; b?: boolean }[] } /* observed */"
    assert "result type observed" in catalog.search("shop.report", tenant="acme", language="python").text


async def test_types_outlive_the_process(tmp_path: Path) -> None:
    (await _catalog(tmp_path)).observe("shop.report", "acme", {"x": 1})
    assert _type(await _catalog(tmp_path)) == "{ x: number } /* observed */"


async def test_another_tenant_sees_nothing(tmp_path: Path) -> None:
    catalog = await _catalog(tmp_path)
    catalog.observe("shop.report", "acme", {"secret_field": 1})
    assert _type(catalog, "other") == "unknown"
    assert "secret_field" not in catalog.search("shop.report").text


async def test_declared_outputs_are_not_observed(tmp_path: Path) -> None:
    catalog = await _catalog(tmp_path)
    assert catalog.observe("shop.orders.list", "acme", 5) == ()
    assert catalog.observe("shop.nothing", "acme", 5) == ()
    assert not (tmp_path / "observed").exists()


async def test_the_check_stub_ignores_observed_types(tmp_path: Path) -> None:
    catalog = await _catalog(tmp_path)
    catalog.observe("shop.report", "acme", {"x": 1})
    assert "async def report(self) -> Any" in catalog.stubs_for(["shop.report"])


@pytest.mark.parametrize("keys", [
    ["ada@example.com", "bob@example.com"], ["2024-01-01", "2024-01-02"], ["550e8400-e29b-41d4-a716-446655440000"],
    ["10023", "10024"], ["cus_9s6XKzkNRiz8i3", "cus_8epDebVEl8Bs2V"], ["O'Brien, Pat"], ["a" * 60], ["Grüße"], ["deadbeefdeadbeef"],
    [f"name{chr(97 + n)}" for n in range(20)],
])
async def test_keys_that_look_like_data_are_not_kept(tmp_path: Path, keys: list[str]) -> None:
    catalog = await _catalog(tmp_path)
    catalog.observe("shop.report", "acme", {"by": dict.fromkeys(keys, 1)})
    assert _type(catalog) == "{ by: { [key: string]: number } } /* observed */"
    stored = b"".join(file.read_bytes() for file in (tmp_path / "observed").rglob("*.json"))
    assert not any(key.encode() in stored for key in keys)


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.integers(10_000, 10**9) | st.text("0123456789äöü- ", min_size=8, max_size=20),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b_c"]), inner, max_size=3)))
def test_no_value_is_ever_stored(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("observed")
    Observations(folder).observe("x.y", "t", value)
    stored = b"".join(file.read_bytes() for file in folder.rglob("*.json")).decode()
    for leaf in _leaves(value):
        assert str(leaf) not in stored


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


def test_drift_is_reported_once_enough_was_seen(tmp_path: Path) -> None:
    learnt = Observations(tmp_path)
    for _ in range(3):
        assert learnt.observe("x.y", "t", {"id": 1, "rows": [{"n": 1}]}) == ()
    assert learnt.observe("x.y", "t", {"id": "1", "rows": [{"n": 1}]}) == ("result.id: integer became string",)
    assert learnt.observe("x.y", "t", {"id": "1", "rows": [{"n": 1}]}) == ()
    assert learnt.observe("x.y", "t", {"id": 1}) == ("result.rows: always there before, missing now",)
    assert learnt.observe("x.y", "t", {"id": 1, "rows": [], "extra": 1}) == ()


def test_huge_and_deep_results_are_bounded(tmp_path: Path) -> None:
    learnt = Observations(tmp_path)
    deep: Any = 1
    for _ in range(150):
        deep = {"a": [deep]}
    learnt.observe("x.y", "t", {"deep": deep, "wide": {f"k{chr(97 + n // 26)}{chr(97 + n % 26)}": n for n in range(500)},
                                "long": [{"a": n} for n in range(100_000)]})
    (file,) = tmp_path.rglob("*.json")
    assert file.stat().st_size < 20_000


def test_many_keys_over_time_become_a_record(tmp_path: Path) -> None:
    learnt = Observations(tmp_path)
    for n in range(100):
        learnt.observe("x.y", "t", {f"q{chr(97 + n // 26)}{chr(97 + n % 26)}": {"v": n}})
    (file,) = tmp_path.rglob("*.json")
    assert "record" in orjson.loads(file.read_bytes())["learnt"]


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'{"operation":"x.y","learnt":{"n":1}}', b'{"operation":"x.y","learnt":{"n":"a","types":[7]}}'])
def test_a_damaged_record_is_forgotten(tmp_path: Path, body: bytes) -> None:
    Observations(tmp_path).observe("x.y", "t", {"a": 1})
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(body)
    again = Observations(tmp_path)
    again.observe("x.y", "t", {"b": 1})
    assert again.shape("x.y", "t") is not None
