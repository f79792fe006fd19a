"""Detector calibration: physics recovered from a grid, gates, files, and the recordings' probe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.gates import DetectorGates
from calibration.physics.nuclide import nuclide
from calibration.probe.collimator import Collimator
from calibration.probe.detector import AirWater, calibrate, read_air_water, read_grid
from calibration.probe.gridfit import Grid, deviance_residuals, fit_grid
from calibration.probe.response import checksum, load_response, response_of
from calibration.probe.scatter import acceptance, klein_nishina
from tests.navigation.scan_model import PROBE, grid_of
from tracking.errors import GateRefusedError, InputError

HEADER = "r_mm,z_mm,counts,live_s,activity_kbq\n"


def test_far_on_the_axis_the_response_falls_with_the_square_of_the_distance() -> None:
    # Seen from afar the crystal's effective depth no longer matters: doubling d quarters s within 1 %.
    z = np.array([2000.0, 4000.0])
    near, far = PROBE.response(np.zeros(2), z)
    depth = PROBE.recess_mm + 3.0
    assert near / far == pytest.approx(((4000 + depth) / (2000 + depth)) ** 2, rel=0.01)


def test_a_wide_open_thin_crystal_sees_its_disc() -> None:
    # Optical thickness t = 0.01, aperture far wider than the crystal. On the axis at h = 15 mm the cosine of the
    # flux cancels against the path, so s = t * integral dA / (4 pi d^2) = t / 4 * ln(1 + R^2 / h^2).
    probe = Collimator(1.0, 40.0, 3.0, 5.0, 20.0, 0.1, 0.1, 1e-9)
    expected = 1000.0 * 0.01 / 4.0 * np.log(1.0 + 9.0 / 15.05**2)
    assert probe.response(np.zeros(1), np.array([10.0]))[0] == pytest.approx(expected, rel=0.01)


def test_the_fit_predicts_points_it_never_saw() -> None:
    grid = grid_of(PROBE, seed=2)
    some = np.arange(len(grid)) % 4 == 1
    fitted = fit_grid(grid.take(some))
    unseen = grid.take(~some)
    residuals = deviance_residuals(unseen.counts, fitted.in_air(unseen.r_mm, unseen.z_mm) * unseen.exposure)
    assert float(residuals @ residuals) / len(unseen) < 1.5


def test_klein_nishina_integrates_to_the_known_total() -> None:
    # Total cross section at 140.5 keV is 0.739 of the Thomson one, 0.6652 barn = 6.652e-23 mm2 (closed form).
    cosine = np.linspace(-1, 1, 20001)
    section, energy = klein_nishina(cosine, 140.5)
    total = 2 * np.pi * float(np.trapezoid(section, cosine))
    e = 140.5 / 510.999
    closed = 0.75 * (
        (1 + e) / e**3 * (2 * e * (1 + e) / (1 + 2 * e) - np.log(1 + 2 * e))
        + np.log(1 + 2 * e) / (2 * e)
        - (1 + 3 * e) / (1 + 2 * e) ** 2
    )
    assert total / 6.652e-23 == pytest.approx(closed, rel=1e-3)
    # Backscatter leaves 140.5 / (1 + 2 e) keV, far below the window.
    assert energy[0] == pytest.approx(140.5 / (1 + 2 * e))
    assert acceptance(energy[:1], (126.0, 154.0))[0] < 1e-4


def test_air_water_scales_the_scatter_it_measures() -> None:
    grid = grid_of(PROBE)
    z = np.array([10.0, 30.0, 50.0])
    plain = calibrate(grid, nuclide("Tc-99m"))
    ratio = np.array(
        calibrate(grid, nuclide("Tc-99m"), None, AirWater(z, np.ones(3), np.full(3, 0.5)))["attenuation"][
            "tabulated_ratio"
        ]
    )
    # Water that follows the tabulated ratio asks for no change of the scatter.
    content = calibrate(grid, nuclide("Tc-99m"), None, AirWater(z, np.ones(3), ratio))
    assert content["attenuation"]["scatter_scale"] == pytest.approx(1.0, abs=1e-3)
    assert plain["attenuation"]["source"] == "tabulated physics"
    assert "tabulated" in " ".join(plain["reasons"])


def test_probe_json_comes_back_as_it_was(tmp_path: Path) -> None:
    content = calibrate(grid_of(PROBE), nuclide("Tc-99m"))
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(content))
    loaded, direct = load_response(path), response_of(content, path)
    assert (loaded.table == direct.table).all()
    r, z = np.array([0.0, 5.0, 30.0]), np.array([20.0, 30.0, 60.0])
    assert loaded.in_air(r, z) == pytest.approx(PROBE.response(r, z), rel=0.03)
    assert loaded.extrapolated(np.array([61.0]), np.array([50.0]))[0]
    assert not loaded.extrapolated(np.array([10.0]), np.array([50.0]))[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dead_time_s": 1e-5}, "altered"),
        ({"expiry": "2001-01-01"}, "expired"),
        ({"accepted": False, "reasons": ["no source"]}, "refused: no source"),
    ],
)
def test_a_calibration_that_may_not_be_used_is_refused(change: dict[str, object], words: str) -> None:
    content = calibrate(grid_of(PROBE), nuclide("Tc-99m")) | change
    if "dead_time_s" not in change:
        content["checksum"] = checksum(content)
    with pytest.raises(GateRefusedError, match=words):
        response_of(content, "probe.json")


def test_data_that_are_no_calibration_are_refused_with_reasons() -> None:
    grid = grid_of(PROBE)
    few = calibrate(grid.take(np.arange(len(grid)) < 10), nuclide("Tc-99m"))
    silent = calibrate(replace(grid, counts=np.zeros(len(grid))), nuclide("Tc-99m"))
    rising = calibrate(replace(grid, counts=grid.counts[::-1].copy()), nuclide("Tc-99m"))
    for content, word in ((few, "points"), (silent, "counts"), (rising, "distance")):
        assert content["accepted"] is False
        assert word in " ".join(content["reasons"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("r,z,counts\n1,2,3\n", "columns must be"),
        (HEADER, "no measured points"),
        (HEADER + "0,2,nan,10,500\n", "row 2: not a finite"),
        (HEADER + "0,2,5,10,500\n0,x,5,10,500\n", "row 3"),
        (HEADER + "0,2,-5,10,500\n", "row 2: r_mm"),
        (HEADER + "0,2,5,10\n", "row 2: 4 columns"),
        (HEADER + "0,2,90,10,500\n0,5,50,10,500\n0,2,90,10,500\n", "row 4: repeats row 2"),
    ],
)
def test_a_malformed_grid_names_its_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_grid(path)


def changed(grid: Grid, **values: np.ndarray) -> dict[str, object]:
    """What becomes of a good grid with some of its columns changed."""
    return calibrate(replace(grid, **values), nuclide("Tc-99m"))


@pytest.mark.parametrize(("factor", "words"), [(1e-3, "in MBq"), (1e3, "in Bq")])
def test_an_activity_in_another_unit_is_told_by_what_probes_can_see(factor: float, words: str) -> None:
    grid = grid_of(PROBE)
    content = changed(grid, activity_kbq=factor * grid.activity_kbq)
    assert content["accepted"] is False
    assert words in " ".join(content["reasons"])


def test_probes_from_weak_to_strong_are_calibrated() -> None:
    # PROBE has 10,000 cps/MBq at 10 mm; with counts and times to match, 400 and 12,100 are as good.
    grid = grid_of(PROBE)
    for share in (0.04, 1.2):
        assert changed(grid, activity_kbq=grid.activity_kbq / share)["accepted"] is True


def test_repeated_points_that_disagree_are_refused() -> None:
    grid = grid_of(PROBE)
    twice = grid.take(np.append(np.arange(len(grid)), 14))
    assert calibrate(twice, nuclide("Tc-99m"))["accepted"] is True
    counts = twice.counts.copy()
    counts[-1] *= 1.5
    content = changed(twice, counts=counts)
    assert content["accepted"] is False
    assert "r 0, z 5 mm" in " ".join(content["reasons"])


def test_a_part_measured_with_another_activity_than_stated_is_refused() -> None:
    # Every other point with 250 kBq that the table calls 450: it counts 0.56 of what the others foretell.
    grid = grid_of(PROBE)
    weaker = np.arange(len(grid)) % 2 == 0
    counts = np.where(weaker, np.round(grid.counts * 0.5), grid.counts)
    right = changed(grid, counts=counts, activity_kbq=np.where(weaker, 250.0, 500.0))
    wrong = changed(grid, counts=counts, activity_kbq=np.where(weaker, 450.0, 500.0))
    assert right["accepted"] is True
    assert wrong["accepted"] is False
    assert "activities are not consistent" in " ".join(wrong["reasons"])


def test_air_and_water_in_another_unit_are_refused() -> None:
    grid, z = grid_of(PROBE), np.array([10.0, 30.0, 50.0])
    air = 1000.0 * PROBE.response(np.zeros(3), z)
    water = air * np.array([0.9, 0.7, 0.55])
    assert calibrate(grid, nuclide("Tc-99m"), None, AirWater(z, air, water))["accepted"] is True
    content = calibrate(grid, nuclide("Tc-99m"), None, AirWater(z, air / 1000.0, water / 1000.0))
    assert content["accepted"] is False
    assert "cps/kBq" in " ".join(content["reasons"])


def test_gates_of_a_case_are_named_in_the_result() -> None:
    grid = grid_of(PROBE)
    strict = calibrate(grid, nuclide("Tc-99m"), gates=DetectorGates(min_points=200))
    assert strict["accepted"] is False
    assert strict["gates_overridden"] == ["min_points 200 instead of 20"]


def test_the_recordings_probe_fits_within_its_statistics(test_data: Path) -> None:
    folder = test_data / "recordings"
    content = calibrate(
        read_grid(folder / "probe_grid_Tc-99m.csv"),
        nuclide("Tc-99m"),
        None,
        read_air_water(folder / "probe_air_water_Tc-99m.json"),
    )
    assert content["held_out_chi2_per_dof"] <= 1.5
    # Tabulated single scatter and the measurement agree: nothing was tuned to this probe.
    assert content["attenuation"]["scatter_scale"] == pytest.approx(1.0, abs=0.15)
    axis = content["response"]["on_axis_cps_per_mbq"]
    assert axis["10mm"] == pytest.approx(9285.2, rel=0.02)
    assert axis["50mm"] == pytest.approx(1194.4, rel=0.02)


def test_a_ratio_measured_near_the_face_tells_little_of_the_scatter() -> None:
    # Scatter adds some 4 % to the ratio at 10 mm and 9 % at 50: an error of 1.5 % of it is 0.36 and 0.17 of the factor.
    grid, z = grid_of(PROBE), np.array([10.0, 50.0])
    air = 1000.0 * PROBE.response(np.zeros(2), z)
    plain = calibrate(grid, nuclide("Tc-99m"))["attenuation"]
    ratio = np.interp(z, plain["distance_mm"], plain["tabulated_ratio"])
    near, far = (
        calibrate(grid, nuclide("Tc-99m"), None, AirWater(z[k], air[k], (air * ratio)[k]))["attenuation"]
        for k in (slice(0, 1), slice(1, 2))
    )
    assert near["scatter_scale_sd"] > 1.5 * far["scatter_scale_sd"]
    assert far["scatter_scale_sd"] >= 0.1
    # What a bound took away is not known any better.
    clipped = calibrate(grid, nuclide("Tc-99m"), None, AirWater(z, air, 0.8 * air * ratio))["attenuation"]
    assert clipped["scatter_scale_sd"] > 0.3
