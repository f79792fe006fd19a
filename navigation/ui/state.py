"""The window's immutable state: every view of a frame draws from the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.reslice import across
from navigation.volume import Spot, VoxelGrid

if TYPE_CHECKING:
    from navigation.ui.camera.frames import Frame
    from navigation.ui.camera.model import CameraModel

# Hazard H28: poses after 250 ms, the map after 1 s. The engine expires counts after 2.5 of their own intervals
# and says so four times a second; poses come twenty times a second: half a second without any word is silence.
POSE_EXPIRY_S = 0.25
MAP_EXPIRY_S = 1.0
COUNTS_SILENT_S = 0.5
ENGINE_SILENT_S = 0.5
STATUS_SILENT_S = 1.0
# Half a minute of count rate at four messages a second.
TRACE_LENGTH, TRACE_S = 120, 30.0
# A distance known worse than this is no guidance: the window shows "--".
LARGEST_SD_MM = 10.0


def probe_axes(
    T_reference_probe: NDArray[np.float64], T_ras_reference: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """(3, 3), rows right, down and ahead as seen along the probe, in Reference.

    Right is the patient's left where that is known, else a fixed axis of Reference: a hand that rolls the probe
    does not turn the picture.
    """
    ahead = T_reference_probe[:3, 2]
    right = across(ahead, None if T_ras_reference is None else -T_ras_reference[0, :3])
    return np.stack([right, np.cross(ahead, right), ahead])


@dataclass(frozen=True, slots=True)
class Lamp:
    """Validity of a tool: "valid", "stale" or "unknown" (fresh, but the tracker says nothing of it)."""

    label: str
    state: str
    age_s: float
    status: str


@dataclass(frozen=True, slots=True, eq=False)
class MapVolumes:
    """One version of the live map: activity kBq/mL and MDA kBq, k-j-i on `grid`; `examined` is its mask."""

    grid: VoxelGrid
    activity: NDArray[np.float32]
    mda_kbq: NDArray[np.float32]
    examined: NDArray[np.bool_]
    version: str


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The selected focus; distance from the tip and offset (3,) right, down, ahead of it in mm, None when unknown."""

    spot: Spot
    distance_mm: float | None
    offset_mm: NDArray[np.float64] | None

    @property
    def text(self) -> str:
        """`24 ± 2 mm`, or `--` when there is no distance or it is too uncertain."""
        if self.distance_mm is None or not self.spot.sd_mm <= LARGEST_SD_MM:
            return "--"
        return f"{self.distance_mm:.0f} ± {max(self.spot.sd_mm, 1.0):.0f} mm"


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of the case as the engine tells it: "done", "ready" or "refused", why, and what is open."""

    key: str
    title: str
    state: str
    refused: tuple[str, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListedTarget:
    """A target of the list by name; `outcome` is "open" until somebody has said how it ended."""

    name: str
    placed: bool
    outcome: str


@dataclass(frozen=True, slots=True)
class Work:
    """What the case is about beside the map: its steps, targets, landmarks, and the count under way."""

    steps: tuple[StepView, ...] = ()
    targets: tuple[ListedTarget, ...] = ()
    landmarks: tuple[tuple[str, bool], ...] = ()  # name, touched
    marked: tuple[tuple[str, tuple[float, float, float]], ...] = ()  # name, place of the study in LPS mm
    registration_state: str = "none"
    counting: str | None = None  # the timed count under way
    counted_share: float = 0.0
    bed_points: int = 0
    surface_points: int = 0
    shift_proposed: bool = False
    background_risen: bool = False
    alarms: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class VideoState:
    """The newest video frame, how old it is, and where the camera's marker stood when it was taken.

    `moving`: too fast for picture and pose to be of one place. `fault` says why there is no frame.
    """

    camera: CameraModel | None
    frame: Frame | None
    age_s: float | None
    T_reference_marker: NDArray[np.float64] | None
    moving: bool
    fault: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ViewState:
    """One moment of the case as the window knows it."""

    snapshot_id: int
    simulated: bool
    connected: bool
    engine_age_s: float | None
    engine_alive: bool
    ticks: int
    mode: str
    scan: str | None
    T_reference_probe: NDArray[np.float64] | None
    last_T_reference_probe: NDArray[np.float64] | None
    lamps: tuple[Lamp, ...]
    maps: MapVolumes | None
    ceiling: float
    map_age_s: float | None
    map_fresh: bool
    map_final: bool
    map_scan: str | None
    spots: tuple[Spot, ...]
    target: Target | None
    rate_cps: float | None
    saturated: bool  # the rate is a lower bound
    count_age_s: float | None
    trace: tuple[float | None, ...]
    gaps: int
    placed: int
    unplaced: int
    T_ras_reference: NDArray[np.float64] | None
    registration_id: str
    calibration_id: str
    calibration_state: str
    latency: dict[str, Any]
    nuclide: str
    faults: tuple[str, ...]
    bed: dict[str, Any]
    T_reference_tracker: NDArray[np.float64] | None = (
        None  # where the tracker stands, while the reference is seen
    )
    tip: str = ""
    hints: tuple[str, ...] = ()
    work: Work = Work()
    counts: tuple[str, ...] = ()  # timed counts in lines, the newest first
    way: str = ""  # to what the engine's case has selected, in words; empty without a selection
    sound: str = ""  # what is to be heard, in words; empty without any sound
    rehearsal: str = ""  # of which record; empty in a live case
    sound_above_cps: float | None = None  # from which rate on it sounds; None while it does not
    marks: tuple[tuple[int, str], ...] = ()  # how many of the trace's steps ago, and what happened then
    trace_length: int = TRACE_LENGTH
    video: VideoState | None = None  # None without a camera in the case

    @property
    def live(self) -> bool:
        """Whether slices may be drawn in colour."""
        return self.engine_alive and self.map_fresh and self.T_reference_probe is not None

    @property
    def map_of_other_scan(self) -> bool:
        """A scan is under way, but the map is still the one of an earlier scan."""
        return self.mode == "scan" and self.maps is not None and self.map_scan not in (None, self.scan)

    @property
    def banners(self) -> tuple[str, ...]:
        """What must be seen at once, the worst first."""
        if not self.connected and self.engine_age_s is None:
            return ("NO CONNECTION TO THE ENGINE",)
        if not self.engine_alive:
            age = "" if self.engine_age_s is None else f" FOR {self.engine_age_s:.0f} s"
            return (f"ENGINE SILENT{age}: NOTHING HERE IS LIVE",)
        found = []
        if self.T_reference_probe is None:
            found.append("PROBE NOT SEEN")
        if self.maps is not None and not self.map_fresh:
            found.append("MAP IS OLD")
        elif self.map_of_other_scan:
            found.append(f"MAP OF {str(self.map_scan).upper()}, NOT OF THIS SCAN")
        if self.rate_cps is None:
            found.append("NO COUNTS")
        elif self.saturated:
            found.append("COUNTER SATURATED: THE RATE IS A LOWER BOUND")
        return tuple(found)
