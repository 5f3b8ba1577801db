"""Compiled images on disk, believed only when nobody else could have written them.

Deserialising a compiled image is running code. So an image is loaded only from a directory of our own user with
mode 0700, as a regular file of our own user that no one else may write, whose SHA-256 equals the one written
beside it by the build. Whoever can forge all of that already runs as us.

Stored: `engine-images/NAME.image` and `engine-images/NAME.sha256` in the cache directory; NAME carries a hash of
everything that went into the image. Images of other versions stay, for starts of those; whenever one is added, the least
recently used beyond the bounds go. Whoever misses one makes it again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inhabit.errors import Unavailable

__all__ = ["MAX_IMAGES", "MAX_IMAGE_BYTES", "ImageCache", "cpu"]

MAX_IMAGES = 12
"""Two a version and machine; several checkouts and versions share a user's folder."""
MAX_IMAGE_BYTES = 512 * 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


def cpu() -> bytes:
    """What a compiled image takes for granted of the machine it runs on."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        flags = ""
    return f"{platform.system()} {platform.machine()} {' '.join(sorted(flags.split()))}".encode()


@dataclass(frozen=True, slots=True)
class ImageCache:
    """The images inside the cache directory `root`."""

    root: Path

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The image `name`, made and kept first if it is not there or was cut short. Raises `Unavailable`."""
        folder = self.root / "engine-images"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            data = _read(folder, name)
            if data is None:
                data = make()   # returned as made: another process may be writing the same image, and its pair may be half there
                _write(folder, name, data)
                _tidy(folder, name)
        except OSError as error:
            raise Unavailable(f"the engine image cannot be kept in {folder}: {error.strerror or error}",
                              fix="make room on that disk: an image has some megabytes" if error.errno in _FULL
                              else "give a writable cache directory") from error
        return data


    def kept(self) -> tuple[int, int]:
        """How many images there are, and their bytes."""
        sizes = [info.st_size for _, info in _images(self.root / "engine-images")]
        return len(sizes), sum(sizes)


def _images(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """The least recently used first."""
    found: list[tuple[Path, os.stat_result]] = []
    for path in folder.glob("*.image"):
        with suppress(FileNotFoundError):   # another process tidies too
            found.append((path, path.lstat()))
    return sorted(found, key=lambda image: image[1].st_mtime)


def _tidy(folder: Path, name: str) -> None:
    images = _images(folder)
    count, size = len(images), sum(info.st_size for _, info in images)
    for path, info in images:
        if count <= MAX_IMAGES and size <= MAX_IMAGE_BYTES:
            return
        if path.stem != name:
            path.unlink(missing_ok=True)
            path.with_suffix(".sha256").unlink(missing_ok=True)
            count, size = count - 1, size - info.st_size


def _write(folder: Path, name: str, data: bytes) -> None:
    """Write `name` and its digest so that a reader sees all of it or nothing."""
    for suffix, content in ((".image", data), (".sha256", hashlib.sha256(data).hexdigest().encode())):
        handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(path, folder / (name + suffix))
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise


def _read(folder: Path, name: str) -> bytes | None:
    """The image, or None when there is none or it was cut short. Raises `Unavailable` when others could have written it."""
    try:
        _own(folder, directory=True)
        data = _read_own(folder / (name + ".image"))
        digest = _read_own(folder / (name + ".sha256"))
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest().encode() != digest:
        return None
    with suppress(OSError):
        os.utime(folder / (name + ".image"))   # the least recently used goes first
    return data


def _own(path: Path, *, directory: bool) -> None:
    info = path.lstat()
    right_kind = stat.S_ISDIR(info.st_mode) if directory else stat.S_ISREG(info.st_mode)
    forbidden = 0o077 if directory else 0o022
    if not right_kind or info.st_uid != os.geteuid() or info.st_mode & forbidden:
        raise Unavailable(f"the compiled engine image at {path} could have been written by others; it is not loaded",
                          fix=f"make {path} yours alone (chmod {'700' if directory else '600'}) or give another cache directory")


def _read_own(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            _own(path, directory=False)
        return file.read()
