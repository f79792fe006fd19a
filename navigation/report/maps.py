"""The report's maps: an overview from above and three sections through every focus of activity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from navigation.pictures import (
    MapView,
    draw_map,
    draw_spot,
    draw_surface,
    figure,
    focus_brightness,
    hatch,
    section_extent,
)
from navigation.report.geometry import DepthFrame, depth_frame, mean_probe_axis
from navigation.report.results import CaseReport, ScanReport
from navigation.reslice import linear, nearest
from navigation.volume import NO_LIMIT_KBQ, Spot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

# A section reaches this far sideways from its focus and this deep from the surface.
SECTION_HALF_MM = 35.0
SECTION_ABOVE_MM = 8.0
SECTION_DEEP_MM = 52.0
# The scale never ends below this: an empty map stays dark.
FAINTEST_TOP_KBQ_PER_ML = 1.0
# Background never takes more than this part of the scale, even where it is all there is.
BACKGROUND_SHARE = 10.0
# Depth at which the overview shows how weak a focus would have been seen.
MDA_DEPTH_MM = 15.0
MDA_RANGE_KBQ = (1.0, 100.0)
# The tip belongs to the scan where the tissue this far ahead of it was examined, and it was no farther off than this.
LOOKING_AT_MM, FAR_MM = 10.0, 60.0
# A picture that fills half a page's width, its words still legible there.
FRONT_INCH = (6.6, 7.6)
# Overview: depth range that is looked through, in steps of a small voxel.
LOOK_THROUGH_MM = 60.0
LOOK_STEP_MM = 2.0


def ceiling_kbq_per_ml(case: CaseReport) -> float:
    """One colour scale for all scans of a case, so that quiet tissue does not glow in a scan without a focus."""
    tops = [FAINTEST_TOP_KBQ_PER_ML]
    for scan in case.scans:
        tops.append(BACKGROUND_SHARE * float(scan.info.get("background_kbq_per_ml") or 0.0))
        activity = scan.volumes.get("activity")
        if activity is not None:
            places = [s.position_mm for s in scan.accepted_spots]
            tops += [focus_brightness(activity.values, activity.grid, p) for p in places]
    return max(tops)


def map_view(case: CaseReport, scan: ScanReport) -> MapView | None:
    """What the pictures of one scan are drawn from; None without a map."""
    activity, mda = scan.volumes.get("activity"), scan.volumes.get("mda")
    if activity is None:
        return None
    examined = activity.examined if mda is None else mda.examined
    values = None if mda is None else mda.values
    return MapView(
        activity.grid,
        activity.values,
        values,
        examined,
        scan.accepted_spots,
        scan.surface_mm,
        ceiling_kbq_per_ml(case),
    )


def frame_at(case: CaseReport, scan: ScanReport, point_mm: NDArray[np.float64]) -> DepthFrame:
    """Tissue axes at a point of a scan."""
    axis = None if scan.scan is None else mean_probe_axis(scan.scan.poses.matrices)
    return depth_frame(point_mm, scan.surface_mm, axis, case.T_ras_reference)


def spot_picture(case: CaseReport, scan: ScanReport, spot: Spot, path: Path) -> bool:
    """Seen from outside at the depth of the focus, and two sections in depth; False without a map."""
    view = map_view(case, scan)
    if view is None:
        return False
    frame = frame_at(case, scan, spot.position_mm)
    depth = float(frame.coordinates(spot.position_mm)[0, 2])
    with figure((15.5, 4.5), path, case.simulated) as drawing:
        plan, first, second = drawing.subplots(1, 3)
        image = _plan(plan, view, frame, depth, spot)
        _depth_section(first, view, frame, "right", spot)
        _depth_section(second, view, frame, "up", spot)
        _name_directions(case, frame, plan, first, second)
        bar = drawing.colorbar(image, ax=[plan, first, second], shrink=0.75, pad=0.01)
        bar.set_label("activity, kBq/mL")
    return True


def _plan(axes: Axes, view: MapView, frame: DepthFrame, depth: float, spot: Spot) -> AxesImage:
    half = (SECTION_HALF_MM, (SECTION_ABOVE_MM + SECTION_DEEP_MM) / 2.0)
    plane = frame.plan(depth)
    image: AxesImage = draw_map(axes, view, plane, half, -half[1])
    draw_spot(axes, spot, plane, -half[1], half)
    _limits(axes, half, -half[1])
    axes.set_title("From above, through its centre")
    axes.set_xlabel("mm")
    axes.set_ylabel("mm")
    return image


def _depth_section(axes: Axes, view: MapView, frame: DepthFrame, along: str, spot: Spot) -> None:
    half = (SECTION_HALF_MM, (SECTION_ABOVE_MM + SECTION_DEEP_MM) / 2.0)
    plane = frame.section(half[1] - SECTION_ABOVE_MM, along)
    draw_map(axes, view, plane, half, -SECTION_ABOVE_MM)
    draw_surface(axes, view, plane, half, -SECTION_ABOVE_MM)
    draw_spot(axes, spot, plane, -SECTION_ABOVE_MM, half)
    _limits(axes, half, -SECTION_ABOVE_MM)
    axes.axhline(0.0, color="#7fd3ff", lw=1.5, ls="--")
    axes.set_title("Depth section " + ("across" if along == "right" else "up-down"))
    axes.set_xlabel("mm")
    axes.set_ylabel("depth, mm")


def _limits(axes: Axes, half_mm: tuple[float, float], top_mm: float) -> None:
    left, right, bottom, top = section_extent(half_mm, top_mm)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _name_directions(case: CaseReport, frame: DepthFrame, plan: Axes, first: Axes, second: Axes) -> None:
    """Patient letters at the edges when a registration is known."""
    matrix = case.T_ras_reference
    if matrix is None:
        return
    right, up = (patient_letter(matrix[:3, :3] @ v) for v in (frame.right, frame.up))
    left, down = (patient_letter(-matrix[:3, :3] @ v) for v in (frame.right, frame.up))
    _edge_letters(plan, left, right, up, down)
    _edge_letters(first, left, right)
    _edge_letters(second, down, up)


def _edge_letters(axes: Axes, *letters: str) -> None:
    places = ((0.04, 0.5), (0.96, 0.5), (0.5, 0.96), (0.5, 0.04))
    for letter, (x, y) in zip(letters, places, strict=False):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            color="white",
            fontsize=18,
            weight="bold",
            ha="center",
            va="center",
        )


def patient_letter(direction_ras: NDArray[np.float64]) -> str:
    """R, L, A, P, S or I: the patient's direction nearest to a RAS vector (3,)."""
    axis = int(np.argmax(np.abs(direction_ras)))
    return ("LR", "PA", "IS")[axis][int(direction_ras[axis] > 0.0)]


def overview_picture(case: CaseReport, scan: ScanReport, path: Path) -> bool:
    """From above, looking through the tissue: strongest activity, the probe's path, foci with their depths."""
    view = map_view(case, scan)
    if view is None:
        return False
    frame = frame_at(case, scan, _middle(scan, view))
    half = _reach(view, frame)
    with figure((15.0, 6.3), path, case.simulated) as drawing:
        axes, weakest = drawing.subplots(1, 2)
        _from_above(axes, scan, view, frame, half)
        image = _weakest_seen(weakest, view, frame, half)
        _limits(weakest, (half, half), -half)
        _bar_below(weakest, image, f"weakest focus seen {MDA_DEPTH_MM:.0f} mm deep, kBq")
    return True


def front_picture(case: CaseReport, scan: ScanReport, path: Path) -> bool:
    """The overview's left half alone, for the first page; False without a map."""
    view = map_view(case, scan)
    if view is None:
        return False
    frame = frame_at(case, scan, _middle(scan, view))
    with figure(FRONT_INCH, path, case.simulated) as drawing:
        _from_above(drawing.subplots(), scan, view, frame, _reach(view, frame))
    return True


def _from_above(axes: Axes, scan: ScanReport, view: MapView, frame: DepthFrame, half: float) -> None:
    image = _look_through(axes, view, frame, half)
    _probe_path(axes, scan, view, frame)
    for spot in view.spots:
        draw_spot(axes, spot, frame.plan(0.0), -half, (half, half))
        _depth_label(axes, spot, frame)
    _limits(axes, (half, half), -half)
    axes.set_title("From above: highest activity in depth")
    axes.set_ylabel("mm")
    _bar_below(axes, image, "activity, kBq/mL (hatched: not examined, or no limit)")


def _bar_below(axes: Axes, image: AxesImage, label: str) -> None:
    drawing = axes.get_figure(root=True)
    assert drawing is not None
    bar = drawing.colorbar(image, ax=axes, orientation="horizontal", shrink=0.8, pad=0.02)
    bar.set_label(label)


def _weakest_seen(axes: Axes, view: MapView, frame: DepthFrame, half: float) -> AxesImage:
    """Minimum detectable activity in a plane below the surface."""
    from matplotlib.colors import LogNorm

    points = frame.plan(MDA_DEPTH_MM).points((half, half), (180, 180))
    values = np.zeros((180, 180), dtype=np.float32)
    seen = np.zeros(values.shape, dtype=bool)
    if view.mda_kbq is not None:
        values = nearest(view.mda_kbq, view.grid, points, 0.0)
        seen = (nearest(view.examined.astype(np.float32), view.grid, points, 0.0) > 0.5) & (values > 0.0)
        seen &= values < NO_LIMIT_KBQ
    extent = section_extent((half, half), -half)
    axes.set_facecolor("#50545c")
    scale = LogNorm(*MDA_RANGE_KBQ)
    shown = np.ma.masked_array(np.clip(values, *MDA_RANGE_KBQ), ~seen)
    image = axes.imshow(shown, extent=extent, cmap="bone_r", norm=scale)
    hatch(axes, ~seen, extent)
    axes.set_title(f"What would have been seen, {MDA_DEPTH_MM:.0f} mm deep")
    return image


def _middle(scan: ScanReport, view: MapView) -> NDArray[np.float64]:
    if view.spots:
        return np.asarray(view.spots[0].position_mm)
    if scan.surface_mm is not None:
        return np.asarray(scan.surface_mm.mean(axis=0))
    centre = (np.asarray(view.grid.size) - 1.0) / 2.0
    return np.asarray(view.grid.matrix[:3, :3] @ centre + view.grid.origin_mm)


def _reach(view: MapView, frame: DepthFrame) -> float:
    """Half the width in mm that shows all that was examined, at most what fits the picture."""
    seen = np.argwhere(view.examined)[::7, ::-1]
    if not len(seen):
        return SECTION_HALF_MM
    points = seen @ view.grid.matrix[:3, :3].T + view.grid.origin_mm
    side = np.abs(frame.coordinates(points)[:, :2]).max(axis=1)
    return float(np.clip(np.quantile(side, 0.98) + 10.0, SECTION_HALF_MM, 90.0))


def _look_through(axes: Axes, view: MapView, frame: DepthFrame, half: float) -> AxesImage:
    top = np.zeros((180, 180), dtype=np.float32)
    seen = np.zeros(top.shape, dtype=bool)
    for depth in np.arange(0.0, LOOK_THROUGH_MM, LOOK_STEP_MM):
        points = frame.plan(float(depth)).points((half, half), (180, 180))
        here = nearest(view.examined.astype(np.float32), view.grid, points, 0.0) > 0.5
        top = np.maximum(top, np.where(here, linear(view.activity, view.grid, points, 0.0), 0.0))
        seen |= here
    extent = section_extent((half, half), -half)
    axes.set_facecolor("#50545c")
    image = axes.imshow(
        np.ma.masked_array(top, ~seen), extent=extent, cmap="inferno", vmin=0.0, vmax=view.ceiling
    )
    hatch(axes, ~seen, extent)
    return image


def _probe_path(axes: Axes, scan: ScanReport, view: MapView, frame: DepthFrame) -> None:
    """The tip's way while it was near what it examined; coming and going are left out."""
    if scan.scan is None:
        return
    tips = scan.scan.poses.matrices[:, :3, 3]
    x, y, depth = frame.coordinates(tips).T
    ahead = np.nan_to_num(tips)[:, None] + LOOKING_AT_MM * scan.scan.poses.matrices[:, None, :3, 2]
    seen = nearest(view.examined.astype(np.float32), view.grid, np.nan_to_num(ahead[:, 0]), 0.0) > 0.5
    x = np.where(seen & (np.abs(depth) < FAR_MM), x, np.nan)
    axes.plot(x, -y, color="#7fd3ff", lw=1.0, alpha=0.8, label="path of the probe's tip")
    axes.legend(loc="lower left", framealpha=0.85)


def _depth_label(axes: Axes, spot: Spot, frame: DepthFrame) -> None:
    x, y, depth = frame.coordinates(spot.position_mm)[0]
    if spot.depth_below_surface_mm is not None:
        depth = spot.depth_below_surface_mm  # as everywhere in the report
    axes.annotate(
        f"{depth:.0f} mm deep\n{spot.activity_kbq:.0f} kBq",
        (x, -y),
        xytext=(28, -52),
        textcoords="offset points",
        color="white",
        fontsize=15,
        bbox={"boxstyle": "round,pad=0.3", "fc": "black", "ec": "white", "alpha": 0.75},
        arrowprops={"arrowstyle": "-", "color": "white"},
    )
