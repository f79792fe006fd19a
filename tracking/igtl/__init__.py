"""OpenIGTLink: a strict codec, a stream splitter, a reconnecting client and a server for many clients."""

from __future__ import annotations

from tracking.igtl.codec import Content, Message, decode, encode
from tracking.igtl.connection import ClientInfo
from tracking.igtl.content import (
    OpaqueContent,
    Point,
    PointContent,
    SensorContent,
    StatusContent,
    StringContent,
    TDataContent,
    TrackedTool,
    TransformContent,
)
from tracking.igtl.control import CommandContent, ReplyContent, StartContent
from tracking.igtl.image import ImageContent
from tracking.igtl.link import Client, LinkState
from tracking.igtl.lists import (
    CapabilityContent,
    ImageMeta,
    ImageMetaContent,
    LabelMeta,
    LabelMetaContent,
    Trajectory,
    TrajectoryContent,
)
from tracking.igtl.messages import (
    image_message,
    point_message,
    sensor_message,
    status_message,
    string_message,
    tdata_message,
    transform_message,
)
from tracking.igtl.ndarray import NDArrayContent
from tracking.igtl.polydata import Attribute, Cells, PolyDataContent
from tracking.igtl.poses import pose_message, poses_from_message
from tracking.igtl.quaternions import PositionContent, QTDataContent, QuaternionTool
from tracking.igtl.server import Server
from tracking.igtl.stream import StreamSplitter
from tracking.igtl.text import WireText

__all__ = [
    "Attribute",
    "CapabilityContent",
    "Cells",
    "Client",
    "ClientInfo",
    "CommandContent",
    "Content",
    "ImageContent",
    "ImageMeta",
    "ImageMetaContent",
    "LabelMeta",
    "LabelMetaContent",
    "LinkState",
    "Message",
    "NDArrayContent",
    "OpaqueContent",
    "Point",
    "PointContent",
    "PolyDataContent",
    "PositionContent",
    "QTDataContent",
    "QuaternionTool",
    "ReplyContent",
    "SensorContent",
    "Server",
    "StartContent",
    "StatusContent",
    "StreamSplitter",
    "StringContent",
    "TDataContent",
    "TrackedTool",
    "Trajectory",
    "TrajectoryContent",
    "TransformContent",
    "WireText",
    "decode",
    "encode",
    "image_message",
    "point_message",
    "pose_message",
    "poses_from_message",
    "sensor_message",
    "status_message",
    "string_message",
    "tdata_message",
    "transform_message",
]
