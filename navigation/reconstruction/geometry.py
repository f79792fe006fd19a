"""Field, tissue, background and projector of a scan so far: a function of its readings alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.background import LATTICE_MARGIN_MM, Background
from navigation.field import Field, box_of, field_in
from navigation.projector import Projector
from navigation.reconstruction.setup import ImagingSetup
from navigation.surface import Surface, TissueMap
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Poses that tell the outside of a touched surface: the first ones near it, so that the answer never changes. There is
# no geometry before there are as many.
ORIENTING_READINGS = 10
# Without a touched surface the path is asked anew after so many readings.
PATH_REFRESH = 50
TISSUE_SNAP_MM = 60.0
# A face farther than this from the touched surface is on its way, not scanning.
LOOKING_MM = 30.0
# Rows made at once: single precision for a few, never for a scan.
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """`nearest` (m,) maps each active voxel to the search point that stands for it in coarse maps."""

    key: tuple[float, ...]
    field: Field
    projector: Projector
    background: Background
    nearest: NDArray[np.intp]
    surface_source: str
    tissue_box: tuple[float, ...]
    modes_at: Array  # (m, q) background modes at the active voxels


def geometry_key(setup: ImagingSetup, readings: Readings) -> tuple[float, ...]:
    """Changes exactly when the geometry must be built anew."""
    low, high = field_box(setup, readings)
    refresh = len(readings) // PATH_REFRESH if setup.surface_mm is None and setup.ct is None else 0
    return (*low.tolist(), *high.tolist(), setup.grid.voxel_in(low, high), float(refresh))


def field_box(setup: ImagingSetup, readings: Readings) -> tuple[Array, Array]:
    """Corners (3,), (3,) of the field of view: those that the case fixes, else of what the probe looked at."""
    return setup.grid.box(*box_of(_looked_from(setup, readings)))


def looking_poses(setup: ImagingSetup, readings: Readings) -> Array:
    """Poses (p, 4, 4) that look at the patient: those near the touched surface, not the way there; else all."""
    poses = readings.mid_poses
    if setup.surface_mm is None:
        return poses
    near = np.asarray(cKDTree(setup.surface_mm).query(poses[:, :3, 3])[0]) <= LOOKING_MM
    return poses[near]


def build_geometry(setup: ImagingSetup, readings: Readings, old: Geometry | None = None) -> Geometry:
    """Geometry of the readings so far; the tissue of an old one serves again where it would be the same."""
    low, high = field_box(setup, readings)
    box = _tissue_box(low, high)
    lasting = setup.surface_mm is not None or setup.ct is not None
    tissue = old.projector.tissue if old is not None and old.tissue_box == box and lasting else None
    if tissue is None:
        tissue = _tissue(setup, readings, box)
    field = field_in(low, high, tissue, setup.grid.voxel_in(low, high))
    search = field.points_mm[field.search]
    nearest = (
        cKDTree(search).query(field.points_mm, workers=2)[1] if len(search) else np.zeros(0, dtype=np.intp)
    )
    background = Background.over(low, high)
    return Geometry(
        geometry_key(setup, readings),
        field,
        Projector(setup.response, tissue),
        background,
        np.asarray(nearest, dtype=np.intp),
        tissue.source,
        box,
        background.modes_at(field.points_mm),
    )


def _tissue(setup: ImagingSetup, readings: Readings, box: tuple[float, ...]) -> TissueMap:
    """Tissue of a box: behind what was touched, as the CT has it, or behind the probe's path."""
    low, high = np.array(box[:3]), np.array(box[3:])
    surface = None
    if setup.surface_mm is not None:
        looking = looking_poses(setup, readings)
        surface = Surface.from_points(setup.surface_mm, looking[:ORIENTING_READINGS])
    if setup.ct is not None:
        return setup.ct.behind(surface, low, high)
    if surface is None:
        poses = readings.mid_poses
        surface = Surface.from_path(poses[: max(len(poses) // PATH_REFRESH * PATH_REFRESH, 1)])
    return surface.tissue(low, high)


def rows_of(setup: ImagingSetup, geometry: Geometry, readings: Readings) -> tuple[Array32, Array]:
    """Response rows (n, m + 1) of the active voxels and of the shell in cps/kBq, and background rows (n, q).

    Decay is included. The last column is what a uniform level in kBq/mL has beyond the voxels: tissue outside the
    field of view.
    """
    points, decay = geometry.field.points_mm, setup.decay(readings.t_s)
    # The shell's column is made along as that of some voxel, so that the rows need not be copied to get one more.
    rows = geometry.projector.rows(np.concatenate([points, points[:1]]), decayed(setup, readings))
    background = geometry.background.rows(geometry.projector, readings) * decay[:, None]
    inside = rows[:, :-1].sum(axis=1) * geometry.field.grid.voxel_ml
    rows[:, -1] = np.maximum(background[:, 0] - inside, 0.0)
    return rows, background


def decayed(setup: ImagingSetup, readings: Readings) -> Readings:
    """The readings with the decay in the weights of their paths: response rows then have it included."""
    decay = np.repeat(setup.decay(readings.t_s), np.diff(readings.first))
    return replace(readings, weights=readings.weights * decay)


def _looked_from(setup: ImagingSetup, readings: Readings) -> Array:
    """Poses (p, 4, 4) so far, and those expected: with a good hint the field need not grow during the scan."""
    poses = looking_poses(setup, readings)
    return poses if setup.tip_hint is None else np.concatenate([setup.tip_hint, poses])


def _tissue_box(low_mm: Array, high_mm: Array) -> tuple[float, ...]:
    """Corners of the tissue map: the lattice's extent snapped outwards, so that it rarely changes."""
    low = np.floor((low_mm - LATTICE_MARGIN_MM) / TISSUE_SNAP_MM) * TISSUE_SNAP_MM
    high = np.ceil((high_mm + LATTICE_MARGIN_MM) / TISSUE_SNAP_MM) * TISSUE_SNAP_MM
    return (*low.tolist(), *high.tolist())
