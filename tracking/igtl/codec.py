"""Strict OpenIGTLink codec: bytes in, `Message` out, and back to the same bytes.

What no field of a content can hold (odd padding, an unknown character set) is kept beside it, so that a
recorded message can be written again bit by bit; anything that does not add up is a WireError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from tracking.errors import WireError
from tracking.igtl import metadata as extended
from tracking.igtl.content import (
    OpaqueContent,
    PointContent,
    SensorContent,
    StatusContent,
    StringContent,
    TDataContent,
    TransformContent,
)
from tracking.igtl.control import CommandContent, ReplyContent, StartContent
from tracking.igtl.crc import crc64
from tracking.igtl.header import (
    HEADER_BYTES,
    NAME_BYTES,
    Header,
    largest_body_bytes,
    seconds_of,
    stamp_of,
)
from tracking.igtl.image import ImageContent
from tracking.igtl.lists import CapabilityContent, ImageMetaContent, LabelMetaContent, TrajectoryContent
from tracking.igtl.ndarray import NDArrayContent
from tracking.igtl.polydata import PolyDataContent
from tracking.igtl.quaternions import PositionContent, QTDataContent
from tracking.igtl.text import wire_bytes

Content: TypeAlias = (
    TransformContent
    | PositionContent
    | StatusContent
    | StringContent
    | CommandContent
    | SensorContent
    | PointContent
    | TrajectoryContent
    | ImageContent
    | ImageMetaContent
    | LabelMetaContent
    | TDataContent
    | QTDataContent
    | CapabilityContent
    | NDArrayContent
    | PolyDataContent
    | StartContent
    | ReplyContent
    | OpaqueContent
)

_UNPACK: dict[str, Callable[[bytes], Content]] = {
    "TRANSFORM": TransformContent.unpack,
    "POSITION": PositionContent.unpack,
    "QTRANS": PositionContent.unpack,
    "STATUS": StatusContent.unpack,
    "STRING": StringContent.unpack,
    "COMMAND": CommandContent.unpack,
    "RTS_COMMAND": CommandContent.unpack,
    "SENSOR": SensorContent.unpack,
    "POINT": PointContent.unpack,
    "TRAJ": TrajectoryContent.unpack,
    "IMAGE": ImageContent.unpack,
    "IMGMETA": ImageMetaContent.unpack,
    "LBMETA": LabelMetaContent.unpack,
    "TDATA": TDataContent.unpack,
    "QTDATA": QTDataContent.unpack,
    "CAPABILITY": CapabilityContent.unpack,
    "NDARRAY": NDArrayContent.unpack,
    "POLYDATA": PolyDataContent.unpack,
    "STT_TDATA": StartContent.unpack,
    "STT_QTDATA": StartContent.unpack,
}
FULL_NAME_KEY = "IGTL_DEVICE_NAME"


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One OpenIGTLink message.

    `t_s` is the header's time stamp in seconds, `version` the header version (1 or 2); `metadata` and
    `message_id` exist on the wire in version 2 only. The last three are what a received message holds beyond
    that: the exact 32.32 stamp, used as long as it is that of `t_s`, what stands behind the 12 known bytes
    of its extended header, and whether it counted its metadata.
    """

    type: str
    device: str
    t_s: float
    version: int
    metadata: dict[str, str]
    body: Content
    message_id: int = 0
    stamp: int | None = None
    extension: bytes = b""
    indexed: bool = True

    def with_version(self, version: int) -> Message:
        """The same message for a peer of another header version."""
        return replace(self, version=version)


def decode(raw: bytes) -> Message:
    """One complete message, header included; `raw` must hold exactly one.

    WireError for anything that does not add up: size, CRC, content.
    """
    header = Header.unpack(raw)
    if header.body_bytes > largest_body_bytes(header.type, header.version):
        raise WireError(f"{header.type} body of {header.body_bytes} bytes is over the limit")
    if len(raw) != HEADER_BYTES + header.body_bytes:
        raise WireError(
            f"{header.type} of {len(raw)} bytes, its header says {HEADER_BYTES + header.body_bytes}"
        )
    body = bytes(raw[HEADER_BYTES:])
    if crc64(body) != header.crc:
        raise WireError(f"{header.type} from {header.device!r}: CRC mismatch")
    if header.version == 1:
        content = _unpack_content(header.type, body)
        return Message(header.type, header.device, header.t_s, 1, {}, content, 0, header.stamp)
    body, metadata, message_id, extension, indexed = extended.split(body)
    _check_content_size(header.type, body)
    return Message(
        header.type,
        _full_name(header.device, metadata),
        header.t_s,
        header.version,
        metadata,
        _unpack_content(header.type, body),
        message_id,
        header.stamp,
        extension,
        indexed,
    )


def _check_content_size(message_type: str, content: bytes) -> None:
    """The room of the metadata is not the content's."""
    if len(content) > largest_body_bytes(message_type, 1):
        raise WireError(f"{message_type} content of {len(content)} bytes is over the limit")


def _unpack_content(message_type: str, body: bytes) -> Content:
    unpack = _UNPACK.get(message_type)
    if unpack is not None:
        return unpack(body)
    return ReplyContent.unpack(body) if message_type.startswith("RTS_") else OpaqueContent(body)


def _short_name(device: str) -> str:
    """The first 20 bytes, cut between characters."""
    return device.encode("utf-8")[:NAME_BYTES].decode("utf-8", "ignore")


def _full_name(device: str, metadata: dict[str, str]) -> str:
    """The metadata's long name where it continues the header's, else the header's."""
    full = metadata.get(FULL_NAME_KEY, "")
    return full if full and _short_name(full) == device else device


def encode(message: Message, version: int | None = None) -> bytes:
    """The complete bytes of a message, in its own header version or the one given.

    Version 1 drops the metadata. A device name of more than 20 bytes is cut in a version 2 header, with the
    full name in the metadata, and a WireError in version 1; so is whatever does not fit its field.
    """
    version = message.version if version is None else version
    try:
        return _encode(message, version)
    except (struct.error, OverflowError, UnicodeEncodeError) as error:
        raise WireError(f"{message.type} {message.device!r} does not fit the wire: {error}") from error


def _encode(message: Message, version: int) -> bytes:
    body = message.body.pack()
    _check_content_size(message.type, body)
    device = message.device
    if version > 1:
        metadata = message.metadata
        if len(wire_bytes(device)) > NAME_BYTES:
            metadata = {**metadata, FULL_NAME_KEY: device}
            device = _short_name(device)
        parts = extended.Extended(body, metadata, message.message_id, message.extension, message.indexed)
        body = extended.join(parts)
    header = Header(version, message.type, device, _stamp(message), len(body), crc64(body))
    return header.pack() + body


def _stamp(message: Message) -> int:
    """The stamp as it was received, unless the time has been changed since."""
    stamp = message.stamp
    return stamp if stamp is not None and seconds_of(stamp) == message.t_s else stamp_of(message.t_s)
