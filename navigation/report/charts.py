"""The report's charts: count rate over time with what could not be placed, and the bed as it was covered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.pictures import NOT_EXAMINED_FACE, NOT_EXAMINED_HATCH, figure
from navigation.report.geometry import DepthFrame
from navigation.report.maps import frame_at
from navigation.report.results import CaseReport, ScanReport, Volume
from navigation.reslice import nearest
from tracking.scanfolder import readings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

# A placed reading's middle is the counting window's middle to within the jitter of its stamp.
SAME_WINDOW_S = 0.02
# Pixels across the bed's picture, and how far a touched point speaks for its surroundings (points lie 7 mm apart).
BED_PIXELS = 220
BED_POINT_REACH_MM = 5.0
BED_DEPTH_STEPS = 7
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
    with figure((13.5, 4.6), path, case.simulated) as drawing:
        axes = drawing.subplots()
        axes.step(counts.t_s, rate, where="pre", color="#20406a", lw=1.3, label="counts per second")
        _smoothed(axes, counts.t_s, rate)
        _shade_unplaced(axes, counts.t_s, counts.window_s, placed)
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


def bed_picture(case: CaseReport, scan: ScanReport, path: Path) -> bool:
    """The bed seen from its opening: assessed, seen too weakly and not examined parts, residuals, the next places."""
    mda, check, bed = scan.volumes.get("mda"), scan.bed_check, scan.bed
    if mda is None or check is None or bed is None or len(bed.get("points_mm", ())) < 3:
        return False
    points = np.asarray(bed["points_mm"], dtype=np.float64)
    frame = frame_at(case, scan, points.mean(axis=0))
    flat = frame.coordinates(points)
    state, extent = _bed_states(mda, points, flat, frame, _bed_depth(bed, check), check)
    with figure((13.0, 7.6), path, case.simulated) as drawing:
        axes = drawing.subplots()
        _draw_states(axes, state, extent)
        axes.plot(flat[:, 0], -flat[:, 1], ".", color="black", ms=5, label="touched points of the bed")
        _mark(axes, frame, check)
        axes.set_title("Resection bed from above, worst value over its depth")
        axes.set_xlabel("mm")
        axes.set_ylabel("mm")
        axes.set_aspect("equal")
        known = axes.get_legend_handles_labels()[0]
        axes.legend(
            handles=[*_state_legend(check), *known],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.5,
            labelspacing=1.2,
            handlelength=2.5,
            handleheight=1.8,
        )
    return True


def _bed_depth(bed: dict[str, Any], check: dict[str, Any]) -> float:
    return float(bed.get("depth_mm") or check.get("depth_mm") or 0.0)


def _bed_states(
    mda: Volume,
    points: NDArray[np.float64],
    flat: NDArray[np.float64],
    frame: DepthFrame,
    depth_mm: float,
    check: dict[str, Any],
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """(rows, columns) of COVERED, ABOVE or NOT_LOOKED, NaN outside the bed; and matplotlib's extent."""
    depths = np.linspace(0.0, depth_mm, BED_DEPTH_STEPS)
    column = points[:, None, :] + depths[None, :, None] * frame.into
    looked = nearest(mda.examined.astype(np.float32), mda.grid, column, 0.0) > 0.5
    value = nearest(mda.values, mda.grid, column, np.inf)
    weak = (value > float(check["threshold_kbq"])) & looked
    state = np.where((~looked).any(axis=1), NOT_LOOKED, np.where(weak.any(axis=1), ABOVE, COVERED))
    reach = float(np.abs(flat[:, :2]).max()) + 2.0 * BED_POINT_REACH_MM
    side = (np.arange(BED_PIXELS) + 0.5) / BED_PIXELS * 2.0 * reach - reach
    x, y = np.meshgrid(side, side)
    squared = (x[..., None] - flat[:, 0]) ** 2 + (y[..., None] + flat[:, 1]) ** 2
    picture = state[squared.argmin(axis=-1)].astype(np.float64)
    picture[squared.min(axis=-1) > BED_POINT_REACH_MM**2] = np.nan
    return picture, (-reach, reach, reach, -reach)


def _draw_states(axes: Axes, state: NDArray[np.float64], extent: tuple[float, float, float, float]) -> None:
    """Colour and pattern of each state, so that neither alone carries the meaning."""
    from matplotlib.colors import ListedColormap

    axes.imshow(
        state, extent=extent, cmap=ListedColormap(BED_COLOURS), vmin=-0.5, vmax=2.5, interpolation="nearest"
    )
    for value, pattern in enumerate(BED_HATCHES):
        mask = (state == value).astype(np.float64)
        if pattern and mask.any():
            x = np.linspace(extent[0], extent[1], state.shape[1])
            y = np.linspace(extent[3], extent[2], state.shape[0])
            filled = axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=["none"], hatches=[pattern])
            filled.set_edgecolor(_hatch_colour(value))
            axes.contour(x, y, mask, levels=[0.5], colors=["#101010"], linewidths=2.0)


def _hatch_colour(state: int) -> str:
    return "white" if state == NOT_LOOKED else "#101010"


def _state_legend(check: dict[str, Any]) -> list[Patch]:
    from matplotlib.patches import Patch

    limit = f"{float(check['threshold_kbq']):g} kBq"
    names = (f"would show {limit}", f"seen too weakly\nfor {limit}", "NOT EXAMINED")
    return [
        Patch(facecolor=colour, edgecolor=_hatch_colour(state), hatch=BED_HATCHES[state], label=name)
        for state, (colour, name) in enumerate(zip(BED_COLOURS, names, strict=True))
    ]


def _mark(axes: Axes, frame: DepthFrame, check: dict[str, Any]) -> None:
    """Residual foci with their strength, and the places to scan next."""
    label: str | None = "residual focus of activity"
    for item in check.get("residuals", ()):
        x, y, depth = frame.coordinates(item["position_mm"])[0]
        axes.plot(x, -y, "o", mfc="none", mec="#b00020", mew=4, ms=26, label=label)
        text = f"{item['activity_kbq']:.1f} kBq\n{depth:.0f} mm deep"
        axes.annotate(
            text,
            (x, -y),
            xytext=(22, 16),
            textcoords="offset points",
            fontsize=16,
            weight="bold",
            color="#b00020",
            bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": "#b00020"},
        )
        label = None
    label = "scan here next"
    for number, place in enumerate(check.get("scan_next_mm", ())[:5], 1):
        x, y, _ = frame.coordinates(place)[0]
        axes.plot(x, -y, "D", color="white", mec="black", mew=2, ms=22, label=label)
        axes.text(x, -y, str(number), ha="center", va="center", fontsize=14, weight="bold")
        label = None
