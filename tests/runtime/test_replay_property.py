"""Generated programs in both languages: stopped, asked and taken up again they take the path of a run that never stopped.

The generator, the seeded world and the comparison are the benchmark's (`python -m bench.replay` has the large numbers).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.replay import Findings, interrupted, killed
from bench.replay_programs import generate
from bench.replay_runs import Stage, difference, in_doubt, in_pieces, on_stage, replayed, whole
from inhabit.isolates.javascript import image
from tests.runtime.inprocess import InProcessPool

PROGRAMS = 20
CHANCE = (2, 8, 21, 26, 33, 34)
MUTATED = [seed for seed in range(40) if seed % 4 != 3 and "typescript.all" in generate(seed).constructs]


def test_F08_F09_interrupted_runs_are_the_uninterrupted_ones_and_every_alteration_is_found(tmp_path: Path) -> None:
    found = Findings()
    on_stage(tmp_path, lambda stage: interrupted(stage, range(PROGRAMS), found))
    assert found.wrong == []
    assert found.counts["compared"] > PROGRAMS * 0.8 and found.counts["stops"] > PROGRAMS and found.counts["sleeps"] > PROGRAMS / 4
    assert found.counts["replayed"] > PROGRAMS * 1.8 and found.counts["reached"] == 0
    assert found.counts["alterations"] > PROGRAMS * 2 and found.counts["missed"] == 0
    assert {name.split(".")[0] for name in found.constructs} == {"typescript", "python"} and len(found.constructs) > 25


def test_F01_a_run_whose_host_was_killed_is_the_uninterrupted_one(tmp_path: Path) -> None:
    found = Findings()
    (tmp_path / "whole").mkdir()
    killed(tmp_path, (4,), found)
    assert found.wrong == [] and found.counts["kills"] >= 1


def test_settling_two_results_in_one_step_takes_another_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of this property: an engine that drains its jobs only after every second result is told apart."""
    assert _apart(tmp_path / "sound") == []
    boot = image.boot_script().decode()
    assert boot.count("  step() {") == boot.count("return batch.length / 3;") == 1
    mutant = boot.replace("  step() {", "  step() { hooks.one(); if (batch !== null) hooks.one(); },\n  one() {").replace(
        "return batch.length / 3;", "return Math.ceil(batch.length / 6);")
    monkeypatch.setattr(image, "boot_script", mutant.encode)
    assert _apart(tmp_path / "mutant") != []


def test_F08_F09_programs_of_chance_clocks_and_races_are_the_same_again(tmp_path: Path) -> None:
    assert _apart(tmp_path / "sound", CHANCE) == []


def _apart(folder: Path, seeds: Sequence[int] = MUTATED) -> list[str]:
    """Which programs differ from themselves, interrupted or replayed."""
    folder.mkdir()
    apart: list[str] = []

    async def compare(stage: Stage) -> None:
        for seed in seeds:
            program, chance = generate(seed), random.Random(seed)
            one = await whole(stage, program)
            again = await replayed(stage, one.record)
            other = await in_pieces(stage, program, one.appends, chance, 2)
            if not again.equal or (not in_doubt(other.record) and difference(one.record, other.record)):
                apart.append(f"{seed}: {again.difference} {difference(one.record, other.record)[:400]}")

    on_stage(folder, compare, InProcessPool(folder))
    return apart
