"""Pictures of a registration: overlay and checkerboard of two volumes, residuals of points, a touched surface.

Every view has the patient's sides burned in and a scale bar; grey is anatomy, colour is activity, and no colour says
that a registration is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.pictures import ACTIVITY_COLOURS
from navigation.plots.sheet import QUIET, VERMILLION, sheet
from navigation.reslice import Plane, linear
from navigation.volume import VoxelGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from navigation.registration.imagevolume import ImageVolume

Array = NDArray[np.float64]

# Directions of picture right and picture down in LPS, seen as radiologists do: the patient's right is on the left.
VIEWS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
# The letters of the patient's axes in LPS, towards more and towards less.
SIDES = (("L", "R"), ("P", "A"), ("S", "I"))
# Soft tissue and the skin's edge in CT numbers.
WINDOW_HU = (-300.0, 300.0)
PIXEL_MM = 1.0
# The largest picture of a section: a whole body would be megapixels of air.
MOST_HALF_MM = 260.0
CHECK_MM = 30.0
SCALE_MM = 50.0
# What is fainter than this share of the colour scale shows the grey below.
FAINTEST_SHARE = 0.12
# How much of the grey a faint and a bright colour cover.
THINNEST, THICKEST = 0.15, 0.85
# Safe for the colour-blind and free of green.
DISTANCE_COLOURS = "cividis"
IMAGES_INCH, POINTS_INCH = (14.5, 11.0), (14.5, 7.0)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A volume as it is drawn: values (nz, ny, nx), where they lie in FIXED, and the limits of its shades."""

    values: NDArray[np.float32]
    grid: VoxelGrid
    limits: tuple[float, float]
    is_ct: bool

    @staticmethod
    def of(volume: ImageVolume, T: Array | None = None) -> Layer:
        """A volume moved by T (4, 4) if given."""
        is_ct = volume.modality == "CT"
        grid = volume.grid if T is None else _moved(volume.grid, T)
        if is_ct:
            return Layer(volume.array, grid, WINDOW_HU, True)
        # Logarithmic, as it was registered: a hot organ must not darken the outline by which one judges.
        shades = volume.scaled
        return Layer(shades, grid, (0.0, float(shades.max())), False)

    def section(self, points_mm: Array) -> Any:
        """Shades 0 to 1 at points (rows, columns, 3), masked beyond the field."""
        values = linear(self.values, self.grid, points_mm, np.nan)
        low, high = self.limits
        return np.ma.masked_invalid(np.clip((values - low) / (high - low), 0.0, 1.0))


def _moved(grid: VoxelGrid, T: Array) -> VoxelGrid:
    rotation = T[:3, :3]
    return VoxelGrid(
        rotation @ grid.origin_mm + T[:3, 3], grid.spacing_mm, grid.size, rotation @ grid.direction
    )


def images_pictures(
    folder: Path,
    fixed: ImageVolume,
    moving: ImageVolume,
    T_fixed_moving: Array,
    content: Mapping[str, Any],
) -> list[Path]:
    """`overlay.png` and `checkerboard.png` in `folder`, in three planes before and after; content is reg.json's."""
    grey = Layer.of(fixed)
    layers = {"before": Layer.of(moving), "after": Layer.of(moving, T_fixed_moving)}
    middle = telling_point(fixed, moving, T_fixed_moving)
    drawn = []
    for name, draw in (("overlay", _overlay), ("checkerboard", _checkerboard)):
        path = folder / f"{name}.png"
        title = f"Registration of images: {name}"
        with sheet(path, content, title, _figures(content, middle), IMAGES_INCH) as page:
            axes = page.subplots(2, 3)
            for row, (when, layer) in zip(axes, layers.items(), strict=True):
                for place, view in zip(row, VIEWS, strict=True):
                    _view(place, fixed.grid, middle, view, when)
                    _draw(place, grey, layer, middle, view, draw)
        drawn.append(path)
    return drawn


def telling_point(fixed: ImageVolume, moving: ImageVolume, T_fixed_moving: Array) -> Array:
    """(3,) in FIXED: the hottest place of an emission image inside both fields, else the middle of the overlap."""
    values, grid = moving.coarse(8.0)
    inside_all = _moved(grid, T_fixed_moving)
    points = inside_all.points()
    index = fixed.grid.index_of(points)
    inside = ((index >= 0.0) & (index <= np.array(fixed.grid.size) - 1.0)).all(axis=1)
    if not inside.any():
        return fixed.field_centre_mm
    if moving.modality == "CT":
        return np.asarray(points[inside].mean(axis=0))
    return np.asarray(points[inside][int(values.ravel()[inside].argmax())])


def _figures(content: Mapping[str, Any], middle: Array) -> str:
    predicted = [v for v in content.get("tre_mm", {}).get("predicted", []) if v is not None]
    error = f"predicted error up to {max(predicted):.1f} mm" if predicted else "no predicted error"
    place = ", ".join(f"{v:.0f}" for v in middle)
    return f"{error}; sections through ({place}) mm LPS; colours of activity on a logarithmic scale"


def _half(grid: VoxelGrid, middle: Array, view: str) -> tuple[float, float]:
    """Half width and height in mm that show the whole field of view."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (
        np.array(grid.size) - 1
    )
    away = np.abs(corners @ grid.matrix[:3, :3].T + grid.origin_mm - middle)
    right, down = (np.abs(np.array(v)) for v in VIEWS[view])
    reach = away.max(axis=0)
    return min(float(reach @ right), MOST_HALF_MM), min(float(reach @ down), MOST_HALF_MM)


def _plane(middle: Array, view: str) -> Plane:
    right, down = (np.array(v) for v in VIEWS[view])
    return Plane(middle, right, down)


def _view(axes: Axes, grid: VoxelGrid, middle: Array, view: str, when: str) -> None:
    """An empty section with letters, scale bar and a cross at the point that all views share."""
    half = _half(grid, middle, view)
    frame_view(axes, view, half)
    axes.set_title(f"{view}, {when} registration" if when else view)
    for x, y in (
        ([-half[0], -4.0], [0, 0]),
        ([4.0, half[0]], [0, 0]),
        ([0, 0], [-half[1], -4.0]),
        ([0, 0], [4.0, half[1]]),
    ):
        axes.plot(x, y, color="#b0b4bc", lw=0.6, zorder=6)


def frame_view(axes: Axes, view: str, half_mm: tuple[float, float]) -> None:
    """Limits, letters of the patient's sides and a scale bar; mm right and down of the view's middle."""
    axes.set_xlim(-half_mm[0], half_mm[0])
    axes.set_ylim(half_mm[1], -half_mm[1])
    axes.set_aspect("equal")
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    right, down = VIEWS[view]
    for letter, x, y in (
        (side(right, -1.0), 0.04, 0.5),
        (side(right, 1.0), 0.96, 0.5),
        (side(down, -1.0), 0.5, 0.93),
        (side(down, 1.0), 0.5, 0.07),
    ):
        _burn(axes, letter, x, y, 20)
    _scale(axes, half_mm)


def side(direction: Sequence[float], sign: float) -> str:
    """The letter of the patient's side towards which a direction of LPS (or its opposite) points."""
    axis = int(np.argmax(np.abs(direction)))
    return SIDES[axis][0 if sign * direction[axis] > 0.0 else 1]


def _burn(axes: Axes, text: str, x: float, y: float, size: int) -> None:
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color="white",
        fontsize=size,
        weight="bold",
        ha="center",
        va="center",
        zorder=9,
        bbox={"boxstyle": "round,pad=0.12", "fc": "black", "ec": "none", "alpha": 0.65},
    )


def _scale(axes: Axes, half_mm: tuple[float, float]) -> None:
    length = SCALE_MM if half_mm[0] > SCALE_MM else 10.0
    left, y = -0.92 * half_mm[0], 0.9 * half_mm[1]
    axes.plot([left, left + length], [y, y], color="black", lw=7, solid_capstyle="butt", zorder=8)
    axes.plot([left, left + length], [y, y], color="white", lw=4, solid_capstyle="butt", zorder=9)
    axes.text(
        left, y - 0.04 * half_mm[1], f"{length:.0f} mm", color="white", fontsize=12, va="bottom", zorder=9
    )


def _draw(axes: Axes, fixed: Layer, moving: Layer, middle: Array, view: str, draw: Any) -> None:
    """Both volumes on the plane of a view, by one of the ways of drawing."""
    half = _half(fixed.grid, middle, view)
    shape = (max(2, round(2 * half[1] / PIXEL_MM)), max(2, round(2 * half[0] / PIXEL_MM)))
    points = _plane(middle, view).points(half, shape)
    extent = (-half[0], half[0], half[1], -half[1])
    draw(axes, fixed.section(points), moving.section(points), extent, moving.is_ct)


def _overlay(axes: Axes, fixed: Any, moving: Any, extent: tuple[float, ...], both_ct: bool) -> None:
    """Grey anatomy below colour; two CTs as orange and blue, which give grey where they agree."""
    where: Any = extent
    if both_ct:
        a, b = fixed.filled(0.0), moving.filled(0.0)
        axes.imshow(np.stack([a, 0.5 * (a + b), b], axis=-1), extent=where, zorder=1)
        return
    axes.imshow(fixed, extent=where, cmap="gray", vmin=0.0, vmax=1.0, zorder=1)
    shades = moving.filled(0.0)
    seen = np.where(shades < FAINTEST_SHARE, 0.0, THINNEST + (THICKEST - THINNEST) * shades)
    axes.imshow(shades, extent=where, cmap=ACTIVITY_COLOURS, vmin=0.0, vmax=1.0, alpha=seen, zorder=2)


def _checkerboard(axes: Axes, fixed: Any, moving: Any, extent: tuple[float, ...], both_ct: bool) -> None:
    """Fields of one image beside fields of the other: edges run on across them."""
    rows, columns = fixed.shape
    tile = max(1, round(CHECK_MM / PIXEL_MM))
    odd = ((np.arange(rows)[:, None] // tile + np.arange(columns)[None] // tile) % 2).astype(bool)
    where: Any = extent
    axes.imshow(np.ma.masked_array(fixed, odd), extent=where, cmap="gray", vmin=0.0, vmax=1.0, zorder=1)
    shades = "gray" if both_ct else ACTIVITY_COLOURS
    axes.imshow(np.ma.masked_array(moving, ~odd), extent=where, cmap=shades, vmin=0.0, vmax=1.0, zorder=2)


def points_picture(
    path: Path,
    fixed_mm: ArrayLike,
    moved_mm: ArrayLike,
    labels: Sequence[str] | None,
    content: Mapping[str, Any],
    ct: ImageVolume | None = None,
    enlarged: float = 10.0,
) -> Path:
    """Points (n, 3) of FIXED in LPS with arrows, `enlarged` times, to where the registration puts their partners.

    With a CT its sections through the middle of the points lie below. Three views.
    """
    fixed, moved = (np.asarray(v, dtype=np.float64).reshape(-1, 3) for v in (fixed_mm, moved_mm))
    errors = np.linalg.norm(moved - fixed, axis=1)
    words = (
        f"{len(fixed)} points, residuals up to {errors.max(initial=0.0):.1f} mm, arrows {enlarged:g} times; "
        "a fit, no accuracy"
    )
    with sheet(path, content, "Registration of points", words, POINTS_INCH) as page:
        for axes, view in zip(page.subplots(1, 3), VIEWS, strict=True):
            plane, half = _about(fixed, view, ct)
            if ct is not None:
                grid = Layer.of(ct)
                shape = (round(2 * half[1] / PIXEL_MM), round(2 * half[0] / PIXEL_MM))
                where: Any = (-half[0], half[0], half[1], -half[1])
                axes.imshow(
                    grid.section(plane.points(half, shape)), extent=where, cmap="gray", vmin=0, vmax=1
                )
            frame_view(axes, view, half)
            axes.set_title(view)
            _arrows(axes, plane.project(fixed), plane.project(moved), labels, enlarged)
    return path


def _about(points: Array, view: str, ct: ImageVolume | None) -> tuple[Plane, tuple[float, float]]:
    """The plane through the middle of points, and half its size: the CT's field or what the points need."""
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    plane = _plane(middle, view)
    if ct is not None:
        return plane, _half(ct.grid, middle, view)
    reach = 1.25 * float(np.abs(points - middle).max()) + 20.0
    return plane, (reach, reach)


def _arrows(axes: Axes, start: Array, end: Array, labels: Sequence[str] | None, enlarged: float) -> None:
    axes.plot(start[:, 0], start[:, 1], "o", color="#56B4E9", ms=8, mec="white", zorder=7)
    for number, (a, b) in enumerate(zip(start, end, strict=True)):
        x, y = a[:2] + enlarged * (b - a)[:2]
        style = {"arrowstyle": "-|>,head_length=0.35,head_width=0.16", "color": VERMILLION, "lw": 2.0}
        axes.annotate("", (x, y), (a[0], a[1]), arrowprops=style, zorder=8)
        name = labels[number] if labels else str(number + 1)
        axes.annotate(
            name, (a[0], a[1]), (6, 6), textcoords="offset points", color="white", fontsize=13, zorder=8
        )


def surface_picture(
    path: Path,
    skin_points_mm: ArrayLike,
    touched_mm: ArrayLike,
    distances_mm: ArrayLike,
    content: Mapping[str, Any],
) -> Path:
    """Touched points (n, 3), brought into LPS, coloured by their distance (n,) from the skin's points (m, 3)."""
    skin, touched = (np.asarray(v, dtype=np.float64).reshape(-1, 3) for v in (skin_points_mm, touched_mm))
    distances = np.abs(np.asarray(distances_mm, dtype=np.float64))
    words = (
        f"{len(touched)} points, median distance {np.median(distances):.1f} mm, "
        f"95 % within {np.quantile(distances, 0.95):.1f} mm; a fit, no accuracy"
    )
    with sheet(path, content, "Registration of a surface", words, POINTS_INCH) as page:
        views = list(page.subplots(1, 3))
        for axes, view in zip(views, VIEWS, strict=True):
            plane, half = _about(np.concatenate([skin, touched]), view, None)
            frame_view(axes, view, half)
            axes.set_title(view)
            x, y, _ = plane.project(skin).T
            axes.plot(x, y, ".", color=QUIET, ms=1.0, zorder=2)
            x, y, _ = plane.project(touched).T
            top = max(float(np.quantile(distances, 0.95)), 1.0)
            dots = axes.scatter(x, y, c=distances, cmap=DISTANCE_COLOURS, vmin=0.0, vmax=top, s=26, zorder=5)
        bar = page.colorbar(dots, ax=views, shrink=0.7)
        bar.set_label("distance from the skin, mm")
    return path
