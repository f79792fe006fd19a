"""The live reconstruction: a pure function of its readings, spots where sources are, honest where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from navigation.likelihood import inverse_information
from navigation.reconstruction import ImagingSetup, LiveReconstruction, reconstruct
from navigation.volume import NOT_EXAMINED
from tests.navigation.scan_model import filled, flat_surface, raster, response, setup
from tracking.errors import GateRefusedError, InputError
from tracking.sample import Readings

SOURCE = (6.0, -4.0, -18.0)


@pytest.fixture(scope="module")
def readings() -> Readings:
    return filled(raster(), [(SOURCE, 80.0)], 0.4, seed=1)


def test_map_depends_on_the_readings_and_not_on_how_they_came(readings: Readings) -> None:
    live = LiveReconstruction(setup())
    for start in range(0, 200, 7):
        live.add(readings.select(slice(start, min(start + 7, 200))))
        live.update()
    at_once = LiveReconstruction(setup())
    at_once.add(readings.head(200))
    first, second = live.update(), at_once.update()
    assert first is not None
    assert second is not None
    assert (first.activity == second.activity).all()
    assert (first.mda_kbq == second.mda_kbq).all()
    assert first.n_readings == 200


def test_one_source_is_one_spot_where_it_is(readings: Readings) -> None:
    result = reconstruct(setup(), readings).result
    assert len(result.spots) == 1
    spot = result.spots[0]
    offset = spot.position_mm - np.array(SOURCE)
    # 99.9 % quantile of chi2 with three degrees of freedom.
    assert offset @ np.linalg.solve(spot.covariance_mm2, offset) < 16.3
    assert spot.activity_ci95_kbq[0] < 80.0 < spot.activity_ci95_kbq[1]
    assert result.background_kbq_per_ml == pytest.approx(0.4, rel=0.1)
    assert spot.quality == "ok"


def test_the_map_holds_the_activity_of_the_spot(readings: Readings) -> None:
    result = reconstruct(setup(), readings).result
    grid = result.map.grid
    near = np.linalg.norm(grid.points() - np.array(SOURCE), axis=1) < 12.0
    held = float((result.map.activity.reshape(-1)[near] - 0.4).clip(0).sum()) * grid.voxel_ml
    assert held == pytest.approx(80.0, rel=0.25)


def test_nothing_is_found_where_nothing_is() -> None:
    # Field-wise 1 % for what is reported: five quiet scans without a spot hold with a probability above 95 %.
    for seed in range(30, 35):
        result = reconstruct(setup(), filled(raster(), [], 0.4, seed=seed)).result
        assert [s for s in result.spots if s.quality != "unusable"] == []


def test_what_the_scan_did_not_see_says_so(readings: Readings) -> None:
    found = reconstruct(setup(), readings).result.map
    points = found.grid.points().reshape(*found.grid.shape, 3)
    air = points[..., 2] > 3.0
    assert (found.mda_kbq[air] == NOT_EXAMINED).all()
    assert (found.relative_sd[air] == NOT_EXAMINED).all()
    assert not found.examined[air].any()
    assert (found.mda_kbq[found.examined] > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        found.activity[0, 0, 0] = 1.0


def test_activity_is_given_at_the_reference_time(readings: Readings) -> None:
    # One half-life of Tc-99m (6.007 h) after the reference time the same counts mean twice the activity.
    later = replace(readings, t_s=readings.t_s + 6.007 * 3600.0)
    now, then = (reconstruct(setup(), r).result.spots[0].activity_kbq for r in (readings, later))
    assert then == pytest.approx(2.0 * now, rel=0.01)


def test_too_few_readings_are_refused(readings: Readings) -> None:
    live = LiveReconstruction(setup())
    live.add(readings.head(5))
    assert live.update() is None
    with pytest.raises(InputError, match="5 placed readings"):
        live.finish()


def test_a_calibration_of_another_nuclide_is_refused() -> None:
    with pytest.raises(GateRefusedError, match="Tc-99m"):
        ImagingSetup.create(response(), flat_surface(), "In-111")


def test_without_a_surface_the_result_says_so(readings: Readings) -> None:
    result = reconstruct(ImagingSetup.create(response(), None, "Tc-99m"), readings).result
    assert any("path" in reason for reason in result.reasons)
    assert all(s.quality != "ok" for s in result.spots)


def test_unknown_latency_is_estimated_with_its_interval(readings: Readings) -> None:
    # The counts were made without latency; lines are passed in both directions, so they tell.
    found = reconstruct(replace(setup(), latency_sd_s=0.087), readings).result
    assert found.count_latency_ci95_s is not None
    low, high = found.count_latency_ci95_s
    assert low == 0.0
    assert 0.0 < high < 0.087


def test_the_way_to_the_patient_neither_turns_the_surface_nor_stretches_the_field(readings: Readings) -> None:
    # The probe comes from below the table, 300 mm behind the skin: those poses tell nothing about the outside.
    approach = replace(readings.head(40), poses=readings.poses[:40] @ shifted(0.0, 0.0, 300.0))
    later = replace(readings, t_s=readings.t_s + 4.0)
    whole = reconstruct(setup(), Readings.joined([approach, later])).result
    alone = reconstruct(setup(), readings).result
    assert whole.map.grid.size == alone.map.grid.size
    assert np.linalg.norm(whole.spots[0].position_mm - alone.spots[0].position_mm) < 1.0


def shifted(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = (x, y, z)
    return matrix


def test_a_surface_in_another_frame_is_refused(readings: Readings) -> None:
    elsewhere = ImagingSetup.create(response(), flat_surface() + [800.0, 0.0, 0.0], "Tc-99m")
    with pytest.raises(InputError, match="Reference frame"):
        reconstruct(elsewhere, readings)


def test_an_undetermined_direction_gets_a_large_variance() -> None:
    # Information from 1e12 down to 4e-4: no parameter may vanish because another is known too well.
    information = np.diag([2.5e5, 1 / 25, 1 / 2500, 9.0, 1e12])
    sd = np.sqrt(np.diag(inverse_information(information)))
    assert sd == pytest.approx([0.002, 5.0, 50.0, 1 / 3, 1e-6], rel=1e-6)
