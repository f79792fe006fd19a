"""Pictures of a pivot calibration: where the shaft was held, what is left of each pose, how well the tip is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.guided.coverage import RING_CELLS, RING_DEG, basis_about, covered, flat, flat_radius
from navigation.plots.sheet import (
    BLACK,
    BLUE,
    ORANGE,
    QUIET,
    SKY,
    VERMILLION,
    nothing_to_draw,
    quiet_grid,
    sheet,
)
from navigation.plots.write import picture_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

AXIS_LOOKS = ((BLUE, "o"), (ORANGE, "s"), (BLACK, "^"))
# chi2(2) at 95 %.
CHI2_95_PLANE = 5.991
# Bars of the histogram of residual lengths.
BARS = 30


def pivot_plots(out: Path, matrices: Array, content: Mapping[str, Any]) -> list[Path]:
    """`<out>-coverage.png` and `<out>-residuals.png` of tip.json's content and the poses (n, 4, 4) it rests on."""
    coverage, residuals = picture_path(out, "coverage"), picture_path(out, "residuals")
    tip, pivot = content.get("tip_offset_mm"), content.get("pivot_point_mm")
    known = tip is not None and pivot is not None and len(matrices) > 0
    left = residuals_of(matrices, np.array(tip), np.array(pivot)) if known else np.zeros((0, 3))
    used = used_poses(left, int(content.get("outliers") or 0))
    with sheet(coverage, content, "Pivot calibration: directions of the shaft", figures_of(content)) as page:
        if not known:
            nothing_to_draw(page, "tip and pivot are not determined: no direction of the shaft is known")
        else:
            sphere, ellipses = page.subplots(1, 2, width_ratios=[1.25, 1.0])
            draw_coverage(sphere, shaft_directions(matrices, np.array(tip)), used)
            _draw_ellipses(ellipses, content)
    with sheet(residuals, content, "Pivot calibration: residuals", figures_of(content)) as page:
        if not known:
            nothing_to_draw(page, "tip and pivot are not determined: there are no residuals")
        else:
            over_time, bars = page.subplots(2, 1, height_ratios=[1.4, 1.0])
            _draw_residuals(over_time, left, used)
            _draw_lengths(bars, left, used, content)
    return [coverage, residuals]


def figures_of(content: Mapping[str, Any]) -> str:
    """The figures one signs, in one line."""
    if content.get("tip_offset_mm") is None:
        return f"{content.get('poses', 0)} poses"
    tip = ", ".join(f"{v:.2f}" for v in content["tip_offset_mm"])
    return (
        f"tip ({tip}) mm, standard error {content['tip_sd_mm']:.3f} mm; 3D RMS {content['rms_mm']:.3f} mm; "
        f"largest tilt {content['max_angle_deg']:.0f} deg; {content['poses']} poses, {content['outliers']} left out"
    )


def residuals_of(matrices: Array, tip_mm: Array, pivot_mm: Array) -> Array:
    """Residual vectors (n, 3) of poses (n, 4, 4), tracker frame, mm."""
    result: Array = matrices[:, :3, :3] @ tip_mm + matrices[:, :3, 3] - pivot_mm
    return result


def used_poses(residuals_mm: Array, outliers: int) -> NDArray[np.bool_]:
    """(n,): all but the `outliers` poses farthest off, which is how they were chosen."""
    used = np.ones(len(residuals_mm), dtype=bool)
    if outliers:
        used[np.argsort(np.linalg.norm(residuals_mm, axis=1))[-outliers:]] = False
    return used


def shaft_directions(matrices: Array, tip_mm: Array) -> Array:
    """Unit vectors (n, 3) from the tip to the marker, tracker frame; +Z of the marker for a tip at its origin."""
    length = float(np.linalg.norm(tip_mm))
    shaft = -tip_mm / length if length > 0.0 else np.array([0.0, 0.0, 1.0])
    result: Array = matrices[:, :3, :3] @ shaft
    return result


def draw_coverage(axes: Axes, directions: Array, used: NDArray[np.bool_]) -> None:
    """Lambert's equal-area map of shaft directions (n, 3) about their mean, with the cells they fill."""
    basis = basis_about(directions[used].mean(axis=0))
    _draw_cells(axes, directions[used], basis)
    places = flat(directions, basis)
    axes.plot(*places[used].T, ".", color=BLUE, ms=6, label=f"{used.sum()} poses used")
    if (~used).any():
        axes.plot(*places[~used].T, "x", color=VERMILLION, ms=11, mew=3, label=f"{(~used).sum()} left out")
    reach = max(float(np.abs(places).max()), float(flat_radius(RING_DEG[-1]))) * 1.06
    for tilt in range(10, 91, 10):
        radius = float(flat_radius(float(tilt)))
        if radius > reach * 1.3:
            break
        turn = np.linspace(0.0, 2.0 * np.pi, 181)
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=QUIET, lw=0.8, alpha=0.6)
        if radius < 0.94 * reach:
            axes.text(0.0, radius, f"{tilt}°", color=QUIET, fontsize=11, ha="center", va="bottom")
    axes.set_aspect("equal")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("Shaft about its mean direction (equal-area map, tilt in degrees)")
    axes.legend(loc="lower left")


def _draw_cells(axes: Axes, directions: Array, basis: Array) -> None:
    from matplotlib.patches import Wedge

    cells = covered(directions, basis)
    for cell in cells:
        inner, outer = (float(flat_radius(v)) for v in (cell.low_deg, cell.high_deg))
        start, stop = (float(np.degrees(v)) for v in (cell.start_rad, cell.stop_rad))
        axes.add_patch(
            Wedge(
                (0.0, 0.0),
                outer,
                start,
                stop,
                width=outer - inner,
                facecolor=SKY if cell.visits else "none",
                edgecolor=QUIET,
                alpha=0.35 if cell.visits else 0.8,
                lw=0.8,
                hatch=None if cell.visits else "//",
            )
        )
    filled = sum(c.visits > 0 for c in cells)
    axes.set_xlabel(f"{filled} of {sum(RING_CELLS)} cells covered; hatched: no pose there")


def _draw_ellipses(axes: Axes, content: Mapping[str, Any]) -> None:
    """95 % region of the tip in the marker's three planes."""
    covariance = np.array(content["tip_covariance_mm2"])
    turn = np.linspace(0.0, 2.0 * np.pi, 181)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    reach = 0.0
    for (first, second), (colour, _), style in zip(
        ((0, 1), (0, 2), (1, 2)), AXIS_LOOKS, ("-", "--", ":"), strict=True
    ):
        part = covariance[np.ix_([first, second], [first, second])]
        values, vectors = np.linalg.eigh(part)
        x, y = vectors @ (np.sqrt(CHI2_95_PLANE * np.maximum(values, 0.0))[:, None] * circle)
        names = "xyz"[first], "xyz"[second]
        axes.plot(x, y, style, color=colour, lw=2.5, label=f"{names[0]} across, {names[1]} up")
        reach = max(reach, float(np.abs([x, y]).max()))
    reach = 1.8 * max(reach, 1e-6)
    axes.set_aspect("equal")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("offset from the tip, mm (marker frame)")
    axes.set_title("95 % region of the tip")
    axes.axhline(0.0, color=QUIET, lw=0.8)
    axes.axvline(0.0, color=QUIET, lw=0.8)
    axes.legend(loc="upper right", title="plane", fontsize=12)
    quiet_grid(axes)


def _draw_residuals(axes: Axes, residuals: Array, used: NDArray[np.bool_]) -> None:
    number = np.arange(len(residuals))
    # One slip of many millimetres must not flatten all others: it is drawn at the edge, with its length.
    limit = 1.35 * max(float(np.abs(residuals[used]).max(initial=0.0)), 1e-3)
    for k, (colour, mark) in enumerate(AXIS_LOOKS):
        axes.plot(
            number[used],
            residuals[used, k],
            mark,
            color=colour,
            ms=4,
            alpha=0.8,
            label=f"{'xyz'[k]} (tracker)",
        )
    for at in number[~used]:
        worst = residuals[at][int(np.abs(residuals[at]).argmax())]
        place = float(np.clip(worst, -0.9 * limit, 0.9 * limit))
        axes.plot(at, place, "x", color=VERMILLION, ms=10, mew=3)
        length = float(np.linalg.norm(residuals[at]))
        axes.text(at, place, f"  {length:.1f} mm", color=VERMILLION, fontsize=11, va="center")
    if (~used).any():
        axes.plot([], [], "x", color=VERMILLION, ms=10, mew=3, label="left out, with its length")
    axes.set_ylim(-limit, 1.25 * limit)
    axes.axhline(0.0, color=QUIET, lw=0.8)
    axes.set_xlabel("pose")
    axes.set_ylabel("residual, mm")
    axes.legend(loc="upper right", ncols=4)
    quiet_grid(axes)


def _draw_lengths(axes: Axes, residuals: Array, used: NDArray[np.bool_], content: Mapping[str, Any]) -> None:
    """How long the residual vectors are, beside what noise alike in all directions would give."""
    lengths = np.linalg.norm(residuals[used], axis=1)
    top = max(float(lengths.max()), 1e-6)
    edges = np.linspace(0.0, top, BARS + 1)
    axes.hist(lengths, bins=list(edges), color=SKY, edgecolor="white", label="poses used")
    rms = float(content["rms_mm"])
    if rms > 0.0:
        x = np.linspace(0.0, top, 300)
        sigma = rms / np.sqrt(3.0)
        density = np.sqrt(2.0 / np.pi) * x**2 / sigma**3 * np.exp(-(x**2) / (2.0 * sigma**2))
        axes.plot(x, density * len(lengths) * edges[1], color=BLACK, lw=2, label="normal noise of this RMS")
        axes.axvline(rms, color=VERMILLION, lw=2.5, ls="--", label=f"3D RMS {rms:.3f} mm")
    axes.set_xlabel("length of the residual, mm")
    axes.set_ylabel("poses")
    axes.legend(loc="upper right")
    quiet_grid(axes)
