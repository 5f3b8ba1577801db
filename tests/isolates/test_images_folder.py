"""One folder of compiled images a user, believed only when it is the user's own; else the home's cache serves."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from inhabit.errors import Unavailable
from inhabit.isolates.javascript import cache
from inhabit.isolates.javascript.cache import ImageCache
from inhabit.isolates.pool import WorkerPool
from inhabit.isolates.pool.images import images_folder
from inhabit.limits import Limits


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches"


def test_it_is_made_for_this_user_alone(caches: Path, tmp_path: Path) -> None:
    assert images_folder(tmp_path / "home") == caches / "inhabit"
    assert (caches / "inhabit").stat().st_mode & 0o777 == 0o700


def test_without_xdg_it_lies_under_the_user_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        assert images_folder(tmp_path / "home") == tmp_path / ".cache" / "inhabit"
    monkeypatch.delenv("HOME")
    assert images_folder(tmp_path / "home") == tmp_path / "home"


@pytest.mark.parametrize("spoilt", ["mode", "link", "file", "owner"])
def test_A25_one_that_others_could_have_written_is_not_used(caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    folder = caches / "inhabit"
    caches.mkdir()
    if spoilt == "file":
        folder.write_text("")
    elif spoilt == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o700)
        if spoilt == "mode":
            folder.chmod(0o750)
        else:
            us = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    assert images_folder(tmp_path / "home") == tmp_path / "home"


def test_one_that_cannot_be_made_leaves_the_home_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "caches"))
    assert images_folder(tmp_path / "home") == tmp_path / "home"


async def test_a_second_home_finds_what_the_first_compiled(caches: Path, tmp_path: Path) -> None:
    kept: list[dict[str, int]] = []
    for home in ("one", "two"):
        pool = WorkerPool(tmp_path / home)
        await pool.start()
        try:
            await (await pool.acquire("typescript", "default", Limits())).close()
        finally:
            await pool.close()
        assert not (tmp_path / home).exists()
        kept.append({file.name: file.stat().st_ino for file in (caches / "inhabit" / "engine-images").iterdir()})
    assert kept[0] == kept[1] and len([name for name in kept[0] if name.endswith(".image")]) == 2


def test_a_full_disk_says_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left") as caught:
        ImageCache(tmp_path).get("engine", lambda: b"image")
    assert "make room" in (caught.value.fix or "")
    assert [file.name for file in (tmp_path / "engine-images").iterdir()] == []


def test_images_of_other_versions_stay_within_bounds_and_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_IMAGES", 3)
    monkeypatch.setattr(cache, "MAX_IMAGE_BYTES", 2_000)
    images = ImageCache(tmp_path)
    for number, name in enumerate(("old", "older", "used")):
        images.get(name, lambda: b"x" * 10)
        os.utime(tmp_path / "engine-images" / f"{name}.image", (1_000 - number, 1_000 - number))
    images.get("used", lambda: pytest.fail("it is there"))
    images.get("new", lambda: b"x" * 10)
    assert sorted(path.name for path in (tmp_path / "engine-images").iterdir()) == sorted(
        f"{name}.{end}" for name in ("old", "used", "new") for end in ("image", "sha256"))
    images.get("large", lambda: b"x" * 1_985)
    assert images.kept() == (2, 1_995) and images.get("large", lambda: b"again") == b"x" * 1_985
    images.get("too large", lambda: b"x" * 3_000)     # the one that is needed stays
    assert images.kept() == (1, 3_000)
