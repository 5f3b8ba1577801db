"""Python code that is only to say what it would do: it opens no socket, starts no process and changes no file.

The interpreter tells an audit hook of each such step before it happens, and the hook refuses it where the code, or what it
awaits, or a thread it starts with `asyncio.to_thread`, is a preview. It watches honest code with a mistake in it. It does not hold
code that means to get around it: extensions in C, bytes sent on a connection that was open before (a database's,
a pooled HTTP client's) and threads without the caller's context are not seen.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from inhabit.errors import CallError

__all__ = ["still_async", "still_sync"]

_STILL = contextvars.ContextVar("inhabit_still", default=False)
_REFUSED = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.remove", "os.rename", "os.rmdir", "os.mkdir",
            "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.kill", "os.putenv", "os.unsetenv", "shutil.",
            "sqlite3.connect", "urllib.", "smtplib.", "ftplib.", "ctypes.dlopen")
_HARMLESS = frozenset({"socket.gethostname"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


async def still_async(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Raises `CallError` where the code tries to do something."""
    _watch()
    context = contextvars.copy_context()
    context.run(_STILL.set, True)
    return await asyncio.get_running_loop().create_task(function(), context=context)


def still_sync(function: Callable[[], Any]) -> Callable[[], Any]:
    """The same for a function, to be called in a thread."""
    _watch()
    context = contextvars.copy_context()
    return lambda: context.run(_quietly, function)


def _quietly(function: Callable[[], Any]) -> Any:
    _STILL.set(True)
    return function()


@cache
def _watch() -> None:
    """Hooks stay for as long as the process does, and cost each audited step a little: none is added before it is needed."""
    sys.addaudithook(_refuse)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(args[2], int) and args[2] & _WRITING
    if (writes or (event.startswith(_REFUSED) and event not in _HARMLESS)) and _STILL.get():
        raise CallError(f"a preview has no way out and nothing to write with: {event}", code="preview_side_effect", effect="none",
                        fix="let the preview only compute and read what is there")
