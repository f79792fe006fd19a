"""Both ways with the OpenIGTLink C++ library, header version 1: each decoder judges the other's bytes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from navigation.volume import VoxelGrid
from tests.tracking.igtl.peers import PATIENCE_S, Collector, poll
from tracking.igtl import (
    Client,
    ImageContent,
    Message,
    OpaqueContent,
    Point,
    PointContent,
    Server,
    StatusContent,
    TDataContent,
    TransformContent,
    decode,
    encode,
    image_message,
    point_message,
    sensor_message,
    status_message,
    string_message,
    tdata_message,
    transform_message,
)
from tracking.igtl.counts import counts_from_message, counts_sensor_message, counts_string_message
from tracking.sample import CountSample
from tracking.transform import rigidity_fault

# Exact in the wire's fixed point and in float64.
NOW_S = 1_800_000_000.25
POSE = np.array([[0.0, -1, 0, 10], [1, 0, 0, -20], [0, 0, 1, 30.5], [0, 0, 0, 1]])
COUNTS = CountSample(NOW_S, 17, 41.0, 0.1, 5312.0, 1.7)
# i along +y, j along -x, k along +z: no axis, spacing or size may be mistaken for another
GRID = VoxelGrid(
    np.array([1.0, 2.0, 3.0]),
    np.array([2.0, 3.0, 4.0]),
    (4, 3, 2),
    np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
)
VOXELS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
POINTS = [
    Point("Spot 1", (1.5, -2.5, 3.5), "Spot", (255, 128, 0, 64), 4.5, "Activity_Reference"),
    Point("Spot 2", (0.0, 1.0, 2.0)),
]


def read_by(peer: Path, messages: list[Message]) -> list[dict[str, Any]]:
    """What the C++ peer makes of the messages, sent by our server to a client of version 1."""
    server = Server(0)
    server.start()
    command = [str(peer), "read", str(server.port), str(len(messages))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert poll(lambda: len(server.clients) == 1)
        for message in messages:
            server.publish(encode(message, 1), encode(message, 2))
        output, _ = process.communicate(timeout=PATIENCE_S)
    server.stop()
    assert process.returncode == 0
    records = [json.loads(line) for line in output.splitlines()]
    assert [(r["type"], r["device"], r["t_s"]) for r in records] == [
        (m.type, m.device, NOW_S) for m in messages
    ]
    assert not any("crc" in r for r in records)
    return records


def test_small_messages_are_read_by_the_library(cpp_peer: Path) -> None:
    transform, status, text, sensor, points, tools = read_by(
        cpp_peer,
        [
            transform_message("StylusTipToReference", POSE, NOW_S, {"TransformStatus": "OK"}),
            status_message("Engine", NOW_S, 13, "two minutes", "WARMING_UP", -7),
            string_message("Spots", '{"µ": 1}', NOW_S),
            sensor_message("Other", (1.0, -2.5, 1e300), NOW_S),
            point_message("HotSpots", POINTS, NOW_S),
            tdata_message("Tracker", [("ProbeToTracker", POSE), ("ReferenceToTracker", np.eye(4))], NOW_S),
        ],
    )
    assert np.array_equal(transform["matrix"], POSE)
    assert (status["code"], status["subcode"]) == (13, -7)
    assert (status["error_name"], status["message"]) == ("WARMING_UP", "two minutes")
    assert bytes.fromhex(text["hex"]).decode() == '{"µ": 1}'
    assert text["encoding"] == 106
    assert (sensor["unit"], sensor["values"]) == (0, [1.0, -2.5, 1e300])
    first, second = points["points"]
    assert (first["name"], first["group"], first["owner"]) == ("Spot 1", "Spot", "Activity_Reference")
    assert (first["position"], first["rgba"], first["radius"]) == ([1.5, -2.5, 3.5], [255, 128, 0, 64], 4.5)
    assert (second["name"], second["position"]) == ("Spot 2", [0.0, 1.0, 2.0])
    assert [t["name"] for t in tools["tools"]] == ["ProbeToTracker", "ReferenceToTracker"]
    assert np.array_equal(tools["tools"][0]["matrix"], POSE)


def test_counts_are_read_by_the_library(cpp_peer: Path) -> None:
    sensor, text = read_by(cpp_peer, [counts_sensor_message(COUNTS), counts_string_message(COUNTS)])
    assert sensor["values"] == [17.0, 5312.0, 1.7, 41.0, 0.1]
    record = json.loads(bytes.fromhex(text["hex"]))
    assert (text["encoding"], record["seq"], record["counts_total"], record["counts"]) == (3, 17, 5312, 41)


def test_types_that_the_library_skips_keep_it_in_step(cpp_peer: Path) -> None:
    unknown = Message("NEWTYPE", "x", NOW_S, 1, {}, OpaqueContent(b"\0\1TRANSFORM" * 20))
    records = read_by(cpp_peer, [unknown, transform_message("ProbeToReference", POSE, NOW_S)])
    assert np.array_equal(records[1]["matrix"], POSE)


def positions_by(image: dict[str, Any]) -> NDArray[np.float64]:
    """(nz, ny, nx, 3): the voxels of a receiver that, as 3D Slicer does, takes the position as centre."""
    axes = np.array([image["i_axis"], image["j_axis"], image["k_axis"]]).T * image["spacing"]
    nx, ny, nz = image["size"]
    k, j, i = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    steps = np.stack([i, j, k], axis=-1) - (np.array([nx, ny, nz]) - 1) / 2
    placed: NDArray[np.float64] = steps @ axes.T + image["position"]
    return placed


def test_image_geometry_as_the_library_sees_it(cpp_peer: Path) -> None:
    (image,) = read_by(cpp_peer, [image_message("Activity_Reference", VOXELS, GRID, NOW_S)])
    assert image["size"] == [4, 3, 2]
    assert (image["scalar_type"], image["components"]) == (10, 1)
    assert image["spacing"] == [2.0, 3.0, 4.0]
    # D S (n - 1) / 2 = 2 * 1.5 along +y, 3 * 1 along -x, 4 * 0.5 along +z, from (1, 2, 3)
    assert image["position"] == [-2.0, 5.0, 5.0]
    assert np.array_equal(np.reshape(image["voxels"], (2, 3, 4)), VOXELS)
    assert positions_by(image).reshape(-1, 3) == pytest.approx(GRID.points())


@pytest.fixture
def served(cpp_peer: Path, free_port: int) -> list[Message]:
    """One message of each type, sent by the C++ library to our client."""
    collector = Collector()
    with subprocess.Popen(
        [str(cpp_peer), "serve", str(free_port)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        client = Client("127.0.0.1", free_port, "cpp", collector.on_raw, hello=False)
        client.start()
        complete = collector.wait(lambda c: len(c.raw) == 7)
        client.stop()
        assert complete
        assert process.wait(PATIENCE_S) == 0
    messages = [decode(raw) for raw in collector.raw]
    for message, raw in zip(messages, collector.raw, strict=True):
        again = encode(message)
        # all but the time stamp: the library rounds its fraction down by up to 2^-31 s
        assert (again[:34], again[42:]) == (raw[:34], raw[42:])
    return messages


def test_messages_of_the_library_are_read(served: list[Message]) -> None:
    transform, status, text, sensor, points, tools, image = served
    assert all((m.version, m.t_s) == (1, NOW_S) for m in served)
    assert transform.device == "ProbeToTracker"
    assert isinstance(transform.body, TransformContent)
    assert np.array_equal(transform.body.matrix, POSE)
    assert status.body == StatusContent(13, -7, "WARMING_UP", "two minutes")
    assert counts_from_message(text) == COUNTS
    assert counts_from_message(sensor) == COUNTS
    assert points.body == PointContent(tuple(POINTS[:1]))
    assert isinstance(tools.body, TDataContent)
    assert (tools.body.tools[0].name, tools.body.tools[0].kind) == ("ProbeToTracker", 2)
    assert np.array_equal(tools.body.tools[0].matrix, POSE)
    assert isinstance(image.body, ImageContent)
    assert np.array_equal(image.body.array, VOXELS)
    assert image.body.spacing_mm == pytest.approx([2.0, 3.0, 4.0])
    assert image.body.direction == pytest.approx(POSE[:3, :3])
    # from the centre (10, -20, 30.5) back by 2 * 1.5 along +y, 3 * 1 along -x, 4 * 0.5 along +z
    assert image.body.origin_mm == pytest.approx([13.0, -23.0, 28.5])


def test_the_librarys_own_receiver(example: Callable[[str], Path]) -> None:
    """Its ReceiveClient, as it is shipped, prints what it got with its CRC checked."""
    server = Server(0)
    server.publish(encode(transform_message("ProbeToTracker", POSE, NOW_S)), key="pose", newest_wins=True)
    server.publish(encode(status_message("Engine", NOW_S, 1, "fine")), key="status", newest_wins=True)
    server.publish(encode(string_message("Spots", "[]", NOW_S)), key="spots", newest_wins=True)
    server.publish(encode(image_message("Map", VOXELS, GRID, NOW_S)), key="map", newest_wins=True)
    server.start()
    command = [str(example("Receiver/ReceiveClient")), "127.0.0.1", str(server.port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert poll(lambda: [c.sent_messages for c in server.clients] == [4])
        server.stop()
        output, errors = process.communicate(timeout=PATIENCE_S)
    printed = output + errors
    assert "Time stamp: 1800000000.250000000" in printed
    assert re.search(r"0, -1, 0, 10\s+1, 0, 0, -20\s+0, 0, 1, 30.5", printed)
    assert re.search(r"Status +: fine", printed)
    assert "[]" in printed
    assert re.search(r"Dimensions +: \(4, 3, 2\)", printed)
    assert re.search(r"Spacing +: \(2, 3, 4\)", printed)


def test_the_librarys_own_tracker(example: Callable[[str], Path], free_port: int) -> None:
    """Its TrackerServer, as it is shipped, streams rigid poses to our client at the rate asked for."""
    collector = Collector()
    command = [str(example("Tracker/TrackerServer")), str(free_port), "100"]
    client = Client("127.0.0.1", free_port, "tracker", collector.on_raw, hello=False)
    client.start()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        arrived = collector.wait(lambda c: len(c.raw) >= 20)
        process.kill()
    client.stop()
    assert arrived
    messages = [decode(raw) for raw in collector.raw]
    assert {(m.type, m.device, m.version) for m in messages} == {("TRANSFORM", "Tracker", 1)}
    for message in messages:
        assert isinstance(message.body, TransformContent)
        assert rigidity_fault(message.body.matrix) is None
        assert np.linalg.norm(message.body.matrix[:2, 3]) == pytest.approx(50.0, rel=1e-5)
