"""From touched landmarks to the study: `T_study_reference`, its file, and the check that a touch was one.

The study's frame is the patient's LPS of its images; Reference is the dynamic reference's. Lengths mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.registration.landmarks import (
    LandmarkRegistration,
    RigidFit,
    register_landmarks,
    registration_id,
)
from tracking.errors import GateRefusedError, InputError, PoseError
from tracking.jsonfile import read_json
from tracking.transform import RigidTransform

STUDY_FRAME = "Study"
REFERENCE_FRAME = "Reference"
# Slicer's world is RAS; the study is LPS.
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A resting stylus scatters by the tracker's noise, some 0.3 mm; more is a hand or a patient that moved.
MAX_TOUCH_SD_MM = 1.0
# Half a second at 20 Hz: fewer poses say little of whether the stylus rested.
MIN_TOUCH_POSES = 10


@dataclass(frozen=True, slots=True, eq=False)
class StudyRegistration:
    """`T_study_reference` with the id and the error it was accepted with."""

    T_study_reference: RigidTransform
    id: str
    fre_mm: float | None

    @property
    def T_ras_reference(self) -> NDArray[np.float64]:
        """(4, 4) `ReferenceToRas` of the wire: the study's LPS turned to Slicer's RAS."""
        return RAS_FROM_LPS @ self.T_study_reference.matrix


def touched_point(T_reference_stylustip: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point (3,) in Reference on which the stylus tip rested during poses (n, 4, 4).

    Raises GateRefusedError when it moved or was hardly seen.
    """
    tips = np.asarray(T_reference_stylustip, dtype=np.float64)[:, :3, 3]
    tips = tips[np.isfinite(tips).all(axis=1)]
    if len(tips) < MIN_TOUCH_POSES:
        raise GateRefusedError(f"the stylus was seen in {len(tips)} poses, at least {MIN_TOUCH_POSES} needed")
    point = np.median(tips, axis=0)
    sd_mm = float(np.sqrt(((tips - point) ** 2).sum(axis=1).mean()))
    if sd_mm > MAX_TOUCH_SD_MM:
        raise GateRefusedError(
            f"the stylus moved by {sd_mm:.1f} mm while it touched: touch the landmark again"
        )
    return np.asarray(point)


def register_study(
    landmarks_lps_mm: ArrayLike,
    touched_reference_mm: ArrayLike,
    labels: tuple[str, ...] | None = None,
    targets_lps_mm: ArrayLike | None = None,
) -> LandmarkRegistration:
    """Touched points (n, 3) in Reference onto CT landmarks (n, 3) in LPS: the fit is T_study_reference.

    Its error is predicted at targets (k, 3) of the study, where there are any.
    """
    plain = register_landmarks(landmarks_lps_mm, touched_reference_mm, labels)
    targets = np.zeros((0, 3)) if targets_lps_mm is None else np.asarray(targets_lps_mm, dtype=np.float64)
    if plain.fit is None or not len(targets):
        return plain
    back = RigidTransform(STUDY_FRAME, REFERENCE_FRAME, plain.fit.matrix).inverse()
    return register_landmarks(
        landmarks_lps_mm, touched_reference_mm, labels, back.apply(targets.reshape(-1, 3))
    )


def predicted_mm(result: LandmarkRegistration) -> float | None:
    """The largest RMS error predicted at a target; without targets that amid the landmarks; None where unknown."""
    told = result.at_targets or (() if result.at_centre is None else (result.at_centre,))
    return max((float(t.rms_mm) for t in told), default=None)


def study_registration(result: LandmarkRegistration) -> StudyRegistration:
    """The transform of an accepted registration. Raises GateRefusedError with the reasons otherwise."""
    if result.fit is None or not result.accepted:
        raise GateRefusedError(f"registration refused: {'; '.join(result.reasons)}")
    return _registration(result.fit)


def _registration(fit: RigidFit) -> StudyRegistration:
    transform = RigidTransform(STUDY_FRAME, REFERENCE_FRAME, fit.matrix)
    return StudyRegistration(transform, registration_id(fit.matrix), fit.fre_mm)


def load_registration(path: Path) -> StudyRegistration:
    """Read reg.json, whose transform maps Reference into the study.

    Raises InputError when it is malformed, GateRefusedError when it was refused.
    """
    content = read_json(path)
    if content.get("method") == "images":
        raise InputError(f"{path}: registers images with each other, not Reference into the study")
    if content.get("method") == "activity":
        raise InputError(f"{path}: a shift proposed by the counts, no registration of a study")
    if content.get("accepted") is not True:
        reasons = content.get("reasons")
        said = "; ".join(str(r) for r in reasons) if isinstance(reasons, list) else ""
        raise GateRefusedError(f"{path}: this registration was not accepted: {said}")
    try:
        matrix = np.array(content.get("T_target_source"), dtype=np.float64)
        transform = RigidTransform(STUDY_FRAME, REFERENCE_FRAME, matrix)
    except (TypeError, ValueError, PoseError) as fault:
        raise InputError(f"{path}, T_target_source: {fault}") from None
    fre = content.get("fre_mm")
    return StudyRegistration(
        transform, registration_id(matrix), float(fre) if isinstance(fre, int | float) else None
    )
