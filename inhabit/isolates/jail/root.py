"""An empty, read-only root: no /proc, no /dev, no file of the host; for an engine with a child, its few files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from inhabit.isolates.jail.system import (
    MNT_DETACH,
    MS_BIND,
    MS_NOSUID_NODEV,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
    pivot_root,
    umount,
)

__all__ = ["enter_empty_root", "libraries_of"]

_STAGE = "/tmp"      # hidden below the new root while it is made, gone with the old one after
_OPTIONS = "size=64k,nr_inodes=256,mode=755"


def enter_empty_root(files: Sequence[str], *, has_mounts: bool) -> None:
    """Leave the host's tree for a tmpfs of this mount namespace. `files` stay, read-only, at their own paths.
    Raises `OSError`."""
    if not has_mounts:
        raise OSError("needs the mount namespace")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in files}   # the stage may hide them
    mount("none", _STAGE, "tmpfs", MS_NOSUID_NODEV, _OPTIONS)
    for path, source in sources.items():
        target = _STAGE + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o555))
        mount(f"/proc/self/fd/{source}", target, "", MS_BIND)
        os.close(source)
    os.chdir(_STAGE)
    pivot_root(".", ".")
    umount(".", MNT_DETACH)
    os.chdir("/")
    mount("none", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID_NODEV)


def libraries_of(executable: str) -> tuple[str, ...]:
    """The shared objects that the loader maps for `executable`, as it names them; none for a static one."""
    pipe_read, pipe_write = os.pipe()
    pid = os.posix_spawn(executable, [executable], {"LD_TRACE_LOADED_OBJECTS": "1"},
                         file_actions=[(os.POSIX_SPAWN_DUP2, pipe_write, 1), (os.POSIX_SPAWN_CLOSE, pipe_read)])
    os.close(pipe_write)
    with os.fdopen(pipe_read, "rb") as out:
        listing = out.read().decode()
    os.waitpid(pid, 0)
    words = [word for line in listing.splitlines() for word in line.split() if word.startswith("/")]
    return tuple(dict.fromkeys(words))
