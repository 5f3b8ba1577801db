"""Pages of runs where most are not to be seen: whole, bounded in work, and without a word of the others."""

from collections.abc import Sequence

import pytest

from inhabit.contracts.principal import Principal
from inhabit.contracts.run import RunSummary
from inhabit.kernel.grants import Grant
from inhabit.runtime.visibility import Sight, visible_page

ADA = Principal("ada")
NARROW = Grant.of("shop.list")


def runs(seen: set[int], count: int) -> list[RunSummary]:
    return [RunSummary(f"01{n:08d}abcdef", ADA, "typescript", "h", "completed", n, n, 0, "http",
                       (NARROW if n in seen else Grant.of("**")).as_value()) for n in reversed(range(count))]


class Store:
    def __init__(self, kept: list[RunSummary]) -> None:
        self.kept = kept
        self.read = 0

    async def older(self, before: str | None, most: int) -> Sequence[RunSummary]:
        found = [run for run in self.kept if before is None or run.run_id < before][:most]
        self.read += len(found)
        return found


@pytest.mark.parametrize(("seen", "limit"), [
    (set[int](), 10), ({0}, 10), ({4_999}, 10), ({1, 2_500, 4_998}, 2), (set(range(0, 5_000, 7)), 50), (set(range(5_000)), 200)])
async def test_E18_pages_hold_all_that_is_seen_once_and_name_nothing_else(seen: set[int], limit: int) -> None:
    store, sight = Store(runs(seen, 5_000)), Sight(ADA, NARROW, lambda: ["shop.list", "shop.cancel"])
    hidden = {run.run_id for run in store.kept if run.created_ms not in seen}
    found: list[int] = []
    before: str | None = None
    for _ in range(5_000 // limit + 10):
        at = store.read
        page = await visible_page(store.older, sight, before, limit)
        assert store.read - at <= 2_200 and len(page.runs) <= limit
        found += [run.created_ms for run in page.runs]
        before = page.before
        assert before not in hidden
        if before is None:
            break
    assert before is None and found == sorted(seen, reverse=True)


def test_a_run_whose_grant_is_no_longer_read_is_seen_by_the_whole_authority_alone() -> None:
    run = RunSummary("r", ADA, "typescript", "h", "completed", 1, 1, 0, "http", {"layers": [[{"pattern": "???"}]]})
    assert Sight(ADA, Grant.of("**"), list).sees(run) and not Sight(ADA, NARROW, list).sees(run)


@pytest.mark.parametrize("caveat", [
    {"argument": "customer", "one_of": ["bob"]}, {"effects": {"reads": "public"}}, {"expires_ms": 1}, {"calls": 0}])
def test_E18_a_part_of_an_operation_does_not_open_runs_over_the_whole_of_it(caveat: dict[str, object]) -> None:
    run = RunSummary("r", ADA, "typescript", "h", "completed", 1, 1, 0, "http", NARROW.as_value())
    part = Grant.of({"pattern": "shop.list", "caveats": [caveat]})
    assert Sight(ADA, NARROW.narrowed("shop.**"), lambda: ["shop.list"]).sees(run)
    assert not Sight(ADA, part, lambda: ["shop.list"]).sees(run)
    assert not Sight(ADA, NARROW.within(part), lambda: ["shop.list"]).sees(run)
    own = RunSummary("r", ADA, "typescript", "h", "completed", 1, 1, 0, "http", NARROW.within(part).as_value())
    assert Sight(ADA, NARROW.within(part), lambda: ["shop.list"]).sees(own)
