"""The command line: parse, call, print. Each command is a module with `add_arguments` and `run`.

Only the module of the command that was asked for is loaded (`loading`), so that `inhabit runs` does not pay for the
HTTP server, and what opens an app only where there is no server to ask.

Exit codes: 0 done · 1 the program or the check failed · 2 wrong arguments, configuration or program ·
3 there is no such thing · 4 not allowed · 5 something needed is not there (port, folder, jail layer, server) ·
6 a rollback is done, and something that the run wrote still stands · 70 a fault in Inhabit itself · 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from inhabit.cli.loading import load
from inhabit.cli.terminal import complain
from inhabit.errors import Denied, InhabitError, InvalidInput, NotFound, Unavailable, WorkerLost

__all__ = ["COMMANDS", "main"]

_log = logging.getLogger(__name__)

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "serve HTTP and MCP"),
    "mcp": ("mcp", "serve MCP on stdin and stdout, for an agent that starts it"),
    "run": ("run", "run a program from a file or stdin"),
    "search": ("search", "find operations"),
    "describe": ("describe", "show the declarations of operations by name"),
    "runs": ("runs", "list, show, follow or cancel runs"),
    "approvals": ("approvals", "list or show calls that wait for a person"),
    "approve": ("approve", "approve a call that waits"),
    "reject": ("reject", "reject a call that waits"),
    "settle": ("settle", "say whether a call took effect of which nobody knows it"),
    "plan": ("plan", "show what a plan would write, or drop it"),
    "apply": ("apply", "do what a plan shows"),
    "rollback": ("rollback", "undo what a run wrote"),
    "replay": ("replay", "execute a recorded run again, with nothing behind it, and compare"),
    "doctor": ("doctor", "check jail layers, engines, home and journal"),
    "init": ("init", "write an inhabit.toml, also from an .mcp.json"),
    "connect": ("connect", "store a credential for a source"),
    "effects": ("effects", "review what operations are taken to do"),
    "labels": ("labels", "what conversations have read; take their labels off"),
    "policy": ("policy", "check, test, explain and back-test a policy; suggest one"),
    "token": ("token", "create, list, revoke or narrow bearer tokens"),
    "secrets": ("secrets", "set, list or remove the credentials that the configuration names"),
    "audit": ("audit", "prove, export or erase what was recorded"),
    "backup": ("backup", "copy all stores, also while they are in use"),
    "restore": ("restore", "put a backup in place"),
    "bench": ("bench", "run the benchmarks of a checkout"),
    "demo": ("demo", "a shop, three programs, and a server to look around in"),
}
_EXITS: tuple[tuple[type[InhabitError], int], ...] = (
    (InvalidInput, 2), (NotFound, 3), (Denied, 4), (Unavailable, 5), (WorkerLost, 5))
_OS_FIXES = {
    errno.EADDRINUSE: "another program uses it: stop that, or take another with --port",
    errno.EACCES: "take a folder that you may write, with --home",
    errno.ENOTDIR: "a part of that path is a file, not a folder: take another",
    errno.EROFS: "the file system is read-only: take another folder with --home",
    errno.ENOSPC: "the disk is full: make room, then start again; nothing acknowledged is lost",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        print(f"inhabit {version('inhabit')}")
        return 0
    if given[0] not in COMMANDS:
        complain(f"inhabit: there is no command {given[0]!r}; it is one of {', '.join(COMMANDS)}")
        return 2
    return _run(given[0], given[1:])


def _run(command: str, given: list[str]) -> int:
    module = load(COMMANDS[command][0])
    parser = _Parser(prog=f"inhabit {command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args(given)))
    except InhabitError as error:
        complain(f"inhabit: {error.message}" + (f" ({error.fix})" if error.fix else ""))
        return next((code for kind, code in _EXITS if isinstance(error, kind)), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: `inhabit runs list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fix = _OS_FIXES.get(error.errno or 0)
        complain(f"inhabit: {where}{error.strerror or error}" + (f" ({fix})" if fix else ""))
        return 5
    except Exception as error:
        _log.debug("inhabit %s failed", command, exc_info=error)
        if os.environ.get("INHABIT_DEBUG"):
            raise
        complain(f"inhabit: {type(error).__name__}: {error} (a fault in Inhabit; INHABIT_DEBUG=1 shows where)")
        return 70


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all other errors are said; the parsers of a command's actions are of its kind."""

    def error(self, message: str) -> NoReturn:
        complain(f"inhabit: {message} ({self.prog} --help)")
        raise SystemExit(2)


def _usage() -> str:
    lines = [f"  {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    return "usage: inhabit COMMAND [options]\n\n" + "\n".join(lines) + "\n\n`inhabit COMMAND --help` shows a command's options."
