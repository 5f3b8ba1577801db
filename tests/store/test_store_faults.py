"""A disk that fails, fills up, or loses power: nothing acknowledged is lost, nothing lost is acknowledged."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.crash_power import Ack, lost_in
from inhabit.contracts.run import Resumed
from inhabit.errors import Unavailable
from inhabit.store.store import Store
from tests.store.store_faulty import RECORDED_ENTRIES, RECORDED_RUNS
from tests.store.store_samples import END, ended, header, intent, outcome

ROOT = Path(__file__).parents[2]
Change = tuple[str, bool, int, bytes]
"""What was done ("W", "S", "T", "N"), whether to the log, where or what, the bytes."""
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None,
                                    reason="a C compiler builds the layer that fails the disk")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which a process has the failing disk."""
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    subprocess.run([str(compiler), "-O1", "-shared", "-fPIC", "-o", str(library),
                    str(Path(__file__).parent / "disk_faults.c"), "-ldl", "-lpthread"], check=True)
    return os.environ | {"LD_PRELOAD": str(library)}


class Failing:
    """The nursery of `store_faulty`, one case at a time."""

    def __init__(self, environment: dict[str, str], folder: Path, work: str = "fail") -> None:
        self._folder = folder
        self._process = subprocess.Popen([sys.executable, "-m", "tests.store.store_faulty", work], env=environment,
                                         cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def case(self, nth: int, error: int, *, sticky: bool) -> tuple[Path, dict[str, Any]]:
        path = self._folder / f"{nth}" / "home" / "journal.db"
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{nth} {error} {int(sticky)} {path}\n")
        stdin.flush()
        return path, json.loads(stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@needs_compiler
@pytest.mark.parametrize(("error", "sticky", "step", "codes"), [
    pytest.param(errno.EIO, False, 1, {"journal_failed"}, id="F05_eio_once"),
    pytest.param(errno.ENOSPC, True, 2, {"journal_full", "journal_failed"}, id="F04_enospc_from_there_on"),
    pytest.param(0, False, 3, set[str](), id="F05_short_write"),
    pytest.param(-9, False, 1, set[str](), id="F01_killed_there"),
])
async def test_every_change_of_the_disk_fails_once(faults: dict[str, str], tmp_path: Path, error: int, sticky: bool,
                                                   step: int, codes: set[str]) -> None:
    failing, reached, refused = Failing(faults, tmp_path), 0, 0
    try:
        for nth in range(1, 500, step):
            path, told = failing.case(nth, error, sticky=sticky)
            assert ("died" in told) <= (error == -9), f"change {nth}: {told}"
            said = told.get("said", [])
            assert set(said) <= codes, f"change {nth}: {told}"
            acknowledged = (path.parent / "acks").read_text().split()
            assert "died" in told or bool(said) == (len(acknowledged) < 12), f"change {nth}: {told} {acknowledged}"
            await nothing_lost(path, acknowledged, f"change {nth}")
            refused += bool(said)
            if told.get("reached") == 0:
                break
            reached += 1
        else:
            pytest.fail("the load never got past its last change")
    finally:
        failing.close()
    assert reached * step >= 20
    assert refused * step >= 10 if codes else refused == 0


@needs_compiler
@pytest.mark.parametrize(("error", "sticky", "step"), [
    pytest.param(errno.EIO, False, 17, id="F05_eio_once"), pytest.param(errno.ENOSPC, True, 29, id="F04_enospc_from_there_on"),
    pytest.param(0, False, 29, id="F05_short_write"), pytest.param(-9, False, 29, id="F01_killed_there")])
async def test_no_change_of_the_disk_fails_in_silence_for_what_the_control_plane_keeps(
        faults: dict[str, str], tmp_path: Path, error: int, sticky: bool, step: int) -> None:
    failing, refused, recovered, nth = Failing(faults, tmp_path, "control"), 0, 0, 0
    try:
        for nth in range(1, 600, step):
            path, told = failing.case(nth, error, sticky=sticky)
            assert ("died" in told) <= (error == -9), f"change {nth}: {told}"
            said = told.get("said", [])
            assert error or not said, f"change {nth}: {told}"
            assert not [code for code in said if code.startswith("again")], f"change {nth}: {told}"
            lost = await lost_in(path.parent.parent, [Ack(*ack) for ack in told.get("acks", ())])
            # A run whose outcome a full disk has refused is settled at the next start: it has a call without one.
            assert [line for line in lost if "outcome without" not in line] == [], f"change {nth}"
            refused, recovered = refused + bool(said), recovered + ("journal_full" in said)
            if told.get("reached") == 0:
                break
    finally:
        failing.close()
    assert nth > 60, "the load never got far"
    assert bool(refused) == (error > 0) and bool(recovered) == (error == errno.ENOSPC)


async def nothing_lost(path: Path, acknowledged: Sequence[str], when: str) -> None:
    """`acknowledged`: run ids and counts in turn; the counts of a run add up."""
    store, counts = Store.open(path), dict[str, int]()
    for run_id, count in zip(acknowledged[::2], acknowledged[1::2], strict=True):
        counts[run_id] = counts.get(run_id, 0) + int(count)
    try:
        assert await store.check() == (), when
        for run_id, count in counts.items():
            assert len((await store.journal.read(run_id, tenant="default")).entries) >= count, when
    finally:
        await store.close()


@needs_compiler
async def test_F03_power_cuts_lose_nothing_acknowledged(faults: dict[str, str], tmp_path: Path) -> None:
    runs, changes = recorded_changes(faults, tmp_path)
    assert sum(op == "N" for op, *_ in changes) == RECORDED_RUNS * RECORDED_ENTRIES
    assert any(op == "W" and not is_log for op, is_log, *_ in changes), "the file itself was never written"
    begun = next(i for i, (op, *_) in enumerate(changes) if op == "N")
    chance, disk, at = random.Random(), Disk(), 0
    for cut in sorted(chance.sample(range(begun, len(changes)), 80)):
        while at < cut:
            disk.apply(*changes[at])
            at += 1
        path = tmp_path / f"cut{cut}" / "journal.db"
        path.parent.mkdir()
        disk.after_power_cut(path, chance)
        noted = [word for run, number in disk.noted.items() for word in (runs[run], str(number))]
        await nothing_lost(path, noted, f"cut before change {cut}")
        shutil.rmtree(path.parent)


def recorded_changes(faults: dict[str, str], folder: Path) -> tuple[list[str], list[Change]]:
    log = folder / "changes"
    done = subprocess.run([sys.executable, "-m", "tests.store.store_faulty", "record", str(log),
                           str(folder / "first" / "journal.db")], env=faults, cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout), list(parsed(log.read_bytes()))


def parsed(log: bytes) -> Iterator[Change]:
    at = 0
    while at < len(log):
        op, is_log, offset, size = struct.unpack_from("=cBQQ", log, at)
        at += 18
        data = b""
        if op == b"W":
            data, at = log[at:at + size], at + size
        yield op.decode(), bool(is_log), offset, data


class Disk:
    """What is surely on the disk, and what may be: changes since the last sync of their file."""

    def __init__(self) -> None:
        self.sure = {False: bytearray(), True: bytearray()}
        self.perhaps: dict[bool, list[tuple[str, int, bytes]]] = {False: [], True: []}
        self.noted: dict[int, int] = {}

    def apply(self, op: str, is_log: bool, offset: int, data: bytes) -> None:
        if op == "N":
            self.noted[offset >> 32] = max(self.noted.get(offset >> 32, 0), offset & 0xFFFFFFFF)
        elif op == "S":
            for change in self.perhaps[is_log]:
                _put(self.sure[is_log], *change)
            self.perhaps[is_log].clear()
        else:
            self.perhaps[is_log].append((op, offset, data))

    def after_power_cut(self, path: Path, chance: random.Random) -> None:
        """Of what was not synced, any sectors may have been written, in any order."""
        for is_log, name in ((False, path), (True, path.with_name(path.name + "-wal"))):
            content = bytearray(self.sure[is_log])
            sectors = [piece for change in self.perhaps[is_log] for piece in _sectors(*change)]
            chance.shuffle(sectors)
            for change in sectors[:chance.randint(0, len(sectors))]:
                _put(content, *change)
            name.write_bytes(content)


def _sectors(op: str, offset: int, data: bytes) -> Iterator[tuple[str, int, bytes]]:
    if op == "T":
        yield op, offset, data
    for start in range(0, len(data), 512):
        yield op, offset + start, data[start:start + 512]


def _put(content: bytearray, op: str, offset: int, data: bytes) -> None:
    if op == "T":
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset:offset + len(data)] = data


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True,
                             check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk; F04 at every change runs all the same")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_F04_F19_a_full_disk_refuses_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(400_000))
    store, cut, lost_end = Store.open(small_disk / "journal.db"), header(1), header(2)
    await store.journal.begin(cut).durable()
    await store.journal.append(cut.run_id, intent(1)).durable()
    store.journal.begin(lost_end)
    await store.journal.append(lost_end.run_id, intent(1)).durable()
    durable = 1
    with pytest.raises(Unavailable, match="disk is full") as caught:
        while True:
            await store.journal.append(cut.run_id, outcome(durable, os.urandom(3_000))).durable()
            durable += 1
    assert caught.value.specific_code == "journal_full"
    assert caught.value.fix is not None
    for attempt in (lambda: store.journal.append(cut.run_id, outcome(1)), lambda: store.journal.begin(header(3)),
                    lambda: store.journal.append(lost_end.run_id, END)):
        with pytest.raises(Unavailable, match="disk is full"):
            attempt()
    assert store.journal.failure is not None
    assert len((await store.journal.read(cut.run_id, tenant="default")).entries) == durable
    filler.unlink()
    async with asyncio.timeout(10):
        while store.journal.failure is not None:
            await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="interrupted"):
        store.journal.append(cut.run_id, outcome(1))
    new = header(4)
    store.journal.begin(new)
    await store.journal.append(new.run_id, END).durable()
    assert {r.header.run_id async for r in store.journal.unfinished()} == {cut.run_id, lost_end.run_id}
    for head in (cut, lost_end):
        await store.journal.append(head.run_id, Resumed(1, "room again"), ended(2)).durable()
    assert [e.number for e in (await store.journal.read(cut.run_id, tenant="default")).entries] == list(range(1, durable + 3))
    await store.close()
    store = Store.open(small_disk / "journal.db")
    assert [r async for r in store.journal.unfinished()] == []
    assert [p for p in await store.check() if "outcome without" not in p] == []
    await store.close()
