"""Messages as PlusServer packs them: the status of every tool is believed, wherever it stands."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.hub import Hub
from tracking.igtl import decode, encode, poses_from_message, tdata_message, transform_message
from tracking.sample import PoseStatus

NAMES = ("ProbeToTracker", "StylusToTracker", "ReferenceToTracker")


def tdata(*words: str) -> bytes:
    """PLUS: one TDATA for all tools, in the metadata a status and an index for each."""
    metadata = {f"{name}Status": word for name, word in zip(NAMES, words, strict=True)}
    metadata |= {f"{name}Index": str(i) for i, name in enumerate(NAMES)}
    tools = [(name, np.eye(4)) for name in NAMES]
    return encode(tdata_message("TDATA_3Elem", tools, 1000.0, metadata, version=2))


def test_each_tool_of_a_tdata_has_its_own_status() -> None:
    poses = poses_from_message(decode(tdata("OK", "OUT_OF_VIEW", "REQ_TIMEOUT")))
    assert [(p.name, p.status) for p in poses] == [
        ("ProbeToTracker", PoseStatus.OK),
        ("StylusToTracker", PoseStatus.OUT_OF_VIEW),
        ("ReferenceToTracker", PoseStatus.INVALID),  # a word of PLUS's that is not good news
    ]


def test_a_lost_tool_in_a_tdata_is_refused() -> None:
    hub = Hub()
    hub.handle("tracker", 1000.0, tdata("MISSING", "OK", "OK"))
    assert hub.buffer.track("ProbeToTracker").refused == {"status MISSING": 1}
    assert not hub.buffer.track("StylusToTracker").refused


def test_a_tdata_without_statuses_is_unknown() -> None:
    raw = encode(tdata_message("TDATA_1Elem", [("ProbeToTracker", np.eye(4))], 1000.0))
    assert [p.status for p in poses_from_message(decode(raw))] == [PoseStatus.UNKNOWN]


@pytest.mark.parametrize(
    ("valid", "word", "status"),
    [
        ("1", "OK", PoseStatus.OK),
        ("0", "MISSING", PoseStatus.MISSING),
        ("0", "OUT_OF_VIEW", PoseStatus.OUT_OF_VIEW),
        ("0", "PATH_NOT_FOUND", PoseStatus.INVALID),
        ("0", "UNKNOWN", PoseStatus.INVALID),
    ],
)
def test_a_transform_says_its_status_twice(valid: str, word: str, status: PoseStatus) -> None:
    metadata = {"TransformValid": valid, "TransformStatus": word}
    raw = encode(transform_message("ProbeToTracker", np.eye(4), 1000.0, metadata, version=2))
    assert [p.status for p in poses_from_message(decode(raw))] == [status]
