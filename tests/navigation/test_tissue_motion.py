"""What soft tissue's motion adds to a predicted error: measured, given or assumed, and told as such."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.reconstruction import reconstruct
from navigation.results import spots_content
from navigation.simulate.motion import Motion
from navigation.tissuemotion import along, tissue_motion, tissue_motion_sd_mm
from tests.navigation.scan_model import filled, raster, setup
from tracking.errors import InputError

# An amplitude of 6 mm has a mean square of 18 mm2.
RANGE_MM = 12.0


def test_without_measurement_or_statement_10_mm_from_end_to_end_are_assumed() -> None:
    # 5 mm of amplitude over the root of two.
    assert tissue_motion_sd_mm() == pytest.approx(3.5355, abs=1e-4)
    assert tissue_motion().to_json()["origin"] == "assumed"


def test_what_a_scan_measured_goes_before_what_is_assumed() -> None:
    told = tissue_motion(RANGE_MM)
    assert told.origin == "measured" and told.sd_mm == pytest.approx(18.0**0.5)


@pytest.mark.parametrize(("given", "sd", "origin"), [(2.0, 18.0**0.5, "measured"), (6.0, 6.0, "given")])
def test_the_larger_of_measured_and_given_counts(given: float, sd: float, origin: str) -> None:
    told = tissue_motion(RANGE_MM, given)
    assert told.sd_mm == pytest.approx(sd) and told.origin == origin


def test_a_target_that_does_not_move_is_labelled_rigid() -> None:
    told = tissue_motion(given_mm=0.0)
    assert told.sd_mm == 0.0 and told.words.startswith("rigid patient")
    assert np.array_equal(told.widened(np.eye(3)), np.eye(3))


def test_it_adds_its_variance_along_every_axis() -> None:
    assert np.allclose(
        tissue_motion(given_mm=2.0).widened(np.diag([1.0, 2.0, 3.0])), np.diag([5.0, 6.0, 7.0])
    )


@pytest.mark.parametrize("bad", [-1.0, 31.0, float("nan")])
def test_a_value_that_is_no_motion_of_tissue_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="0 to 30 mm"):
        tissue_motion(given_mm=bad)


def test_a_swing_is_shared_among_the_axes_of_the_reference() -> None:
    # Along (0.6, 0.8, 0): 0.6 and 0.8 of 18^0.5.
    assert along(RANGE_MM, np.array([-0.6, 0.8, 0.0])) == pytest.approx([0.6 * 18**0.5, 0.8 * 18**0.5, 0.0])


def test_a_patient_whose_breath_dwells_keeps_range_and_mean_place() -> None:
    t = np.linspace(0.0, 4.0, 4000, endpoint=False)
    shift = Motion(breathing_mm=10.0, period_s=4.0, dwelling=True).shift(t)[:, 1]
    assert np.ptp(shift) == pytest.approx(10.0, abs=1e-3) and abs(shift.mean()) < 1e-9
    # cos^4 x < 1/8 from |cos x| < 0.595 on: 1 - 2 acos(0.595) / pi = 0.406 of a breath; a sine stays 0.230 there.
    assert np.mean(shift < shift.min() + 1.25) == pytest.approx(0.406, abs=0.003)


def test_a_scan_at_rest_states_the_assumed_motion_and_puts_it_into_no_place() -> None:
    result = reconstruct(setup(), filled(raster(200), [((0.0, 0.0, -15.0), 150.0)], 0.4, seed=1)).result
    content = spots_content(result)
    assert content["tissue_motion"]["origin"] == "assumed"
    assert content["spots"] and "motion_mm" not in content["spots"][0]
    assert np.array_equal(content["spots"][0]["covariance_mm2"], result.spots[0].covariance_mm2)
