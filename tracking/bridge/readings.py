"""From a probe's lines to counts that add up: what a line says, and totals that never fall.

A line that cannot be read is counted and never becomes a count; an interval whose line was lost stays out of
counts and live time alike, so that a loss only lowers exposure.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor

from tracking.bridge.lineformat import LONGEST_TEXT, LineFormat
from tracking.sample import CountSample

# No scintillation probe counts faster: such a number is a damaged line.
HIGHEST_RATE_CPS = 1e7
# How far a probe's clock may run from ours between two lines: a buffered line's delay, and a bad quartz.
CLOCK_SLACK_S, CLOCK_SLACK = 1.0, 0.02
# An interval longer than this is no interval of a live counter but a pause: its counts cannot be placed.
LONGEST_INTERVAL_S = 60.0
_CHECKED = re.compile(rb"(.*)\*([0-9A-Fa-f]{2})", re.S)


@dataclass(frozen=True, slots=True)
class Reading:
    """One line's numbers: counts (or rate), its interval, the probe's own time and number where it gives them."""

    value: float
    interval_s: float | None
    time_s: float | None
    seq: int | None


class LineReader:
    """Bytes to readings; `garbage` counts by reason the lines that were none."""

    def __init__(self, form: LineFormat) -> None:
        self.garbage: Counter[str] = Counter()
        self._form = form

    def read(self, line: bytes) -> Reading | None:
        """The reading in one line without its terminator; None for an ignored, empty or unreadable one."""
        text = line.decode("ascii", "replace").strip()
        if not text or any(p.fullmatch(text) for p in self._form.ignore):
            return None
        fault, reading = self._parsed(line, text)
        if fault:
            self.garbage[fault] += 1
        return reading

    def _parsed(self, line: bytes, text: str) -> tuple[str, Reading | None]:
        if len(text) > LONGEST_TEXT:
            return "too long", None
        if self._form.checksum != "none":
            content = self._checked(line.strip())
            if content is None:
                return "checksum wrong or missing", None
            text = content.decode("ascii", "replace").strip()
        match = self._form.pattern.fullmatch(text)
        if match is None:
            return "not of the format", None
        try:
            numbers = {k: float(v) for k, v in match.groupdict().items() if v is not None}
        except ValueError:
            return "not a number", None
        return self._judged(numbers)

    def _checked(self, line: bytes) -> bytes | None:
        match = _CHECKED.fullmatch(line)
        if match is None:
            return None
        computed = reduce(xor, match[1], 0) if self._form.checksum == "xor" else sum(match[1]) & 0xFF
        return match[1] if computed == int(match[2], 16) else None

    def _judged(self, numbers: dict[str, float]) -> tuple[str, Reading | None]:
        """The reading, or why the numbers are impossible."""
        if not all(math.isfinite(v) and v >= 0.0 for v in numbers.values()):
            return "negative or not finite", None
        value = numbers["rate_cps"] if self._form.kind == "rate" else numbers["counts"]
        whole = [numbers[k] for k in ("counts", "seq") if k in numbers]
        if not all(v.is_integer() and v < 2.0**53 for v in whole):
            return "counts are not whole", None
        interval_s = _seconds(numbers, "interval")
        if interval_s is None:
            interval_s = self._form.interval_s
        if self._form.kind != "cumulative":
            if interval_s is None or not 0.0 < interval_s <= LONGEST_INTERVAL_S:
                return "no interval", None
            if (value if self._form.kind == "rate" else value / interval_s) > HIGHEST_RATE_CPS:
                return "rate beyond any probe", None
        seq = numbers.get("seq")
        return "", Reading(value, interval_s, _seconds(numbers, "time"), None if seq is None else int(seq))


def _seconds(numbers: dict[str, float], name: str) -> float | None:
    if f"{name}_s" in numbers:
        return numbers[f"{name}_s"]
    return numbers[f"{name}_ms"] / 1e3 if f"{name}_ms" in numbers else None


def spread(readings: Sequence[Reading], arrival_s: float) -> list[float]:
    """When each of the lines that came in one piece would have come by itself: the last of them just now."""
    times = [arrival_s]
    for earlier, later in zip(readings[-2::-1], readings[:0:-1], strict=True):
        if later.time_s is not None and earlier.time_s is not None:
            step_s = max(0.0, later.time_s - earlier.time_s)
        else:
            step_s = later.interval_s or 0.0
        times.append(times[-1] - step_s)
    return times[::-1][: len(readings)]


class Ledger:
    """Readings to samples: numbers and totals are the bridge's own and rise over every reconnect.

    `restarts` counts the probe's restarts, `lost` the readings known to be missing, `repeats` those that
    came twice.
    """

    def __init__(self, form: LineFormat) -> None:
        self.restarts = 0
        self.lost = 0
        self.repeats = 0
        self._form = form
        self._seq = 0
        self._total = 0.0
        self._live_s = 0.0
        self._stamp_s = 0.0
        self._last: tuple[Reading, float] | None = None

    def interrupted(self) -> None:
        """The line was broken: without a time of its own the probe may have restarted unseen."""
        if self._last is not None and self._last[0].time_s is None:
            self._last = None

    def take(self, reading: Reading, arrival_s: float, steady_s: float) -> CountSample | None:
        """The sample that a reading adds; None for a repeat and for the first of a cumulative counter.

        `arrival_s` (Unix) stamps it, `steady_s` is a clock that nobody sets.
        """
        last, self._last = self._last, (reading, steady_s)
        if last is not None and self._repeated(reading, last[0]):
            self.repeats += 1
            return None
        interval = self._interval(reading, steady_s, last)
        if interval is None:
            return None
        counts, interval_s = interval
        self._seq += 1
        self._total += counts
        self._live_s += interval_s
        form = self._form
        return CountSample(
            self._stamp(arrival_s - form.delay_s, interval_s),
            self._seq,
            counts,
            interval_s,
            self._total,
            self._live_s,
            form.nuclide,
            form.window_kev,
            form.probe_serial,
        )

    def _stamp(self, t_s: float, interval_s: float) -> float:
        """Stamps do not cross through jitter; by more than an interval it is our clock that was set."""
        if 0.0 < self._stamp_s - t_s < interval_s:
            t_s = self._stamp_s
        self._stamp_s = t_s
        return t_s

    def _repeated(self, reading: Reading, last: Reading) -> bool:
        """The same number again: one line twice. Without numbers two lines are two readings."""
        return reading.seq is not None and reading == last

    def _interval(
        self, reading: Reading, steady_s: float, last: tuple[Reading, float] | None
    ) -> tuple[float, float] | None:
        if last is not None and reading.seq is not None and last[0].seq is not None:
            self.lost += max(0, reading.seq - last[0].seq - 1)
            self.restarts += self._form.kind != "cumulative" and reading.seq < last[0].seq
        if self._form.kind == "cumulative":
            return self._difference(reading, steady_s, last)
        assert reading.interval_s is not None
        counts = reading.value * (reading.interval_s if self._form.kind == "rate" else 1.0)
        return counts, reading.interval_s

    def _difference(
        self, reading: Reading, steady_s: float, last: tuple[Reading, float] | None
    ) -> tuple[float, float] | None:
        """Counts and time since the last total, however many lines were lost between."""
        if last is None:
            return None
        before, before_s = last
        counts, waited_s = reading.value - before.value, steady_s - before_s
        interval_s = self._passed_s(reading, before, waited_s)
        strange = abs(interval_s - waited_s) > CLOCK_SLACK_S + CLOCK_SLACK * waited_s
        if counts < 0.0 or interval_s <= 0.0 or strange:
            self.restarts += 1
            return None
        if interval_s > LONGEST_INTERVAL_S or counts > HIGHEST_RATE_CPS * interval_s:
            self.lost += 1
            return None
        return counts, interval_s

    def _passed_s(self, reading: Reading, before: Reading, waited_s: float) -> float:
        """Seconds between two totals: by the probe's time, its numbers, or whole intervals between arrivals."""
        if reading.time_s is not None and before.time_s is not None:
            return reading.time_s - before.time_s
        assert reading.interval_s is not None
        if reading.seq is not None and before.seq is not None:
            return (reading.seq - before.seq) * reading.interval_s
        return max(1, round(waited_s / reading.interval_s)) * reading.interval_s
