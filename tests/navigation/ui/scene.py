"""A synthetic moment of a case in the publisher's own messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from navigation.engine.snapshot import CountState, LatencyState, Registration, Snapshot, ToolState
from navigation.publish import heartbeat_messages, map_messages, spot_messages, tool_message
from navigation.ui.model import ViewModel
from navigation.volume import NOT_EXAMINED, ActivityMap, Spot, VoxelGrid
from tracking.igtl import Message, decode, encode

# Probe at (10, 20, 30) mm looking along -Y of Reference; the focus lies 22 mm ahead of it and 4 mm aside.
TIP_MM = np.array([10.0, 20.0, 30.0])
FOCUS_MM = np.array([14.0, -2.0, 30.0])
# Reference axes of the scene in RAS: x to the left, y to the front, z up: a proper rotation.
T_RAS_REFERENCE = np.diag([-1.0, -1.0, 1.0, 1.0])


def probe_pose() -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    pose[:3, 3] = TIP_MM
    return pose


def spot(number: int = 1, position: Any = FOCUS_MM, sd_mm: float = 1.5) -> Spot:
    covariance = np.diag([0.5, 1.0, 0.4]) * sd_mm**2
    return Spot(
        number,
        np.array(position, dtype=float),
        covariance,
        0.0,
        84.0,
        (66.0, 104.0),
        20.0 - number,
        7.0,
        "ok",
    )


def activity_map(version: int = 3) -> ActivityMap:
    grid = VoxelGrid.aligned(FOCUS_MM - 60.0, 2.0, (61, 61, 61))
    offset = grid.points() - FOCUS_MM
    examined = (np.linalg.norm(offset, axis=1) < 45.0) & (offset[:, 1] < 22.0)
    activity = np.where(examined, 0.2 + 20 * np.exp(-0.5 * (offset**2).sum(axis=1) / 25.0), 0.0)
    mda = np.where(examined, 2.0 + 0.3 * np.abs(offset[:, 1]), NOT_EXAMINED)
    a, m, e = (x.reshape(grid.shape) for x in (activity.astype(np.float32), mda.astype(np.float32), examined))
    return ActivityMap(
        grid, a, np.where(e, np.float32(0.2), np.float32(NOT_EXAMINED)), m, m, e, version, 100.0, 240
    )


def snapshot(**changes: Any) -> Snapshot:
    tools = {
        "Probe": ToolState("ProbeTipToReference", probe_pose(), True, 100.0, 0.02, "OK", 7),
        "Stylus": ToolState("StylusTipToReference", None, False, None, None, "OUT_OF_VIEW", 0),
    }
    counts = CountState(137.0, True, 0.05, 5000.0, 30.0, 300, 1, 2, 0, 280, 20)
    made = Snapshot(
        id=41,
        t_s=100.0,
        mode="scan",
        scan="scan-1",
        tools=tools,
        counts=counts,
        latency=LatencyState(0.13, (0.12, 0.14), True),
        sources={},
        map=activity_map(),
        map_scan="scan-1",
        map_age_s=0.3,
        spots=(spot(),),
        registration=Registration("reg-7", T_RAS_REFERENCE, 1.2),
        calibration_id="cal-3",
        calibration_state="draft",
        nuclide="Tc-99m",
        simulated=True,
    )
    return replace(made, **changes)


def messages(shot: Snapshot) -> list[Message]:
    found = [tool_message(t, shot) for t in shot.tools.values()]
    if shot.map is not None:
        found += [*spot_messages(shot), *map_messages(shot.map, shot)]
    return [decode(encode(m.with_version(2))) for m in (*found, *heartbeat_messages(shot))]


def model_of(shot: Snapshot, arrival_s: float = 0.0) -> ViewModel:
    model = ViewModel()
    model.connected = True
    for message in messages(shot):
        model.receive(message, arrival_s)
    return model
