"""Names and validity words on the wire, and poses out of messages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tracking.errors import InputError
from tracking.igtl import (
    Message,
    PositionContent,
    QTDataContent,
    QuaternionTool,
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
from tracking.igtl.quaternions import UNIT_TOLERANCE
from tracking.sample import PoseSample, PoseStatus
from tracking.transform import rigidity_fault


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


def quaternion_message(kind: str, body: PositionContent | QTDataContent, **metadata: str) -> Message:
    return decode(encode(Message(kind, "ProbeToTracker", 2.5, 2, metadata, body)))


# A turn of 120 degrees about (1, 1, 1) takes x to y, y to z and z to x: half of each of its quaternion's
# numbers, cos 60 degrees and sin 60 degrees / sqrt 3.
TURN = (0.5, 0.5, 0.5, 0.5)
TURNED = np.array([[0.0, 0, 1, 10], [1, 0, 0, 20], [0, 1, 0, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize("quaternion", [TURN, TURN[:3], tuple(-n for n in TURN)])
def test_a_position_with_an_orientation_is_a_pose(quaternion: tuple[float, ...]) -> None:
    body = PositionContent((10.0, 20.0, 30.0), quaternion)
    (pose,) = poses_from_message(quaternion_message("POSITION", body, TransformStatus="OUT_OF_VIEW"))
    assert (pose.name, pose.t_s, pose.status) == ("ProbeToTracker", 2.5, PoseStatus.OUT_OF_VIEW)
    assert pose.matrix == pytest.approx(TURNED)


def test_the_last_number_of_three_is_the_root_of_the_rest() -> None:
    # a quarter turn about z: sin 45 degrees, and cos 45 degrees = sqrt(1 - sin^2) is not sent
    body = PositionContent((0.0, 0.0, 0.0), (0.0, 0.0, math.sqrt(0.5)))
    (pose,) = poses_from_message(quaternion_message("POSITION", body))
    assert pose.matrix[:2, :2] == pytest.approx(np.array([[0.0, -1.0], [1.0, 0.0]]), abs=1e-6)


def test_qtdata_gives_one_pose_for_each_tool() -> None:
    tools = (
        QuaternionTool("ProbeToTracker", (10.0, 20.0, 30.0), TURN),
        QuaternionTool("ReferenceToTracker", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
    )
    probe, reference = poses_from_message(quaternion_message("QTDATA", QTDataContent(tools)))
    assert (probe.name, probe.status) == ("ProbeToTracker", PoseStatus.UNKNOWN)
    assert probe.matrix == pytest.approx(TURNED)
    assert np.array_equal(reference.matrix, np.eye(4))


@pytest.mark.parametrize(
    ("metadata", "probe", "reference"),
    [
        # PLUS writes a word for each tool and sends also those that it does not see, with their last matrix
        (
            {"ProbeToTrackerStatus": "OK", "ReferenceToTrackerStatus": "INVALID"},
            PoseStatus.OK,
            PoseStatus.INVALID,
        ),
        ({"ProbeToTrackerStatus": "MISSING"}, PoseStatus.MISSING, PoseStatus.UNKNOWN),
        ({"ProbeToTrackerStatus": "SWITCH1_ON"}, PoseStatus.INVALID, PoseStatus.UNKNOWN),
        ({"TransformStatus": "OK"}, PoseStatus.OK, PoseStatus.OK),
        # a word on the whole message counts for all of it
        (
            {"ProbeToTrackerStatus": "OK", "TransformStatus": "OUT_OF_VIEW"},
            PoseStatus.OUT_OF_VIEW,
            PoseStatus.OUT_OF_VIEW,
        ),
        (
            {"ProbeToTrackerStatus": "OUT_OF_VIEW", "TransformStatus": "OK"},
            PoseStatus.OUT_OF_VIEW,
            PoseStatus.OK,
        ),
    ],
)
def test_each_tool_has_a_status_of_its_own(
    metadata: dict[str, str], probe: PoseStatus, reference: PoseStatus
) -> None:
    tools = [("ProbeToTracker", np.eye(4)), ("ReferenceToTracker", np.eye(4))]
    poses = poses_from_message(decode(encode(tdata_message("Tracker", tools, 2.5, metadata, 2))))
    assert [p.status for p in poses] == [probe, reference]


def test_a_tool_of_which_only_the_tip_is_known_has_no_valid_pose() -> None:
    tools = tuple(QuaternionTool(str(kind), (0.0, 0.0, 0.0), TURN, kind) for kind in (1, 2, 3, 4))
    poses = poses_from_message(quaternion_message("QTDATA", QTDataContent(tools)))
    assert [p.status.usable for p in poses] == [True, True, False, True]


@pytest.mark.parametrize("length", [0.0, 0.5, 0.9996, 1.0004, 1.001, 2.0, 1e30, math.inf, math.nan])
def test_a_quaternion_that_is_not_of_unit_length_is_no_rigid_pose(length: float) -> None:
    numbers = tuple(0.5 * length for _ in range(4))
    (pose,) = poses_from_message(quaternion_message("POSITION", PositionContent((0.0, 0.0, 0.0), numbers)))
    assert rigidity_fault(pose.matrix) is not None


@pytest.mark.parametrize("length", [1 - UNIT_TOLERANCE * 0.99, 0.9999, 1.0001, 1 + UNIT_TOLERANCE * 0.99])
def test_what_four_decimals_leave_is_made_good(length: float) -> None:
    numbers = tuple(0.5 * length for _ in range(4))
    (pose,) = poses_from_message(quaternion_message("POSITION", PositionContent((10.0, 20.0, 30.0), numbers)))
    # four equal numbers of unit length are a half each, whatever they were scaled by
    assert pose.matrix == pytest.approx(TURNED, abs=1e-7)


def test_the_first_three_may_not_be_longer_than_the_whole() -> None:
    for length in (1.001, 5.0):
        body = PositionContent((0.0, 0.0, 0.0), (length, 0.0, 0.0))
        (pose,) = poses_from_message(quaternion_message("POSITION", body))
        assert rigidity_fault(pose.matrix) is not None


def test_other_types_hold_no_pose() -> None:
    assert poses_from_message(status_message("x", 0.0)) == ()
    assert poses_from_message(quaternion_message("POSITION", PositionContent((1.0, 2.0, 3.0)))) == ()
    assert len(poses_from_message(transform_message("AToB", np.eye(4), 0.0))) == 1
