"""Names and validity words on the wire, and poses out of messages."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.errors import InputError
from tracking.igtl import (
    decode,
    encode,
    pose_message,
    poses_from_message,
    status_message,
    tdata_message,
    transform_message,
)
from tracking.igtl.names import (
    PROBE_TIP_TO_REFERENCE,
    STYLUS_TIP_TO_REFERENCE,
    pose_status,
    status_metadata,
    transform_name,
)
from tracking.sample import PoseSample, PoseStatus


def test_transform_names() -> None:
    assert transform_name("ProbeTip", "Reference") == PROBE_TIP_TO_REFERENCE
    # exactly the 20 bytes of the header
    assert len(transform_name("StylusTip", "Reference")) == len(STYLUS_TIP_TO_REFERENCE) == 20


@pytest.mark.parametrize(
    ("source", "target"),
    [("ProbeToX", "Reference"), ("", "Reference"), ("Probe", "tracker"), ("LongProbeTip", "Reference")],
)
def test_bad_transform_names_are_refused(source: str, target: str) -> None:
    with pytest.raises(InputError):
        transform_name(source, target)


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({}, PoseStatus.UNKNOWN),
        ({"TransformValid": "1"}, PoseStatus.OK),
        ({"TransformValid": "0"}, PoseStatus.INVALID),
        ({"TransformValid": "yes"}, PoseStatus.INVALID),
        ({"TransformStatus": "OK"}, PoseStatus.OK),
        ({"TransformStatus": "OK", "TransformValid": "1"}, PoseStatus.OK),
        ({"TransformStatus": "OK", "TransformValid": "0"}, PoseStatus.INVALID),
        ({"TransformStatus": "MISSING"}, PoseStatus.MISSING),
        ({"TransformStatus": "MISSING", "TransformValid": "1"}, PoseStatus.MISSING),
        ({"TransformStatus": "OUT_OF_VIEW"}, PoseStatus.OUT_OF_VIEW),
        ({"TransformStatus": "ok"}, PoseStatus.OK),
        ({"TransformStatus": "NEVER_HEARD"}, PoseStatus.INVALID),
        ({"TransformStatus": ""}, PoseStatus.INVALID),
    ],
)
def test_validity_words(metadata: dict[str, str], status: PoseStatus) -> None:
    assert pose_status(metadata) is status


@pytest.mark.parametrize("status", list(PoseStatus))
def test_status_survives_the_wire(status: PoseStatus) -> None:
    assert pose_status(status_metadata(status)) is status
    sample = PoseSample("ProbeToTracker", 1.5, np.eye(4), status)
    (back,) = poses_from_message(decode(encode(pose_message(sample, version=2))))
    assert (back.name, back.t_s, back.status) == ("ProbeToTracker", 1.5, status)
    assert np.array_equal(back.matrix, np.eye(4))


def test_version_1_says_nothing_of_validity() -> None:
    sample = PoseSample("ProbeToTracker", 1.5, np.eye(4), PoseStatus.MISSING)
    (back,) = poses_from_message(decode(encode(pose_message(sample, version=1))))
    assert back.status is PoseStatus.UNKNOWN


def test_tdata_gives_one_pose_for_each_tool() -> None:
    moved = np.eye(4)
    moved[0, 3] = 5.0
    message = tdata_message("Tracker", [("ProbeToTracker", moved), ("ReferenceToTracker", np.eye(4))], 2.5)
    poses = poses_from_message(decode(encode(message)))
    assert [p.name for p in poses] == ["ProbeToTracker", "ReferenceToTracker"]
    assert [p.matrix[0, 3] for p in poses] == [5.0, 0.0]


def test_other_types_hold_no_pose() -> None:
    assert poses_from_message(status_message("x", 0.0)) == ()
    assert len(poses_from_message(transform_message("AToB", np.eye(4), 0.0))) == 1
