"""How the probe is held and moved while a live case scans, and whether it counts what it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calibration.probe.response import DetectorResponse
from navigation.coverage import BedCoverage
from navigation.engine.reach import Reach
from navigation.engine.tools import PROBE, Floats
from navigation.guidance.expected import Expectation, Expected
from navigation.guidance.handling import OVER_S, Handling, Limits, limits_for, speed_of

if TYPE_CHECKING:
    from navigation.engine.session import Session

# Limits are renewed when the count rate has changed by so much: they follow its root, and a figure that flickers is
# not read.
RATE_STEP = 1.25
# The expectation is asked for so often, and a want of counts has to last so long before it is told.
EXPECTED_EVERY_S, LASTING_S = 0.2, 1.0
# Places of the bed this near below the face are "here".
HERE_MM = 15.0


class HandWatch:
    """One for a case; every call comes from the thread that makes snapshots."""

    def __init__(self) -> None:
        self._limits: tuple[tuple[object, ...], float, Limits] | None = None
        self._expected: Expected | None = None
        self._asked_s = self._enough_s = float("-inf")

    def handling(
        self,
        session: Session,
        reach: Reach,
        response: DetectorResponse | None,
        rate_cps: float | None,
        coverage: BedCoverage | None,
    ) -> Handling | None:
        """Against the wanted MDA; None where none is wanted or nothing is known of the rate."""
        aim = session.guidance.aim
        if (
            aim is None
            or aim.threshold_kbq is None
            or response is None
            or rate_cps is None
            or rate_cps <= 0.0
        ):
            return None
        limits = self._limits_at(response, aim.threshold_kbq, aim.bed.depth_mm, rate_cps)
        tip = session.tools.newest(PROBE)
        speed = self._speed(session)
        if (
            coverage is not None
            and tip is not None
            and done_here(coverage, tip @ session.settings.tips.probe)
        ):
            speed = None  # what is covered may be passed at any speed
        return Handling(speed, reach.distance_mm, reach.angle_deg, limits, aim.threshold_kbq)

    def _limits_at(
        self, response: DetectorResponse, threshold: float, depth: float, rate_cps: float
    ) -> Limits:
        key, known = (response, threshold, depth), self._limits
        if known is not None and known[0] == key and 1.0 / RATE_STEP < rate_cps / known[1] < RATE_STEP:
            return known[2]
        made = limits_for(response, threshold, depth, rate_cps)
        self._limits = (key, rate_cps, made)
        return made

    def _speed(self, session: Session) -> float | None:
        newest = session.tools.newest_t_s(PROBE)
        if newest is None:
            return None
        stamps = np.linspace(newest - OVER_S, newest, 6)
        poses, valid = session.tools.probe_path(stamps)
        places = np.where(valid[:, None], poses[:, :3, 3], np.nan)
        return speed_of(stamps, places)

    def expected(self, expectation: Expectation | None, tip: Floats | None, now_s: float) -> Expected | None:
        """What should be counted from the tip's pose (4, 4); None where nothing says."""
        if expectation is None or tip is None:
            self._expected = None
        elif now_s - self._asked_s >= EXPECTED_EVERY_S or now_s < self._asked_s or self._expected is None:
            self._asked_s, self._expected = now_s, expectation.at(tip)
        return self._expected

    def wanting(self, expected: Expected | None, rate_cps: float | None, now_s: float) -> str | None:
        """That fewer counts come than should, once that has lasted."""
        if expected is None or rate_cps is None or rate_cps >= expected.low_cps:
            self._enough_s = now_s
            return None
        if now_s - self._enough_s < LASTING_S:
            return None
        return f"fewer counts than expected here: {rate_cps:.0f} cps, {expected.words}"


def done_here(coverage: BedCoverage, tip: Floats) -> bool:
    """Whether all of the bed that lies below the face is covered already."""
    if coverage.covered is None:
        return False
    near = np.linalg.norm(coverage.points_mm - tip[:3, 3], axis=1) <= HERE_MM
    return bool(near.any() and coverage.covered[near].all())
