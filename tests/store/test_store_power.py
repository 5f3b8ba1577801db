"""F03 over everything that a control plane acknowledges: no legal crash image lacks it, and the bench that says so can say no."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from bench.crash_power import Trace, compiled, images, lost_in, recorded

pytestmark = pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="a C compiler builds the recording layer")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


async def lost(trace: Trace, count: int, folder: Path) -> int:
    number = 0
    for image, acks, _ in images(trace, random.Random(), count, folder):
        number += bool(acks and await lost_in(image, acks))
    return number


async def test_F03_no_image_lacks_what_was_acknowledged(library: Path, tmp_path: Path) -> None:
    trace = recorded(tmp_path, library, random.randrange(2**32))
    assert {ack.what for ack in trace.acks} >= {"entry", "asked", "decided", "charged", "label", "secret", "checkpoint"}
    assert {change.op for change in trace.changes} >= set("WTSDOKRNM"), "the trace has no folders, syncs or cuts"
    assert await lost(trace, 60, tmp_path) == 0


@pytest.mark.parametrize("broken", ["unsynced", "early"])
async def test_F03_syncs_left_out_or_waited_for_too_late_are_seen(library: Path, tmp_path: Path, broken: str) -> None:
    assert await lost(recorded(tmp_path, library, 1, broken=broken), 40, tmp_path) > 5
