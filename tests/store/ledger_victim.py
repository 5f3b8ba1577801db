"""Charges a limit until it is killed, and says what was acknowledged: `python -m tests.store.ledger_victim FILE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from inhabit.kernel.decide import Charge
from inhabit.store.database import Database
from inhabit.store.journal import SqliteJournal
from inhabit.store.ledger import Ledger
from tests.store.store_samples import header, intent

KEY, WINDOW_MS, START_MS = "7:refunds", 86_400_000, 1_790_000_000_000


async def main(path: Path) -> None:
    database = Database(path, lock_wait_s=10)
    journal, ledger = SqliteJournal(database), Ledger(database, START_MS).of("default")
    begun = header()
    journal.begin(begun)

    async def call(sequence: int) -> None:
        writes = ledger.reserve([Charge(KEY, 1, WINDOW_MS)], begun.run_id)
        ticket = journal.append(begun.run_id, intent(sequence), also=writes)
        await ticket.durable()
        sys.stdout.write("charged\n")
        sys.stdout.flush()

    for first in range(1, 1_000_000, 5):
        await asyncio.gather(*(call(first + number) for number in range(5)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
