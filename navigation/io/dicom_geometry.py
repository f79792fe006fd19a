"""Proof that the slices of a series form a grid, from every position and orientation and nothing else.

A slice's place follows from Image Position and Image Orientation (DICOM PS3.3 C.7.6.2.1.1); a series passes
when every slice lies where the grid puts it. Lengths mm, LPS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.io.defects import Code, Defect
from navigation.volume import VoxelGrid

# How far a slice may lie from its place in the grid: a tenth of what navigation can resolve; rounded
# header values stay below it.
PLACE_TOLERANCE_MM = 0.1
# Change of an axis that moves a point at 200 mm by a tenth of a millimetre.
AXIS_TOLERANCE = 5e-4
# Departure from unit length or a right angle that four-digit header values may have.
ORTHONORMAL_TOLERANCE = 1e-3
# Slices nearer than this are at one position.
SAME_PLACE_MM = 0.01
# A gap this far, in steps, from a whole number of steps is no missing slice.
UNEVEN_FRACTION = 0.1
# A tilt that the header states and the positions do not show.
STATED_TILT_DEG = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class SlicePlanes:
    """Where n slices lie, as their headers say.

    `positions_mm` (n, 3) centre of the first voxel, `orientations` (n, 6) row then column direction,
    `pixel_mm` distance along the row (i) and down the column (j), `size` columns and rows; `stated_tilt_deg`
    the header's gantry tilt. `ordered` keeps the given order if it is monotone (frames of one file).
    """

    positions_mm: NDArray[np.float64]
    orientations: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    size: tuple[int, int]
    stated_tilt_deg: float = 0.0
    ordered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """The grid and the `order` (n,) in which the slices fill it, or the defects that forbid one.

    `shift_mm` (n, 2) is how far each slice (in that order) lies off its place along i and j: zero but for a
    tilted gantry.
    """

    grid: VoxelGrid | None
    order: NDArray[np.int64]
    shift_mm: NDArray[np.float64]
    tilt_deg: float
    defects: tuple[Defect, ...]

    @property
    def only_tilted(self) -> bool:
        """A tilted gantry is the only defect: resampling gives a true grid."""
        return bool(self.defects) and all(d.code == Code.GANTRY_TILT for d in self.defects)


def prove(planes: SlicePlanes) -> Proof:
    """The grid of a series, with every geometric defect found on the way."""
    defects: list[Defect] = []
    keep = _main_orientation(planes.orientations)
    if not keep.all():
        defects.append(
            Defect(Code.MIXED_ORIENTATION, f"{int((~keep).sum())} of {len(keep)} slices are turned")
        )
    axes = axes_of(planes.orientations[keep][0])
    if axes is None:
        defects.append(Defect(Code.NOT_A_VOLUME, "row and column are not at right angles"))
        return _no_grid(planes, defects)
    order = np.nonzero(keep)[0]
    positions = planes.positions_mm[keep] @ axes
    order, positions = _sorted(order, positions, planes.ordered)
    defects += _along_both(positions[:, 2], planes.positions_mm @ axes[:, 2])
    shift, tilt_deg, sideways = _sideways(positions, planes.stated_tilt_deg, axes)
    defects += sideways
    if len(positions) < 2 or any(d.code != Code.GANTRY_TILT for d in defects):
        return _no_grid(planes, defects, tilt_deg)
    return Proof(_grid(positions, shift, axes, planes), order, shift, tilt_deg, tuple(defects))


def _no_grid(planes: SlicePlanes, defects: list[Defect], tilt_deg: float = 0.0) -> Proof:
    n = len(planes.positions_mm)
    return Proof(None, np.arange(n), np.zeros((n, 2)), tilt_deg, tuple(defects))


def _main_orientation(orientations: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,): which slices share the orientation that most of them have."""
    differences = np.abs(orientations[:, None, :] - orientations[_candidates(orientations)][None]).max(axis=2)
    same = differences <= AXIS_TOLERANCE
    return np.asarray(same[:, int(same.sum(axis=0).argmax())])


def _candidates(orientations: NDArray[np.float64]) -> NDArray[np.int64]:
    """One slice of each distinct orientation: their number is small where that of the slices is not."""
    _, first = np.unique(np.round(orientations, 3), axis=0, return_index=True)
    return np.asarray(first)


def axes_of(orientation: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(3, 3): columns i, j and their cross product, made exactly orthonormal; None if not nearly so."""
    row, column = orientation[:3], orientation[3:]
    if (
        abs(np.linalg.norm(row) - 1.0) > ORTHONORMAL_TOLERANCE
        or abs(np.linalg.norm(column) - 1.0) > ORTHONORMAL_TOLERANCE
        or abs(row @ column) > ORTHONORMAL_TOLERANCE
    ):
        return None
    i = row / np.linalg.norm(row)
    j = column - (column @ i) * i
    j /= np.linalg.norm(j)
    return np.stack([i, j, np.cross(i, j)], axis=1) + 0.0


def _sorted(
    order: NDArray[np.int64], positions: NDArray[np.float64], ordered: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ascending along the normal, unless the given order is monotone and meant."""
    steps = np.diff(positions[:, 2])
    if ordered and ((steps > 0.0).all() or (steps < 0.0).all()):
        return order, positions
    ranks = np.argsort(positions[:, 2], kind="stable")
    return order[ranks], positions[ranks]


def _along_both(main: NDArray[np.float64], every: NDArray[np.float64]) -> list[Defect]:
    """Defects of the slices of the main orientation that the turned ones, in their places, do not heal."""
    found = _along(main)
    if len(every) == len(main):
        return found
    still = {d.code for d in _along(np.sort(every))}
    return [d for d in found if d.code in still]


def _along(places: NDArray[np.float64]) -> list[Defect]:
    """Defects along the normal: slices at one place, gaps, uneven steps."""
    defects = []
    gaps = np.abs(np.diff(places))
    doubled = int((gaps < SAME_PLACE_MM).sum())
    if doubled:
        defects.append(Defect(Code.DUPLICATE_POSITION, f"{doubled} slices share the place of another"))
    gaps = gaps[gaps >= SAME_PLACE_MM]
    if len(gaps) == 0 or _drift(gaps) <= PLACE_TOLERANCE_MM:
        return defects
    step, uneven = _steps(gaps)
    missing = int((np.rint(gaps / step) - 1.0)[~uneven].sum())
    if missing > 0:
        defects.append(Defect(Code.MISSING_SLICE, f"{missing} missing at a step of {step:.3f} mm"))
    if uneven.any() or missing <= 0:
        steps = f"steps of {gaps.min():.3f} to {gaps.max():.3f} mm"
        defects.append(Defect(Code.UNEQUAL_SPACING, steps))
    return defects


def _steps(gaps: NDArray[np.float64]) -> tuple[float, NDArray[np.bool_]]:
    """The step and which gaps are no multiple of it: the smallest gap if it explains all, else the usual."""
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    for step in (float(gaps.min()), usual):
        off = np.abs(gaps - np.maximum(np.rint(gaps / step), 1.0) * step)
        uneven = off > max(PLACE_TOLERANCE_MM, UNEVEN_FRACTION * step)
        if not uneven.any():
            break
    return step, uneven


def _drift(gaps: NDArray[np.float64]) -> float:
    """Largest distance of a slice from its place on the even scale between the first and the last."""
    places = np.concatenate([[0.0], np.cumsum(gaps)])
    return float(np.abs(places - np.linspace(0.0, places[-1], len(places))).max())


def _sideways(
    positions: NDArray[np.float64], stated_tilt_deg: float, axes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, list[Defect]]:
    """Shift (n, 2) of the slices across the normal, the tilt it amounts to, and what is wrong with it."""
    shift = positions[:, :2] - positions[0, :2]
    along = positions[:, 2] - positions[0, 2]
    length = float((along**2).sum())
    slope = (shift * along[:, None]).sum(axis=0) / length if length > 0.0 else np.zeros(2)
    tilt_deg = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if np.abs(shift - along[:, None] * slope).max() > PLACE_TOLERANCE_MM:
        return shift, 0.0, [Defect(Code.MIXED_SERIES, "slices are shifted against each other")]
    if np.linalg.norm(slope) * np.abs(along).max() > PLACE_TOLERANCE_MM:
        detail = f"slices advance {tilt_deg:.1f} deg off their normal"
        return along[:, None] * slope, tilt_deg, [Defect(Code.GANTRY_TILT, detail)]
    upright = float(np.abs(axes).max(axis=0).min()) > 1.0 - AXIS_TOLERANCE
    if abs(stated_tilt_deg) > STATED_TILT_DEG and upright:
        detail = f"the header states {stated_tilt_deg:.1f} deg, the positions show none"
        return np.zeros_like(shift), tilt_deg, [Defect(Code.GANTRY_TILT, detail)]
    return np.zeros_like(shift), tilt_deg, []


def _grid(
    positions: NDArray[np.float64],
    shift: NDArray[np.float64],
    axes: NDArray[np.float64],
    planes: SlicePlanes,
) -> VoxelGrid:
    """The upright grid: of a tilted series large enough to hold every shifted slice."""
    pixel = np.asarray(planes.pixel_mm)
    low, high = shift.min(axis=0), shift.max(axis=0)
    first = np.array([*(positions[0, :2] + low), positions[0, 2]])
    columns, rows = np.asarray(planes.size) + np.ceil((high - low) / pixel - 1e-9).astype(int)
    step = (positions[-1, 2] - positions[0, 2]) / (len(positions) - 1)
    direction = axes * [1.0, 1.0, np.sign(step)]
    spacing = np.array([pixel[0], pixel[1], abs(step)])
    return VoxelGrid(axes @ first, spacing, (int(columns), int(rows), len(positions)), direction + 0.0)
