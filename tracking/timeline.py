"""A peer's time line laid on ours: a function of the stamp, steered slowly; only proof of an error breaks it.

What a stamp was mapped to once it is mapped to always, so a message that comes late or twice finds its place.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

# An error of the offset is taken out over this time: a pose moves against the next by 1e-3 of its way.
SLEW_S = 2.0
# Never steered faster than this beside the drift: intervals between poses stay true to half a per cent.
MOST_SLEW = 5e-3
# A knot a second: stamps up to this many seconds late still find the line of their time.
MOST_KNOTS = 16


@dataclass(frozen=True, slots=True)
class _Knot:
    """From the peer's time `t_s` on, our time is the peer's plus `offset_s` + `slope` (t - t_s)."""

    t_s: float
    offset_s: float
    slope: float

    def offset_at(self, t_s: float) -> float:
        return self.offset_s + self.slope * (t_s - self.t_s)


class TimeLine:
    """Maps the peer's time to ours; `steer` decides how the line goes on beyond the newest stamp mapped."""

    def __init__(self) -> None:
        self._knots: deque[_Knot] = deque(maxlen=MOST_KNOTS)

    @property
    def known(self) -> bool:
        """Whether the line has begun."""
        return bool(self._knots)

    def to_ours(self, t_s: float) -> float:
        """Our time, in s, for the peer's. Before the first knot the first piece goes on backwards."""
        knot = next((k for k in reversed(self._knots) if k.t_s <= t_s), self._knots[0])
        return t_s + knot.offset_at(t_s)

    def ahead_s(self, t_s: float, offset_s: float) -> float:
        """By how much the newest piece of the line at the peer's `t_s` exceeds the offset that is right now."""
        return self._knots[-1].offset_at(t_s) - offset_s if self._knots else 0.0

    def lay_anew(self, after_s: float, offset_s: float, drift: float, again: bool) -> None:
        """Beyond the stamp `after_s` the offset is another; `again` if nothing came of the newest piece."""
        start_s = math.nextafter(after_s, math.inf)
        if again:
            start_s = self._knots.pop().t_s
        self._knots.append(_Knot(start_s, offset_s - drift * (after_s - start_s), drift))

    def steer(self, newest_s: float, offset_s: float, drift: float) -> None:
        """From the newest stamp on, head for an offset that is `offset_s` now and changes by `drift`."""
        if not self._knots:
            self._knots.append(_Knot(newest_s, offset_s, drift))
            return
        last = self._knots[-1]
        if newest_s <= last.t_s:
            return
        here = last.offset_at(newest_s)
        correction = min(max((offset_s - here) / SLEW_S, -MOST_SLEW), MOST_SLEW)
        self._knots.append(_Knot(newest_s, here, drift + correction))
