"""What was injected: net activity at the reference time, its uncertainty, and every way to write it wrongly."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.physics.injection import injection_of, read_injection, require_before
from calibration.physics.nuclide import nuclide
from tracking.errors import GateRefusedError, InputError

TC = nuclide("Tc-99m")
TABLE: dict[str, Any] = {
    "activity": 80.0,
    "unit": "MBq",
    "assay_time": "2026-01-01T08:00:00Z",
    "injection_time": "2026-01-01T09:00:00Z",
}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_net_activity_at_the_reference_time() -> None:
    given = injection_of(TABLE | {"residual": 2.0, "residual_time": "2026-01-01T09:30:00Z"}, "case").given(
        TC, NOON
    )
    # Syringe 80 MBq at 8:00; the rest, 2 MBq at 9:30, was more at 9:00. One half-life is 6.007 h.
    at_nine = 80.0 * 2 ** (-1 / 6.007) - 2.0 * 2 ** (0.5 / 6.007)
    assert given.injected_mbq == pytest.approx(at_nine)
    assert given.kbq == pytest.approx(1000.0 * at_nine * 2 ** (-3 / 6.007))
    assert given.percent(given.kbq / 4.0) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("name", "lost"), [("Ga-68", 0.459), ("F-18", 0.315), ("Tc-99m", 0.109), ("In-111", 0.010)]
)
def test_an_hour_of_decay_between_injection_and_scan(name: str, lost: float) -> None:
    known, table = nuclide(name), TABLE | {"assay_time": TABLE["injection_time"]}
    given = injection_of(table, "case").given(known, datetime(2026, 1, 1, 10, tzinfo=UTC))
    assert given.kbq == pytest.approx(80000.0 * (1.0 - lost), rel=2e-3)


def test_the_same_instant_in_another_zone_is_the_same() -> None:
    local = TABLE | {"assay_time": "2026-01-01T10:00:00+02:00", "injection_time": "2026-01-01T04:00:00-05:00"}
    assert injection_of(local, "case").given(TC, NOON).kbq == injection_of(TABLE, "case").given(TC, NOON).kbq


def test_the_uncertainty_is_that_of_calibrator_and_half_life() -> None:
    given = injection_of(TABLE | {"relative_sd": 0.03, "calibrator": "DC-2"}, "case").given(TC, NOON)
    # Four hours after the assay the half-life adds ln 2 * 4 / 6.007 * 0.0011 / 6.007 = 0.0085 %.
    assert given.budget.relative_sd == pytest.approx(np.hypot(0.03, 8.5e-5), rel=1e-4)
    assert not given.budget.components[0].assumed and "DC-2" in given.budget.components[0].source
    assumed = injection_of(TABLE, "case").given(TC, NOON)
    assert assumed.budget.components[0].assumed and assumed.budget.relative_sd == pytest.approx(
        0.025, rel=1e-3
    )


def test_the_interval_in_percent_holds_both_uncertainties() -> None:
    given = injection_of(TABLE | {"relative_sd": 0.05}, "case").given(TC, NOON)
    spread = np.exp(1.96 * 0.1)
    low, high = given.percent_interval(100.0, (100.0 / spread, 100.0 * spread))
    middle = given.percent(100.0)
    # 10 % of the focus and 5 % of the injected in squares.
    assert np.log(high / middle) == pytest.approx(1.96 * np.hypot(0.1, 0.05), rel=1e-3)
    assert np.log(middle / low) == pytest.approx(1.96 * np.hypot(0.1, 0.05), rel=1e-3)
    assert given.percent_interval(1.0, (0.0, 2.0))[0] == 0.0
    assert given.percent_interval(0.0, (0.0, 0.0)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activity": 80000.0}, r"activity: 80000 MBq is not between 0.1 and 5000 MBq; is the unit right"),
        ({"activity": 80.0, "unit": "kBq"}, "0.08 MBq is not between"),
        ({"activity": "80"}, "'80' is no number"),
        ({"activity": None}, "None is no number"),
        ({"activity": float("nan")}, "nan is no number"),
        ({"unit": "mCi"}, "unit: 'mCi' is none of kBq, MBq, GBq"),
        ({"assay_time": "2026-01-01T08:00:00"}, "assay_time: 2026-01-01T08:00:00 has no time zone"),
        ({"injection_time": "9 o'clock"}, "is not an ISO 8601 time"),
        ({"injection_time": None}, "injection_time: is missing"),
        ({"assay_time": "2026-01-01T09:30:00Z"}, "the syringe was empty"),
        ({"residual_time": "2026-01-01T08:30:00Z"}, "residual_time: is before the injection"),
        ({"residual": -1.0}, "residual: -1.0 is no number >= 0"),
        ({"relative_sd": 5.0}, "relative_sd: is a share"),
        ({"nuclide": "Xe-133"}, "unknown nuclide"),
        ({"patient_ref": "Doe^Jane"}, "patient_ref: must be one short code"),
        ({"patient_ref": "Jane Doe"}, "no names"),
        ({"study_ref": "1970-12-31"}, "no dates"),
        ({"study_ref": "19701231"}, "no dates"),
        ({"dose": 3}, "unknown key 'dose'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        injection_of(TABLE | change, "case.toml")
    assert str(caught.value).startswith(("case.toml, injection", "unknown nuclide")) and "\n" not in str(
        caught.value
    )


def test_therapy_nuclides_may_have_more() -> None:
    assert (
        injection_of(TABLE | {"activity": 7.4, "unit": "GBq", "nuclide": "Lu-177"}, "case").activity_mbq
        == 7400.0
    )


def test_another_nuclide_a_wrong_date_and_an_empty_injection() -> None:
    with pytest.raises(GateRefusedError, match="In-111 was injected, the scan is Tc-99m"):
        injection_of(TABLE | {"nuclide": "In-111"}, "case").given(TC, NOON)
    with pytest.raises(InputError, match="half-lives of Tc-99m away; is the date right"):
        injection_of(TABLE, "case").given(TC, NOON + timedelta(days=5))
    with pytest.raises(InputError, match="stayed in the syringe"):
        injection_of(TABLE | {"residual": 75.0}, "case").given(TC, NOON)


def test_nothing_was_injected_before_the_scan() -> None:
    found = injection_of(TABLE, "case")
    require_before(found, NOON, "case")
    with pytest.raises(InputError, match=r"injection_time: 2026-01-01T09:00:00.* is after the scan began"):
        require_before(found, datetime(2026, 1, 1, 8, 30, tzinfo=UTC), "case")


def test_files_in_either_form(tmp_path: Path) -> None:
    as_json, as_toml, inside = tmp_path / "a.json", tmp_path / "a.toml", tmp_path / "b.json"
    as_json.write_text(json.dumps(TABLE))
    inside.write_text(json.dumps({"injection": TABLE}))
    # TOML has times of its own.
    as_toml.write_text(
        "[injection]\nactivity = 80\nassay_time = 2026-01-01T08:00:00Z\ninjection_time = 2026-01-01T09:00:00Z\n"
    )
    found = [read_injection(path).given(TC, NOON).kbq for path in (as_json, as_toml, inside)]
    assert found[0] == found[1] == found[2]
    as_json.write_text("[1]")
    with pytest.raises(InputError):
        read_injection(as_json)
    with pytest.raises(InputError, match="is no table"):
        injection_of("80 MBq", "case.toml")


def test_what_results_carry_is_what_was_read() -> None:
    found = injection_of(TABLE | {"residual": 1.0, "patient_ref": "P-0815", "calibrator": "DC-2"}, "case")
    written = found.given(TC, NOON).to_json()
    kept = {k: v for k, v in written.items() if not k.endswith(("_kbq", "_mbq", "at_reference_time"))}
    assert injection_of(kept, "again") == found
    assert written["injected_at_reference_time_kbq"] == pytest.approx(found.given(TC, NOON).kbq, rel=1e-5)
