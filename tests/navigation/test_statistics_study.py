"""The study of the statistics: it goes on where it was stopped, the same to the bit, and its intervals are exact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import statistics
from benchmarks.statistics import Record, records, run, shards, share

WANTED = {"null": 1, "focus": 1}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the shards that were made; a scan is one number of the shard's own stream."""
    kinds: list[str] = []

    def scans(kind: str, case: object, rng: np.random.Generator) -> list[Record]:
        kinds.append(kind)
        return [{"z": float(rng.standard_normal())}]

    monkeypatch.setattr(statistics, "redrawable", lambda index, few: (index, few))
    monkeypatch.setattr(statistics, "case_of", lambda scan, source: (scan, source))
    monkeypatch.setattr(statistics, "scans", scans)
    return kinds


def test_a_stopped_study_goes_on_and_gives_the_same(made: list[str], tmp_path: Path) -> None:
    run(WANTED, tmp_path)
    # Two kinds, counts of simulator and model, usual and few, twelve geometries.
    assert len(made) == 2 * 2 * 2 * 12
    whole = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert len(set(whole.values())) == len(whole)
    lost = sorted(whole)[5]
    (tmp_path / lost).unlink()
    # What a killed run leaves of a shard is no shard.
    (tmp_path / (lost + ".part")).write_text('{"z"')
    made.clear()
    run(WANTED, tmp_path)
    assert made == [lost.split("-")[0]]
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == whole
    assert len(list(records(tmp_path, "null", "model", "few"))) == 12
    assert all(json.loads(text) for text in whole.values())


def test_more_scans_only_add_shards() -> None:
    assert set(shards({"null": 2400})) < set(shards({"null": 4800}))


def test_the_interval_is_the_exact_binomial_one() -> None:
    # At its ends five or more (fewer) hits of 100 have the probability 2.5 %.
    low, high = (float(v) for v in share(5, 100).split("[")[1].split("]")[0].split(","))
    assert binom.sf(4, 100, low) == pytest.approx(0.025, abs=5e-4)
    assert binom.cdf(5, 100, high) == pytest.approx(0.025, abs=5e-4)
    assert share(0, 100).startswith("0.0000 [0.0000,")
