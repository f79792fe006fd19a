"""Each type against bytes that are written out by hand from the protocol's tables, number by number."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.tracking.igtl.samples import of
from tracking.errors import WireError
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
    PolyDataContent,
    PositionContent,
    QTDataContent,
    QuaternionTool,
    ReplyContent,
    StartContent,
    StatusContent,
    StringContent,
    Trajectory,
    TrajectoryContent,
    WireText,
    decode,
    encode,
)
from tracking.igtl.crc import crc64
from tracking.igtl.header import ARRAY_LARGEST_BYTES, HEADER_BYTES, Header

# IEEE 754, big-endian: 1.0 = 3f800000, 2.0 = 40000000, -0.5 = bf000000, 0.5 = 3f000000
ONE, TWO, HALF, MINUS_HALF, ZERO = (
    bytes.fromhex(h) for h in ("3f800000", "40000000", "3f000000", "bf000000", "00000000")
)


def padded(text: bytes, size: int) -> bytes:
    return text + bytes(size - len(text))


def received(kind: str, body: bytes, version: int = 1) -> Message:
    return decode(Header(version, kind, "x", 0, len(body), crc64(body)).pack() + body)


def body_of(message: Message) -> bytes:
    return encode(message)[HEADER_BYTES:]


BYTES: list[tuple[str, Content, bytes]] = [
    ("POSITION", PositionContent((1.0, 2.0, 0.5)), ONE + TWO + HALF),
    (
        "POSITION",
        PositionContent((1.0, 2.0, 0.5), (0.5, -0.5, 0.0)),
        ONE + TWO + HALF + HALF + MINUS_HALF + ZERO,
    ),
    (
        "POSITION",
        PositionContent((1.0, 2.0, 0.5), (0.0, 0.0, 0.0, 1.0)),
        ONE + TWO + HALF + 3 * ZERO + ONE,
    ),
    (
        # name 20, kind, reserved, x y z, qx qy qz w
        "QTDATA",
        QTDataContent((QuaternionTool("Probe", (1.0, 2.0, 0.5), (0.5, 0.5, -0.5, 0.5), 4),)),
        padded(b"Probe", 20) + b"\4\0" + ONE + TWO + HALF + HALF + HALF + MINUS_HALF + HALF,
    ),
    (
        # number u32, name 128, character set u16, length u32, text
        "COMMAND",
        CommandContent(0x01020304, "Stop", "now", 3),
        b"\1\2\3\4" + padded(b"Stop", 128) + b"\0\3" + b"\0\0\0\3" + b"now",
    ),
    (
        "CAPABILITY",
        CapabilityContent(("IMAGE", "GET_IMAGE")),
        padded(b"IMAGE", 12) + padded(b"GET_IMAGE", 12),
    ),
    # least time u32 in ms: 0x32 = 50; name 32
    ("STT_TDATA", StartContent(50, "CAMERA"), b"\0\0\0\x32" + padded(b"CAMERA", 32)),
    ("RTS_QTDATA", ReplyContent(1), b"\1"),
    (
        # name 64, device 20, modality 32, patient 64, number 64, time u64, size 3 u16, scalar type, reserved
        "IMGMETA",
        ImageMetaContent((ImageMeta("Head", "CT1", "CT", "Doe", "47", 5, (512, 256, 3), 4),)),
        padded(b"Head", 64)
        + padded(b"CT1", 20)
        + padded(b"CT", 32)
        + padded(b"Doe", 64)
        + padded(b"47", 64)
        + bytes(7)
        + b"\5"
        + b"\2\0\1\0\0\3"
        + b"\4\0",
    ),
    (
        # name 64, device 20, label, reserved, colour 4, size 3 u16, owner 20
        "LBMETA",
        LabelMetaContent((LabelMeta("Node", "L1", 7, (1, 2, 3, 4), (5, 6, 258), "CT1"),)),
        padded(b"Node", 64) + padded(b"L1", 20) + b"\7\0\1\2\3\4\0\5\0\6\1\2" + padded(b"CT1", 20),
    ),
    (
        # name 64, group 32, kind, reserved, colour 4, entry, target, diameter, owner 20
        "TRAJ",
        TrajectoryContent(
            (Trajectory("W", (1.0, 2.0, 0.5), (0.0, 0.0, 1.0), "G", 2, (9, 8, 7, 6), 2.0, "CT1"),)
        ),
        padded(b"W", 64)
        + padded(b"G", 32)
        + b"\2\0\x09\x08\x07\x06"
        + (ONE + TWO + HALF)
        + (ZERO + ZERO + ONE)
        + TWO
        + padded(b"CT1", 20),
    ),
]


@pytest.mark.parametrize(("kind", "content", "body"), BYTES, ids=[f"{k}-{len(b)}" for k, _, b in BYTES])
def test_bytes(kind: str, content: Content, body: bytes) -> None:
    assert body_of(of(kind, content)) == body
    assert received(kind, body).body == content


# Everything but lists, texts and arrays has one size, or a few.
SIZES = {
    "TRANSFORM": {48},
    "POSITION": {12, 24, 28},
    "QTRANS": {12, 24, 28},
    "STT_TDATA": {0, 36},
    "STT_QTDATA": {0, 36},
    "QTDATA": {0, 50, 100, 150},
    "TDATA": {0, 70, 140},
    "CAPABILITY": set(range(0, 161, 12)),
    "LBMETA": {0, 116},
    "TRAJ": {0, 150},
    "POINT": {0, 136},
}


@pytest.mark.parametrize("kind", SIZES)
def test_a_body_of_another_size_is_refused(kind: str) -> None:
    for size in range(161):
        if size in SIZES[kind]:
            received(kind, bytes(size))
        else:
            with pytest.raises(WireError):
                received(kind, bytes(size))


def test_an_orientation_of_two_numbers_is_none() -> None:
    with pytest.raises(WireError, match="orientation"):
        PositionContent((0.0, 0.0, 0.0), (0.0, 1.0))


@pytest.mark.parametrize("length", [0, 2, 4, 2**32 - 1])
def test_the_length_of_a_command_must_be_its_bodys(length: int) -> None:
    with pytest.raises(WireError, match="bytes"):
        received("COMMAND", bytes(4 + 128) + struct.pack(">HI", 3, length) + b"now")


def test_ndarray_bytes() -> None:
    # scalar type 5 (uint16), two axes of 2 and 3, last index fastest, big-endian
    body = b"\5\2\0\2\0\3" + b"\0\1\0\2\0\3\1\0\2\0\3\0"
    content = received("NDARRAY", body).body
    assert isinstance(content, NDArrayContent)
    assert content.array.tolist() == [[1, 2, 3], [256, 512, 768]]
    assert NDArrayContent(np.array([[1, 2, 3], [256, 512, 768]], dtype=np.uint16)).pack() == body
    assert not content.array.flags.writeable


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64", "complex128"]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (3, 0, 2), (1,) * 20])
def test_ndarray_of_any_number(dtype: str, order: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape).astype(np.dtype(dtype).newbyteorder(order))
    content = received("NDARRAY", NDArrayContent(array).pack()).body
    assert isinstance(content, NDArrayContent)
    assert content.array.shape == shape
    assert np.array_equal(content.array, array)
    assert content.array.dtype == np.dtype(dtype).newbyteorder(">")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\3",
        # three axes, but sizes for two; an unknown scalar type; 255 axes of 1
        b"\3\3\0\1\0\1",
        b"\x0c\1\0\1\0",
        b"\3\xff" + b"\0\1" * 255 + b"\0",
        # 2^16 - 1 along four axes, with nothing behind
        b"\3\4" + b"\xff\xff" * 4,
        # nothing at all in it, but too wide to be described
        b"\3\x08" + b"\0\0" + b"\xff\xff" * 7,
        b"\3\1\0\2\0",
        b"\3\1\0\2\0\0\0",
    ],
)
def test_ndarray_whose_sizes_do_not_fit_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="NDARRAY"):
        received("NDARRAY", body)


@pytest.mark.parametrize(
    "array", [np.zeros(2, np.int64), np.zeros(2, bool), np.zeros((1,) * 33), np.zeros(0x10000)]
)
def test_ndarray_that_has_no_form_is_refused(array: np.ndarray) -> None:
    with pytest.raises(WireError):
        NDArrayContent(array)


def poly(*counts: int, rest: bytes = b"") -> bytes:
    return struct.pack(">10I", *counts) + rest


# points, then (number, bytes) of vertices, lines, polygons and strips, then attributes
TRIANGLE = poly(3, 0, 0, 0, 0, 1, 16, 0, 0, 1) + (
    3 * ZERO  # the points
    + (ONE + 2 * ZERO)
    + (ZERO + ONE + ZERO)
    + struct.pack(">4I", 3, 0, 1, 2)
    # attribute: point scalars (0) of one component, 3 of them; "ab" and its NUL are odd, so one more
    + struct.pack(">BBI", 0, 1, 3)
    + b"ab\0\0"
    + (ONE + TWO + HALF)
)


def test_polydata_bytes() -> None:
    content = received("POLYDATA", TRIANGLE).body
    assert isinstance(content, PolyDataContent)
    assert content.points_mm.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert (content.polygons.count, content.polygons.points_used().tolist()) == (1, [0, 1, 2])
    assert (content.vertices.count, content.lines.count, content.strips.count) == (0, 0, 0)
    (attribute,) = content.attributes
    assert (attribute.name, attribute.kind, attribute.values.tolist()) == ("ab", 0, [[1.0], [2.0], [0.5]])
    made = PolyDataContent(
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        polygons=Cells.of(np.array([[0, 1, 2]])),
        attributes=(Attribute("ab", 0, np.array([[1.0], [2.0], [0.5]])),),
    )
    assert made.pack() == TRIANGLE == content.pack()


def test_cells_of_different_sizes() -> None:
    cells = Cells(3, np.array([2, 0, 1, 0, 3, 2, 1, 0]))
    assert cells.points_used().tolist() == [0, 1, 2, 1, 0]


@pytest.mark.parametrize(
    "body",
    [
        poly(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)[:-1],
        # points, cells or attributes that are not there
        poly(2**32 - 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        poly(0, 0, 0, 2**31, 2**32 - 4, 0, 0, 0, 0, 0),
        poly(0, 0, 0, 0, 0, 0, 0, 0, 0, 2**32 - 1),
        # cells of three bytes, cells that overlap their end, fewer or more than announced, beyond the points
        poly(1, 1, 3, 0, 0, 0, 0, 0, 0, 0, rest=bytes(15)),
        poly(1, 1, 8, 0, 0, 0, 0, 0, 0, 0, rest=bytes(12) + struct.pack(">2I", 2, 0)),
        poly(1, 3, 8, 0, 0, 0, 0, 0, 0, 0, rest=bytes(12) + struct.pack(">2I", 1, 0)),
        poly(1, 1, 16, 0, 0, 0, 0, 0, 0, 0, rest=bytes(12) + struct.pack(">4I", 1, 0, 1, 0)),
        poly(1, 1, 8, 0, 0, 0, 0, 0, 0, 0, rest=bytes(12) + struct.pack(">2I", 1, 1)),
        # something behind the end, a padding that is none, a name without an end, values that are not there
        TRIANGLE + b"\0",
        TRIANGLE.replace(b"ab\0\0", b"ab\0x"),
        poly(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, rest=struct.pack(">BBI", 0, 1, 0) + b"a" * 256 + b"\0\0"),
        poly(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, rest=struct.pack(">BBI", 0, 255, 2**32 - 1) + b"a\0"),
    ],
)
def test_polydata_whose_counts_do_not_fit_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="POLYDATA"):
        received("POLYDATA", body)


def test_polydata_that_has_no_form_is_refused() -> None:
    with pytest.raises(WireError):
        PolyDataContent(np.zeros((2, 2)))
    for name in ("a" * 256, "a\0b"):
        with pytest.raises(WireError, match="name"):
            PolyDataContent(np.zeros((0, 3)), attributes=(Attribute(name, 0, np.zeros((0, 1))),)).pack()


@pytest.mark.parametrize("kind", ["NDARRAY", "POLYDATA", "BIND"])
def test_arrays_are_capped_before_they_are_read(kind: str) -> None:
    with pytest.raises(WireError, match="limit"):
        decode(Header(1, kind, "x", 0, ARRAY_LARGEST_BYTES + 1, 0).pack())


@pytest.mark.parametrize(
    ("encoding", "raw", "text"),
    [
        (3, b"cafe", "cafe"),
        (4, b"caf\xe9", "café"),
        (106, b"caf\xc3\xa9", "café"),
        (1013, b"\0c\0a", "ca"),
        (2252, b"\x80", "€"),
        # UTF-8 that calls itself ASCII, as many senders have it
        (3, b"caf\xc3\xa9", "café"),
        # not what they say they are, and a set that is not known here (Big5)
        (106, b"caf\xe9", "caf?"),
        (3, b"\xff\xfe", "??"),
        (1013, b"\0c\0", "c?"),
        (2026, b"a\xa4\xa4", "a??"),
        (0, b"a", "a"),
    ],
)
def test_text_in_any_character_set_comes_back(encoding: int, raw: bytes, text: str) -> None:
    body = struct.pack(">HH", encoding, len(raw)) + raw
    content = received("STRING", body).body
    assert isinstance(content, StringContent)
    assert (content.text, content.encoding, content.data) == (text, encoding, raw)
    assert content.pack() == body
    command = struct.pack(">I128sHI", 1, b"", encoding, len(raw)) + raw
    content = received("COMMAND", command).body
    assert isinstance(content, CommandContent)
    assert (content.text, content.pack()) == (text, command)


def test_text_that_its_character_set_lacks_is_refused() -> None:
    for encoding in (3, 4, 2026):
        with pytest.raises(WireError, match="character set"):
            StringContent("€", encoding).pack()


def test_what_a_sloppy_sender_leaves_behind_a_nul_comes_back() -> None:
    body = b"Probe\0remains of old".ljust(20, b"\0") + b"\2\0" + bytes(48)
    content = received("TDATA", body).body
    assert content.pack() == body
    assert [t.name for t in content.tools] == ["Probe"]


@pytest.mark.parametrize("end", [b"", b"\0", b"\0\0", b"\0old\0"])
def test_the_end_of_a_status_comes_back(end: bytes) -> None:
    body = struct.pack(">Hq20s", 1, 0, b"") + b"ready" + end
    content = received("STATUS", body).body
    assert content == StatusContent(1, 0, "", "ready")
    assert content.pack() == body


def test_text_with_bytes_is_text() -> None:
    text = WireText("a?", b"a\xff")
    assert (text, hash(text), text.raw) == ("a?", hash("a?"), b"a\xff")


def test_start_and_reply_without_a_body() -> None:
    assert received("STT_TDATA", b"").body == OpaqueContent()
    assert received("RTS_TRANS", b"").body == OpaqueContent()
    assert received("RTS_IMAGE", b"\0").body == ReplyContent(0)


@pytest.mark.parametrize("order", [b"\1", b"\2"])
def test_the_byte_order_of_single_bytes_comes_back(order: bytes) -> None:
    # version u16, 1 component, uint8 (3), byte order, RAS (1), size, matrix, offset, size of the part, one voxel
    body = b"\0\1\1\3" + order + b"\1" + b"\0\1\0\1\0\1" + bytes(48) + bytes(6) + b"\0\1\0\1\0\1" + b"\7"
    assert received("IMAGE", body).body.pack() == body
