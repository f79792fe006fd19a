"""What was touched lies on the skin of the study, or the registration is asked after."""

from __future__ import annotations

import numpy as np
import pytest

from navigation.ctmap import StudyTissue
from navigation.engine.skinwatch import SkinWatch, border_mm
from navigation.simulate.phantom import CT_SIZE, CT_SPACING_MM, ct_numbers, study_grid
from navigation.simulate.scenes import build_scene

SCENE = build_scene("occult", 5)


@pytest.fixture(scope="module")
def tissue() -> StudyTissue:
    grid = study_grid(SCENE.patient, CT_SPACING_MM, CT_SIZE)
    return StudyTissue.of(ct_numbers(SCENE, grid).astype(np.float32), grid)


def touched(n: int = 80) -> np.ndarray:
    """Points on the true skin, in Reference."""
    x, y = np.random.default_rng(4).uniform(-60.0, 60.0, (2, n))
    skin = np.stack([x, y, SCENE.patient.body.skin(x, y)], axis=1)
    T = SCENE.patient.T_reference_body
    return np.asarray(skin @ T[:3, :3].T + T[:3, 3])


@pytest.mark.parametrize(("off_mm", "asked"), [(0.0, False), (4.0, False), (25.0, True)])
def test_a_registration_that_is_off_shows_on_the_skin(
    tissue: StudyTissue, off_mm: float, asked: bool
) -> None:
    T = np.array(SCENE.patient.T_study_reference)
    # Off along the front of the patient (A is -y in LPS), where the skin was touched.
    T[1, 3] += off_mm
    words = SkinWatch(tissue).words(touched(), T, "reg", 2.0)
    assert (words is not None) is asked
    if words is not None:
        assert float(words.split(" lies ")[1].split(" mm")[0]) == pytest.approx(off_mm, abs=4.0)


def test_as_many_points_elsewhere_are_compared_anew(tissue: StudyTissue) -> None:
    watch, T = SkinWatch(tissue), np.array(SCENE.patient.T_study_reference)
    assert watch.words(touched(), T, "reg", 2.0) is None
    off = touched() + SCENE.patient.T_reference_body[:3, 2] * 40.0
    assert watch.words(off, T, "reg", 2.0) is not None
    assert watch.words(touched(), T, "reg", 2.0) is None


def test_without_registration_or_surface_nothing_is_asked(tissue: StudyTissue) -> None:
    watch = SkinWatch(tissue)
    assert watch.words(None, np.eye(4), "reg", None) is None
    assert watch.words(touched(), None, "none", None) is None
    assert watch.words(touched(5), np.eye(4), "reg", None) is None


def test_the_border_is_the_skin_to_a_voxel(tissue: StudyTissue) -> None:
    from scipy.spatial import cKDTree

    T = SCENE.patient.T_study_reference
    distance = cKDTree(border_mm(tissue)).query(touched() @ T[:3, :3].T + T[:3, 3])[0]
    assert np.median(distance) < 2.0
