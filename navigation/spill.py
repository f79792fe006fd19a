"""What a second nuclide adds to the counts of the window in use: a known rate beside the unknown ones.

A scan folder may hold `counts_other.csv` (t_s,counts,window_s as counts.csv): the same counter's second window. With a
measured crosstalk its spill is added to the model of every reading; counts are never subtracted, so they stay Poisson.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.physics.crosstalk import Crosstalk, load_crosstalk
from calibration.probe.response import DetectorResponse
from navigation.likelihood import KnownRate
from tracking.errors import GateRefusedError, InputError
from tracking.sample import Readings
from tracking.scanfolder import CountTable, Scan, read_counts_csv

Array = NDArray[np.float64]

OTHER_COUNTS = "counts_other.csv"
# Edges of energy windows are set to a keV; these are the same.
SAME_WINDOW_KEV = 1.0
# Above this the counts of one window move the model of the other so much that significances are rough: in simulated
# scans without a source 3 sigma came up in 0.2 % at a factor of 0.2, and in 5 % at 0.4, instead of 0.13 %.
ROUGH_FACTOR = 0.1
# Share of a reading that the second window must have counted.
LEAST_COVERED = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Spill:
    """The second window of one scan, `latency_s` still in its stamps, and how it leaks into the main one."""

    crosstalk: Crosstalk
    other: CountTable
    latency_s: float = 0.0

    @property
    def doubt(self) -> str | None:
        """Why significances beside this spill are rough; None where they are not."""
        factor = abs(float(self.crosstalk.factors[0]))
        if factor <= ROUGH_FACTOR:
            return None
        return f"{100.0 * factor:.0f} % of a second nuclide's counts spill over: significances are rough"

    def of(self, readings: Readings) -> KnownRate:
        """The rate that the other nuclide adds to each reading.

        Raises InputError where the second window was not counted while the first was.
        """
        half = readings.live_s / 2.0
        counts, covered = self._between(readings.t_s - half, readings.t_s + half)
        if (covered < LEAST_COVERED * readings.live_s).any():
            gap = int(np.argmax(covered < LEAST_COVERED * readings.live_s))
            raise InputError(
                f"{OTHER_COUNTS}: counted nothing at {readings.t_s[gap]:.2f} s, where counts.csv did"
            )
        other = self.crosstalk.correct(readings.counts, counts, covered).rates_cps[:, 1]
        factor, factor_sd = self.crosstalk.factors[0], float(np.sqrt(self.crosstalk.covariance[0, 0]))
        noise = abs(factor) * np.sqrt(np.maximum(counts, 1.0)) / covered
        return KnownRate(factor * other, noise, factor_sd * other)

    def _between(self, start_s: Array, end_s: Array) -> tuple[Array, Array]:
        """Counts and seconds (n,) of the second window in each interval, its own windows shared out evenly."""
        stamp = self.other.t_s - self.latency_s
        edges = np.stack([stamp - self.other.window_s, stamp], axis=1)
        # Jitter lets windows overlap by milliseconds: each begins no earlier than the one before ended.
        edges[1:, 0] = np.maximum(edges[1:, 0], edges[:-1, 1])
        flat = np.maximum.accumulate(edges.ravel())
        sums = np.zeros((2, len(flat)))
        sums[0, 1::2], sums[1, 1::2] = self.other.counts, np.diff(flat)[::2]
        total = np.cumsum(sums, axis=1)
        told = [np.interp(end_s, flat, row) - np.interp(start_s, flat, row) for row in total]
        return told[0], np.maximum(told[1], 1e-9)


def spill_of(crosstalk_file: Path, scan: Scan, response: DetectorResponse, latency_s: float) -> Spill:
    """The spill into one scan.

    Raises InputError without a second window, GateRefusedError for a crosstalk of other nuclides or windows.
    """
    crosstalk = load_crosstalk(crosstalk_file, scan.measured_on)
    if crosstalk.main.name != response.nuclide.name:
        raise GateRefusedError(
            f"{crosstalk_file}: is for {crosstalk.main.name}, the calibration for {response.nuclide.name}"
        )
    apart = np.abs(np.subtract(crosstalk.windows_kev[0], response.window_kev)).max()
    if apart > SAME_WINDOW_KEV:
        low, high = crosstalk.windows_kev[0]
        raise GateRefusedError(
            f"{crosstalk_file}: was measured at {low:g} to {high:g} keV, the calibration at"
            f" {response.window_kev[0]:g} to {response.window_kev[1]:g} keV"
        )
    path = scan.source / OTHER_COUNTS
    if not path.is_file():
        raise InputError(f"{path}: no such file, and --crosstalk needs the counts of the second window")
    return Spill(crosstalk, read_counts_csv(path), latency_s)
