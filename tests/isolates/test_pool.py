"""The pool over real jailed workers: who gets which, what ends them, what waits, what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from inhabit.contracts.program import Boot, Delivery, Program
from inhabit.errors import LimitExceeded, ProtocolError, Unavailable, WorkerLost
from inhabit.isolates.pool import PoolSettings, WorkerPool
from inhabit.limits import Limits
from tests.isolates.conftest import Ground, children

Start = Callable[..., Awaitable[Ground]]
SPIN = "while True: pass"
BUSY = "t = time.process_time()\nwhile time.process_time() - t < 0.15: pass\nresult = 1"


async def pid_of(ground: Ground, tenant: str) -> int:
    isolate = await ground.pool.acquire("typescript", tenant, Limits())
    await isolate.close()
    return isolate.channel.process.pid


async def gone(pid: int) -> None:
    """Return once the process is no more, or is only waiting to be reaped."""
    async with asyncio.timeout(5):
        while True:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return
            if state == "Z":
                return
            await asyncio.sleep(0.005)


def schedule_of(pid: int) -> tuple[float, float] | None:
    """Seconds on a CPU and seconds waiting for one; None when the process is gone."""
    try:
        computed, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(computed) / 1e9, int(waited) / 1e9


# -- whose worker ---------------------------------------------------------------------------------------------


async def test_a_worker_serves_one_tenant_for_life(ground: Ground) -> None:
    ada = await pid_of(ground, "ada")
    assert await pid_of(ground, "ada") == ada
    bob = await pid_of(ground, "bob")
    assert bob != ada
    assert await pid_of(ground, "ada") == ada


async def test_E19_ids_of_isolates_are_never_shared(ground: Ground) -> None:
    isolates = [await ground.pool.acquire("typescript", tenant, Limits()) for tenant in ("a", "a", "b")]
    assert len({isolate.id for isolate in isolates}) == 3
    for isolate in isolates:
        await isolate.close()
        await isolate.close()


async def test_guests_that_compute_at_once_get_workers_of_their_own(ground: Ground) -> None:
    await ground.run("result = 1", tenant="ada")
    await ground.spare()
    isolates = []
    turns = []
    for _ in range(2):
        isolate = await ground.pool.acquire("typescript", "ada", Limits())
        turns.append(asyncio.ensure_future(isolate.start(Boot(BUSY, ()))))
        isolates.append(isolate)
        await asyncio.sleep(0)
    await asyncio.gather(*turns)
    assert len({isolate.channel.process.pid for isolate in isolates}) == 2
    for isolate in isolates:
        await isolate.close()


async def test_an_exclusive_language_has_one_guest_a_worker(ground_of: Start) -> None:
    ground = await ground_of(exclusive=frozenset({"typescript"}))
    isolates = [await ground.pool.acquire("typescript", "ada", Limits()) for _ in range(4)]
    assert len({isolate.channel.process.pid for isolate in isolates}) == 4
    for isolate in isolates:
        await isolate.close()
    again = await ground.pool.acquire("typescript", "ada", Limits())
    assert again.channel.process.pid in {isolate.channel.process.pid for isolate in isolates}
    await again.close()
    await ground.pool.close()


async def test_the_whole_protocol_of_an_isolate(ground: Ground) -> None:
    isolate = await ground.pool.acquire("typescript", "ada", Limits())
    assert isolate.engine_version == "scripted/1"
    assert (await isolate.prepare(Program("söurce", "typescript"), ("shop",))).code == "söurce"
    assert (await isolate.typecheck("", "stub"))[0].message == "stub"
    code = """
def start():
    return Turn((IssuedCall(1, "shop.list", b"{}"),), timer=Timer(3, 50))
def deliver(deliveries):
    return Turn(issued_before=(1,) * len(deliveries), finished=Finished(True, deliveries[0].value))
"""
    turn = await isolate.start(Boot(code, ()))
    assert (turn.calls[0].operation, turn.timer and turn.timer.due_ms) == ("shop.list", 50)
    assert (await isolate.deliver([Delivery("result", 1, b"[1]", 0)])).finished is not None
    await isolate.close()
    with pytest.raises(WorkerLost):
        await isolate.prepare(Program("", "typescript"), ())


# -- what ends a worker ---------------------------------------------------------------------------------------


async def test_B01_a_loop_is_stopped_in_time_and_its_worker_replaced(ground: Ground) -> None:
    pid = await pid_of(ground, "ada")
    samples = [schedule_of(pid)]
    running = asyncio.ensure_future(ground.turn(SPIN, tenant="ada", cpu_ms=300))
    while not (await asyncio.wait([running], timeout=0.005))[0]:
        samples.append(schedule_of(pid) or samples[-1])
    with pytest.raises(LimitExceeded, match="cpu_ms = 300") as caught:
        await running
    assert caught.value.details == {"limit": "cpu_ms", "value": 300, "unit": "ms"}
    computed_s = samples[-1][0] - samples[0][0]
    assert 0.25 < computed_s <= 0.3 + 0.1   # its own time, whatever else the machine does
    await gone(pid)
    assert await pid_of(ground, "ada") != pid


async def test_turns_share_one_cpu_budget(ground: Ground) -> None:
    code = """
def burn():
    began = time.process_time()
    while time.process_time() - began < 0.08: pass
def start():
    burn(); return Turn((IssuedCall(1, "a.b", b"{}"), IssuedCall(2, "a.b", b"{}"), IssuedCall(3, "a.b", b"{}")))
def deliver(deliveries):
    burn(); return Turn(issued_before=(3,))
"""
    isolate = await ground.pool.acquire("typescript", "ada", Limits())
    await isolate.start(Boot(code, (), limits=Limits(cpu_ms=200)))
    with pytest.raises(LimitExceeded):
        for _ in range(3):
            await isolate.deliver([Delivery("result", 1, b"1", 0)])
    await isolate.close()


async def test_neighbours_of_a_killed_guest_hear_worker_lost(ground: Ground) -> None:
    guilty = await ground.pool.acquire("typescript", "ada", Limits())
    neighbour = await ground.pool.acquire("typescript", "ada", Limits())
    assert guilty.channel is neighbour.channel
    await neighbour.start(Boot("def start():\n    return Turn((IssuedCall(1, 'a.b', b'{}'),))", ()))
    with pytest.raises(LimitExceeded):
        await guilty.start(Boot(SPIN, (), limits=Limits(cpu_ms=50)))
    with pytest.raises(WorkerLost, match="another guest") as lost:
        await neighbour.deliver([Delivery("result", 1, b"1", 0)])
    assert lost.value.neighbours
    await guilty.close()
    await neighbour.close()


async def test_a_worker_in_which_a_limit_was_hit_takes_no_new_guest_but_finishes_the_old(ground: Ground) -> None:
    failing = await ground.pool.acquire("typescript", "ada", Limits())
    old = await ground.pool.acquire("typescript", "ada", Limits())
    with pytest.raises(LimitExceeded, match="memory_bytes"):
        await failing.start(Boot("raise LimitExceeded.of('memory_bytes', 5, 'bytes')", ()))
    new = await ground.pool.acquire("typescript", "ada", Limits())
    assert new.channel is not old.channel
    assert (await old.start(Boot("result = 1", ()))).finished is not None
    pid = old.channel.process.pid
    for isolate in (failing, old, new):
        await isolate.close()
    await gone(pid)


@pytest.mark.parametrize(("code", "error"), [
    ("os._exit(0)", WorkerLost), ("ctypes.string_at(0)", WorkerLost), ("1 / 0", WorkerLost), ("raise SystemExit", WorkerLost)])
async def test_A11_a_crash_is_contained(ground: Ground, code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await ground.turn(code)


async def test_A15_deep_recursion_in_the_worker_is_contained(ground: Ground) -> None:
    with pytest.raises((WorkerLost, LimitExceeded)):
        await ground.turn("sys.setrecursionlimit(10**9)\nf = lambda: f()\nf()", cpu_ms=500)


BRIDGE = """
def writable(number):
    try:
        os.write(number, b"")
        return True
    except OSError:
        return False
bridge = next(number for number in range(3, 1024) if writable(number))
"""


@pytest.mark.parametrize("words", [
    "b'\\xff' * 1000", "frame(Kind.TURN, 1, b'')", "frame(Kind.READY, 0, b'[1,{},[]]')", "frame(Kind.TURN, 77, encode_turn(Turn()))",
    "b'\\0' * 4"])
async def test_A17_worker_to_host_frame(ground: Ground, words: str) -> None:
    """A guest that owns its worker speaks on the bridge itself. Its worker dies, the neighbour's lives."""
    honest = await pid_of(ground, "honest")
    with pytest.raises(ProtocolError):
        await ground.turn(BRIDGE + f"os.write(bridge, {words})\nresult = 1")
    assert await pid_of(ground, "honest") == honest


async def test_A17_a_flood_on_the_bridge_is_cut(ground: Ground) -> None:
    with pytest.raises(ProtocolError):
        await ground.turn(BRIDGE + "while True: os.write(bridge, b'\\xff' * 65536)")


async def test_D07_a_worker_that_speaks_while_nobody_asks(ground: Ground) -> None:
    isolate = await ground.pool.acquire("typescript", "evil", Limits())
    code = BRIDGE + "t = threading.Thread\ndef start():\n    os.write(bridge, frame(Kind.TURN, ID, encode_turn(Turn())))\n    return Turn()"
    with pytest.raises(WorkerLost):
        await isolate.start(Boot(code.replace("ID", str(isolate.id)), ()))
        await isolate.deliver([Delivery("result", 1, b"", 0)])
    await isolate.close()


async def test_B22_a_worker_that_sleeps_instead_of_answering(ground: Ground) -> None:
    with pytest.raises(WorkerLost, match="did not answer"):
        await ground.turn("time.sleep(60)", cpu_ms=100)


async def test_D20_stdout_is_no_channel(ground: Ground) -> None:
    assert await ground.run("os.write(1, frame(Kind.TURN, 1, b'')); os.write(2, b'x'); result = 1") == 1


async def test_a_cancelled_turn_ends_its_worker(ground: Ground) -> None:
    isolate = await ground.pool.acquire("typescript", "ada", Limits())
    pid = isolate.channel.process.pid
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await isolate.start(Boot(SPIN, ()))
    await isolate.close()
    await gone(pid)


async def test_B29_idle_workers_are_reaped(ground_of: Start) -> None:
    ground = await ground_of(idle_s=0.0)
    pid = await pid_of(ground, "ada")
    await gone(pid)
    assert await ground.run("result = 1", tenant="ada") == 1
    await ground.pool.close()


# -- how many -------------------------------------------------------------------------------------------------


async def test_B29_checkout_starve(ground_of: Start) -> None:
    """One tenant holds every worker; the others wait, are told, and are served when one comes free."""
    ground = await ground_of(max_workers=2, guests_per_worker=1, wait_s=0.3, waiting=2)
    held = [await ground.pool.acquire("typescript", "greedy", Limits()) for _ in range(2)]
    with pytest.raises(Unavailable, match=r"2 of 2 live"):
        await ground.pool.acquire("typescript", "honest", Limits())
    waiting = [asyncio.ensure_future(ground.pool.acquire("typescript", "honest", Limits())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="2 runs wait"):
        await ground.pool.acquire("typescript", "third", Limits())
    for isolate in held:
        await isolate.close()
    served = await asyncio.gather(*waiting)
    assert {isolate.channel.process.pid for isolate in served}.isdisjoint({isolate.channel.process.pid for isolate in held})
    for isolate in served:
        await isolate.close()
    await ground.pool.close()


async def test_H05_many_short_runs_of_many_tenants(ground_of: Start) -> None:
    ground = await ground_of(max_workers=4)
    results = await asyncio.gather(*(ground.run(f"result = {n}", tenant=f"t{n % 6}") for n in range(60)))
    assert results == list(range(60))
    await ground.pool.close()


async def test_unknown_language_and_closed_pool(ground: Ground) -> None:
    with pytest.raises(Unavailable, match="no engine for python"):
        await ground.pool.acquire("python", "a", Limits())
    closed = WorkerPool(Path("/nonexistent"))
    with pytest.raises(Unavailable, match="closed"):
        await closed.acquire("python", "a", Limits())


async def test_an_engine_that_does_not_load_is_named(tmp_path: Path) -> None:
    pool = WorkerPool(tmp_path, engines={"typescript": "scripted_engine:BrokenEngine"})
    before = children()
    with pytest.raises(Unavailable, match="no image"):
        await pool.start()
    assert children() == before


# -- who dies with whom ---------------------------------------------------------------------------------------


async def test_a_dead_zygote_is_started_again(ground: Ground) -> None:
    pid = await pid_of(ground, "ada")
    zygote = ground.pool.zygote_pid
    assert zygote is not None
    os.kill(zygote, signal.SIGKILL)
    await gone(pid)
    assert await run_again(ground, "result = 2", losses=ground.pool.live) == 2
    assert ground.pool.zygote_pid not in (None, zygote)


async def run_again(ground: Ground, source: str, losses: int) -> object:
    """As the runtime does: a run that met a dying worker is run again. Every one of the `losses` dying is met at most once."""
    for _ in range(losses):
        try:
            return await ground.run(source, tenant="ada")
        except WorkerLost:
            continue
    return await ground.run(source, tenant="ada")


async def test_when_the_server_dies_everything_dies(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from inhabit.isolates.pool import PoolSettings, WorkerPool
        from inhabit.limits import Limits
        async def main():
            pool = WorkerPool(Path({str(tmp_path)!r}), settings=PoolSettings(min_spare=1), engines={{"typescript": "scripted_engine:ScriptedEngine"}})
            await pool.start()
            isolate = await pool.acquire("typescript", "ada", Limits())
            print(pool.zygote_pid, isolate.channel.process.pid, flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)   # noqa: ASYNC220
    assert process.stdout is not None
    with process.stdout:
        pids = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.wait()
    assert len(pids) == 2
    for pid in pids:
        await gone(pid)


def test_settings_have_bounds_by_default() -> None:
    settings = PoolSettings()
    assert 0 < settings.min_spare <= settings.max_workers
    assert settings.waiting > 0
    assert settings.wait_s > 0
