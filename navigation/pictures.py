"""Pictures of maps and spots for the report: sections with scale, limits and what was not examined, by matplotlib.

Colour means one thing: brightness is activity, hatching is "not examined", white rings are foci with their
uncertainty. Nothing is ever coloured to mean "nothing there".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.reslice import Plane, linear, nearest
from navigation.volume import NO_LIMIT_KBQ, Spot, VoxelGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Perceptually ordered and free of green; dark is little, bright is much.
ACTIVITY_COLOURS = "inferno"
NOT_EXAMINED_FACE = "#50545c"
NOT_EXAMINED_HATCH = "////"
# chi2(1) and chi2(2) at 95 %: the interval along one axis and the ellipse in a plane.
CHI2_95_PLANE = 5.991
# An estimate may heap a focus into two or three voxels: its brightness is the mean of a cube of this half side.
FOCUS_REACH_MM = 4.0
# Pixels along the longer side of a section: half a millimetre for a view of 12 cm.
SECTION_PIXELS = 240
DOTS_PER_INCH = 130


@dataclass(frozen=True, slots=True, eq=False)
class MapView:
    """What a section is drawn from: activity (kBq/mL), MDA (kBq), mask of what was examined, all k-j-i on `grid`."""

    grid: VoxelGrid
    activity: NDArray[np.float32]
    mda_kbq: NDArray[np.float32] | None
    examined: NDArray[np.bool_]
    spots: tuple[Spot, ...]
    surface_mm: NDArray[np.float64] | None = None
    ceiling: float = 1.0  # top of the colour scale in kBq/mL


def focus_brightness(
    activity: NDArray[np.float32], grid: VoxelGrid, position_mm: NDArray[np.float64]
) -> float:
    """Mean activity within some millimetres of a focus: what its brightness on a colour scale should stand for."""
    reach = np.ceil(FOCUS_REACH_MM / grid.spacing_mm).astype(int)
    middle = np.rint(grid.index_of(position_mm[None])[0]).astype(int)
    low = np.maximum(middle - reach, 0)
    i, j, k = (slice(a, max(b, a)) for a, b in zip(low, middle + reach + 1, strict=True))
    block = activity[k, j, i]
    return float(block.mean()) if block.size else 0.0


@contextmanager
def figure(size_inch: tuple[float, float], path: Path, simulated: bool) -> Iterator[Figure]:
    """A figure that is saved to `path` at the end, stamped when it stems from the simulator."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=size_inch, layout="constrained", facecolor="white")
    FigureCanvasAgg(drawing)
    with _style():
        yield drawing
        if simulated:
            stamp(drawing)
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.savefig(path, dpi=DOTS_PER_INCH)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    wanted = {"font.size": 14, "axes.titlesize": 15, "axes.labelsize": 14, "hatch.linewidth": 1.2}
    with matplotlib.rc_context(wanted):  # type: ignore[arg-type]  # the stub demands literal keys
        yield


def stamp(drawing: Figure) -> None:
    """SIMULATION across a figure, too large to crop away."""
    drawing.text(
        0.5,
        0.5,
        "SIMULATION",
        rotation=20,
        fontsize=54,
        color="#808080",
        alpha=0.28,
        ha="center",
        va="center",
        weight="bold",
        zorder=50,
    )


def section_extent(half_mm: tuple[float, float], top_mm: float) -> tuple[float, float, float, float]:
    """matplotlib's extent of a picture whose vertical axis grows downwards from `top_mm`."""
    return -half_mm[0], half_mm[0], top_mm + 2.0 * half_mm[1], top_mm


def draw_map(axes: Axes, view: MapView, plane: Plane, half_mm: tuple[float, float], top_mm: float) -> Any:
    """Activity on a plane with hatching where the scan did not look; returns the image for its colour bar."""
    scale = SECTION_PIXELS / (2.0 * max(half_mm))
    shape = (max(2, round(2 * half_mm[1] * scale)), max(2, round(2 * half_mm[0] * scale)))
    points = plane.points(half_mm, shape)
    extent = section_extent(half_mm, top_mm)
    activity = linear(view.activity, view.grid, points, 0.0)
    seen = nearest(view.examined.astype(np.float32), view.grid, points, 0.0) > 0.5
    axes.set_facecolor(NOT_EXAMINED_FACE)
    shown = np.ma.masked_array(activity, ~seen)
    image = axes.imshow(
        shown,
        extent=extent,
        cmap=ACTIVITY_COLOURS,
        vmin=0.0,
        vmax=view.ceiling,
        interpolation="bilinear",
        interpolation_stage="data",
        aspect="equal",
    )
    hatch(axes, ~seen, extent)
    if view.mda_kbq is not None:
        unlimited = seen & (nearest(view.mda_kbq, view.grid, points, 0.0) >= NO_LIMIT_KBQ)
        hatch(axes, unlimited, extent, face="none")
    return image


def hatch(
    axes: Axes,
    mask: NDArray[np.bool_],
    extent: tuple[float, float, float, float],
    face: str = NOT_EXAMINED_FACE,
) -> None:
    """Hatches the pixels of `mask` and outlines them; with the face "none" what is below shows through."""
    if not mask.any():
        return
    left, right, bottom, top = extent
    x = left + (np.arange(mask.shape[1]) + 0.5) / mask.shape[1] * (right - left)
    y = top + (np.arange(mask.shape[0]) + 0.5) / mask.shape[0] * (bottom - top)
    where = mask.astype(np.float64)
    filled = axes.contourf(x, y, where, levels=[0.5, 1.5], colors=[face], hatches=[NOT_EXAMINED_HATCH])
    filled.set_edgecolor("#c8ccd4")
    if not mask.all():
        axes.contour(x, y, where, levels=[0.5], colors=["#c8ccd4"], linewidths=1.0)


def draw_spot(axes: Axes, spot: Spot, plane: Plane, top_mm: float, half_mm: tuple[float, float]) -> None:
    """The 95 % ellipse of a spot in a plane, a cross at its middle and its number beside it."""
    x, y, _ = plane.project(spot.position_mm)[0]
    middle = top_mm + half_mm[1]
    along = ellipse(spot.covariance_mm2, plane, CHI2_95_PLANE)
    axes.plot(x + along[:, 0], middle + y + along[:, 1], color="black", lw=4.0)
    axes.plot(x + along[:, 0], middle + y + along[:, 1], color="white", lw=2.2)
    axes.plot(x, middle + y, "+", color="white", ms=12, mew=2.2)
    reach = float(along[:, 0].max())
    axes.annotate(
        str(spot.id),
        (x + reach, middle + y),
        xytext=(5, 4),
        textcoords="offset points",
        color="white",
        fontsize=18,
        weight="bold",
        bbox={"boxstyle": "round,pad=0.15", "fc": "black", "ec": "none", "alpha": 0.6},
        annotation_clip=True,
    )


def ellipse(covariance_mm2: NDArray[np.float64], plane: Plane, chi2: float) -> NDArray[np.float64]:
    """Outline (65, 2) in mm right and down of the region in the plane that holds the spot with that chi2."""
    basis = np.stack([plane.right, plane.down])
    values, vectors = np.linalg.eigh(basis @ covariance_mm2 @ basis.T)
    turn = np.linspace(0.0, 2.0 * np.pi, 65)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.asarray((circle * np.sqrt(chi2 * np.maximum(values, 0.0))) @ vectors.T)


def draw_surface(
    axes: Axes, view: MapView, plane: Plane, half_mm: tuple[float, float], top_mm: float
) -> None:
    """The touched surface where it crosses a section, as dots of the points within some millimetres of it."""
    if view.surface_mm is None:
        return
    x, y, away = plane.project(view.surface_mm).T
    # Touched points lie some 7 mm apart: half of that on either side shows each once.
    near = (np.abs(away) < 4.0) & (np.abs(x) < half_mm[0]) & (np.abs(y) < half_mm[1])
    if near.any():
        axes.plot(x[near], top_mm + half_mm[1] + y[near], "o", color="#7fd3ff", ms=6, mec="black")
