"""Outside the good part of the tracker's volume: told once, still used, and forgotten when the tool is back."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.hub import Hub
from tracking.igtl.codec import encode
from tracking.igtl.poses import pose_message
from tracking.inputs import Inputs, WorkingVolume
from tracking.sample import PoseSample, PoseStatus
from tracking.volumewatch import VolumeWatch

WHOLE = WorkingVolume((-500.0, -500.0, -2400.0), (500.0, 500.0, -900.0))
GOOD = WorkingVolume((-300.0, -300.0, -2000.0), (300.0, 300.0, -1000.0))


def pose(x_mm: float, t_s: float = 0.0, status: PoseStatus = PoseStatus.OK) -> PoseSample:
    matrix = np.eye(4)
    matrix[:3, 3] = [x_mm, 0.0, -1500.0]
    return PoseSample("ProbeToTracker", t_s, matrix, status)


def test_leaving_is_told_once_and_a_hand_at_the_border_does_not_flicker() -> None:
    watch = VolumeWatch()
    # Back only from 10 mm inside the border at 300 mm.
    told = [watch.take(pose(x), GOOD) for x in (0.0, 299.0, 301.0, 299.0, 302.0, 291.0, 301.0, 289.0, 301.0)]
    assert told == [False, False, True, False, False, False, False, False, True]
    assert watch.outside == {"ProbeToTracker"}


def test_a_tool_that_is_not_seen_is_nowhere() -> None:
    watch = VolumeWatch()
    assert watch.take(pose(400.0), GOOD)
    assert not watch.take(pose(400.0, status=PoseStatus.OUT_OF_VIEW), GOOD)
    assert watch.outside == set()
    assert not watch.take(pose(np.nan), GOOD)
    assert not watch.take(pose(400.0), None)


def test_the_hub_tells_and_still_uses_the_pose() -> None:
    hub = Hub({"tracker": Inputs(volume=WHOLE, good_volume=GOOD)})
    for i, x_mm in enumerate((0.0, 350.0, 350.5, 700.0)):
        t_s = 100.0 + 0.02 * i
        hub.handle("tracker", t_s, encode(pose_message(pose(x_mm, t_s), version=2)))
    assert [(a.kind, a.text) for a in hub.alarms] == [
        ("volume", "tracker: ProbeToTracker left the good part of its volume")
    ]
    # 350 mm is beyond the good part and used; 700 mm is beyond the volume and is not.
    assert hub.buffer.track("ProbeToTracker").newest_t_s == pytest.approx(100.04)
    assert hub.buffer.track("ProbeToTracker").refused == {"status OUT_OF_VOLUME": 1}


def test_the_good_part_comes_back_from_a_record() -> None:
    role = {"poses": True, "counts": False, "good_volume_mm": [list(GOOD.low_mm), list(GOOD.high_mm)]}
    assert Inputs.from_json(role).good_volume == GOOD
    assert Inputs.from_json({"poses": True, "counts": False}).good_volume is None
    assert GOOD.within(WHOLE)
    assert not WHOLE.within(GOOD)
