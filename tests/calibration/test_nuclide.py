"""Half-lives, names and windows of the known nuclides."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.nuclide import NUCLIDES, nuclide, window_around
from tracking.errors import InputError


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Tc-99m", "Tc-99m"),
        ("99mTc", "Tc-99m"),
        ("tc99m", "Tc-99m"),
        ("^99m^Technetium", "Tc-99m"),
        ("Technetium-99m", "Tc-99m"),
        ("In-111", "In-111"),
        ("111In", "In-111"),
        ("Indium 111", "In-111"),
        ("68Ga", "Ga-68"),
        ("F18", "F-18"),
        ("^18^Fluorine", "F-18"),
        ("177Lu", "Lu-177"),
        ("123I", "I-123"),
        ("I-125", "I-125"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert nuclide(spelling) is NUCLIDES[name]


@pytest.mark.parametrize("spelling", ["Tc-99", "Xe-133", "", "m", "In-113m", "99mmTc"])
def test_unknown_names_list_the_known(spelling: str) -> None:
    with pytest.raises(InputError, match=r"F-18, Ga-68, I-123, I-125, In-111, Lu-177, Tc-99m"):
        nuclide(spelling)


def test_one_hour_of_decay() -> None:
    # 1 - 2^(-1 h / T): the losses of the hazard table, H12.
    lost = {n: 1.0 - float(nuclide(n).decay_factor(3600.0)) for n in ("Ga-68", "F-18", "Tc-99m", "In-111")}
    assert lost["Ga-68"] == pytest.approx(0.459, abs=1e-3)
    assert lost["F-18"] == pytest.approx(0.315, abs=1e-3)
    assert lost["Tc-99m"] == pytest.approx(0.109, abs=1e-3)
    assert lost["In-111"] == pytest.approx(0.010, abs=1e-3)


def test_decay_factor_is_vectorised_and_grows_backwards() -> None:
    tc = nuclide("Tc-99m")
    factors = tc.decay_factor([-tc.half_life_s, 0.0, tc.half_life_s])
    np.testing.assert_allclose(factors, [2.0, 1.0, 0.5])


def test_mean_decay_factor() -> None:
    # (1 - 1/2) / ln 2 over one half-life; a window of no length is its own instant.
    tc = nuclide("Tc-99m")
    assert tc.mean_decay_factor(0.0, tc.half_life_s) == pytest.approx(0.5 / np.log(2.0))
    assert tc.mean_decay_factor(60.0, 60.0) == pytest.approx(float(tc.decay_factor(60.0)))


def test_windows() -> None:
    assert window_around(140.5) == pytest.approx((126.45, 154.55))
    assert nuclide("In-111").window_kev == (154.0, 270.0)
    assert nuclide("In-111").photons_per_decay == pytest.approx(0.907 + 0.941)
    # the 113 keV line of Lu-177 lies outside its window
    assert nuclide("Lu-177").photons_per_decay == pytest.approx(0.104)
