"""What a guest that took its worker over can still do: nothing. And, with a layer off, that it could."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from inhabit.errors import ConfigError, Unavailable
from inhabit.isolates.jail import LAYERS, JailPolicy, Layer, probe
from tests.isolates.conftest import Ground

TRY = '''
def attempt(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"

def call(number, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) < 0:
        raise OSError(ctypes.get_errno(), "")
'''

# name → (x86_64, aarch64, arguments)
SYSCALLS = {
    "ptrace": (101, 117, "16, 1, 0, 0"), "mount": (165, 40, "b'none', b'/', b'tmpfs', 0, 0"), "unshare": (272, 97, "0x10000000"),
    "bpf": (321, 280, "0, 0, 0"), "io_uring_setup": (425, 425, "8, ctypes.create_string_buffer(200)"),
    "userfaultfd": (323, 282, "0"), "keyctl": (250, 219, "0, -3, 0"),
    "clone3_newuser": (435, 435, "ctypes.create_string_buffer(struct.pack('<Q80x', 0x10000000)), 88"),
    "open_by_handle_at": (304, 265, "-100, ctypes.create_string_buffer(200), 0"), "memfd_create": (319, 279, "b'x', 0"),
    "process_vm_readv": (310, 270, "1, 0, 0, 0, 0, 0"), "perf_event_open": (298, 241, "0, 0, -1, -1, 0"),
    "setns": (308, 268, "0, 0"), "chroot": (161, 51, "b'/'"), "reboot": (169, 142, "0, 0, 0"), "kexec_load": (246, 104, "0, 0, 0, 0"),
    "init_module": (175, 105, "0, 0, b''"), "pidfd_open": (434, 434, "1, 0"), "setuid": (105, 146, "0"),
    "sched_setaffinity": (203, 122, "0, 8, b'12345678'"),
}
COLUMN = 0 if os.uname().machine == "x86_64" else 1


async def test_every_layer_is_active_here(ground: Ground) -> None:
    assert [layer.name for layer in ground.pool.layers if not layer.active] == []
    assert {layer.name for layer in ground.pool.layers} == set(LAYERS)
    assert ground.pool.warnings == ()


@pytest.mark.parametrize("name", SYSCALLS)
async def test_A21_syscalls_outside_profile(ground: Ground, name: str) -> None:
    code = TRY + f"result = attempt(call, {SYSCALLS[name][COLUMN]}, {SYSCALLS[name][2]})"
    assert await ground.run(code) == "EPERM"


async def test_A21_sockets_of_every_family(ground: Ground) -> None:
    families = {"AF_INET": 2, "AF_INET6": 10, "AF_UNIX": 1, "AF_VSOCK": 40, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38, "AF_XDP": 44}
    code = TRY + f"result = {{n: attempt(socket.socket, f, socket.SOCK_RAW if n == 'AF_PACKET' else socket.SOCK_DGRAM) for n, f in {families}.items()}}"
    assert await ground.run(code) == dict.fromkeys(families, "EPERM")


async def test_A21_TIOCSTI(ground: Ground) -> None:
    assert await ground.run(TRY + "result = attempt(fcntl.ioctl, 0, 0x5412, b'x')") == "EPERM"


async def test_A21_no_new_executable_memory(ground: Ground) -> None:
    code = TRY + "result = attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))"
    assert await ground.run(code) == "EPERM"


async def test_A23_io_uring_socket(ground: Ground) -> None:
    code = TRY + "result = [attempt(call, number, 8, ctypes.create_string_buffer(200)) for number in (425, 426, 427)]"
    assert await ground.run(code) == ["EPERM"] * 3


async def test_A20_proc_self(ground: Ground, tmp_path: Path) -> None:
    paths = ["/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/self/root/etc/passwd", "/proc/1/root", "/dev/shm",
             "/sys/fs/cgroup", "/etc/passwd", str(tmp_path / "passwd")]
    assert await ground.run(TRY + f"result = [attempt(open, path) for path in {paths}]") == ["EPERM"] * len(paths)


async def test_A20_the_root_is_empty_even_where_files_may_be_opened(ground_of: Callable[..., Awaitable[Ground]], tmp_path: Path) -> None:
    ground = await ground_of(JailPolicy(off=frozenset({"seccomp", "landlock"}), require="warn"))
    try:
        code = TRY + f"result = [os.listdir('/'), attempt(open, '/proc/self/environ'), attempt(open, '{tmp_path}/passwd'), attempt(open, '/x', 'w')]"
        assert await ground.run(code) == [[], "ENOENT", "ENOENT", "EROFS"]
    finally:
        await ground.pool.close()


async def test_A20_the_environment_and_the_command_line_tell_nothing(ground: Ground) -> None:
    environment, arguments = await ground.run("result = [dict(os.environ), sys.argv]")
    assert [name for name in environment if not name.startswith("LC_")] == []
    assert arguments == ["-c"]


async def test_A22_fd_inheritance(ground: Ground) -> None:
    """0-2 are /dev/null, the fourth is the bridge; the scripted engine holds nothing else."""
    code = TRY + "result = [number for number in range(1024) if attempt(os.write, number, b'') != 'EBADF']"
    assert len(await ground.run(code)) == 4


async def test_A22_descriptors_sent_and_received(ground: Ground) -> None:
    sendmsg, recvmsg = ((46, 47), (211, 212))[COLUMN]
    code = TRY + f"""
bridge = next(number for number in range(3, 1024) if attempt(os.write, number, b'') != 'EBADF')
message = ctypes.create_string_buffer(56)
result = [attempt(call, {sendmsg}, bridge, message, 0), attempt(call, {recvmsg}, bridge, message, 0), attempt(os.dup, 0),
          attempt(os.pipe), attempt(socket.socketpair)]
"""
    assert await ground.run(code) == ["EPERM"] * 5


async def test_A24_kill_neighbours(ground: Ground) -> None:
    code = TRY + "result = [attempt(os.kill, pid, sig) for pid in (-1, 1, 2, os.getpid(), %d) for sig in (0, 9)] + [attempt(os.nice, -1)]"
    assert set(await ground.run(code % os.getpid())) == {"EPERM"}
    assert await ground.run("result = os.getpid()") == 1


@pytest.mark.parametrize("how", ["os.fork", "lambda: threading.Thread(target=print).start()"])
async def test_B23_fork_bomb(ground: Ground, how: str) -> None:
    code = TRY + f'''
try:
    result = attempt({how})
except RuntimeError as error:
    result = "EPERM" if "start new thread" in str(error) else str(error)
'''
    assert await ground.run(code) == "EPERM"


async def test_B23_process_limit_holds_without_seccomp(ground_of: Callable[..., Awaitable[Ground]]) -> None:
    ground = await ground_of(JailPolicy(off=frozenset({"seccomp"}), require="warn"))
    try:
        assert await ground.run(TRY + "result = attempt(os.fork)") == "EAGAIN"
    finally:
        await ground.pool.close()


async def test_B24_no_file_grows(ground_of: Callable[..., Awaitable[Ground]]) -> None:
    ground = await ground_of(JailPolicy(off=frozenset({"seccomp"}), require="warn"))
    try:
        code = TRY + "fd = os.memfd_create('x')\nresult = attempt(os.write, fd, b'x' * 4096)"
        assert await ground.run(code) == "EFBIG"
    finally:
        await ground.pool.close()


# -- with a control off, the same attack gets through: the tests above can fail ------------------------------

FILE = "result = attempt(open, {path!r})"
RED = {
    "seccomp": ("result = attempt(socket.socket, socket.AF_INET)", "done"),
    "landlock": (FILE, "done"),
    "empty_root": (FILE, "done"),
    "network_namespace": ("s = socket.socket(); s.connect(('127.0.0.1', {port})); result = 'done'", "done"),
    "pid_namespace": ("result = 'done' if attempt(os.kill, {neighbour}, 0) != 'ESRCH' else 'unseen'", "done"),
    "resource_limits": ("result = attempt(os.write, os.memfd_create('x'), b'x')", "done"),
    "no_capabilities": ("result = attempt(lambda: call({chroot}, b'/'))", "done"),
    "no_new_privileges": ("result = 'done' if libc.prctl(39, 0, 0, 0, 0) == 0 else 'set'", "done"),
    "not_dumpable": ("result = 'done' if libc.prctl(3, 0, 0, 0, 0) == 1 else 'set'", "done"),
    "one_descriptor": ("result = 'done' if len(os.listdir('/proc/self/fd')) > 5 else 'closed'", "done"),
    "uts_namespace": ("result = 'done' if os.uname().nodename == {host!r} else 'hidden'", "done"),
    "user_namespace": ("result = 'done' if os.getuid() != 1000 else 'mapped'", "done"),
    "mount_namespace": (FILE, "done"),
    "ipc_namespace": ("result = 'done' if os.readlink('/proc/self/ns/ipc') == {ipc!r} else 'own'", "done"),
    "dies_with_parent": ("p = ctypes.c_int(); libc.prctl(2, ctypes.byref(p)); result = 'done' if p.value == 0 else 'set'", "done"),
}
BESIDE = {   # which layers stand behind one another: they are off on both sides, so that one alone makes the difference
    "seccomp": {"network_namespace"}, "landlock": {"seccomp", "empty_root"}, "empty_root": {"seccomp", "landlock"},
    "mount_namespace": {"seccomp", "landlock"}, "one_descriptor": {"seccomp", "landlock", "empty_root"},
    "ipc_namespace": {"seccomp", "landlock", "empty_root", "not_dumpable"}, "pid_namespace": {"seccomp", "landlock"},
    "network_namespace": {"seccomp", "landlock"},
}
FOLLOWS = {"mount_namespace": {"empty_root"}}   # what cannot hold without the layer


@pytest.mark.parametrize("layer", RED)
async def test_switched_off_goes_red(ground_of: Callable[..., Awaitable[Ground]], layer: str, tmp_path: Path) -> None:
    code, through = RED[layer]
    beside = BESIDE.get(layer, {"seccomp"})
    (tmp_path / "passwd").chmod(0o644)
    given: dict[str, object] = {"path": "/etc/hostname", "neighbour": os.getpid(), "chroot": SYSCALLS["chroot"][COLUMN],
             "host": os.uname().nodename, "ipc": os.readlink("/proc/self/ns/ipc")}
    listener = socket.create_server(("127.0.0.1", 0))
    given["port"] = listener.getsockname()[1]
    seen = []
    for off in (beside, beside | {layer} | FOLLOWS.get(layer, set())):
        ground = await ground_of(JailPolicy(off=frozenset(off), require="warn"))
        try:
            seen.append(await outcome(ground, TRY + code.format(**given)))
        finally:
            await ground.pool.close()
    listener.close()
    held, open_ = seen
    assert held != through
    assert open_ == through


async def outcome(ground: Ground, code: str) -> str:
    wrapped = "try:\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "except Exception as error:\n    result = repr(error)\n"
    return await ground.run(wrapped)


# -- the policy ---------------------------------------------------------------------------------------------


async def test_a_missing_layer_is_refused_by_name_with_its_fix(ground_of: Callable[..., Awaitable[Ground]]) -> None:
    with pytest.raises(Unavailable, match="landlock") as caught:
        await ground_of(JailPolicy(off=frozenset({"landlock"})))
    assert "lsm=landlock" in str(caught.value.fix)
    assert caught.value.details["missing"] == ["landlock"]


async def test_a_missing_layer_is_taken_when_it_is_named(ground_of: Callable[..., Awaitable[Ground]]) -> None:
    ground = await ground_of(JailPolicy(off=frozenset({"landlock"}), accept_missing=frozenset({"landlock"})))
    assert await ground.run("result = 1") == 1
    assert "landlock" in ground.pool.warnings[0]
    await ground.pool.close()


def test_a_layer_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="'landlok'"):
        JailPolicy(accept_missing=frozenset({"landlok"}))


def test_warn_lets_everything_pass_and_says_it() -> None:
    warnings = JailPolicy(require="warn").judge([Layer("seccomp", False, "old kernel", "upgrade"), Layer("landlock", True)])
    assert warnings == ("jail layer seccomp is missing (old kernel); upgrade",)


def test_probe_names_every_layer_and_a_fix_for_the_missing() -> None:
    layers = probe()
    assert {layer.name for layer in layers} == LAYERS.keys() - {"kill_timer"}
    assert all(layer.active or (layer.detail and layer.fix) for layer in layers)
