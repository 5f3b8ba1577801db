"""The index: cached by fingerprint, incremental, and never trusted when damaged."""

from pathlib import Path

import pytest

from inhabit.catalog import Catalog
from tests.catalog.catalog_kit import GivenConnector, shop, tool


async def test_a_valid_cache_asks_the_connector_for_nothing(tmp_path: Path) -> None:
    first = shop()
    await Catalog(tmp_path).add(first)
    again = shop()
    catalog = Catalog(tmp_path)
    await catalog.add(again)
    assert (first.listed, again.listed) == (1, 0)
    assert catalog.search("cancel an order").names[0] == "shop.orders.cancel"
    assert list(catalog.names()) == ["shop.admin.codes", "shop.orders.cancel", "shop.orders.list", "shop.report"]


async def test_another_fingerprint_indexes_anew(tmp_path: Path) -> None:
    await Catalog(tmp_path).add(shop())
    changed = shop()
    changed.print = "2"
    changed.given.append(tool("shop.gifts.wrap", "Wrap a gift."))
    catalog = Catalog(tmp_path)
    await catalog.add(changed)
    assert changed.listed == 1
    assert "shop.gifts.wrap" in catalog.names()


async def test_a_change_of_one_connector_leaves_the_others(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    one, other = shop(), GivenConnector("mail", [tool("mail.send", "Send a message.")])
    await catalog.add(one)
    await catalog.add(other)
    other.given = [tool("mail.forward", "Forward a message.")]
    other.print = "2"
    await catalog.changed(other)
    assert (one.listed, other.listed) == (1, 2)
    assert "mail.send" not in catalog.names() and "mail.forward" in catalog.names()


async def test_removed_connectors_are_gone(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    await catalog.add(shop())
    catalog.remove("shop")
    catalog.remove("never.was")
    assert list(catalog.names()) == []
    assert catalog.operation("shop.report") is None
    assert catalog.search("cancel an order").names == ()
    assert catalog.namespaces() == ()


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "header", "folder"])
async def test_a_damaged_cache_is_built_anew(tmp_path: Path, damage: str) -> None:
    await Catalog(tmp_path).add(shop())
    (file,) = tmp_path.glob("*.index")
    body = file.read_bytes()
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes({"empty": b"", "cut": body[: len(body) // 2], "noise": b"\xff" * len(body),
                          "header": body[:16] + b"[" + body[17:]}[damage])
    again = shop()
    catalog = Catalog(tmp_path)
    await catalog.add(again)
    assert again.listed == 1
    assert catalog.search("cancel an order").names[0] == "shop.orders.cancel"


async def test_an_unwritable_cache_only_costs_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    catalog = Catalog(blocked / "cache")
    await catalog.add(shop())
    assert len(catalog.names()) == 4


async def test_connectors_of_like_names_do_not_share_a_file(tmp_path: Path) -> None:
    await Catalog(tmp_path).add(GivenConnector("a.b", [tool("a.b.x")]))
    await Catalog(tmp_path).add(GivenConnector("a-b", [tool("a-b.x")]))
    assert len(list(tmp_path.glob("*.index"))) == 2


async def test_an_empty_connector_is_fine(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    await catalog.add(GivenConnector("none", []))
    assert catalog.search("anything at all").names == ()
    assert catalog.nearest("none.such") == ()
