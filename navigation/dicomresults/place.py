"""Where the results lie: in the study's frame of reference, or in one of their own where nothing brings them there.

Positions of DICOM are LPS millimetres of the frame of reference; results are in the tracker's Reference frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.dicomresults.uids import derived_uid
from navigation.io.pacssettings import is_uid
from navigation.report.results import TRUSTED_STATES, CaseReport
from navigation.volume import VoxelGrid
from tracking.errors import InputError, PoseError
from tracking.jsonfile import read_json
from tracking.transform import RigidTransform

Array = NDArray[np.float64]

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NOT_REGISTERED = (
    "Not registered to any image: positions are in the tracker's Reference frame, in a frame of reference of "
    "their own. Left, posterior and superior are not those of the patient."
)
MOVED = " The reference has moved since this scan: nothing ties it to the others."
REGISTERED = "Registered: positions are LPS millimetres of the study's frame of reference."
REGISTERED_ELSEWHERE = (
    "Registered: positions are LPS millimetres of the study. The UID of the study's frame of reference is not known "
    "here; these objects carry one of their own."
)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A frame of reference, and `T_frame_reference` (4, 4), rigid, from the tracker's Reference into it."""

    frame_uid: str
    T_frame_reference: Array
    registered: bool
    words: str

    def points(self, points_mm: Array) -> Array:
        """Points (..., 3) of Reference in the frame."""
        T = self.T_frame_reference
        return np.asarray(points_mm @ T[:3, :3].T + T[:3, 3])

    def grid(self, grid: VoxelGrid) -> VoxelGrid:
        """A grid of Reference in the frame: oblique rather than resampled."""
        R = self.T_frame_reference[:3, :3]
        return VoxelGrid(self.points(grid.origin_mm), grid.spacing_mm, grid.size, R @ grid.direction)

    def covariance(self, covariance_mm2: Array) -> Array:
        """A covariance (3, 3) of Reference along the axes of the frame."""
        R = self.T_frame_reference[:3, :3]
        return np.asarray(R @ covariance_mm2 @ R.T)


def placement_of(case: CaseReport, study: Path | None, own: str, identified: bool) -> Placement:
    """The frame for a case; `study` is its imported study, `own` what a frame of its own is derived from.

    A frame whose UID spells a date or a number goes out under its own UID only if `identified`.

    Raises InputError when a registration or the study cannot be read.
    """
    T = _registered(case)
    if T is None:
        return Placement(derived_uid("reference frame", own), np.eye(4), False, NOT_REGISTERED)
    uid = _told_frame(case) if study is None else _study_frame(study, identified)
    if uid is None:
        return Placement(derived_uid("study frame", own), T, True, REGISTERED_ELSEWHERE)
    return Placement(uid, T, True, REGISTERED)


def apart(own: str, scan: str) -> Placement:
    """A frame for one scan alone, made before the reference moved."""
    uid = derived_uid("reference frame before a move", own, scan)
    return Placement(uid, np.eye(4), False, NOT_REGISTERED + MOVED)


def scans_elsewhere(case: CaseReport) -> frozenset[str]:
    """Names of the scans that were made before the reference moved. Raises InputError."""
    path = case.folder / "registrations.json"
    named = (read_json(path) if path.is_file() else {}).get("scans_elsewhere") or ()
    return frozenset(map(str, named))


def _registered(case: CaseReport) -> Array | None:
    """T_lps_reference of an accepted registration that nothing of the live case speaks against."""
    if case.T_ras_reference is None:
        return None
    live = case.folder / "registrations.json"
    if live.is_file() and read_json(live).get("state") not in TRUSTED_STATES:
        return None
    try:
        return RigidTransform("Study", "Reference", LPS_FROM_RAS @ case.T_ras_reference).matrix
    except PoseError as fault:
        raise InputError(f"{case.folder}, registration: {fault}") from None


def _told_frame(case: CaseReport) -> str | None:
    """The UID of the study's frame as case.json has it, where the study itself is not here."""
    path = case.folder / "case.json"
    uid = (read_json(path) if path.is_file() else {}).get("frame_of_reference")
    return uid if isinstance(uid, str) and is_uid(uid) else None


def _study_frame(study: Path, identified: bool) -> str | None:
    """The UID of the frame that the study's series share; None where it has none that may be told."""
    file = study / "study.json"
    content = read_json(file)
    series = content.get("series")
    if not isinstance(series, list) or not series or not isinstance(series[0], dict):
        raise InputError(f"{file}, series: is missing or empty")
    uid = series[0].get("frame_of_reference")
    if identified:
        uid = ((content.get("patient") or {}).get("uids") or {}).get(uid, uid)
    return uid if isinstance(uid, str) and is_uid(uid) else None
