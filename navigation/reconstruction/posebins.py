"""Readings with nearly the same pose as one: what a search for foci looks through while a scan is long.

Counts and live times add up and a bin's response is the mean of its readings' by live time, so its expected counts are
exact for any activity; what is lost is how the rate varied within the bin. The fit that follows uses every reading.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from navigation.likelihood import Counts
from navigation.pointlayer import Problem
from tracking.sample import Readings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

# Widths of a bin: places within half of what the probe resolves, axes within 15 degrees.
CELL_MM, CELL_AXIS = 6.0, 0.25
# More bins than this are made wider, by this factor.
MOST_BINS, WIDENING = 1024, 1.4


class PoseBins:
    """Bins in the order in which they were first met, over candidate places in `columns`."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._scale = 1.0
        self._clear()

    def _clear(self) -> None:
        self._index: dict[tuple[int, ...], int] = {}
        self._bin: list[int] = []
        self._room: Array32 = np.zeros((MOST_BINS + 1, self._columns), dtype=np.float32)
        self._live = np.zeros(MOST_BINS + 1)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def rows(self) -> Array32:
        """(b, m): mean response of each bin, decay included."""
        return self._room[: len(self)]

    def take(self, readings: Readings, rows: Array32) -> None:
        """Sort in the readings that came since; rows (n, m) are those of all."""
        poses = readings.mid_poses
        keys = self._keys(poses[len(self._bin) :])
        for i, key in enumerate(keys, start=len(self._bin)):
            self._add(key, rows[i], float(readings.live_s[i]))
            if len(self._index) > MOST_BINS:
                self._scale *= WIDENING
                self._clear()
                self.take(readings, rows)
                return

    def _keys(self, poses: Array) -> list[tuple[int, ...]]:
        place = np.floor(poses[:, :3, 3] / (CELL_MM * self._scale))
        axis = np.floor(poses[:, :3, 2] / (CELL_AXIS * self._scale))
        return [tuple(key) for key in np.concatenate([place, axis], axis=1).astype(np.int64).tolist()]

    def _add(self, key: tuple[int, ...], row: Array32, live_s: float) -> None:
        at = self._index.setdefault(key, len(self._index))
        self._bin.append(at)
        self._live[at] += live_s
        self._room[at] += np.float32(live_s / self._live[at]) * (row - self._room[at])

    def problem(self, whole: Problem) -> Problem:
        """The scan of the readings that were sorted in, one reading for each bin; nothing of it may be saturated."""
        which = np.array(self._bin)
        live, decay = whole.data.live_s, whole.decay
        total: Array = np.bincount(which, live).astype(np.float64)
        mean_decay = np.bincount(which, live * decay) / total
        background = [np.bincount(which, live * column) / total for column in whole.background_rows.T]
        order = np.argsort(which, kind="stable")
        first = np.append(0, np.cumsum(np.bincount(which)))
        share = (live * decay)[order] / np.repeat(total * mean_decay, np.diff(first))
        counts: Array = np.bincount(which, whole.data.counts).astype(np.float64)
        readings = Readings(
            np.bincount(which, live * whole.readings.t_s) / total,
            counts,
            total,
            np.ascontiguousarray(whole.readings.mid_poses[order]),
            share,
            first.astype(np.int64),
        )
        return replace(
            whole,
            data=Counts(counts, total, whole.data.dead_time),
            readings=readings,
            background_rows=np.stack(background, axis=1),
            decay=mean_decay,
            latency_sd_s=0.0,
        )
