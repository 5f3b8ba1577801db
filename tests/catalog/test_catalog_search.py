"""Search: what is found, how it is shown within a budget, and what a caller may not see."""

from pathlib import Path

import pytest

from inhabit.catalog import Catalog
from inhabit.catalog.tokens import estimate_tokens
from inhabit.errors import InvalidInput, NotFound
from tests.catalog.catalog_kit import GivenConnector, shop, tool


@pytest.fixture
async def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(tmp_path)
    await made.add(shop())
    await made.add(GivenConnector("music", [
        tool("music.search", "Find artists, albums or tracks.", {"q": {"type": "string"}, "type": {"enum": ["artist", "album"]}}, ["q"],
             "GET /search"),
        tool("music.artists.related", "Artists like this one.", {"artist_id": {"type": "string"}}, ["artist_id"],
             "GET /artists/{artist_id}/related"),
        tool("music.player.next", "Skip to the next track.", origin="POST /player/next"),
        tool("music.player.volume", "Set the volume.", {"percent": {"type": "integer"}}, ["percent"], "PUT /player/volume"),
        *(tool(f"music.filler.thing{n}", f"Filler number {n} about artists.") for n in range(12)),
    ]))
    return made


def _only(*names: str):
    return lambda name: name in names


def test_words_find_operations(catalog: Catalog) -> None:
    assert catalog.search("cancel an order").names[0] == "shop.orders.cancel"
    assert catalog.search("turn up the volume").names[0] == "music.player.volume"


def test_another_word_for_the_same_is_understood(catalog: Catalog) -> None:
    assert catalog.search("revoke a purchase").names[0] == "shop.orders.cancel"


def test_a_misspelt_word_is_understood(catalog: Catalog) -> None:
    assert catalog.search("volumee").names[0] == "music.player.volume"


def test_who_finds_the_needed_id_comes_along(catalog: Catalog) -> None:
    assert "music.search" in catalog.search("who is related to Norah Jones").names


def test_exact_names_prefixes_and_several_names(catalog: Catalog) -> None:
    assert catalog.search("shop.orders.list").names == ("shop.orders.list",)
    assert catalog.search("shop.orders").names == ("shop.orders.cancel", "shop.orders.list")
    assert catalog.search("shop.report, music.search").names == ("shop.report", "music.search")
    assert set(catalog.search("shop").names) == {"shop.admin.codes", "shop.orders.cancel", "shop.orders.list", "shop.report"}


def test_a_type_by_name(catalog: Catalog) -> None:
    assert "interface Order {" in catalog.search("type Order").text
    assert "class Order(TypedDict, total=False)" in catalog.search("type Order", language="python").text


def test_a_type_in_any_case_or_in_a_question(catalog: Catalog) -> None:
    assert "interface Order {" in catalog.search("type order").text
    assert "interface Secret " in catalog.search("report what a Secret is").text
    assert "unknown: type Nope" in catalog.search("type Order type Nope").text


def test_the_typescript_of_an_operation(catalog: Catalog) -> None:
    assert catalog.search("shop.orders.cancel").text == """\
declare namespace shop.orders {
/** Cancel one order. */
function cancel(args: {
  order_id: string; // The order.
  reason?: "late" | "other"; // default 'other'
}): Promise<Order>; // writes external, irreversible; errors: not_found, already_shipped
}
interface Order { id: string; status: "open" | "paid" | "cancelled"; items?: Item[]; parent?: Order | null }
interface Item { sku?: string; "price-cents"?: number }"""


def test_the_python_of_an_operation(catalog: Catalog) -> None:
    assert catalog.search("shop.orders.cancel", language="python").text == """\
# Cancel one order; writes external, irreversible; errors: not_found, already_shipped
async def shop.orders.cancel(*, order_id: str, reason: Literal["late", "other"] = ...) -> Order
#   order_id: The order.
#   reason: default 'other'
class Order(TypedDict, total=False):
    id: Required[str]
    status: Required[Literal["open", "paid", "cancelled"]]
    items: list[Item]
    parent: Order | None
Item = TypedDict("Item", {"sku": NotRequired[str], "price-cents": NotRequired[int]})"""


@pytest.mark.parametrize("budget", [60, 100, 200, 400, 1_500])
@pytest.mark.parametrize("language", ["typescript", "python"])
@pytest.mark.parametrize("query", ["artists filler order", "shop", "type Order", "music"])
def test_the_budget_holds(catalog: Catalog, budget: int, language, query: str) -> None:
    found = catalog.search(query, budget_tokens=budget, language=language, limit=20)
    names_only = 12 * len(found.names) + 60    # every hit is at least named, and the next step too
    assert estimate_tokens(found.text) <= max(budget, names_only) + 60
    if found.truncated:
        assert found.next_step and found.next_step in found.text


def test_less_room_gives_less_detail_and_says_so(catalog: Catalog) -> None:
    tight = catalog.search("shop.orders", budget_tokens=90)
    assert tight.names == ("shop.orders.cancel", "shop.orders.list")
    assert tight.truncated and "type Order" in (tight.next_step or "")
    assert "interface" not in tight.text
    assert not catalog.search("shop.orders").truncated


def test_invisible_operations_and_types_do_not_exist(catalog: Catalog) -> None:
    seen = _only("shop.report", "shop.orders.list")
    for query in ("door codes", "shop.admin.codes", "shop", "type Secret", "cancel an order", "shop.admin.code", ""):
        found = catalog.search(query, visible=seen)
        assert "admin" not in found.text.replace(query, "") and "function cancel" not in found.text
        assert "interface Secret" not in found.text
        assert set(found.names) <= {"shop.report", "shop.orders.list"}
    assert catalog.namespaces(seen) == ("shop",)
    assert catalog.namespaces(lambda _name: False) == ()
    assert catalog.nearest("shop.orders.cancl", seen) != catalog.nearest("shop.orders.cancl")
    assert "shop.orders.cancel" not in catalog.nearest("shop.orders.cancel", seen)
    assert "interface Order" in catalog.search("type Order", visible=seen).text
    hidden, absent = (catalog.search(f"type Order type {name}", visible=seen).text for name in ("Secret", "Absent"))
    assert hidden == absent.replace("Absent", "Secret")
    with pytest.raises(NotFound):
        catalog.describe(["shop.admin.codes"], visible=seen)


def test_visibility_does_not_starve_the_results(catalog: Catalog) -> None:
    found = catalog.search("artists", visible=_only("music.filler.thing11"), limit=3)
    assert found.names == ("music.filler.thing11",)


@pytest.mark.parametrize("query", ["", "refund an order"])
def test_who_may_call_nothing_is_told_so(catalog: Catalog, query: str) -> None:
    assert "there is no operation that you may call" in catalog.search(query, visible=lambda _name: False).text
    assert "there is no operation that you may call" not in catalog.search(query).text


def test_nothing_found_says_what_there_is(catalog: Catalog) -> None:
    found = catalog.search("qqqqxxzz")
    assert found.names == () and "shop (4)" in found.text
    assert catalog.search("shop.orders.cancle").names[0] == "shop.orders.cancel"


def test_an_empty_query_is_an_overview(catalog: Catalog) -> None:
    assert "music (16), shop (4)" in catalog.search("  ").text


def test_nearest_names(catalog: Catalog) -> None:
    assert catalog.nearest("shop.orders.cancl")[0] == "shop.orders.cancel"
    assert catalog.nearest("shop.order.list")[0] == "shop.orders.list"
    assert catalog.nearest("shop.ordersList")[0] == "shop.orders.list"
    assert len(catalog.nearest("shop.orders", n=2)) == 2


def test_describe_gives_all_and_names_the_nearest(catalog: Catalog) -> None:
    text = catalog.describe(["shop.orders.cancel", "shop.report"])
    assert "interface Item" in text and "function report()" in text
    with pytest.raises(NotFound) as refused:
        catalog.describe(["shop.orders.cancle"])
    assert refused.value.details["nearest"][0] == "shop.orders.cancel"


@pytest.mark.parametrize("query", ["\x00", "'" * 50, "type", "type ", ".", "...", "*", "a.b.c.d.e", "(((", "日本語 注文", "ß", "🦄 " * 100,
                                   "type Order type Item type Nope", "x" * 9_999, "shop.*", "shop.orders.cancel()"])
def test_no_query_breaks_it(catalog: Catalog, query: str) -> None:
    for language in ("typescript", "python"):
        assert isinstance(catalog.search(query, language=language).text, str)


def test_an_absurd_query_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InvalidInput, match="10001 characters"):
        catalog.search("x" * 10_001)


async def test_ranks_do_not_depend_on_which_connector_brought_them(tmp_path: Path) -> None:
    tools = [tool(f"one.t{n}", f"{'alpha ' * (n % 3)}beta gamma{n}") for n in range(6)]
    split = Catalog(tmp_path / "a")
    await split.add(GivenConnector("one", tools))
    await split.add(GivenConnector("two", [tool("two.alpha", "alpha beta")]))
    assert split.search("alpha beta").names[0] == "two.alpha"


async def test_a_source_that_cannot_be_reached_says_why_where_there_is_nothing_else(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    await catalog.add(GivenConnector("files", [], trouble="npx was not found"))
    assert "files: npx was not found" in catalog.search("read").text
    assert "npx" not in catalog.search("read", visible=lambda name: name.startswith("shop.")).text
    await catalog.add(shop())
    assert "npx" not in catalog.search("read").text
