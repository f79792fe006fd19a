"""A small case written by hand in the files' formats: a tilted patient, one focus, then a partly covered bed."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.io.nrrd import write_nrrd
from navigation.volume import NOT_EXAMINED, VoxelGrid

FOCUS_DEPTH_MM = 18.0
FOCUS_KBQ = 92.0
BED_DEPTH_MM = 6.0
STATEMENT = (
    "No activity above 4.0 kBq (95 % confidence) detected on 83 % of the outlined bed; 17 % not examined (shown). "
    "Tracer-negative tumour and disease below this activity are not excluded. Not histology."
)


@dataclass(frozen=True)
class Scene:
    """Axes of the tilted patient: `T` (4, 4) maps skin coordinates (x, y in the skin, z inwards) into Reference."""

    T: NDArray[np.float64]

    def place(self, points: Any) -> NDArray[np.float64]:
        return np.asarray(points, dtype=float) @ self.T[:3, :3].T + self.T[:3, 3]


def tilted_scene() -> Scene:
    """Skin plane turned by 35 degrees about x and 20 about y, at (80, -40, 60) mm."""
    a, b = np.deg2rad(35.0), np.deg2rad(20.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    T = np.eye(4)
    T[:3, :3] = about_x @ about_y
    T[:3, 3] = (80.0, -40.0, 60.0)
    return Scene(T)


def write_case(folder: Path, simulated: bool = True, second: bool = True) -> Scene:
    """OUT with scan-1 (one focus 18 mm deep) and scan-2 (bed check partly-assessed), probe.json, latency.json."""
    scene = tilted_scene()
    folder.mkdir(parents=True, exist_ok=True)
    focus = scene.place([4.0, -3.0, FOCUS_DEPTH_MM])
    write_scan_folder(folder / "scan-1", scene, focus, simulated, seed=1)
    if second:
        write_scan_folder(folder / "scan-2", scene, None, simulated, seed=2)
        write_bed(folder / "scan-2", scene)
    dump(folder / "probe.json", probe_json(simulated))
    dump(
        folder / "latency.json",
        {"count_latency_s": 0.13, "ci95_s": [0.121, 0.139], "determined": True, "reasons": []},
    )
    return scene


def probe_json(simulated: bool) -> dict[str, Any]:
    return {
        "id": "simprobe-Tc-99m-1",
        "probe_serial": "SIM-7",
        "nuclide": "Tc-99m",
        "window_kev": [126.5, 154.5],
        "date": "2026-11-22",
        "operator": None,
        "expiry": "2027-05-22",
        "state": "draft",
        "approved_by": None,
        "chi2_dof": 1.07,
        "accepted": True,
        "reasons": ["the grid ends at 90 mm; beyond it the response is extrapolated"],
        "simulated": simulated,
    }


def dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1))


def write_scan_folder(
    folder: Path, scene: Scene, focus: NDArray[np.float64] | None, simulated: bool, seed: int
) -> None:
    """scan.json, poses.csv (20 Hz, one occlusion), counts.csv (10 Hz), surface.csv, spots.json and the volumes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    scan = {
        "nuclide": "Tc-99m",
        "pose": "ProbeTipToReference",
        "reference_time": "2026-01-01T10:00:00Z",
        "count_latency_s": 0.13,
        "simulated": simulated,
    }
    dump(folder / "scan.json", scan)
    t_s = np.arange(0.0, 30.0, 0.05)
    tips = np.stack([32 * np.sin(0.42 * t_s), 28 * np.sin(1.9 * t_s + 0.4), -4 - np.cos(t_s)], axis=1)
    write_poses(folder / "poses.csv", scene, t_s, tips)
    write_counts(folder / "counts.csv", scene, t_s, tips, focus, rng)
    x, y = np.meshgrid(np.arange(-56.0, 57.0, 7.0), np.arange(-56.0, 57.0, 7.0))
    skin = np.stack([x.ravel(), y.ravel(), rng.normal(0, 0.3, x.size)], axis=1)
    write_rows(folder / "surface.csv", ["x_mm", "y_mm", "z_mm"], scene.place(skin))
    write_results(folder, scene, focus, simulated)


def write_rows(path: Path, header: list[str], rows: Any) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[f"{v:.6g}" for v in row] for row in rows])


def write_poses(path: Path, scene: Scene, t_s: NDArray[np.float64], tips: NDArray[np.float64]) -> None:
    matrices = np.tile(scene.T, (len(t_s), 1, 1))
    matrices[:, :3, 3] = scene.place(tips)
    matrices[(t_s > 12.0) & (t_s < 14.0)] = np.nan
    header = ["t_s"] + [f"m{r}{c}" for r in range(4) for c in range(4)]
    write_rows(path, header, np.column_stack([t_s, matrices.reshape(-1, 16)]))


def write_counts(
    path: Path,
    scene: Scene,
    t_s: NDArray[np.float64],
    tips: NDArray[np.float64],
    focus: NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> None:
    rate = np.full(len(t_s), 12.0)
    if focus is not None:
        squared = ((scene.place(tips) - focus) ** 2).sum(axis=1)
        rate = rate + 300.0 * 600.0 / (squared + 100.0)
    counts = rng.poisson(rate[::2] * 0.1)
    rows = np.column_stack([t_s[::2] + 0.13, counts, np.full(len(counts), 0.1)])
    write_rows(path, ["t_s", "counts", "window_s"], rows)


def write_results(folder: Path, scene: Scene, focus: NDArray[np.float64] | None, simulated: bool) -> None:
    grid = VoxelGrid.aligned(scene.place([0, 0, 20.0]) - 62.0, 2.0, (63, 63, 63))
    local = (grid.points() - scene.T[:3, 3]) @ scene.T[:3, :3]
    side, depth = np.linalg.norm(local[:, :2] / (1.0, 0.9), axis=1), local[:, 2]
    examined = (depth > 0.0) & (depth < 55.0) & (side < 44.0 - 0.2 * depth)
    activity = np.where(examined, 0.15, 0.0)
    if focus is not None:
        offset = local - np.array([4.0, -3.0, FOCUS_DEPTH_MM])
        activity += np.where(
            examined, 9.0 * np.exp(-0.5 * ((offset / (4.0, 4.0, 6.0)) ** 2).sum(axis=1)), 0.0
        )
    mda = np.where(examined, 1.2 * np.exp(depth / 18.0) * (1.0 + (side / 40.0) ** 4), NOT_EXAMINED)
    if focus is None:
        mda = np.where(local[:, 0] > 14.0, NOT_EXAMINED, mda)
    keys = {"not_examined": str(NOT_EXAMINED)}
    write_nrrd(folder / "activity.nrrd", activity.reshape(grid.shape), grid, {"unit": "kBq/mL"})
    write_nrrd(folder / "mda.nrrd", mda.reshape(grid.shape), grid, keys | {"unit": "kBq"})
    spots = [] if focus is None else [spot_json(scene, focus)]
    dump(
        folder / "spots.json",
        {
            "spots": spots,
            "background_kbq_per_ml": 0.15,
            "count_latency_s": 0.13,
            "nuclide": "Tc-99m",
            "count_latency_ci95_s": [0.121, 0.139],
            "samples": {"total": 300, "placed": 278, "unplaced": 22},
            "reasons": ["the calibration is a draft"],
            "simulated": simulated,
        },
    )


def spot_json(scene: Scene, focus: NDArray[np.float64]) -> dict[str, Any]:
    covariance = scene.T[:3, :3] @ np.diag([0.6, 0.7, 3.2]) @ scene.T[:3, :3].T
    return {
        "id": 1,
        "position_mm": focus.tolist(),
        "covariance_mm2": covariance.tolist(),
        "extent_mm": 0.0,
        "activity_kbq": FOCUS_KBQ,
        "activity_ci95_kbq": [71.0, 118.0],
        "significance": 22.4,
        "tbr": 8.1,
        "quality": "limited",
        "reasons": ["position depends on a latency known to 9 ms"],
    }


def write_bed(folder: Path, scene: Scene) -> None:
    x, y = np.meshgrid(np.arange(-16.0, 29.0, 5.0), np.arange(-18.0, 19.0, 5.0))
    keep = ((x.ravel() - 6) / 23) ** 2 + (y.ravel() / 19) ** 2 <= 1.0
    points = scene.place(np.stack([x.ravel(), y.ravel(), np.full(x.size, 8.0)], axis=1)[keep])
    dump(folder / "bed.json", {"points_mm": points.tolist(), "depth_mm": BED_DEPTH_MM})
    write_bed_map(folder / "bed_map.csv", scene)
    dump(
        folder / "bed_check.json",
        {
            "finding": "partly-assessed",
            "threshold_kbq": 4.0,
            "confidence": 0.95,
            "covered_fraction": 0.83,
            "largest_uncovered_mm": 14.2,
            "mda_kbq": 3.4,
            "max_upper_limit_kbq": 3.7,
            "residuals": [],
            "scan_next_mm": [scene.place([22.0, 0.0, 8.0]).tolist()],
            "statement": STATEMENT,
            "reasons": ["an edge of the bed was not examined"],
            "removed_kbq": 89.0,
            "removed_ci95_kbq": [66.0, 115.0],
            "rules": {"ratio_1_5": False, "three_sigma": True, "ten_percent": None},
        },
    )


def write_bed_map(path: Path, scene: Scene) -> None:
    """Bed of 34 x 32 mm, 8 to 14 mm deep: 15 of 18 columns covered, x = 16 mm too weakly, beyond it unseen."""
    grid = np.arange(-14.0, 21.0, 2.0), np.arange(-16.0, 17.0, 2.0), np.arange(8.0, 14.5, 2.0)
    local = np.stack([a.ravel() for a in np.meshgrid(*grid)], axis=1)
    lines = ["x_mm,y_mm,z_mm,mda_kbq,upper_limit_kbq,covered"]
    for (x, _, _), place in zip(local, scene.place(local), strict=True):
        figures = "," if x > 16.0 else f"{6.0 if x > 14.0 else 3.0},{3.1}"
        lines.append(",".join(f"{v:.2f}" for v in place) + f",{figures},{int(x <= 14.0)}")
    path.write_text("\n".join(lines) + "\n")
