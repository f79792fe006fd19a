"""Attenuation from a registered CT: numbers of the bilinear rule, and the frames it passes through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from navigation import ctmap
from navigation.ctmap import relative_mu
from navigation.registration.study import StudyRegistration
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.transform import RigidTransform


def test_relative_attenuation_of_known_tissues() -> None:
    values = relative_mu(np.array([-1000.0, -700.0, -100.0, 0.0, 1000.0], dtype=np.float32))
    assert values == pytest.approx([0.0, 0.3, 0.9, 1.0, 1.55], abs=1e-6)


class OneSeries:
    usable = True
    grid = VoxelGrid.aligned(np.array([-40.0, -30.0, -20.0]), 4.0, (21, 16, 11))

    def volume(self) -> np.ndarray:
        array = np.full(self.grid.shape, -1000.0, dtype=np.float32)
        array[:, :, 11:] = 0.0  # water at x >= 4 mm in the study
        return array


class OneStudy:
    ct: OneSeries | None = OneSeries()


def test_the_ct_lies_in_reference_where_the_registration_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # T_study_reference turns Reference's +y into the study's +x and shifts by 10 mm: water begins at y = -6 mm.
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    matrix[0, 3] = 10.0
    monkeypatch.setattr(ctmap, "load_study", lambda _: OneStudy())
    monkeypatch.setattr(
        ctmap,
        "load_registration",
        lambda _: StudyRegistration(RigidTransform("Study", "Reference", matrix), "id", 0.5),
    )
    tissue = ctmap.tissue_from_study(Path("study"), Path("reg.json"))
    assert tissue.source == "ct"
    assert tissue.at(np.array([[0.0, 4.0, 0.0], [0.0, -14.0, 0.0]])) == pytest.approx([1.0, 0.0], abs=0.01)


def test_a_study_without_a_ct_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCt:
        ct = None

    monkeypatch.setattr(ctmap, "load_study", lambda _: NoCt())
    with pytest.raises(InputError, match="no usable CT"):
        ctmap.tissue_from_study(Path("study"), Path("reg.json"))
