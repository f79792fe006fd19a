"""Version 2 bodies: the extended header before the content, the metadata behind it.

Layout: http://openigtlink.org/protocols/v3_header.html; anything that does not add up is a WireError.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tracking.errors import WireError
from tracking.igtl.header import METADATA_LARGEST_BYTES
from tracking.igtl.text import ASCII, NATURAL, WireText, decode_text, natural_encoding, text_of, wire_bytes

_EXTENDED = struct.Struct(">HHII")
_COUNT = struct.Struct(">H")
_ENTRY = struct.Struct(">HHI")


class Extended(NamedTuple):
    """The parts of a version 2 body; `extension` is what the extended header holds beyond its 12 bytes.

    `indexed` is False for a sender that leaves out even the number of its entries where it has none.
    """

    content: bytes
    metadata: dict[str, str]
    message_id: int = 0
    extension: bytes = b""
    indexed: bool = True


def split(body: bytes) -> Extended:
    """A version 2 body taken apart."""
    if len(body) < _EXTENDED.size:
        raise WireError(f"version 2 body of {len(body)} bytes has no extended header")
    head_bytes, index_bytes, text_bytes, message_id = _EXTENDED.unpack_from(body)
    content_end = len(body) - index_bytes - text_bytes
    if head_bytes < _EXTENDED.size or content_end < head_bytes:
        raise WireError(f"extended header of {head_bytes} bytes and metadata do not fit {len(body)} bytes")
    if index_bytes + text_bytes > METADATA_LARGEST_BYTES:
        raise WireError(f"metadata of {text_bytes} bytes is over the limit")
    index_end = content_end + index_bytes
    metadata = _unpack(body[content_end:index_end], body[index_end:])
    extension = body[_EXTENDED.size : head_bytes] if head_bytes > _EXTENDED.size else b""
    return Extended(body[head_bytes:content_end], metadata, message_id, extension, index_bytes > 0)


def join(parts: Extended) -> bytes:
    """The version 2 body of the parts."""
    content, metadata, message_id, extension, indexed = parts
    index, text = _pack(metadata) if metadata or indexed else (b"", b"")
    if len(index) + len(text) > METADATA_LARGEST_BYTES:
        raise WireError(f"metadata of {len(text)} bytes in {len(metadata)} entries is over the limit")
    head = _EXTENDED.pack(_EXTENDED.size + len(extension), len(index), len(text), message_id)
    return b"".join((head, extension, content, index, text))


def _pack(metadata: dict[str, str]) -> tuple[bytes, bytes]:
    """(index, text) as they stand behind the content."""
    index = [_COUNT.pack(len(metadata))]
    text: list[bytes] = []
    for key, value in metadata.items():
        raw_key, raw_value = wire_bytes(key), wire_bytes(value)
        encoding = value.encoding if isinstance(value, WireText) else NATURAL
        if encoding == NATURAL:
            encoding = natural_encoding(value)
        index.append(_ENTRY.pack(len(raw_key), encoding, len(raw_value)))
        text += (raw_key, raw_value)
    return b"".join(index), b"".join(text)


def _unpack(index: bytes, text: bytes) -> dict[str, str]:
    if not index:
        if text:
            raise WireError("metadata without an index")
        return {}
    (count,) = _COUNT.unpack_from(index) if len(index) >= _COUNT.size else (-1,)
    if len(index) != _COUNT.size + _ENTRY.size * count:
        raise WireError(f"metadata index of {len(index)} bytes for {count} entries")
    metadata: dict[str, str] = {}
    at = 0
    for key_bytes, encoding, value_bytes in _ENTRY.iter_unpack(index[_COUNT.size :]):
        middle, end = at + key_bytes, at + key_bytes + value_bytes
        key = text_of(text[at:middle])
        if end > len(text) or key in metadata:
            raise WireError(f"metadata entry {key!r} is cut off or given twice")
        metadata[key] = _value(text[middle:end], encoding)
        at = end
    if at != len(text):
        raise WireError(f"{len(text) - at} bytes of metadata belong to no entry")
    return metadata


def _value(raw: bytes, encoding: int) -> str:
    """A plain string where it goes out again as it came, else one that remembers."""
    if encoding == ASCII and raw.isascii():
        return raw.decode("ascii")
    text = decode_text(raw, encoding)
    if isinstance(text, WireText) or encoding == natural_encoding(text):
        return text
    return WireText(text, raw, encoding)
