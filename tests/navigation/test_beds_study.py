"""The study of the bed check: it goes on where it was stopped, its bounds are exact, its oracle is none that guesses.

The full study is thousands of beds in the simulator's physics (`python -m benchmarks.beds`). A bed costs half a second
to a second, so a hundred would cost a minute even of one cached scan: here it is eight, of the model's own counts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import beds, bedscans
from benchmarks.bedscans import CONDITIONS
from benchmarks.bedtable import lower, rows, upper
from navigation.bedcheck import check_bed
from navigation.reconstruction import LiveReconstruction, ScanState
from navigation.reconstruction.maps import Maps
from navigation.uncertainty import Thresholds
from tests.navigation.scan_model import filled, problem_of, raster, setup
from tests.navigation.test_bedcheck import bed

WANTED = ("none", "at X", "askew")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The conditions of the shards that were made; a bed is a number of the shard's own."""
    names: list[str] = []

    def some(name: str, index: int, number: int, count: int) -> list[dict[str, object]]:
        names.append(name)
        return [{"of": [name, index, number, i]} for i in range(count)]

    monkeypatch.setattr(beds, "beds", some)
    return names


def test_a_stopped_study_goes_on_and_gives_the_same(made: list[str], tmp_path: Path) -> None:
    wanted = beds.shards(25, WANTED)
    beds.run(wanted, tmp_path, workers=0)
    # Three shards of ten for 25 beds.
    assert sorted(made) == sorted(3 * WANTED)
    whole = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert len(set(whole.values())) == len(whole) == 9
    lost = sorted(whole)[4]
    (tmp_path / lost).unlink()
    # What a killed run leaves of a shard is no shard.
    (tmp_path / (lost + ".part")).write_text('{"of"')
    made.clear()
    beds.run(wanted, tmp_path, workers=0)
    assert len(made) == 1
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == whole
    told = beds.records(tmp_path)
    assert [len(told[name]) for name in WANTED] == [30, 30, 30]
    assert all(json.loads(line) for text in whole.values() for line in text.splitlines())


def test_more_beds_only_add_shards_and_no_two_share_a_file() -> None:
    some, more = beds.shards(100), beds.shards(3000)
    assert set(some) < set(more)
    assert len({s.name for s in more}) == len(more) == 300 * len(CONDITIONS)


def test_a_group_rests_on_the_rows_of_one_ground() -> None:
    for group in beds.groups(beds.shards(40)):
        assert len({(s.ground, CONDITIONS[s.condition].kind) for s in group}) == 1


def test_bounds_are_exact() -> None:
    # 59 beds without one are what a bound of 5 % needs, 299 for 1 %.
    assert upper(0, 59) == pytest.approx(0.05, abs=5e-4)
    assert upper(0, 299) == pytest.approx(0.01, abs=5e-5)
    assert binom.cdf(3, 100, upper(3, 100)) == pytest.approx(0.05, abs=1e-6)
    assert binom.sf(89, 100, lower(90, 100)) == pytest.approx(0.05, abs=1e-6)
    assert upper(5, 5) == 1.0 and lower(0, 5) == 0.0


def test_a_false_statement_is_counted() -> None:
    one = {"covered_truly": 1.0, "left": 5.0, "place_mda": 3.0, "ratio": 1.2, "reach": None, "oracle": None}
    told = {"at X": [one | {"finding": "none-above"}] + [one | {"finding": "partly-assessed"}] * 9}
    found = {what: words for what, words, _ in rows(told)}
    assert found["false none above, at X left"].startswith("1 of 10,")


def test_the_oracle_detects_its_mda_nineteen_times_in_twenty() -> None:
    """One place, a quiet rate and a response that are known: an exact count decides how often."""
    live, quiet, seen = np.full(50, 0.1), np.full(50, 20.0), np.linspace(0.0, 2.0, 50)
    ground = type("Seen", (), {"readings": type("R", (), {"live_s": live})(), "place_cps": seen[None]})()
    mda = float(bedscans._oracle_mda(ground, quiet)[0])
    rng = np.random.default_rng(3)
    weight = seen / quiet
    null = rng.poisson(quiet * live, (40_000, 50)) @ weight
    there = rng.poisson((quiet + mda * seen) * live, (40_000, 50)) @ weight
    # Gaussian with the source's own variance: a count this low is lopsided by a hundredth or two.
    assert np.mean(there > np.quantile(null, 0.95)) == pytest.approx(0.95, abs=0.02)


class _Cached(LiveReconstruction):
    """Rows, thresholds and maps of a first scan of the same path."""

    first: LiveReconstruction

    def _final_thresholds(self, problem: object) -> Thresholds:
        assert self.first.state is not None
        return self.first.state.found.thresholds

    def _final_maps(self, *_: object) -> Maps:
        return self.first.kept  # type: ignore[attr-defined,no-any-return]


def test_eight_beds_of_one_scan() -> None:
    path, level = raster(200), 0.2
    first = LiveReconstruction(setup())
    first.add(filled(path, [], level, seed=1))
    first.finish()
    assert first.state is not None
    first.kept = first._final_maps(first.state.problem, first.state.found, first.state.beside)  # type: ignore[attr-defined]
    problem, rng = problem_of(path), np.random.default_rng(11)
    quiet = level * problem.background_rows[:, 0]

    def state(left_kbq: float) -> ScanState:
        place = np.array([[*rng.uniform(-12.0, 12.0, 2), rng.uniform(-5.5, -0.5)]])
        rate = quiet + left_kbq * problem.rows(place)[:, 0]
        live = _Cached(setup())
        live.first = first
        live.add(replace(path, counts=rng.poisson(rate * path.live_s).astype(np.float64)))
        live.rest_on(first._rows)
        live._searched = first._searched
        live.finish()
        assert live.state is not None
        return live.state

    empty = [check_bed(state(0.0), bed(), 9.0) for _ in range(4)]
    left = [check_bed(state(1.5 * 9.0), bed(), 9.0) for _ in range(4)]
    assert not any(c.finding == "none-above" for c in left)
    # Field-wise 5 %: three of four false suspicions have a chance of 1 in 2,000.
    assert sum(c.finding == "residual-suspected" for c in empty) <= 2
    assert sum(c.finding == "none-above" for c in empty) >= 2
