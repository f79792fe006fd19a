"""The tracked tools: where probe, stylus and reference are, how old that is, and whether it may be used.

Everything comes from the hub's transform buffer; nothing is ever extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.engine.snapshot import ToolState
from tracking.hub import DeviceStats, Hub
from tracking.igtl.names import CAMERA_TO_REFERENCE, REFERENCE_TO_TRACKER, TRACKER_TO_REFERENCE
from tracking.sample import PoseStatus
from tracking.transform import invert_rigid

PROBE, STYLUS, CAMERA = "Probe", "Stylus", "Camera"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tips:
    """`T_tool_tip` (4, 4) of the probe's face and of the stylus: tip frame into the marker's, mm."""

    probe: Floats
    stylus: Floats | None = None


class ToolDesk:
    """Newest and past poses of every tool in Reference; times are the tracker's stamps."""

    def __init__(self, tips: Tips, hub: Hub) -> None:
        self.tips = tips
        self.hub = hub
        self.buffer = hub.buffer

    @property
    def moved_since_s(self) -> float:
        """Since when the reference is not where it was; infinity while it is, or nothing watches it (H04)."""
        moved = self.hub.check.moved
        return np.inf if moved is None else moved.since_s

    def newest_t_s(self, tool: str) -> float | None:
        """Stamp up to which the tool's pose in Reference is known; None before the first."""
        times = [track.newest_t_s for track in self.buffer.chain(tool) if track is not None]
        known = [t for t in times if t is not None]
        return min(known) if len(known) == len(times) else None

    def newest(self, tool: str) -> Floats | None:
        """The newest `T_reference_marker` (4, 4), None while unknown or since the reference has moved."""
        newest = self.newest_t_s(tool)
        if newest is None or newest >= self.moved_since_s:
            return None
        matrices, valid = self.buffer.tool_in_reference(tool, np.array([newest]))
        pose: Floats = matrices[0]
        return pose if valid[0] else None

    def probe_path(self, t_s: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """`T_reference_probetip` (n, 4, 4) at the stamps (n,), and which of them are valid."""
        return self.buffer.tool_in_reference(PROBE, t_s, self.tips.probe)

    def probe_frames(self, start_s: float, end_s: float) -> Floats:
        """Stamps (n,) of the probe's frames between two stamps, visible or not."""
        return self.buffer.chain(PROBE)[0].frame_times(start_s, end_s)

    def probe_measured(self, t_s: Floats) -> NDArray[np.bool_]:
        """Whether the probe itself was seen in the frames with these stamps (n,)."""
        return self.buffer.chain(PROBE)[0].measured_at(t_s)

    def states(self, now_s: float) -> dict[str, ToolState]:
        """Every tool as the publishing table names it."""
        devices = {device.name: device for device in self.hub.stats(now_s).devices}
        probe = self._state("ProbeToReference", PROBE, devices)
        states = [probe, _at_tip(probe, "ProbeTipToReference", self.tips.probe)]
        if self.tips.stylus is not None:
            stylus = self._state("StylusToReference", STYLUS, devices)
            states.append(_at_tip(stylus, "StylusTipToReference", self.tips.stylus))
        if self.buffer.chain(PROBE)[1] is not None:
            states.append(self._tracker(devices))
        if any(name.startswith(f"{CAMERA}To") for name in self.buffer.names):
            states.append(
                self._state(CAMERA_TO_REFERENCE, CAMERA, devices)
            )  # its marker; the lens is the viewer's
        return {state.name: state for state in states}

    def _tracker(self, devices: dict[str, DeviceStats]) -> ToolState:
        """Where the tracker itself stands in Reference: from there it has to see the tools."""
        track = self.buffer.track(REFERENCE_TO_TRACKER)
        newest, device = track.newest_t_s, devices.get(REFERENCE_TO_TRACKER)
        if newest is None or device is None or newest >= self.moved_since_s:
            return ToolState(TRACKER_TO_REFERENCE, None, False, None, None, PoseStatus.MISSING.value, 0)
        poses, valid = track.sample(np.array([newest]))
        matrix = invert_rigid(poses)[0] if valid[0] else None
        seen = matrix is not None and device.valid
        return ToolState(
            TRACKER_TO_REFERENCE, matrix, seen, newest, device.age_s, _word([device], seen), device.received
        )

    def _state(self, name: str, tool: str, devices: dict[str, DeviceStats]) -> ToolState:
        chain = [track for track in self.buffer.chain(tool) if track is not None]
        known = [devices[track.name] for track in chain if track.name in devices]
        newest = self.newest_t_s(tool)
        if len(known) < len(chain) or newest is None:
            return ToolState(name, None, False, None, None, PoseStatus.MISSING.value, 0)
        behind = [(track.newest_frame_t_s or newest) - (track.newest_t_s or newest) for track in chain]
        age = max(device.age_s + late for device, late in zip(known, behind, strict=True))
        matrix = self.newest(tool)
        valid = matrix is not None and all(device.valid for device in known)
        word = _word(known, valid) if newest < self.moved_since_s else PoseStatus.INVALID.value
        return ToolState(name, matrix, valid, newest, age, word, known[0].received)


def _at_tip(marker: ToolState, name: str, T_tool_tip: Floats) -> ToolState:
    """The state of a tool's tip, from that of its marker."""
    matrix = None if marker.matrix is None else marker.matrix @ T_tool_tip
    return ToolState(name, matrix, marker.valid, marker.t_s, marker.age_s, marker.status, marker.seq)


def _word(chain: list[DeviceStats], valid: bool) -> str:
    """PLUS's word for the tool: the first bad one in its chain; UNKNOWN where a sender says nothing."""
    if valid:
        silent = any(device.status is PoseStatus.UNKNOWN for device in chain)
        return (PoseStatus.UNKNOWN if silent else PoseStatus.OK).value
    said = [device.word.removeprefix("status ") for device in chain]
    words = [PoseStatus.__members__.get(word, PoseStatus.MISSING) for word in said]
    lost = [word for word in words if not word.usable]
    return (lost[0] if lost else PoseStatus.MISSING).value
