"""One scan behind the engine's jobs: what it says of a bed is of all readings that came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from navigation.bed import Bed
from navigation.engine.reconstruct import Imaging
from tests.navigation.scan_model import filled, raster, setup
from tracking.sample import Readings

FOCUS = ((2.0, -3.0, -8.0), 80.0)


def later(readings: Readings, by_s: float) -> Readings:
    return replace(readings, t_s=readings.t_s + by_s)


def bed() -> Bed:
    x, y = np.meshgrid(np.arange(-15.0, 16, 5), np.arange(-15.0, 16, 5))
    return Bed(np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]), 10.0)


def test_a_second_check_of_a_scan_that_went_on_is_of_all_its_readings() -> None:
    scan = Imaging(setup())
    scan.add(filled(raster(200), [], 0.3, 1))
    first = scan.check_bed(bed(), 20.0, 0.95, None)
    assert first.finding == "none-above"
    assert scan.state.result.samples_placed == 200
    scan.add(later(filled(raster(200), [FOCUS], 0.3, 2), 20.0))
    second = scan.check_bed(bed(), 20.0, 0.95, None)
    assert scan.state.result.samples_placed == 400
    assert second.finding == "residual-suspected"
