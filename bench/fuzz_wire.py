"""Frames and decoders under coverage-guided fuzzing (atheris, put beside the other peers): what gets out that is no `ProtocolError`.

    python -m bench.fuzz_wire [--json] [--quick] [--fuzz-s S]

`hostile.guided_runs` inputs were tried, `hostile.guided_uncaught` ended in another error. The corpus stays in
`bench/.peers/wire-corpus`, so that the next run begins where this one was; an input that broke something stays in
`bench/.peers/wire-findings`. `bench.hostile` has the other half, mutated frames through whole runs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.report import ROOT, Report, peers_folder

_ATHERIS = "atheris==3.0.0"
_MAX_INPUT_BYTES = 4_096
_TARGET = """
import sys
sys.path[:0] = sys.argv.pop(1).split(":")
import atheris
with atheris.instrument_imports(include=["inhabit.wire"]):
    from inhabit.wire import frames, messages, replies, values
from inhabit.errors import ProtocolError

DECODERS = [replies.decode_turn, replies.decode_prepared, replies.decode_checked, replies.decode_failed, replies.decode_ready,
            messages.decode_prepare, messages.decode_typecheck, messages.decode_start, messages.decode_deliver, values.decode_value]

def decoded(decode, body):
    try:
        decode(body)
    except ProtocolError:
        pass

def one(data):
    if not data:
        return
    decode, rest = DECODERS[data[0] % len(DECODERS)], data[1:]
    decoded(decode, rest)
    parser = frames.FrameParser({int(kind): kind for kind in frames.Kind})
    cut = data[0] % (len(rest) + 1)
    try:
        for piece in (rest[:cut], rest[cut:]):
            for _, _, body in parser.feed(piece):
                decoded(decode, body)
    except ProtocolError:
        pass

atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="coverage-guided fuzzing of the wire")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="at most 45 seconds, the same names")
    parser.add_argument("--fuzz-s", type=int, dest="fuzz_s", help="seconds (default 300)")
    asked = parser.parse_args()
    report = Report(asked.json)
    place = _installed()
    corpus, findings = (peers_folder() / name for name in ("wire-corpus", "wire-findings"))
    for folder in (corpus, findings):
        folder.mkdir(exist_ok=True)
    seconds = asked.fuzz_s or (30 if asked.quick else 300)
    done = subprocess.run(
        [sys.executable, "-c", _TARGET, f"{place}:{ROOT}", f"-max_total_time={seconds}", f"-max_len={_MAX_INPUT_BYTES}",
         f"-artifact_prefix={findings}/", "-print_final_stats=1", str(corpus)], capture_output=True, text=True, check=False)
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    if runs is None:
        raise RuntimeError(f"the fuzzer did not run: {done.stderr.strip()[-600:]}")
    report.figure("hostile.guided_runs", int(runs[1]), "inputs")
    report.figure("hostile.guided_uncaught", int(done.returncode != 0), "errors")
    if done.returncode:
        report.note(done.stdout[-1_500:] + done.stderr[-1_500:])
    return int(done.returncode != 0)


def _installed() -> Path:
    """Atheris in a folder of its own. Raises `RuntimeError` where there is no wheel for this Python."""
    place = peers_folder() / "atheris"
    if not (place / "atheris").is_dir():
        uv = shutil.which("uv")
        pip = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
        done = subprocess.run([*pip, "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(place), _ATHERIS],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{_ATHERIS} cannot be installed for this Python: {done.stderr.strip()[-300:]}")
    return place


if __name__ == "__main__":
    sys.exit(main())
