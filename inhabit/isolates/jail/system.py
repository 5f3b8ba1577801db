"""The Linux calls that Python has no name for, through ctypes. Each raises `OSError` with the call's name."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

__all__ = [
    "MNT_DETACH", "MS_BIND", "MS_NOSUID_NODEV", "MS_PRIVATE", "MS_RDONLY", "MS_REC", "MS_REMOUNT", "NEWIPC", "NEWNET",
    "NEWNS", "NEWPID", "NEWUSER", "NEWUTS", "PR_SET_CHILD_SUBREAPER", "PR_SET_DUMPABLE", "PR_SET_NO_NEW_PRIVS",
    "PR_SET_PDEATHSIG", "capability_count", "drop_capabilities", "machine", "mount", "pivot_root", "prctl", "syscall",
    "umount", "unshare",
]

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2 | 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES = 64   # more than any kernel has; the kernel says which exist

_NUMBERS = {   # where Python or glibc has no wrapper: (x86_64, aarch64)
    "pivot_root": (155, 41), "capset": (126, 91), "capget": (125, 90), "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
}

_libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def machine() -> str:
    """`x86_64`, `aarch64`, or "" on a system that this room has no tables for."""
    name = platform.machine().lower().replace("arm64", "aarch64")
    return name if sys.platform == "linux" and name in {"x86_64", "aarch64"} else ""


def _call(name: str, *arguments: object) -> int:
    if _libc is None:   # pyright: ignore[reportUnnecessaryComparison]
        raise OSError(38, f"{name}: not Linux")
    ctypes.set_errno(0)
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def syscall(name: str, *arguments: object) -> int:
    which = {"x86_64": 0, "aarch64": 1}.get(machine())
    if which is None:
        raise OSError(38, f"{name}: no number known for this machine")
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    try:
        return _call("syscall", ctypes.c_long(_NUMBERS[name][which]), *words)
    except OSError as error:
        raise OSError(error.errno, f"{name}: {os.strerror(error.errno or 0)}") from None


def unshare(flags: int) -> None:
    _call("unshare", ctypes.c_int(flags))


def prctl(option: int, value: int = 0, extra: int = 0) -> int:
    return _call("prctl", ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(extra), ctypes.c_ulong(0), ctypes.c_ulong(0))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)


def umount(target: str, flags: int) -> None:
    _call("umount2", target.encode(), ctypes.c_int(flags))


def pivot_root(new: str, old: str) -> None:
    syscall("pivot_root", ctypes.c_char_p(new.encode()), ctypes.c_char_p(old.encode()))


def drop_capabilities() -> None:
    """Bounding, ambient, effective, permitted and inheritable sets: all empty, for this thread and what it starts."""
    for capability in range(_CAPABILITIES):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:   # past the last one, or not ours to drop: the sets below are what counts
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    syscall("capset", (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)())


def capability_count() -> int:
    """How many capabilities this thread holds or may take."""
    sets = (ctypes.c_uint32 * 6)()
    syscall("capget", (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), sets)
    return sum(int(word).bit_count() for word in sets)
