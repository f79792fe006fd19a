"""Both ways with pyigtl, in both header versions, for the types that it handles right."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyigtl
import pytest

from navigation.engine.pedal import PedalPort
from navigation.volume import VoxelGrid
from tests.navigation.engine.fakes import settings
from tests.tracking.igtl.peers import PATIENCE_S, Collector, poll
from tracking.igtl import (
    Client,
    ImageContent,
    Message,
    Point,
    PointContent,
    Server,
    StringContent,
    TransformContent,
    decode,
    encode,
    image_message,
    point_message,
    string_message,
    transform_message,
)

NOW_S = 1_800_000_000.25
POSE = np.array([[0.0, -1, 0, 10], [1, 0, 0, -20], [0, 0, 1, 30.5], [0, 0, 0, 1]])
GRID = VoxelGrid(
    np.array([1.0, 2.0, 3.0]),
    np.array([2.0, 3.0, 4.0]),
    (4, 3, 2),
    np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
)
VOXELS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
METADATA = {"TransformStatus": "OK", "Timestamp": "1800000000.25"}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def foreign_client(server: Server) -> Iterator[pyigtl.OpenIGTLinkClient]:
    client = pyigtl.OpenIGTLinkClient("127.0.0.1", server.port)
    assert poll(lambda: len(server.clients) == 1)
    yield client
    client.stop()


@pytest.mark.parametrize("version", [1, 2])
def test_it_reads_our_messages(
    server: Server, foreign_client: pyigtl.OpenIGTLinkClient, version: int
) -> None:
    for message in (
        transform_message("ProbeToReference", POSE, NOW_S, METADATA, version),
        string_message("Spots", "[1, 2]", NOW_S, METADATA, version),
        point_message(
            "HotSpots",
            [Point("A", (1.5, 2.5, 3.5), "Spot", (1, 2, 3, 4), 5.0, "x")],
            NOW_S,
            METADATA,
            version,
        ),
        image_message("Activity_Reference", VOXELS, GRID, NOW_S, METADATA, version),
    ):
        server.publish(encode(message))
    got = {
        name: foreign_client.wait_for_message(name, timeout=PATIENCE_S)
        for name in ("ProbeToReference", "Spots", "HotSpots", "Activity_Reference")
    }
    for message in got.values():
        assert (message.header_version, message.timestamp) == (version, NOW_S)
        assert message.metadata == (METADATA if version == 2 else {})
    assert np.array_equal(got["ProbeToReference"].matrix, POSE)
    assert got["Spots"].string == "[1, 2]"
    points = got["HotSpots"]
    assert (points.names, points.groups, points.owners) == (["A"], ["Spot"], ["x"])
    assert (points.positions, points.rgba_colors, points.diameters) == (
        [(1.5, 2.5, 3.5)],
        [(1, 2, 3, 4)],
        [5.0],
    )
    image = got["Activity_Reference"]
    assert np.array_equal(np.squeeze(image.image), VOXELS)
    assert image.ijk_to_world_matrix == pytest.approx(GRID.matrix)


@pytest.mark.parametrize("version", [1, 2])
def test_our_server_reads_its_messages(version: int) -> None:
    got: list[Message] = []
    complete = threading.Event()

    def on_message(peer: str, message: Message) -> None:
        got.append(message)
        if len(got) == 4:
            complete.set()

    server = Server(0, on_message=on_message)
    server.start()
    client = pyigtl.OpenIGTLinkClient("127.0.0.1", server.port)
    for message in its_messages(version):
        client.send_message(message)
    assert complete.wait(PATIENCE_S)
    client.stop()
    server.stop()
    check(got, version)


def its_messages(version: int) -> list[pyigtl.messages.MessageBase]:
    made = [
        pyigtl.TransformMessage(POSE, timestamp=NOW_S, device_name="ProbeToTracker"),
        pyigtl.StringMessage("[1, 2]", timestamp=NOW_S, device_name="Note"),
        pyigtl.PointMessage(
            [[1.5, 2.5, 3.5]],
            names=["A"],
            rgba_colors=[[1, 2, 3, 4]],
            diameters=[5.0],
            groups=["Spot"],
            owners=["x"],
            timestamp=NOW_S,
            device_name="Points",
        ),
        pyigtl.ImageMessage(
            VOXELS, ijk_to_world_matrix=GRID.matrix, timestamp=NOW_S, device_name="Image_Reference"
        ),
    ]
    for message in made:
        message.header_version = version
        message.metadata = METADATA if version == 2 else {}
    return made


def check(messages: list[Message], version: int) -> None:
    transform, text, points, image = messages
    for message in messages:
        assert (message.version, message.t_s) == (version, NOW_S)
        assert message.metadata == (METADATA if version == 2 else {})
    assert transform.device == "ProbeToTracker"
    assert isinstance(transform.body, TransformContent)
    assert np.array_equal(transform.body.matrix, POSE)
    assert text.body == StringContent("[1, 2]")
    assert points.body == PointContent((Point("A", (1.5, 2.5, 3.5), "Spot", (1, 2, 3, 4), 5.0, "x"),))
    assert isinstance(image.body, ImageContent)
    assert np.array_equal(image.body.array, VOXELS)
    assert image.body.origin_mm == pytest.approx(GRID.origin_mm)
    assert image.body.spacing_mm == pytest.approx(GRID.spacing_mm)
    assert image.body.direction == pytest.approx(GRID.direction)


def test_our_client_reads_its_server(free_port: int) -> None:
    collector = Collector()
    server = pyigtl.OpenIGTLinkServer(port=free_port, local_server=True)
    client = Client("127.0.0.1", free_port, "pyigtl", collector.on_raw)
    client.start()
    assert client.wait_connected(PATIENCE_S)
    for message in its_messages(2):
        server.send_message(message, wait=False)
    assert collector.wait(lambda c: len(c.raw) == 4)
    client.stop()
    server.stop()
    check([decode(raw) for raw in collector.raw], 2)


def test_its_server_reads_what_our_client_sends(free_port: int) -> None:
    server = pyigtl.OpenIGTLinkServer(port=free_port, local_server=True)
    collector = Collector()
    client = Client("127.0.0.1", free_port, "pyigtl", collector.on_raw, hello=False)
    client.start()
    assert client.wait_connected(PATIENCE_S)
    assert client.send(encode(transform_message("ProbeToTracker", POSE, NOW_S, METADATA, 2)))
    got = server.wait_for_message("ProbeToTracker", timeout=PATIENCE_S)
    assert np.array_equal(got.matrix, POSE)
    assert (got.timestamp, got.metadata) == (NOW_S, METADATA)
    client.stop()
    server.stop()


def test_its_string_is_a_press_of_the_pedal() -> None:
    ordered: list[str] = []
    role = {"clients": ["127.0.0.1"], "device": "Pedal", "press": "count target"}
    port = PedalPort(
        replace(settings(), pedal=role), lambda do, **content: ordered.append(content["kind"]), ordered.append
    )
    server = Server(0, on_message=port.take)
    server.start()
    client = pyigtl.OpenIGTLinkClient("127.0.0.1", server.port)
    try:
        assert poll(lambda: len(server.clients) == 1)
        assert poll(client.is_connected)
        client.send_message(pyigtl.StringMessage("press", device_name="Pedal"))
        assert poll(lambda: ordered == ["target"])
    finally:
        client.stop()
        server.stop()
