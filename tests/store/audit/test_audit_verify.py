"""F10: whatever was changed in the file is found, with its place; what no file can tell of itself, a kept checkpoint tells."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from inhabit.errors import InvalidInput, Unavailable
from inhabit.store.audit.notes import PublicKey, Signer
from inhabit.store.audit.verify import verify
from inhabit.store.store import Store
from tests.store.audit.audit_kit import filled, sample

_SIGNED = "(SELECT max(size) FROM audit_checkpoints)"
_LAST_ROW = "(SELECT max(number) FROM entries WHERE run = 0)"
TAMPERED = {
    "flipped byte of an entry": ["UPDATE entries SET body = CAST(substr(body, 1, 20) || x'00' || substr(body, 22) AS BLOB) WHERE run = 3 AND number = 1"],
    "kind of an entry": ["UPDATE entries SET kind = 4 WHERE run = 3 AND number = 1"],
    "deleted entry": ["DELETE FROM entries WHERE run = 3 AND number = 2"],
    "deleted last entry": ["DELETE FROM entries WHERE run = 3 AND number = 6"],
    "added entry": ["INSERT INTO entries SELECT run, 7, kind, body FROM entries WHERE run = 3 AND number = 1"],
    "entry of no run": ["INSERT INTO entries SELECT 99, 1, kind, body FROM entries WHERE run = 3 AND number = 1"],
    "swapped entries": ["UPDATE entries SET number = -1 WHERE run = 3 AND number = 1", "UPDATE entries SET number = 1 WHERE run = 3 AND number = 3",
                        "UPDATE entries SET number = 3 WHERE run = 3 AND number = -1"],
    "entries of two runs swapped": ["UPDATE entries SET run = 77 WHERE run = 3", "UPDATE entries SET run = 3 WHERE run = 4",
                                    "UPDATE entries SET run = 4 WHERE run = 77"],
    "header": ["UPDATE headers SET body = (SELECT body FROM headers WHERE run = 4) WHERE run = 3"],
    "salt": ["UPDATE headers SET salt = zeroblob(16) WHERE run = 3"],
    "salt gone": ["UPDATE headers SET salt = NULL WHERE run = 3"],
    "run erased without a note": [f"DELETE FROM {table} WHERE {key} = 3" for table, key in
                                  (("entries", "run"), ("headers", "run"), ("blob_uses", "run"), ("runs", "key"))],
    "another user in the list": ["UPDATE runs SET user = 'eve' WHERE key = 3"],
    "another state in the list": ["UPDATE runs SET state = 'failed' WHERE key = 3"],
    "long value": ["UPDATE blobs SET data = CAST(data || 'x' AS BLOB) WHERE key = 1"],
    "long value gone": ["DELETE FROM blobs WHERE key = 1", "DELETE FROM blob_uses WHERE blob = 1"],
    "bytes that a call gave gone": ["DELETE FROM blobs WHERE key = 2", "DELETE FROM blob_uses WHERE blob = 2"],
    "leaf": ["UPDATE entries SET body = CAST(substr(body, 1, 30) || x'00' || substr(body, 32) AS BLOB) WHERE run = 0 AND number = 3"],
    "row of leaves gone": ["DELETE FROM entries WHERE run = 0 AND number = 3"],
    "note": ["UPDATE audit_notes SET body = CAST(replace(body, 'begins', 'ended!') AS BLOB) WHERE position = 0"],
    "added note": ["INSERT INTO audit_notes VALUES (4, x'7b7d')"],
    "checkpoint": ["UPDATE audit_checkpoints SET note = replace(note, 'at 1', 'at 2')"],
    "checkpoint in the middle gone": ["DELETE FROM audit_checkpoints WHERE size = (SELECT size FROM audit_checkpoints ORDER BY size LIMIT 1 OFFSET 1)"],
    "all checkpoints gone": ["DELETE FROM audit_checkpoints"],
}
TAIL = {
    "last checkpoint gone": [f"DELETE FROM audit_checkpoints WHERE size = {_SIGNED}"],
    "end cut": [f"DELETE FROM entries WHERE (run, number) IN ((12, 6), (0, {_LAST_ROW}))", "UPDATE runs SET state = 'running', ended_ms = NULL WHERE key = 12",
                f"DELETE FROM audit_checkpoints WHERE size = {_SIGNED}"],
}


async def test_F10_an_untouched_journal_is_sound(tmp_path: Path) -> None:
    found = (await sample(tmp_path)).verify(external=True)
    assert found.findings == () and found.unsigned == 0
    assert (found.runs, found.records) == (12, 12 * 7)


@pytest.mark.parametrize("name", TAMPERED)
async def test_F10_journal_edit_is_found_without_a_kept_checkpoint(name: str, tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.sql(*TAMPERED[name])
    assert made.verify().findings


async def test_F10_a_finding_names_the_run_and_the_entries(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.sql(*TAMPERED["flipped byte of an entry"])
    (finding,) = made.verify().findings
    assert finding.where.startswith("run ") and "entry 1 (leaf " in finding.where
    assert finding.what == "this is not what was recorded"


@pytest.mark.parametrize("name", TAIL)
async def test_F10_a_cut_end_is_found_with_a_kept_checkpoint(name: str, tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.sql(*TAIL[name])
    assert made.verify(external=True).findings


async def test_F10_an_older_copy_of_the_whole_file_is_found_with_a_kept_checkpoint(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    shutil.copy(made.older, made.path)
    assert made.verify().findings == ()
    assert any("cut, or an older copy" in finding.what for finding in made.verify(external=True).findings)


async def test_F10_a_log_made_anew_with_another_key_is_found(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    other = Signer(tmp_path / "other-key")
    assert verify(made.path, [PublicKey(other.public)]).findings


@pytest.mark.parametrize("text", ["inh_5ec2e7", "", "inhabit-audit+00000000+5ec2e7", "a+b+5ec2e7=", "inhabit-audit"])
def test_a_file_that_is_no_key_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(InvalidInput, match="no public key of an audit log") as refused:
        PublicKey(text)
    assert "5ec2e7" not in str(refused.value) and "unpack" not in str(refused.value)


async def test_F10_a_forged_kept_checkpoint_is_refused(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    with pytest.raises(InvalidInput, match="no valid signature"):
        verify(made.path, [made.key], made.checkpoint.replace("at 1", "at 2"))
    with pytest.raises(InvalidInput, match="no checkpoint"):
        verify(made.path, [made.key], "hello")


async def test_a_page_that_was_overwritten_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    data = bytearray(made.path.read_bytes())
    for page in range(3, len(data) // 4096, 2):
        data[page * 4096:page * 4096 + 64] = b"\xff" * 64
    made.path.write_bytes(data)
    assert made.verify().findings


async def test_after_a_crash_the_log_goes_on_and_is_signed(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.sql(f"DELETE FROM audit_checkpoints WHERE size = {_SIGNED}")     # as if it had been killed before the last one
    store = Store.open(made.path)
    await filled(store, 20)
    await store.close()
    assert made.verify().findings == () and made.verify().unsigned == 0


async def test_F18_a_log_shorter_than_what_was_signed_refuses_to_start(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.sql(f"DELETE FROM entries WHERE run = 0 AND number = {_LAST_ROW}")
    with pytest.raises(Unavailable, match="audit log is damaged") as caught:
        Store.open(made.path)
    assert caught.value.specific_code == "audit_damaged"


async def test_a_journal_of_a_version_without_a_log_is_taken_into_one(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    made.sql("DELETE FROM entries WHERE run = 0", "DROP TABLE audit_notes", "DROP TABLE audit_checkpoints", "ALTER TABLE headers DROP COLUMN salt",
             "DROP TABLE conversations", "DROP TABLE conversations_cleared", "DROP TABLE token_revocations", "DROP TABLE passkeys", "DROP TABLE token_events",
             "PRAGMA user_version = 4")
    store = Store.open(made.path)
    await filled(store, 20)
    await store.close()
    found = made.verify()
    assert found.findings == () and found.runs == 13


async def test_the_key_is_for_its_owner_alone_and_not_in_the_database(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    key = tmp_path / "journal.db.audit-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes().splitlines()[1] not in made.path.read_bytes()


async def test_F17_a_restored_backup_says_so_and_is_found_with_a_kept_checkpoint(tmp_path: Path) -> None:
    made = await sample(tmp_path)
    Store.restore(made.older, made.path, now_ms=9)
    store = Store.open(made.path)
    await store.close()
    assert made.verify().findings == ()
    assert made.verify(external=True).findings
