"""Where compiled engine images are kept: once a user, so that a new home does not compile them again.

`$XDG_CACHE_HOME/inhabit`, else `~/.cache/inhabit`: a folder of our own user with mode 0700, made when it is missing. Where
there is none that can be written and that nobody else could have written, the home's own cache serves. What lies in it is
named by a hash of all that goes into an image, wasmtime's version and the CPU's features among it, and is believed only
with its SHA-256 beside it; it may be deleted at any time. Images of other versions stay within bounds (`ImageCache`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["images_folder"]


def images_folder(home_cache: Path) -> Path:
    """The user's own folder, else `home_cache`."""
    base = _cache_home()
    if base is None:
        return home_cache
    folder = base / "inhabit"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError:
        return home_cache
    ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077
    return folder if ours and os.access(folder, os.R_OK | os.W_OK | os.X_OK) else home_cache


def _cache_home() -> Path | None:
    """None where the environment names no absolute folder: a service often has no home."""
    named, home = os.environ.get("XDG_CACHE_HOME", ""), os.environ.get("HOME", "")
    if os.path.isabs(named):
        return Path(named)
    return Path(home) / ".cache" if os.path.isabs(home) else None
