"""One message of each type and form, to be taken apart, cut, damaged and mixed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracking.igtl import (
    Attribute,
    CapabilityContent,
    Cells,
    CommandContent,
    Content,
    ImageMeta,
    ImageMetaContent,
    LabelMeta,
    LabelMetaContent,
    Message,
    NDArrayContent,
    OpaqueContent,
    Point,
    PolyDataContent,
    PositionContent,
    QTDataContent,
    QuaternionTool,
    ReplyContent,
    StartContent,
    StringContent,
    Trajectory,
    TrajectoryContent,
    encode,
    image_message,
    point_message,
    sensor_message,
    status_message,
    string_message,
    tdata_message,
    transform_message,
)

NOW_S = 1.8e9
POSE = np.array([[0.0, -1, 0, 10], [1, 0, 0, -20], [0, 0, 1, 30.5], [0, 0, 0, 1]])
METADATA = {"TransformStatus": "OK", "Unit": "kBq/mL", "Ort": "Tür"}


@dataclass(frozen=True)
class Grid:
    origin_mm: NDArray[np.float64] = field(default_factory=lambda: np.array([1.0, 2.0, 3.0]))
    spacing_mm: NDArray[np.float64] = field(default_factory=lambda: np.array([2.0, 3.0, 4.0]))
    # i along +y, j along -x, k along +z
    direction: NDArray[np.float64] = field(
        default_factory=lambda: np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    )


def of(kind: str, body: Content, device: str = "Some device") -> Message:
    return Message(kind, device, NOW_S, 1, {}, body)


def some_messages() -> list[Message]:
    """Every type that the codec takes apart, in every form that it has."""
    return [*pose_messages(), *data_messages(), *talk_messages()]


def pose_messages() -> list[Message]:
    tools = (
        QuaternionTool("Probe", (1.0, 2.0, 3.5), (0.5, -0.5, 0.5, 0.5)),
        QuaternionTool("Stylus", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), 3, 7),
    )
    return [
        transform_message("ProbeToTracker", POSE, NOW_S, METADATA),
        of("POSITION", PositionContent((1.0, 2.0, 3.5))),
        of("POSITION", PositionContent((1.0, 2.0, 3.5), (0.5, -0.5, 0.5))),
        of("QTRANS", PositionContent((1.0, 2.0, 3.5), (0.5, -0.5, 0.5, 0.5))),
        tdata_message("Tools", [("Probe", POSE), ("Reference", np.eye(4))], NOW_S),
        of("QTDATA", QTDataContent(tools)),
    ]


def data_messages() -> list[Message]:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    surface = PolyDataContent(
        corners,
        vertices=Cells.of(np.array([[3]])),
        # a line of two points and one of three
        lines=Cells(2, np.array([2, 0, 1, 3, 0, 2, 3])),
        polygons=Cells.of(np.array([[0, 1, 2], [0, 1, 3]])),
        attributes=(
            Attribute("activity", 0, np.arange(4.0)[:, None]),
            Attribute("normals", 2, corners),
        ),
    )
    images = (ImageMeta("CT of the day", "Study", "CT", "Doe", "4711", 1 << 40, (512, 512, 64), 5),)
    labels = (LabelMeta("Node", "Nodes", 2, (255, 0, 0, 128), (4, 3, 2), "Study"),)
    paths = (Trajectory("Way", (1.0, 2.0, 3.0), (4.0, 5.0, 6.5), "Plan", 3, (1, 2, 3, 4), 2.5, "Study"),)
    return [
        sensor_message("GammaProbe", (1.0, 2.5, -3.0), NOW_S),
        point_message("HotSpots", [Point("A", (1.0, 2.0, 3.0), "Spot", (255, 0, 0, 128), 4.0, "x")], NOW_S),
        of("TRAJ", TrajectoryContent(paths)),
        image_message("Activity_Reference", voxels, Grid(), NOW_S),
        of("IMGMETA", ImageMetaContent(images)),
        of("LBMETA", LabelMetaContent(labels)),
        of("NDARRAY", NDArrayContent(np.arange(12, dtype=np.int16).reshape(2, 3, 2))),
        of("NDARRAY", NDArrayContent(np.array([1 + 2j, -0.5j]))),
        of("POLYDATA", surface),
    ]


def talk_messages() -> list[Message]:
    return [
        status_message("Engine", NOW_S, 13, "Tür offen", "DEVICE_ERROR", -5),
        string_message("Spots", '{"µ": 1}', NOW_S),
        of("STRING", StringContent("caf\xe9", 4)),
        of("COMMAND", CommandContent(5, "Freeze", "<Command Name='Freeze'/>")),
        of("RTS_COMMAND", CommandContent(5, "", "µ", 106)),
        of("CAPABILITY", CapabilityContent(("TRANSFORM", "GET_TRANS"))),
        of("STT_TDATA", StartContent(20, "Reference")),
        of("STT_QTDATA", OpaqueContent()),
        of("RTS_TDATA", ReplyContent(1)),
        of("GET_IMGMETA", OpaqueContent(), ""),
        of("BIND", OpaqueContent(b"\0\1TRANSFORM" * 3)),
        of("NEWTYPE", OpaqueContent(b"\1\2\3")),
    ]


def seeds() -> list[bytes]:
    """All of them on the wire, in both header versions."""
    return [encode(message, version) for message in some_messages() for version in (1, 2)]
