"""The counter's own story: which intervals came, which were lost, repeated or late, and when it restarted.

Counts are cumulative on the wire, so what a lost message held is known: a gap becomes one interval over the
missing time, never a silent loss (H08), and a total that contradicts its parts is refused (H09).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from tracking.sample import CountSample

# A message may be overtaken by others for this long (in the counter's time) before it counts as lost.
REORDER_S = 0.25
# A gap longer than this is a pause: its counts cannot be spread over a path in any useful way.
LONGEST_GAP_S = 2.0
# No scintillation probe counts faster: pile-up ends it a decade earlier.
HIGHEST_RATE_CPS = 1e7
# Totals are whole numbers far below 2^53; half a count is rounding, more is a contradiction.
COUNT_ROUNDING = 0.5
# Counters wrap around at the end of these numbers; the sum goes on.
WRAPS = (float(1 << 16), float(1 << 32))
# A counter that was live for less than this share of a gap made a pause, and its few counts say nothing.
LEAST_LIVE_SHARE = 0.1
# Intervals the displayed rate is averaged over: 0.5 s at 10 Hz calms the figure without lagging a hand.
RATE_INTERVALS = 5


@dataclass(frozen=True, slots=True)
class CountInterval:
    """Counts over `window_s` that end, by the counter's stamp, at `t_end_s`; `live_s` of it were counted."""

    t_end_s: float
    counts: float
    window_s: float
    arrival_s: float
    live_s: float


class CountStream:
    """Turns one counter's samples, in any order, into intervals in order; a function of its input alone.

    Tallies: `gaps` and the samples `missing` in them, `duplicates`, `restarts`, `rollovers`, `refused` by
    reason, and `lost_s`, the time for which counts will never be known. `told` is what the counter last said of its
    nuclide, window_kev and probe_serial.
    """

    def __init__(self) -> None:
        self.last: CountSample | None = None
        self.arrival_s: float | None = None
        self.gaps = 0
        self.missing = 0
        self.duplicates = 0
        self.restarts = 0
        self.rollovers = 0
        self.lost_s = 0.0
        self.told: dict[str, Any] = {}
        self.refused: Counter[str] = Counter()
        self._since_s = -math.inf
        self._ahead: dict[int, tuple[CountSample, float]] = {}
        self._recent: deque[CountInterval] = deque(maxlen=RATE_INTERVALS)

    def add(self, sample: CountSample, arrival_s: float) -> tuple[CountInterval, ...]:
        """The intervals that this sample settles, in order; none while an earlier sample may still come."""
        fault = _implausible(sample)
        if fault is not None:
            self.refused[fault] += 1
            return ()
        settled: list[CountInterval] = []
        if sample.t_s < self._since_s:
            self.refused["from before the restart"] += 1
            return ()
        if self.last is not None and _restarted(sample, self.last):
            settled += self._close_gaps(math.inf)
            self._note_restart(sample, self.last)
        elif self.last is not None and (sample.seq <= self.last.seq or sample.seq in self._ahead):
            self.duplicates += 1
            return ()
        self.arrival_s = arrival_s
        told = {**self.told, **_told(sample)}
        if told != self.told:
            self.told = told
        self._ahead[sample.seq] = (sample, arrival_s)
        settled += self._run() + self._close_gaps(sample.t_s)
        self._recent.extend(settled)
        return tuple(settled)

    def flush(self) -> tuple[CountInterval, ...]:
        """Settle what still waits for an earlier sample: at the end of a scan or a record."""
        settled = tuple(self._close_gaps(math.inf))
        self._recent.extend(settled)
        return settled

    def rejoin(self) -> None:
        """Begin anew after a hole in what is known of the stream, without taking anything twice."""
        if self.last is not None:
            self._since_s = math.nextafter(self.last.t_s, math.inf)
        self.last = None
        self._ahead.clear()
        self._recent.clear()

    @property
    def newest_t_s(self) -> float:
        """Stamp of the newest settled interval's end, minus infinity before the first."""
        return self._since_s if self.last is None else self.last.t_s

    def rate_cps(self) -> float | None:
        """Mean rate of the newest intervals; None before the first."""
        recent = tuple(self._recent)  # another thread may ask while more comes in
        live_s = sum(i.live_s for i in recent)
        return sum(i.counts for i in recent) / live_s if live_s > 0.0 else None

    def _run(self) -> list[CountInterval]:
        """Settle the samples that follow the last one without a gap."""
        settled: list[CountInterval] = []
        while self._ahead and (self.last is None or self.last.seq + 1 in self._ahead):
            seq = min(self._ahead) if self.last is None else self.last.seq + 1
            settled += self._settle(*self._ahead.pop(seq))
        return settled

    def _close_gaps(self, now_s: float) -> list[CountInterval]:
        """Give up on the missing samples once those after them have waited long enough."""
        settled: list[CountInterval] = []
        while self._ahead and self.last is not None:
            seq = min(self._ahead)
            sample, arrival_s = self._ahead[seq]
            if now_s - sample.t_s < REORDER_S:
                break
            del self._ahead[seq]
            settled += self._gap(sample, self.last, arrival_s)
            settled += self._settle(sample, arrival_s) + self._run()
        return settled

    def _settle(self, sample: CountSample, arrival_s: float) -> list[CountInterval]:
        last, self.last = self.last, sample
        if last is not None and sample.seq == last.seq + 1:
            self.rollovers += _rolled_over(sample, last)
            difference = sample.counts_total - last.counts_total - sample.counts
            if abs(difference) > COUNT_ROUNDING and not _rolled_over(sample, last):
                self.refused["counts do not add up to the total"] += 1
                self.lost_s += sample.interval_s
                return []
        return [CountInterval(sample.t_s, sample.counts, sample.interval_s, arrival_s, sample.interval_s)]

    def _gap(self, sample: CountSample, last: CountSample, arrival_s: float) -> list[CountInterval]:
        """One interval over what is missing between `last` and `sample`, if it can be placed at all."""
        self.gaps += 1
        self.missing += sample.seq - last.seq - 1
        end_s = sample.t_s - sample.interval_s
        window_s = end_s - last.t_s
        counts = sample.counts_total - last.counts_total - sample.counts
        live_s = sample.live_time_s - last.live_time_s - sample.interval_s
        if not 0.0 < window_s <= LONGEST_GAP_S or counts < -COUNT_ROUNDING:
            self.lost_s += max(window_s, 0.0)
            return []
        if sample.live_time_s <= last.live_time_s:
            live_s = window_s  # the sender does not fill its live time
        elif live_s < LEAST_LIVE_SHARE * window_s:
            # It did not count then: no counts of no time, not a place that is cold.
            self.lost_s += window_s
            return []
        live_s = min(live_s, window_s)
        return [CountInterval(end_s, max(counts, 0.0), window_s, arrival_s, live_s)]

    def _note_restart(self, sample: CountSample, last: CountSample) -> None:
        self.restarts += 1
        self.told = {}
        self.lost_s += max(sample.t_s - sample.interval_s - last.t_s, 0.0)
        self.last = None
        self._since_s = sample.t_s
        self._ahead.clear()


def _restarted(sample: CountSample, last: CountSample) -> bool:
    """A later stamp with a smaller total, or with a smaller number: a late message has an earlier stamp."""
    fell = sample.counts_total < last.counts_total or sample.seq < last.seq
    return sample.t_s > last.t_s and fell and not _rolled_over(sample, last)


def _rolled_over(sample: CountSample, last: CountSample) -> bool:
    """The total fell by the size of its number while everything else went on: nothing was lost (H09)."""
    fell = last.counts_total + sample.counts - sample.counts_total
    next_in_line = sample.seq == last.seq + 1 and sample.live_time_s >= last.live_time_s
    return next_in_line and any(abs(fell - wrap) <= COUNT_ROUNDING for wrap in WRAPS)


def _told(sample: CountSample) -> dict[str, Any]:
    """What the sample says of the probe and its setting; an empty text says nothing."""
    said = {key: getattr(sample, key) for key in ("nuclide", "window_kev", "probe_serial")}
    return {k: v for k, v in said.items() if v is not None and not (isinstance(v, str) and not v.strip())}


def _implausible(sample: CountSample) -> str | None:
    numbers = (sample.t_s, sample.counts, sample.interval_s, sample.counts_total, sample.live_time_s)
    if not all(math.isfinite(x) for x in numbers):
        return "not finite"
    if sample.counts < 0.0 or sample.interval_s <= 0.0 or sample.counts_total < 0.0:
        return "negative counts or no interval"
    if sample.counts > HIGHEST_RATE_CPS * sample.interval_s:
        return "rate beyond any probe"
    return None
