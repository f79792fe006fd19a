"""One frozen state of the engine: the only thing views, publisher and report of a live case ever read.

Everything in a snapshot belongs to the same moment `t_s`; what has expired says so by `valid` or `fresh`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from navigation.bed import BedCheck
from navigation.coverage import BedCoverage
from navigation.engine.contamination import BackgroundState
from navigation.engine.guidancestate import Navigation, Removal
from navigation.engine.targetdesk import TargetState
from navigation.engine.timedstate import TimedState
from navigation.engine.tipstate import TipState
from navigation.guidance.expected import Expected
from navigation.guidance.handling import Handling
from navigation.volume import ActivityMap, Spot

# Slicer's world is RAS, the study is LPS; the turn is its own inverse.
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A map that holds nothing of the last second is no live map any more.
MAP_EXPIRY_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ToolState:
    """A tool's tip or marker in Reference: newest known (4, 4) pose in mm, whether usable, and its age."""

    name: str  # wire name, e.g. ProbeTipToReference
    matrix: NDArray[np.float64] | None
    valid: bool
    t_s: float | None  # the tracker's stamp of the pose
    age_s: float | None
    status: str  # PLUS's words
    seq: int


@dataclass(frozen=True, slots=True)
class SourceState:
    """A connection to a tracker or probe reader, and its clock: `offset_s` + its stamps = our time.

    The offset is known to `offset_uncertainty_s` and changes by `drift_ppm` (positive: the source gains);
    None while unknown. While `clock_judged` its messages wait until it is sure whether its clock was set.
    """

    connected: bool
    messages: int
    refused: int
    age_s: float | None
    clock: str = "shared"
    offset_s: float | None = None
    offset_uncertainty_s: float | None = None
    drift_ppm: float | None = None
    clock_steps: int = 0
    clock_judged: bool = False


@dataclass(frozen=True, slots=True)
class CountState:
    """The counter: rate in cps (None when expired), totals, lost messages, placed and unplaced intervals."""

    rate_cps: float | None
    fresh: bool
    age_s: float | None
    counts_total: float
    live_time_s: float
    seq: int
    gaps: int
    missing: int
    restarts: int
    placed: int
    unplaced: int
    saturated: bool = False  # the rate is a lower bound


@dataclass(frozen=True, slots=True)
class LatencyState:
    """How late the counter stamps, in s; undetermined while nothing has measured it."""

    count_latency_s: float
    ci95_s: tuple[float, float] | None
    determined: bool


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A registration and what is known of it; identity and id "none" at first.

    `matrix` is `T_ras_reference` (4, 4), the bridge to the patient's RAS frame. `restored`: it comes from before a
    crash and nobody has checked it since.
    """

    id: str = "none"
    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    tre_mm: float | None = None
    restored: bool = False
    doubt: str | None = None  # why it may not hold any more
    verified: bool = False  # enough known points were touched since
    checked_s: float | None = None  # Unix time of the last check, or of the registration itself
    checks: int = 0  # good ones since it was taken or restored

    @property
    def T_study_reference(self) -> NDArray[np.float64] | None:
        """(4, 4): Reference into the study's LPS; None without a registration."""
        return None if self.id == "none" else RAS_FROM_LPS @ self.matrix

    @property
    def unverified(self) -> bool:
        """Whether there is one that nobody has checked since a crash."""
        return self.restored and self.id != "none"

    @property
    def state(self) -> str:
        """In words: none, as registered, verified, doubtful, or from before a crash and unchecked."""
        if self.id == "none":
            return "none"
        if self.doubt is not None:
            return f"doubtful: {self.doubt}"
        if self.unverified:
            return "restored, unverified"
        return "verified" if self.verified else "as registered"


@dataclass(frozen=True, slots=True)
class RecorderState:
    """The flight recorder: what is wrong with it (None: nothing), events lost, minutes of room left."""

    fault: str | None = None
    lost: int = 0
    minutes_left: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ShiftState:
    """What a scan says of where the study's activity lies; a proposal that nothing was moved by."""

    scan: str
    registration: str
    alarm: bool
    words: str
    T_seen_believed: NDArray[np.float64]  # (4, 4) in Reference
    length_mm: float | None
    ci95_mm: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class LandmarkState:
    """A landmark of the study, its place in LPS mm, and whether the stylus has rested on it since the registration."""

    name: str
    touched: bool
    lps_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The state at `t_s` (Unix s); `map_age_s` counts from the arrival of the newest reading in the map."""

    id: int
    t_s: float
    mode: str  # "idle" | "scan" | "surface" | "bed" | "sweep"
    scan: str | None
    tools: Mapping[str, ToolState]
    counts: CountState
    latency: LatencyState
    sources: Mapping[str, SourceState]
    map: ActivityMap | None = None
    map_scan: str | None = None
    map_final: bool = False
    map_age_s: float | None = None
    spots: tuple[Spot, ...] = ()
    spots_t_s: float | None = None  # time of the newest reading the foci are of, on the scan's clock
    spots_readings: int | None = None
    recomputing: str | None = None  # why the map is made anew; the one before it is not shown any more
    map_locked: str | None = (
        None  # why the newest map is not shown: it belongs to another place of the reference
    )
    bed_check: BedCheck | None = None
    surface_points: int = 0
    bed_points: int = 0
    registration: Registration = field(default_factory=Registration)
    calibration_id: str = "none"
    calibration_state: str = "none"
    map_calibration: tuple[str, str] | None = None  # id and state of what the map rests on
    nuclide: str = "unverified"
    faults: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()  # what the hand or the operator should do, no fault of the instruments
    simulated: bool = False
    rehearsal: str | None = None  # it is played from a record: which; None in a live case
    tracked: bool = True  # without a tracker there are timed counts and nothing else
    recorder: RecorderState = field(default_factory=RecorderState)
    background: BackgroundState = field(default_factory=BackgroundState)
    tip_check: TipState = field(default_factory=TipState)
    registration_age_s: float | None = None  # since it was taken or a known point was touched
    study_id: str = "none"
    landmarks: tuple[LandmarkState, ...] = ()
    targets: tuple[TargetState, ...] = ()
    shift: ShiftState | None = (
        None  # of the newest scan that was compared with the study, under this registration
    )
    timed: TimedState = field(default_factory=TimedState)
    coverage: BedCoverage | None = None  # of the outlined bed by the scan that goes on
    navigation: Navigation | None = None  # to what is selected
    removals: tuple[Removal, ...] = ()
    handling: Handling | None = None  # of the probe, against the wanted MDA
    expected: Expected | None = None  # what should be counted from where the probe is

    @property
    def map_fresh(self) -> bool:
        """A live map no older than a second, or the final one of a finished scan."""
        if self.map is None:
            return False
        return self.map_final or (self.map_age_s is not None and self.map_age_s <= MAP_EXPIRY_S)
