"""A volume of results as a Parametric Map (DICOM PS3.3 A.75): 32-bit floats in real units, oblique, never resampled.

Voxels that were not examined, and those where nothing can be told, are NaN, which PS3.5 section 8 allows in float
pixels: no viewer and no program can take them for a small number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from navigation.dicomresults import codes
from navigation.dicomresults.common import UNSETTLED, Context, equipment, settle, template
from navigation.report.results import ScanReport, Volume
from navigation.volume import NO_LIMIT_KBQ, VoxelGrid

if TYPE_CHECKING:
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
    from pydicom.dataset import Dataset

# The faintest map still has a window of this width, in its own units.
LEAST_WINDOW = 1.0
# A map is shown up to what so many of its voxels do not exceed: foci are few, and MDA has no end where little was seen.
SHOWN_PERCENT = {"activity": 100.0, "mda": 90.0}
EXPLAINED = {
    "activity": "Activity concentration; NaN: not examined",
    "mda": "Detected with 95 % probability; NaN: not examined or none told",
}
UNITS = {"activity": ("kBq/ml", "kilobecquerel per millilitre"), "mda": ("kBq", "kilobecquerel")}
CONCEPTS = {"activity": "activity-concentration", "mda": "mda"}
TITLES = {"activity": "activity map", "mda": "MDA map"}


def parametric_map(scan: ScanReport, number: int, kind: str, context: Context) -> Dataset | None:
    """`activity` or `mda` of the n-th scan; None where it has no such volume."""
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    volume = scan.volumes.get(kind)
    if volume is None:
        return None
    values = real_values(volume, kind)
    told = values[np.isfinite(values)]
    top = max(float(told.max(initial=0.0)), LEAST_WINDOW)
    shown = max(float(np.percentile(told, SHOWN_PERCENT[kind])) if len(told) else 0.0, LEAST_WINDOW)
    grid = context.place.grid(volume.grid)
    code, words = UNITS[kind]
    mapping = RealWorldValueMapping(
        code,
        EXPLAINED[kind],
        codes.unit(code, words),
        (0.0, top),
        1.0,
        0.0,
        quantity_definition=codes.own(CONCEPTS[kind]),
    )
    orientation, positions = planes(grid)
    ds = ParametricMap(
        [template(context)],
        values,
        UNSETTLED,
        1,
        UNSETTLED,
        1,
        **equipment(context),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=shown / 2, window_width=shown)],
        content_label=kind.upper(),
        content_description=EXPLAINED[kind],
        pixel_measures=measures(grid),
        plane_orientation=orientation,
        plane_positions=positions,
    )
    ds.Laterality = ""  # of which side it is was not told; the standard wants it to be said
    return settle(ds, context, kind, context.description(TITLES[kind], scan.name), number)


def real_values(volume: Volume, kind: str) -> NDArray[np.float32]:
    """(nz, ny, nx) with NaN where there is no finding: not examined, or no limit can be told."""
    values = np.array(volume.values, dtype=np.float32)
    told = volume.examined & (values < np.float32(NO_LIMIT_KBQ))
    # An activity of nothing at all is what a map holds outside the part that was examined.
    told &= values > 0.0 if kind == "activity" else values >= 0.0
    values[~told] = np.nan
    return values


def planes(grid: VoxelGrid) -> tuple[PlaneOrientationSequence, list[PlanePositionSequence]]:
    """Rows along i, columns along j, one frame for each k, all in the frame of reference."""
    from highdicom import CoordinateSystemNames, PlaneOrientationSequence, PlanePositionSequence

    patient = CoordinateSystemNames.PATIENT
    axes = [*map(float, grid.direction[:, 0]), *map(float, grid.direction[:, 1])]
    step = grid.direction[:, 2] * grid.spacing_mm[2]
    first = grid.origin_mm
    positions = [
        PlanePositionSequence(patient, list(map(float, first + k * step))) for k in range(grid.size[2])
    ]
    return PlaneOrientationSequence(patient, axes), positions


def measures(grid: VoxelGrid) -> PixelMeasuresSequence:
    """Spacing of rows (j), of columns (i) and of frames (k) in mm."""
    from highdicom import PixelMeasuresSequence

    across, down, along = (float(v) for v in grid.spacing_mm)
    return PixelMeasuresSequence([down, across], along, along)
