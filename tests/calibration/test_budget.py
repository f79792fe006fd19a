"""The uncertainty budget: combination, effective degrees of freedom, expansion, and what a source's statement adds."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from calibration.physics.budget import Budget, Component, budget_from_json
from calibration.physics.nuclide import nuclide
from calibration.physics.source import ASSUMED_RELATIVE_SD, aware_time, place_component, source_statement
from tracking.errors import InputError


def test_components_add_in_squares_times_their_sensitivity() -> None:
    # sqrt(0.03^2 + (2 * 0.02)^2) = 0.05.
    budget = Budget.of([Component("a", "A", 0.03, ""), Component("b", "B", 0.02, "", sensitivity=-2.0)])
    assert budget.relative_sd == pytest.approx(0.05)
    assert budget.coverage_factor == 1.96
    low, high = budget.interval(100.0)
    assert math.log(high / 100.0) == pytest.approx(1.96 * 0.05)
    assert low * high == pytest.approx(100.0**2)


def test_the_example_of_the_gum_for_effective_degrees_of_freedom() -> None:
    # JCGM 100, G.4.1: relative uncertainties 0.25, 0.57 and 0.82 % from 10, 5 and 15 repetitions: u_c = 1.03 %,
    # 19 effective degrees of freedom, t_95(19) = 2.09.
    budget = Budget.of(
        Component(name, "A", sd, "", degrees_of_freedom=n - 1)
        for name, sd, n in (("x", 0.0025, 10), ("y", 0.0057, 5), ("z", 0.0082, 15))
    )
    assert budget.relative_sd == pytest.approx(0.0103, abs=5e-5)
    assert budget.degrees_of_freedom == pytest.approx(19.0, abs=0.2)
    assert budget.coverage_factor == pytest.approx(2.09, abs=0.01)


def test_bounds_become_standard_uncertainties() -> None:
    # Half width over sqrt(3) and sqrt(6), JCGM 100 4.3.7 and 4.3.9.
    assert Component.within("r", 0.03, "").relative_sd == pytest.approx(0.03 / 3**0.5)
    assert Component.within("t", 0.03, "", "triangular").relative_sd == pytest.approx(0.03 / 6**0.5)


def test_a_budget_comes_back_from_its_file() -> None:
    budget = Budget.of(
        [
            Component("small", "A", 0.01, "counts", distribution="Poisson"),
            Component("large", "B", 0.02, "paper", 1.5, "rectangular", 7.0, assumed=True),
            Component("none", "B", 0.0, "nothing"),
            None,
        ]
    )
    content = budget.to_json()
    assert [row["name"] for row in content["components"]] == ["large", "small"]
    assert content["components"][1]["degrees_of_freedom"] is None
    assert content["expanded_relative"] == pytest.approx(
        budget.coverage_factor * budget.relative_sd, rel=1e-5
    )
    back = budget_from_json(content, "probe.json")
    assert back.relative_sd == pytest.approx(budget.relative_sd)
    assert back.degrees_of_freedom == pytest.approx(budget.degrees_of_freedom)
    with pytest.raises(InputError, match="no uncertainty budget"):
        budget_from_json({"components": [{"name": "x"}]}, "probe.json")


@pytest.mark.parametrize(
    "bad", [{"kind": "C"}, {"relative_sd": -0.1}, {"relative_sd": math.nan}, {"distribution": "x"}]
)
def test_what_is_no_component_is_not_made(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="x: "):
        Component(**{"name": "x", "kind": "A", "relative_sd": 0.1, "source": ""} | bad)  # type: ignore[arg-type]


def test_an_empty_budget_is_certain_and_says_so() -> None:
    empty = Budget.of([])
    assert (empty.relative_sd, empty.degrees_of_freedom, empty.coverage_factor) == (0.0, math.inf, 1.96)


def test_coverage_of_the_interval_by_drawing() -> None:
    """Log-normal errors of the stated size lie within the 95 % interval in 95 of 100 draws."""
    budget = Budget.of([Component("a", "A", 0.05, ""), Component("b", "B", 0.08, "")])
    low, high = budget.interval(1.0)
    drawn = np.exp(np.random.default_rng(3).normal(0.0, (0.05**2 + 0.08**2) ** 0.5, 20000))
    assert np.mean((drawn > low) & (drawn < high)) == pytest.approx(0.95, abs=0.006)


def test_a_source_without_a_certificate_gets_an_assumed_figure_marked_as_such() -> None:
    (certificate, half_life) = source_statement(nuclide("Tc-99m")).components(nuclide("Tc-99m"))
    assert certificate.assumed and certificate.relative_sd == ASSUMED_RELATIVE_SD
    assert half_life.relative_sd == 0.0
    stated = source_statement(nuclide("Tc-99m"), 0.01, "DC-2").components(nuclide("Tc-99m"))[0]
    assert not stated.assumed and stated.relative_sd == 0.01 and "DC-2" in stated.source


def test_the_source_decays_from_assay_to_measurement() -> None:
    # H12: an hour takes 10.9 % from Tc-99m and 45.9 % from Ga-68, across a change of zone too.
    at = {"assay_time": "2026-01-01T08:00:00Z", "measured_at": "2026-01-01T10:00:00+01:00"}
    assert source_statement(nuclide("Tc-99m"), **at).decay_factor(nuclide("Tc-99m")) == pytest.approx(
        0.891, abs=1e-3
    )
    gallium = source_statement(nuclide("Ga-68"), **at)
    assert gallium.decay_factor(nuclide("Ga-68")) == pytest.approx(0.541, abs=1e-3)
    # ln 2 * 60 / 67.7 * 0.2 / 67.7 = 0.18 %.
    assert gallium.components(nuclide("Ga-68"))[1].relative_sd == pytest.approx(0.0018, abs=1e-4)
    assert gallium.to_json(nuclide("Ga-68"))["assay_time"] == "2026-01-01T08:00:00+00:00"


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"relative_sd": 30.0}, "--source-relative-sd 30: is a share"),
        ({"assay_time": "2026-01-01T08:00:00Z"}, "go together"),
        ({"assay_time": "2026-01-01T08:00:00", "measured_at": "2026-01-01T09:00:00Z"}, "has no time zone"),
        ({"assay_time": "yesterday", "measured_at": "2026-01-01T09:00:00Z"}, "is not an ISO 8601 time"),
        (
            {"assay_time": "2026-01-01T10:00:00Z", "measured_at": "2026-01-01T09:00:00Z"},
            "is before --assay-time",
        ),
        ({"assay_time": "2025-01-01T08:00:00Z", "measured_at": "2026-01-01T09:00:00Z"}, "is the date right"),
    ],
)
def test_a_statement_that_cannot_be_is_refused(stated: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        source_statement(nuclide("Tc-99m"), **stated)  # type: ignore[arg-type]


def test_the_place_of_the_source_counts_twice_over_its_distance() -> None:
    # 1/d^2: 2 * 0.25 / 40 = 1.25 % at 40 mm from the crystal.
    assert place_component(40.0).contribution == pytest.approx(0.0125)


def test_a_time_may_come_from_toml_with_its_zone() -> None:
    when = datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert aware_time(when, "x") is when
    assert aware_time(None, "x") is None
    with pytest.raises(InputError, match="no time zone"):
        aware_time(datetime(2026, 1, 1, 8), "x")


def test_a_calibration_tells_what_its_scale_rests_on() -> None:
    from calibration.physics.scalebudget import with_budget

    content = {
        "response": {"scale_relative_sd": 0.5, "recess_mm": 3.0},
        "attenuation": {"scatter_scale_sd": 0.25},
    }
    stated = source_statement(nuclide("Tc-99m"), 0.01, "DC-2")
    found = with_budget(content, 0.002, 50.0, nuclide("Tc-99m"), stated)
    # Counts 0.2 %, model 0.5 %, place 2 * 0.25 / 50 = 1 %, certificate 1 %: 1.51 %; scatter 12 % of 25 %: 3 % more.
    scale = math.sqrt(0.002**2 + 0.005**2 + 0.01**2 + 0.01**2)
    assert found["response"] == {"scale_relative_sd": pytest.approx(scale), "recess_mm": 3.0}
    told = found["uncertainty_budget"]
    assert told["combined_relative_sd"] == pytest.approx(math.hypot(scale, 0.03), rel=1e-5)
    assert [row["type"] for row in told["components"] if row["name"] == "counts of the calibration"] == ["A"]
    assert found["source"]["calibrator_id"] == "DC-2" and found["source"]["decay_factor"] == 1.0
    # A sweep's own fit carries the place of its source.
    swept = with_budget(content, 0.002, None, nuclide("Tc-99m"))
    assert "place of the source" not in {row["name"] for row in swept["uncertainty_budget"]["components"]}


def test_the_grid_s_activity_is_that_of_the_measurement() -> None:
    """Stated an hour before, 10.9 % of the activity is gone: the probe counts 12 % better than it seems."""
    from calibration.probe.detector import calibrate
    from tests.calibration.test_attenuation import fitted, grid

    stated = source_statement(nuclide("Tc-99m"), 0.02, None, "2026-01-01T08:00:00Z", "2026-01-01T09:00:00Z")
    content = calibrate(grid(), nuclide("Tc-99m"), source=stated)
    seemed = 1000.0 * float(fitted().in_air(np.zeros(1), np.array([30.0]))[0])
    assert content["response"]["on_axis_cps_per_mbq"]["30mm"] == pytest.approx(seemed / 0.891, rel=0.01)
    assert content["response"]["scale_relative_sd"] > 0.02
    assert content["source"]["measured_at"] == "2026-01-01T09:00:00+00:00"


def test_an_activity_of_which_nothing_is_known_has_a_finite_interval() -> None:
    # A standard error of 800 in log units, as of a source that no count tells of: exp of it would overflow.
    low, high = Budget.of([Component("counting", "A", 800.0, "no counts", distribution="Poisson")]).interval(
        2.0
    )
    assert 0.0 < low < 1e-5
    assert 1e5 < high < float("inf")
