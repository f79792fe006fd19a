"""Closed planar contours as a body: its mask on a grid, centroid, volume and extent.

A contour stands for the slab half way to its neighbours; contours of one plane are united, a contour inside
another is its hole, and those marked so are combined by exclusive or (DICOM PS3.3 C.8.8.6.3). Lengths mm, LPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.volume import VoxelGrid

Array = NDArray[np.float64]

# A contour whose points leave their plane by more is none: rounded coordinates stay below it.
PLANE_TOLERANCE_MM = 0.5
# Contours nearer than this along the normal lie in one plane.
SAME_PLANE_MM = 0.1
# A normal this near to an axis (cosine of 1 degree) is that axis: a contour's own is as good as its points are.
SAME_AXIS = 0.99985
# Between planes farther apart than this many steps the body is not continued.
LONGEST_BRIDGE = 1.5
# Volume and centroid are taken on a raster with so many points along the longer side of a contour's box.
FINE_POINTS = 256
# Points across a mask that has no image's grid to lie on, and the finest and coarsest distance between them.
OWN_POINTS, OWN_PIXEL_MM = 256, (0.25, 4.0)
# Edges times rows they cross: a tangle beyond any outline, which would take a minute.
MOST_CROSSINGS = 100_000_000
MOST_MASK_VOXELS = 1 << 26
_CROSSINGS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Contour:
    """One closed polygon, points (n, 3); `exclusive` ones are combined by exclusive or."""

    points_mm: Array
    exclusive: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """What contours enclose: mask (nz, ny, nx) of 0 and 1 on `grid`, and its measures taken from the contours.

    `extent_mm` (3,) is the size of its box along L, P and S.
    """

    mask: NDArray[np.uint8]
    grid: VoxelGrid
    centroid_mm: Array
    volume_ml: float
    extent_mm: Array
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Plane:
    """Polygons (n, 2) of one plane from the largest to the smallest, how each is applied, their area, and the slab."""

    polygons: tuple[Array, ...]
    roles: tuple[str, ...]  # "add", "cut" or "xor"
    area_mm2: float
    centre_mm: Array  # (2,), of the area
    low_mm: float
    high_mm: float


class NoBodyError(ValueError):
    """The contours enclose nothing that can be told."""


def body_of(contours: Sequence[Contour], grid: VoxelGrid | None, slab_mm: float | None = None) -> Body:
    """The body within contours, its mask on `grid` if that lies parallel to them, else on one of its own.

    `slab_mm` is the thickness of a contour that stands alone. Raises NoBodyError with the reason.
    """
    notes: list[str] = []
    axes = _axes(contours, grid)
    kept = [c for c in contours if _flat(c.points_mm @ axes[:, 2])]
    if len(kept) < len(contours):
        notes.append(f"{len(contours) - len(kept)} contours do not lie in the common plane: left out")
    parallel = grid is not None and bool(np.allclose(axes, _rotation(grid)))
    if slab_mm is None:
        slab_mm = float(grid.spacing_mm[2]) if grid is not None else None
    planes = _planes(kept, axes, slab_mm, notes)
    volume_ml, inner = _measures(planes)
    corners = np.concatenate([_corners(p) for p in planes]) @ axes.T
    target = grid if grid is not None and parallel else _own_grid(planes, axes)
    if target is not grid:
        notes.append("the mask lies on a grid of its own")
    mask = _mask(planes, axes, target)
    if not mask.any():
        notes.append("no voxel's centre lies inside")
    elif target is grid and _cut_off(planes, axes, target):
        notes.append("it reaches beyond the series: the mask is cut off there")
    return Body(mask, target, axes @ inner, volume_ml, np.ptp(corners, axis=0), tuple(notes))


def _rotation(grid: VoxelGrid) -> Array:
    """(3, 3): the grid's i, j and their cross product, whichever way its slices run."""
    i, j = grid.direction[:, 0], grid.direction[:, 1]
    return np.stack([i, j, np.cross(i, j)], axis=1)


def _flat(heights: Array) -> bool:
    return len(heights) > 2 and float(np.ptp(heights)) <= PLANE_TOLERANCE_MM


def _axes(contours: Sequence[Contour], grid: VoxelGrid | None) -> Array:
    """(3, 3): two axes in the contours' plane and its normal; those of the grid or of the body where they agree."""
    normals = [_area_vector(c.points_mm) for c in contours]
    sizes = [float(np.linalg.norm(n)) for n in normals]
    if not sizes or max(sizes) <= 0.0:
        raise NoBodyError("no contour encloses an area")
    normal = normals[int(np.argmax(sizes))] / max(sizes)
    candidates = [np.roll(np.eye(3), shift, axis=1) for shift in (0, 1, 2)]
    for axes in ([_rotation(grid)] if grid is not None else []) + candidates:
        if abs(float(axes[:, 2] @ normal)) > SAME_AXIS:
            return axes
    u = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u), normal], axis=1)


def _area_vector(points: Array) -> Array:
    """(3,): normal of a polygon, as long as its area (Newell)."""
    if len(points) < 3:
        return np.zeros(3)
    offset = points - points[0]
    return np.asarray(0.5 * np.cross(offset, np.roll(offset, -1, axis=0)).sum(axis=0))


def _planes(
    contours: Sequence[Contour], axes: Array, slab_mm: float | None, notes: list[str]
) -> tuple[_Plane, ...]:
    """Contours by plane, from below, each with the slab it stands for."""
    flat = [c.points_mm @ axes for c in contours]
    heights = np.array([float(p[:, 2].mean()) for p in flat])
    order = np.argsort(heights, kind="stable")
    groups = np.split(order, np.nonzero(np.diff(heights[order]) > SAME_PLANE_MM)[0] + 1)
    places = np.array([float(heights[g].mean()) for g in groups])
    edges = _slabs(places, slab_mm, notes)
    _bound(flat)
    planes = []
    for group, (low, high) in zip(groups, edges, strict=True):
        polygons = [(flat[n][:, :2], contours[n].exclusive) for n in group]
        planes.append(_roles(polygons, low, high, notes))
    return tuple(planes)


def _bound(flat: Sequence[Array]) -> None:
    """NoBodyError for contours that would take too long to fill."""
    crossings = 0.0
    for points in flat:
        x_mm, y_mm = np.ptp(points[:, :2], axis=0)
        pixel = max(float(x_mm), float(y_mm)) / FINE_POINTS
        rise = np.abs(np.diff(points[:, 1], append=points[:1, 1])).sum()
        crossings += len(points) + (float(rise) / pixel if pixel > 0.0 else 0.0)
    if crossings > MOST_CROSSINGS:
        raise NoBodyError("its contours are too tangled to be filled")


def _slabs(places: Array, slab_mm: float | None, notes: list[str]) -> list[tuple[float, float]]:
    """(low, high) of each plane: half way to its neighbours, half a step where there is none near."""
    gaps = np.diff(places)
    if len(gaps) == 0:
        thick = slab_mm if slab_mm is not None else 0.0
        if thick <= 0.0:
            raise NoBodyError("a single contour of unknown thickness")
        return [(float(places[0]) - 0.5 * thick, float(places[0]) + 0.5 * thick)]
    step = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    reach = np.where(gaps <= LONGEST_BRIDGE * step, 0.5 * gaps, 0.5 * step)
    wide = int((gaps > LONGEST_BRIDGE * step).sum())
    if wide:
        notes.append(f"{wide} gaps between its contours, the widest {gaps.max():.1f} mm: not bridged")
    below = np.concatenate([[0.5 * step], reach])
    above = np.concatenate([reach, [0.5 * step]])
    return [(float(p - b), float(p + a)) for p, b, a in zip(places, below, above, strict=True)]


def _roles(polygons: Sequence[tuple[Array, bool]], low: float, high: float, notes: list[str]) -> _Plane:
    """How the polygons of one plane combine, decided on a fine raster from the largest to the smallest."""
    origin, pixel, size = _fine([p for p, _ in polygons])
    rasters = [fill(p, origin, pixel, size) for p, _ in polygons]
    order = sorted(range(len(polygons)), key=lambda n: -int(rasters[n].sum()))
    filled = np.zeros_like(rasters[0])
    kept: list[int] = []
    roles: list[str] = []
    for n in order:
        raster, exclusive = rasters[n], polygons[n][1]
        if any(np.array_equal(raster, rasters[m]) for m in kept) and not exclusive:
            _once(notes, "a contour that is there twice counts once")
            continue
        inside = bool(raster.any()) and not bool((raster & ~filled).any())
        role = "xor" if exclusive else "cut" if inside else "add"
        if role == "cut":
            _once(notes, "a contour inside another is taken as a hole")
        _apply(filled, raster, role)
        kept.append(n)
        roles.append(role)
    rows, columns = np.nonzero(filled)
    centre = origin + pixel * np.array([columns.mean(), rows.mean()]) if len(rows) else origin
    area = len(rows) * float(pixel.prod())
    return _Plane(tuple(polygons[n][0] for n in kept), tuple(roles), area, centre, low, high)


def _once(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def _apply(filled: NDArray[np.bool_], raster: NDArray[np.bool_], role: str) -> None:
    if role == "xor":
        filled ^= raster
    elif role == "cut":
        filled &= ~raster
    else:
        filled |= raster


def _fine(polygons: Sequence[Array]) -> tuple[Array, Array, tuple[int, int]]:
    """Origin, pixel size and (columns, rows) of a raster whose points lie half a pixel inside the box."""
    points = np.concatenate(polygons)
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    pixel = max(float(span.max()) / FINE_POINTS, 1e-9)
    columns, rows = (max(int(np.ceil(s / pixel)), 1) for s in span)
    return low + 0.5 * pixel, np.array([pixel, pixel]), (columns, rows)


def fill(polygon: Array, origin: Array, pixel: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which points (rows, columns) of a raster lie inside a polygon (n, 2), by the even-odd rule.

    An edge walked there and back, as a keyhole's, cancels. `origin` is the first point, `pixel` the distances.
    """
    columns, rows = size
    points = (polygon - origin) / pixel
    left, top = (int(v) for v in np.clip(np.floor(points.min(axis=0)), 0, size))
    right, bottom = (int(v) for v in np.clip(np.ceil(points.max(axis=0)) + 1, 0, size))
    inside = np.zeros((rows, columns), dtype=bool)
    if right > left and bottom > top:
        part = _filled_box(points - [left, top], (right - left, bottom - top))
        inside[top:bottom, left:right] = part
    return inside


def _filled_box(start: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """As `fill`, of a polygon in pixels, in the box that holds it as far as it lies on the raster."""
    columns, rows = size
    end = np.roll(start, -1, axis=0)
    up = (start[:, 1] <= end[:, 1])[:, None]
    low, high = np.where(up, start, end), np.where(up, end, start)
    first = np.clip(np.ceil(low[:, 1]), 0, rows).astype(np.int64)
    count = np.clip(np.ceil(high[:, 1]), 0, rows).astype(np.int64) - first
    parity = np.zeros(rows * (columns + 1), dtype=np.uint8)
    used = np.nonzero(count > 0)[0]
    for part in np.split(used, np.nonzero(np.diff(np.cumsum(count[used]) // _CROSSINGS_AT_ONCE))[0] + 1):
        parity ^= (_crossings(low[part], high[part], first[part], count[part], size) & 1).astype(np.uint8)
    inside = np.bitwise_xor.accumulate(parity.reshape(rows, columns + 1), axis=1)[:, :columns]
    return inside.astype(bool)


def _crossings(
    low: Array, high: Array, first: NDArray[np.int64], count: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.int64]:
    """How often edges from `low` up to `high` cross each row left of each column, as a flat raster."""
    columns, rows = size
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (high[:, 0] - low[:, 0]) / (high[:, 1] - low[:, 1])
    x = low[edge, 0] + (row - low[edge, 1]) * slope[edge]
    column = np.clip(np.ceil(x), 0, columns).astype(np.int64)
    return np.bincount(row * (columns + 1) + column, minlength=rows * (columns + 1))


def _filled(plane: _Plane, origin: Array, pixel: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    filled = np.zeros(size[::-1], dtype=bool)
    for polygon, role in zip(plane.polygons, plane.roles, strict=True):
        _apply(filled, fill(polygon, origin, pixel, size), role)
    return filled


def _measures(planes: Sequence[_Plane]) -> tuple[float, Array]:
    """Volume in mL and centroid (3,) in the contours' axes."""
    volume, moment = 0.0, np.zeros(3)
    for plane in planes:
        part = plane.area_mm2 * (plane.high_mm - plane.low_mm)
        moment += part * np.array([*plane.centre_mm, 0.5 * (plane.low_mm + plane.high_mm)])
        volume += part
    if volume <= 0.0:
        raise NoBodyError("no contour encloses an area")
    return volume / 1000.0, moment / volume


def _corners(plane: _Plane) -> Array:
    """(n, 3): points of a plane at the lower and the upper side of its slab."""
    points = np.concatenate(plane.polygons)
    return np.concatenate(
        [np.column_stack([points, np.full(len(points), s)]) for s in (plane.low_mm, plane.high_mm)]
    )


def _own_grid(planes: Sequence[_Plane], axes: Array) -> VoxelGrid:
    points = np.concatenate([_corners(p) for p in planes])
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    pixel = float(np.clip(span[:2].max() / OWN_POINTS, *OWN_PIXEL_MM))
    step = min(p.high_mm - p.low_mm for p in planes)
    spacing = np.array([pixel, pixel, step])
    size = np.maximum(np.ceil(span / spacing - 1e-6), 1).astype(int)
    if float(np.prod(size.astype(float))) > MOST_MASK_VOXELS:
        raise NoBodyError("its contours lie too far apart for one mask")
    origin = axes @ (low + 0.5 * spacing)
    return VoxelGrid(origin, spacing, (int(size[0]), int(size[1]), int(size[2])), axes)


def _mask(planes: Sequence[_Plane], axes: Array, grid: VoxelGrid) -> NDArray[np.uint8]:
    """Voxels whose centre lies inside; `axes` are those of the grid but for the sense of the third."""
    mask = np.zeros(grid.shape, dtype=np.uint8)
    origin = grid.origin_mm @ axes
    step = float(grid.direction[:, 2] @ axes[:, 2]) * float(grid.spacing_mm[2])
    heights = origin[2] + step * np.arange(grid.shape[0])
    columns, rows = grid.size[:2]
    for plane in planes:
        inside = np.nonzero((heights >= plane.low_mm) & (heights < plane.high_mm))[0]
        if len(inside):
            filled = _filled(plane, origin[:2], grid.spacing_mm[:2], (columns, rows))
            mask[inside] |= filled.astype(np.uint8)
    return mask


def _cut_off(planes: Sequence[_Plane], axes: Array, grid: VoxelGrid) -> bool:
    """Whether contours lie more than half a voxel outside the grid."""
    points = np.concatenate([np.column_stack([np.concatenate(p.polygons), np.full(
        sum(len(q) for q in p.polygons), 0.5 * (p.low_mm + p.high_mm))]) for p in planes])  # fmt: skip
    index = grid.index_of(points @ axes.T)
    return bool((index < -0.51).any() or (index > np.array(grid.size) - 0.49).any())
