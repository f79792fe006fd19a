"""The same session and the same reconstruction on a record, in the order in which everything happened.

The schedule is the record's: which readings a tick took, not when this machine would have found time. Every
map and every focus is compared, bit for bit, with what the live engine wrote down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from navigation.engine import events
from navigation.engine.comparison import NO_RESULT, Comparison, key_of
from navigation.engine.events import EngineEvent
from navigation.engine.imaging import Imager
from navigation.engine.jobs import AnalyzeJob, Job, Outcome, result_content
from navigation.engine.live import SNAPSHOT_S
from navigation.engine.session import Session
from navigation.engine.snapshot import Snapshot
from navigation.engine.view import Viewer
from tracking.errors import GammanavError
from tracking.recording import Event


class ReplayEngine:
    """Runs a session on recorded events, which `tracking.recording.Replay` hands on at any pace."""

    def __init__(
        self,
        session: Session,
        imager: Imager,
        on_snapshot: Callable[[Snapshot], None] = lambda snapshot: None,
        of: str | None = None,
    ) -> None:
        self.session = session
        self.imager = imager
        self.viewer = Viewer(session)
        self.comparison = Comparison()
        self.outcomes: list[Outcome] = []
        self.refused: list[str] = []
        self._on_snapshot = on_snapshot
        self._of = of  # what is told of the record: whoever sees a snapshot must not take it for live
        self._next_snapshot_s = float("-inf")

    def on_event(self, recorded: Event) -> None:
        """Take the next event of the record. Raises what the reconstruction raises."""
        event = EngineEvent(recorded.source, recorded.arrival_s, recorded.kind, recorded.payload)
        self._take(event)
        if event.arrival_s >= self._next_snapshot_s:
            self._next_snapshot_s = event.arrival_s + SNAPSHOT_S
            self._on_snapshot(replace(self.viewer.snapshot(event.arrival_s), rehearsal=self._of))

    def analyze_rest(self) -> None:
        """Analyse the scans that nobody had analysed when the record ended."""
        done = {o.job.basis.scan for o in self.outcomes if o.result is not None}
        for name, scan in self.session.scans.items():
            if name not in done and scan.ticks and self.session.calibration is not None:
                self._run(AnalyzeJob(self.session.basis(scan), len(scan.intervals)))

    def _take(self, event: EngineEvent) -> None:
        if event.kind == events.RESULT:
            content = event.content()
            found = {k: v for k, v in content.items() if k not in NO_RESULT}
            self.comparison.recorded[key_of(content)] = found
            return
        try:
            jobs = self.session.handle(event)
        except GammanavError as error:
            self.refused.append(str(error))
            return
        for job in jobs:
            self._run(job)

    def _run(self, job: Job) -> None:
        try:
            outcome = self.imager.run(job)
        except Exception as error:  # noqa: BLE001 - the case went on without this result, and so does its replay
            self.refused.append(str(error))
            return
        self.viewer.show(outcome)
        self.outcomes.append(outcome)
        self.comparison.replayed[key_of(result_content(outcome))] = outcome.digest
