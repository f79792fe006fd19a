"""Whether the counter is saturated as it is read: its figure is then a lower bound, shown as such and never as cool."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from calibration.counter.deadtime import DeadTime, reckoned
from navigation.likelihood import FOLDED_WITHIN_S, MOST_PARALYSED
from tracking.errors import InputError
from tracking.sample import CountSample


class SaturationWatch:
    """Remembers when a paralysable counter was saturated last: beyond its summit it tells less the more arrives."""

    def __init__(self) -> None:
        self._since_t_s = -math.inf

    def look(
        self, sample: CountSample | None, calibration: Mapping[str, Any] | None, stated_s: float | None
    ) -> bool:
        """Whether the newest sample is a lower bound; asked again of an older stamp it forgets."""
        if sample is None or sample.interval_s <= 0.0:
            return False
        dead = dead_time_in(calibration, stated_s)
        recorded = sample.counts / sample.interval_s
        if bool(dead.saturated(recorded)):
            self._since_t_s = sample.t_s
            return True
        if not dead.paralysable or dead.tau_s == 0.0 or sample.t_s < self._since_t_s:
            return False
        if recorded < float(dead.expected(MOST_PARALYSED / dead.tau_s)):
            self._since_t_s = -math.inf
        return sample.t_s - self._since_t_s <= FOLDED_WITHIN_S


def dead_time_in(calibration: Mapping[str, Any] | None, stated_s: float | None) -> DeadTime:
    """Of a calibration's content and the case's own figure; none where the content is malformed, as told elsewhere."""
    try:
        return reckoned(DeadTime.of(calibration or {}), stated_s)
    except (InputError, TypeError, ValueError):
        return reckoned(None, stated_s)
