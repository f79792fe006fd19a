"""The operating room over time: who holds which tool where, what is cut, and the true count rate at every
moment.

Times are seconds since the reference time. Phases are commanded one after the other; the past stays as it
was, so that a counter that reports late still sees the path of then.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from navigation.simulate import hand
from navigation.simulate.chance import stream
from navigation.simulate.collimator import ProbeHead
from navigation.simulate.course import QUIET, Course
from navigation.simulate.detector import Detector
from navigation.simulate.hand import Path
from navigation.simulate.rates import RateModel
from navigation.simulate.scenes import DEAD_TIME_S, HALF_LIFE_S, Patient, Scene
from tracking.errors import InputError

Array = NDArray[np.float64]

# Nominal lengths of the phases; `scan` and `rescan` may carry a number (scan-1).
PHASES_S = {
    "sweep": 7.0,
    "touch": 5.0,
    "landmarks": 12.0,
    "scan": 30.0,
    "resect": 0.0,
    "touch-bed": 5.0,
    "rescan": 20.0,
}
STYLUS_PHASES = ("touch", "touch-bed", "landmarks")
OCCLUSION_S = (0.3, 1.0)
# Points of an interval at which the rate of the sources, their tissue and the smooth background are
# evaluated.
SOURCE_STEPS, PATH_POSES, BACKGROUND_STEPS = 8, 3, 2
PROBE_PARK, STYLUS_PARK = np.array([130.0, -60.0, 90.0]), np.array([-130.0, -80.0, 80.0])

_detectors: dict[ProbeHead, Detector] = {}


def detector_of(head: ProbeHead) -> Detector:
    """The head's tables, integrated once in a process."""
    if head not in _detectors:
        _detectors[head] = Detector.of(head)
    return _detectors[head]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that starts or stops, for whoever drives the room: phases and, in `landmarks`, each rest
    of the stylus.
    """

    t_s: float
    phase: str
    action: str  # "start" | "stop" | "dwell-start" | "dwell-stop"
    name: str | None = None


@dataclass(slots=True, eq=False)
class _History:
    """What held from when on."""

    since_s: list[float] = field(default_factory=list)
    what: list[Path] = field(default_factory=list)

    def add(self, t_s: float, path: Path) -> None:
        self.since_s.append(t_s)
        self.what.append(path)

    def poses(self, t_s: Array) -> Array:
        """(n, 4, 4), body frame."""
        poses = np.empty((len(t_s), 4, 4))
        which = np.maximum(np.searchsorted(self.since_s, t_s, side="right") - 1, 0)
        for k in np.unique(which):
            here = which == k
            poses[here] = self.what[k].at(t_s[here] - self.since_s[k])
        return poses


def kind_of(phase: str) -> str:
    """The kind of a phase name: scan-1 is a scan, scan-2 too.

    Raises InputError for a name of no kind.
    """
    kind = phase.rstrip("0123456789").rstrip("-")
    if kind not in PHASES_S:
        raise InputError(f"phase {phase!r}: not one of {', '.join(PHASES_S)}")
    return kind


class OperatingRoom:
    """One scene played from `start_s` on; commands must come in the order of time."""

    # Whether table and camera sway, and which share of the devices' full noise the tracker has here.
    sways = True
    noise_share = 1.0

    def __init__(self, scene: Scene, start_s: float = 0.0, course: Course = QUIET) -> None:
        self.scene = scene
        self.course = course
        self.model = RateModel(detector_of(scene.equipment.head), scene.equipment.mismatch)
        self.occlusions: list[tuple[str, float, float]] = []
        self._probe, self._stylus = _History(), _History()
        self._probe.add(start_s, hand.resting(PROBE_PARK))
        self._stylus.add(start_s, hand.resting(STYLUS_PARK))
        self._resected_s: float | None = None
        self._resected = scene.patient.resected()
        self._source_out: list[tuple[float, float]] = []
        self._commands = 0

    def patient_at(self, t_s: float) -> Patient:
        """The patient as cut at that time."""
        cut = self._resected_s is not None and t_s >= self._resected_s
        return self._resected if cut else self.scene.patient

    def command(self, phase: str, t_s: float, duration_s: float | None = None) -> list[Event]:
        """Start a phase at t; returns all events it will bring, the stop included.

        Raises InputError for an unknown phase, a bad duration, or touch-bed before resect.
        """
        kind = kind_of(phase)
        length = PHASES_S[kind] if duration_s is None else duration_s
        if kind != "resect" and not 0.5 <= length <= 3600.0:
            raise InputError(f"phase {phase}: duration {length} s is not within 0.5 to 3600 s")
        self._commands += 1
        events = [Event(t_s, phase, "start")]
        if kind == "resect":
            self._resected_s = t_s if self._resected_s is None else self._resected_s
            length = 0.0
        else:
            events += self._move(kind, phase, t_s, length)
        return [*events, Event(t_s + length, phase, "stop")]

    def _move(self, kind: str, phase: str, t_s: float, length_s: float) -> list[Event]:
        rng = stream(self.scene.seed, self.scene.name, "hand", phase, str(self._commands))
        patient = self.patient_at(t_s)
        if kind == "touch-bed" and patient.body.cavity is None:
            raise InputError("phase touch-bed: nothing has been resected yet")
        if kind == "sweep":
            self._source_out.append((t_s, t_s + length_s))
        lead = min(hand.LEAD_S, hand.LEAD_SHARE * length_s)
        events: list[Event] = []
        if kind == "landmarks":
            path = self._landmarks(phase, t_s + lead, length_s - lead, events)
        else:
            path = self._path(kind, patient, length_s - lead, rng)
        self._take(kind in STYLUS_PHASES, path, t_s, lead)
        self._occlude(kind, t_s, length_s, rng)
        return events

    def _landmarks(self, phase: str, t_s: float, length_s: float, events: list[Event]) -> Path:
        def rest(i: int, start_s: float, stop_s: float) -> None:
            events.append(Event(t_s + start_s, phase, "dwell-start", f"F{i + 1}"))
            events.append(Event(t_s + stop_s, phase, "dwell-stop", f"F{i + 1}"))

        return hand.dwell(self.scene.patient.fiducials, length_s, rest)

    def _path(self, kind: str, patient: Patient, length_s: float, rng: np.random.Generator) -> Path:
        body, centre = patient.body, patient.scan_centre
        if kind == "sweep":
            return hand.sweep(self.scene.equipment.check_source.centre, length_s, rng)
        if kind == "touch":
            return hand.touch(body, centre, length_s, rng)
        if kind == "touch-bed":
            return hand.touch_bed(body, length_s, rng)
        if body.cavity is not None:
            return hand.scan_bed(body, length_s, rng)
        return hand.scan(body, centre, hand.SCAN_HALF_MM, length_s, rng)

    def _take(self, stylus: bool, path: Path, t_s: float, lead_s: float) -> None:
        """One tool goes to work, the other is put away."""
        working, idle = (self._stylus, self._probe) if stylus else (self._probe, self._stylus)
        park = hand.resting(PROBE_PARK if stylus else STYLUS_PARK)
        now = np.array([t_s])
        working.add(t_s, hand.approached(working.poses(now)[0], path, lead_s))
        idle.add(t_s, hand.approached(idle.poses(now)[0], park, hand.LEAD_S))

    def _occlude(self, kind: str, t_s: float, length_s: float, rng: np.random.Generator) -> None:
        if kind not in ("scan", "rescan"):
            return
        for part in range(self.scene.occlusions):
            share = length_s / self.scene.occlusions
            lost = min(rng.uniform(*OCCLUSION_S), 0.5 * share)
            begin = t_s + part * share + rng.uniform(0.1, 0.9) * (share - lost)
            tool = "Reference" if rng.random() < 0.2 else "Probe"
            self.occlusions.append((tool, float(begin), float(begin + lost)))

    def hidden(self, tool: str, t_s: float) -> bool:
        """Whether the tracker cannot see the tool's marker."""
        return any(tool == name and begin <= t_s < end for name, begin, end in self.occlusions)

    def probe_in_body(self, t_s: Array) -> Array:
        """True tip poses (n, 4, 4)."""
        return self._probe.poses(t_s)

    def stylus_in_body(self, t_s: Array) -> Array:
        """True tip poses (n, 4, 4); the tip rests on the skin, and goes with it."""
        poses = self._stylus.poses(t_s)
        if self.course.slides:
            poses[:, :3, 3] += self.course.slid_mm(t_s, self._resected_s)
        return poses

    def probe_in_tissue(self, t_s: Array) -> Array:
        """True tip poses (n, 4, 4) against the body as it lies at each time: it slides under the probe."""
        poses = self.probe_in_body(t_s)
        if self.course.slides:
            poses = poses.copy()
            poses[:, :3, 3] -= self.course.slid_mm(t_s, self._resected_s)
        return poses

    def rate_cps(self, t_s: Array) -> Array:
        """True rates (n,) at times (n,) close together, decayed, before dead time."""
        patient = self.patient_at(float(t_s.mean()))
        tips = self.probe_in_tissue(t_s)
        sources = [*patient.lesions, *patient.others]
        middle = float(t_s.mean())
        if any(begin <= middle < end for begin, end in self._source_out):
            sources.append(self.scene.equipment.check_source)
        rate = self.model.of_sources(sources, patient.body, tips, PATH_POSES)
        some = np.linspace(0, len(tips) - 1, BACKGROUND_STEPS).round().astype(np.int64)
        quiet = self.model.of_background(patient.background, patient.body, tips[some])
        rate = rate + np.interp(np.arange(len(tips)), some, quiet)
        return np.asarray(rate * 0.5 ** (t_s / HALF_LIFE_S) * self.scene.equipment.mismatch.gain(t_s))

    def expected_counts(self, begin_s: float, end_s: float) -> float:
        """Mean counts of an interval: the non-paralysable rate r / (1 + r tau), integrated along the path."""
        t = begin_s + (np.arange(SOURCE_STEPS) + 0.5) / SOURCE_STEPS * (end_s - begin_s)
        rate = self.rate_cps(t)
        return float((rate / (1.0 + rate * DEAD_TIME_S)).mean() * (end_s - begin_s))

    def forget_before(self, t_s: float) -> None:
        """Drop history that nobody asks for any more: a long session stays small."""
        for history in (self._probe, self._stylus):
            keep = max(bisect_right(history.since_s, t_s) - 1, 0)
            del history.since_s[:keep], history.what[:keep]
        self.occlusions = [o for o in self.occlusions if o[2] > t_s]
        self._source_out = [s for s in self._source_out if s[1] > t_s]
