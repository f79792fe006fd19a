"""How far a peer's clock lies from ours: the lower envelope of arrival minus stamp, and its slope.

A message may be delayed but never arrives before it was sent, so the least delayed ones show the clocks; the
line under them is an edge of their lower convex hull (Zhang, Liu, Xia 2002, doi:10.1109/INFCOM.2002.1019302).
"""

from __future__ import annotations

from collections import deque

# The least delayed message of every second stands for it; seconds are those of our clock, so that who comes
# later to the same messages finds the same line.
BIN_S = 1.0
# Half a minute: 200 ppm move a clock by 6 ms in it, well above the jitter of the best message of a second.
MOST_BINS = 30
# With fewer seconds a slope is jitter; the offset is then the least delay of the last two.
FEWEST_BINS = 10
FLAT_BINS = 2
# Quartz errs by up to 200 ppm and a slewed clock by 500 ppm more; a steeper line is no clock in real time.
MOST_DRIFT = 1e-3

Point = tuple[float, float]


class DelayEnvelope:
    """The least delay to be expected, in s, as a function of the arrival; fed in order of arrival."""

    def __init__(self) -> None:
        self.drift = 0.0  # of the delay, in s per s; positive when the peer's clock is slow
        self.calm = False  # whether the line is that of a clock in real time
        self.drawn = 0  # how often the line was drawn anew
        self.spread_s = 0.0  # by how much the best messages of the seconds differ from the line
        self._bins: deque[Point] = deque(maxlen=MOST_BINS)
        self._best: Point | None = None
        self._began_s = 0.0
        self._anchor: Point | None = None
        self._least: Point | None = None

    @property
    def mature(self) -> bool:
        """Whether a whole second was surely seen: before, a first message that was late is all there is."""
        return len(self._bins) >= FLAT_BINS

    def at(self, arrival_s: float) -> float | None:
        """The least delay to be expected at `arrival_s`; None before the first message.

        A backlog that outlasts the seconds kept does not raise it by more than a clock can drift meanwhile.
        """
        if self._anchor is None or self._least is None:
            return None
        line = self._anchor[1] + self.drift * (arrival_s - self._anchor[0])
        return min(line, self._least[1] + MOST_DRIFT * abs(arrival_s - self._least[0]))

    def unsure_since(self, arrival_s: float) -> float:
        """For how long no message came that may have been undelayed, in s: so long the clock may have drifted."""
        return 0.0 if self._least is None else arrival_s - self._least[0]

    def add(self, arrival_s: float, delay_s: float) -> None:
        """Take one message; the first of a new second draws the line anew."""
        base = self.at(arrival_s)
        if base is None or delay_s < base:
            self._anchor = (arrival_s, delay_s)
        least = self._least
        if least is None or delay_s <= least[1] + MOST_DRIFT * (arrival_s - least[0]):
            self._least = (arrival_s, delay_s)
        if self._best is not None and arrival_s // BIN_S > self._began_s // BIN_S:
            self._bins.append(self._best)
            self._best = None
            self._draw()
        if self._best is None:
            self._began_s, self._best = arrival_s, (arrival_s, delay_s)
        elif delay_s < self._best[1]:
            self._best = (arrival_s, delay_s)

    def _draw(self) -> None:
        """The line under the seconds kept, or where there is none the least of the last two."""
        points = list(self._bins)
        self.drawn += 1
        self.drift, self.calm = 0.0, False
        if len(points) >= FEWEST_BINS:
            first, second = _edge_below(points)
            drift = (second[1] - first[1]) / (second[0] - first[0])
            if abs(drift) <= MOST_DRIFT:
                self.drift, self.calm, self._anchor = drift, True, second
        if not self.calm:
            self._anchor = min(points[-FLAT_BINS:], key=lambda point: point[1])
        above = sorted(delay - self._line(arrival) for arrival, delay in points[-FEWEST_BINS:])
        self.spread_s = max(above[len(above) // 2], 0.0)

    def _line(self, arrival_s: float) -> float:
        base = self.at(arrival_s)
        assert base is not None
        return base


def _edge_below(points: list[Point]) -> tuple[Point, Point]:
    """The edge of the lower convex hull above which the mean abscissa lies: the best line below all points."""
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    middle = sum(x for x, _ in points) / len(points)
    k = next(i for i in range(1, len(hull)) if hull[i][0] >= middle)
    return hull[k - 1], hull[k]


def _turns_down(a: Point, b: Point, c: Point) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[0] - a[0]) * (c[1] - a[1]) <= (c[0] - a[0]) * (b[1] - a[1])
