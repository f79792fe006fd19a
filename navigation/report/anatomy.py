"""The CT that a case's report draws on, and where Reference lies in it; None where nothing proves that it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.io.study import load_study
from navigation.report.results import CaseReport
from navigation.studymodel import StudyModel
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """CT numbers (nz, ny, nx) on a grid in the study's LPS, and `T_study_reference` (4, 4)."""

    ct_hu: NDArray[np.float32]
    grid: VoxelGrid
    T_study_reference: Array

    def in_study(self, points_mm: Array) -> Array:
        """Points (..., 3) of Reference in the study's LPS."""
        T = self.T_study_reference
        return np.asarray(points_mm @ T[:3, :3].T + T[:3, 3])


def anatomy_of(case: CaseReport, study: Path | None = None) -> Anatomy | None:
    """The CT of `study`, by default the case's folder `study`; None without a CT or an accepted registration.

    Raises InputError for a study that is not the one the case was done with.
    """
    T_ras = case.T_ras_reference
    folder = case.folder / "study" if study is None else study
    if study is not None and not (folder / "study.json").is_file():
        raise InputError(f"{folder}: no imported study (looked for study.json)")
    if T_ras is None or not (folder / "study.json").is_file():
        return None
    known = (case.about or {}).get("study_id")
    if known is not None and StudyModel.of_folder(folder).id != known:
        raise InputError(f"{folder}: not the study that the case was done with ({known})")
    ct = load_study(folder).ct
    if ct is None or not ct.usable:
        return None
    return Anatomy(ct.volume(), ct.grid, np.diag([-1.0, -1.0, 1.0, 1.0]) @ T_ras)
