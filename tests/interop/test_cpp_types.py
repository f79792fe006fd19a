"""The types that are received and seldom sent, packed and unpacked by the OpenIGTLink C++ library."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tracking.igtl.samples import of, some_messages
from tracking.igtl import (
    Attribute,
    CapabilityContent,
    Content,
    ImageMeta,
    ImageMetaContent,
    LabelMeta,
    LabelMetaContent,
    Message,
    NDArrayContent,
    PolyDataContent,
    PositionContent,
    QTDataContent,
    QuaternionTool,
    ReplyContent,
    StartContent,
    StreamSplitter,
    TrajectoryContent,
    decode,
    encode,
)

PATIENCE_S = 30.0
QUATERNION = (0.5, -0.5, 0.5, 0.5)


def read_by(program: Path, messages: list[Message]) -> list[dict[str, Any]]:
    raw = b"".join(encode(message, 1) for message in messages)
    done = subprocess.run([program, "read"], input=raw, capture_output=True, check=True, timeout=PATIENCE_S)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record.pop("type") for record in records] == [message.type for message in messages]
    assert not any("crc" in record for record in records)
    return records


def samples(kind: str) -> list[Message]:
    return [message for message in some_messages() if message.type == kind]


def test_positions_are_read_by_the_library(cpp_types: Path) -> None:
    """In all three forms; where a number of the orientation is not sent the library puts it in."""
    forms = [PositionContent((1.0, 2.0, 3.5), QUATERNION[:n]) for n in (0, 3, 4)]
    records = read_by(cpp_types, [of("POSITION", form) for form in forms])
    assert [record["position"] for record in records] == [[1.0, 2.0, 3.5]] * 3
    assert [record["quaternion"] for record in records] == [[0, 0, 0, 1], list(QUATERNION), list(QUATERNION)]


def test_tools_and_requests_are_read_by_the_library(cpp_types: Path) -> None:
    tools, start, quaternion_start = read_by(
        cpp_types,
        [
            *samples("QTDATA"),
            of("STT_TDATA", StartContent(20, "CAMERA")),
            of("STT_QTDATA", StartContent(0, "")),
        ],
    )
    assert (tools["last"], tools["name"], tools["kind"]) == (1, "Stylus", 3)
    assert (tools["position"], tools["quaternion"]) == ([0, 0, 0], [0, 0, 0, 1])
    assert start == {"interval_ms": 20, "coordinates": "CAMERA"}
    assert quaternion_start == {"interval_ms": 0, "coordinates": ""}


def test_lists_are_read_by_the_library(cpp_types: Path) -> None:
    types, image, label, path = read_by(
        cpp_types, [m for kind in ("CAPABILITY", "IMGMETA", "LBMETA", "TRAJ") for m in samples(kind)]
    )
    assert types["types"].split() == ["TRANSFORM", "GET_TRANS"]
    # 2^40 in units of 2^-32 s
    assert (image["name"], image["device"], image["scan_s"]) == ("CT of the day", "Study", 256.0)
    assert (image["modality"], image["patient"], image["id"]) == ("CT", "Doe", "4711")
    assert (image["size"], image["scalar"]) == ([512, 512, 64], 5)
    assert (label["name"], label["device"], label["owner"]) == ("Node", "Nodes", "Study")
    assert (label["label"], label["rgba"], label["size"]) == (2, [255, 0, 0, 128], [4, 3, 2])
    assert (path["name"], path["group"], path["owner"]) == ("Way", "Plan", "Study")
    assert (path["entry"], path["target"], path["diameter"]) == ([1, 2, 3], [4, 5, 6.5], 2.5)
    assert (path["kind"], path["rgba"]) == (3, [1, 2, 3, 4])


def test_arrays_are_read_by_the_library(cpp_types: Path) -> None:
    array = NDArrayContent(np.array([[1, 2, 3], [-4, 5.5, 6]], dtype=np.float32))
    numbers, surface = read_by(cpp_types, [of("NDARRAY", array), *samples("POLYDATA")])
    assert (numbers["size"], numbers["scalar"], numbers["values"]) == ([2, 3], 10, [1, 2, 3, -4, 5.5, 6])
    assert (surface["points"], surface["last_point"]) == (4, [0, 0, 1])
    assert (surface["polygons"], surface["last_polygon"], surface["lines"]) == (2, [0, 1, 3], 2)
    assert (surface["attribute"], surface["values"]) == ("activity", [0, 1, 2, 3])


@pytest.fixture(scope="session")
def made(cpp_types: Path) -> dict[str, bytes]:
    """One message of each type as the library packs it."""
    done = subprocess.run([cpp_types, "make"], capture_output=True, check=True, timeout=PATIENCE_S)
    splitter = StreamSplitter()
    messages = {decode(raw).type: raw for raw in splitter.feed(done.stdout)}
    assert (splitter.garbage_bytes, splitter.pending_bytes) == (0, 0)
    return messages


# What `types make` is told to write.
MADE: dict[str, Content] = {
    "POSITION": PositionContent((1.0, 2.0, 3.5), QUATERNION),
    "QTDATA": QTDataContent((QuaternionTool("Probe", (1.0, 2.0, 3.5), QUATERNION, 4),)),
    "STT_QTDATA": StartContent(50, "Reference"),
    "RTS_QTDATA": ReplyContent(1),
    "CAPABILITY": CapabilityContent(("IMAGE", "GET_IMAGE")),
    "IMGMETA": ImageMetaContent(
        (ImageMeta("Head", "CT1", "CT", "Doe", "47", 5 << 32, (512, 256, 3), 4),),
    ),
    "LBMETA": LabelMetaContent((LabelMeta("Node", "L1", 7, (1, 2, 3, 4), (5, 6, 258), "CT1"),)),
}


@pytest.mark.parametrize("kind", MADE)
def test_messages_of_the_library_are_read(made: dict[str, bytes], kind: str) -> None:
    message = decode(made[kind])
    assert (message.device, message.body) == ("Library", MADE[kind])


def test_paths_and_arrays_of_the_library_are_read(made: dict[str, bytes]) -> None:
    paths, numbers, surface = (decode(made[kind]).body for kind in ("TRAJ", "NDARRAY", "POLYDATA"))
    assert isinstance(paths, TrajectoryContent)
    (path,) = paths.trajectories
    assert (path.name, path.group, path.owner, path.kind) == ("Way", "Plan", "CT1", 2)
    assert (path.entry_mm, path.target_mm) == ((1.0, 2.0, 3.5), (4.0, 5.0, 6.5))
    assert (path.rgba, path.diameter_mm) == ((9, 8, 7, 6), 2.5)
    assert isinstance(numbers, NDArrayContent)
    assert numbers.array.tolist() == [[1, 2, 3], [-4, 5.5, 6]]
    assert isinstance(surface, PolyDataContent)
    assert surface.points_mm.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1.5, 0]]
    assert surface.polygons.numbers.tolist() == [3, 0, 1, 2]
    assert (surface.lines.count, surface.lines.points_used().tolist()) == (2, [2, 0, 0, 1, 2])
    (attribute,) = surface.attributes
    assert isinstance(attribute, Attribute)
    assert (attribute.name, attribute.kind, attribute.values.ravel().tolist()) == ("activity", 0, [1, 2, 3])


def test_all_of_it_is_written_again_bit_by_bit(made: dict[str, bytes]) -> None:
    """Also the reserved byte of TRAJ, which the library leaves to chance."""
    assert len(made) == 10
    for raw in made.values():
        assert encode(decode(raw)) == raw
