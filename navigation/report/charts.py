"""The report's charts: count rate over time with what could not be placed, and the bed as it was covered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.findings import kbq
from navigation.pictures import NOT_EXAMINED_FACE, NOT_EXAMINED_HATCH, figure
from navigation.report.geometry import DepthFrame, depth_below_surface_mm, depth_frame
from navigation.report.journalpart import marks_of
from navigation.report.maps import frame_at
from navigation.report.results import CaseReport, ScanReport
from navigation.report.wording import covered
from tracking.scanfolder import readings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

# A placed reading's middle is the counting window's middle to within the jitter of its stamp.
SAME_WINDOW_S = 0.02
# Cells of the bed's picture: a little wider than its voxels, so that no cell of the bed stays empty.
BED_CELL_MM = 2.5
# A voxel whose MDA is beyond this was not looked at: no surgical question is that coarse.
UNSEEN_MDA_KBQ = 1e4
# The bed's picture fills half a page's width; its axes leave room for the legend below.
BED_INCH = (6.6, 7.8)
BED_PLACE = (0.13, 0.23, 0.85, 0.719)
# Each cell is outlined this many times finer, so that outlines follow the cells.
OUTLINE_STEPS = 8
COVERED, ABOVE, NOT_LOOKED = 0, 1, 2
BED_COLOURS = ("#a9c7e8", "#f2b36b", NOT_EXAMINED_FACE)
BED_HATCHES = ("", "...", NOT_EXAMINED_HATCH)


def rate_picture(case: CaseReport, scan: ScanReport, path: Path) -> bool:
    """Counts per second over the scan, intervals without a valid pose shaded; False without the scan's tables."""
    if scan.scan is None or not len(scan.scan.counts.t_s):
        return False
    counts = scan.scan.counts
    rate = counts.counts / counts.window_s
    latency = float(scan.info.get("count_latency_s") or 0.0)
    placed = _placed(scan, latency)
    with figure((13.5, 3.2), path, case.simulated) as drawing:
        axes = drawing.subplots()
        axes.step(counts.t_s, rate, where="pre", color="#20406a", lw=1.3, label="counts per second")
        _smoothed(axes, counts.t_s, rate)
        _shade_unplaced(axes, counts.t_s, counts.window_s, placed)
        _marked(axes, marks_of(case, scan))
        axes.set_xlabel("time on the scan's clock, s")
        axes.set_ylabel("cps")
        axes.set_ylim(0.0, 1.3 * max(float(rate.max()), 1.0))
        axes.margins(x=0.01)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", ncols=3)
    return True


def _placed(scan: ScanReport, latency_s: float) -> NDArray[np.bool_]:
    """(n,) which counting windows found a valid pose over their whole length."""
    assert scan.scan is not None
    counts = scan.scan.counts
    middles = counts.t_s - latency_s - counts.window_s / 2.0
    found = np.sort(readings_of(scan.scan, (), latency_s).t_s)
    if not len(found):
        return np.zeros(len(middles), dtype=bool)
    after = np.clip(np.searchsorted(found, middles), 0, len(found) - 1)
    before = np.clip(after - 1, 0, None)
    distance = np.minimum(np.abs(found[after] - middles), np.abs(found[before] - middles))
    return np.asarray(distance < SAME_WINDOW_S)


def _smoothed(axes: Axes, t_s: NDArray[np.float64], rate: NDArray[np.float64]) -> None:
    """One second's mean, which is what a reader's eye would do."""
    interval = float(np.median(np.diff(t_s))) if len(t_s) > 1 else 1.0
    width = max(1, round(1.0 / interval))
    if width > 1 and len(rate) > 2 * width:
        mean = np.convolve(rate, np.ones(width) / width, mode="valid")
        axes.plot(t_s[width - 1 :], mean, color="#c4560a", lw=2.6, label="mean of 1 s")


def _shade_unplaced(
    axes: Axes, t_s: NDArray[np.float64], window_s: NDArray[np.float64], placed: NDArray[np.bool_]
) -> None:
    label: str | None = "no valid probe position: counts not placed"
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (~placed).astype(int), [0]])))
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        axes.axvspan(
            t_s[first] - window_s[first],
            t_s[stop - 1],
            facecolor="#b8bcc4",
            alpha=0.6,
            hatch="//",
            edgecolor="#60646c",
            label=label,
        )
        label = None


def _marked(axes: Axes, marks: list[tuple[float, str]]) -> None:
    """What was asked for meanwhile: a line with its words."""
    for t_s, words in marks:
        axes.axvline(t_s, color="#b00020", lw=1.6, ls=":")
        axes.annotate(
            words,
            (t_s, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            rotation=90,
            ha="left",
            va="top",
            fontsize=11,
            color="#b00020",
        )


def bed_picture(case: CaseReport, scan: ScanReport, path: Path) -> bool:
    """The bed seen from its opening: assessed, seen too weakly and not examined parts, residuals, where to scan next.

    False without the bed's voxels (bed_map.csv).
    """
    check, voxels = scan.bed_check, scan.bed_map
    if check is None or voxels is None or not len(voxels):
        return False
    frame = bed_frame(case, scan, voxels[:, :3])
    state, extent = bed_states(voxels, frame)
    with figure(BED_INCH, path, case.simulated) as drawing:
        drawing.set_layout_engine("none")
        axes = drawing.add_axes(BED_PLACE)
        _draw_states(axes, state, extent)
        points = _touched_points(scan)
        if points is not None:
            x, y, _ = frame.coordinates(points).T
            axes.plot(x, -y, ".", color="black", ms=4, label="touched points")
        _mark(axes, frame, check, points)
        share = float((voxels[:, 5] > 0.5).mean())
        axes.set_title(f"Bed from above: {covered(share)} of its tissue assessed")
        axes.set_xlabel("mm")
        axes.set_ylabel("mm")
        handles = [*_state_legend(check, state), *axes.get_legend_handles_labels()[0]]
        drawing.legend(handles=handles, loc="lower center", ncols=2, fontsize=12, handleheight=1.5)
    return True


def bed_frame(case: CaseReport, scan: ScanReport, places_mm: NDArray[np.float64]) -> DepthFrame:
    """Axes along the mean normal of the bed's voxels (m, 3), seen from the side the probe came from."""
    middle = places_mm.mean(axis=0)
    near = frame_at(case, scan, middle)
    if len(places_mm) < 3:
        return near
    normal = np.linalg.svd(places_mm - middle, full_matrices=False)[2][-1]
    normal = normal if normal @ near.into >= 0.0 else -normal
    return depth_frame(middle, None, normal, case.T_ras_reference)


def _touched_points(scan: ScanReport) -> NDArray[np.float64] | None:
    points = np.asarray((scan.bed or {}).get("points_mm", ()), dtype=np.float64)
    return points if points.ndim == 2 and points.shape[1] == 3 else None


def bed_states(
    voxels: NDArray[np.float64], frame: DepthFrame
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """(rows, columns) of COVERED, ABOVE or NOT_LOOKED, NaN outside the bed; and matplotlib's extent.

    `voxels` (m, 6) are the rows of bed_map.csv: x, y, z in mm, MDA and upper limit in kBq, covered.
    """
    flat = frame.coordinates(voxels[:, :3])
    looked = np.isfinite(voxels[:, 3]) & (voxels[:, 3] < UNSEEN_MDA_KBQ)
    state = np.where(voxels[:, 5] > 0.5, COVERED, np.where(looked, ABOVE, NOT_LOOKED))
    reach = float(np.abs(flat[:, :2]).max()) + 5.0
    cells = int(np.ceil(2.0 * reach / BED_CELL_MM))
    column = np.clip(((flat[:, 0] + reach) / BED_CELL_MM).astype(int), 0, cells - 1)
    row = np.clip(((-flat[:, 1] + reach) / BED_CELL_MM).astype(int), 0, cells - 1)
    worst = np.full((cells, cells), -1)
    np.maximum.at(worst, (row, column), state)
    side = cells * BED_CELL_MM - reach
    return np.where(worst < 0, np.nan, worst.astype(np.float64)), (-reach, side, side, -reach)


def _draw_states(axes: Axes, state: NDArray[np.float64], extent: tuple[float, float, float, float]) -> None:
    """Colour and pattern of each state, so that neither alone carries the meaning."""
    from matplotlib.colors import ListedColormap

    fine = np.kron(state, np.ones((OUTLINE_STEPS, OUTLINE_STEPS)))
    axes.imshow(
        state, extent=extent, cmap=ListedColormap(BED_COLOURS), vmin=-0.5, vmax=2.5, interpolation="nearest"
    )
    left, right, bottom, top = extent
    x = left + (np.arange(fine.shape[1]) + 0.5) / fine.shape[1] * (right - left)
    y = top + (np.arange(fine.shape[0]) + 0.5) / fine.shape[0] * (bottom - top)
    for value, pattern in enumerate(BED_HATCHES):
        mask = (fine == value).astype(np.float64)
        if pattern and mask.any():
            filled = axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=["none"], hatches=[pattern])
            filled.set_edgecolor(_hatch_colour(value))
            axes.contour(x, y, mask, levels=[0.5], colors=["#101010"], linewidths=1.5)


def _hatch_colour(state: int) -> str:
    return "white" if state == NOT_LOOKED else "#101010"


def _state_legend(check: dict[str, Any], states: NDArray[np.float64]) -> list[Patch]:
    from matplotlib.patches import Patch

    limit = f"{float(check['threshold_kbq']):g} kBq"
    names = (f"no activity above {limit}", f"{limit} not excluded", "NOT EXAMINED")
    return [
        Patch(facecolor=colour, edgecolor=_hatch_colour(state), hatch=BED_HATCHES[state], label=name)
        for state, (colour, name) in enumerate(zip(BED_COLOURS, names, strict=True))
        if (states == state).any()
    ]


def _mark(
    axes: Axes, frame: DepthFrame, check: dict[str, Any], surface_mm: NDArray[np.float64] | None
) -> None:
    """Residual foci with their strength, and the places to scan next."""
    label: str | None = "scan here next"
    for number, place in enumerate(check.get("scan_next_mm", ())[:5], 1):
        x, y, _ = frame.coordinates(place)[0]
        axes.plot(x, -y, "D", color="white", mec="black", mew=1.5, ms=15, label=label)
        axes.text(x, -y, str(number), ha="center", va="center", fontsize=12, weight="bold")
        label = None
    label = "residual focus of activity"
    free = [(0.02, 0.03), (0.02, 0.97), (0.98, 0.03), (0.98, 0.97)]
    for item in check.get("residuals", ()):
        x, y, _ = frame.coordinates(item["position_mm"])[0]
        axes.plot(x, -y, "o", mfc="none", mec="#b00020", mew=4, ms=30, label=label)
        label = None
        if free:
            corner = min(
                free,
                key=lambda c: np.hypot(*(axes.transAxes.transform(c) - axes.transData.transform((x, -y)))),
            )
            free.remove(corner)
            depth = depth_below_surface_mm(item["position_mm"], surface_mm)
            _name_residual(axes, item, (x, -y), corner, depth)


def _name_residual(
    axes: Axes,
    item: dict[str, Any],
    at: tuple[float, float],
    corner: tuple[float, float],
    depth: float | None,
) -> None:
    """Strength and depth in a corner of the picture, where they hide nothing of the bed."""
    axes.annotate(
        kbq(item["activity_kbq"]) + ("" if depth is None else f"\n{depth:.0f} mm deep"),
        at,
        xytext=corner,
        textcoords="axes fraction",
        ha="left" if corner[0] < 0.5 else "right",
        va="bottom" if corner[1] < 0.5 else "top",
        fontsize=16,
        weight="bold",
        color="#b00020",
        bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "#b00020"},
        arrowprops={"arrowstyle": "-", "color": "#b00020", "lw": 2, "shrinkB": 14},
    )
