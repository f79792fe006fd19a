"""Coverage of the bed and the next look, beside the live map: a function of the readings and of what is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.bedplaces import voxels_behind, widest_patch
from navigation.besidefoci import Beside
from navigation.coverage import NEEDED_SHARE, Aim, BedCoverage, Limits, ScanNext, limits_at
from navigation.guidance.gain import Information
from navigation.guidance.look import LEAD_S, LOOK_S, first_of, plan, seconds_to
from navigation.guidance.poses import poses_over
from navigation.likelihood import Counts
from navigation.pointlayer import Problem
from navigation.reconstruction.geometry import Geometry, decayed
from navigation.reconstruction.posebins import PoseBins
from navigation.reconstruction.readinglog import GrowingArray
from navigation.reconstruction.setup import ImagingSetup
from navigation.saturation import blinded
from navigation.spots import Found, background_alone
from navigation.surface import Surface
from tracking.errors import InputError
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# A place whose upper limit is so many times its MDA holds something: no more counting excludes it.
HOLDS_SOMETHING = 2.0
# A place that lacks more than this factor in information was hardly seen: one figure for all of these.
LEAST_DONE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class _Bed:
    """Places (m, 3) of a bed in one geometry, the poses (p, 4, 4) to look at it from, and what these see of it."""

    aim: Aim
    geometry: Geometry
    doublings: int
    points_mm: Array
    poses: Array
    looks: Readings  # one of a second from each pose
    rows: Array  # (p, m) cps per kBq when they are made
    background: Array  # (p, q)


class BedWatch:
    """One thread at a time calls `look`. Places are found anew as readings double: more poses know outside better."""

    def __init__(self, setup: ImagingSetup) -> None:
        self._setup = setup
        self._bed: _Bed | None = None
        self._last: int | None = None  # of the poses, that was shown
        self._rows = GrowingArray(np.zeros((0, 0), dtype=np.float32))
        self._bins = PoseBins(0)

    def look(
        self,
        aim: Aim,
        geometry: Geometry,
        readings: Readings,
        searched: Problem,
        found: Found,
        beside: Beside,
    ) -> BedCoverage | None:
        """What the readings cover, and where to look next; None where the outline encloses no tissue.

        `searched` is the problem of the readings, or of their bins of equal pose, that `found` rests on.
        """
        bed = self._placed(aim, geometry, readings)
        if bed is None:
            return None
        rows = self._rows_of(bed, readings, merged=len(searched.readings) != len(readings))
        nuisance = background_alone(searched, found)
        told = limits_at(
            bed.points_mm,
            rows,
            nuisance,
            beside,
            aim.confidence,
            self._setup.response.systematic_relative_sd,
            blinded(rows, searched.data),
        )
        covered = widest = None
        if aim.threshold_kbq is not None:
            covered = (told.mda_kbq <= aim.threshold_kbq) & (told.limit_kbq < aim.threshold_kbq)
            widest = widest_patch(bed.points_mm, covered)
        return BedCoverage(
            aim,
            bed.points_mm,
            told.mda_kbq,
            told.limit_kbq,
            covered,
            widest,
            len(readings),
            float(readings.t_s[-1]),
            self._next(bed, told, Information.of(rows, nuisance), readings, found),
        )

    def _placed(self, aim: Aim, geometry: Geometry, readings: Readings) -> _Bed | None:
        doublings = int(np.log2(len(readings)))
        old = self._bed
        if old is not None and old.aim is aim and old.geometry is geometry and old.doublings == doublings:
            return old
        poses = readings.mid_poses
        if self._setup.tip_hint is not None:
            poses = np.concatenate([self._setup.tip_hint, poses])
        try:
            outline = Surface.from_points(aim.bed.points_mm, poses)
            points = voxels_behind(aim.bed, outline)
            touched = self._setup.surface_mm
            surface = outline if touched is None else Surface.from_points(touched, poses)
        except InputError:
            return None
        return self._take(aim, geometry, doublings, points, poses_over(aim.bed.points_mm, surface))

    def _take(self, aim: Aim, geometry: Geometry, doublings: int, points: Array, poses: Array) -> _Bed:
        n = len(poses)
        looks = Readings(
            np.zeros(n), np.zeros(n), np.full(n, LOOK_S), poses, np.ones(n), np.arange(n + 1, dtype=np.int64)
        )
        rows = geometry.projector.rows(points, looks).astype(np.float64)
        background = geometry.background.rows(geometry.projector, looks)
        self._bed = _Bed(aim, geometry, doublings, points, poses, looks, rows, background)
        self._rows = GrowingArray(np.zeros((0, len(points)), dtype=np.float32))
        self._bins, self._last = PoseBins(len(points)), None
        return self._bed

    def _rows_of(self, bed: _Bed, readings: Readings, merged: bool) -> Array32:
        """(n, m) of the readings, or of their bins."""
        fresh = readings.select(slice(len(self._rows.all), None))
        if len(fresh):
            self._rows.append(bed.geometry.projector.rows(bed.points_mm, decayed(self._setup, fresh)))
        every = np.asarray(self._rows.all, dtype=np.float32)
        if not merged:
            return every
        self._bins.take(readings, every)
        return self._bins.rows

    def _next(
        self, bed: _Bed, told: Limits, known: Information, readings: Readings, found: Found
    ) -> ScanNext | None:
        decay = float(self._setup.decay(readings.t_s[-1:])[0])
        background = decay * bed.background
        q = known.carried.shape[0]
        if background.shape[1] < q:  # what a known rate's factor adds does not depend on the pose
            background = np.column_stack([background, np.zeros(len(background))])
        weight = _weights(self._setup, bed, background, found, decay)
        gained = known.gained(decay * bed.rows, background, weight)
        share = np.where(known.own > 0.0, told.scores.information / np.maximum(known.own, 1e-30), 1.0)
        gained *= np.clip(share, 0.0, 1.0)
        have, need = _have_and_need(told, bed.aim.threshold_kbq)
        way_s = seconds_to(bed.poses, readings.mid_poses[-1])
        best = self._last = self._chosen(bed, have, need, gained / LOOK_S, way_s)
        if best is None:
            return None
        after = _worst(told.mda_kbq, told.scores.information, gained[best])
        return ScanNext(bed.poses[best], "bed", _told(told.mda_kbq), after, float(way_s[best]) + LOOK_S)

    def _chosen(self, bed: _Bed, have: Array, need: Array, a_second: Array, way_s: Array) -> int | None:
        """The next pose, once the hand has looked from the one shown last until it can follow."""
        last = self._last
        if last is None:
            return first_of(plan(have, need, a_second), way_s)
        there_s = max(LEAD_S - float(way_s[last]), 0.0)
        from_last_s = seconds_to(bed.poses, bed.poses[last])
        then = first_of(plan(have + there_s * a_second[last], need, a_second), from_last_s, last)
        return first_of(plan(have, need, a_second), way_s, last) if then is None else then


def _weights(setup: ImagingSetup, bed: _Bed, background: Array, found: Found, decay: float) -> Array:
    """(p,) s2 a count: information of a look at the rates that are expected there."""
    q = len(found.fit.background)
    rate = background[:, :q] @ found.fit.background
    sources = [s for i, s in enumerate(found.fit.sources) if found.stands(i)]
    for source in sources:
        spread, shares = source.spread()
        seen = bed.geometry.projector.rows(spread, bed.looks).astype(np.float64) @ shares
        rate = rate + decay * source.activity_kbq * seen
    n = len(rate)
    return Counts(np.zeros(n), np.full(n, LOOK_S), setup.dead_time).weights(rate)[1]


def _have_and_need(told: Limits, threshold_kbq: float | None) -> tuple[Array, Array]:
    """Information (m,) and (m,): what places have, in parts of what they need, and one for each.

    A limit falls with the root of the information. Without a threshold all are to become as good as half of them are.
    """
    worst = np.where(
        told.limit_kbq > HOLDS_SOMETHING * told.mda_kbq,
        told.mda_kbq,
        np.maximum(told.mda_kbq, told.limit_kbq),
    )
    seen = np.isfinite(worst)
    if threshold_kbq is None:
        threshold_kbq = float(np.median(worst[seen])) if seen.any() else 1.0
    done = np.where(seen, (threshold_kbq / np.where(seen, worst, 1.0)) ** 2, 0.0)
    information = told.scores.information
    have = np.maximum(information, 0.0)
    typical = float(np.median(have[seen] / np.maximum(done[seen], LEAST_DONE))) if seen.any() else 1.0
    need = np.where(seen & (done > LEAST_DONE), have / np.maximum(done, LEAST_DONE), typical)
    return have, np.maximum(need, 1e-30)


def _told(mda_kbq: Array) -> float | None:
    worst = float(np.quantile(mda_kbq, NEEDED_SHARE, method="higher"))
    return worst if np.isfinite(worst) else None


def _worst(mda_kbq: Array, have: Array, gained: Array) -> float | None:
    """Worst MDA in kBq after a look."""
    seen = np.isfinite(mda_kbq)
    after = np.full(len(mda_kbq), np.inf)
    after[seen] = mda_kbq[seen] * np.sqrt(have[seen] / (have[seen] + gained[seen]))
    return _told(after)
