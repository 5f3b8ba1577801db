"""Deadlines behave as `asyncio.timeout` does."""

from __future__ import annotations

import asyncio

import pytest

from inhabit.runtime.deadlines import Deadlines


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


async def _within(deadlines: Deadlines, seconds: float) -> str:
    loop = asyncio.get_running_loop()
    try:
        with deadlines.at(loop, loop.time() + seconds):
            await _forever()
    except TimeoutError:
        return "late"
    return "never"


async def test_each_of_many_rings_in_its_own_time() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    ended: list[float] = []

    async def one(seconds: float) -> None:
        assert await _within(deadlines, seconds) == "late"
        ended.append(seconds)

    began = loop.time()
    async with asyncio.timeout(5):
        await asyncio.gather(*(one(seconds) for seconds in (0.09, 0.03, 0.06)))
    assert ended == [0.03, 0.06, 0.09]
    assert loop.time() - began >= 0.089


async def test_one_that_ended_in_time_is_not_cancelled_later() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    with deadlines.at(loop, loop.time() + 0.02):
        pass
    assert await _within(deadlines, 0.05) == "late"     # rings past the first one's time
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_a_deadline_already_past_rings() -> None:
    assert await _within(Deadlines(), -1) == "late"


async def test_a_cancellation_by_another_stays_one() -> None:
    task = asyncio.create_task(_within(Deadlines(), 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_together_with_the_deadline_stays_one() -> None:
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()

    async def late_and_cancelled() -> None:
        with deadlines.at(loop, loop.time() - 1):
            try:
                await _forever()
            finally:
                this = asyncio.current_task()
                assert this is not None
                this.cancel()    # somebody else's, before this one has left

    task = asyncio.create_task(late_and_cancelled())
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
