"""From voxel values to the published volumes: activity, its relative uncertainty, MDA and upper limit.

The relative standard deviation of a voxel is that of the activity within the probe's resolution round it: the
standard deviation of a point source there over what the map holds in a cube of RESOLUTION_MM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree

from navigation.besidefoci import Beside
from navigation.reconstruction.geometry import Geometry
from navigation.reconstruction.rowstore import RowStore
from navigation.spots import Found
from navigation.uncertainty import Nuisance, ScoreMap, score_map
from navigation.upperlimits import Z_CONFIDENCE, total_limit
from navigation.volume import NO_LIMIT_KBQ, NOT_EXAMINED, ActivityMap
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

RESOLUTION_MM = 15.0
# A voxel whose MDA is this many times the scan's best has not been examined.
EXAMINED_RATIO = 40.0
# Share of the hottest voxel from which one that saturated the counter is shown though nothing else examined it.
SHOWN_SHARE = 0.01
SMALLEST_CONCENTRATION = 1e-4
# Columns handled at once at full resolution: a block of rows stays in the cache.
BLOCK = 4096
# Search points round a voxel near a focus, of which it takes the worst.
ROUND = 8


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Values (m,) of the active voxels: kBq/mL, SD of a point source in kBq, MDA and upper limit in kBq.

    `looked_kbq` is the MDA of a lone focus, all else being known: how well the scan looked there.
    At `blinded` voxels (m,) saturated readings looked: no limit is told there, and what is hot among them is shown
    however little the other readings saw of it.
    """

    geometry: Geometry
    activity: Array
    sd_kbq: Array
    looked_kbq: Array
    mda_kbq: Array
    limit_kbq: Array
    blinded: NDArray[np.bool_]

    def published(self, version: int, readings: Readings) -> ActivityMap:
        """The frozen map of these values."""
        field = self.geometry.field
        hot = self.activity >= SHOWN_SHARE * float(self.activity.max(initial=0.0))
        examined = examined_mask(self.looked_kbq) | (self.blinded & hot)
        volume = field.volume(self.activity, 0.0)
        width = max(round(RESOLUTION_MM / float(field.grid.spacing_mm[0])), 1)
        held = uniform_filter(volume, width, mode="constant") * width**3 * field.grid.voxel_ml
        held_active = np.maximum(held.reshape(-1)[field.active], 1e-6)
        known = examined & np.isfinite(self.sd_kbq)
        relative = np.where(known, np.where(known, self.sd_kbq, 0.0) / held_active, NOT_EXAMINED)
        mda, limit = (
            np.where(
                examined, np.where(self.blinded, NO_LIMIT_KBQ, np.minimum(values, NO_LIMIT_KBQ)), NOT_EXAMINED
            )
            for values in (self.mda_kbq, self.limit_kbq)
        )
        arrays = (
            field.volume(np.where(examined, self.activity, 0.0), 0.0),
            field.volume(relative, NOT_EXAMINED),
            field.volume(mda, NOT_EXAMINED),
            field.volume(limit, NOT_EXAMINED),
        )
        mask = field.volume(examined.astype(np.float64), 0.0) > 0.5
        for array in (*arrays, mask):
            array.setflags(write=False)
        return ActivityMap(field.grid, *arrays, mask, version, float(readings.t_s[-1]), len(readings))


def examined_mask(mda_kbq: Array) -> NDArray[np.bool_]:
    """Which voxels (m,) the scan has examined."""
    finite = mda_kbq[np.isfinite(mda_kbq)]
    if len(finite) == 0:
        return np.zeros(len(mda_kbq), dtype=bool)
    result: NDArray[np.bool_] = mda_kbq <= EXAMINED_RATIO * float(finite.min())
    return result


def coarse_uncertainty(
    geometry: Geometry,
    search_rows: Array32,
    nuisance: Nuisance,
    beside: Beside,
    activity: Array,
    blinded: NDArray[np.bool_],
) -> Maps:
    """On the search points, each voxel takes its nearest: cheap enough for every published map.

    `nuisance` is the background alone, with the foci where they are; what they leave open is `beside` them. Near a
    focus, where that changes within the points' spacing, a voxel takes the worst of those round it.
    """
    scores = score_map(search_rows, nuisance)
    points, nearest = geometry.field.points_mm, geometry.nearest
    share = beside.share(points[geometry.field.search], search_rows)
    figures = _figures(scores.dimmed(share))
    mda, hidden = (values[nearest] for values in figures)
    near = np.flatnonzero(beside.near(points))
    if len(near):
        searched = points[geometry.field.search]
        around = np.minimum(np.asarray(cKDTree(searched).query(points[near], k=ROUND)[1]), len(share) - 1)
        mda[near], hidden[near] = (values[around].max(axis=1) for values in figures)
        # A search point in the region of a focus has that one's bound for it; a voxel beside the region has not.
        edge = near[beside.edge(points[near], searched, around)]
        exact = scores.at(nearest[edge]).dimmed(beside.share_at(points[edge]))
        mda[edge], hidden[edge] = np.maximum(_figures(exact), (mda[edge], hidden[edge]))
    sd, looked = scores.sd_kbq[nearest], scores.mda_kbq[nearest]
    return Maps(geometry, activity, sd, looked, mda, _limit(geometry, beside, hidden), blinded)


def fine_uncertainty(
    geometry: Geometry,
    store: RowStore,
    search_rows: Array32,
    nuisance: Nuisance,
    beside: Beside,
    activity: Array,
    blinded: NDArray[np.bool_],
) -> Maps:
    """At full resolution, in blocks of columns; what the foci leave open far from them, on the search points."""
    share = _open_share(geometry, search_rows, beside)
    sd, looked, mda, hidden = np.empty((4, len(geometry.field.active)))
    for low in range(0, len(sd), BLOCK):
        block = slice(low, min(low + BLOCK, len(sd)))
        scores = score_map(store.unpacked(block), nuisance)
        sd[block], looked[block] = scores.sd_kbq, scores.mda_kbq
        mda[block], hidden[block] = looked[block], scores.upper_limit_kbq(Z_CONFIDENCE)
        less = np.flatnonzero(share[block] < 1.0)
        if len(less):
            mda[low + less], hidden[low + less] = _figures(scores.at(less).dimmed(share[block][less]))
    return Maps(geometry, activity, sd, looked, mda, _limit(geometry, beside, hidden), blinded)


def _open_share(geometry: Geometry, search_rows: Array32, beside: Beside) -> Array:
    """Share (m,) of each voxel's information that the foci leave."""
    points = geometry.field.points_mm
    share = beside.share(points[geometry.field.search], search_rows)[geometry.nearest]
    near = np.flatnonzero(beside.near(points))
    share[near] = beside.share_at(points[near])
    return share


def prior_activity(geometry: Geometry, found: Found) -> Array:
    """kBq/mL (m,) that background and sources say of the active voxels.

    Each source is spread over what is open of its place: a well-placed focus is compact, a doubtful one a cloud,
    and a mere hint is left to the counts.
    """
    fit = found.fit
    points, grid = geometry.field.points_mm, geometry.field.grid
    total = np.maximum(
        geometry.modes_at @ fit.background[: geometry.modes_at.shape[1]], SMALLEST_CONCENTRATION
    )
    for index, source in enumerate(fit.sources):
        if not found.stands(index):
            continue
        # Variance of the voxel itself, and of a uniform ball along each axis (R^2 / 5).
        floor = float(grid.spacing_mm[0]) ** 2 / 4 + source.radius_mm**2 / 5
        spread = fit.block(index)[:3, :3] + floor * np.eye(3)
        offset = points - source.position_mm
        density = np.exp(-0.5 * np.einsum("nd,de,ne->n", offset, np.linalg.inv(spread), offset))
        held = float(density.sum()) * grid.voxel_ml
        if held > 0:
            total = total + source.activity_kbq * density / held
    return total


def _figures(scores: ScoreMap) -> tuple[Array, Array]:
    """MDA and limit beyond the model (m,) in kBq; inf where nothing is seen."""
    return scores.mda_kbq, scores.upper_limit_kbq(Z_CONFIDENCE)


def _limit(geometry: Geometry, beside: Beside, hidden_kbq: Array) -> Array:
    systematic = geometry.projector.response.systematic_relative_sd
    return total_limit(geometry.field.points_mm, hidden_kbq, beside.foci, systematic)
