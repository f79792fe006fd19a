"""A case turned every way at once: an oblique, unequal grid with few marked voxels, a focus, a bed, a registration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from navigation.io.nrrd import write_nrrd
from navigation.volume import NO_LIMIT_KBQ, NOT_EXAMINED, VoxelGrid
from tests.navigation.case_folder import dump

FRAME, STUDY_UID = "1.2.840.99999.7.1", "1.2.840.99999.7.2"
NAME, NUMBER, BORN, STUDIED = "Quxmeier^Zolanthe", "PZ-4711-X", "19410203", "20260107"
ACCESSION = "ACC-8823"
PLANTED = (ACCESSION, "Quxmeier", "Zolanthe", NUMBER, BORN, "1941-02-03", STUDIED, "2026-01-07")
STATEMENT = (
    "No activity above 4.0 kBq (95 % confidence) detected on 60 % of the outlined bed; 40 % not examined."
)
SPOT_MM = np.array([13.0, -21.0, 34.5])
RESIDUAL_MM = np.array([9.0, -18.0, 31.0])
# k, j, i of the voxels that stand out, each with its own value: no axis can be exchanged or turned unnoticed.
MARKED = {(0, 0, 0): 3.0, (0, 0, 4): 5.0, (0, 6, 0): 7.0, (3, 0, 0): 11.0, (2, 5, 1): 13.0}


def reference_grid() -> VoxelGrid:
    turn = Rotation.from_euler("zyx", [12.0, -25.0, 40.0], degrees=True).as_matrix()
    return VoxelGrid(np.array([5.0, -30.0, 25.0]), np.array([2.0, 3.0, 2.5]), (5, 7, 4), turn)


def registration() -> NDArray[np.float64]:
    """T_study_reference (4, 4)."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", [160.0, 33.0, -71.0], degrees=True).as_matrix()
    T[:3, 3] = (-112.25, 47.5, 801.125)
    return T


def apply(T: NDArray[np.float64], points: Any) -> NDArray[np.float64]:
    return np.asarray(points, dtype=float) @ T[:3, :3].T + T[:3, 3]


def activity() -> NDArray[np.float32]:
    """0.25 kBq/mL, the marked voxels more, and one plane of j not examined."""
    values = np.full(reference_grid().shape, 0.25, dtype=np.float32)
    for where, value in MARKED.items():
        values[where] = value
    values[:, 3, :] = 0.0
    return values


def mda() -> NDArray[np.float32]:
    values = 2.0 * np.ones(reference_grid().shape, dtype=np.float32)
    values[:, 3, :] = NOT_EXAMINED
    values[1, 1, 1] = NO_LIMIT_KBQ
    return values


def spot() -> dict[str, Any]:
    turn = Rotation.from_euler("xyz", [20.0, 10.0, 50.0], degrees=True).as_matrix()
    return {
        "id": 1,
        "position_mm": SPOT_MM.tolist(),
        "covariance_mm2": (turn @ np.diag([0.5, 1.0, 4.0]) @ turn.T).tolist(),
        "extent_mm": 0.0,
        "activity_kbq": 92.0,
        "activity_ci95_kbq": [71.0, None],
        "significance": 22.4,
        "tbr": 8.1,
        "quality": "limited",
        "reasons": ["the counts of Quxmeier are few"],
    }


def bed_check() -> dict[str, Any]:
    return {
        "finding": "residual-suspected",
        "threshold_kbq": 4.0,
        "confidence": 0.95,
        "covered_fraction": 0.6,
        "largest_uncovered_mm": 14.2,
        "mda_kbq": 3.4,
        "max_upper_limit_kbq": None,
        "residuals": [
            {
                "position_mm": RESIDUAL_MM.tolist(),
                "activity_kbq": 6.0,
                "ci95_kbq": [3.0, 9.0],
                "significance": 5.1,
            }
        ],
        "statement": STATEMENT,
        "reasons": ["an edge of the bed was not examined"],
        "specimen": {"name": "specimen 1", "activity_kbq": 81.25, "ci95_kbq": [70.0, 95.0]},
        "specimen_balance": {"missing_kbq": 7.75, "missing_ci95_kbq": [-21.0, 36.5]},
        "equivalent_mm": 5.75,
        "equivalent_ci95_mm": [5.25, 6.25],
    }


def bed_points() -> NDArray[np.float64]:
    """(m, 3): an L of cubes of 2 mm, longer along x."""
    flat = [(x, 0.0, z) for x in range(0, 20, 2) for z in (0, 2)] + [(0, y, 0) for y in range(2, 12, 2)]
    return np.asarray(flat, dtype=float) + (2.0, -25.0, 30.0)


def write_oblique(
    folder: Path, *, registered: bool = True, identified: bool = True, simulated: bool = True
) -> None:
    scan = folder / "scan-1"
    scan.mkdir(parents=True)
    grid = reference_grid()
    write_nrrd(scan / "activity.nrrd", activity(), grid, {"unit": "kBq/mL"})
    write_nrrd(scan / "mda.nrrd", mda(), grid, {"not_examined": f"{NOT_EXAMINED:g}", "unit": "kBq"})
    dump(scan / "spots.json", {"spots": [spot()], "background_kbq_per_ml": 0.25, "simulated": simulated})
    dump(scan / "bed_check.json", bed_check())
    rows = [f"{x:.2f},{y:.2f},{z:.2f},3.0,3.1,{int(y < -20.0)}" for x, y, z in bed_points()]
    (scan / "bed_map.csv").write_text("x_mm,y_mm,z_mm,mda_kbq,upper_limit_kbq,covered\n" + "\n".join(rows))
    if registered:
        content = {"accepted": True, "T_target_source": registration().tolist(), "id": "reg-1"}
        dump(folder / "reg.json", content)
        write_study_file(folder / "study", identified, simulated)


def write_study_file(folder: Path, identified: bool, simulated: bool = True) -> None:
    """study.json as the import writes it, without images."""
    folder.mkdir()
    plain: dict[str, Any] = {
        "identified": True,
        "id": NUMBER,
        "name": NAME,
        "birth_date": BORN,
        "study_date": STUDIED,
    }
    uids = {"uid-study": STUDY_UID, "uid-series": f"{STUDY_UID}.1"}
    plain["study"] = {
        "AccessionNumber": ACCESSION,
        "StudyTime": "101112",
        "PatientSex": "O",
        "StudyID": "no\\ID",
    }
    patient: dict[str, Any] = plain | {"uids": uids} if identified else {"identified": False, "id": "ab12"}
    series = {"id": "series-1", "study_uid": "uid-study", "frame_of_reference": FRAME, "modality": "CT"}
    dump(folder / "study.json", {"format": 1, "simulated": simulated, "patient": patient, "series": [series]})
