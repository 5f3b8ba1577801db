"""Controls of what is kept: tenants' stores, the journal's files, the audit log, retention and erasure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from inhabit.cli import audit as audit_command
from inhabit.cli import forgetting
from inhabit.store import backup, commit, database, journal, ledger, ownership, reading, retention
from inhabit.store.audit import erase, log, verify
from inhabit.store.audit.log import AuditLog
from inhabit.store.audit.merkle import Frontier
from inhabit.store.audit.notes import PublicKey
from inhabit.store.audit.verify import _Verifier
from inhabit.store.batch import Batch
from inhabit.store.ledger import Ledger, TenantLedger
from inhabit.store.retention import Retention, Went
from inhabit.store.tenants import erasing, naming, opening
from inhabit.store.tenants.connections import TenantsConnections
from inhabit.store.tenants.opening import Opened, Opening
from inhabit.store.writer import Writer
from tests.switches.off import Control, EqualToAll, all_of, gone, replaced

FILES, JOURNAL, LEDGER, RETENTION, CONVERSATIONS, FAULTS, POWER, KILL, BACKUP, BLOBS = (
    f"tests/store/test_store_{name}.py" for name in ("files", "journal", "ledger", "retention", "conversations", "faults", "power", "kill", "backup", "blobs"))
STORES, NAMING, ERASING, COPIES = (f"tests/store/tenants/test_tenants_{name}.py" for name in ("stores", "naming", "erasing", "copies"))
VERIFY, ERASE = (f"tests/store/audit/test_audit_{name}.py" for name in ("verify", "erase"))

_connect, _opening, _verify, _read_checkpoint, _commit = database.connect, Opening.__init__, verify.verify, verify.read_checkpoint, Writer._commit
_used: Callable[..., float] = TenantLedger.used


# -- tenants' stores ------------------------------------------------------------------------------------------


def _without_gates(held: Any, *given: Any) -> None:
    _opening(held, *given)
    held._gates = tuple(nullcontext() for _ in held._gates)


def _always_room(held: Any) -> bool:
    with held._lock:
        held._coming += 1
    return True


def _of_whichever_tenant(connection: Any, run_id: str, _: str) -> int:
    return connection.execute("SELECT key FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]


def _unverified(connection: Any, tenant: str, digest: bytes) -> Any:
    row = connection.execute("SELECT data FROM blobs WHERE tenant = ? AND digest = ?", (tenant, digest)).fetchone()
    return row[0] if row is not None else None


# -- files ----------------------------------------------------------------------------------------------------


def _set(pragma: str) -> Any:
    def connected(path: Any, *, writing: bool) -> Any:
        connection = _connect(path, writing=writing)
        connection.execute(f"PRAGMA {pragma}")
        return connection
    return replaced(database, "connect", connected)


def _only_made(folder: Any) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _in_silence(writer: Any, batch: Any) -> None:
    _commit(writer, batch)


async def _at_once(_: Any) -> None: ...


def _by_the_wall(usage: Any, key: str, window_ms: int, now_ms: int) -> float:
    usage._time_ms = lambda: now_ms
    return _used(usage, key, window_ms, now_ms)


def _where_it_is_set(_: Any, __: Any, now_ms: int) -> int:
    return now_ms


# -- the audit log --------------------------------------------------------------------------------------------


def _after_any(text: str, keys: Any) -> Any:
    return dataclasses.replace(_read_checkpoint(text, keys), previous=EqualToAll())


def _by_itself(path: Any, keys: Any, external: Any = None, tenant: Any = None) -> Any:
    """No checkpoint that was kept elsewhere counts."""
    return _verify(path, keys, None, tenant)


CONTROLS: dict[str, Control] = {
    "stores: a folder of one's own": Control(replaced(naming, "folder_name", lambda tenant: tenant.lower()[:200]), (NAMING, STORES, "-k", "E18")),
    "stores: runs of one tenant": Control(replaced(journal, "key_of", _of_whichever_tenant), (JOURNAL, "-k", "E18")),
    "stores: so many at once": Control(replaced(Opening, "_reserved", _always_room), (STORES, "-k", "not_closed_under or others_are_needed")),
    "stores: none is closed in use": Control(replaced(Opened, "closable", lambda *_: True), (STORES, "-k", "not_closed_under or others_are_needed or idle_stores")),
    "stores: held while it is used": Control(replaced(Opened, "closable", lambda held, _: not held.store.journal.active), (STORES, "-k", "not_closed_under")),
    "stores: one opens, the others wait": Control(replaced(Opening, "__init__", _without_gates), (STORES, "-k", "others_are_needed or one_opens_it")),
    "stores: closed usage judges nothing": Control(gone((Ledger, "close")), (STORES, "-k", "usage_counts_on")),
    "stores: a home is one process's": Control(gone((ownership, "_try_lock"), answer=True), (FILES, STORES, "-k", "F07_a_second_server_on or F07_the_same")),
    "stores: who was replaced writes nothing": Control(
        all_of(gone((commit, "check_epoch")), replaced(commit, "_INSERTIONS", tuple(sql.replace("(SELECT epoch FROM meta) = ?", "? IS NOT NULL") for sql in commit._INSERTIONS))),
        (FILES, STORES, "-k", "F07_a_server_whose")),
    "stores: lost records are seen": Control(gone((database, "_look_for_loss"), (database, "_refuse_emptied")), (FILES, "-k", "F18_a_removed or F18_a_cut")),
    "stores: newer and foreign files": Control(gone((database, "refuse_foreign")), (FILES, "-k", "F16 or another_programs")),
    "stores: a lock has its bytes": Control(gone((ownership, "_filled")), (STORES, "-k", "F04_a_lock")),
    "stores: values fit their names": Control(replaced(reading, "blob", _unverified), (BLOBS, JOURNAL, "-k", "F10")),
    "journal: synced": Control(_set("synchronous = OFF"), (POWER, "-k", "F03_no_image"), beside=True),
    "journal: a failure is told": Control(replaced(Writer, "_commit", _in_silence), (FAULTS, STORES, "-k", "every_change or F04_a_full_disk"), beside=True),
    "journal: acknowledged when it is there": Control(replaced(Batch, "durable", _at_once), (FAULTS, "-k", "every_change and F01"), beside=True),
    "ledger: time that nobody sets": Control(replaced(TenantLedger, "used", _by_the_wall), (LEDGER, "-k", "F06_wall")),
    "ledger: its time does not go back": Control(replaced(Ledger, "_load", _where_it_is_set), (LEDGER, "-k", "F06_start")),
    "ledger: usage is on disk": Control(replaced(ledger, "_COUNTING", ledger._COUNTING + " LIMIT 0"), (LEDGER, "-k", "F01_a_restart")),
    "backup: open runs are closed": Control(gone((backup, "open_runs"), answer=()), (BACKUP, "-k", "F17")),
    "backup: revoked stays revoked": Control(gone((backup, "_held_on")), (BACKUP, COPIES, "-k", "revoked_after or restriction")),
    "audit: signatures": Control(gone((PublicKey, "_fits"), answer=True), (VERIFY, "-k", "F10_a_log_made or F10_a_forged or checkpoint")),
    "audit: each checkpoint names the last": Control(replaced(verify, "read_checkpoint", _after_any), (VERIFY, "-k", "checkpoint and gone")),
    "audit: a checkpoint kept elsewhere": Control(replaced(verify, "verify", _by_itself), (VERIFY, "-k", "F10_a_cut_end or F10_an_older or F10_a_forged or F17")),
    "audit: records against leaves": Control(gone((verify, "_against"), answer=()), (VERIFY, "-k", "F10_journal_edit or F10_a_finding")),
    "audit: leaves against checkpoints": Control(gone((_Verifier, "_roots"), answer=()), (VERIFY, "-k", "F10")),
    "audit: notes": Control(gone((_Verifier, "_notes"), answer=()), (VERIFY, CONVERSATIONS, "-k", "F10")),
    "audit: values": Control(gone((_Verifier, "_values"), answer=()), (VERIFY, "-k", "F10")),
    "audit: lists": Control(gone((verify, "_against_list"), answer=()), (VERIFY, "-k", "F10")),
    "audit: who cleared labels": Control(gone((verify, "loose_clearings"), answer=()), (CONVERSATIONS, "-k", "F10")),
    "audit: no record without its leaf": Control(replaced(AuditLog, "stage", lambda *_: []), (ERASE, "-k", "F19")),
    "audit: as long as it was signed": Control(gone((log, "_last_checkpoint"), answer=(Frontier(), "-")), (VERIFY, "-k", "F18")),
    "erasure: salts": Control(gone((journal, "new_salt"), answer=bytes(log.SALT_BYTES)), (ERASE, "-k", "F15")),
    "erasure: overwritten": Control(all_of(_set("secure_delete = OFF"), gone((erase, "tighten"), answer=True)), (ERASE, RETENTION, "-k", "F15")),
    "erasure: the write-ahead log": Control(gone((erase, "tighten"), (erasing, "tighten"), answer=True), (ERASE, ERASING, "-k", "F15_a_users or F15_an_erased")),
    "erasure: waits for runs": Control(gone((erase, "refuse_unfinished"), (erasing, "refuse_unfinished")), (ERASE, ERASING, "-k", "F15_eras")),
    "erasure: what names the user": Control(gone((erase, "_drop_named"), answer=(0, 0, 0)), (ERASE, CONVERSATIONS, "-k", "F15")),
    "audit: a journal that is gone": Control(gone((audit_command, "was_owned"), answer=False), ("tests/cli/test_audit.py", "-k", "F10_a_journal_that_was_taken")),
    "erasure: what was learnt": Control(gone((forgetting, "forget_learnt")), ("tests/cli/test_audit.py", "-k", "F15_what_was_learnt")),
    "erasure: with a note": Control(gone((AuditLog, "note"), answer=0), (ERASE, "-k", "F15_a_users")),
    "erasure of a tenant: its folder": Control(replaced(erasing, "shutil", SimpleNamespace(rmtree=lambda _: None)), (ERASING, "-k", "F15_an_erased")),
    "erasure of a tenant: the home's rows": Control(replaced(erasing, "OF_THE_HOME", frozenset()), (ERASING, "-k", "F15_an_erased")),
    "erasure of a tenant: sign-ins": Control(gone((TenantsConnections, "forget_sign_ins")), (ERASING, "-k", "F15_an_erased")),
    "retention: by age": Control(gone((retention, "_drop_old"), answer=Went(0, 0)), (RETENTION, "-k", "old_finished")),
    "retention: by size": Control(gone((retention, "_drop_excess"), answer=Went(0, 0)), (RETENTION, "-k", "beyond_the_size")),
    "retention: what is unfinished stays": Control(replaced(retention, "_FINISHED", "SELECT key, bytes FROM runs WHERE 1"), (RETENTION, "-k", "old_finished or beyond_the_size or cannot_go")),
    "retention: shared values stay": Control(gone((commit, "_note_uses")), (RETENTION, "-k", "shared_value or binary_value")),
    "retention: never off by mistake": Control(gone((Retention, "__post_init__")), (RETENTION, "-k", "never_off")),
    "retention: gone from the files": Control(all_of(_set("secure_delete = OFF"), gone((retention, "tighten"), answer=True)), (RETENTION, "-k", "F15")),
    "stores: closed when unused": Control(gone((Opening, "close_idle"), answer=0), (STORES, "-k", "idle_stores")),
    "stores: the folder is on disk": Control(all_of(gone((opening, "synced"), (database, "synced")), replaced(database, "made", _only_made)), (STORES, "-k", "F03")),
}
