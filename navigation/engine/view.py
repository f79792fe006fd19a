"""Builds snapshots: the session's state and the newest results, put together for one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.records.record import RecordStamp
from navigation.bed import BedCheck
from navigation.coverage import BedCoverage
from navigation.engine.handwatch import HandWatch
from navigation.engine.imaging import without_absence
from navigation.engine.jobs import Outcome, TickJob
from navigation.engine.lagwatch import LagWatch
from navigation.engine.navigating import navigation_of
from navigation.engine.reach import ReachWatch, reach_of
from navigation.engine.registrations import RegistrationDesk
from navigation.engine.registrationwords import registration_hint
from navigation.engine.saturated import SaturationWatch
from navigation.engine.session import BED, PROBE_TIP, SCAN, SURFACE, Session
from navigation.engine.session import REFERENCE_MOVED as MOVED
from navigation.engine.snapshot import (
    MAP_EXPIRY_S,
    CountState,
    LandmarkState,
    RecorderState,
    Registration,
    ShiftState,
    Snapshot,
    SourceState,
)
from navigation.guidance.expected import Expectation, Expected
from navigation.guidance.handling import Handling
from navigation.registration.activityfile import activity_words
from navigation.volume import ActivityMap, Spot
from tracking.hub import COUNT_EXPIRY_INTERVALS, ClockStats

# Time enough to find another disk before the record ends.
SHORT_OF_ROOM_MIN = 30.0
# A fault is shown this long after it happened.
FAULT_SHOWN_S = 5.0
REFERENCE_MOVED = "the reference has moved: nothing is placed until the registration is confirmed"
ANOTHER_FRAME = "the reference has moved and was registered anew since"
# More alarms of the inputs at one time are not read.
MOST_ALARMS_SHOWN = 3


class Viewer:
    """Holds the newest results (any thread may hand one in) and makes snapshots on the session's thread."""

    def __init__(
        self, session: Session, recorder: Callable[[], RecorderState] = lambda: RecorderState()
    ) -> None:
        self._session = session
        self._recorder = recorder
        self._lock = threading.Lock()
        self._saturation = SaturationWatch()
        self._ids = 0
        self._now_s = 0.0
        self._map: ActivityMap | None = None
        self._map_job: TickJob | None = None
        self._map_scan: str | None = None
        self._map_calibration: tuple[str, str] | None = None
        self._spots: tuple[Spot, ...] = ()
        self._spots_of: tuple[float | None, int | None] = (None, None)
        self._map_revision = 0
        self._coverage: BedCoverage | None = None
        self._bed_check: BedCheck | None = None
        self._bed_scan: str | None = None
        self._bed_revision = 0
        self.lag_watch = LagWatch()
        self._reach_watch = ReachWatch(session.settings.sheath)
        self._hand_watch = HandWatch()
        self._expectation: Expectation | None = None
        self._shift: ShiftState | None = None
        self._told: tuple[tuple[BedCheck | None, str | None], BedCheck | None] | None = None
        self._faults: list[tuple[str, float | None]] = []

    def show(self, outcome: Outcome) -> None:
        """Take a result; an analysis that comes late never replaces the map of a newer scan."""
        with self._lock:
            if outcome.shift is not None:
                self._shift = shift_state(outcome)
            if outcome.bed_check is not None:
                self._bed_check = outcome.bed_check
                self._bed_scan = outcome.job.basis.scan
                self._bed_revision = outcome.job.basis.revision
            if outcome.map is None:
                return
            job = outcome.job
            if isinstance(job, TickJob):
                if job.basis.scan != self._map_scan and self._born_old(job):
                    return
            elif job.basis.scan != self._map_scan:
                return
            self._map, self._spots = outcome.map, outcome.spots
            self._spots_of = (outcome.spots_t_s, outcome.spots_readings)
            self._map_revision = job.basis.revision
            if isinstance(job, TickJob):
                self._coverage, self._expectation = outcome.coverage, outcome.expectation
            self._map_scan = job.basis.scan
            self._map_calibration = id_and_state(job.basis.calibration)
            self._map_job = job if isinstance(job, TickJob) else None

    def _born_old(self, job: TickJob) -> bool:
        """Whether the first map of a scan, which takes longest, is expired already: a newer one follows."""
        arrival = job.newest_arrival_s
        return not job.last and arrival is not None and self._now_s - arrival > MAP_EXPIRY_S

    def fault(self, text: str) -> None:
        """Show a fault for a while."""
        with self._lock:
            self._faults.append((text, None))

    def snapshot(self, now_s: float) -> Snapshot:
        """The state at `now_s` (Unix)."""
        session, recorder = self._session, self._recorder()
        with self._lock:
            self._ids += 1
            self._now_s = now_s
            job, recomputing, locked = self._map_job, self._recomputing(), self._locked()
            shown = self._map if recomputing is None and locked is None else None
            arrival = None if job is None else job.newest_arrival_s
            calibration = id_and_state(session.calibration)
            handling, held = self._held(now_s)
            expected = self._expected(now_s, shown is not None)
            few = self._hand_watch.wanting(expected, self._counts(now_s).rate_cps, now_s)
            return Snapshot(
                id=self._ids,
                t_s=now_s,
                mode=session.mode,
                scan=session.current,
                tools=session.tools.states(now_s),
                counts=self._counts(now_s),
                latency=session.latency,
                sources=self._sources(now_s),
                map=shown,
                map_scan=self._map_scan,
                map_final=shown is not None and (job is None or job.last),
                map_age_s=None if arrival is None or shown is None else now_s - arrival,
                spots=() if shown is None else self._spots,
                spots_t_s=self._spots_of[0],
                spots_readings=self._spots_of[1],
                recomputing=recomputing,
                map_locked=locked,
                bed_check=self._told_bed(session.blocked or self._old_basis_of_bed() or self._lag_of_bed()),
                surface_points=len(session.touched[SURFACE]),
                bed_points=len(session.touched[BED]),
                registration=session.registration,
                calibration_id=calibration[0],
                calibration_state=calibration[1],
                map_calibration=self._map_calibration,
                nuclide=session.settings.nuclide,
                faults=self._current_faults(now_s, recorder),
                simulated=session.settings.simulated,
                tracked=session.settings.tracked,
                recorder=recorder,
                background=session.background.state(now_s),
                hints=(
                    *([] if recomputing is None else [f"recomputing the map: {recomputing}"]),
                    *([] if locked is None else [f"the map of {self._map_scan} is not shown: {locked}"]),
                    *session.background.hints(now_s),
                    *session.timed.hints(),
                    *self._recheck(now_s),
                    *held,
                    *([] if few is None else [few]),
                ),
                tip_check=session.tip_check.state(),
                registration_age_s=self._registration_age(now_s),
                study_id="none" if session.study is None else session.study.id,
                landmarks=landmark_states(session.registrations),
                targets=session.target_desk.states(session.registration.T_study_reference, session.frame),
                shift=self._told_shift(),
                timed=session.timed.state(),
                coverage=None if shown is None else self._told_coverage(),
                navigation=navigation_of(session, () if shown is None else self._spots, now_s),
                removals=session.guidance.marks(),
                handling=handling,
                expected=expected,
            )

    def _registration_age(self, now_s: float) -> float | None:
        """Since a known point was touched, or the registration itself was taken; None without one."""
        session = self._session
        if session.registration.id == "none":
            return None
        since = session.registration.checked_s
        since = session.began_s if since is None else since
        return None if since is None else max(now_s - since, 0.0)

    def _recheck(self, now_s: float) -> list[str]:
        minutes = self._session.settings.recheck_minutes
        session = self._session
        registration, touched = session.registration, session.touched[SURFACE].points_mm
        hint = registration_hint(registration, self._registration_age(now_s), minutes)
        place = (registration.T_study_reference, registration.id, registration.tre_mm)
        odd = None if session.skin is None else session.skin.words(touched, *place)
        return [words for words in (odd, hint) if words is not None]

    def _told_coverage(self) -> BedCoverage | None:
        """The newest coverage, of the bed as it is outlined now."""
        found = self._coverage
        return found if found is not None and found.aim is self._session.guidance.aim else None

    def _told_shift(self) -> ShiftState | None:
        """The newest comparison with the study, while the registration that it was made under holds."""
        shift = self._shift
        if shift is None or shift.registration != self._session.registration.id:
            return None
        scan = self._session.scans.get(shift.scan)
        return None if scan is not None and scan.outdated else shift

    def _elsewhere(self, scan: str | None) -> bool:
        """Whether a scan was made before the reference moved: its places are none of the frame that holds now (H04)."""
        found = self._session.scans.get(scan or "")
        return found is not None and found.frame != self._session.frame

    def _locked(self) -> str | None:
        """Why the map that is there would be shown beside where it belongs; None while it would not."""
        return ANOTHER_FRAME if self._map is not None and self._elsewhere(self._map_scan) else None

    def _recomputing(self) -> str | None:
        """Why the map that is there rests on something else than the scan does by now; None while it does not."""
        scan = self._session.scans.get(self._map_scan or "")
        if scan is None or self._map is None or scan.revision == self._map_revision:
            return None
        return scan.why

    def _old_basis_of_bed(self) -> str | None:
        """Why the bed check rests on something else than its scan does by now."""
        scan = self._session.scans.get(self._bed_scan or "")
        if self._elsewhere(self._bed_scan):
            return f"{ANOTHER_FRAME} this check: scan and check the bed anew"
        if scan is None or scan.revision == self._bed_revision:
            return None
        return f"{scan.why} since this check: check the bed anew"

    def _lag_of_bed(self) -> str | None:
        """What the counts of the scan behind the bed check say against its latency."""
        return "; ".join(self.lag_watch.faults(self._bed_scan)) or None

    def _told_bed(self, blocked: str | None) -> BedCheck | None:
        """The newest bed check as it may be told now: an absence does not outlast the trust in the counts."""
        key = (self._bed_check, blocked)
        if self._told is None or self._told[0][0] is not key[0] or self._told[0][1] != key[1]:
            check = None if key[0] is None else without_absence(key[0], blocked)
            self._told = (key, check)
        return self._told[1]

    def _current_faults(self, now_s: float, recorder: RecorderState) -> tuple[str, ...]:
        stamped = [(text, now_s if since is None else since) for text, since in self._faults]
        self._faults = [(text, since) for text, since in stamped if now_s - since < FAULT_SHOWN_S]
        lost = [name for name in self._session.settings.sources if not self._session.links.get(name, False)]
        registration = self._session.registration
        alarms = [
            a for a in self._session.hub.alarms if a.kind != "gap" and now_s - a.arrival_s < FAULT_SHOWN_S
        ]
        return (
            *_recorder_faults(recorder),
            *(["the registration is restored, unverified"] if registration.unverified else []),
            *_doubtful(registration),
            *([] if self._session.hub.check.moved is None else [REFERENCE_MOVED]),
            *([] if self._session.foreign is None else [self._session.foreign]),
            *([shift.words] if (shift := self._told_shift()) is not None and shift.alarm else []),
            *self._session.tip_check.faults(),
            *self._session.background.faults(),
            *(
                f"{name} is outside the good part of the volume"
                for name in sorted(self._session.hub.places.outside)
            ),
            *(f"{name} is not connected" for name in lost),
            *(alarm.text for alarm in alarms[-MOST_ALARMS_SHOWN:]),
            *self.lag_watch.faults(self._map_scan),
            *(text for text, _ in self._faults),
        )

    def _held(self, now_s: float) -> tuple[Handling | None, list[str]]:
        """While a scan goes over a touched surface: how the probe is held, and what keeps it from seeing (H18)."""
        session = self._session
        scan, tip = (
            session.scans.get(session.current or "") if session.mode == SCAN else None,
            self._tip(now_s),
        )
        if scan is None or scan.surface_mm is None or tip is None:
            return None, []
        response, rate = self._reach_watch.response(session.calibration), self._counts(now_s).rate_cps
        found = reach_of(tip, scan.surface_mm, response, rate)
        handling = self._hand_watch.handling(session, found, response, rate, self._told_coverage())
        if handling is not None and found.distance_mm is not None:
            return handling, list(handling.words)
        return handling, [] if found.words is None else [found.words]

    def _tip(self, now_s: float) -> NDArray[np.float64] | None:
        """(4, 4): the probe's pose, where it may be used."""
        probe = self._session.tools.states(now_s).get(PROBE_TIP)
        return None if probe is None or not probe.valid else probe.matrix

    def _expected(self, now_s: float, shown: bool) -> Expected | None:
        """What the map that is shown says should be counted from where the probe is."""
        live = shown and self._session.mode == SCAN and self._map_scan == self._session.current
        tip = self._tip(now_s) if live else None
        return self._hand_watch.expected(self._expectation if live else None, tip, now_s)

    def _sources(self, now_s: float) -> dict[str, SourceState]:
        session = self._session
        clocks = {clock.source: clock for clock in session.hub.clocks()}
        found = {}
        for name, role in session.settings.sources.items():
            state = SourceState(
                session.links.get(name, False),
                session.messages[name],
                session.hub.refused[name],
                now_s - session.heard_s[name] if name in session.heard_s else None,
                role.clock.value,
            )
            found[name] = _with_clock(state, clocks[name]) if name in clocks else state
        return found

    def _counts(self, now_s: float) -> CountState:
        log, session = self._session.counts, self._session
        age = None if log.arrival_s is None else now_s - log.arrival_s
        expiry = COUNT_EXPIRY_INTERVALS * log.last.interval_s if log.last is not None else 0.0
        fresh = age is not None and age <= expiry
        scan = session.scans.get(session.current or "")
        return CountState(
            log.rate_cps() if fresh else None,
            fresh,
            age,
            log.last.counts_total if log.last else 0.0,
            log.last.live_time_s if log.last else 0.0,
            log.last.seq if log.last else -1,
            log.gaps,
            log.missing,
            log.restarts,
            scan.placed if scan else 0,
            scan.unplaced if scan else 0,
            fresh and self._saturation.look(log.last, session.calibration, session.settings.dead_time_s),
        )


def landmark_states(desk: RegistrationDesk) -> tuple[LandmarkState, ...]:
    """Those of the study, and which of them were touched."""
    touched, marked = dict(desk.landmarks), dict(desk.marked)
    return tuple(
        LandmarkState(n, n in touched, (float(p[0]), float(p[1]), float(p[2]))) for n, p in marked.items()
    )


def _doubtful(registration: Registration) -> list[str]:
    doubt = registration.doubt
    return [] if doubt is None or doubt == MOVED else [f"the registration is doubtful: {doubt}"]


def shift_state(outcome: Outcome) -> ShiftState | None:
    """What is shown of a comparison with the study."""
    found, basis = outcome.shift, outcome.job.basis
    if found is None:
        return None
    known = found.determined
    return ShiftState(
        basis.scan,
        basis.registration,
        found.alarm,
        activity_words(found),
        found.T_seen_believed,
        found.length_mm if known else None,
        found.length_ci95_mm if known else None,
    )


def id_and_state(calibration: Mapping[str, Any] | None) -> tuple[str, str]:
    """Of a calibration's content, "none" where there is none."""
    if not calibration:
        return "none", "none"
    stamp = RecordStamp.of(calibration, "unnamed")
    return stamp.id, stamp.state


def _recorder_faults(recorder: RecorderState) -> list[str]:
    faults = []
    if recorder.fault is not None:
        faults.append(f"NOT RECORDED: {recorder.fault}, {recorder.lost} events lost")
    if recorder.minutes_left is not None and recorder.minutes_left < SHORT_OF_ROOM_MIN:
        faults.append(f"the disk has room for {recorder.minutes_left:.0f} minutes of recording")
    return faults


def _with_clock(state: SourceState, clock: ClockStats) -> SourceState:
    return replace(
        state,
        offset_s=clock.offset_s,
        offset_uncertainty_s=clock.uncertainty_s,
        drift_ppm=clock.drift_ppm,
        clock_steps=clock.steps,
        clock_judged=clock.judging,
    )
