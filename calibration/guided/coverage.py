"""Which directions a shaft has been held in: a cap of the sphere round its upright direction, cut into cells.

Equal-area coordinates (Lambert's azimuthal projection) carry the cap onto the plane, for cells as for pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Borders of the rings of cells, tilt from the upright direction in degrees: a cone of 35 degrees fills them all.
RING_DEG = (0.0, 10.0, 22.0, 34.0)
# Cells in each ring: one for each direction that has a word.
RING_CELLS = (1, 8, 8)


@dataclass(frozen=True, slots=True)
class Cell:
    """One patch of the cap: tilt from `low_deg` to `high_deg`, azimuth from `start_rad` to `stop_rad`."""

    low_deg: float
    high_deg: float
    start_rad: float
    stop_rad: float
    visits: int = 0

    @property
    def middle_rad(self) -> float:
        """Azimuth of its middle."""
        return 0.5 * (self.start_rad + self.stop_rad)


def basis_about(centre: ArrayLike, right: ArrayLike | None = None) -> Array:
    """(3, 3), rows right, up and out: `out` along `centre` (3,), `right` as near to the hint (3,) as it may be."""
    out = np.asarray(centre, dtype=np.float64)
    out = out / np.linalg.norm(out)
    hint = np.eye(3)[int(np.argmin(np.abs(out)))] if right is None else np.asarray(right, dtype=np.float64)
    across = hint - (hint @ out) * out
    length = float(np.linalg.norm(across))
    if length < 1e-6:
        return basis_about(out)
    across = across / length
    return np.stack([across, np.cross(out, across), out])


def tilt_and_azimuth(directions: Array, basis: Array) -> tuple[Array, Array]:
    """Tilt from the cap's centre in degrees and azimuth in rad, 0 to 2 pi from right to up, of directions (n, 3)."""
    local = directions @ basis.T
    tilt = np.degrees(np.arctan2(np.hypot(local[:, 0], local[:, 1]), local[:, 2]))
    return tilt, np.mod(np.arctan2(local[:, 1], local[:, 0]), 2.0 * np.pi)


def flat(directions: Array, basis: Array) -> Array:
    """Lambert's equal-area coordinates (n, 2) of directions (n, 3), scaled to degrees of tilt near the centre."""
    tilt, azimuth = tilt_and_azimuth(directions, basis)
    radius = flat_radius(tilt)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=1)


def flat_radius(tilt_deg: ArrayLike) -> Array:
    """Distance from the map's centre of a tilt in degrees."""
    result: Array = np.degrees(2.0 * np.sin(np.radians(np.asarray(tilt_deg, dtype=np.float64)) / 2.0))
    return result


def covered(directions: Array, basis: Array) -> tuple[Cell, ...]:
    """All cells of the cap and how often directions (n, 3) fell into each; the last ring is open outwards."""
    tilt, azimuth = tilt_and_azimuth(directions.reshape(-1, 3), basis)
    cells = []
    last = len(RING_CELLS) - 1
    for ring, count in enumerate(RING_CELLS):
        low, high = RING_DEG[ring], RING_DEG[ring + 1]
        inside = (tilt >= low) & ((tilt < high) | (ring == last))
        # Shifted by half a cell, so that the middle of the first cell lies to the right.
        step = 2.0 * np.pi / count
        which = np.floor(np.mod(azimuth[inside] / step + 0.5, count)).astype(np.int64)
        visits = np.bincount(which, minlength=count)
        for k in range(count):
            start = (k - 0.5) * step
            cells.append(Cell(low, high, start, start + step, int(visits[k])))
    return tuple(cells)
