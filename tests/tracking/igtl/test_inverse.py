"""Encode and decode are inverse for every type in both header versions, field by field and bit by bit."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.tracking.igtl.samples import seeds, some_messages
from tracking.errors import WireError
from tracking.igtl import (
    Attribute,
    CapabilityContent,
    Cells,
    CommandContent,
    Content,
    ImageContent,
    ImageMeta,
    ImageMetaContent,
    LabelMeta,
    LabelMetaContent,
    Message,
    NDArrayContent,
    OpaqueContent,
    Point,
    PointContent,
    PolyDataContent,
    PositionContent,
    QTDataContent,
    QuaternionTool,
    ReplyContent,
    SensorContent,
    StartContent,
    StatusContent,
    StringContent,
    TDataContent,
    TrackedTool,
    Trajectory,
    TrajectoryContent,
    TransformContent,
    decode,
    encode,
)
from tracking.igtl.crc import crc64
from tracking.igtl.header import HEADER_BYTES, Header, seconds_of

numbers = st.floats(width=32, allow_nan=False)
u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
vectors = st.tuples(numbers, numbers, numbers)
quaternions = st.tuples(numbers, numbers, numbers, numbers)
colours = st.tuples(u8, u8, u8, u8)
sizes = st.tuples(u16, u16, u16)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def names(size: int) -> st.SearchStrategy[str]:
    """What fits a fixed field: characters of up to four bytes, none of them a NUL."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(letters, max_size=size // 4)


def rows(element: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(element, max_size=4).map(tuple)


matrices = arrays.arrays(np.float64, (3, 4), elements=numbers).map(lambda m: np.vstack([m, (0, 0, 0, 1)]))


@st.composite
def images(draw: st.DrawFn) -> ImageContent:
    shape = draw(st.tuples(*[st.integers(1, 4)] * draw(st.integers(3, 4))))
    dtype = draw(st.sampled_from(["i1", "u1", "<i2", ">u2", "<i4", ">u4", "<f4", ">f8"]))
    offset = draw(st.tuples(*[st.integers(0, 3)] * 3))
    size = tuple(n + o + draw(st.integers(0, 2)) for n, o in zip(shape[2::-1], offset, strict=True))
    array = draw(arrays.arrays(dtype, shape, elements=st.integers(0, 100)))
    order = 2 if dtype in ("i1", "u1") or dtype[0] == "<" else 1
    return ImageContent(array, draw(matrices), size, offset, draw(u8), draw(u16), order)


@st.composite
def ndarrays(draw: st.DrawFn) -> NDArrayContent:
    dtype = draw(st.sampled_from(["i1", "u1", "<i2", ">u2", "<i4", ">u4", "<f4", ">f8", "c16"]))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
    return NDArrayContent(draw(arrays.arrays(dtype, shape, elements=st.integers(0, 100))))


@st.composite
def polydata(draw: st.DrawFn) -> PolyDataContent:
    points = draw(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=numbers))
    index = st.integers(0, len(points) - 1)

    def cells() -> Cells:
        lists = draw(st.lists(st.lists(index, max_size=4), max_size=4))
        return Cells(len(lists), np.array([n for cell in lists for n in (len(cell), *cell)], dtype=np.uint32))

    def attribute() -> Attribute:
        shape = draw(st.tuples(st.integers(0, 4), st.integers(0, 9)))
        return Attribute(draw(names(255)), draw(u8), draw(arrays.arrays(np.float32, shape, elements=numbers)))

    attributes = tuple(attribute() for _ in range(draw(st.integers(0, 3))))
    return PolyDataContent(points, cells(), cells(), cells(), cells(), attributes)


CONTENTS: dict[str, st.SearchStrategy[Content]] = {
    "TRANSFORM": matrices.map(TransformContent),
    "POSITION": st.builds(PositionContent, vectors, st.one_of(st.just(()), vectors, quaternions)),
    "STATUS": st.builds(StatusContent, u16, st.integers(-(2**63), 2**63 - 1), names(20), names(80)),
    "STRING": st.builds(StringContent, words),
    "COMMAND": st.builds(CommandContent, u32, names(128), words),
    "SENSOR": st.builds(SensorContent, rows(st.floats(allow_nan=False)), st.integers(0, 2**64 - 1), u8),
    "POINT": st.builds(
        PointContent, rows(st.builds(Point, names(64), vectors, names(32), colours, numbers, names(20)))
    ),
    "TRAJ": st.builds(
        TrajectoryContent,
        rows(
            st.builds(Trajectory, names(64), vectors, vectors, names(32), u8, colours, numbers, names(20), u8)
        ),
    ),
    "TDATA": st.builds(TDataContent, rows(st.builds(TrackedTool, names(20), matrices, u8, u8))),
    "QTDATA": st.builds(
        QTDataContent, rows(st.builds(QuaternionTool, names(20), vectors, quaternions, u8, u8))
    ),
    "IMGMETA": st.builds(
        ImageMetaContent,
        rows(
            st.builds(
                ImageMeta,
                names(64),
                names(20),
                names(32),
                names(64),
                names(64),
                st.integers(0, 2**64 - 1),
                sizes,
                u8,
                u8,
            )
        ),
    ),
    "LBMETA": st.builds(
        LabelMetaContent, rows(st.builds(LabelMeta, names(64), names(20), u8, colours, sizes, names(20), u8))
    ),
    "CAPABILITY": st.builds(CapabilityContent, rows(names(12))),
    "STT_TDATA": st.builds(StartContent, u32, names(32)),
    "RTS_TDATA": st.builds(ReplyContent, u8),
    "IMAGE": images(),
    "NDARRAY": ndarrays(),
    "POLYDATA": polydata(),
    "NEWTYPE": st.builds(OpaqueContent, st.binary(max_size=50)),
}


def plain(value: Any) -> Any:
    """Contents as nested tuples, arrays by their shape and numbers."""
    if isinstance(value, np.ndarray):
        return value.squeeze(axis=3).shape if value.shape[3:] == (1,) else value.shape, value.ravel().tolist()
    if isinstance(value, tuple):
        return tuple(plain(v) for v in value)
    if hasattr(value, "__dataclass_fields__"):
        return type(value), tuple(plain(getattr(value, name)) for name in value.__dataclass_fields__)
    return value


@pytest.mark.parametrize("kind", CONTENTS)
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_fields_come_back(kind: str, data: st.DataObject) -> None:
    content = data.draw(CONTENTS[kind])
    version = data.draw(st.sampled_from([1, 2]))
    device = data.draw(
        st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=20)
    )
    metadata = data.draw(st.dictionaries(words, words, max_size=3)) if version == 2 else {}
    stamp = data.draw(st.integers(0, 2**64 - 1))
    sent = Message(kind, device, seconds_of(stamp), version, metadata, content, data.draw(u32), stamp)
    raw = encode(sent)
    back = decode(raw)
    assert plain(back.body) == plain(content)
    assert (back.type, back.device, back.stamp, back.version) == (kind, device, stamp, version)
    assert back.metadata == ({} if version == 1 else metadata)
    assert back.message_id == (0 if version == 1 else sent.message_id)
    assert encode(back) == raw


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_bytes_come_back(data: st.DataObject) -> None:
    """Whatever the decoder accepts it writes again, bit by bit; only a signalling NaN comes back quiet."""
    raw = bytearray(data.draw(st.sampled_from(seeds())))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(u8)
    raw[42:50] = struct.pack(">Q", len(raw) - HEADER_BYTES)
    raw[50:58] = struct.pack(">Q", crc64(bytes(raw[HEADER_BYTES:])))
    try:
        again = encode(decode(bytes(raw)))
    except WireError:
        return
    changed = {a ^ b for a, b in zip(raw[HEADER_BYTES:], again[HEADER_BYTES:], strict=True)}
    assert changed <= {0, 0x40}
    assert raw[:50] == again[:50]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("message", some_messages(), ids=lambda m: m.type)
def test_any_stamp_comes_back(message: Message, version: int) -> None:
    """Also those that float64 seconds cannot hold: today's have 2^-22 s, the wire has 2^-32 s."""
    raw = bytearray(encode(message, version))
    raw[34:42] = (0x6B49D200_00000001).to_bytes(8, "big")
    assert encode(decode(bytes(raw))) == raw
    assert Header.unpack(raw).stamp == 0x6B49D200_00000001


@pytest.mark.parametrize(
    "body",
    [
        # extended header of 12, 16 and 40 bytes; index and text sizes; message 7; the content of RTS_ is one byte
        struct.pack(">HHII", 12, 2, 0, 7) + b"\1" + b"\0\0",
        struct.pack(">HHII", 16, 2, 0, 7) + b"new!" + b"\1" + b"\0\0",
        struct.pack(">HHII", 40, 0, 0, 7) + bytes(range(28)) + b"\1",
        # one entry, its value called UTF-8 although ASCII would do, Latin-1, an unknown set, no set, not what it says
        struct.pack(">HHII", 12, 10, 3, 7) + b"\1" + struct.pack(">HHHI", 1, 1, 106, 2) + b"kva",
        struct.pack(">HHII", 12, 10, 3, 7) + b"\1" + struct.pack(">HHHI", 1, 1, 4, 2) + b"kv\xe9",
        struct.pack(">HHII", 12, 10, 3, 7) + b"\1" + struct.pack(">HHHI", 1, 1, 2026, 2) + b"kv\xe9",
        struct.pack(">HHII", 12, 10, 3, 7) + b"\1" + struct.pack(">HHHI", 1, 1, 0, 2) + b"kva",
        struct.pack(">HHII", 12, 10, 3, 7) + b"\1" + struct.pack(">HHHI", 1, 1, 3, 2) + b"\xffv\xe9",
    ],
)
def test_odd_extended_headers_and_metadata_come_back(body: bytes) -> None:
    raw = Header(2, "RTS_X", "x", 0, len(body), crc64(body)).pack() + body
    message = decode(raw)
    assert (message.message_id, message.body) == (7, ReplyContent(1))
    assert encode(message) == raw


def test_a_device_name_that_is_no_utf8_comes_back() -> None:
    raw = Header(1, "RTS_X", "x", 0, 1, crc64(b"\1")).pack().replace(b"x", b"\xfc", 1) + b"\1"
    assert decode(raw).device == "?"
    assert encode(decode(raw)) == raw


def test_a_changed_time_is_written() -> None:
    message = decode(seeds()[0])
    moved = Message(message.type, message.device, 5.0, 1, {}, message.body, 0, message.stamp)
    assert decode(encode(moved)).t_s == 5.0
