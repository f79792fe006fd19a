"""The map over the CT in the three planes of the patient, a row for each scan: before and after side by side.

Seen as radiologists do, the patient's right on the left; grey is the CT, colour is activity, hatched is what the scan
did not examine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.pictures import ACTIVITY_COLOURS, CHI2_95_PLANE, MapView, ellipse, figure, hatch
from navigation.plots.fusion import FAINTEST_SHARE, THICKEST, THINNEST, VIEWS, frame_view
from navigation.report.anatomy import Anatomy
from navigation.report.maps import map_view
from navigation.report.results import CaseReport
from navigation.report.wording import SCAN_TITLES
from navigation.reslice import Plane, linear, nearest
from navigation.volume import Spot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

# What is seen around the leading focus or the bed.
HALF_MM = 75.0
PIXELS = 300
# Soft tissue and the skin's edge in CT numbers.
WINDOW_HU = (-200.0, 250.0)
# A target is drawn in a plane that passes it this near.
NEAR_MM = 6.0
ROW_INCH = 4.9


def planes_picture(case: CaseReport, anatomy: Anatomy | None, path: Path) -> bool:
    """Axial, coronal and sagittal through the leading focus of the case, one row a scan; False without CT or map."""
    views = [(s, v) for s in case.scans if (v := map_view(case, s)) is not None]
    if anatomy is None or not views:
        return False
    middle = anatomy.in_study(telling_place(case))
    with figure((14.7, ROW_INCH * len(views)), path, case.simulated) as drawing:
        axes = drawing.subplots(len(views), 3, squeeze=False)
        for row, (scan, view) in zip(axes, views, strict=True):
            for place, name in zip(row, VIEWS, strict=True):
                right, down = (np.array(d) for d in VIEWS[name])
                image = _section(place, case, view, anatomy, Plane(middle, right, down))
                frame_view(place, name, (HALF_MM, HALF_MM))
                place.set_title(f"{SCAN_TITLES[scan.name]}: {name}", fontsize=13)
        bar = drawing.colorbar(image, ax=axes, shrink=0.7, pad=0.01)
        bar.set_label("activity, kBq/mL")
    return True


def telling_place(case: CaseReport) -> Array:
    """(3,) in Reference: the leading focus, else the middle of the bed, else of what was examined."""
    for scan in case.scans:
        if scan.accepted_spots:
            return np.asarray(scan.accepted_spots[0].position_mm, dtype=np.float64)
    for scan in case.scans:
        if scan.bed_map is not None and len(scan.bed_map):
            return np.asarray(scan.bed_map[:, :3].mean(axis=0))
    volume = next(v for s in case.scans for v in s.volumes.values())
    seen = np.argwhere(volume.examined)[:, ::-1]
    middle = seen.mean(axis=0) if len(seen) else (np.asarray(volume.grid.size) - 1.0) / 2.0
    return np.asarray(volume.grid.matrix[:3, :3] @ middle + volume.grid.origin_mm)


def _section(axes: Axes, case: CaseReport, view: MapView, anatomy: Anatomy, plane: Plane) -> Any:
    """One plane in the study's LPS; the map is sampled where Reference has these places. Returns the coloured image."""
    half, extent = (HALF_MM, HALF_MM), (-HALF_MM, HALF_MM, HALF_MM, -HALF_MM)
    points = plane.points(half, (PIXELS, PIXELS))
    hu = np.ma.masked_invalid(linear(anatomy.ct_hu, anatomy.grid, points, np.nan))
    axes.set_facecolor("black")
    axes.imshow(hu, extent=extent, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
    T = anatomy.T_study_reference
    there = (points - T[:3, 3]) @ T[:3, :3]
    activity = linear(view.activity, view.grid, there, 0.0)
    seen = nearest(view.examined.astype(np.float32), view.grid, there, 0.0) > 0.5
    share = np.clip(activity / view.ceiling, 0.0, 1.0)
    opacity = np.where(
        seen & (share >= FAINTEST_SHARE), THINNEST + (THICKEST - THINNEST) * np.sqrt(share), 0.0
    )
    image = axes.imshow(
        activity, extent=extent, cmap=ACTIVITY_COLOURS, vmin=0.0, vmax=view.ceiling, alpha=opacity
    )
    hatch(axes, ~seen, extent, face="none")
    for spot in view.spots:
        _ring(axes, spot, plane, anatomy)
    _targets(axes, case, plane)
    return image


def _ring(axes: Axes, spot: Spot, plane: Plane, anatomy: Anatomy) -> None:
    """The 95 % ellipse of a focus, turned into the study."""
    rotation = anatomy.T_study_reference[:3, :3]
    x, y, _ = plane.project(anatomy.in_study(spot.position_mm))[0]
    along = ellipse(rotation @ spot.covariance_mm2 @ rotation.T, plane, CHI2_95_PLANE)
    for colour, width in (("black", 3.6), ("white", 1.8)):
        axes.plot(x + along[:, 0], y + along[:, 1], color=colour, lw=width)
    axes.text(x + float(along[:, 0].max()) + 2.0, y, str(spot.id), color="white", weight="bold", clip_on=True)


def _targets(axes: Axes, case: CaseReport, plane: Plane) -> None:
    """Where the study has its targets."""
    for target in (case.targets or {}).get("targets", ()):
        if target.get("frame", "LPS") != "LPS":
            continue
        if target.get("position_mm") is None:
            continue
        x, y, away = plane.project(np.array(target["position_mm"], dtype=np.float64))[0]
        if abs(away) <= NEAR_MM and max(abs(x), abs(y)) < HALF_MM:
            axes.plot(x, y, "s", mfc="none", mec="#7fd3ff", mew=2.0, ms=13)
            axes.text(
                x - 4.0, y - 4.0, str(target["name"]), color="#7fd3ff", ha="right", va="bottom", clip_on=True
            )
