"""Landlock: no file, no port, no signal or abstract socket outside; what a kernel's version knows of it, all handled."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from inhabit.isolates.jail.system import syscall

__all__ = ["restrict", "version"]

_ASK_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE_AND_READ = 1 << 0 | 1 << 2
# access rights on files known from each version on: (version, number of lowest bits)
_FILE_RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
_NETWORK_FROM, _NETWORK_RIGHTS = 4, 0b11        # bind and connect of TCP
_SCOPES_FROM, _SCOPES = 6, 0b11                 # abstract unix sockets, signals


def version() -> int:
    """The kernel's Landlock version. Raises `OSError` where it has none or was booted without it."""
    return syscall("landlock_create_ruleset", 0, 0, _ASK_VERSION)


def restrict(executables: Sequence[str] = ()) -> None:
    """Deny everything this kernel's Landlock can deny, to this thread and all it starts.

    `executables`: files that may still be read and executed, and nothing else be done with. Needs
    no_new_privileges. Raises `OSError`.
    """
    known = version()
    files = (1 << max(bits for since, bits in _FILE_RIGHTS if known >= since)) - 1
    network = _NETWORK_RIGHTS if known >= _NETWORK_FROM else 0
    scopes = _SCOPES if known >= _SCOPES_FROM else 0
    attributes = struct.pack("<QQQ", files, network, scopes)
    size = 24 if known >= _SCOPES_FROM else 16 if known >= _NETWORK_FROM else 8
    ruleset = syscall("landlock_create_ruleset", ctypes.c_char_p(attributes), size, 0)
    try:
        for path in executables:
            _allow(ruleset, path)
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("<Qi", _EXECUTE_AND_READ, descriptor)
        syscall("landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(descriptor)
