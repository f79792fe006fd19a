"""The guided steps: which guide leads each, what it needs, and which command makes a result of what was recorded."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import Gates
from calibration.guided.guide import Guide
from calibration.guided.guidecheck import CheckGuide
from calibration.guided.guidecount import CountGuide
from calibration.guided.guidepivot import PivotGuide
from calibration.guided.guidepoints import STAND_NEAR_MM, PointsGuide
from calibration.guided.guidespin import SpinGuide
from calibration.guided.guidesweep import SweepGuide
from calibration.probe.gridplan import POINTS, TRACKED_SD_MM, plan_grid
from calibration.tip.posefile import ELEMENT_NAMES, SIMULATION_REMARK, TRANSFORM_REMARK
from tracking.counts import CountInterval
from tracking.errors import InputError
from tracking.jsonfile import read_json, write_text
from tracking.scanfolder import MARKER_POSES, CountTable, PoseTable, Scan, write_scan
from tracking.tip import read_tip, tip_matrix

Array = NDArray[np.float64]

# In the order of a whole calibration; each with its words for the list of steps.
STEPS = {
    "pivot": "Tip in the divot",
    "axis": "Spin about the axis",
    "divot": "Check of the tip",
    "background": "Background count",
    "grid": "Point-source grid",
    "detector-scan": "Sweep round the source",
    "check": "Daily check",
}
SCAN_FOLDERS = {"background": "quiet", "detector-scan": "sweep", "check": "check-scan"}
WITH_SOURCE = ("grid", "detector-scan", "check")


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What the user asked for. `tips` are tip.json and axis.json, `source_mm` (3,) in Reference."""

    step: str
    out: Path
    tool: str = "Probe"
    tips: tuple[Path, ...] = ()
    nominal: Path | None = None  # the case's own tip.json, where this calibration has none yet
    source_mm: Array | None = None
    activity_kbq: float | None = None
    nuclide: str | None = None
    response: Path | None = None
    dead_time_s: float | None = None
    points: int = POINTS
    case: Path | None = None
    gates: Gates = field(default_factory=Gates)
    operator: str | None = None
    probe_serial: str | None = None
    force: bool = False
    plots: bool = True

    @property
    def in_reference(self) -> bool:
        """Whether the step's poses are those in Reference."""
        return self.step in WITH_SOURCE

    @property
    def with_counts(self) -> bool:
        """Whether the step needs the probe's counter."""
        return self.step in (*WITH_SOURCE, "background")

    @property
    def with_poses(self) -> bool:
        """Whether the step needs the tracker."""
        return self.step != "background"


@dataclass(slots=True, eq=False)
class Recorded:
    """Everything that came during a step."""

    poses: list[tuple[float, Array | None]] = field(default_factory=list)
    counts: list[CountInterval] = field(default_factory=list)
    simulated: bool = False


def guide_for(wish: Wish) -> Guide:
    """The guide of a step. Raises InputError for what is missing."""
    tool = wish.tool.lower()
    if wish.step in ("pivot", "divot"):
        guide = PivotGuide(tool, wish.gates.pivot)
        guide.step = wish.step
        return guide
    if wish.step == "axis":
        tip = known_tip(wish, needed=False)
        return SpinGuide(tool, None if tip is None else np.asarray(tip["tip_offset_mm"]), wish.gates.axis)
    if wish.step == "background":
        return CountGuide()
    source, frame = _source(wish), tip_matrix(known_tip(wish) or {}, "tip.json")
    if wish.step == "grid":
        return PointsGuide(
            plan_grid(wish.points, place_sd_mm=TRACKED_SD_MM), source, frame, near_mm=STAND_NEAR_MM
        )
    assert wish.activity_kbq is not None
    if wish.step == "check":
        return CheckGuide(source, frame, wish.activity_kbq, _in_air(wish))
    return SweepGuide(source, frame, wish.activity_kbq, _in_air(wish))


def _source(wish: Wish) -> Array:
    if wish.source_mm is None or wish.activity_kbq is None:
        raise InputError(f"step {wish.step}: needs --source=X,Y,Z and --activity-kbq, or --check-source FILE")
    return wish.source_mm


def _in_air(wish: Wish) -> Any:
    if wish.response is None:
        return None
    from calibration.probe.response import load_response

    return load_response(wish.response).in_air


def known_tip(wish: Wish, needed: bool = True) -> dict[str, Any] | None:
    """Keys of the nominal tip: of the files named, else of this folder's own steps pivot and axis, else the case's."""
    files = _tip_files(wish)
    if not files and not needed:
        return None
    if not files:
        raise InputError(
            f"step {wish.step}: needs the nominal tip: --tip tip.json, or the steps pivot and axis first"
        )
    tip = read_tip(files)
    if wish.step == "axis" and "tip_offset_mm" not in tip:
        full = tip.get("T_probe_probetip")
        return None if full is None else {"tip_offset_mm": np.asarray(full)[:3, 3].tolist()}
    return tip


def _tip_files(wish: Wish) -> list[Path]:
    own = [p for p in (wish.out / "tip.json", wish.out / "axis.json") if p.is_file()]
    # A spin and a divot need the place of the tip alone, everything else its axis too.
    enough = 1 if wish.step in ("axis", "divot") else 2
    if wish.tips:
        return list(wish.tips)
    if len(own) >= enough:
        return own[:enough]
    return [] if wish.nominal is None else [wish.nominal]


def result_path(wish: Wish) -> Path:
    """The result's file of a step, in the folder of results."""
    names = {
        "pivot": "tip.json",
        "axis": "axis.json",
        "divot": "divot.json",
        "background": "background.json",
        "grid": "probe.json",
        "detector-scan": "probe-tracked.json",
        "check": "checks/check.json",
    }
    return wish.out / names[wish.step]


def command_for(wish: Wish, guide: Guide, recorded: Recorded) -> list[str]:
    """Write what was recorded into the folder of results; the words of `gammanav` that make a result of it."""
    out = result_path(wish)
    words = ["calibrate", "detector" if wish.step == "grid" else wish.step]
    if wish.step in ("pivot", "axis", "divot"):
        words += [str(_write_poses(wish, guide, recorded)), "--out", str(out)]
        words += [] if wish.case is None else ["--case", str(wish.case)]
        words += _tips(wish) if wish.step != "pivot" else []
    elif wish.step == "grid":
        words += [str(_write_grid(wish, guide)), "--nuclide", str(wish.nuclide), "--out", str(out)]
    else:
        words += [
            str(_write_scan(wish, guide, recorded)),
            "--out",
            str(out.parent if wish.step == "check" else out),
        ]
        words += _of_source(wish)
    words += ["--force"] if wish.force else []
    if wish.step not in ("background", "check", "divot"):
        words += [] if wish.plots else ["--no-plots"]
    words += [] if wish.operator is None or wish.step == "divot" else ["--operator", wish.operator]
    return words


def _tips(wish: Wish) -> list[str]:
    """--tip of the steps that take one file of a tip."""
    return [word for file in _tip_files(wish)[:1] for word in ("--tip", str(file))]


def _of_source(wish: Wish) -> list[str]:
    if wish.step == "background":
        return []
    assert wish.source_mm is not None
    place = ",".join(f"{v:.4f}" for v in wish.source_mm)
    words = [f"--source={place}", "--activity-kbq", f"{wish.activity_kbq:.9g}"]
    if wish.response is not None:
        words += ["--probe" if wish.step == "check" else "--response", str(wish.response)]
    return words


def _write_poses(wish: Wish, guide: Guide, recorded: Recorded) -> Path:
    """Poses of the attempt that counts, as `calibrate pivot` reads them."""
    path = result_path(wish).with_name(f"{result_path(wish).stem}-poses.csv")
    start = guide.start_s or -np.inf
    rows = [f"{TRANSFORM_REMARK} {wish.tool}ToTracker"]
    rows += [SIMULATION_REMARK] if recorded.simulated else []
    rows.append(",".join(("t_s", *ELEMENT_NAMES)))
    for t, matrix in recorded.poses:
        if t >= start:
            values = np.full(16, np.nan) if matrix is None else matrix.ravel()
            rows.append(",".join([repr(t), *(repr(float(v)) for v in values)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(rows) + "\n")
    return path


def _write_grid(wish: Wish, guide: Guide) -> Path:
    """The counted places as a grid; live time without the dead time of each count, where that is known."""
    assert isinstance(guide, PointsGuide)
    path = wish.out / "grid.csv"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("r_mm", "z_mm", "counts", "live_s", "activity_kbq"))
    for place in guide.done_places:
        live = place.live_s - place.counts * (wish.dead_time_s or 0.0)
        table.writerow(
            [f"{v:.9g}" for v in (place.r_mm, place.z_mm, place.counts, live, wish.activity_kbq or 0.0)]
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())
    return path


def _write_scan(wish: Wish, guide: Guide, recorded: Recorded) -> Path:
    """The attempt that counts as a scan folder."""
    start = guide.start_s or -np.inf
    poses = [(t, m) for t, m in recorded.poses if t >= start]
    counts = [c for c in recorded.counts if c.t_end_s - c.window_s >= start]
    first = min([t for t, _ in poses[:1]] + [c.t_end_s - c.window_s for c in counts[:1]], default=0.0)
    epoch = float(np.floor(first))
    matrices = [np.full((4, 4), np.nan) if m is None else m for _, m in poses] or [
        np.full((4, 4), np.nan)
    ] * 2
    times = [t - epoch for t, _ in poses] or [0.0, counts[-1].t_end_s - epoch if counts else 1.0]
    scan = Scan(
        nuclide=str(wish.nuclide),
        reference_time=datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
        pose_name=MARKER_POSES,
        poses=PoseTable(np.array(times), np.stack(matrices)),
        counts=CountTable(
            np.array([c.t_end_s - epoch for c in counts]),
            np.array([c.counts for c in counts]),
            np.array([c.window_s for c in counts]),
        ),
        dead_time_s=wish.dead_time_s,
        tip=known_tip(wish) if wish.in_reference else None,
        simulated=recorded.simulated,
    )
    folder = wish.out / SCAN_FOLDERS[wish.step]
    write_scan(scan, folder, force=True)
    return folder


def check_source(path: Path, now_utc_s: float) -> tuple[Array, float, str | None]:
    """Place, activity now and nuclide out of a file with `position_mm`, `activity_kbq` and where known its time.

    Raises InputError naming the file.
    """
    found = read_json(path)
    try:
        place = np.array(found["position_mm"], dtype=np.float64).reshape(3)
        activity = float(found["activity_kbq"])
        name = found.get("nuclide")
        if name is not None and found.get("reference_time"):
            from calibration.physics.nuclide import nuclide

            since = now_utc_s - datetime.fromisoformat(str(found["reference_time"])).timestamp()
            activity *= 0.5 ** (since / nuclide(str(name)).half_life_s)
    except (KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: no place and activity of a source ({fault})") from fault
    return place, activity, None if name is None else str(name)


def done_steps(out: Path) -> Sequence[str]:
    """Steps whose result lies in the folder and was accepted."""
    done = []
    for step in STEPS:
        path = result_path(Wish(step, out))
        if path.is_file() and read_json(path).get("accepted") is True:
            done.append(step)
    return done
