"""The count latency watched while a scan goes on: what its counts say against the calibrated one, told once (H06).

The verdict is part of a job's outcome, a function of the readings alone; so a replay comes to the same.
"""

from __future__ import annotations

from navigation.engine.jobs import Outcome, TickJob
from tracking.hub import Alarm

LATENCY = "latency"
REJECTED = "nothing is said to be absent: measure the latency anew by a sweep round a source"


class LagWatch:
    """Turns outcomes into one alarm a scan, and holds the words while that scan is looked at."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def take(self, outcome: Outcome, now_s: float) -> Alarm | None:
        """The alarm that an outcome gives rise to, if any; a contradiction that more counts undo is taken back."""
        job = outcome.job
        if not isinstance(job, TickJob) or outcome.map is None:
            return None
        scan, lag = job.basis.scan, outcome.lag
        if lag is None or not lag.alarms:
            self._told.pop(scan, None)
            return None
        new = scan not in self._told
        self._told[scan] = f"{lag.words}; {REJECTED}"
        return Alarm(now_s, LATENCY, f"{scan}: {self._told[scan]}") if new else None

    def faults(self, scan: str | None) -> tuple[str, ...]:
        """What is to be shown while `scan` is on the screen."""
        words = None if scan is None else self._told.get(scan)
        return () if words is None else (words,)
