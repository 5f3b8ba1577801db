"""Usage in windows: never too small, too large by one part at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inhabit.kernel.windows import PARTS, Windows, part_ms

EVENTS = st.lists(st.tuples(st.integers(0, 5_000), st.floats(0, 100)), max_size=40)


@given(EVENTS, st.integers(1, 3_000))
def test_sum_is_never_too_small_and_too_large_by_one_part_at_most(events: list[tuple[int, float]], window: int) -> None:
    windows, done, now = Windows(), list[tuple[int, float]](), 1_000_000
    for after, amount in events:
        now += after
        windows.add("k", window, amount, now)
        done.append((now, amount))
        used = windows.used("k", window, now)
        assert used >= sum(a for at, a in done if at > now - window) - 1e-6
        assert used <= sum(a for at, a in done if at > now - window - 2 * part_ms(window)) + 1e-6


def test_run_window_never_leaves_and_keys_are_apart() -> None:
    windows = Windows()
    assert windows.add("k", 0, 2, 5) == (0, 2)
    assert windows.add("k", 0, 3, 10**15) == (0, 5)
    windows.add("k", 1_000, 7, 5)
    assert (windows.used("k", 0, 10**18), windows.used("k", 1_000, 5), windows.used("x", 0, 0)) == (5, 7, 0)
    windows.forget("k", 0)
    windows.forget("k", 0)
    assert windows.used("k", 0, 0) == 0 and windows.knows("k", 1_000) and not windows.knows("k", 0)


def test_what_has_left_is_forgotten() -> None:
    windows = Windows()
    windows.put("old", 3_200, 10, 5.0)
    windows.put("run", 0, 0, 5.0)
    windows.add("new", 3_200, 1, 10_000)
    windows.sweep(10_000)
    assert len(windows) == 2 and not windows.knows("old", 3_200)
    assert windows.used("new", 3_200, 13_200 + part_ms(3_200) - 1) == 1
    assert windows.used("new", 3_200, 13_200 + part_ms(3_200)) == 0
    assert PARTS == 32 and part_ms(1) == 1 and part_ms(0) == 1
