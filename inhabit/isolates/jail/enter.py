"""How a process is born into the jail. One way, one order; every step says whether it held.

    zygote ──fork──▶ A: own uid, fewer descriptors, new namespaces ──fork──▶ B: first process of its namespaces
                     A ends, the zygote adopts B (and learns its pid from A)
    B: dies with the zygote · empty read-only root · resource limits · no capabilities · no new privileges
       · not dumpable · [an engine's child is spawned here, under a first filter and a first Landlock]
       · Landlock with nothing allowed · [an engine's thread is started here] · the serving filter

Invariants: nothing a guest wrote is read before the last step; no step is undone; a step that fails is reported
as a missing layer, and the steps after it are still taken. Whether that is good enough is the host's to judge.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from inhabit.isolates.jail.landlock import restrict as restrict_files
from inhabit.isolates.jail.policy import LAYERS, JailPolicy, Layer
from inhabit.isolates.jail.root import enter_empty_root
from inhabit.isolates.jail.seccomp import SERVING, SPAWNED, SPAWNING, install
from inhabit.isolates.jail.system import (
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    capability_count,
    drop_capabilities,
    prctl,
    unshare,
)

__all__ = ["Entrance", "Jail", "die_with_parent", "open_descriptors"]

_NAMESPACES = {
    "user_namespace": NEWUSER, "pid_namespace": NEWPID, "mount_namespace": NEWNS,
    "network_namespace": NEWNET, "ipc_namespace": NEWIPC, "uts_namespace": NEWUTS,
}
_FIRST_UID = 1_900_000_000   # of a range that no distribution and no container manager gives to anyone
_UIDS = 65_536
_INNER_ID = 1000             # not 0: an execve must not bring capabilities back
_NPROC_SERVING, _NPROC_SPAWNING = 1, 48
_NOFILE_SERVING, _NOFILE_SPAWNING = 32, 128


@dataclass(slots=True)
class Entrance:
    """What came of each layer, while a process goes in."""

    policy: JailPolicy
    failures: dict[str, str] = field(default_factory=dict[str, str])
    done: set[str] = field(default_factory=set[str])

    @contextmanager
    def layer(self, name: str) -> Generator[bool]:
        """Take one step, if it is not off. Yields whether to."""
        if name in self.policy.off:
            self.failures[name] = "switched off"
            yield False
            return
        try:
            yield True
        except OSError as error:
            self.failures[name] = error.strerror or str(error)
        else:
            self.done.add(name)

    def layers(self) -> tuple[Layer, ...]:
        return tuple(Layer(name, name in self.done, self.failures.get(name, "" if name in self.done else "not reached"),
                           "" if name in self.done else fix) for name, fix in LAYERS.items() if name != "kill_timer")


class Jail:
    """Made in the zygote, once. `executables`: files that an engine's child needs, its libraries included."""

    def __init__(self, policy: JailPolicy, executables: Sequence[str] = ()) -> None:
        self.policy = policy
        self.executables = tuple(executables)
        self._uid = _first_uid(self.executables)
        self._count = 0
        if sys.platform == "linux":
            prctl(PR_SET_CHILD_SUBREAPER, 1)

    def fork(self, keep: frozenset[int], serve: Callable[[Entrance], None]) -> int:
        """A new process that enters as far as `open_namespaces` and then runs `serve`, which goes on with `confine`.
        `keep`: descriptors it inherits beside 0-2. Returns its pid. Raises `OSError`.
        """
        self._count += 1
        pid_read, pid_write = os.pipe()
        gate_read, gate_write = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.close(pid_read)
            os.close(gate_write)
            self._middle(keep | {pid_write, gate_read}, pid_write, gate_read, serve)
        os.close(pid_write)
        os.close(gate_read)
        try:
            told = os.read(pid_read, 32)
            os.waitpid(middle, 0)     # from here on the worker is this process's own child
        finally:
            os.close(pid_read)
            os.close(gate_write)      # and may go on
        if not told:
            raise OSError("the worker's first half died")
        return int(told)

    def _middle(self, keep: frozenset[int], pid_write: int, gate_read: int, serve: Callable[[Entrance], None]) -> None:
        entrance = Entrance(self.policy)
        child = -1
        try:
            os.dup2(0, 2)   # the server's own error stream stays the server's
            with entrance.layer("one_descriptor") as wanted:
                if wanted:
                    _close_all_but(keep)
            self._take_own_uid()
            self.open_namespaces(entrance)
            child = os.fork()
            if child == 0:
                os.close(pid_write)
                os.read(gate_read, 1)
                os.close(gate_read)
                serve(entrance)
            else:
                os.write(pid_write, str(child).encode())
        finally:
            os._exit(0 if child else 1)

    def _take_own_uid(self) -> None:
        """A uid of its own, where the zygote is root: neighbours may not signal it, and process limits count."""
        if self._uid is None:
            return
        uid = self._uid + self._count % _UIDS
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            prctl(PR_SET_DUMPABLE, 1)   # else its own /proc files, the id maps, stay root's
        except OSError:
            return   # in a container that maps few ids: it stays who it is

    def open_namespaces(self, entrance: Entrance) -> None:
        flags = 0
        for name, flag in _NAMESPACES.items():
            if name in self.policy.off:
                entrance.failures[name] = "switched off"
            else:
                flags |= flag
        uid, gid = os.geteuid(), os.getegid()
        try:
            unshare(flags)
            if flags & NEWUSER:
                _write("/proc/self/setgroups", "deny")
                _write("/proc/self/gid_map", f"{_INNER_ID} {gid} 1")
                _write("/proc/self/uid_map", f"{_INNER_ID} {uid} 1")
        except OSError as error:
            for name in _NAMESPACES.keys() - self.policy.off:
                entrance.failures[name] = error.strerror or str(error)
            return
        entrance.done.update(_NAMESPACES.keys() - self.policy.off)

    def confine(self, entrance: Entrance, spawn: Callable[[], None] | None = None,
                settle: Callable[[], None] | None = None) -> tuple[Layer, ...]:
        """The rest of the way, in the worker itself. `spawn` brings up an engine's child on the way; `settle` may start
        threads, at the only point where they inherit every bound and the filter still allows it."""
        with entrance.layer("dies_with_parent") as wanted:
            if wanted:
                die_with_parent()
        if "uts_namespace" in entrance.done:
            socket.sethostname("inhabit")
        with entrance.layer("empty_root") as wanted:
            if wanted:
                enter_empty_root(self.executables if spawn else (), has_mounts="mount_namespace" in entrance.done)
        if spawn:
            self._limit(entrance, spawning=True)
        with entrance.layer("no_capabilities") as wanted:
            if wanted:
                _drop_capabilities()
        with entrance.layer("no_new_privileges") as wanted:
            if wanted:
                prctl(PR_SET_NO_NEW_PRIVS, 1)
        with entrance.layer("not_dumpable") as wanted:
            if wanted:
                prctl(PR_SET_DUMPABLE, 0)
        if spawn:
            self._spawn(entrance, spawn)
        with entrance.layer("landlock") as wanted:
            if wanted:
                restrict_files()
        if settle:
            settle()
        if not spawn:   # the bound on processes counts threads
            self._limit(entrance, spawning=False)
        with entrance.layer("seccomp") as wanted:
            if wanted:
                install(SPAWNED if spawn else SERVING)
        return entrance.layers()

    def _limit(self, entrance: Entrance, *, spawning: bool) -> None:
        with entrance.layer("resource_limits") as wanted:
            if wanted:
                _limit_resources(self.policy, spawning=spawning)

    def _spawn(self, entrance: Entrance, spawn: Callable[[], None]) -> None:
        """The child gets Landlock and a filter that leave it its own executable files and nothing else."""
        if "landlock" not in self.policy.off and "landlock" not in entrance.failures:
            with entrance.layer("landlock"):
                restrict_files(self.executables)
        if "seccomp" not in self.policy.off:
            with entrance.layer("seccomp"):
                install(SPAWNING)
        spawn()


def die_with_parent() -> None:
    """SIGKILL when the thread that forked this process ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def open_descriptors() -> set[int]:
    """The descriptors of this process. Raises `OSError` without /proc (or /dev/fd)."""
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    found = {int(name) for name in os.listdir(folder)}
    for descriptor in tuple(found):   # the listing had one of its own
        try:
            os.fstat(descriptor)
        except OSError:
            found.discard(descriptor)
    return found


def _close_all_but(keep: frozenset[int]) -> None:
    for descriptor in open_descriptors() - keep - {0, 1, 2}:
        os.close(descriptor)


def _first_uid(executables: Sequence[str]) -> int | None:
    """Where the workers' uids begin; None when this process cannot change its own, or they could not execute
    what an engine needs (an installation below a folder of root's alone)."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    readable = all(os.stat(folder).st_mode & 1 for path in executables for folder in _folders(path))
    return _FIRST_UID if readable else None


def _folders(path: str) -> Iterator[str]:
    path = os.path.realpath(path)
    while path != "/":
        path = os.path.dirname(path)
        yield path


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _limit_resources(policy: JailPolicy, *, spawning: bool) -> None:
    """Never RLIMIT_AS: WebAssembly reserves hundreds of gigabytes it does not use."""
    bounds = {
        resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_NOFILE: _NOFILE_SPAWNING if spawning else _NOFILE_SERVING,
        resource.RLIMIT_NPROC: _NPROC_SPAWNING if spawning else _NPROC_SERVING,
        resource.RLIMIT_DATA: policy.data_bytes,
    }
    if sys.platform == "linux":
        bounds[resource.RLIMIT_MSGQUEUE] = bounds[resource.RLIMIT_SIGPENDING] = 0
    for which, bound in bounds.items():
        resource.setrlimit(which, (bound, bound))


def _drop_capabilities() -> None:
    drop_capabilities()
    held = capability_count()
    if held:
        raise OSError(f"{held} capabilities remain")
