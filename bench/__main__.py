"""Run the benchmarks one after the other, each in a process of its own: `python -m bench [NAME ...] [--json] [--quick]`."""

from __future__ import annotations

import subprocess
import sys

from bench.report import ROOT

ALL = ("footprint", "search", "isolates", "calls", "language", "journal", "openapi", "crash", "hostile", "fuzz_wire", "conformance", "conformance_client", "policy", "agentdojo", "audit", "egress", "replay")


def main(arguments: list[str]) -> int:
    flags = [word for word in arguments if word.startswith("-")]
    names = [word for word in arguments if not word.startswith("-")] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    failed = [name for name in names if subprocess.run([sys.executable, "-m", f"bench.{name}", *flags], cwd=ROOT, check=False).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
