"""Half-lives, names and windows of the known nuclides."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.physics.nuclide import NUCLIDES, nuclide, window_around
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
        ("^125^Iodine", "I-125"),
        ("Jod-131", "I-131"),
        ("131I", "I-131"),
        ("Cobalt-57", "Co-57"),
        ("57-Co", "Co-57"),
        # Code meanings of SNOMED RT as older DICOM files spell them.
        ("Technetium Tc-99m", "Tc-99m"),
        ("Indium In^111^", "In-111"),
        # Code values of DICOM PS3.16 CID 18 and CID 4020, SNOMED RT and CT.
        ("C-163A8", "Tc-99m"),
        ("72454006", "Tc-99m"),
        ("77004003", "F-18"),
        ("C-131A3", "Ga-68"),
        ("35337001", "Ga-68"),
        ("c-114b1", "I-131"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert nuclide(spelling) is NUCLIDES[name]


@pytest.mark.parametrize("spelling", ["Tc-99", "Xe-133", "", "m", "In-113m", "99mmTc", "Lu-177m", "77004004"])
def test_unknown_names_list_the_known(spelling: str) -> None:
    with pytest.raises(InputError, match=r"Co-57, F-18, Ga-68, I-123, I-125, I-131, In-111, Lu-177, Tc-99m"):
        nuclide(spelling)


def test_one_hour_of_decay() -> None:
    # 1 - 2^(-1 h / T): the losses of the hazard table, H12.
    lost = {n: 1.0 - float(nuclide(n).decay_factor(3600.0)) for n in ("Ga-68", "F-18", "Tc-99m", "In-111")}
    assert lost["Ga-68"] == pytest.approx(0.459, abs=1e-3)
    assert lost["F-18"] == pytest.approx(0.315, abs=1e-3)
    assert lost["Tc-99m"] == pytest.approx(0.109, abs=1e-3)
    assert lost["In-111"] == pytest.approx(0.010, abs=1e-3)


# Evaluated half-lives with their standard uncertainty (BIPM Monographie-5), in s.
EVALUATED = {
    "Tc-99m": (6.0067 * 3600, 0.0010 * 3600),
    "In-111": (2.8049 * 86400, 0.0004 * 86400),
    "Ga-68": (67.83 * 60, 0.20 * 60),
    "F-18": (109.73 * 60, 0.02 * 60),
    "Lu-177": (6.647 * 86400, 0.004 * 86400),
    "I-123": (13.2234 * 3600, 0.0037 * 3600),
    "I-125": (59.388 * 86400, 0.028 * 86400),
    "I-131": (8.0233 * 86400, 0.0019 * 86400),
    "Co-57": (271.80 * 86400, 0.05 * 86400),
}


@pytest.mark.parametrize("name", sorted(NUCLIDES))
def test_half_lives_agree_with_the_evaluation_within_their_uncertainty(name: str) -> None:
    known, (evaluated_s, sd_s) = NUCLIDES[name], EVALUATED[name]
    off = abs(known.half_life_s - evaluated_s)
    assert off <= 1.1 * known.half_life_sd_s
    # The uncertainty stated is neither less than the evaluation's own nor invented far beyond it and the rounding.
    assert 0.9 * sd_s <= known.half_life_sd_s <= 1.5 * (sd_s + off) + 1e-4 * evaluated_s
    assert "BIPM" in known.source and "ENSDF" in known.source


def test_the_half_life_s_uncertainty_grows_with_time() -> None:
    # ln 2 * t / T * u(T) / T: Ga-68 over two half-lives is uncertain by 2 ln 2 * 0.2 / 67.7 = 0.41 %.
    ga = nuclide("Ga-68")
    assert ga.decay_relative_sd(2 * ga.half_life_s) == pytest.approx(2 * np.log(2.0) * 0.2 / 67.7)
    assert ga.decay_relative_sd(0.0) == 0.0
    assert ga.decay_relative_sd(-600.0) == ga.decay_relative_sd(600.0)


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
    assert nuclide("I-131").window_kev == pytest.approx((0.9 * 364.5, 1.1 * 364.5))
    assert nuclide("Co-57").window_kev == pytest.approx((0.9 * 122.1, 1.1 * 122.1))


def test_photons_in_a_window_of_the_default_and_of_another() -> None:
    # A 20 % window holds 10 % of the energy to either side; with 12 % FWHM at 140 keV sigma is 7.15 keV, so 14.05 keV
    # are 1.96 sigma: 95.0 % of the peak is inside.
    tc = nuclide("Tc-99m")
    assert tc.photons_in(tc.window_kev) == pytest.approx(0.885 * 0.950, rel=2e-3)
    # Half the peak lies above the line.
    assert tc.photons_in((140.5, 300.0)) == pytest.approx(0.885 / 2, rel=1e-3)
    # A probe with a perfect crystal counts the whole line, and nothing of it a window beside.
    assert tc.photons_in((139.0, 142.0), resolution_140=1e-4) == pytest.approx(0.885, rel=1e-6)
    assert tc.photons_in((150.0, 160.0), resolution_140=1e-4) == 0.0


def test_windows_see_the_lines_of_other_nuclides() -> None:
    iodine = nuclide("I-125").window_kev
    # The K X-rays of cadmium lie at the edge of the window of I-125; those of tellurium are those of I-125 itself.
    assert 0.2 < nuclide("In-111").photons_in(iodine) < 0.6
    assert nuclide("I-123").photons_in(iodine) > 0.6
    assert nuclide("Tc-99m").photons_in(iodine) < 0.02
    assert nuclide("I-125").photons_in(nuclide("Tc-99m").window_kev) < 1e-6
