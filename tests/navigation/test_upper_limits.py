"""The upper-limit map: it holds what is there, says so in its file, and is nowhere told where nobody looked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.io.nrrd import read_nrrd
from navigation.pointlayer import JointFit, Source
from navigation.reconstruction import ScanState, reconstruct
from navigation.results import write_scan_result
from navigation.upperlimits import bounds_of, total_limit
from navigation.volume import NOT_EXAMINED
from tests.navigation.scan_model import filled, raster, setup

PLACE = np.array([6.0, -4.0, -18.0])


@pytest.fixture(scope="module")
def state() -> ScanState:
    return reconstruct(setup(), filled(raster(240), [((6.0, -4.0, -18.0), 60.0)], 0.4, seed=2))


def one_source(fit: JointFit, sd_mm: float, radius_mm: float = 0.0) -> JointFit:
    """The fit with one source of 10 kBq +- 20 % at PLACE over a background of one coefficient."""
    covariance = np.diag([1.0, sd_mm**2, sd_mm**2, sd_mm**2, 0.2**2])
    source = Source(PLACE, 10.0, radius_mm)
    return replace(fit, sources=(source,), background=np.ones(1), covariance=covariance)


def test_a_focus_adds_its_own_bound_where_it_may_lie(state: ScanState) -> None:
    fit = state.found.fit
    (bound,) = bounds_of(one_source(fit, 2.0))
    # 10 kBq times exp(1.645 x 0.2).
    assert bound.upper_kbq == pytest.approx(13.9, rel=0.002)
    # sqrt(7.815) times a standard deviation of sqrt(2^2 + 0.7^2) mm is 5.92 mm.
    points = PLACE + np.array([[5.8, 0.0, 0.0], [0.0, 0.0, -6.1], [0.0, 3.0, 3.0]])
    limit = total_limit(points, np.full(3, 2.0), (bound,), 0.0)
    assert limit == pytest.approx([15.9, 2.0, 15.9], rel=0.002)
    # An extended one reaches farther by its radius.
    (wide,) = bounds_of(one_source(fit, 2.0, radius_mm=4.0))
    assert wide.holds(PLACE + np.array([[9.8, 0.0, 0.0], [10.1, 0.0, 0.0]])).tolist() == [True, False]


def test_the_calibration_s_error_widens_every_limit() -> None:
    # hypot(1, 1.6449 x 0.5) = 1.295.
    assert total_limit(PLACE[None], np.array([2.0]), (), 0.5) == pytest.approx([2.59], rel=1e-3)


def test_the_map_holds_the_focus_and_what_could_hide_beside_it(state: ScanState) -> None:
    found = state.result.map
    points = found.grid.points().reshape(*found.grid.shape, 3)
    distance = np.linalg.norm(points - PLACE, axis=-1)
    limit = found.upper_limit_kbq
    assert limit[distance < 3.0].min() > 60.0
    far = found.examined & (distance > 30.0) & (found.mda_kbq < 20.0)
    # Without excess the limit is half the MDA, 1.645 of its 3.29 standard deviations; chance adds two more at most.
    assert far.any()
    assert float(np.median(limit[far] / found.mda_kbq[far])) == pytest.approx(0.6, abs=0.2)
    assert float((limit[far] / found.mda_kbq[far]).max()) < 2.0
    assert (limit[~found.examined] == NOT_EXAMINED).all()
    assert (limit[found.examined] > 0.0).all()


def test_the_file_tells_its_confidence(state: ScanState, tmp_path: Path) -> None:
    write_scan_result(state.result, tmp_path)
    volume = read_nrrd(tmp_path / "upper_limit.nrrd")
    assert volume.keys["confidence"] == "0.95"
    assert volume.keys["unit"] == "kBq"
    assert float(volume.keys["not_examined"]) == NOT_EXAMINED
    assert volume.grid.size == state.result.map.grid.size
    assert (volume.array == state.result.map.upper_limit_kbq).all()
