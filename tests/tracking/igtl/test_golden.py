"""The C++ library's own test messages: decoded to the expected fields, encoded back to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracking.igtl import (
    ImageContent,
    Message,
    PointContent,
    SensorContent,
    StatusContent,
    StringContent,
    TDataContent,
    TransformContent,
    decode,
    encode,
)
from tracking.igtl.crc import crc64
from tracking.igtl.header import HEADER_BYTES, Header

NAMES = [
    "image_message",
    "point_message",
    "sensor_message",
    "status_message",
    "string_message",
    "tdata_message",
    "transform_message",
    "transform_message_Format2",
]


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest, test_data: Path) -> tuple[bytes, dict[str, Any]]:
    folder = test_data / "igtl_golden"
    expected = json.loads((folder / "expected_fields.json").read_text())
    name = f"{request.param}.bin"
    return (folder / name).read_bytes(), expected[name]


def test_header(golden: tuple[bytes, dict[str, Any]]) -> None:
    raw, expected = golden
    header = Header.unpack(raw)
    assert header.version == expected["header_version"]
    assert header.type == expected["type"]
    assert header.device == expected["device"]
    assert header.stamp == (expected["timestamp_sec"] << 32) + expected["timestamp_frac"]
    assert header.body_bytes == expected["body_size"] == len(raw) - HEADER_BYTES
    assert f"{header.crc:016x}" == expected["crc"]
    assert crc64(raw[HEADER_BYTES:]) == header.crc
    assert header.pack() == raw[:HEADER_BYTES]


def test_bytes_come_back(golden: tuple[bytes, dict[str, Any]]) -> None:
    raw, _ = golden
    assert encode(decode(raw)) == raw


def test_time_is_seconds_and_fraction(golden: tuple[bytes, dict[str, Any]]) -> None:
    raw, _ = golden
    # 1234567892 / 2^32
    assert decode(raw).t_s == pytest.approx(0.28744523, abs=1e-8)


def test_content(golden: tuple[bytes, dict[str, Any]]) -> None:
    raw, expected = golden
    message = decode(raw)
    assert message.metadata == {key: value for key, _, value in expected.get("metadata", [])}
    assert message.message_id == expected.get("ext", {}).get("message_id", 0)
    check_content(message, expected["content"])


def check_content(message: Message, expected: dict[str, Any]) -> None:
    match message.body:
        case TransformContent(matrix=matrix):
            assert np.array_equal(matrix, expected["matrix"])
        case StatusContent(code=code, subcode=subcode, error_name=name, message=text):
            assert (code, subcode) == (expected["code"], expected["subcode"])
            assert (name, text) == (expected["error_name"], expected["message"])
        case StringContent(text=text):
            assert text == expected["string"]
        case SensorContent(values=values, unit=unit, status=status):
            assert list(values) == expected["values"]
            assert f"{unit:016x}" == expected["unit_hex"]
            assert status == expected["status"]
        case PointContent():
            check_points(message.body, expected["points"])
        case TDataContent(tools=tools):
            assert [t.name for t in tools] == [e["name"] for e in expected["elements"]]
            assert [t.kind for t in tools] == [e["type"] for e in expected["elements"]]
            assert np.array_equal([t.matrix for t in tools], [e["matrix"] for e in expected["elements"]])
        case ImageContent():
            check_image(message.body, expected)
        case _:
            pytest.fail(f"no check for {message.type}")


def check_points(content: PointContent, expected: list[dict[str, Any]]) -> None:
    assert len(content.points) == len(expected)
    for point, fields in zip(content.points, expected, strict=True):
        assert (point.name, point.group, point.owner) == (fields["name"], fields["group"], fields["owner"])
        assert list(point.rgba) == fields["rgba"]
        assert list(point.position_mm) == fields["position"]
        assert point.diameter_mm == fields["radius_or_diameter"]


def check_image(image: ImageContent, expected: dict[str, Any]) -> None:
    assert list(image.size) == expected["size_ijk"]
    assert image.array.shape == tuple(reversed(expected["subvol_size"]))
    assert list(image.offset) == expected["subvol_offset"]
    assert image.array.nbytes == expected["voxel_bytes"]
    assert int(image.array.sum()) == expected["voxel_sum"]
    assert np.array_equal(image.matrix, expected["matrix_with_spacing_and_CENTER_origin"])
    # unit columns: spacing 1; the middle of 50 x 50 x 1 voxels is index (24.5, 24.5, 0)
    assert image.spacing_mm == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
    middle = image.origin_mm + image.direction @ (image.spacing_mm * (24.5, 24.5, 0.0))
    assert middle == pytest.approx(image.matrix[:3, 3])
