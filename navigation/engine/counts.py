"""The counter's own story: which intervals came, which were lost or repeated, and when it restarted.

Counts are cumulative on the wire, so what a lost message held is known: a gap becomes one long interval over
the missing time, never a silent loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tracking.sample import CountSample

# Intervals the displayed rate is averaged over: 0.5 s at 10 Hz calms the figure without lagging a hand.
RATE_INTERVALS = 5
# A gap longer than this is a pause: its counts cannot be spread over a path in any useful way.
LONGEST_GAP_S = 2.0


@dataclass(frozen=True, slots=True)
class CountInterval:
    """Counts over `window_s` that end, by the counter's stamp, at `t_end_s`; it arrived at `arrival_s`."""

    t_end_s: float
    counts: float
    window_s: float
    arrival_s: float


class CountLog:
    """Turns count samples into intervals and keeps the tallies a user must see."""

    def __init__(self) -> None:
        self.last: CountSample | None = None
        self.arrival_s: float | None = None
        self.gaps = 0
        self.missing = 0
        self.duplicates = 0
        self.restarts = 0
        self._recent: list[CountInterval] = []

    def add(self, sample: CountSample, arrival_s: float) -> tuple[CountInterval, ...]:
        """The intervals this sample settles: none for a repeat, two when it closes a gap."""
        last = self.last
        if last is not None and self._restarted(sample, last):
            self.restarts += 1
            last = None
        if last is not None and sample.seq <= last.seq:
            self.duplicates += 1
            return ()
        settled = [*self._gap(sample, last, arrival_s)]
        settled.append(CountInterval(sample.t_s, sample.counts, sample.interval_s, arrival_s))
        self.last, self.arrival_s = sample, arrival_s
        self._recent = [*self._recent, *settled][-RATE_INTERVALS:]
        return tuple(settled)

    @property
    def newest_t_s(self) -> float:
        """Stamp of the newest interval's end, minus infinity before the first."""
        return -math.inf if self.last is None else self.last.t_s

    def rate_cps(self) -> float | None:
        """Mean rate of the newest intervals; None before the first."""
        if not self._recent:
            return None
        return sum(i.counts for i in self._recent) / sum(i.window_s for i in self._recent)

    @staticmethod
    def _restarted(sample: CountSample, last: CountSample) -> bool:
        """A total that falls with a later stamp: a late message has an earlier one."""
        return sample.counts_total < last.counts_total and sample.t_s > last.t_s

    def _gap(
        self, sample: CountSample, last: CountSample | None, arrival_s: float
    ) -> tuple[CountInterval, ...]:
        if last is None or sample.seq == last.seq + 1:
            return ()
        self.gaps += 1
        self.missing += sample.seq - last.seq - 1
        end = sample.t_s - sample.interval_s
        window = end - last.t_s
        counts = sample.counts_total - last.counts_total - sample.counts
        if not 0.0 < window <= LONGEST_GAP_S or counts < 0.0:
            return ()
        return (CountInterval(end, counts, window, arrival_s),)
