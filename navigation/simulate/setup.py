"""What a hospital has before the operation: the probe's bench calibration, tool tips, a check source,
case data, a study.

Every file says SIMULATION. The bench measures the very probe of the scene, with counting noise, but not
what the operating room adds to it (tilt, asymmetry, drift).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.body import AIR, Body
from navigation.simulate.chance import rigid, stream
from navigation.simulate.collimator import point_response
from navigation.simulate.rates import RateModel, Source
from navigation.simulate.room import detector_of
from navigation.simulate.scenes import DEAD_TIME_S, HALF_LIFE_S, NUCLIDE, PROBE_SERIAL, WINDOW_KEV, Scene
from navigation.simulate.truth import STAMP, in_reference, iso_time
from tracking.jsonfile import write_json, write_text

Array = NDArray[np.float64]

GRID_R_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0)
GRID_Z_MM = (2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
# Beside the face, where the shield decides: only outside its rim.
BESIDE_R_MM, BESIDE_Z_MM = (10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0), (0.0,)
GRID_ACTIVITY_KBQ = 500.0
GRID_LIVE_S, BESIDE_LIVE_S = 10.0, 60.0
AIR_WATER_MM = (10.0, 30.0, 50.0)
AIR_WATER_ACTIVITY_KBQ, AIR_WATER_LIVE_S = 500.0, 60.0
# A water tank: flat and without end for the probe.
TANK = Body(5000.0, 5000.0, 2500.0)


def probe_grid(scene: Scene) -> Array:
    """(n, 5): r_mm, z_mm, counts, live_s, activity_kbq of a point source in air; live time is free of
    dead time.
    """
    rng = stream(scene.seed, "bench", "grid")
    front = [(r, z, GRID_LIVE_S) for z in GRID_Z_MM for r in GRID_R_MM]
    beside = [(r, z, BESIDE_LIVE_S) for z in BESIDE_Z_MM for r in BESIDE_R_MM]
    r, z, live = np.array(front + beside).T
    mean = point_response(scene.equipment.head, r, z) * GRID_ACTIVITY_KBQ * live
    return np.column_stack([r, z, rng.poisson(mean), live, np.full(len(r), GRID_ACTIVITY_KBQ)])


def air_water(scene: Scene) -> dict[str, Any]:
    """cps/MBq on the axis at 10, 30 and 50 mm, in air and with the face on water."""
    rng = stream(scene.seed, "bench", "air-water")
    model = RateModel(detector_of(scene.equipment.head))
    face = rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3))[None]
    result: dict[str, Any] = {"unit": "cps/MBq", "probe": "source on axis, probe face on the water surface"}
    for medium, body in (("air", AIR), ("water", TANK)):
        result[medium] = {}
        for depth in AIR_WATER_MM:
            source = Source("point", np.array([[0.0, 0.0, -depth]]), np.ones(1), AIR_WATER_ACTIVITY_KBQ)
            rate = float(model.of_sources([source], body, face)[0])
            counts = rng.poisson(rate * AIR_WATER_LIVE_S)
            rate_per_mbq = 1000.0 * counts / AIR_WATER_LIVE_S / AIR_WATER_ACTIVITY_KBQ
            result[medium][f"{depth:.0f}mm"] = round(rate_per_mbq, 2)
    return {**result, "nuclide": NUCLIDE, "window_kev": list(WINDOW_KEV), **_stamp()}


def tip_record(scene: Scene) -> dict[str, Any]:
    """tip.json of the probe as its owner believes it: near the truth."""
    nominal = scene.equipment.nominal_T_probe_probetip
    return {
        "T_probe_probetip": nominal,
        "tip_offset_mm": nominal[:3, 3],
        "axis": nominal[:3, 2],
        "accepted": True,
        "reasons": [],
        **_stamp(),
    }


def stylus_record(scene: Scene) -> dict[str, Any]:
    """tip.json of the stylus; its shaft runs along the marker's z axis."""
    offset = scene.equipment.nominal_stylus_tip_mm
    return {"tip_offset_mm": offset, "axis": [0.0, 0.0, 1.0], "accepted": True, "reasons": [], **_stamp()}


def check_source_record(scene: Scene, reference_utc_s: float) -> dict[str, Any]:
    """Where the check source is put for the sweep, in Reference, and its activity at the reference time."""
    place = in_reference(scene.patient, scene.equipment.check_source)
    return {
        **place,
        "nuclide": NUCLIDE,
        "reference_time": iso_time(reference_utc_s),
        "medium": "air",
        **_stamp(),
    }


def landmark_record(scene: Scene) -> dict[str, Any]:
    """The fiducials as marked in the study, in LPS: the stylus touches their centres, in this order."""
    T = scene.patient.T_study_body
    points = scene.patient.fiducials @ T[:3, :3].T + T[:3, 3]
    noise = stream(scene.seed, scene.name, "marked").normal(0.0, 0.3, points.shape)
    marks = [{"name": f"F{i + 1}", "position_mm": p} for i, p in enumerate(np.round(points + noise, 3))]
    return {"frame": "study (LPS)", "landmarks": marks, **_stamp()}


def write_setup(
    scene: Scene,
    folder: Path,
    reference_utc_s: float,
    ports: tuple[int, int] | None = None,
    study: bool = True,
) -> None:
    """Write all of it into `folder`, made if need be; the study, where there is one, goes to `folder`/dicom."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_rows(
        folder / "probe_grid.csv", ("r_mm", "z_mm", "counts", "live_s", "activity_kbq"), probe_grid(scene)
    )
    write_json(folder / "probe_air_water.json", air_water(scene))
    write_json(folder / "tip.json", tip_record(scene))
    write_json(folder / "stylus.json", stylus_record(scene))
    write_json(folder / "check_source.json", check_source_record(scene, reference_utc_s))
    landmarks = landmark_record(scene)
    write_json(folder / "landmarks.json", landmarks)
    _write_points(folder / "landmarks.csv", landmarks)
    write_text(folder / "case.toml", case_text(scene, reference_utc_s, ports))
    if study:
        from navigation.simulate.dicom import write_study

        write_study(scene, folder / "dicom", reference_utc_s)


def case_text(scene: Scene, reference_utc_s: float, ports: tuple[int, int] | None) -> str:
    """case.toml: what the case is and where its instruments are."""
    lines = [
        f"simulated = true  # {STAMP}",
        f'name = "SIMULATION {scene.name} {scene.seed}"',
        f'nuclide = "{NUCLIDE}"',
        f"half_life_s = {HALF_LIFE_S}",
        f"window_kev = [{WINDOW_KEV[0]}, {WINDOW_KEV[1]}]",
        f'probe_serial = "{PROBE_SERIAL}"',
        f'reference_time = "{iso_time(reference_utc_s)}"',
        f"dead_time_s = {DEAD_TIME_S}",
    ]
    if ports is not None:
        for name, port in zip(("tracker", "probe"), ports, strict=True):
            lines += ["", f"[{name}]", 'host = "127.0.0.1"', f"port = {port}"]
    return "\n".join(lines) + "\n"


def _stamp() -> dict[str, Any]:
    return {"simulated": True, "note": STAMP}


def _write_rows(path: Path, columns: tuple[str, ...], rows: Array) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{value:.10g}" for value in row] for row in rows)


def _write_points(path: Path, landmarks: dict[str, Any]) -> None:
    rows = [f"{m['name']},{','.join(f'{v:.3f}' for v in m['position_mm'])}" for m in landmarks["landmarks"]]
    write_text(path, "\n".join([f"# {STAMP}", "label,x,y,z", *rows]) + "\n")
