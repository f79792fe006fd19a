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
from tracking.igtl.image import ImageContent
from tracking.igtl.link import Client, LinkState
from tracking.igtl.messages import (
    image_message,
    point_message,
    sensor_message,
    status_message,
    string_message,
    tdata_message,
    transform_message,
)
from tracking.igtl.poses import pose_message, poses_from_message
from tracking.igtl.server import Server
from tracking.igtl.stream import StreamSplitter

__all__ = [
    "Client",
    "ClientInfo",
    "Content",
    "ImageContent",
    "LinkState",
    "Message",
    "OpaqueContent",
    "Point",
    "PointContent",
    "SensorContent",
    "Server",
    "StatusContent",
    "StreamSplitter",
    "StringContent",
    "TDataContent",
    "TrackedTool",
    "TransformContent",
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
