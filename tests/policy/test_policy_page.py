"""The page on policies: its example is a sound policy of the shop, and its tables list what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.app import build
from inhabit.contracts.operation import Operation
from inhabit.policy import document, examples
from inhabit.policy.check import checked
from inhabit.policy.conditions import FACTS
from inhabit.policy.document import read_policy
from inhabit.policy.examples import tried

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policy.md").read_text()


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Operation, ...]]:
    yield build(tmp_path_factory.mktemp("shop")).operations()


def test_the_example_is_sound_and_its_examples_hold(operations: tuple[Operation, ...]) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    read = read_policy(text)
    assert [problem.text("p") for problem in checked(read, operations)] == []
    assert [one.problem for one in tried(read.policy(), read.examples, {o.name: o for o in operations})] == ["", "", ""]


@pytest.mark.parametrize(("heading", "keys"), [
    ("Rules", document.RULE_KEYS), ("Limits", document.LIMIT_KEYS), ("Results", document.RESULT_KEYS), ("Examples", examples.EXAMPLE_KEYS),
    ("Conditions", tuple(FACTS))])
def test_tables_list_every_key(heading: str, keys: tuple[str, ...]) -> None:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    listed = {name for row in re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(keys)


def test_fields_of_facts_are_listed() -> None:
    missing = [f"{name}.{field}" for name, fields in FACTS.items() if name not in ("effects",) for field in fields or () if f"`{field}`" not in PAGE]
    assert missing == []
