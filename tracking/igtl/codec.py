"""Strict OpenIGTLink codec: bytes in, `Message` out, and back to the same bytes.

Version 2 puts an extended header before the content and key-value metadata behind it
(http://openigtlink.org/protocols/v3_proposal.html); anything that does not add up is a WireError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from tracking.errors import WireError
from tracking.igtl.content import (
    ASCII,
    UTF8,
    OpaqueContent,
    PointContent,
    SensorContent,
    StatusContent,
    StringContent,
    TDataContent,
    TransformContent,
)
from tracking.igtl.crc import crc64
from tracking.igtl.header import (
    HEADER_BYTES,
    METADATA_LARGEST_BYTES,
    NAME_BYTES,
    Header,
    largest_body_bytes,
    stamp_of,
    text_of,
)
from tracking.igtl.image import ImageContent

Content: TypeAlias = (
    TransformContent
    | StatusContent
    | StringContent
    | SensorContent
    | PointContent
    | ImageContent
    | TDataContent
    | OpaqueContent
)

_UNPACK: dict[str, Callable[[bytes], Content]] = {
    "TRANSFORM": TransformContent.unpack,
    "STATUS": StatusContent.unpack,
    "STRING": StringContent.unpack,
    "SENSOR": SensorContent.unpack,
    "POINT": PointContent.unpack,
    "IMAGE": ImageContent.unpack,
    "TDATA": TDataContent.unpack,
}
_EXTENDED = struct.Struct(">HHII")
_ENTRY = struct.Struct(">HHI")
FULL_NAME_KEY = "IGTL_DEVICE_NAME"


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One OpenIGTLink message.

    `t_s` is the header's time stamp in seconds, `version` the header version (1 or 2); `metadata` and
    `message_id` exist on the wire in version 2 only.
    """

    type: str
    device: str
    t_s: float
    version: int
    metadata: dict[str, str]
    body: Content
    message_id: int = 0

    def with_version(self, version: int) -> Message:
        """The same message for a peer of another header version."""
        return replace(self, version=version)


def _metadata_encoding(text: str) -> int:
    return ASCII if text.isascii() else UTF8


def _pack_metadata(metadata: dict[str, str]) -> tuple[bytes, bytes]:
    """(index, text) as they stand behind the content."""
    index = [struct.pack(">H", len(metadata))]
    text: list[bytes] = []
    for key, value in metadata.items():
        raw_key, raw_value = key.encode("utf-8"), value.encode("utf-8")
        index.append(_ENTRY.pack(len(raw_key), _metadata_encoding(value), len(raw_value)))
        text.extend((raw_key, raw_value))
    return b"".join(index), b"".join(text)


def _unpack_metadata(index: bytes, text: bytes) -> dict[str, str]:
    if not index:
        if text:
            raise WireError("metadata without an index")
        return {}
    (count,) = struct.unpack_from(">H", index) if len(index) >= 2 else (-1,)
    if len(index) != 2 + _ENTRY.size * count:
        raise WireError(f"metadata index of {len(index)} bytes for {count} entries")
    metadata: dict[str, str] = {}
    at = 0
    for key_bytes, _, value_bytes in _ENTRY.iter_unpack(index[2:]):
        middle, end = at + key_bytes, at + key_bytes + value_bytes
        key = text_of(text[at:middle])
        if end > len(text) or key in metadata:
            raise WireError(f"metadata entry {key!r} is cut off or given twice")
        metadata[key] = text_of(text[middle:end])
        at = end
    if at != len(text):
        raise WireError(f"{len(text) - at} bytes of metadata belong to no entry")
    return metadata


def _split_v2(body: bytes) -> tuple[bytes, dict[str, str], int]:
    """(content, metadata, message id) of a version 2 body."""
    if len(body) < _EXTENDED.size:
        raise WireError(f"version 2 body of {len(body)} bytes has no extended header")
    head_bytes, index_bytes, text_bytes, message_id = _EXTENDED.unpack_from(body)
    content_end = len(body) - index_bytes - text_bytes
    if head_bytes < _EXTENDED.size or content_end < head_bytes:
        raise WireError(f"extended header of {head_bytes} bytes and metadata do not fit {len(body)} bytes")
    index_end = content_end + index_bytes
    metadata = _unpack_metadata(body[content_end:index_end], body[index_end:])
    return body[head_bytes:content_end], metadata, message_id


def decode(raw: bytes) -> Message:
    """One complete message, header included; `raw` must hold exactly one.

    Raises WireError for a wrong size, CRC, version, or a body that does not add up. The values inside, such
    as the rigidity of a matrix, are not judged.
    """
    header = Header.unpack(raw)
    if header.body_bytes > largest_body_bytes(header.type, header.version):
        raise WireError(f"{header.type} body of {header.body_bytes} bytes is over the limit")
    if len(raw) != HEADER_BYTES + header.body_bytes:
        raise WireError(
            f"{header.type} of {len(raw)} bytes, its header says {HEADER_BYTES + header.body_bytes}"
        )
    body = bytes(memoryview(raw)[HEADER_BYTES:])
    if crc64(body) != header.crc:
        raise WireError(f"{header.type} from {header.device!r}: CRC mismatch")
    metadata: dict[str, str] = {}
    message_id = 0
    if header.version > 1:
        body, metadata, message_id = _split_v2(body)
    content = _unpack_content(header.type, body)
    device = _full_name(header.device, metadata)
    return Message(header.type, device, header.t_s, header.version, metadata, content, message_id)


def _unpack_content(message_type: str, body: bytes) -> Content:
    unpack = _UNPACK.get(message_type)
    return OpaqueContent(body) if unpack is None else unpack(body)


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
    content = message.body.pack()
    device = message.device
    if version > 1:
        metadata = message.metadata
        if len(device.encode("utf-8")) > NAME_BYTES:
            metadata = {**metadata, FULL_NAME_KEY: device}
            device = _short_name(device)
        content = _join_v2(content, metadata, message.message_id)
    if len(content) > largest_body_bytes(message.type, version):
        raise WireError(f"{message.type} body of {len(content)} bytes is over the limit")
    return (
        Header(version, message.type, device, stamp_of(message.t_s), len(content), crc64(content)).pack()
        + content
    )


def _join_v2(content: bytes, metadata: dict[str, str], message_id: int) -> bytes:
    index, text = _pack_metadata(metadata)
    if len(index) + len(text) > METADATA_LARGEST_BYTES:
        raise WireError(f"metadata of {len(text)} bytes in {len(metadata)} entries is over the limit")
    return _EXTENDED.pack(_EXTENDED.size, len(index), len(text), message_id) + content + index + text
