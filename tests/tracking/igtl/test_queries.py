"""Requests of the standard: paced streams, all poses in one message, the state of the server."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from tests.tracking.igtl.peers import RawClient, poll
from tests.tracking.igtl.test_server import image, pose, query, upgraded
from tracking.igtl import (
    Message,
    OpaqueContent,
    Server,
    StatusContent,
    TDataContent,
    decode,
    encode,
    string_message,
    tdata_message,
    transform_message,
)
from tracking.igtl.wishes import MOST_TYPES, Wishes


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(server: Server) -> Iterator[RawClient]:
    with RawClient(server.port) as made:
        assert poll(lambda: len(server.clients) == 1)
        yield made


def start_request(kind: str, interval_ms: int, frame: str = "", device: str = "") -> bytes:
    """An STT_x as the C++ library writes it: milliseconds and the name of a frame."""
    body = struct.pack(">i32s", interval_ms, frame.encode())
    return encode(Message(kind, device, 0.0, 1, {}, OpaqueContent(body)))


def publish_poses(server: Server, t_s: float, *names: str) -> None:
    for i, name in enumerate(names):
        matrix = np.eye(4)
        matrix[0, 3] = i
        server.publish(encode(transform_message(name, matrix, t_s)), None, name, True)


def test_get_status_is_answered_also_without_one(server: Server, client: RawClient) -> None:
    client.send(query("GET_STATUS", "ping"))
    answer = client.read()
    assert (answer.type, answer.device, answer.version) == ("STATUS", "ping", 1)
    assert answer.body == StatusContent(StatusContent.OK)


def test_answers_come_in_the_clients_version(server: Server, client: RawClient) -> None:
    upgraded(server, client)
    for kind in ("GET_STATUS", "GET_CAPABIL", "GET_IMAGE"):
        client.send(query(kind))
        assert client.read().version == 2


def test_a_type_that_was_stopped_may_still_be_asked_for(server: Server, client: RawClient) -> None:
    client.send(query("STP_STRING"))
    assert client.read().type == "RTS_STRING"
    server.publish(encode(string_message("Spots", "[]", 1.0)), key="spots", newest_wins=True)
    server.publish(pose(2))
    assert client.read().t_s == 2.0
    client.send(query("GET_STRING", "Spots"))
    assert client.read().t_s == 1.0


def test_a_stream_is_thinned_to_the_interval_asked_for(server: Server, client: RawClient) -> None:
    """An hour between two: of each device one message comes, of other types all."""
    server.publish(pose(0))
    client.read()
    client.send(start_request("STT_TRANS", 3_600_000))
    assert client.read().type == "RTS_TRANS"
    for i in range(1, 4):
        server.publish(encode(transform_message("AToReference", np.eye(4), float(i))))
        server.publish(encode(transform_message("BToReference", np.eye(4), float(i))))
        server.publish(encode(string_message("Spots", "", float(i))))
    found = [(m.device, m.t_s) for m in (client.read() for _ in range(5))]
    assert found == [
        ("AToReference", 1.0),
        ("BToReference", 1.0),
        ("Spots", 1.0),
        ("Spots", 2.0),
        ("Spots", 3.0),
    ]
    # without an interval everything comes again
    client.send(query("STT_TRANS"))
    assert client.read().type == "RTS_TRANS"
    for i in range(4, 7):
        server.publish(encode(transform_message("AToReference", np.eye(4), float(i))))
        assert client.read().t_s == i


def test_pace() -> None:
    wishes = Wishes()
    wishes.start("TRANSFORM", 0.05)
    # 60 Hz for ten seconds at 20 Hz: every third, whatever the rounding of the times
    sent = sum(wishes.admit("TRANSFORM", "A", 100 + i / 60) for i in range(600))
    assert sent == pytest.approx(200, abs=1)
    # 20 Hz with a jitter of 5 ms is not thinned to 10 Hz: at most a message in a few is held back
    rng = np.random.default_rng(3)
    times = 200 + np.arange(200) * 0.05 + rng.uniform(-0.005, 0.005, 200)
    assert sum(wishes.admit("TRANSFORM", "B", float(t)) for t in times) > 190
    # after a pause there is no burst
    assert [wishes.admit("TRANSFORM", "A", t) for t in (300.0, 300.001, 300.002)] == [True, False, False]


def test_invented_types_take_no_memory() -> None:
    wishes = Wishes()
    for i in range(10 * MOST_TYPES):
        wishes.start(f"S{i}", 1.0)
        wishes.stop(f"T{i}")
    assert len(wishes.interval_s) <= MOST_TYPES
    assert len(wishes.muted) <= MOST_TYPES
    wishes.start("T0", 0.0)
    assert wishes.admit("T0", "", 0.0)


def test_tracking_data_bundles_the_poses(server: Server, client: RawClient) -> None:
    publish_poses(server, 1.0, "ProbeToTracker", "ReferenceToTracker", "ProbeToReference")
    for _ in range(3):
        client.read()
    client.send(start_request("STT_TDATA", 0, device="Viewer") + query("STP_TRANS"))
    assert [client.read().type for _ in range(2)] == ["RTS_TDATA", "RTS_TRANS"]
    publish_poses(server, 2.0, "ProbeToTracker")
    bundle = client.read()
    assert (bundle.type, bundle.device, bundle.t_s) == ("TDATA", "Viewer", 2.0)
    assert isinstance(bundle.body, TDataContent)
    found = [(tool.name, tool.kind, float(tool.matrix[0, 3])) for tool in bundle.body.tools]
    assert found == [("ProbeToTracker", 2, 0.0), ("ReferenceToTracker", 2, 1.0), ("ProbeToReference", 2, 2.0)]
    client.send(query("STP_TDATA"))
    assert client.read().type == "RTS_TDATA"
    publish_poses(server, 3.0, "ProbeToTracker")
    server.publish(encode(string_message("End", "", 4.0)))
    assert client.read().t_s == 4.0


def test_tracking_data_of_one_frame_and_without_what_is_lost(server: Server, client: RawClient) -> None:
    publish_poses(server, 1.0, "ProbeToTracker", "ProbeToReference", "StylusToReference")
    # a lost tool has no version 1 form
    server.publish(None, pose(1, 2), "StylusToReference", True)
    for _ in range(3):
        client.read()
    client.send(start_request("STT_TDATA", 0, "Reference") + query("STP_TRANS"))
    for _ in range(2):
        client.read()
    publish_poses(server, 2.0, "ProbeToTracker")
    body = client.read().body
    assert isinstance(body, TDataContent)
    assert [tool.name for tool in body.tools] == ["ProbeToReference"]


def test_tracking_data_once_on_request(server: Server, client: RawClient) -> None:
    client.send(query("GET_TDATA"))
    assert client.read().type == "RTS_TDATA"
    publish_poses(server, 1.0, "ProbeToTracker")
    client.read()
    client.send(query("GET_TDATA", "Viewer"))
    assert decode(client.read_raw()).device == "Viewer"


def test_published_tracking_data_is_paced_as_it_is(server: Server, client: RawClient) -> None:
    def publish(i: int) -> None:
        server.publish(encode(tdata_message("Tracker", [("ProbeToTracker", np.eye(4))], float(i))))

    publish(0)
    client.read()
    client.send(start_request("STT_TDATA", 3_600_000))
    assert client.read().body.pack() == b"\0"
    for i in range(1, 4):
        publish(i)
    server.publish(pose(9))
    assert [client.read().t_s for _ in range(2)] == [1.0, 9.0]


def test_nothing_to_start(server: Server, client: RawClient) -> None:
    client.send(start_request("STT_TDATA", 20))
    answer = client.read()
    assert (answer.type, answer.body.pack()) == ("RTS_TDATA", b"\1")


def test_requests_for_large_messages_do_not_pile_up(server: Server, client: RawClient) -> None:
    """A hundred requests for a map that was not taken yet are one map."""
    raw = image("Activity_Reference", 1)
    server.publish(raw, key="map", newest_wins=True)
    client.send(query("GET_IMAGE") * 100)
    assert poll(lambda: server.clients[0].replaced_messages >= 98)
    assert server.clients[0].queued_bytes <= 2 * len(raw)
