"""The attacks that tests are named after, each in a few words, and what some of them wait for. `python -m tests.attacks.ids` prints
for each the tests that carry it; `--table` prints docs/attacks.md.

A test carries an id by its name (`test_C08_…`, `test_F04_F19_…`, `test_B04_to_B12_…`) or by the name of a case (`"A12_nested_sandbox": …`).
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TITLES = {
    "A": "Escape: from a program to the host", "B": "Resources", "C": "Exfiltration: data and credentials on their way out",
    "D": "The frames between worker and host", "E": "Confused deputies, and ways around the policy", "F": "Persistence, replay, rollback, audit",
}
WAITS = {
    "B26": "schedules", "B27": "agents", "C27": "the console: there is no viewer of logs yet", "C32": "the proxy of the Linux sandbox rung",
    "F13": "agents' memory; labels of conversations persist (E09)",
}
PARTLY = {
    "A18": "mounts of the Linux sandbox rung", "A19": "mounts of the Linux sandbox rung", "A24": "the Linux sandbox rung", "A25": "snapshots of suspended programs",
    "B23": "the Linux sandbox rung", "B24": "quotas of disk for a tenant", "C11": "the proxy: names in TLS of other processes",
    "C12": "the proxy: tunnels of other processes", "C21": "the proxy: placeholders for SDKs", "E21": "workspaces that an agent can write",
    "F14": "schedules and triggers",
}
"""Carried for what is built; the rest waits with this."""

_WORDS = """
A01 walk from a class to all classes
A02 attributes reached through format strings
A03 frames reached from an exception
A04 frames reached from a generator or coroutine
A05 exception groups that confuse types
A06 host exceptions caught in async generators
A07 promises whose then was replaced
A08 constructors of functions that the host lends
A09 host objects inside the errors of operations
A10 getters that call back while arguments are converted
A11 buffers resized in the middle of an operation
A12 a sandbox inside the sandbox, with looser limits
A13 imports of the whole standard library
A14 eval, exec and forged globals
A15 sources that crash parsers
A16 values nested without end
A17 a worker that sends malicious frames
A18 links that lead out of a mount
A19 paths in odd spellings
A20 /proc, /dev/shm and cgroups
A21 system calls outside of the profile
A22 descriptors that were inherited
A23 sockets through io_uring
A24 signals and ptrace to neighbours
A25 stored state that was tampered with
A26 clocks fine enough to measure caches
A27 control sequences for terminals
B01 an endless loop
B02 a loop that swallows every exception
B03 a loop in finally
B04 lists that fill the memory
B05 text that doubles
B06 text repeated without bound
B07 shifts of large integers
B08 powers of large integers
B09 large integers as text
B10 padding to an enormous width
B11 replacements that grow
B12 joins of a million parts
B13 regular expressions that backtrack
B14 JSON and schemas that explode
B15 compressed answers that unfold to gigabytes
B16 answers without end, or a byte at a time
B17 floods of output
B18 enormous exceptions
B19 floods of calls and of calls in flight
B20 limits that a suspension would reset
B21 limits left out, negative or not numbers
B22 sleeping or waiting for ever
B23 bombs of processes and threads
B24 full disks
B25 journals that swell
B26 floods of schedules
B27 agents that make agents
B28 garbage and hash collisions
B29 sessions opened and never used
B30 sources that are costly to compile
C01 a socket of one's own
C02 an empty allow-list
C03 NUL bytes in a host
C04 odd spellings of a host
C05 look-alike suffixes
C06 odd spellings of an address
C07 metadata services
C08 DNS rebinding
C09 redirects to other hosts
C10 open redirectors of an allowed host
C11 domain fronting
C12 CONNECT through a relay
C13 a kept connection with another host
C14 request smuggling
C15 endpoints that echo credentials
C16 placeholders in headers that are reflected
C17 placeholders in bodies, queries and paths
C18 credentials reflected in another encoding
C19 placeholders stored and read back
C20 another tenant's placeholder
C21 guessing placeholders
C22 one's own key on an allowed host
C23 data in names that are looked up
C24 data in what is allowed
C25 URLs made after private data was read
C26 URLs that somebody gave (control against blocking too much)
C27 images in a viewer of logs
C28 errors that tell internals
C29 certificates that do not fit
C30 the runtime's own port
C31 Unix sockets of the host
C32 other protocols on port 443
D01 lengths that lie
D02 a truncated frame
D03 half a frame, then death
D04 two frames in one piece
D05 a frame byte by byte
D06 unknown types of frames
D07 replies to no call
D08 a reply twice
D09 a reply to another run's call
D10 numbers of calls used again
D11 calls after the end
D12 results before the start
D13 two ends
D14 another's identity in a frame
D15 text and numbers that two sides read differently
D16 nesting
D17 values of another type
D18 cycles and host objects in arguments
D19 a worker that does not read
D20 output that looks like a frame
D21 random bytes and random sessions
D22 an old worker and a new host
E01 forged or borrowed capabilities
E02 grants that widen
E03 arguments that reach further than they look
E04 approving one call, running another
E05 what an approver is shown differs from what runs
E06 approvers made tired
E07 approving oneself
E08 many small actions in place of a large one
E09 labels washed off by storing
E10 labels washed off by a model
E11 flows through branches
E12 flows through errors, counts and time
E13 injected instructions that are obeyed
E14 tools that change after they were reviewed
E15 tokens passed on to another audience
E16 consent given for somebody else
E17 OAuth without state, PKCE, issuer or single use
E18 another tenant's ids
E19 another tenant's session or worker
E20 previews that act
E21 a policy file changed by those it binds
E22 a revocation raced by calls
E23 two parsers for policy and client
F01 killed at any moment
F02 killed between an effect and its record
F03 power lost
F04 no room at any write
F05 errors at any write
F06 clocks that jump
F07 two servers on one home
F08 replays that diverge
F09 replays that act
F10 records edited, removed, reordered or rolled back
F11 a rollback that fails in its middle
F12 a rollback over somebody else's change
F13 instructions left in memory
F14 triggers that outlive their grant
F15 secrets and erased data in files
F16 upgrades with sleeping runs
F17 backups put back
F18 a log removed or a page damaged
F19 a full disk under the audit log
"""
WORDS = dict(line.split(" ", 1) for line in _WORDS.split("\n") if line)
_ID = re.compile(r"(?<![A-Za-z0-9])([A-F]\d\d)(?=_|\b)")
_RANGE = re.compile(r"([A-F])(\d\d)_to_\1(\d\d)")


def ids_in(name: str) -> set[str]:
    spread = {f"{kind}{n:02}" for kind, first, last in _RANGE.findall(name) for n in range(int(first), int(last) + 1)}
    return spread | set(_ID.findall(name.replace("_", " ")))


def carriers() -> dict[str, list[str]]:
    """Id → `file::test` or `file::case`."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("*.py")):
        if path.name == "ids.py" or path.parent.name == "switches":
            continue
        for name in _named(ast.parse(path.read_text())):
            for one in ids_in(name):
                found[one].append(f"{path.relative_to(TESTS.parent)}::{name}")
    return found


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[A-F]\d\d_\w+", node.value):
            yield node.value


def table() -> str:
    """docs/attacks.md. It names no tests, so that it changes with the ids alone."""
    page = ["# Attacks", "", "The tests of Inhabit carry the ids of these attacks in their names: `pytest -k C08` runs what holds one,",
            "`python -m tests.attacks.ids` lists which test carries which. The list is made by `python -m tests.attacks.ids --table`, and a",
            "test fails for an id that nothing carries and nothing waits for, and for a test with an id that is not in it."]
    for kind, title in TITLES.items():
        page += ["", f"## {title}", "", "| id | attack | |", "|---|---|---|"]
        page += [f"| {one} | {words} | {_state(one)} |" for one, words in WORDS.items() if one[0] == kind]
    return "\n".join(page) + "\n"


def _state(one: str) -> str:
    return f"waits with {WAITS[one]}" if one in WAITS else f"tested; waits with {PARTLY[one]}" if one in PARTLY else "tested"


def main() -> None:
    if "--table" in sys.argv:
        sys.stdout.write(table())
        return
    found = carriers()
    for one, words in WORDS.items():
        sys.stdout.write(f"{one} {words}: {_state(one)}\n" + "".join(f"    {name}\n" for name in found.get(one, ())))


if __name__ == "__main__":
    main()
