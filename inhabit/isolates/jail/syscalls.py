"""Numbers of the system calls that a worker may make: name → (x86_64, aarch64), -1 where a machine lacks it."""

__all__ = ["NUMBERS"]

NUMBERS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "futex": (202, 98), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "recvfrom": (45, 207), "sendto": (44, 206),
    "recvmsg": (47, 212), "sendmsg": (46, 211), "poll": (7, -1), "ppoll": (271, 73), "select": (23, -1),
    "pselect6": (270, 72), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "gettimeofday": (96, 169),
    "getrandom": (318, 278), "getpid": (39, 172), "gettid": (186, 178), "getrusage": (98, 165),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "set_robust_list": (273, 99),
    "rseq": (334, 293), "membarrier": (324, 283), "exit": (60, 93), "exit_group": (231, 94),
    "restart_syscall": (219, 128), "tgkill": (234, 131), "readv": (19, 65), "writev": (20, 66),
    "preadv": (295, 69), "pread64": (17, 67), "clone": (56, 220), "clone3": (435, 435), "vfork": (58, -1),
    "execve": (59, 221), "wait4": (61, 260), "waitid": (247, 95), "pipe": (22, -1), "pipe2": (293, 59),
    "socketpair": (53, 199), "dup": (32, 23), "dup2": (33, -1), "dup3": (292, 24), "fcntl": (72, 25),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, -1), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "open": (2, -1), "openat": (257, 56), "newfstatat": (262, 79), "stat": (4, -1),
    "lstat": (6, -1), "readlink": (89, -1), "readlinkat": (267, 78), "access": (21, -1),
    "faccessat": (269, 48), "faccessat2": (439, 439), "getcwd": (79, 17), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "kill": (62, 129), "prlimit64": (302, 261),
    "set_tid_address": (218, 96), "arch_prctl": (158, -1), "ioctl": (16, 29), "prctl": (157, 167),
    "seccomp": (317, 277), "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446), "timerfd_create": (283, 85), "timerfd_settime": (286, 86),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179), "statx": (332, 291),
    "sched_getscheduler": (145, 120), "statfs": (137, 43), "shutdown": (48, 210), "getsockopt": (55, 209),
    "setsockopt": (54, 208),
}
