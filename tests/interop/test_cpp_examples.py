"""The OpenIGTLink C++ library's example programs as they are shipped: its servers to our client, its clients to us."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.interop.conftest import EXAMPLES
from tests.tracking.igtl.peers import PATIENCE_S, Collector, poll
from tracking.igtl import (
    Client,
    ImageContent,
    Message,
    OpaqueContent,
    Point,
    PointContent,
    Server,
    StringContent,
    TDataContent,
    decode,
    encode,
    transform_message,
)
from tracking.igtl.header import HEADER_BYTES
from tracking.transform import rigidity_fault

IMAGES = EXAMPLES / "Imager" / "img"
Example = Callable[[str], Path]
Process = subprocess.Popen[str]


@contextmanager
def running(program: Path, *arguments: object) -> Iterator[Process]:
    """The program, killed at the end: the examples run for ever. What it prints is kept in a pipe."""
    command = ["stdbuf", "-o0", str(program), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


def from_server(program: Path, port: int, *arguments: object, enough: int, ask: bytes = b"") -> list[bytes]:
    """The first messages that our client gets of an example server, after asking for them."""
    collector = Collector()
    client = Client("127.0.0.1", port, "example", collector.on_raw, hello=False)
    client.start()
    with running(program, port, *arguments):
        assert client.wait_connected(PATIENCE_S)
        if ask:
            assert client.send(ask)
        arrived = collector.wait(lambda c: len(c.raw) >= enough)
    client.stop()
    assert arrived
    assert client.garbage_bytes == 0
    return collector.raw[:enough]


def start_request(kind: str, interval_ms: int) -> bytes:
    body = struct.pack(">i32s", interval_ms, b"Patient")
    return encode(Message(kind, "", 0.0, 1, {}, OpaqueContent(body)))


def test_its_tracking_data_server(example: Example, free_port: int) -> None:
    """STT_TDATA starts it; three channels at the interval asked for, all of them rigid."""
    program = example("TrackingData/TrackingDataServer")
    raws = from_server(program, free_port, enough=5, ask=start_request("STT_TDATA", 10))
    for message in map(decode, raws):
        assert (message.type, message.device) == ("TDATA", "Tracker")
        assert isinstance(message.body, TDataContent)
        # TYPE_TRACKER 1, TYPE_6D 2, TYPE_5D 4
        assert [(t.name, t.kind) for t in message.body.tools] == [
            ("Channel 0", 1),
            ("Channel 1", 2),
            ("Channel 2", 4),
        ]
        for tool in message.body.tools:
            assert rigidity_fault(tool.matrix) is None
            assert np.linalg.norm(tool.matrix[:2, 3]) == pytest.approx(50.0, rel=1e-5)


def test_its_quaternion_server(example: Example, free_port: int) -> None:
    program = example("QuaternionTrackingData/QuaternionTrackingDataServer")
    raws = from_server(program, free_port, enough=3, ask=start_request("STT_QTDATA", 10))
    for raw in raws:
        assert decode(raw).type == "QTDATA"
        elements = list(struct.iter_unpack(">20sBx3f4f", raw[HEADER_BYTES:]))
        assert [name.rstrip(b"\0") for name, *_ in elements] == [b"Channel 0", b"Channel 1", b"Channel 2"]
        for element in elements:
            assert np.hypot(element[2], element[3]) == pytest.approx(50.0, rel=1e-5)


def test_its_position_server(example: Example, free_port: int) -> None:
    """The 28-byte form: position and quaternion as float32."""
    raws = from_server(example("Tracker/TrackerServer2"), free_port, 100, enough=5)
    for raw in raws:
        assert decode(raw).type == "POSITION"
        x, y, z, *quaternion = struct.unpack(">7f", raw[HEADER_BYTES:])
        assert (np.hypot(x, y), z) == (pytest.approx(50.0, rel=1e-5), pytest.approx(x))
        assert len(quaternion) == 4


def test_its_string_server(example: Example, free_port: int) -> None:
    raws = from_server(example("String/StringServer"), free_port, 100, enough=5)
    words = ["OpenIGTLink", "Network", "Communication", "Protocol", "Image Guided Therapy"]
    assert [decode(raw).body for raw in raws] == [StringContent(word) for word in words]


def test_its_point_server(example: Example, free_port: int) -> None:
    (raw,) = from_server(example("Point/PointServer"), free_port, enough=1)
    assert decode(raw).body == PointContent(
        (
            Point("POINT_0", (10.0, 20.0, 30.0), "GROUP_0", (255, 0, 0, 255), 15.0, "IMAGE_0"),
            Point("POINT_1", (40.0, 50.0, 60.0), "GROUP_0", (0, 255, 0, 255), 45.0, "IMAGE_0"),
            Point("POINT_2", (70.0, 80.0, 90.0), "GROUP_0", (0, 0, 255, 255), 75.0, "IMAGE_0"),
        )
    )


def printed_matrices(text: str) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """What the library's PrintMatrix has written: four rows of four numbers between rules."""
    number = r"\s*(-?[\d.]+(?:e[-+]?\d+)?)"
    row = rf"{number},{number},{number},{number}\s*\n"
    return [
        np.array([float(x) for x in found.groups()]).reshape(4, 4) for found in re.finditer(row * 4, text)
    ]


def test_its_image_server(example: Example, free_port: int) -> None:
    """Every voxel as in its file, the geometry number by number as it prints what it has set."""
    collector = Collector()
    client = Client("127.0.0.1", free_port, "imager", collector.on_raw, hello=False)
    client.start()
    with running(example("Imager/ImagerServer"), free_port, 20, IMAGES) as process:
        assert collector.wait(lambda c: len(c.raw) >= 6)
        client.stop()
        process.kill()
        printed = printed_matrices(process.communicate(timeout=PATIENCE_S)[0])
    for i, raw in enumerate(collector.raw[:5]):
        body = decode(raw).body
        assert isinstance(body, ImageContent)
        check_its_image(body, i, printed[i])


def check_its_image(body: ImageContent, i: int, printed: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """256 x 256 x 1 of uint8, spacing 1 x 1 x 5 mm; the printed matrix is a rotation and the image's centre."""
    assert body.array.tobytes() == (IMAGES / f"igtlTestImage{i % 5 + 1}.raw").read_bytes()
    assert (body.array.shape, body.array.dtype, body.size) == ((1, 256, 256), np.uint8, (256, 256, 1))
    assert body.spacing_mm == pytest.approx([1.0, 1.0, 5.0], rel=1e-5)
    # it prints six digits
    assert body.direction == pytest.approx(printed[:3, :3], abs=1e-5)
    assert body.matrix[:3, 3] == pytest.approx(printed[:3, 3], abs=1e-4)
    # (256 - 1) / 2 voxels of 1 mm back from the centre along i and j, none along k
    corner = printed[:3, 3] - 127.5 * (printed[:3, 0] + printed[:3, 1])
    assert body.origin_mm == pytest.approx(corner, abs=2e-3)


def sent_to_us(program: Path, *arguments: object, enough: int) -> tuple[list[Message], str]:
    """What an example client sends to our server, and what it prints."""
    got: list[Message] = []
    server = Server(0, on_message=lambda peer, message: got.append(message))
    server.start()
    with running(program, "127.0.0.1", server.port, *arguments) as process:
        assert poll(lambda: len(got) >= enough)
        process.kill()
        printed, _ = process.communicate(timeout=PATIENCE_S)
    server.stop()
    return got[:enough], printed


def test_its_image_client(example: Example) -> None:
    messages, text = sent_to_us(example("Imager/ImagerClient"), 20, IMAGES, enough=5)
    printed = printed_matrices(text)
    for i, message in enumerate(messages):
        assert isinstance(message.body, ImageContent)
        check_its_image(message.body, i, printed[i])


def test_its_tracking_data_client(example: Example) -> None:
    """It asks for TDATA every 10 ms; what it prints are our poses, and it can stop them."""
    server = Server(0)
    server.start()
    poses = {"ProbeToTracker": np.eye(4), "ReferenceToTracker": np.eye(4)}
    poses["ProbeToTracker"][:3, 3] = (10.0, -20.0, 30.5)
    poses["ReferenceToTracker"][:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    with running(example("TrackingData/TrackingDataClient"), "127.0.0.1", server.port, 100) as process:
        assert poll(lambda: len(server.clients) == 1)
        for i in range(1000):
            for name, matrix in poses.items():
                server.publish(encode(transform_message(name, matrix, 1.0 + i)), None, name, True)
            # it asks for an end after ten messages of any kind
            if poll(lambda: server.clients[0].sent_messages > 60, timeout_s=0.02):
                break
        process.kill()
        printed, _ = process.communicate(timeout=PATIENCE_S)
    server.stop()
    assert "Receiving TDATA data type." in printed
    assert re.search(r"Name +: ProbeToTracker\s+Type +: 2", printed)
    assert "Sending STP_TDATA" in printed
    shown = printed_matrices(printed)
    for matrix in poses.values():
        assert any(np.array_equal(matrix, found) for found in shown)
