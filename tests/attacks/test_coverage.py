"""Every attack of the list is carried by a test or waits with a part that is named; no test carries an id that is not in the list."""

from __future__ import annotations

import re

from tests import style
from tests.attacks.ids import PARTLY, TITLES, WAITS, WORDS, carriers, ids_in, table

DOCS = sorted((style.ROOT / "docs").glob("*.md"))


def test_every_id_is_carried_or_waits() -> None:
    found = carriers()
    assert {kind: [int(one[1:]) for one in WORDS if one[0] == kind] for kind in TITLES} == {
        kind: list(range(1, last + 1)) for kind, last in zip("ABCDEF", (27, 30, 32, 22, 23, 19), strict=True)}
    assert set(found) - set(WORDS) == set()
    assert set(WORDS) - set(found) - set(WAITS) == set()
    assert set(WAITS) & set(found) == set()         # built meanwhile: it waits no more
    assert set(PARTLY) - set(found) == set()


def test_ids_are_read_from_names() -> None:
    assert ids_in("test_C03_C04_spellings") == {"C03", "C04"} and ids_in("test_B04_to_B06_bombs") == {"B04", "B05", "B06"}
    assert ids_in("A12_nested_sandbox") == {"A12"} and ids_in("test_sha256_of_FA12") == set()


def test_the_page_of_attacks_is_the_list() -> None:
    assert (style.ROOT / "docs/attacks.md").read_text() == table()


def test_every_test_that_a_page_names_exists() -> None:
    """A promise whose test was renamed or removed is a promise that nobody keeps. `…` at the end stands for the rest of a name."""
    names = {match for path in (style.ROOT / "tests").rglob("*.py") for match in re.findall(r"def (test_\w+)", path.read_text())}
    named = [(page.name, name) for page in DOCS for name in re.findall(r"`(?:tests/[\w/.]+::)?(test_\w+…?)`", page.read_text())]
    assert len(named) > 40
    assert [(page, name) for page, name in named if name not in names
            and not (name.endswith("…") and any(other.startswith(name[:-1]) for other in names))] == []


def test_every_promise_of_the_security_page_names_its_test() -> None:
    page = (style.ROOT / "docs/security.md").read_text()
    rows = [line for line in page.partition("## What is promised")[2].partition("\n## ")[0].splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 25 and [row for row in rows if not row.startswith("| promise") and "`test_" not in row] == []


def test_the_trusted_lines_are_as_the_page_says() -> None:
    page = (style.ROOT / "docs/security.md").read_text()
    said = re.search(r"([\d,]+) lines at most", page)
    assert said is not None and int(said[1].replace(",", "")) == style.MAX_TRUSTED_LINES >= style.count_lines(*style.TRUSTED)
