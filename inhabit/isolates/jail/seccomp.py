"""The allow-list of system calls, as a classic BPF program written here and handed to the kernel.

Model: `SERVING` is what a worker needs once it serves: memory, its socket, time, its own death. `SPAWNING` is
what an engine needs to bring up a child of its own, and what that child is left with; a worker that spawned
lays `SPAWNED` over it afterwards. A call that is not listed fails with EPERM; a call made by another
instruction set kills the process.
Invariants: no socket of any family, no namespace, no new executable memory, no ptrace, no signal to others.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from inhabit.isolates.jail.syscalls import NUMBERS
from inhabit.isolates.jail.system import machine, syscall

__all__ = ["SERVING", "SPAWNED", "SPAWNING", "Rule", "install", "program"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Allowed when the low 32 bits of argument number `argument`, masked, equal `value`; else `otherwise` (errno)."""

    argument: int = 0
    mask: int = 0
    value: int = 0
    otherwise: int = errno.EPERM


ALWAYS = Rule()
_ABSENT = Rule(mask=0, value=1, otherwise=errno.ENOSYS)   # never equal: glibc then falls back to the older call
_NOT_EXECUTABLE = Rule(argument=2, mask=4)                # PROT_EXEC
_NO_NAMESPACES = Rule(argument=0, mask=0x7E020080)        # CLONE_NEW*
_ONLY_THREADS = Rule(argument=0, mask=0x7E030080, value=0x10000)
_UNIX_PAIR = Rule(argument=0, mask=0xFFFFFFFF, value=1)
_SET_NONBLOCKING = Rule(argument=1, mask=0xFFFFFFFF, value=0x5421)
_THREAD_NAME = Rule(argument=0, mask=0xFFFFFFFF, value=15)
_TO_SELF = Rule(argument=2, mask=0xFFFFFFFF, value=6)     # SIGABRT: how a process ends itself


def _all(names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), ALWAYS)


SERVING: Mapping[str, Rule] = {
    **_all("read write close munmap mremap madvise brk futex rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack recvfrom sendto "
           "poll ppoll clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday getrandom getpid gettid getrusage "
           "sched_yield set_robust_list rseq membarrier exit exit_group restart_syscall"),
    "mmap": _NOT_EXECUTABLE, "mprotect": _NOT_EXECUTABLE, "tgkill": _TO_SELF,
}
SPAWNED: Mapping[str, Rule] = {
    **SERVING,
    **_all("readv writev recvmsg sendmsg epoll_ctl epoll_wait epoll_pwait eventfd2 waitid wait4 pidfd_send_signal fcntl fstat "
           "timerfd_settime"),
    "clone": _ONLY_THREADS, "clone3": _ABSENT, "ioctl": _SET_NONBLOCKING, "prctl": _THREAD_NAME,
}
SPAWNING: Mapping[str, Rule] = {
    **SPAWNED,
    **_all("mmap mprotect vfork execve pipe pipe2 dup dup2 dup3 epoll_create1 open openat newfstatat stat lstat readlink readlinkat "
           "access faccessat faccessat2 getcwd pidfd_open kill prlimit64 set_tid_address arch_prctl seccomp landlock_create_ruleset "
           "landlock_add_rule landlock_restrict_self timerfd_create pread64 sched_getaffinity getppid getuid geteuid getgid "
           "getegid uname sysinfo statx lseek shutdown getsockopt"),
    "clone": _NO_NAMESPACES, "socketpair": _UNIX_PAIR,
}

_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)


def program(rules: Mapping[str, Rule], which: str) -> bytes:
    """The filter for the machine `which`, as the array of instructions that the kernel takes."""
    column, architecture = _ARCHITECTURES[which]
    code = [_instruction(_LOAD, 4), _instruction(_EQUAL, architecture, 1, 0), _instruction(_RETURN, _KILL_PROCESS), _instruction(_LOAD, 0)]
    for name, rule in rules.items():
        number = NUMBERS[name][column]
        if number < 0:
            continue
        if rule is ALWAYS:
            code += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW)]
        else:
            code += [
                _instruction(_EQUAL, number, 0, 5), _instruction(_LOAD, 16 + 8 * rule.argument), _instruction(_AND, rule.mask),
                _instruction(_EQUAL, rule.value, 0, 1), _instruction(_RETURN, _ALLOW), _instruction(_RETURN, _ERRNO | rule.otherwise)]
    code.append(_instruction(_RETURN, _ERRNO | errno.EPERM))
    return b"".join(code)


def install(rules: Mapping[str, Rule]) -> None:
    """Bind the filter to all threads of this process, for good. Needs no_new_privileges. Raises `OSError`."""
    which = machine()
    if not which:
        raise OSError(errno.ENOSYS, "no table of system calls for this machine")
    filter = program(rules, which)
    held = ctypes.create_string_buffer(filter, len(filter))
    header = ctypes.create_string_buffer(struct.pack("<H6xQ", len(filter) // 8, ctypes.addressof(held)))
    syscall("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, header)
