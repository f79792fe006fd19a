"""Attenuation of tissue, water and shields by energy, and of the lines that a window mixes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.physics.attenuation import MATERIALS, Mixture, effective_mu_per_cm, mu_per_cm, tenth_value_mm
from calibration.physics.nuclide import nuclide
from calibration.probe.detector import AirWater, Tables, describe
from calibration.probe.gridfit import FittedResponse, Grid, fit_grid
from tracking.errors import InputError


@pytest.mark.parametrize(
    ("energy_kev", "expected"),
    [(140.5, 0.152), (171.0, 0.143), (245.0, 0.126), (208.0, 0.134), (511.0, 0.095)],
)
def test_soft_tissue_has_the_published_coefficients(energy_kev: float, expected: float) -> None:
    assert float(mu_per_cm(energy_kev)) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("material", ["water", "tungsten", "lead"])
def test_our_tables_are_those_of_nist(material: str, test_data: Path) -> None:
    energy, mass, density = nist(test_data / "nist_attenuation" / f"{material}.csv")
    seen = (energy >= MATERIALS[material].energy_kev[0]) & (energy <= MATERIALS[material].energy_kev[-1])
    # At an absorption edge the table steps; a shade to either side it does not.
    step = np.abs(np.diff(energy, prepend=0.0)) < 1e-9
    step |= np.abs(np.diff(energy, append=1e9)) < 1e-9
    kept = seen & ~step
    assert kept.sum() >= 14
    np.testing.assert_allclose(mu_per_cm(energy[kept], material), density * mass[kept], rtol=1e-3)


def test_soft_tissue_lies_between_fat_and_muscle(test_data: Path) -> None:
    folder = test_data / "nist_attenuation"
    for energy_kev in (30.0, 60.0, 100.0, 150.0, 200.0, 300.0, 500.0):
        own = float(mu_per_cm(energy_kev))
        low, high = (float(at(nist(folder / f"{name}.csv"), energy_kev)) for name in ("adipose", "muscle"))
        assert low < own < high


def nist(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Energies in keV, mass attenuation, density of a file of the reference."""
    lines = path.read_text().splitlines()
    # Three numbers a row, an edge's name before them where there is one.
    rows = [[float(v) for v in line.split()[-3:]] for line in lines[1:] if len(line.split()) >= 3]
    table = np.array(rows)
    return 1000.0 * table[:, 0], table[:, 1], float(lines[0])


def at(found: tuple[np.ndarray, np.ndarray, float], energy_kev: float) -> float:
    energy, mass, density = found
    return density * float(np.exp(np.interp(np.log(energy_kev), np.log(energy), np.log(mass))))


@pytest.mark.parametrize(("energy_kev", "expected_mm"), [(140.5, 0.64), (245.0, 2.4), (511.0, 8.9)])
def test_a_shield_that_stops_technetium_leaks_indium(energy_kev: float, expected_mm: float) -> None:
    assert tenth_value_mm(energy_kev, "tungsten") == pytest.approx(expected_mm, rel=0.02)


def test_edges_and_bad_questions() -> None:
    # Above the K edge of tungsten at 69.5 keV the coefficient is more than four times that below it.
    below, above = mu_per_cm([69.4, 69.6], "tungsten")
    assert above > 4.0 * below
    with pytest.raises(
        InputError, match="unknown material 'butter'; known are lead, soft tissue, tungsten, water"
    ):
        mu_per_cm(140.0, "butter")
    with pytest.raises(InputError, match="soft tissue: attenuation is tabulated from 10 to 1500 keV only"):
        mu_per_cm(5.0)
    with pytest.raises(InputError, match="tabulated"):
        mu_per_cm(np.nan)


def test_the_window_decides_what_attenuates() -> None:
    indium = nuclide("In-111")
    both = Mixture.of(indium, indium.window_kev)
    assert both.mu_per_cm() == pytest.approx((0.907 * 0.1427 + 0.941 * 0.1262) / 1.848, rel=0.003)
    # The upper line alone, as a probe with a narrow window on it sees it.
    assert Mixture.of(indium, (225.0, 270.0)).mu_per_cm() == pytest.approx(0.126, rel=0.005)
    lutetium = nuclide("Lu-177")
    # 113 keV: 0.163 between 0.1688 at 100 and 0.149 at 150 keV.
    assert Mixture.of(lutetium, (101.0, 125.0)).mu_per_cm() == pytest.approx(0.163, rel=0.01)
    with pytest.raises(InputError, match="window 2000 to 2001 keV counts no line of F-18"):
        Mixture.of(nuclide("F-18"), (2000.0, 2001.0))


def test_shares_are_those_of_the_counts() -> None:
    for name in ("Tc-99m", "In-111", "I-125", "I-131"):
        known = nuclide(name)
        assert sum(share for _, share in Mixture.of(known, known.window_kev).lines) == pytest.approx(1.0)


def test_one_mean_coefficient_is_wrong_by_as_much_as_stated() -> None:
    # Half the variance of mu times the path squared, by the second cumulant. In-111: (0.0165 / 2)^2 / 2 * 36 cm2 =
    # 0.12 % at 60 mm. I-125: 0.085 % at 10 mm and 3 % at 60 mm, which is more than is to be left to chance.
    indium = Mixture.of(nuclide("In-111"), nuclide("In-111").window_kev)
    assert indium.hardening([10.0, 60.0]) == pytest.approx([3.4e-5, 1.22e-3], rel=0.03)
    iodine = Mixture.of(nuclide("I-125"), nuclide("I-125").window_kev)
    assert iodine.hardening(10.0) < 0.002
    assert 0.02 < float(iodine.hardening(60.0)) < 0.05
    assert Mixture.of(nuclide("Tc-99m"), (126.0, 155.0)).hardening([0.0, 60.0]) == pytest.approx(
        0.0, abs=1e-12
    )


def test_the_tables_carry_the_mixture_of_lines() -> None:
    """The unscattered counts of a wide window on Lu-177 follow its lines one by one, not their mean."""
    window = (95.0, 235.0)
    tables = Tables.of(fitted(), nuclide("Lu-177"), window)
    mixture = Mixture.of(nuclide("Lu-177"), window)
    assert [energy for energy, _ in mixture.lines] == [208.4, 112.9]
    # On the axis (first column) and face on the tissue the path to the crystal in tissue is z = 10 / w - 10.
    rows = np.array([10, 30, 60])
    path = 10.0 / (rows / (tables.primary.shape[0] - 1)) - 10.0
    seen = (tables.primary + tables.hardened)[rows, 0] / tables.primary[rows, 0]
    # 63 % at 0.1337 and 37 % at 0.1631 per cm.
    left = 0.63 * np.exp(-0.01337 * path) + 0.37 * np.exp(-0.01631 * path)
    mean = np.exp(-(0.63 * 0.01337 + 0.37 * 0.01631) * path)
    np.testing.assert_allclose(seen, left / mean, rtol=1e-3)


def test_a_window_below_a_line_takes_its_scatter_too() -> None:
    """A window on the lower line of In-111 counts photons that the upper one lost energy of: more than alone."""
    z = np.array([30.0])
    lower = Tables.of(fitted(), nuclide("In-111"), (155.0, 188.0))
    # I-123 emits nearly nothing above its 159 keV: the share of scatter of one line by itself.
    alone = Tables.of(fitted(), nuclide("I-123"), (145.0, 175.0))
    share = [float(t.on_axis(z, 1.0)[0] / t.on_axis(z, 0.0)[0]) - 1.0 for t in (lower, alone)]
    assert share[0] > 1.5 * share[1] > 0.0


def grid() -> Grid:
    """Noise-free points of a probe of 80 mm2 whose view falls off as a Gaussian of the angle, 12 mm behind its face."""
    z, r = (v.ravel() for v in np.meshgrid([5.0, 10.0, 20.0, 30.0, 50.0, 80.0], [0.0, 4.0, 8.0, 15.0, 25.0]))
    live, activity = np.full(len(z), 20.0), np.full(len(z), 2000.0)
    d2 = r**2 + (z + 12.0) ** 2
    seen = 1000.0 * 0.5 * 80.0 / (4.0 * np.pi * d2) * np.exp(-0.5 * (np.arctan2(r, z + 12.0) / 0.45) ** 2)
    return Grid(r, z, np.round(seen * live * activity), live, activity)


@cache
def fitted() -> FittedResponse:
    return fit_grid(grid())


def attenuation(name: str, air_water: AirWater | None = None) -> dict[str, Any]:
    known = nuclide(name)
    found: dict[str, Any] = describe(fitted(), grid(), known, known.window_kev, air_water)["attenuation"]
    return found


def test_predicted_and_measured_effective_mu_stand_side_by_side() -> None:
    z = np.array([10.0, 30.0, 50.0])
    found = attenuation("Tc-99m", AirWater(z, np.ones(3), 1.1 * np.exp(-0.1536 * z / 10.0)))
    # -ln(1.1) / d off the narrow-beam 0.1536 of water.
    expected = 0.1536 - np.log(1.1) / (z / 10.0)
    assert found["effective_mu_per_cm"] == pytest.approx(list(expected), rel=1e-4)
    difference = np.array(found["effective_mu_per_cm"]) - np.array(found["predicted_effective_mu_per_cm"])
    assert found["effective_mu_difference_per_cm"] == pytest.approx(list(difference), abs=1e-6)
    # Build-up makes the effective coefficient less than the narrow-beam one.
    assert all(v < found["narrow_beam_mu_water_per_cm"] for v in found["predicted_effective_mu_per_cm"])


def test_below_60_kev_the_scatter_model_says_that_it_does_not_hold() -> None:
    low, usual = attenuation("I-125"), attenuation("Tc-99m")
    assert "coherent" in " ".join(low["reasons"]) and "coherent" not in " ".join(usual["reasons"])
    assert low["scatter_scale_sd"] > 2 * usual["scatter_scale_sd"]


def test_effective_mu_of_a_plain_exponential_is_its_own() -> None:
    assert effective_mu_per_cm(np.exp([-0.2, -0.6]), [10.0, 30.0]) == pytest.approx([0.2, 0.2])
