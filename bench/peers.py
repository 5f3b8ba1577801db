"""The isolates of others, each brought up the way its makers mean it, for measuring beside ours.

workerd: the dynamic worker loader of the open-source runtime, asked over HTTP; its own figures come from inside
its parent worker where a host call is measured. Deno, Node and Node in bubblewrap: a process a program.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.report import npm_peer, peers_folder

WORKERD = "workerd@1.20261117.1"

_CONFIG = """using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = .main) ],
  sockets = [ (name = "http", address = "127.0.0.1:{port}", http = (), service = "main") ],
);
const main :Workerd.Worker = (
  modules = [ (name = "parent.js", esModule = embed "parent.js") ],
  compatibilityDate = "2026-01-01",
  compatibilityFlags = ["nodejs_compat", "experimental"],
  bindings = [ (name = "LOADER", workerLoader = (id = "loader")) ],
);
"""
_PARENT = """import { WorkerEntrypoint } from "cloudflare:workers";
export class Host extends WorkerEntrypoint { async add(a, b) { return a + b; } }
let made = 0;
const held = [];
function load(env, ctx, body) {
  const code = `import { WorkerEntrypoint } from "cloudflare:workers";
    export default class extends WorkerEntrypoint { async run(input) { const HOST = this.env.HOST; ${body} } }`;
  return env.LOADER.get("w" + (++made), async () => ({
    compatibilityDate: "2026-01-01", mainModule: "main.js", modules: { "main.js": code },
    env: { HOST: ctx.exports.Host({ props: {} }) }, globalOutbound: null,
  })).getEntrypoint();
}
export default {
  async fetch(request, env, ctx) {
    if (request.method !== "POST") return new Response("ok");
    const job = await request.json();
    for (let i = 0; i < (job.hold ?? 0); i++) { const w = load(env, ctx, job.body); await w.run(null); held.push(w); }
    return Response.json(await load(env, ctx, job.body).run(job.input) ?? null);
  }
};
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Workerd:
    """A running workerd. Raises `RuntimeError` when it cannot be installed or does not answer."""

    def __init__(self) -> None:
        modules = npm_peer(WORKERD)
        folder = peers_folder() / "workerd"
        folder.mkdir(exist_ok=True)
        self._port = _free_port()
        (folder / "config.capnp").write_text(_CONFIG.format(port=self._port))
        (folder / "parent.js").write_text(_PARENT)
        self.process = subprocess.Popen([str(modules / "workerd" / "bin" / "workerd"), "serve", "--experimental", str(folder / "config.capnp")],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(500):
            try:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
                self._connection.request("GET", "/")
                self._connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.02)
        self.close()
        raise RuntimeError("workerd does not answer")

    def run(self, body: str, *, given: bytes = b"null", hold: int = 0) -> bytes:
        """The program's result as JSON text. Neither it nor `given` is parsed here: that would be our time, not workerd's."""
        job = json.dumps({"body": body, "hold": hold}).encode()[:-1] + b', "input": ' + given + b"}"
        self._connection.request("POST", "/", job)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"workerd answered {answer.status}: {text[:200]!r}")
        return text

    def round_trip_s(self) -> float:
        """What HTTP itself costs: taken off its figures, to its advantage."""
        began = time.perf_counter()
        self._connection.request("GET", "/")
        self._connection.getresponse().read()
        return time.perf_counter() - began

    def resident_mb(self) -> float:
        """Of the whole family: the npm launcher starts the binary as a child."""
        return sum(_resident_mb(pid) for pid in _family(self.process.pid))

    def close(self) -> None:
        os.killpg(self.process.pid, 15)
        self.process.wait()


def _family(pid: int) -> list[int]:
    family = [pid]
    for member in family:
        for thread in Path(f"/proc/{member}/task").iterdir():
            family += map(int, (thread / "children").read_text().split())
    return family


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def deno() -> list[str]:
    """The command that runs a program given on the command line. Raises `RuntimeError`."""
    folder = peers_folder() / "deno"
    if not folder.is_dir():
        uv = shutil.which("uv")
        pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
        _checked([*pip, "install", "--quiet", "--target", str(folder), "deno"])
    binary = next((path for path in folder.rglob("deno") if path.is_file() and os.access(path, os.X_OK)), None)
    if binary is None:
        raise RuntimeError("the deno package holds no binary")
    return [str(binary), "eval"]


def node() -> list[str]:
    found = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise RuntimeError("node is not installed")
    return [found, "-e"]


def bubblewrapped_node() -> list[str]:
    """Node with its own namespaces and a read-only view. Raises `RuntimeError` when bubblewrap cannot be had."""
    wrap = shutil.which("bwrap") or _bubblewrap_from_apt()
    return [wrap, "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", *node()]


def _bubblewrap_from_apt() -> str:
    folder = peers_folder() / "bubblewrap"
    binary = folder / "usr" / "bin" / "bwrap"
    if not binary.exists():
        folder.mkdir(exist_ok=True)
        _checked(["apt-get", "download", "--quiet", "bubblewrap"], folder)
        _checked(["dpkg-deb", "-x", *(path.name for path in folder.glob("*.deb")), "."], folder)
    return str(binary)


def _checked(command: list[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}")


def process_ms(command: list[str], rounds: int) -> list[float]:
    """Wall time of each of `rounds` processes that print 2."""
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = subprocess.run([*command, "console.log(1+1)"], capture_output=True, text=True, check=False)
        times.append((time.perf_counter() - began) * 1000)
        if done.stdout.strip() != "2":
            raise RuntimeError(f"{command[0]} did not print 2: {done.stderr.strip()[-300:]}")
    return times


def socket_round_trip_us(rounds: int) -> float:
    """What the machine itself takes for 100 bytes to another process and back, both doing nothing else: the floor of a host call."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while piece := theirs.recv(1024):
            theirs.sendall(piece)
        os._exit(0)
    theirs.close()
    with ours:
        times: list[float] = []
        for _ in range(rounds):
            began = time.perf_counter()
            ours.sendall(b"x" * 100)
            ours.recv(1024)
            times.append((time.perf_counter() - began) * 1e6)
    os.waitpid(child, 0)
    return sorted(times)[rounds // 2]
