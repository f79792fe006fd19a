"""A growing store of response rows in float16: filled once per reading, read by every pass over the scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation import _core
from navigation.projector import THREADS
from navigation.reconstruction.compaction import merges
from navigation.reconstruction.rowfacts import Facts
from navigation.reconstruction.rowmemory import reserved

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
Index = NDArray[np.intp]

# Rows are padded to the widest vector the kernels read.
PAD = 32
# What the rows of a scan may take: with the rest of the engine below 6 GiB. 10,900 readings of 64 x 64 x 48 voxels.
CAP_BYTES = 4 << 30
# Of so narrow or wide rows that the cap means nothing.
FEWEST_ROWS, MOST_ROWS = 64, 1 << 18
# A full store frees so many rows at once, and leaves the newest one in so many of its rows as they are. On the main
# grid that takes some 50 ms, every 32 readings: more at once would keep the live map waiting.
FREED_ROWS, NEWEST_SHARE = 32, 4


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSums:
    """Sums over the readings i at each column j, of rows r_ij: `raw` (width,) of score_i r, `plain` (width,) of
    information_i r^2, `cross` (q, width) of information_i design_iq r, `skew` (width,) of third_i r^3.
    """

    raw: Array
    plain: Array
    cross: Array
    skew: Array


class RowStore:
    """Rows of `width` columns; `live` and `counts` of the likelihood are the caller's.

    Memory is reserved for `cap_bytes` at once and taken as rows arrive; nothing is ever copied to grow. A full store
    merges old rows of nearly equal pose (`compaction`), a function of the rows and their order alone; `append` tells
    where every row went. Rows that came without a pose are never merged, nor are those farther apart than
    `compaction.WIDEST_MM`: then the store outgrows its cap.
    """

    def __init__(self, width: int, cap_bytes: int = CAP_BYTES) -> None:
        self.width = width
        self.stride = -(-width // PAD) * PAD
        self._capacity = int(np.clip(cap_bytes // (2 * self.stride), FEWEST_ROWS, MOST_ROWS))
        self._packed = reserved(self._capacity, self.stride)
        self._facts = Facts.empty(self._capacity)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def packed(self) -> NDArray[np.uint16]:
        """(n, stride) float16 bits."""
        return self._packed[: self._n]

    @property
    def scales(self) -> Array32:
        """(n,) factor of each row."""
        return self._facts.scale[: self._n]

    @property
    def readings(self) -> NDArray[np.int64]:
        """(n,): how many appended rows each row stands for."""
        return self._facts.readings[: self._n]

    @property
    def merged_mm(self) -> float:
        """The largest pose distance of an appended row from the mean pose of the row that stands for it; 0 where
        nothing was merged.
        """
        return float(self._facts.radius_mm[: self._n].max(initial=0.0))

    def append(
        self,
        rows: Array32,
        poses: Array | None = None,
        live_s: Array | None = None,
        kind: NDArray[np.int64] | None = None,
    ) -> Index:
        """Add rows (k, width) float32; where all went: (n before + k,) their places among the rows now.

        To be merged when the store is full, rows need `poses` (k, 4, 4) `T_reference_probetip` and `live_s` (k,);
        rows of different `kind` (k,) never join (saturated ones; a kind of its own keeps a row alone). What the
        caller keeps per row follows by `merged(into, values)`.
        """
        before, done = self._n, 0
        into = np.arange(before + len(rows))
        fresh = Facts.of(len(rows), poses, live_s, kind)
        while done < len(rows):
            if self._n == self._capacity:
                into[: before + done] = self._make_room()[into[: before + done]]
            part = slice(done, min(done + self._capacity - self._n, len(rows)))
            into[before + part.start : before + part.stop] = self._n + np.arange(part.stop - part.start)
            self._write(rows[part], fresh, part)
            done = part.stop
        return into

    def _write(self, rows: Array32, facts: Facts, part: slice) -> None:
        target = slice(self._n, self._n + len(rows))
        self._facts.put(target, facts, part)
        _core.pack_rows(np.ascontiguousarray(rows), self._packed[target], self._facts.scale[target], THREADS)
        self._n = target.stop

    def _make_room(self) -> Index:
        """Merge, and close the gaps with the newest rows: (n,) the new place of each row."""
        n, facts = self._n, self._facts
        old = np.flatnonzero(
            (facts.age[:n] <= facts.newest - n // NEWEST_SHARE) & np.isfinite(facts.centre[:n, 0])
        )
        merge = merges(
            facts.centre[old],
            facts.radius_mm[old],
            facts.live_s[old],
            facts.kind[old],
            FREED_ROWS,
        )
        place = np.arange(n)
        place[old] = old[merge.label]
        for head in np.unique(place[place != np.arange(n)]):
            members = np.flatnonzero(place == head)
            facts.merge(head, members, self._packed)
        at = old[merge.label]
        facts.centre[at], facts.radius_mm[at] = merge.centre[merge.label], merge.radius_mm[merge.label]
        place = self._close_gaps(place)
        if n - self._n < FREED_ROWS:
            # What is left lies too far apart: it would be sought anew for every few rows.
            self._outgrow()
        return place

    def _close_gaps(self, place: Index) -> Index:
        kept = np.flatnonzero(place == np.arange(len(place)))
        self._n = len(kept)
        moved = kept[kept >= self._n]
        gaps = np.setdiff1d(np.arange(self._n), kept)
        self._packed[gaps] = self._packed[moved]
        self._facts.move(gaps, moved)
        new = np.arange(len(place))
        new[moved] = gaps
        return new[place]

    def _outgrow(self) -> None:
        grown = reserved(2 * self._capacity, self.stride)
        grown[: self._n] = self.packed
        self._packed, self._facts = grown, self._facts.grown(2 * self._capacity)
        self._capacity *= 2

    def unpacked(self, columns: NDArray[np.intp] | slice = slice(None)) -> Array32:
        """(n, k) float32: some columns, widened."""
        halves = self.packed[:, : self.width][:, columns].view(np.float16)
        result: Array32 = halves.astype(np.float32) * self.scales[:, None]
        return result

    def project(self, x: Array32) -> Array32:
        """A x, (n,); x is padded to the stride."""
        out = np.empty(self._n, dtype=np.float32)
        _core.project(self.packed, self.scales, x, out, THREADS)
        return out

    def back_project(self, u: Array32) -> Array32:
        """A^T u, (stride,)."""
        out = np.empty(self.stride, dtype=np.float32)
        _core.back_project(self.packed, self.scales, u, out, THREADS)
        return out

    def project_many(self, images: Array32) -> Array32:
        """A X^T, (n, b), for images (b, stride): one read of the rows serves all."""
        out = np.empty((self._n, len(images)), dtype=np.float32)
        _core.project_many(self.packed, self.scales, np.ascontiguousarray(images), out, THREADS)
        return out

    def back_project_many(self, weights: NDArray[np.floating]) -> Array:
        """W^T A, (b, width) float64, for weights (n, b): one read of the rows serves 32 weightings."""
        out = np.empty((weights.shape[1], self.stride))
        _core.back_project_many(
            self.packed, self.scales, np.ascontiguousarray(weights, dtype=np.float32), out, THREADS
        )
        return out[:, : self.width]

    def score_sums(self, score: Array, information: Array, design: Array, third: Array) -> ScoreSums:
        """What a score map needs, in one pass over the rows r_ij.

        Per reading i: `score` (n,) d log L / d rate, `information` (n,) its expected negative slope, `design` (n, q)
        the nuisance's columns, `third` (n,) the factor of r^3, which is information x slope / expected in
        `uncertainty.score_map`. Any real factors will do; they are taken in single precision.
        """
        linear = _single(np.concatenate([score[:, None], information[:, None] * design], axis=1))
        out = np.empty((linear.shape[1] + 2, self.stride))
        _core.score_pass(self.packed, self.scales, linear, _single(information), _single(third), out, THREADS)
        raw, cross, plain, skew = np.split(out[:, : self.width], [1, -2, -1])
        return ScoreSums(raw[0], plain[0], cross, skew[0])

    def padded(self, values: NDArray[np.float64]) -> Array32:
        """(stride,) float32 from (width,)."""
        out = np.zeros(self.stride, dtype=np.float32)
        out[: self.width] = values
        return out


def merged(into: Index, values: Array) -> Array:
    """Sums (n, ...) of values (k, ...) per row of a store, as `append` told: counts and live times."""
    out = np.zeros((int(into.max(initial=-1)) + 1, *values.shape[1:]))
    np.add.at(out, into, values)
    return out


def _single(values: Array) -> Array32:
    return np.ascontiguousarray(values, dtype=np.float32)
