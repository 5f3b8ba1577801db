"""A journal with some of everything, closed, and its public key."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from inhabit.contracts.run import Asked
from inhabit.store.audit.notes import PublicKey
from inhabit.store.audit.verify import Verified, newest_checkpoint, verify
from inhabit.store.store import Store
from tests.store.store_samples import ended, header, intent, outcome

LONG = b'"' + b"v" * 9_000 + b'"'


@dataclass(frozen=True)
class Sample:
    path: Path
    key: PublicKey
    checkpoint: str
    older: Path

    def verify(self, *, external: bool = False) -> Verified:
        return verify(self.path, [self.key], self.checkpoint if external else None)

    def sql(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()


async def sample(folder: Path, *, runs: int = 6) -> Sample:
    """`older`: a whole copy of the file as it was half way."""
    path, older = folder / "journal.db", folder / "older.db"
    for half in (0, 1):
        store = Store.open(path)
        for n in range(half * runs, half * runs + runs):
            await filled(store, n)
        key = store.database.audit.public_key
        await store.close()
        if not half:
            shutil.copy(path, older)
    checkpoint = newest_checkpoint(path)
    assert checkpoint
    return Sample(path, PublicKey(key), checkpoint, older)


async def filled(store: Store, n: int, *, user: str = "ada", value: bytes = LONG, end: bool = True) -> str:
    head = header(n, user=user)
    reference = await store.blobs.put(value + b"%d" % n, tenant="default", mime="text/plain")
    store.journal.begin(head)
    await store.journal.append(head.run_id, intent(1, b'{"a":%d}' % n)).durable()
    digest = reference["$binary"]
    bound = b'{"$binary":"' + digest.encode() + b'","type":"text/plain","size":1}'
    await store.journal.append(head.run_id, outcome(1, value), intent(2), outcome(2, bound)._replace(binaries=(digest,))).durable()
    store.journal.append(head.run_id, Asked(f"ap-{n}", 3, "shop.pay", "d", "r", "why", 5, 10**15))
    if end:
        await store.journal.append(head.run_id, ended(5)).durable()
    return head.run_id
