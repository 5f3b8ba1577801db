"""Folders on disk: that a file is there is an entry of its folder, and durable only once the folder is synced."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["made", "synced"]


def made(folder: Path) -> None:
    """The folder, its owner's alone; itself and the parents that were missing are on disk when this returns."""
    missing = [folder, *folder.parents]
    missing = missing[:next((at for at, there in enumerate(missing) if there.is_dir()), len(missing))]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in missing:
        synced(one.parent)


def synced(path: Path) -> None:
    """What was made, renamed or removed in a folder, or written to a file, is so on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
