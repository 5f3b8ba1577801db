"""Secrets: wherever they are kept, a new value counts without a restart, and none prints itself."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from inhabit.contracts.connector import Secret
from inhabit.errors import ConfigError, InvalidInput, Unavailable
from inhabit.store.sealed import MAX_SECRET_BYTES, SealedSecrets
from inhabit.store.secrets import FRESH_S, STALE_S, CommandSecrets, EnvironmentSecrets, KeyringSecrets

VALUE = "sk-live-4f1c0a"


def revealed(secret: Secret | None) -> str | None:
    return secret.reveal() if secret is not None else None


def sealed(folder: Path) -> SealedSecrets:
    return SealedSecrets(folder / "secrets.sealed", folder / "secrets.key")


def test_the_environments_own_name_goes_before_the_bare_one() -> None:
    environment = {"KEY": "bare"}
    kept = EnvironmentSecrets(environment)
    assert revealed(kept.get("KEY")) == "bare"
    environment["INHABIT_SECRET_KEY"] = "own"
    assert revealed(kept.get("KEY")) == "own"
    assert kept.get("OTHER") is None


def test_a_sealed_secret_comes_back_and_lies_nowhere_in_the_clear(tmp_path: Path) -> None:
    sealed(tmp_path).put("KEY", Secret(VALUE))
    assert revealed(sealed(tmp_path).get("KEY")) == VALUE
    assert all(VALUE.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_rotated_or_removed_one_counts_at_the_next_use(tmp_path: Path) -> None:
    reader = sealed(tmp_path)
    assert reader.get("KEY") is None
    for value in ("one", "two"):
        sealed(tmp_path).put("KEY", Secret(value))
        assert revealed(reader.get("KEY")) == value
    assert sealed(tmp_path).remove("KEY") and not sealed(tmp_path).remove("KEY")
    assert reader.get("KEY") is None


def test_A25_a_sealed_value_put_under_another_name_is_not_opened(tmp_path: Path) -> None:
    sealed(tmp_path).put("HARMLESS", Secret(VALUE))
    path = tmp_path / "secrets.sealed"
    path.write_bytes(path.read_bytes().replace(b"HARMLESS", b"PAYMENTS"))
    with pytest.raises(Unavailable, match="PAYMENTS") as caught:
        sealed(tmp_path).get("PAYMENTS")
    assert VALUE not in str(caught.value)


def test_another_key_opens_nothing_and_an_open_key_file_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path).put("KEY", Secret(VALUE))
    key = tmp_path / "secrets.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(Unavailable, match=r"secrets\.key"):
        sealed(tmp_path).get("KEY")
    sealed(tmp_path).put("OTHER", Secret("x"))
    with pytest.raises(Unavailable, match="KEY"):
        sealed(tmp_path).get("KEY")
    key.write_bytes(kept)
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        sealed(tmp_path).get("KEY")


@pytest.mark.parametrize(("name", "value"), [("a-b", "x"), ("", "x"), ("../x", "x"), ("KEY", ""), ("KEY", "x" * (MAX_SECRET_BYTES + 1))])
def test_what_cannot_be_kept_is_refused(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        sealed(tmp_path).put(name, Secret(value))


def test_two_that_set_at_once_lose_nothing(tmp_path: Path) -> None:
    threads = [threading.Thread(target=lambda n=n: sealed(tmp_path).put(f"KEY_{n}", Secret(str(n)))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sealed(tmp_path).names()) == 16
    assert revealed(sealed(tmp_path).get("KEY_7")) == "7"


def command(source: str, **more: float) -> CommandSecrets:
    return CommandSecrets([sys.executable, "-c", source, "{name}"], **more)


def test_a_command_is_given_the_name_and_no_shell() -> None:
    assert revealed(command("import sys; print(sys.argv[1:])").get("KEY")) == "['KEY']"
    assert revealed(CommandSecrets(["/bin/echo", "$(id) `id` {name}"]).get("KEY")) == "$(id) `id` KEY"


@pytest.mark.parametrize("source", ["import sys; print('part'); sys.exit(1)", f"print('x' * {MAX_SECRET_BYTES + 10})", "pass", "import sys; sys.stdout.buffer.write(b'\\xff')"])
def test_a_command_that_fails_gives_nothing(source: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert command(source).get("KEY") is None
    assert "part" not in caplog.text and "xxx" not in caplog.text


def test_a_command_that_hangs_is_killed_with_what_it_started() -> None:
    hangs = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    assert command(hangs, timeout_s=0.5).get("KEY") is None
    assert CommandSecrets(["/no/such/program", "{name}"]).get("KEY") is None
    with pytest.raises(ConfigError, match="where the name goes"):
        CommandSecrets(["pass", "show"])


def test_a_commands_answer_is_kept_for_a_while_and_dropped_when_it_is_gone(tmp_path: Path) -> None:
    place, now = tmp_path / "value", [100.0]
    place.write_text("one")
    kept = CommandSecrets(["/bin/sh", "-c", f"cat {place}", "{name}"], fresh_s=30, clock=lambda: now[0])
    assert revealed(kept.get("KEY")) == "one"
    place.write_text("two")
    assert revealed(kept.get("KEY")) == "one"
    now[0] += 31
    assert _settled(kept, "two") == "two"
    place.unlink()
    now[0] += 31
    assert _settled(kept, None) is None


def _settled(kept: CommandSecrets, wanted: str | None) -> str | None:
    """The answer once the asking beside has ended."""
    for _ in range(50):
        if revealed(kept.get("KEY")) == wanted:
            break
        for thread in threading.enumerate():
            if thread.name == "inhabit-secret":
                thread.join()
    return revealed(kept.get("KEY"))


def test_the_keyring_is_asked_under_our_name(monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[tuple[str, str], str] = {}
    fake = types.ModuleType("keyring")
    fake.get_password = lambda service, name: held.get((service, name))      # type: ignore[attr-defined]
    fake.set_password = lambda service, name, value: held.update({(service, name): value})      # type: ignore[attr-defined]
    fake.delete_password = lambda service, name: held.pop((service, name))      # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", fake)
    kept = KeyringSecrets()
    kept.put("KEY", Secret(VALUE))
    assert held == {("inhabit", "KEY"): VALUE} and revealed(kept.get("KEY")) == VALUE
    assert kept.remove("KEY") and not kept.remove("KEY")


class Hanging(types.ModuleType):
    """A keyring that waits for somebody to unlock it."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.unlocked = threading.Event()
        self.asked = 0

    def get_password(self, _service: str, _name: str) -> str:
        self.asked += 1
        assert self.unlocked.wait(60)
        return VALUE


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    keyring = Hanging()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    yield keyring
    keyring.unlocked.set()
    for thread in threading.enumerate():
        if thread.name == "inhabit-secret":
            thread.join()


async def test_B22_a_keyring_that_hangs_holds_neither_the_loop_nor_the_caller(hanging: Hanging) -> None:
    kept = KeyringSecrets(timeout_s=0.3)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(others())
    waiting = await asyncio.wait_for(asyncio.gather(*(kept.resolve("KEY") for _ in range(50)), return_exceptions=True), 30)
    going.cancel()
    assert {type(one) for one in waiting} == {Unavailable} and "KEY" in str(waiting[0])
    assert turns > 50 and hanging.asked == 1        # the loop went on, and of fifty one asked
    with pytest.raises(Unavailable, match="has not answered"):
        kept.get("KEY")
    hanging.unlocked.set()
    assert revealed(await kept.resolve("KEY")) == VALUE


async def test_B22_names_that_hang_take_a_bounded_number_of_threads(hanging: Hanging) -> None:
    kept = KeyringSecrets(timeout_s=0.05)
    results = await asyncio.gather(*(kept.resolve(f"KEY_{n}") for n in range(200)), return_exceptions=True)
    assert {type(one) for one in results} == {Unavailable}
    assert sum(thread.name == "inhabit-secret" for thread in threading.enumerate()) <= 16


async def test_a_kept_value_counts_while_the_place_hangs_but_not_for_ever(monkeypatch: pytest.MonkeyPatch, hanging: Hanging) -> None:
    now = [1_000.0]
    kept = KeyringSecrets(timeout_s=0.05, clock=lambda: now[0])
    hanging.unlocked.set()
    assert revealed(await kept.resolve("KEY")) == VALUE
    hanging.unlocked.clear()
    now[0] += FRESH_S + 1
    assert revealed(await kept.resolve("KEY")) == VALUE
    now[0] += STALE_S
    with pytest.raises(Unavailable, match="KEY"):
        await kept.resolve("KEY")


def test_without_the_library_the_fix_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError) as caught:
        KeyringSecrets()
    assert "inhabit[keyring]" in (caught.value.fix or "")
