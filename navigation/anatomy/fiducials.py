"""Radio-opaque markers on the skin found in the CT: balls and rings, each at its centroid with its uncertainty.

A marker is small, dense and stands on the skin: what lies under it, bone, teeth, calcifications or metal, is none.
The centroid weighs each voxel by the share of it that the marker fills over air and skin, so that neither pulls it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.body import AIR_HU, UNMEASURED_HU, Body, body_of, grown, shrunk
from navigation.anatomy.skin import Mesh, skin_of
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A marker's border, above soft tissue with its noise; its core, above any skin fold with contrast medium.
BORDER_HU, CORE_HU = 150.0, 300.0
# The core is this many SD of the CT's noise above soft tissue, too: a low-dose CT has voxels of 300 HU by chance.
CORE_NOISE = 8.0
SOFT_HU = 40.0
# Balls of 1.5 mm radius to rings of 15 mm outer diameter, as they are sold; radius of the ball of the same volume.
LEAST_RADIUS_MM, MOST_RADIUS_MM, MOST_EXTENT_MM = 1.0, 7.0, 16.0
# A wire or a vein is longer than wide; a voxel's own size is taken off first.
MOST_ELONGATION = 2.5
# The skin is looked for between these distances from a candidate: beyond the marker, while it is still curved alike.
SKIN_RING_MM = (9.0, 28.0)
FEWEST_SKIN_POINTS = 30
# Where a marker's centre may lie over the skin: a hair below, where it is pressed in, up to on a thick plaster.
DEEPEST_MM, HIGHEST_MM = -1.5, 12.0
# Candidates are looked for this far outside and inside the body's border.
OUTSIDE_MM, INSIDE_MM = 14.0, 10.0
# Share of a voxel by which sampling and the skin's model move a centroid.
SAMPLING_SHARE = 0.05
# Less than this share of a voxel is the relief of the skin beside a marker, which a smooth skin does not follow.
RELIEF_SHARE = 0.07


@dataclass(frozen=True, slots=True, eq=False)
class Fiducial:
    """A marker: centre (3,) in LPS mm, one SD along the axes (3,), radius of the ball of its volume, top CT number."""

    label: str
    position_mm: Array
    sd_mm: Array
    radius_mm: float
    peak_hu: float
    above_skin_mm: float


def find_fiducials(volume_hu: NDArray[np.floating], grid: VoxelGrid) -> tuple[Fiducial, ...]:
    """Markers on the skin in a CT (nz, ny, nx) in HU, labelled F1, F2, … from the head down; none where there are none.

    Raises InputError when there is no body in the CT.
    """
    body = body_of(volume_hu, grid)
    try:
        skin = skin_of(body, most_triangles=10**9)
    except InputError:  # the field lies within the body: no skin, and nothing on it
        return ()
    search = _Search(volume_hu, grid, body, skin)
    found = [f for f in (search.fiducial(voxels) for voxels in search.blobs()) if f is not None]
    found.sort(key=lambda f: (-f.position_mm[2], f.position_mm[0], f.position_mm[1]))
    return tuple(_labelled(f, n) for n, f in enumerate(found, start=1))


def _labelled(fiducial: Fiducial, number: int) -> Fiducial:
    values = (fiducial.position_mm, fiducial.sd_mm, fiducial.radius_mm, fiducial.peak_hu)
    return Fiducial(f"F{number}", *values, fiducial.above_skin_mm)


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """The skin round a candidate: height over a plane as a quadratic in its two directions."""

    origin_mm: Array
    axes: Array  # (3, 3): rows along the plane, the last one outward
    terms: Array  # (6,)

    def height(self, points_mm: Array) -> Array:
        """(n,): how far points (n, 3) lie over the skin, outward positive."""
        u, v, w = (self.axes @ (points_mm - self.origin_mm).T).reshape(3, -1)
        return np.asarray(w - _quadratic(u, v) @ self.terms)


def _quadratic(u: Array, v: Array) -> Array:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)


class _Search:
    """A CT with its skin, in which markers are looked for."""

    def __init__(self, volume: NDArray[np.floating], grid: VoxelGrid, body: Body, skin: Mesh) -> None:
        from scipy.spatial import cKDTree

        self.volume, self.grid, self.body = volume, grid, body
        self.skin, self.normals, self.tree = skin.points_mm, skin.normals, cKDTree(skin.points_mm)
        self.noise = self._noise()

    def _noise(self) -> float:
        """SD of the CT numbers within the body, from the differences of neighbours along a row."""
        inner = shrunk(self.body.mask, 3.0 * float(self.body.grid.spacing_mm.max()), self.body.grid)
        middle = self.volume[self.volume.shape[0] // 2].astype(np.float64)
        index = self._coarse(np.arange(middle.size) + (self.volume.shape[0] // 2) * middle.size)
        soft = inner[tuple(index)].reshape(middle.shape) & (np.abs(middle) < BORDER_HU)
        steps = np.diff(middle, axis=1)[soft[:, 1:] & soft[:, :-1]]
        return float(np.median(np.abs(steps)) / 0.6745 / np.sqrt(2.0)) if len(steps) > 100 else 0.0

    def _coarse(self, flat: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Indices (k, j, i) in the body's grid of voxels of the CT (flat)."""
        index = np.unravel_index(flat, self.volume.shape)
        step = np.rint(self.body.grid.spacing_mm / self.grid.spacing_mm).astype(int)[::-1]
        shape = self.body.mask.shape
        return tuple(np.minimum(a // s, n - 1) for a, s, n in zip(index, step, shape, strict=True))

    def blobs(self) -> list[NDArray[np.int64]]:
        """Flat indices of each connected dense part beside the skin, small ones only, in a fixed order."""
        from scipy.ndimage import find_objects, label

        body, grid = self.body.mask, self.body.grid
        outer, inner = body, body
        for _ in range(2):  # two small balls take a fraction of the time of a large one
            outer, inner = grown(outer, OUTSIDE_MM / 2, grid), shrunk(inner, INSIDE_MM / 2, grid)
        shell = outer & ~inner
        dense = np.flatnonzero(self.volume.reshape(-1) > BORDER_HU)
        dense = dense[shell[self._coarse(dense)]]
        mask = np.zeros(self.volume.shape, dtype=np.bool_)
        mask.reshape(-1)[dense] = True
        labels, _ = label(mask, np.ones((3, 3, 3)))
        parts = []
        for number, box in enumerate(find_objects(labels), start=1):
            if not self._small(box):
                continue
            k, j, i = np.nonzero(labels[box] == number)
            starts = [s.start for s in box]
            flat = np.ravel_multi_index((k + starts[0], j + starts[1], i + starts[2]), self.volume.shape)
            parts.append(np.asarray(flat, dtype=np.int64))
        core = max(CORE_HU, SOFT_HU + CORE_NOISE * self.noise)
        return [p for p in parts if float(self.volume.reshape(-1)[p].max()) >= core]

    def _small(self, box: tuple[slice, ...]) -> bool:
        """Whether a box of voxels is no larger than a marker, nor at the end of the field."""
        count = np.array([s.stop - s.start for s in box])
        inner = all(s.start > 0 and s.stop < n for s, n in zip(box, self.volume.shape, strict=True))
        return inner and bool(((count - 1) * self.grid.spacing_mm[::-1] <= MOST_EXTENT_MM).all())

    def fiducial(self, voxels: NDArray[np.int64]) -> Fiducial | None:
        """The marker that some dense voxels are; None when they are none."""
        weights = self.volume.reshape(-1)[voxels].astype(np.float64) - BORDER_HU
        rough = weights @ self._points(voxels) / weights.sum()
        patch = self._patch(rough)
        if patch is None or not DEEPEST_MM - 1.0 <= float(patch.height(rough[None])[0]) <= HIGHEST_MM + 1.0:
            return None
        points, share, shown = self._shares(voxels, rough, patch)
        volume = float(share.sum() * np.prod(self.grid.spacing_mm))
        radius = (3.0 * volume / (4.0 * np.pi)) ** (1.0 / 3.0) if volume > 0.0 else 0.0
        if not LEAST_RADIUS_MM <= radius <= MOST_RADIUS_MM:
            return None
        centre = share @ points / share.sum()
        above = float(patch.height(centre[None])[0])
        if not DEEPEST_MM <= above <= HIGHEST_MM or self._elongated(points - centre, share):
            return None
        noise = self.noise / shown * np.sqrt((((points - centre) / share.sum()) ** 2).sum(axis=0))
        sampling = SAMPLING_SHARE * np.abs(self.grid.direction) @ self.grid.spacing_mm
        peak = float(self.volume.reshape(-1)[voxels].max())
        return Fiducial("", centre, np.hypot(noise, sampling), radius, peak, above)

    def _patch(self, place: Array) -> _Patch | None:
        """The skin round a place without the marker's own bump, outliers such as other markers left out."""
        near = np.asarray(self.tree.query_ball_point(place, SKIN_RING_MM[1]), dtype=np.int64)
        near = near[np.linalg.norm(self.skin[near] - place, axis=1) > SKIN_RING_MM[0]] if len(near) else near
        if len(near) < FEWEST_SKIN_POINTS:
            return None
        outward = self.normals[near].mean(axis=0)
        if np.linalg.norm(outward) < 0.5:  # both sides of a thin part: no side is the skin's
            return None
        outward = outward / np.linalg.norm(outward)
        first = np.cross(outward, np.eye(3)[np.argmin(np.abs(outward))])
        first /= np.linalg.norm(first)
        axes = np.stack([first, np.cross(outward, first), outward])
        u, v, w = axes @ (self.skin[near] - place).T
        design, kept = _quadratic(u, v), np.ones(len(near), dtype=np.bool_)
        terms = np.zeros(6)
        for _ in range(4):
            terms = np.linalg.lstsq(design[kept], w[kept], rcond=None)[0]
            off = np.abs(w - design @ terms)
            kept = off <= max(3.0 * float(np.median(off)) / 0.6745, 0.3)
        return _Patch(place, axes, terms)

    def _shares(self, voxels: NDArray[np.int64], centre: Array, patch: _Patch) -> tuple[Array, Array, float]:
        """Voxels round a candidate (n, 3), the share of each that it fills, and the CT numbers a full one adds."""
        flat = self._around(voxels)
        points = self._points(flat)
        hu = np.maximum(self.volume.reshape(-1)[flat].astype(np.float64), AIR_HU)
        hu[hu < UNMEASURED_HU] = AIR_HU
        width = float(np.abs(patch.axes[2] @ self.grid.direction) @ self.grid.spacing_mm)
        inside = np.clip(0.5 - patch.height(points) / width, 0.0, 1.0)
        base = AIR_HU + (SOFT_HU - AIR_HU) * inside
        top = float(self.volume.reshape(-1)[voxels].max())
        share = (hu - base) / np.maximum(top - base, 1.0)
        # Far from the dense part the shares are noise and the skin's own relief.
        faint = 3.0 * self.noise / (top - SOFT_HU) + RELIEF_SHARE
        share = np.where(share > faint, share, 0.0)
        return points, share, top - SOFT_HU

    def _around(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The dense voxels and their neighbours."""
        from scipy.ndimage import binary_dilation

        index = np.stack(np.unravel_index(voxels, self.volume.shape), axis=1)
        low, high = index.min(axis=0) - 1, index.max(axis=0) + 2
        box = np.zeros(high - low, dtype=np.bool_)
        box[tuple((index - low).T)] = True
        box = binary_dilation(box, np.ones((3, 3, 3), dtype=np.bool_))
        k, j, i = (np.argwhere(box) + low).T
        return np.asarray(np.ravel_multi_index((k, j, i), self.volume.shape), dtype=np.int64)

    def _points(self, flat: NDArray[np.int64]) -> Array:
        k, j, i = np.unravel_index(flat, self.volume.shape)
        index = np.stack([i, j, k], axis=1)
        return np.asarray(index @ self.grid.matrix[:3, :3].T + self.grid.origin_mm)

    def _elongated(self, offsets: Array, share: Array) -> bool:
        """Whether the largest extent is far beyond the second: balls have three alike, rings two."""
        spread = (offsets * share[:, None]).T @ offsets / share.sum()
        lengths = np.linalg.eigvalsh(spread)
        voxel = float(self.grid.spacing_mm.max()) ** 2 / 12.0
        return bool(np.sqrt(lengths[2] / (lengths[1] + voxel)) > MOST_ELONGATION)
