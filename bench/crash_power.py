"""Power cuts: what a disk may hold when the power goes, made from a recorded trace, and opened as the next start does.

    power.images, power.lost           crash images; those in which something acknowledged is not there or does not verify
    power.acknowledged                 how many acknowledgements were held against images, over all

A workload runs with `crash_disk.c` in front of its disk. It makes the records of the control plane (calls with charges,
questions, answers, conversations, tokens, secrets) and notes each acknowledgement in the trace, when it has it. A cut
comes after any record of the trace. What the disk may hold then, for each file by itself: all that was there at its last
sync, and of what was written since any sectors of 512 bytes, in any order, so also torn and out of order; cuts of its
length likewise. Folders: all entries at their last sync, and of what was made, renamed or removed since a prefix, as a
journaling file system keeps it. Shared memory is gone. What is written through memory (the lock's marks) may be of any
moment before the cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.report import ROOT, Report
from inhabit.contracts.clock import now_ms
from inhabit.contracts.connector import Secret
from inhabit.contracts.principal import Principal
from inhabit.contracts.run import Asked, Decided, Intent, Outcome, RunHeader, Suspended, Terminal, Ticket
from inhabit.errors import InhabitError
from inhabit.kernel.decide import Charge
from inhabit.store.audit.notes import PublicKey, public_key
from inhabit.store.audit.verify import newest_checkpoint, verify
from inhabit.store.database import audit_key
from inhabit.store.ids import new_run_id
from inhabit.store.sealed import SealedSecrets
from inhabit.store.store import Store

__all__ = ["Trace", "images", "lost_in", "power", "recorded"]

SECTOR = 512
_ADA = Principal("ada")
_HEAD = struct.Struct("=cHQQ")
_KEY, _WINDOW_MS = "1:refunds", 86_400_000
_RUNS, _CALLS = 4, 12
_CUTS_A_TRACE = 500
_SHOWN = 20


class Change(NamedTuple):
    op: str
    path: str
    at: int
    data: bytes


class Ack(NamedTuple):
    """Something that was said to be on disk. `what` names it, the rest is what to look for."""

    what: str
    run: str = ""
    number: int = 0
    text: str = ""


@dataclass(frozen=True)
class Trace:
    """`acks` by the number of their note."""

    changes: tuple[Change, ...]
    acks: tuple[Ack, ...]


def compiled(folder: Path) -> Path:
    """Raises `RuntimeError` where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("a C compiler is needed: the layer that records the disk is a small library")
    library = folder / "crash_disk.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(ROOT / "bench" / "crash_disk.c"), "-ldl", "-lpthread"], check=True)
    return library


def recorded(folder: Path, library: Path, seed: int, *, broken: str = "") -> Trace:
    """One workload in a process of its own. `broken` proves that a cut is seen: "unsynced" turns SQLite's syncs off, "early"
    notes an acknowledgement when it is asked for.
    """
    log, home = folder / "changes", folder / "disk"
    done = subprocess.run([sys.executable, "-m", "bench.crash_power", str(log), str(home), str(seed), broken], cwd=ROOT, check=True,
                          capture_output=True, text=True, env=os.environ | {"LD_PRELOAD": str(library)})
    told = json.loads(done.stdout)
    trace = Trace(tuple(_parsed(log.read_bytes())), tuple(Ack(*ack) for ack in told["acks"]))
    shutil.rmtree(home)
    return trace


def images(trace: Trace, chance: random.Random, count: int, folder: Path) -> Iterator[tuple[Path, list[Ack], str]]:
    """`count` images: where each lies, what was acknowledged before its cut, and the cut in words."""
    disk, at = _Disk(), 0
    for number, cut in enumerate(sorted(chance.randint(1, len(trace.changes)) for _ in range(count))):
        while at < cut:
            disk.apply(trace.changes[at])
            at += 1
        image = folder / f"image{number}"
        disk.lie(image, chance)
        yield image, [trace.acks[note] for note in disk.notes], f"after change {cut} of {len(trace.changes)}"
        shutil.rmtree(image)


class _File:
    """`sure`: bytes at the last sync; `perhaps`: changes since."""

    def __init__(self) -> None:
        self.sure = bytearray()
        self.perhaps: list[Change] = []
        self.mapped: list[bytes] = []

    def sync(self) -> None:
        for change in self.perhaps:
            _change(self.sure, change)
        self.perhaps.clear()

    def lies(self, chance: random.Random) -> bytes:
        if self.mapped:
            return chance.choice(self.mapped)
        content = bytearray(self.sure)
        sectors = [piece for change in self.perhaps for piece in _sectors(change)]
        kept = chance.choice((0, len(sectors), chance.randint(0, len(sectors))))
        if chance.random() < 0.7:
            chance.shuffle(sectors)
        for piece in sectors[:kept]:
            _change(content, piece)
        return bytes(content)


@dataclass
class _Folder:
    """`sure`: entries at the last sync; `perhaps`: what was done to them since, each `(name, node | None)…` at once."""

    sure: dict[str, _File | _Folder] = field(default_factory=dict[str, "_File | _Folder"])
    now: dict[str, _File | _Folder] = field(default_factory=dict[str, "_File | _Folder"])
    perhaps: list[tuple[tuple[str, _File | _Folder | None], ...]] = field(default_factory=list[tuple[tuple[str, "_File | _Folder | None"], ...]])

    def do(self, *steps: tuple[str, _File | _Folder | None]) -> None:
        _enter(self.now, steps)
        self.perhaps.append(steps)

    def sync(self) -> None:
        self.sure, self.perhaps = dict(self.now), []

    def lies(self, chance: random.Random) -> dict[str, _File | _Folder]:
        entries = dict(self.sure)
        for steps in self.perhaps[:chance.choice((0, len(self.perhaps), chance.randint(0, len(self.perhaps))))]:
            _enter(entries, steps)
        return entries


class _Disk:
    def __init__(self) -> None:
        self._root = _Folder()
        self.notes: list[int] = []

    def apply(self, change: Change) -> None:
        op, path, at, data = change
        folder, _, name = path.rpartition("/")
        if op == "N":
            self.notes.append(at)
        elif op in "OK":
            self._folder(folder).do((name, _File() if op == "O" else _Folder()))
        elif op == "U":
            self._folder(folder).do((name, None))
        elif op in "RL":
            self._moved(folder, name, data.decode(), removes=op == "R")
        elif op == "D":
            self._folder(path).sync()
        else:
            self._file(path, change)

    def lie(self, target: Path, chance: random.Random) -> None:
        """Write what the disk may hold."""
        _lay(self._root, target, chance)

    def _file(self, path: str, change: Change) -> None:
        node = self._node(path)
        if not isinstance(node, _File) or path.endswith("-shm"):
            return
        if change.op == "S":
            node.sync()
        elif change.op == "M":
            node.mapped.append(change.data)
        else:
            node.perhaps.append(change)

    def _moved(self, folder: str, name: str, target: str, *, removes: bool) -> None:
        to, _, new = target.rpartition("/")
        assert to == folder, "nothing here is moved between folders"
        held = self._folder(folder)
        held.do((new, held.now[name]), *([(name, None)] if removes else []))

    def _folder(self, path: str) -> _Folder:
        found = self._node(path)
        assert isinstance(found, _Folder), f"{path} is no folder"
        return found

    def _node(self, path: str) -> _File | _Folder | None:
        node: _File | _Folder | None = self._root
        for part in filter(None, path.removesuffix(" (deleted)").split("/")):
            node = node.now.get(part) if isinstance(node, _Folder) else None
        return node


def _lay(folder: _Folder, target: Path, chance: random.Random) -> None:
    target.mkdir(mode=0o700)
    for name, node in folder.lies(chance).items():
        if isinstance(node, _Folder):
            _lay(node, target / name, chance)
        elif not name.endswith("-shm"):
            (target / name).touch(0o600)
            (target / name).write_bytes(node.lies(chance))


def _enter(entries: dict[str, _File | _Folder], steps: tuple[tuple[str, _File | _Folder | None], ...]) -> None:
    for name, node in steps:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _change(content: bytearray, change: Change) -> None:
    _, _, at, data = change
    content.extend(bytes(max(0, at - len(content))))
    if change.op == "T":
        del content[at:]
    else:
        content[at:at + len(data)] = data


def _sectors(change: Change) -> Iterator[Change]:
    if change.op == "T":
        yield change
        return
    at = change.at
    end = at + len(change.data)
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        yield change._replace(at=at, data=change.data[at - change.at:stop - change.at])
        at = stop


def _parsed(log: bytes) -> Iterator[Change]:
    at = 0
    while at < len(log):
        op, named, where, size = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        path, data = log[at:at + named], log[at + named:at + named + size]
        at += named + size
        yield Change(op.decode(), path.decode(), where, data)


# -- looking ----------------------------------------------------------------------------------------------


async def lost_in(image: Path, acks: list[Ack]) -> list[str]:
    """Open an image as the next start does; what was acknowledged and is not there, and what does not verify."""
    try:
        store = Store.open(image / "home" / "journal.db")
    except InhabitError as error:
        return [f"the store does not open: {error}"]
    try:
        lost = [*await store.check()]
        for ack in acks:
            with contextlib.suppress(InhabitError):
                if await _THERE[ack.what](store, image, ack):
                    continue
            lost.append(f"{ack.what} {ack.run} {ack.number} {ack.text[:60]!r} was acknowledged and is not there")
    finally:
        await store.close()
    return lost + [f"audit: {finding}" for finding in _audit(image, [ack.text for ack in acks if ack.what == "checkpoint"])]


def _audit(image: Path, kept: list[str]) -> list[str]:
    path = image / "home" / "journal.db"
    key = PublicKey(public_key(audit_key(path)))
    try:
        return [str(finding) for finding in verify(path, [key], kept[-1] if kept else None).findings]
    except InhabitError as error:
        return [str(error)]


async def _entry(store: Store, _image: Path, ack: Ack) -> bool:
    return len((await store.journal.read(ack.run, tenant="default")).entries) >= ack.number


async def _approval(store: Store, _image: Path, ack: Ack) -> bool:
    found = await store.approvals.find(f"{ack.run}.{ack.number}", tenant="default")
    return found is not None and (ack.what == "asked" or found.verdict == ack.text)


async def _charged(store: Store, _image: Path, ack: Ack) -> bool:
    ledger = store.ledger(now_ms())
    try:
        return ledger.of("default").used(_KEY, _WINDOW_MS, now_ms()) >= ack.number
    finally:
        ledger.close()


async def _label(store: Store, _image: Path, ack: Ack) -> bool:
    return ("private", ack.text) in await store.conversations.labels(_ADA, ack.run)


async def _token(store: Store, _image: Path, ack: Ack) -> bool:
    found = await store.tokens.verify(ack.text, now_ms=now_ms())
    return (found is None) if ack.what == "revoked" else found is not None


async def _secret(_store: Store, image: Path, ack: Ack) -> bool:
    secret = _sealed(image).get(ack.run)
    return secret is not None and int(secret.reveal()) >= ack.number


async def _always(_store: Store, _image: Path, _ack: Ack) -> bool:
    return True


_THERE: Mapping[str, Any] = {
    "entry": _entry, "asked": _approval, "decided": _approval, "charged": _charged, "label": _label, "token": _token, "revoked": _token,
    "secret": _secret, "checkpoint": _always}


def _sealed(folder: Path) -> SealedSecrets:
    return SealedSecrets(folder / "home" / "secrets.sealed", folder / "home" / "secrets.key")


# -- the workload -----------------------------------------------------------------------------------------


class _Workload:
    def __init__(self, folder: Path, seed: int, broken: str) -> None:
        self._disk = ctypes.CDLL(None)
        self._folder = folder
        self._chance = random.Random(seed)
        self._broken = broken
        self._charged = 0
        self.acks: list[Ack] = []

    async def run(self, log: Path) -> None:
        self._folder.mkdir()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        self._disk.disk_record(descriptor, str(self._folder.absolute()).encode())
        for _ in range(2):   # the second start finds a home, and a checkpoint that was kept elsewhere
            await self._life()
            self._ack(Ack("checkpoint", text=newest_checkpoint(self._folder / "home" / "journal.db") or ""))
        self._disk.disk_record(-1, b"")

    async def _life(self) -> None:
        store = Store.open(self._folder / "home" / "journal.db")
        if self._broken == "unsynced":
            await store.database.writer.maintain(lambda c: c.execute("PRAGMA synchronous = OFF") and None)
        await store.database.writer.maintain(lambda c: c.execute("PRAGMA wal_autocheckpoint = 40") and None)
        ledger = store.ledger(now_ms())
        await asyncio.gather(*(self._one_run(store, ledger, number) for number in range(_RUNS)), self._tokens(store), self._secrets())
        ledger.close()
        await store.close()

    async def _one_run(self, store: Store, ledger: Any, number: int) -> None:
        run_id, count = new_run_id(now_ms()), 0
        store.journal.begin(RunHeader(run_id, _ADA, "typescript", "h", "return 1", "return 1", b"null", "e", 1, 1))
        for sequence in range(1, _CALLS + 1):
            arguments = b'"%s"' % (b"x" * self._chance.choice((10, 700, 6_000)))
            self._charged += 1
            charged, writes = self._charged, ledger.of("default").reserve([Charge(_KEY, 1, _WINDOW_MS)], run_id)
            intent = Intent(sequence, "shop.pay", arguments, {"verdict": "ask"}, "", f"{run_id}:{sequence}", True, False, 1)
            asked = Asked(f"{run_id}.{sequence}", sequence, "shop.pay", "d", "rule", "why", now_ms(), now_ms() + 60_000)
            await self._durable(store.journal.append(run_id, intent, asked, also=writes), Ack("asked", run_id, sequence), Ack("charged", number=charged))
            verdict = self._chance.choice(("approve", "reject"))
            decided = Decided(asked.approval, sequence, verdict, "boss", "token", "", now_ms())
            await self._durable(store.journal.append(run_id, Suspended(1, {}), decided), Ack("decided", run_id, sequence, verdict))
            count += 5
            await self._durable(store.journal.append(run_id, Outcome(sequence, True, arguments, 1.0, 1)), Ack("entry", run_id, count))
        await store.conversations.join(_ADA, run_id, run_id, [("private", f"inbox.{number}")], now_ms())
        self._ack(Ack("label", run_id, text=f"inbox.{number}"))
        await self._durable(store.journal.append(run_id, Terminal("completed", b"null", 2)), Ack("entry", run_id, count + 1))

    async def _tokens(self, store: Store) -> None:
        for _ in range(6):
            token, record = await store.tokens.create(_ADA, {}, now_ms=now_ms())
            if self._chance.random() < 0.5:
                self._ack(Ack("token", text=token))
                continue
            await store.tokens.revoke(record.id, tenant="default", now_ms=now_ms())
            self._ack(Ack("revoked", text=token))

    async def _secrets(self) -> None:
        sealed = _sealed(self._folder)
        for value in range(1, 6):
            name = self._chance.choice(("ONE", "TWO"))
            old = sealed.get(name)
            number = int(old.reveal()) + value if old is not None else value
            await asyncio.to_thread(sealed.put, name, Secret(str(number)))
            self._ack(Ack("secret", name, number))

    async def _durable(self, ticket: Ticket, *acks: Ack) -> None:
        if self._broken != "early":
            await ticket.durable()
        for ack in acks:
            self._ack(ack)
        if self._broken == "early":
            await ticket.durable()

    def _ack(self, ack: Ack) -> None:
        lock = self._folder / "home" / "journal.db.lock"
        marks = lock.read_bytes()
        self._disk.disk_mapped(b"home/journal.db.lock", marks, ctypes.c_uint64(len(marks)))
        self.acks.append(ack)
        self._disk.disk_note(ctypes.c_uint64(len(self.acks) - 1))


def power(count: int, seed: str, report: Report, folder: Path) -> int:
    """Returns in how many of `count` images something acknowledged was lost."""
    chance = random.Random(seed)
    library = compiled(folder)
    done = lost = acknowledged = 0
    space = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else folder
    with tempfile.TemporaryDirectory(prefix="inhabit-power-", dir=space) as room:
        while done < count:
            with tempfile.TemporaryDirectory(dir=folder) as disk:
                trace = recorded(Path(disk), library, chance.getrandbits(32))
            for image, acks, when in images(trace, chance, min(_CUTS_A_TRACE, count - done), Path(room)):
                found = asyncio.run(lost_in(image, acks)) if acks else []
                done, acknowledged, lost = done + 1, acknowledged + len(acks), lost + bool(found)
                for line in found[:3] if lost <= _SHOWN else ():
                    report.note(f"{when}: {line}")
    report.figure("power.images", done, "images")
    report.figure("power.acknowledged", acknowledged, "acknowledgements looked for")
    report.figure("power.lost", lost, "images")
    return lost


if __name__ == "__main__":
    _workload = _Workload(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    asyncio.run(_workload.run(Path(sys.argv[1])))
    print(json.dumps({"acks": _workload.acks}))
