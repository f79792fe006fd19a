"""Foci and bed of a scan as a binary Segmentation (DICOM PS3.3 A.51), on a grid of its own in the same frame.

A focus is the region that holds it with 95 % probability, as wide as its extent besides; the bed is its tissue as the
bed check knows it, and once more what of it was not assessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import chi2

from navigation.bedplaces import BED_VOXEL_MM
from navigation.dicomresults import codes
from navigation.dicomresults.common import SIMULATION, UNSETTLED, Context, equipment, settle, template
from navigation.dicomresults.maps import measures, planes
from navigation.dicomresults.uids import derived_uid
from navigation.report.results import ScanReport
from navigation.volume import Spot, VoxelGrid

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

Array = NDArray[np.float64]

# The region of a well-placed focus is some 4 mm wide: it needs voxels that are finer.
FINEST_MM = 1.0
# Of all segments together (their masks), and of the box of one (coordinates of its voxels, some 100 bytes each).
MOST_VOXELS, MOST_OF_ONE = 64 << 20, 4 << 20
# A place is never known better than this; of one whose covariance is nothing there would be no region.
LEAST_SD_MM = 0.01
# Squared Mahalanobis distance within which a focus lies with 95 % probability.
REGION = float(chi2.ppf(0.95, 3))
BITS = 8
# Within half a voxel of a region's edge its voxels count as part of it, so that none is empty.
MARGIN_VOXELS = 0.5
# L*, a*, b* in which viewers show them at first: no green, which would read as a verdict.
COLOURS = {"focus": (55.0, 70.0, 45.0), "bed": (62.0, -5.0, -40.0), "bed-unassessed": (72.0, 25.0, 65.0)}
# A voxel's centre on the very edge of a bed's cube belongs to it; coordinates in bed_map.csv have two digits.
ROUNDING = 0.01
FOCUS, BED, BED_UNASSESSED = "focus", "bed", "bed-unassessed"


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One segment: what it is, its name, the box (2, 3) in Reference that holds it, its spot or its points (m, 3)."""

    kind: str
    label: str
    tracking_uid: str
    box_mm: Array
    spot: Spot | None = None
    points_mm: Array | None = None

    def mask(self, grid: VoxelGrid) -> NDArray[np.bool_]:
        """Which voxels of a grid along the axes of Reference belong to it."""
        mask = np.zeros(grid.shape, dtype=bool)
        first, last = np.clip(np.rint(grid.index_of(self.box_mm)).astype(int), 0, np.array(grid.size) - 1)
        nx, ny, nz = (int(n) for n in last - first + 1)
        part = VoxelGrid(
            grid.origin_mm + first * grid.spacing_mm, grid.spacing_mm, (nx, ny, nz), grid.direction
        )
        (i, j, k), (a, b, c) = first, last + 1
        mask[k:c, j:b, i:a] = self._inside(part).reshape(part.shape)
        return mask

    def _inside(self, part: VoxelGrid) -> NDArray[np.bool_]:
        points = part.points()
        if self.spot is not None:
            return _holds(self.spot, points, float(part.spacing_mm.max()))
        assert self.points_mm is not None
        reach = 0.5 * BED_VOXEL_MM * (1.0 + ROUNDING)
        distance = cKDTree(self.points_mm).query(points, p=np.inf, distance_upper_bound=reach)[0]
        return np.asarray(np.isfinite(distance))


def _holds(spot: Spot, points_mm: Array, voxel_mm: float) -> NDArray[np.bool_]:
    """Points (m, 3) that may be part of the focus: 95 % of where its centre is, and its own radius beyond that."""
    offset = points_mm - spot.position_mm
    distance = np.linalg.norm(offset, axis=1)
    beyond = np.maximum(distance - 0.5 * spot.extent_mm - MARGIN_VOXELS * voxel_mm, 0.0)
    towards = offset * (beyond / np.maximum(distance, 1e-9))[:, None]
    inverse = np.linalg.inv(spot.covariance_mm2 + LEAST_SD_MM**2 * np.eye(3))
    return np.asarray(np.einsum("ni,ij,nj->n", towards, inverse, towards) <= REGION)


def tracking_uid(scan: ScanReport, what: str, context: Context) -> str:
    """The UID by which a segment and the findings on it know each other."""
    return derived_uid("tracking", context.identity.study_uid, scan.name, what)


def regions_of(scan: ScanReport, context: Context) -> tuple[Region, ...]:
    """A segment for every accepted focus, and for the bed with what of it was not assessed."""
    found = [_focus(s, scan, context) for s in scan.accepted_spots]
    bed = scan.bed_map
    if bed is not None and len(bed):
        found.append(_bed(BED, "Bed as outlined", bed[:, :3], scan, context))
        open_places = bed[bed[:, 5] <= 0.5, :3]
        if len(open_places):
            found.append(_bed(BED_UNASSESSED, "Bed: not assessed", open_places, scan, context))
    return tuple(found)


def _focus(spot: Spot, scan: ScanReport, context: Context) -> Region:
    half = np.sqrt(REGION * np.diag(spot.covariance_mm2)) + 0.5 * spot.extent_mm + FINEST_MM
    box = np.stack([spot.position_mm - half, spot.position_mm + half])
    uid = tracking_uid(scan, f"focus {spot.id}", context)
    return Region(FOCUS, f"Focus {spot.id} of activity", uid, box, spot)


def _bed(kind: str, label: str, points: Array, scan: ScanReport, context: Context) -> Region:
    box = np.stack([points.min(axis=0) - 0.5 * BED_VOXEL_MM, points.max(axis=0) + 0.5 * BED_VOXEL_MM])
    return Region(kind, label, tracking_uid(scan, kind, context), box, points_mm=points)


def grid_for(regions: tuple[Region, ...]) -> VoxelGrid:
    """A grid in Reference that holds all regions, as fine as the number of voxels allows."""
    low = np.min([r.box_mm[0] for r in regions], axis=0)
    high = np.max([r.box_mm[1] for r in regions], axis=0)
    spacing = FINEST_MM
    largest = max(float(np.prod(np.diff(r.box_mm, axis=0))) for r in regions)
    whole = float(np.prod(high - low)) * len(regions)
    while whole / spacing**3 > MOST_VOXELS or largest / spacing**3 > MOST_OF_ONE:
        spacing *= 2.0
    # Cubes of the bed are whole numbers of voxels, so that its edge is where the bed check has it.
    anchor = next((r.box_mm[0] for r in regions if r.kind == BED), low)
    low = anchor - np.ceil((anchor - low) / spacing) * spacing
    nx, ny, nz = (int(n) for n in np.ceil((high - low) / spacing))
    # Rows of whole bytes: ITK's reader takes what lies behind the file for the bits of a last, partial byte.
    nx = -(-max(nx, 1) // BITS) * BITS
    return VoxelGrid.aligned(low + 0.5 * spacing, spacing, (nx, max(ny, 1), max(nz, 1)))


def segmentation(scan: ScanReport, number: int, context: Context, source: Dataset | None) -> Dataset | None:
    """The regions of the n-th scan, made from its map `source`; None where it has neither focus nor bed."""
    from highdicom.seg import Segmentation, SegmentationTypeValues

    regions = regions_of(scan, context)
    if not regions:
        return None
    grid = grid_for(regions)
    masks = np.stack([r.mask(grid) for r in regions], axis=-1).astype(np.uint8)
    placed = context.place.grid(grid)
    orientation, positions = planes(placed)
    ds = Segmentation(
        [template(context) if source is None else source],
        masks,
        SegmentationTypeValues.BINARY,
        [_description(n, r, context) for n, r in enumerate(regions, start=1)],
        UNSETTLED,
        1,
        UNSETTLED,
        1,
        **equipment(context),
        content_label="REGIONS",
        content_description="Foci of activity (95 % regions) and resection bed",
        pixel_measures=measures(placed),
        plane_orientation=orientation,
        plane_positions=positions,
    )
    return settle(ds, context, "regions", context.description("foci and bed", scan.name), number)


def _description(number: int, region: Region, context: Context) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    focus = region.kind == FOCUS
    method = codes.own("list-mode-ml" if focus else "outlined")
    category = (
        codes.sct("246464006", "Function")
        if focus
        else codes.sct("309825002", "Spatial and Relational Concept")
    )
    kinds = SegmentAlgorithmTypeValues
    label = f"{SIMULATION} {region.label}" if context.simulated else region.label
    return SegmentDescription(
        number,
        label,
        category,
        codes.own(region.kind),
        kinds.AUTOMATIC if focus else kinds.SEMIAUTOMATIC,
        AlgorithmIdentificationSequence("gammanav", method, context.version, source="gammanav"),
        tracking_uid=region.tracking_uid,
        tracking_id=label,
        display_color=CIELabColor(*COLOURS[region.kind]),
    )
