"""What the window shows, without Qt: messages go in, one immutable state per frame comes out.

Ages are counted from arrival on the window's own clock plus the age the engine stated, so that no two clocks
need agree. What has expired is None or marked, never the last value.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.findings import ACCEPTED_QUALITIES, spot_from_json
from navigation.pictures import focus_brightness
from navigation.ui.countlines import counts_told
from navigation.ui.state import (
    COUNTS_SILENT_S,
    ENGINE_SILENT_S,
    MAP_EXPIRY_S,
    POSE_EXPIRY_S,
    STATUS_SILENT_S,
    TRACE_LENGTH,
    Lamp,
    MapVolumes,
    Target,
    ViewState,
    probe_axes,
)
from navigation.ui.work import work_of
from navigation.volume import NOT_EXAMINED, Spot, VoxelGrid
from tracking.errors import InputError
from tracking.igtl import ImageContent, Message, StringContent, TransformContent, names
from tracking.transform import rigidity_fault

if TYPE_CHECKING:
    from navigation.ui.camera.track import Video

# Lamps are shown in this order, in the words of the operating room.
TOOL_NAMES = {
    names.PROBE_TIP_TO_REFERENCE: "Probe",
    names.STYLUS_TIP_TO_REFERENCE: "Stylus",
}
# A renumbered spot is the selected one still when it has not moved farther than this.
SAME_SPOT_MM = 10.0
# Background, the median of what was examined, never takes more than this part of the colour scale.
BACKGROUND_SHARE = 10.0


class ViewModel:
    """Takes messages and the user's choice of a target; `state` freezes what is true now."""

    def __init__(self) -> None:
        self._text: dict[str, tuple[dict[str, Any], float]] = {}
        self._poses: dict[str, tuple[Message, float]] = {}
        self._last: dict[str, NDArray[np.float64]] = {}
        self._images: dict[str, Message] = {}
        self._maps: MapVolumes | None = None
        self._spots: tuple[Spot, ...] = ()
        self._chosen_mm: NDArray[np.float64] | None = None
        self._trace: deque[float | None] = deque(maxlen=TRACE_LENGTH)
        self._ticks = 0
        self._happened: tuple[str, ...] | None = None
        self._marks: deque[tuple[int, str]] = deque()
        self._simulated = False
        self._ceiling = 0.0
        self._heard_s = float("-inf")
        self.connected = False
        self.sound = ""  # the window's own
        self.sound_above_cps: float | None = None
        self.video: Video | None = None  # the case has a camera
        self.engine_gone = False  # told at once by the process that started the window

    def receive(self, message: Message, arrival_s: float) -> None:
        """Take one message of the publishing table; others are ignored."""
        self._heard_s = max(self._heard_s, arrival_s)
        self._simulated |= "Simulation" in message.metadata
        content = message.body
        if isinstance(content, TransformContent):
            if message.device == names.CAMERA_TO_REFERENCE:
                self._take_camera(message, content.matrix, arrival_s)
                return
            self._poses[message.device] = (message, arrival_s)
            if _usable(message):
                self._last[message.device] = content.matrix
        elif isinstance(content, ImageContent):
            self._images[message.device] = message
            self._pair_images()
        elif isinstance(content, StringContent):
            self._receive_text(message.device, content.text, arrival_s)

    def _take_camera(self, message: Message, matrix: NDArray[np.float64], arrival_s: float) -> None:
        """The camera's marker at the moment of its pose, by the window's clock."""
        if self.video is None:
            return
        if _usable(message):
            self.video.track.take(arrival_s - _age(message, arrival_s, arrival_s), matrix)
        else:
            self.video.track.take(arrival_s, None)  # its age is that of the last sight of it

    def _receive_text(self, device: str, text: str, arrival_s: float) -> None:
        try:
            found = json.loads(text)
        except ValueError:
            return
        if not isinstance(found, dict):
            return
        self._text[device] = (found, arrival_s)
        self._simulated |= bool(found.get("simulated"))
        if device == names.SPOTS:
            self._spots = _spots_of(found)
        elif device == names.ENGINE_STATUS:
            self._note_marks(found)
            self._ticks += 1
            self._trace.append(found.get("count_rate_cps"))

    def _note_marks(self, found: dict[str, Any]) -> None:
        """What begins, ends or is marked with this heartbeat goes beside the count rate."""
        happened = happening(found)
        if self._happened is not None:
            new = [words for words in happened if words not in self._happened]
            self._marks.extend((self._ticks, words.partition("#")[0]) for words in new)
        self._happened = happened
        while self._marks and self._ticks - self._marks[0][0] > TRACE_LENGTH:
            self._marks.popleft()

    def _pair_images(self) -> None:
        """Activity and coverage are shown together only when both belong to one version of the map."""
        pair = [self._images.get(n) for n in (names.ACTIVITY, names.COVERAGE)]
        activity, coverage = pair
        if activity is None or coverage is None:
            return
        if activity.metadata.get("MapVersion") != coverage.metadata.get("MapVersion"):
            return
        self._maps = _volumes(activity, coverage)
        if self._maps is not None:
            self._ceiling = _steady_ceiling(self._maps, self._spots, self._ceiling)

    def select(self, spot_id: int) -> None:
        """Choose a focus as target."""
        for spot in self._spots:
            if spot.id == spot_id:
                self._chosen_mm = spot.position_mm

    def select_next(self) -> None:
        """The next focus in the order of the table, round and round."""
        number = self.next_id()
        if number is not None:
            self.select(number)

    def next_id(self) -> int | None:
        """The focus after the selected one, None without any."""
        now, ids = self._selected(), [s.id for s in self._spots]
        if not ids:
            return None
        return ids[(ids.index(now.id) + 1 if now is not None else 0) % len(ids)]

    def _follow(self, navigation: dict[str, Any]) -> None:
        """What the case goes for is what a window that has just begun shows: it may have died in between."""
        name = str(navigation.get("name", ""))
        if self._chosen_mm is not None or navigation.get("kind") != "focus":
            return
        for spot in self._spots:
            if name == f"focus {spot.id}":
                self._chosen_mm = spot.position_mm

    def _selected(self) -> Spot | None:
        """The chosen focus, or the most significant one while none is chosen; None when the chosen one is gone."""
        if not self._spots:
            return None
        if self._chosen_mm is None:
            return max(self._spots, key=lambda s: s.significance)
        chosen = self._chosen_mm
        best = min(self._spots, key=lambda s: float(np.linalg.norm(s.position_mm - chosen)))
        if float(np.linalg.norm(best.position_mm - chosen)) > SAME_SPOT_MM:
            return None
        self._chosen_mm = best.position_mm
        return best

    def state(self, now_s: float) -> ViewState:
        """Everything that is shown at `now_s` of the clock that stamped the arrivals."""
        status, status_age = self._said(names.ENGINE_STATUS, now_s)
        bed, bed_age = self._said(names.BED_CHECK, now_s)
        alive = self._alive(status_age, now_s)
        probe, seen = self._pose(names.PROBE_TIP_TO_REFERENCE, now_s)
        map_age, map_fresh = _map_age(status, status_age, alive)
        self._follow(status.get("navigation") or {})
        selected, bridge = self._selected(), self._bridge(status, alive)
        counts = status.get("counts") or {}
        counts_fresh = status_age is not None and status_age <= COUNTS_SILENT_S and bool(counts.get("fresh"))
        return ViewState(
            snapshot_id=int(status.get("snapshot", 0)),
            simulated=self._simulated,
            connected=self.connected,
            engine_age_s=status_age,
            engine_alive=alive,
            ticks=self._ticks,
            mode=str(status.get("mode", "")),
            scan=status.get("scan"),
            T_reference_probe=probe,
            last_T_reference_probe=seen,
            lamps=tuple(self._lamp(n, label, now_s) for n, label in TOOL_NAMES.items() if n in self._poses),
            maps=self._maps,
            ceiling=self._ceiling,
            map_age_s=map_age,
            map_fresh=map_fresh,
            map_final=bool((status.get("map") or {}).get("final")),
            map_scan=(status.get("map") or {}).get("scan"),
            spots=self._spots,
            target=None if selected is None else _target(selected, probe, map_fresh, bridge),
            rate_cps=counts.get("rate_cps") if counts_fresh else None,
            saturated=counts_fresh and bool(counts.get("saturated")),
            count_age_s=_sum(counts.get("age_s"), status_age),
            trace=tuple(self._trace),
            sound_above_cps=self.sound_above_cps,
            marks=tuple((self._ticks - tick, words) for tick, words in self._marks),
            gaps=int(counts.get("gaps") or 0),
            placed=int(counts.get("placed") or 0),
            unplaced=int(counts.get("unplaced") or 0),
            T_ras_reference=bridge,
            registration_id=_registration(status),
            calibration_id=str(status.get("calibration_id", "none")),
            calibration_state=str(status.get("calibration_state", "unknown")),
            latency=status.get("latency") or {},
            nuclide=str(status.get("nuclide", "unverified")),
            faults=tuple(str(f) for f in status.get("faults", ())),
            hints=tuple(str(h) for h in status.get("hints", ())),
            video=None if self.video is None else self.video.state(now_s),
            bed=bed if alive and bed_age is not None and bed_age <= STATUS_SILENT_S else {},
            T_reference_tracker=self._pose(names.TRACKER_TO_REFERENCE, now_s)[0],
            tip=_tip(status),
            work=work_of(status),
            counts=counts_told(self._said(names.TIMED_COUNTS, now_s)[0]),
            sound=self.sound,
            way=str((status.get("navigation") or {}).get("words") or "") if alive else "",
            rehearsal=str(status.get("rehearsal") or ""),
        )

    def _alive(self, status_age_s: float | None, now_s: float) -> bool:
        """Whether the engine has said anything just now, and its state not long ago."""
        if self.engine_gone or status_age_s is None:
            return False
        return now_s - self._heard_s <= ENGINE_SILENT_S and status_age_s <= STATUS_SILENT_S

    def _said(self, device: str, now_s: float) -> tuple[dict[str, Any], float | None]:
        found = self._text.get(device)
        return ({}, None) if found is None else (found[0], now_s - found[1])

    def _pose(self, name: str, now_s: float) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """(4, 4) pose that may be shown now, and the newest one known for greyed views."""
        found = self._poses.get(name)
        if found is None:
            return None, None
        message, arrival_s = found
        fresh = _usable(message) and _age(message, arrival_s, now_s) <= POSE_EXPIRY_S
        last = self._last.get(name)
        return (last if fresh else None), last

    def _lamp(self, name: str, label: str, now_s: float) -> Lamp:
        message, arrival_s = self._poses[name]
        matrix, _ = self._pose(name, now_s)
        status = message.metadata.get("TransformStatus")
        state = "stale" if matrix is None else "valid" if status == "OK" else "unknown"
        return Lamp(label, state, _age(message, arrival_s, now_s), status or "UNKNOWN")

    def _bridge(self, status: dict[str, Any], alive: bool) -> NDArray[np.float64] | None:
        """(4, 4) into RAS while the engine states a registration; the identity of an unregistered case is none."""
        found = self._poses.get(names.REFERENCE_TO_RAS)
        if found is None or not alive or status.get("registration_id", "none") == "none":
            return None
        content = found[0].body
        if not isinstance(content, TransformContent) or rigidity_fault(content.matrix) is not None:
            return None
        return content.matrix


def happening(status: dict[str, Any]) -> tuple[str, ...]:
    """What goes on and was marked, by words that change when something new does; behind # stands what numbers it."""
    mode, scan = status.get("mode"), status.get("scan")
    found = [f"{mode}#{scan}"] if mode not in (None, "", "idle") else ["stop"]
    running = (status.get("timed") or {}).get("running")
    if running is not None:
        found.append(f"count#{running.get('number', running.get('start_s'))}")
    return (*found, *(f"removed#{i}" for i in range(len(status.get("removed_here") or ()))))


def _usable(message: Message) -> bool:
    """A rigid pose that the engine calls valid."""
    content = message.body
    if not isinstance(content, TransformContent) or message.metadata.get("TransformValid") == "0":
        return False
    return rigidity_fault(content.matrix) is None


def _age(message: Message, arrival_s: float, now_s: float) -> float:
    try:
        stated_s = float(message.metadata.get("AgeMs", "0")) / 1000.0
    except ValueError:
        stated_s = POSE_EXPIRY_S
    return stated_s + now_s - arrival_s


def _tip(status: dict[str, Any]) -> str:
    """The newest check of the probe's tip in a few words; its reason is among the faults."""
    check = status.get("tip_check") or {}
    state, rms = str(check.get("state", "not checked in this case")), check.get("rms_mm")
    return state if rms is None else f"{state}, 3D RMS {rms:.2f} mm"


def _registration(status: dict[str, Any]) -> str:
    """The registration's id, and that nobody has checked it since a crash."""
    name, state = str(status.get("registration_id", "none")), status.get("registration_state")
    return f"{name}, {state}" if state == "restored, unverified" else name


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _spots_of(found: dict[str, Any]) -> tuple[Spot, ...]:
    try:
        spots = tuple(spot_from_json(s, "Spots") for s in found.get("spots", ()))
    except InputError:
        return ()
    return tuple(s for s in spots if s.quality in ACCEPTED_QUALITIES)


def _map_age(status: dict[str, Any], status_age_s: float | None, alive: bool) -> tuple[float | None, bool]:
    """Age of the newest reading in the map, and whether the map may be shown in colour."""
    told = status.get("map") or {}
    age = _sum(told.get("age_s"), status_age_s)
    if not alive or not told:
        return age, False
    if told.get("final"):
        return age, True
    return age, bool(told.get("fresh")) and age is not None and age <= MAP_EXPIRY_S


def _volumes(activity: Message, coverage: Message) -> MapVolumes | None:
    first, second = activity.body, coverage.body
    if not isinstance(first, ImageContent) or not isinstance(second, ImageContent):
        return None
    if first.array.ndim != 3 or first.array.shape != second.array.shape:
        return None
    grid = VoxelGrid(first.origin_mm, first.spacing_mm, first.size, first.direction)
    mda = np.asarray(second.array, dtype=np.float32)
    unseen = np.float32(float(coverage.metadata.get("NotExamined", NOT_EXAMINED)))
    values = np.asarray(first.array, dtype=np.float32)
    return MapVolumes(grid, values, mda, mda != unseen, activity.metadata.get("MapVersion", "?"))


def _steady_ceiling(maps: MapVolumes, spots: tuple[Spot, ...], before: float) -> float:
    """Top of the colour scale on a 1-2-5 ladder; it falls only when the map fills less than a fifth of it."""
    seen = maps.activity[maps.examined]
    tops = [BACKGROUND_SHARE * float(np.median(seen))] if seen.size else [0.0]
    top = max([*tops, *(focus_brightness(maps.activity, maps.grid, s.position_mm) for s in spots)])
    if top <= 0.0:
        return before or 1.0
    if top <= before <= 5.0 * top:
        return before
    decade = 10.0 ** np.floor(np.log10(top))
    return float(next(step * decade for step in (1.0, 2.0, 5.0, 10.0) if step * decade >= top))


def _target(
    spot: Spot, probe: NDArray[np.float64] | None, map_fresh: bool, ras: NDArray[np.float64] | None
) -> Target:
    """The selected focus as seen from the probe; no distance without a valid pose or a live map."""
    if probe is None or not map_fresh:
        return Target(spot, None, None)
    offset = probe_axes(probe, ras) @ (spot.position_mm - probe[:3, 3])
    return Target(spot, float(np.linalg.norm(offset)), offset)
