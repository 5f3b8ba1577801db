"""What every benchmark shares: options, one JSON line a figure, percentiles, and where peers are installed."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Report", "bench_data", "npm_peer", "options", "peers_folder", "percentile"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    json: bool
    quick: bool


def options(description: str, arguments: Sequence[str] | None = None) -> Options:
    """`--json`: one object a line on standard output. `--quick`: the same names in at most 45 seconds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="at most 45 seconds, the same names")
    given = parser.parse_args(arguments)
    return Options(given.json, given.quick)


class Report:
    """Prints figures as they come; notes go to standard error, so that `--json` stays one object a line."""

    def __init__(self, json_lines: bool) -> None:
        self._json = json_lines

    def figure(self, name: str, value: float, unit: str, *, peer: str | None = None, peer_value: float | None = None) -> None:
        """One figure; with a peer measured in the same run, `ratio` is value / peer_value."""
        line: dict[str, object] = {"name": name, "value": _short(value), "unit": unit}
        if peer is not None and peer_value is not None:
            line |= {"peer": peer, "peer_value": _short(peer_value), "ratio": _short(value / peer_value) if peer_value else None}
        if self._json:
            print(json.dumps(line), flush=True)
            return
        beside = f"   {peer}: {line['peer_value']} {unit} (x{line['ratio']})" if "peer" in line else ""
        print(f"{name:48} {line['value']:>12} {unit}{beside}", flush=True)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of a non-empty sequence; `share` in 0..1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def peers_folder() -> Path:
    folder = ROOT / "bench" / ".peers"
    folder.mkdir(exist_ok=True)
    return folder


def npm_peer(*packages: str) -> Path:
    """Install packages (`name@version`) from npm beside the benchmarks once; returns their `node_modules`.

    Raises `RuntimeError` when npm is not there or the install fails.
    """
    folder = peers_folder() / "npm"
    folder.mkdir(exist_ok=True)
    modules = folder / "node_modules"
    missing = [package for package in packages if not (modules / package.rpartition("@")[0]).is_dir()]
    if missing:
        npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if npm is None:
            raise RuntimeError("npm is not installed; the peers need it")
        done = subprocess.run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *missing],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"npm install {' '.join(missing)} failed: {done.stderr.strip()[-400:]}")
    return modules


def bench_data() -> Path | None:
    """The folder with third-party measuring data: `$INHABIT_BENCH_DATA`, else `../shared/data`; None when absent."""
    folder = Path(os.environ.get("INHABIT_BENCH_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1e6 else round(value)
