"""E18: every tenant has a folder of its own, whatever it is called."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.errors import InvalidInput
from inhabit.store.tenants.naming import folder_name, tenant_folder, tenant_of, tenants_in

NAMES = st.text(alphabet=st.characters(exclude_categories=()), min_size=1, max_size=32) | st.text("aAbB._-@+=x0é", min_size=1, max_size=32)

FILE_SYSTEMS: tuple[Callable[[str], str], ...] = (
    str, str.lower, str.upper, str.casefold, partial(unicodedata.normalize, "NFC"), partial(unicodedata.normalize, "NFKD"),
    lambda name: name.rstrip(". "))
"""What different ones take for the same name."""


@given(NAMES, NAMES)
def test_E18_no_two_tenants_share_a_folder_on_any_file_system(one: str, other: str) -> None:
    a, b = folder_name(one), folder_name(other)
    for seen in FILE_SYSTEMS:
        assert (seen(a) == seen(b)) == (one == other)
    assert tenant_of(a) == one


@given(NAMES)
def test_E18_a_name_leads_nowhere_else(name: str) -> None:
    home = Path("/home")
    folder = tenant_folder(home, name)
    assert folder.parent == home / "tenants" and folder.name not in {"", ".", ".."} and "\0" not in folder.name and len(folder.name.encode()) <= 255


@pytest.mark.parametrize(("tenant", "folder"), [("acme", "acme"), ("Acme", "=41cme"), ("..", "=2e=2e"), ("a.b", "a.b"), ("a.", "a=2e"), ("a/b", "a=2fb")])
def test_names_can_be_read_by_people(tenant: str, folder: str) -> None:
    assert folder_name(tenant) == folder


@pytest.mark.parametrize("length", [1, 66, 67, 128])
def test_E18_the_longest_names_fit(length: int) -> None:
    names = {"A" * length, "a" * length, "A" * (length - 1) + "a"}
    assert len({folder_name(name) for name in names}) == len(names) and all(len(folder_name(name)) <= 255 for name in names)
    with pytest.raises(InvalidInput):
        folder_name("a" * 129)


@pytest.mark.parametrize("folder", ["=41=43ME", "A", "=61cme", "=x", "=xaa", "=zz", "..", "tenants.moving", "=x========", "é"])
def test_folders_that_no_name_makes_are_nobodys(folder: str, tmp_path: Path) -> None:
    assert tenant_of(folder) is None or folder_name(tenant_of(folder) or "") == folder
    (tmp_path / "tenants" / "acme").mkdir(parents=True)
    (tmp_path / "tenants" / "ACME").mkdir()
    assert list(tenants_in(tmp_path)) == ["acme"]
