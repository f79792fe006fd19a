"""The simulated calibration bench: tips stay in their divots, the source shines, words have their movements."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.simulate import BENCH_SCENES, bench_scene
from navigation.simulate.bench import PROBE_DIVOT_MM, REST_S, STYLUS_DIVOT_MM, BenchRoom, tracked_plan
from navigation.simulate.devices import Tracker
from navigation.simulate.scenes import DEAD_TIME_S
from navigation.simulate.stage import Stage
from tracking.errors import InputError


@pytest.fixture(scope="module")
def pivoting() -> BenchRoom:
    room = BenchRoom(bench_scene("pivot", 2), 0.0)
    room.command("pivot", 0.0)
    return room


def test_tips_stay_in_their_divots_while_the_shafts_tilt(pivoting: BenchRoom) -> None:
    t = np.arange(1.0, 46.0, 0.1)
    for poses, divot in (
        (pivoting.probe_in_body(t), PROBE_DIVOT_MM),
        (pivoting.stylus_in_body(t), STYLUS_DIVOT_MM),
    ):
        # A tremor of 0.02 mm RMS in each direction.
        assert np.linalg.norm(poses[:, :3, 3] - divot, axis=1).max() < 0.15
        tilt = np.degrees(np.arccos(-poses[:, 2, 2]))
        assert tilt[:20].max() < 0.5
        assert 36.0 < tilt.max() < 40.0
        turned = np.degrees(np.arctan2(-poses[:, 1, 2], -poses[:, 0, 2]))[tilt > 12.0]
        assert np.histogram(turned, bins=8, range=(-180.0, 180.0))[0].min() > 0


def test_a_bench_neither_sways_nor_shakes_as_a_theatre(pivoting: BenchRoom) -> None:
    tracker = Tracker(pivoting)
    first, later = tracker.reference_in_tracker(0.0), tracker.reference_in_tracker(9.0)
    assert np.array_equal(first, later)
    still = np.array([tracker.measure(t)[1].matrix[:3, 3] for t in np.arange(0.0, 3.0, 0.1)])
    # 0.1 mm RMS over a table, 30 % of it here.
    assert 0.005 < float(np.sqrt(still.var(axis=0).sum())) < 0.06


def test_the_source_is_counted_at_each_place_of_the_grid() -> None:
    room = BenchRoom(bench_scene("check", 3), 0.0)
    room.command("check", 0.0)
    rates = []
    for number in range(3):
        middle = 1.0 + number * (REST_S + 1.3) + 1.3 + 0.5 * REST_S
        counts = room.expected_counts(middle, middle + 0.1) / 0.1
        rates.append(counts / (1.0 - counts * DEAD_TIME_S))
    assert rates[0] > 3.0 * rates[1] > 3.0 * rates[2]
    quiet = BenchRoom(bench_scene("quiet", 3), 0.0)
    assert quiet.expected_counts(1.0, 2.0) == pytest.approx(2.0, rel=0.01)


def test_the_hand_goes_to_every_place_of_the_plan() -> None:
    room = BenchRoom(bench_scene("grid", 3), 0.0)
    room.command("grid", 0.0)
    source = room.scene.equipment.check_source.centre
    for number, (r, z) in enumerate(tracked_plan()):
        at = np.array([1.0 + number * (REST_S + 1.3) + 1.3 + 0.5 * REST_S])
        tip = room.probe_in_body(at)[0]
        seen = tip[:3, :3].T @ (source - tip[:3, 3])
        assert (np.hypot(seen[0], seen[1]), seen[2]) == pytest.approx((r, z), abs=0.2)


def test_unknown_scenes_and_phases_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="kitchen"):
        bench_scene("kitchen", 0)
    with pytest.raises(InputError, match="scan-1"):
        BenchRoom(bench_scene("pivot", 0), 0.0).command("scan-1", 0.0)


@pytest.mark.parametrize("name", BENCH_SCENES)
def test_every_bench_has_its_stage(name: str) -> None:
    stage = Stage(bench_scene(name, 0), 0)
    assert isinstance(stage.room, BenchRoom)
    stage.close()
