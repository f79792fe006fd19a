"""The codec's own rules: everything that does not add up is refused, everything sent comes back."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.igtl.samples import NOW_S, POSE, Grid, seeds, some_messages
from tracking.errors import WireError
from tracking.igtl import (
    ImageContent,
    Message,
    OpaqueContent,
    Point,
    SensorContent,
    StatusContent,
    StringContent,
    TransformContent,
    decode,
    encode,
    image_message,
    point_message,
    sensor_message,
    status_message,
    string_message,
    transform_message,
)
from tracking.igtl.crc import crc64
from tracking.igtl.header import (
    HEADER_BYTES,
    METADATA_LARGEST_BYTES,
    Header,
    largest_body_bytes,
    seconds_of,
    stamp_of,
)


def raw_message(kind: str, body: bytes, version: int = 1) -> bytes:
    return Header(version, kind, "x", 0, len(body), crc64(body)).pack() + body


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("message", some_messages(), ids=lambda m: m.type)
def test_round_trip(message: Message, version: int) -> None:
    raw = encode(message, version)
    back = decode(raw)
    assert (back.type, back.device, back.t_s, back.version) == (message.type, message.device, NOW_S, version)
    assert back.metadata == (message.metadata if version == 2 else {})
    assert type(back.body) is type(message.body)
    assert back.body.pack() == message.body.pack()
    assert encode(back) == raw


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("message", some_messages(), ids=lambda m: m.type)
def test_every_truncation_is_refused(message: Message, version: int) -> None:
    raw = encode(message, version)
    for size in range(len(raw)):
        with pytest.raises(WireError):
            decode(raw[:size])
    with pytest.raises(WireError):
        decode(raw + b"\0")


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_every_flipped_bit_of_a_body_is_refused(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([seed for seed in seeds() if len(seed) > HEADER_BYTES])))
    bit = data.draw(st.integers(8 * HEADER_BYTES, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError, match="CRC"):
        decode(bytes(raw))


@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(sorted({message.type for message in some_messages()})),
    version=st.sampled_from([1, 2]),
    body=st.binary(max_size=300),
)
def test_any_body_with_a_right_crc_is_decoded_or_refused(kind: str, version: int, body: bytes) -> None:
    """Nothing but WireError may come out, and what is accepted must be writable again."""
    try:
        message = decode(raw_message(kind, body, version))
    except WireError:
        return
    again = decode(encode(message))
    assert again.metadata == message.metadata
    assert again.body.pack() == message.body.pack()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_flipped_header_bit_never_changes_the_content(data: st.DataObject) -> None:
    raw = bytearray(encode(some_messages()[0], 2))
    bit = data.draw(st.integers(0, 8 * HEADER_BYTES - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        message = decode(bytes(raw))
    except WireError:
        return
    if isinstance(message.body, TransformContent) and message.version == 2:
        assert np.array_equal(message.body.matrix, POSE)
    else:
        assert isinstance(message.body, OpaqueContent)


def test_image_position_is_the_centre() -> None:
    message = image_message("Map_Reference", np.zeros((2, 3, 4), dtype=np.float32), Grid(), 0.0)
    image = message.body
    assert isinstance(image, ImageContent)
    # n = (4, 3, 2), D S (n-1)/2 = 2*1.5 along +y, 3*1 along -x, 4*0.5 along +z
    assert image.matrix[:3, 3] == pytest.approx([1 - 3, 2 + 3, 3 + 2])
    assert image.matrix[:3, 0] == pytest.approx([0, 2, 0])
    back = decode(encode(message)).body
    assert isinstance(back, ImageContent)
    assert back.origin_mm == pytest.approx(Grid().origin_mm)
    assert back.spacing_mm == pytest.approx(Grid().spacing_mm)
    assert back.direction == pytest.approx(Grid().direction)


def test_image_bytes_run_i_fastest() -> None:
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    raw = encode(image_message("Map", voxels, Grid(), 0.0))
    # 58 header, 72 image header; voxel (i, j, k) = (1, 0, 0) is the second number
    assert struct.unpack_from("<2f", raw, 58 + 72) == (voxels[0, 0, 0], voxels[0, 0, 1])
    # version u16, components, scalar type (10: float32), byte order (2: little), frame, size i j k
    assert raw[58 : 58 + 12] == bytes([0, 1, 1, 10, 2, 1, 0, 4, 0, 3, 0, 2])


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 3)])
def test_image_scalars(dtype: str, order: str, shape: tuple[int, ...]) -> None:
    voxels = np.arange(np.prod(shape)).reshape(shape).astype(np.dtype(dtype).newbyteorder(order))
    raw = encode(image_message("Map", voxels, Grid(), 0.0))
    back = decode(raw).body
    assert isinstance(back, ImageContent)
    assert back.array.dtype == voxels.dtype
    assert np.array_equal(back.array, voxels)
    assert not back.array.flags.writeable
    assert encode(decode(raw)) == raw


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "float16"])
def test_image_of_other_scalars_is_refused(dtype: str) -> None:
    with pytest.raises(WireError, match="scalar type"):
        image_message("Map", np.zeros((1, 1, 1), dtype=dtype), Grid(), 0.0)


def test_part_of_an_image_must_lie_inside() -> None:
    voxels = np.zeros((1, 2, 2), dtype=np.uint8)
    assert ImageContent(voxels, np.eye(4), (4, 4, 4), (2, 2, 3)).offset == (2, 2, 3)
    with pytest.raises(WireError, match="does not fit"):
        ImageContent(voxels, np.eye(4), (4, 4, 4), (3, 2, 3))


def test_matrix_goes_out_column_by_column() -> None:
    raw = encode(transform_message("ProbeToTracker", POSE, 0.0))
    # x axis (0,1,0), y axis (-1,0,0), z axis (0,0,1), then the position
    assert struct.unpack(">12f", raw[58:]) == (0, 1, 0, -1, 0, 0, 0, 0, 1, 10, -20, 30.5)


def test_unusable_matrices_pass_the_codec() -> None:
    """The record keeps what was sent; the pose track refuses it."""
    matrix = np.full((4, 4), np.nan)
    body = decode(encode(transform_message("ProbeToTracker", matrix, 0.0))).body
    assert isinstance(body, TransformContent)
    assert np.isnan(body.matrix[:3]).all()


def test_long_name_needs_version_2() -> None:
    name = "VeryLongMarkerNameToReference"
    message = transform_message(name, POSE, 0.0)
    with pytest.raises(WireError, match="20 bytes"):
        encode(message, 1)
    raw = encode(message, 2)
    assert Header.unpack(raw).device == "VeryLongMarkerNameTo"
    assert decode(raw).device == name


def test_metadata_cannot_rename_a_device() -> None:
    raw = encode(transform_message("ProbeToTracker", POSE, 0.0, {"IGTL_DEVICE_NAME": "StylusToTracker"}, 2))
    assert decode(raw).device == "ProbeToTracker"


def test_metadata_given_twice_is_refused() -> None:
    index = struct.pack(">H", 2) + struct.pack(">HHI", 1, 3, 1) * 2
    body = struct.pack(">HHII", 12, len(index), 4, 0) + bytes(48) + index + b"a1a0"
    with pytest.raises(WireError, match="twice"):
        decode(raw_message("TRANSFORM", body, 2))


def test_longer_extended_header_is_skipped() -> None:
    body = struct.pack(">HHII", 16, 0, 0, 7) + b"new!" + TransformContent(POSE).pack()
    message = decode(raw_message("TRANSFORM", body, 2))
    assert message.message_id == 7
    assert isinstance(message.body, TransformContent)
    assert np.array_equal(message.body.matrix, POSE)


def test_size_over_the_limit_is_refused_before_the_body() -> None:
    header = Header(1, "STRING", "x", 0, largest_body_bytes("STRING", 1) + 1, 0).pack()
    with pytest.raises(WireError, match="limit"):
        decode(header)


@pytest.mark.parametrize("version", [0, 3, 65535])
def test_unknown_header_version_is_refused(version: int) -> None:
    raw = bytearray(encode(transform_message("ProbeToTracker", POSE, 0.0)))
    raw[:2] = struct.pack(">H", version)
    with pytest.raises(WireError, match="version"):
        decode(bytes(raw))


@given(st.floats(0.0, 4e9))
def test_stamps_keep_a_quarter_of_a_nanosecond(t_s: float) -> None:
    # 2^-33 of rounding on the wire, and half an ulp of float64 (2^-22 s at 4e9 s) on the way back
    assert abs(seconds_of(stamp_of(t_s)) - t_s) <= 2**-33 + np.spacing(t_s)


@pytest.mark.parametrize("t_s", [-1.0, 2.0**32, float("nan"), float("inf")])
def test_stamp_that_does_not_fit_is_refused(t_s: float) -> None:
    with pytest.raises(WireError, match="time stamp"):
        encode(status_message("x", t_s))


@pytest.mark.parametrize(
    "message",
    [
        string_message("x", "a" * 65536, 0.0),
        string_message("x", "\ud800", 0.0),
        sensor_message("x", [0.0] * 256, 0.0),
        status_message("x", 0.0, code=70000),
        point_message("x", [Point("a" * 65, (0.0, 0.0, 0.0))], 0.0),
        point_message("x", [Point("a", (1e300, 0.0, 0.0))], 0.0),
        point_message("x", [Point("a", (0.0, 0.0, 0.0), rgba=(256, 0, 0, 0))], 0.0),
        string_message("a\0b", "", 0.0),
        string_message("x", "", 0.0, {"k": "v" * (1 << 19)}, 2),
    ],
    ids=range(9),
)
def test_what_does_not_fit_its_field_is_refused(message: Message) -> None:
    with pytest.raises(WireError):
        encode(message)


def test_text_that_is_not_ascii_is_marked_utf8() -> None:
    assert encode(string_message("x", "µ", 0.0))[58:] == struct.pack(">HH", 106, 2) + "µ".encode()
    assert encode(string_message("x", "u", 0.0))[58:] == struct.pack(">HH", 3, 1) + b"u"


def test_undecodable_text_is_marked_not_lost() -> None:
    message = decode(raw_message("STRING", struct.pack(">HH", 3, 2) + b"a\xff"))
    assert message.body == StringContent("a?")


def test_status_without_its_nul_is_read() -> None:
    body = struct.pack(">Hq20s", 1, 0, b"") + b"ready"
    assert decode(raw_message("STATUS", body)).body == StatusContent(1, 0, "", "ready")


def test_contents_are_values() -> None:
    assert SensorContent((1.0,)) == SensorContent((1.0,))
    with pytest.raises(ValueError, match="read-only"):
        TransformContent(POSE).matrix[0, 0] = 5.0


def test_the_room_of_the_metadata_is_not_the_contents() -> None:
    """Also in version 2, whose body may be longer."""
    limit = largest_body_bytes("NEWTYPE", 1)
    assert limit + 1 < largest_body_bytes("NEWTYPE", 2)
    message = Message("NEWTYPE", "x", NOW_S, 2, {}, OpaqueContent(bytes(limit + 1)))
    with pytest.raises(WireError, match="limit"):
        encode(message)
    body = struct.pack(">HHII", 12, 0, 0, 0) + bytes(limit + 1)
    with pytest.raises(WireError, match="limit"):
        decode(raw_message("NEWTYPE", body, 2))


def test_metadata_over_their_limit_are_refused() -> None:
    text = b"k" + bytes(METADATA_LARGEST_BYTES)
    index = struct.pack(">HHHI", 1, 1, 3, len(text) - 1)
    body = struct.pack(">HHII", 12, len(index), len(text), 0) + bytes(48) + index + text
    raw = Header(2, "IMAGE", "x", 0, len(body), crc64(body)).pack() + body
    with pytest.raises(WireError, match="limit"):
        decode(raw)
