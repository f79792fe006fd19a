"""The two simulated instruments: a tracker with noisy markers and a counter that reports late.

Both only measure what the room holds; times are seconds since the reference time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.simulate.chance import rigid, small_rotation, stream
from navigation.simulate.course import CHECK_PLACE_MM
from navigation.simulate.room import OperatingRoom
from navigation.simulate.scenes import NUCLIDE, PROBE_SERIAL, WINDOW_KEV
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

TRACKER_HZ = 60.0
COUNT_INTERVAL_S = 0.1
JITTER_S = 0.004  # mean of the one-sided, exponential jitter of the counter's stamps
SLOW_SHARE, SLOW_TAU_S = 0.3, 1.5  # share of the noise's variance that is correlated, and for how long
# RMS over all three axes. The patient's reference body carries more and wider-spaced markers than the tools.
TOOL_NOISE_MM, TOOL_NOISE_DEG = 0.25, 0.3
REFERENCE_NOISE_MM, REFERENCE_NOISE_DEG = 0.1, 0.1


@dataclass(slots=True, eq=False)
class _Noise:
    """White plus slowly varying error of a marker, six components."""

    rng: np.random.Generator
    mm: float
    deg: float
    slow: Array
    t_s: float | None = None

    @staticmethod
    def of(rng: np.random.Generator, mm: float, deg: float) -> _Noise:
        return _Noise(rng, mm, deg, rng.normal(size=6))

    def at(self, t_s: float) -> Array:
        """(4, 4) error, to be applied in the marker's own frame; times must rise."""
        if self.t_s is not None:
            kept = np.exp(-max(t_s - self.t_s, 0.0) / SLOW_TAU_S)
            self.slow = kept * self.slow + np.sqrt(1 - kept**2) * self.rng.normal(size=6)
        self.t_s = t_s
        error = np.sqrt(SLOW_SHARE) * self.slow + np.sqrt(1 - SLOW_SHARE) * self.rng.normal(size=6)
        error /= np.sqrt(3.0)
        return rigid(small_rotation(np.radians(self.deg * error[:3])), self.mm * error[3:])


class Tracker:
    """Measures ProbeToTracker, ReferenceToTracker and StylusToTracker; the table and the camera sway a
    little.
    """

    def __init__(self, room: OperatingRoom, label: str = "tracker") -> None:
        scene = room.scene
        self.room = room
        self._tools = {
            "Probe": invert_rigid(scene.equipment.T_probe_probetip),
            "Stylus": invert_rigid(rigid(np.eye(3), scene.equipment.stylus_tip_mm)),
        }
        self._noise = {
            tool: _Noise.of(
                stream(scene.seed, scene.name, label, tool), room.noise_share * mm, room.noise_share * deg
            )
            for tool, mm, deg in (
                ("Probe", TOOL_NOISE_MM, TOOL_NOISE_DEG),
                ("Reference", REFERENCE_NOISE_MM, REFERENCE_NOISE_DEG),
                ("Stylus", TOOL_NOISE_MM, TOOL_NOISE_DEG),
                *((("Check", REFERENCE_NOISE_MM, REFERENCE_NOISE_DEG),) if room.course.check_marker else ()),
            )
        }
        rng = stream(scene.seed, scene.name, "sway")
        self._sway_period_s, self._sway_phase = rng.uniform(7.0, 40.0, 6), rng.uniform(0, 2 * np.pi, 6)
        self._sway_size = room.sways * np.array([0.0015, 0.0015, 0.0015, 1.2, 1.2, 1.2])

    def reference_in_tracker(self, t_s: float) -> Array:
        """True `T_tracker_reference` (4, 4) of the patient, wherever the marker was pushed to."""
        s = self._sway_size * np.sin(2 * np.pi * t_s / self._sway_period_s + self._sway_phase)
        still = self.room.scene.equipment.T_tracker_reference @ rigid(small_rotation(s[:3]), s[3:])
        return np.asarray(still if self.room.course.table_s is None else still @ self.room.course.table(t_s))

    def measure(self, t_s: float) -> tuple[PoseSample, ...]:
        """All tools at t; a hidden one is OUT_OF_VIEW with an identity matrix. Times must rise."""
        T_tracker_reference = self.reference_in_tracker(t_s)
        T_tracker_body = T_tracker_reference @ self.room.scene.patient.T_reference_body
        at = np.array([t_s])
        tips = {"Probe": self.room.probe_in_body(at)[0], "Stylus": self.room.stylus_in_body(at)[0]}
        course = self.room.course
        marker = T_tracker_reference if course.bump_s is None else T_tracker_reference @ course.bump(t_s)
        true: dict[str, Array | None] = {"Probe": None, "Reference": marker, "Stylus": None}
        if course.check_marker:
            true["Check"] = T_tracker_reference @ rigid(np.eye(3), CHECK_PLACE_MM)
        samples = []
        for tool, known in true.items():
            matrix = T_tracker_body @ tips[tool] @ self._tools[tool] if known is None else known
            noisy = matrix @ self._noise[tool].at(t_s)
            hidden = self.room.hidden(tool, t_s)
            status = PoseStatus.OUT_OF_VIEW if hidden else PoseStatus.OK
            samples.append(PoseSample(f"{tool}ToTracker", t_s, np.eye(4) if hidden else noisy, status))
        return tuple(samples)


class Counter:
    """Counts intervals of 0.1 s back to back from `start_s` on and stamps them late."""

    def __init__(self, room: OperatingRoom, start_s: float) -> None:
        self.room = room
        self.start_s = start_s
        self.seq = 0
        self.total = 0
        self._rng = stream(room.scene.seed, room.scene.name, "counts")
        self._jitter_s = float(self._rng.exponential(JITTER_S))

    @property
    def due_s(self) -> float:
        """When the next interval is stamped and sent: its true end, the latency and the jitter."""
        true_end = self.start_s + (self.seq + 1) * COUNT_INTERVAL_S
        return true_end + self.room.scene.equipment.count_latency_s + self._jitter_s

    def measure(self) -> CountSample:
        """The next interval. Live time is clock time: this counter does not correct for its dead time."""
        begin = self.start_s + self.seq * COUNT_INTERVAL_S
        stamp = self.due_s
        counts = int(self._rng.poisson(self.room.expected_counts(begin, begin + COUNT_INTERVAL_S)))
        self._jitter_s = float(self._rng.exponential(JITTER_S))
        self.seq += 1
        self.total += counts
        live = round(self.seq * COUNT_INTERVAL_S, 6)
        return CountSample(
            stamp,
            self.seq,
            float(counts),
            COUNT_INTERVAL_S,
            float(self.total),
            live,
            NUCLIDE,
            WINDOW_KEV,
            PROBE_SERIAL,
        )
