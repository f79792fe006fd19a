"""The preoperative study for viewers: CT, SPECT or PET and the skin as messages in the patient's RAS.

The one place where anything is mirrored for the wire: the study is LPS inside, 3D Slicer's world is RAS. What lies in
Reference goes out as it is and is placed by ReferenceToRas.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.io.study import Study, StudySeries, load_study
from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.igtl import names
from tracking.igtl.codec import Message
from tracking.igtl.messages import image_message, message
from tracking.igtl.polydata import Attribute, Cells, PolyDataContent

Array = NDArray[np.float64]

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
# 40 MB of int16, which a viewer takes over the network in a second: of 300 slices of 512 x 512 every second pixel.
MOST_VOXELS = 20_000_000
# Kind of a point attribute of three components that are normals (OpenIGTLink, POLYDATA).
NORMALS = 0x02
FUNCTIONAL = {"NM": names.SPECT, "PT": names.PET}


def study_messages(study: Path, t_s: float) -> list[Message]:
    """CT_Ras, SPECT_Ras or PET_Ras, and Skin_Ras of an imported study; what it lacks is left out.

    Raises InputError for a study without a usable series.
    """
    found = load_study(study)
    told = []
    if found.ct is not None and found.ct.usable:
        told += _ct_messages(found.ct, found, t_s)
    functional = found.functional
    if functional is not None and functional.usable and functional.modality in FUNCTIONAL:
        volume, grid = coarsened(functional.volume(), functional.grid)
        metadata = _metadata(found, functional.units)
        told.append(image_message(FUNCTIONAL[functional.modality], volume, in_ras(grid), t_s, metadata))
    if not told:
        raise InputError(f"{study}: no series of it can be used")
    return told


def _ct_messages(ct: StudySeries, study: Study, t_s: float) -> list[Message]:
    from navigation.anatomy.skin import skin_surface

    volume = ct.volume()
    small, grid = coarsened(volume, ct.grid)
    metadata = _metadata(study, ct.units)
    image = image_message(names.CT, np.rint(small).astype(np.int16), in_ras(grid), t_s, metadata)
    try:
        skin = skin_surface(volume, ct.grid)
    except InputError:
        return [image]
    body = PolyDataContent(
        skin.points_mm * LPS_TO_RAS,
        # Two axes are mirrored, which is a half turn: the triangles keep their sense.
        polygons=Cells.of(skin.triangles),
        attributes=(Attribute("Normals", NORMALS, skin.normals * LPS_TO_RAS),),
    )
    return [image, message(names.SKIN, body, "POLYDATA", t_s, {**metadata, "Unit": "mm"}, 1)]


def _metadata(study: Study, units: str) -> dict[str, str]:
    found = {"Unit": units, "Frame": "Ras", "ResearchUseOnly": "1"}
    return {**found, "Simulation": "SIMULATION"} if study.simulated else found


def in_ras(grid: VoxelGrid) -> VoxelGrid:
    """The grid of the same voxels in RAS."""
    return VoxelGrid(
        grid.origin_mm * LPS_TO_RAS, grid.spacing_mm, grid.size, grid.direction * LPS_TO_RAS[:, None]
    )


def coarsened(volume: NDArray[np.float32], grid: VoxelGrid) -> tuple[NDArray[np.float32], VoxelGrid]:
    """Every n-th voxel in the plane, and then along, until there are few enough; their places stay exact."""
    step = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(grid.size, step, strict=True)]) > MOST_VOXELS:
        # The finest axis loses first: a CT is finer in the plane than between slices.
        axis = int(np.argmin(grid.spacing_mm * step))
        step[axis] += 1
    i, j, k = step
    kept = np.ascontiguousarray(volume[::k, ::j, ::i])
    nz, ny, nx = kept.shape
    return kept, VoxelGrid(grid.origin_mm, grid.spacing_mm * np.array(step), (nx, ny, nz), grid.direction)
