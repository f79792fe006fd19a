"""The case as a state machine: events in, jobs for the reconstruction out, and nothing else happens here.

Its state depends on the sequence of events alone, never on a clock, a thread or a result; so a record of the
sequence, played back, asks for the same jobs with the same numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

import numpy as np

from calibration.gates import gates_of
from calibration.records.record import require_usable
from navigation.bed import Bed
from navigation.engine import events
from navigation.engine.contamination import AWAY_MM, BackgroundWatch
from navigation.engine.events import EngineEvent
from navigation.engine.guidancedesk import GuidanceDesk
from navigation.engine.jobs import AnalyzeJob, BedJob, Job, ScanBasis, TickJob
from navigation.engine.journal import Journal
from navigation.engine.outliner import Outliner
from navigation.engine.probewatch import ProbeWatch
from navigation.engine.registrationcommands import RegistrationCommands
from navigation.engine.registrations import RegistrationDesk
from navigation.engine.scans import ScanState
from navigation.engine.settings import Settings
from navigation.engine.skinwatch import SkinWatch
from navigation.engine.snapshot import LatencyState, Registration
from navigation.engine.specimendesk import SpecimenDesk
from navigation.engine.surface import expected_poses, surface_after
from navigation.engine.targetdesk import TargetDesk
from navigation.engine.timeddesk import TimedDesk
from navigation.engine.tipcheck import TipWatch
from navigation.engine.tools import PROBE, Floats, ToolDesk
from navigation.engine.touch import TouchedPoints
from navigation.schedule import LAST_WORK, Work
from navigation.studymodel import StudyModel
from tracking.counts import CountInterval
from tracking.errors import GateRefusedError, InputError
from tracking.hub import Alarm, Hub

IDLE, SCAN, SWEEP, SURFACE, BED = "idle", "scan", "sweep", "surface", "bed"
BACKGROUND = "background"
DIVOT = "divot"
REFERENCE_MOVED = "the reference has moved"
NO_TRACKER = "the case has no tracker: it takes timed counts (`count`), and places nothing"
READING = (SCAN, SWEEP)
PROBE_TIP = "ProbeTipToReference"
TOUCHING = (SURFACE, BED)
# What else lies in the folder of a case: the record with its log, results, pictures, what the demonstration began with.
RESERVED = re.compile(
    r"record\.gnav|.*\.(json|html|pdf|png)$|(pictures|tables|dicom|study|setup)$", re.IGNORECASE
)


class Session:
    """The mutable case. `handle` takes the next event and returns the jobs it gives rise to."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hub = Hub({name: role.inputs for name, role in settings.sources.items()})
        self.tools = ToolDesk(settings.tips, self.hub)
        self.counts = self.hub.counts
        self.mode = IDLE
        self.scans: dict[str, ScanState] = {}
        self.current: str | None = None
        self.touched = {SURFACE: TouchedPoints(), BED: TouchedPoints()}
        self.calibration = settings.calibration
        self.latency = settings.latency
        self.registrations = RegistrationDesk(settings.registration, settings.landmarks)
        self.study = settings.study
        self.skin = _skin_of(settings.study)
        self.target_desk = TargetDesk(settings.study)
        self.messages: Counter[str] = Counter()
        self.heard_s: dict[str, float] = {}
        self.links: dict[str, bool] = {}
        self.background = BackgroundWatch(settings.nuclide, settings.background_minutes)
        self.journal = Journal()
        self.tip_check = TipWatch(settings.tips, gates_of(settings.gates, "gates").tracker)
        self.frame = 0  # counts the places that the reference marker had on the patient
        self.began_s: float | None = None
        self._probe = ProbeWatch({"nuclide": settings.nuclide, **settings.stated})
        self.asked_s = 0.0
        self._last_alarm: Alarm | None = None
        self._commands: dict[str, Callable[[dict[str, Any]], list[Job]]] = {
            "start": self._start,
            "stop": self._stop,
            "points": self._points,
            "calibration": self._use_calibration,
            "latency": self._use_latency,
            "background": self._count_background,
            "explain_background": self._explain_background,
            "study": self._use_study,
            "target_add": self._add_target,
            "target_end": self._end_target,
            "acknowledge": self._acknowledge,
            "analyze": self._analyze,
            "check_bed": self._check_bed,
        }
        self._commands |= RegistrationCommands(self).words
        self.timed = TimedDesk(self)
        self._commands |= self.timed.words
        self.guidance = GuidanceDesk(self)
        self.outliner = Outliner(self)
        self._commands |= self.guidance.words | self.outliner.words
        self.specimens = SpecimenDesk(self)
        self._commands |= self.specimens.words
        if settings.surface_mm is not None:
            self.touched[SURFACE].replace(settings.surface_mm)

    def handle(self, event: EngineEvent) -> list[Job]:
        """Take one event. Raises InputError for a command that makes no sense now and changes nothing."""
        if self.began_s is None:
            self.began_s = event.arrival_s
        if event.kind == events.RAW:
            self._take_raw(event)
        elif event.kind == events.LINK:
            self.links[event.source] = bool(event.content()["connected"])
        elif event.kind == events.COMMAND:
            self.asked_s = event.arrival_s
            return self._command(event.content())
        elif event.kind == events.TICK:
            return self._tick(event.content())
        elif event.kind == events.NOTICE:
            self.journal.take(event.content(), event.arrival_s)
        elif event.kind == events.RESUME:
            self._resume()
            self.timed.interrupt(event.arrival_s)
        return []

    def new_alarms(self) -> list[Alarm]:
        """What the inputs gave cause to tell since this was asked last, in order."""
        alarms = self.hub.alarms
        news = list(takewhile(lambda alarm: alarm is not self._last_alarm, reversed(alarms)))
        self._last_alarm = alarms[-1] if alarms else None
        return news[::-1]

    def rejoin(self) -> None:
        """The streams go on after a hole: what they sent in between is unknown, not lost on the way."""
        self.hub.rejoin()

    def _resume(self) -> None:
        """After a crash nobody has seen whether the patient stayed where they were."""
        self.hub.resume()
        self.links.clear()
        self.registrations.restore()
        self.outdate_scans()
        running = self._running
        if running is not None and running.scheduled:
            running.renew("the case went on after a crash")

    @property
    def _running(self) -> ScanState | None:
        """The scan that is going on."""
        return self.scans[self.current] if self.mode == SCAN and self.current is not None else None

    def renew(self, why: str, replace_all: bool = False, **basis: Any) -> list[Job]:
        """Begin the newest scan anew where it rests on what has changed: it goes on, or is not analysed yet.

        Scans before it keep what they were made with. In records of before ticks were scheduled nothing is begun anew.
        """
        scan = self.scans.get(self.current or "")
        if scan is None or not scan.scheduled or scan.analyzed:
            return []
        for name, value in basis.items():
            setattr(scan, name, value)
        scan.renew(why, replace_all)
        return [self._batch(scan, LAST_WORK)] if scan.ended else []

    def scan(self, name: str) -> ScanState:
        """The scan of that name. Raises InputError if there is none."""
        if name not in self.scans:
            raise InputError(f"there is no scan {name!r}")
        return self.scans[name]

    def basis(self, scan: ScanState) -> ScanBasis:
        """What the reconstruction of a scan rests on. Raises InputError without a calibration."""
        calibration = self.calibration if scan.calibration is None else scan.calibration
        if calibration is None:
            raise InputError("no detector calibration is loaded")
        settings, latency = self.settings, scan.latency or self.latency
        registration = scan.registration or self.registration
        return ScanBasis(
            scan.name,
            calibration,
            settings.nuclide,
            scan.surface_mm,
            scan.expected_poses,
            scan.latency_s,
            latency.ci95_s,
            settings.dead_time_s,
            settings.simulated,
            settings.injection,
            settings.epoch_s,
            self._probe.stated(self.counts.told),
            settings.records,
            self.began_s,
            sheath=settings.sheath,
            latency_determined=latency.determined,
            grid=settings.grid,
            revision=scan.revision,
            study=self.study,
            T_study_reference=registration.T_study_reference,
            registration=registration.id,
        )

    @property
    def foreign(self) -> str | None:
        """Why the counts that come in are not used: they are of another probe, nuclide or window."""
        return self._probe.foreign(self.counts.told, self.calibration)

    @property
    def stated(self) -> dict[str, Any]:
        """What case and counter say of nuclide, window, probe and collimator."""
        return self._probe.stated(self.counts.told)

    def _take_raw(self, event: EngineEvent) -> None:
        self.messages[event.source] += 1
        self.heard_s[event.source] = event.arrival_s
        settled = self._ours(self.hub.handle(event.source, event.arrival_s, event.payload))
        self._background_counts(settled, event.arrival_s)
        self.timed.take(settled, event.arrival_s)
        if settled and self.mode in READING and self.current is not None:
            self.scans[self.current].take(settled)
        if self.mode in TOUCHING and self.settings.continuous_touch and self.outliner.moved():
            self.outliner.touch()
        self.tip_check.take(self.tools)

    def _ours(self, settled: tuple[CountInterval, ...]) -> tuple[CountInterval, ...]:
        """The intervals, unless another counter sent them: those stay in the record alone (H11, H13)."""
        if not settled or self.foreign is None:
            return settled
        if self.mode in READING and self.current is not None:
            self.scans[self.current].foreign += len(settled)
        return ()

    def _background_counts(self, settled: tuple[CountInterval, ...], arrival_s: float) -> None:
        """Counts of a background check; how it ends is told."""
        words = self.background.take(settled, arrival_s) if settled or self.background.counting else None
        if self.mode == BACKGROUND and not self.background.counting:
            self.mode = IDLE
        if words is not None:
            self.hub.alarms.append(Alarm(arrival_s, "background", words))

    def _command(self, content: dict[str, Any]) -> list[Job]:
        word = content.get("do")
        if word not in self._commands:
            raise InputError(f"unknown command {word!r}")
        was = {"was": self.mode, "running": self.current if self.mode in READING else ""}
        try:
            jobs = self._commands[word](content)
            self.journal.mark({**content, **was}, self.asked_s)
            return jobs
        except (KeyError, TypeError) as error:
            raise InputError(f"command {word!r}: {error!r} is missing or wrong") from error

    def _start(self, content: dict[str, Any]) -> list[Job]:
        mode = str(content["mode"])
        jobs: list[Job] = []
        if not self.settings.tracked:
            raise InputError(NO_TRACKER)
        if mode in READING:
            name = _scan_name(content["name"])
            if name in self.scans:
                raise InputError(f"there is a scan {name!r} already")
            if mode == SCAN and self.calibration is None:
                raise InputError("no detector calibration is loaded")
            if self.foreign is not None:
                raise GateRefusedError(self.foreign)
            jobs = self._stop({})
            self.scans[name] = ScanState(
                name,
                self.settings.epoch_s,
                self.counts.newest_t_s,
                self.latency.count_latency_s,
                *self._surface(),
                frame=self.frame,
                calibration=self.calibration,
                latency=self.latency,
                registration=self.registration,
            )
            self.current = name
        elif mode in TOUCHING:
            self.outliner.begin(content)
            jobs = self._stop({})
        elif mode == DIVOT:
            self.tip_check.require(content)
            jobs = self._stop({})
            self.tip_check.begin(content, self.tools)
        else:
            raise InputError(f"unknown mode {mode!r}")
        self.mode = mode
        return jobs

    def _stop(self, _content: dict[str, Any]) -> list[Job]:
        mode, self.mode = self.mode, IDLE
        wrong = self.tip_check.end(self.asked_s)
        if wrong is not None:
            self.hub.alarms.append(Alarm(self.asked_s, "tip", wrong))
        self.background.give_up()
        if mode not in READING or self.current is None:
            return []
        scan = self.scans[self.current]
        scan.take(self._flushed(scan))
        scan.end(self.tools)
        return [self._batch(scan, LAST_WORK if scan.scheduled else None)] if mode == SCAN else []

    def _flushed(self, scan: ScanState) -> tuple[CountInterval, ...]:
        """What still waited for an earlier sample."""
        last = self.counts.flush()
        if self.foreign is None:
            return last
        scan.foreign += len(last)
        return ()

    def _tick(self, content: dict[str, Any]) -> list[Job]:
        work = content.get("work")
        scan = self.scan(str(content["scan"]))
        scan.scheduled |= work is not None
        return [self._batch(scan, None if work is None else Work.from_json(work))]

    def _batch(self, scan: ScanState, work: Work | None = None) -> TickJob:
        batch = scan.handed_out(scan.settle(self.tools, final=scan.ended))
        scan.ticks += 1
        aim = None if work is None else self.guidance.aim
        return TickJob(self.basis(scan), scan.ticks, batch, scan.newest_arrival_s, scan.ended, work, aim)

    def _points(self, content: dict[str, Any]) -> list[Job]:
        what = content["what"]
        if what not in self.touched:
            raise InputError(f"points are of {SURFACE} or {BED}, not {what!r}")
        self.touched[what].replace(np.array(content["points_mm"], dtype=np.float64))
        if what != SURFACE or self._running is None:
            return []
        surface, expected = self._surface()
        return self.renew("the surface has changed", surface_mm=surface, expected_poses=expected)

    def _use_calibration(self, content: dict[str, Any]) -> list[Job]:
        probe = dict(content["probe"])
        require_usable(probe, "the calibration", datetime.fromtimestamp(self.asked_s, UTC).date())
        self._probe.require(probe)
        self.calibration = probe
        return self.renew("the calibration has changed", calibration=probe)

    def _use_latency(self, content: dict[str, Any]) -> list[Job]:
        if float(content["count_latency_s"]) < 0.0:
            raise InputError("a negative count latency: the tracker's stamps are later than the counter's")
        ci95 = content.get("ci95_s")
        interval = None if ci95 is None else (float(ci95[0]), float(ci95[1]))
        found = LatencyState(float(content["count_latency_s"]), interval, bool(content["determined"]))
        self.latency = found
        return self.renew(
            "the count latency has changed", True, latency_s=found.count_latency_s, latency=found
        )

    @property
    def registration(self) -> Registration:
        """The one that holds; doubtful while the reference is not where it was."""
        found = self.registrations.current
        return found if self.hub.check.moved is None else replace(found, doubt=REFERENCE_MOVED)

    def _use_study(self, content: dict[str, Any]) -> list[Job]:
        """The study of the case, imported while it goes on; targets that have been added stay."""
        study = StudyModel.from_json(content["study"])
        self.target_desk.use(study)
        if self.study is not None and self.study.id != study.id:
            self.registrations.marked.clear()  # places of another study
        self.study, self.skin = study, _skin_of(study)
        return self.renew("the study has come")

    def _add_target(self, content: dict[str, Any]) -> list[Job]:
        self.target_desk.add(content, self.registration.T_study_reference, self.frame)
        return []

    def _end_target(self, content: dict[str, Any]) -> list[Job]:
        self.target_desk.end(content, self.asked_s)
        return []

    def leave_frame(self) -> None:
        """The reference has moved: what was touched before lies elsewhere in its frame now (H04)."""
        self.frame += 1
        self.outdate_scans()
        self.touched = {SURFACE: TouchedPoints(), BED: TouchedPoints()}

    def outdate_scans(self) -> None:
        """Where the scans saw the activity is not where it is: the reference or the patient may have moved."""
        for scan in self.scans.values():
            scan.outdated = True

    def _count_background(self, content: dict[str, Any]) -> list[Job]:
        """A timed count away from everything; the counter's next intervals are it."""
        self.timed.require_idle()
        if self.mode not in (IDLE, BACKGROUND):
            raise InputError(
                f"stop {self.current or self.mode} first: a background is counted with the probe away"
            )
        surface, probe = self.touched[SURFACE].points_mm, self.tools.states(self.asked_s).get(PROBE_TIP)
        if surface is not None and probe is not None and probe.valid and probe.matrix is not None:
            near = float(np.linalg.norm(surface - probe.matrix[:3, 3], axis=1).min())
            if near < AWAY_MM and content.get("kind") != "patient":
                raise InputError(
                    f"the probe is {near:.0f} mm from the patient: hold it {AWAY_MM:.0f} mm away"
                )
        self.background.begin(content, self.counts.newest_t_s, self.asked_s)
        self.mode = BACKGROUND
        return []

    def _explain_background(self, content: dict[str, Any]) -> list[Job]:
        self.background.explain(content)
        return []

    def _acknowledge(self, content: dict[str, Any]) -> list[Job]:
        self.journal.acknowledge(content, self.asked_s)
        return []

    def _analyze(self, content: dict[str, Any]) -> list[Job]:
        scan = self.scan(str(content["scan"]))
        scan.analyzed = True
        basis = self.basis(scan)
        asked = self.target_desk.asked(basis.T_study_reference, self.registration.tre_mm)
        return [AnalyzeJob(basis, len(scan.intervals) + scan.foreign, asked)]

    def _check_bed(self, content: dict[str, Any]) -> list[Job]:
        scan = self.scan(str(content["scan"]))
        points = self.touched[BED].points_mm
        if points is None:
            raise InputError("no bed is outlined")
        bed = Bed(points, float(content["depth_mm"]))
        before = content.get("before")
        for name in (scan.name, before):
            if name is not None and self.scan(str(name)).frame != self.frame:
                raise InputError(f"the reference was moved after {name}: it cannot be compared with this bed")
        return [
            BedJob(
                self.basis(scan),
                bed,
                float(content["threshold_kbq"]),
                float(content["confidence"]),
                before,
                self.blocked,
                self.specimens.newest,
            )
        ]

    @property
    def blocked(self) -> str | None:
        """Why nothing may be said to be absent."""
        return self.background.blocked or self.tip_check.blocked or self.foreign or self._misplaced

    @property
    def _misplaced(self) -> str | None:
        """Why nothing that rests on the study's place may be told as absent."""
        found = self.registration
        if self.study is None or not (found.unverified or (found.id != "none" and found.doubt is not None)):
            return None
        return f"the registration of the study is {found.state}"

    def _surface(self) -> tuple[Floats | None, Floats | None]:
        """The touched surface as it is now, and the poses from which the probe will look at it."""
        surface = surface_after(self.touched[SURFACE].points_mm, self.touched[BED].points_mm)
        probe = self.tools.newest(PROBE)
        if surface is None or probe is None:
            return surface, None
        return surface, expected_poses(surface, probe[:3, 3])


def _skin_of(study: StudyModel | None) -> SkinWatch | None:
    return None if study is None or study.tissue is None else SkinWatch(study.tissue)


def _scan_name(value: object) -> str:
    """A scan's name, which becomes that of a folder. Raises InputError when it cannot."""
    name = str(value)
    if name in ("", ".", "..") or "/" in name or not name.isprintable() or RESERVED.match(name):
        raise InputError(f"the scan name {name!r} cannot be that of a folder of its own")
    return name
