"""The server over real sockets: versions, order, newest-wins, stalled clients, queries."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tracking.igtl.peers import PATIENCE_S, Collector, RawClient, poll
from tracking.errors import InputError, SurroundingsError
from tracking.igtl import (
    CapabilityContent,
    Client,
    Message,
    OpaqueContent,
    Server,
    TransformContent,
    decode,
    encode,
    image_message,
    status_message,
    string_message,
    transform_message,
)
from tracking.igtl.outbox import MOST_SMALL_MESSAGES

HELLO = encode(status_message("", 0.0, version=2))
# Larger than all kernel buffers between a server and a client that does not read.
LARGE_SIDE = 128


@dataclass(frozen=True)
class Grid:
    origin_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    spacing_mm: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    direction: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


def pose(i: int, version: int = 1) -> bytes:
    return encode(transform_message("ProbeToReference", np.eye(4), float(i), {"Seq": str(i)}, version))


def image(name: str, i: int, side: int = LARGE_SIDE) -> bytes:
    voxels = np.full((side, side, side), i, dtype=np.float32)
    return encode(image_message(name, voxels, Grid(), float(i)))


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


def upgraded(server: Server, client: RawClient) -> None:
    client.send(HELLO)
    assert poll(lambda: server.clients[-1].version == 2)


def test_listens_on_loopback_only() -> None:
    with pytest.raises(InputError, match="loopback"):
        Server(0, "0.0.0.0")


def test_port_in_use(server: Server) -> None:
    second = Server(server.port)
    with pytest.raises(SurroundingsError, match=f"port {server.port}"):
        second.start()
    second.stop()


def test_port_is_free_again_after_stop(server: Server, client: RawClient) -> None:
    port = server.port
    server.stop()
    with pytest.raises(EOFError):
        client.read()
    again = Server(port)
    again.start()
    assert again.port == port
    again.stop()


def test_publish_before_start_and_after_stop() -> None:
    server = Server(0)
    server.publish(pose(1), key="pose", newest_wins=True)
    server.start()
    with RawClient(server.port) as client:
        assert client.read().t_s == 1.0
    server.stop()
    server.publish(pose(2))
    server.stop()


def test_all_clients_get_everything_in_order(server: Server) -> None:
    clients = [RawClient(server.port) for _ in range(5)]
    assert poll(lambda: len(server.clients) == 5)
    for i in range(200):
        server.publish(pose(i))
    for client in clients:
        assert [client.read().t_s for _ in range(200)] == list(range(200))
        client.close()
    assert poll(lambda: server.clients == ())


def test_version_follows_the_client(server: Server, client: RawClient) -> None:
    server.publish(pose(1), pose(1, 2))
    assert client.read_raw() == pose(1)
    upgraded(server, client)
    server.publish(pose(2), pose(2, 2))
    assert client.read().metadata == {"Seq": "2"}
    with RawClient(server.port) as other:
        assert poll(lambda: len(server.clients) == 2)
        server.publish(pose(3), pose(3, 2))
        assert other.read().version == 1
        assert client.read().version == 2


def test_version_1_message_does_not_upgrade(server: Server, client: RawClient) -> None:
    client.send(
        encode(status_message("", 0.0)) + encode(Message("GET_CAPABIL", "", 0.0, 1, {}, OpaqueContent()))
    )
    assert client.read().type == "CAPABILITY"
    assert server.clients[0].version == 1


def test_what_has_no_version_1_form_is_not_sent_in_it(server: Server, client: RawClient) -> None:
    server.publish(None, pose(1, 2))
    server.publish(pose(2), pose(2, 2))
    assert client.read().t_s == 2.0
    upgraded(server, client)
    server.publish(None, pose(3, 2))
    assert client.read().t_s == 3.0


def test_newcomer_gets_the_latest_of_each_key(server: Server, client: RawClient) -> None:
    for i in range(3):
        server.publish(pose(i), pose(i, 2), key="registration", newest_wins=True)
        server.publish(encode(string_message("Spots", str(i), float(i))), key="spots", newest_wins=True)
        server.publish(encode(string_message("Counts", str(i), float(i))))
    while (last := client.read()).device != "Counts" or last.t_s != 2.0:
        assert last.t_s <= 2.0
    with RawClient(server.port) as newcomer:
        assert [newcomer.read().device for _ in range(2)] == ["ProbeToReference", "Spots"]
        # once it has shown that it knows version 2 it gets the metadata too
        upgraded(server, newcomer)
        assert newcomer.read().metadata == {"Seq": "2"}
        server.publish(pose(9))
        assert newcomer.read().t_s == 9.0


def drain_types(client: RawClient, last_s: float) -> list[Message]:
    messages = [client.read()]
    while messages[-1].t_s != last_s:
        messages.append(client.read())
    return messages


def test_newest_map_wins_for_a_slow_client(server: Server, client: RawClient) -> None:
    maps = [image("Activity_Reference", i) for i in range(6)]
    for raw in maps:
        server.publish(raw, key="Activity_Reference", newest_wins=True)
    assert poll(lambda: server.clients[0].replaced_messages >= 4)
    times = [m.t_s for m in drain_types(client, 5.0)]
    # at most the one that was on its way, and the newest
    assert len(times) <= 2


def test_pose_overtakes_the_images_that_wait(server: Server, client: RawClient) -> None:
    server.publish(image("Activity_Reference", 1))
    assert poll(lambda: 0 < server.clients[0].queued_bytes < len(image("Activity_Reference", 1)))
    server.publish(image("RelSd_Reference", 2))
    server.publish(image("Coverage_Reference", 3))
    server.publish(pose(4))
    # the first was on its way; a message cannot be cut in two
    assert [client.read().t_s for _ in range(4)] == [1.0, 4.0, 2.0, 3.0]


def test_stalled_client_is_cut_and_slows_nobody() -> None:
    gone: list[tuple[str, str]] = []
    cut = threading.Event()

    def on_client(peer: str, connected: bool, reason: str) -> None:
        if not connected:
            gone.append((peer, reason))
            cut.set()

    server = Server(0, on_client=on_client, stall_s=1.0)
    server.start()
    collector = Collector()
    reader = Client("127.0.0.1", server.port, "reader", collector.on_raw)
    reader.start()
    stalled = RawClient(server.port, receive_buffer=4096)
    assert poll(lambda: len(server.clients) == 2)
    server.publish(image("Activity_Reference", 0), key="map", newest_wins=True)
    sent = 0
    while not cut.wait(0.005):
        sent += 1
        server.publish(pose(sent))
    peer = "{}:{}".format(*stalled.socket.getsockname())
    assert gone == [(peer, "took nothing for 1.0 s")]
    assert collector.wait(lambda c: len(c.raw) == sent + 1)
    poses = [decode(raw) for raw in collector.raw if decode(raw).type == "TRANSFORM"]
    assert [m.t_s for m in poses] == list(range(1, sent + 1))
    assert len(server.clients) == 1
    stalled.close()
    reader.stop()
    server.stop()


def test_client_for_which_too_much_waits_is_cut(server: Server, client: RawClient) -> None:
    server.publish(image("Activity_Reference", 0))
    raw = pose(1)
    for _ in range(MOST_SMALL_MESSAGES + 10):
        server.publish(raw)
    assert poll(lambda: server.clients == ())


def test_slow_reader_is_not_cut() -> None:
    """Each read makes progress, though the whole takes several times the stall limit."""
    server = Server(0, stall_s=0.5)
    server.start()
    client = RawClient(server.port)
    assert poll(lambda: len(server.clients) == 1)
    raw = image("Activity_Reference", 0)
    server.publish(raw)
    got = 0
    pause = threading.Event()
    while got < len(raw):
        got += len(client.socket.recv(len(raw) // 16))
        pause.wait(0.05)
    assert len(server.clients) == 1
    client.close()
    server.stop()


def test_closed_client_is_forgotten_at_once(server: Server, client: RawClient) -> None:
    start_s = time.monotonic()
    client.close()
    assert poll(lambda: server.clients == ())
    assert time.monotonic() - start_s < 0.25


def test_reset_client_is_forgotten(server: Server, client: RawClient) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert poll(lambda: server.clients == ())
    server.publish(pose(1))


def test_client_that_speaks_something_else_is_dropped(server: Server, client: RawClient) -> None:
    client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 5000)
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_raw()
    assert poll(lambda: server.clients == ())


def test_what_clients_send_is_handed_on() -> None:
    got: list[tuple[str, Message]] = []
    server = Server(0, on_message=lambda peer, message: got.append((peer, message)))
    server.start()
    with RawClient(server.port) as client:
        broken = encode(Message("TRANSFORM", "x", 0.0, 1, {}, OpaqueContent(b"short")))
        client.send(broken + encode(string_message("Note", "hello", 7.0)))
        assert poll(lambda: len(got) == 1)
        assert got[0][0] == "{}:{}".format(*client.socket.getsockname())
        assert (got[0][1].device, got[0][1].t_s) == ("Note", 7.0)
    server.stop()


def query(kind: str, device: str = "") -> bytes:
    return encode(Message(kind, device, 0.0, 1, {}, OpaqueContent()))


def test_get_answers_with_the_latest(server: Server, client: RawClient) -> None:
    server.publish(pose(5), key="pose", newest_wins=True)
    assert client.read().t_s == 5.0
    client.send(query("GET_TRANS", "ProbeToReference"))
    assert client.read().t_s == 5.0
    client.send(query("GET_TRANS"))
    assert client.read().t_s == 5.0
    for unknown in (query("GET_TRANS", "Other"), query("GET_IMAGE")):
        client.send(unknown)
        answer = client.read()
        assert answer.type in ("RTS_TRANS", "RTS_IMAGE")
        assert answer.body.pack() == b"\1"


def test_stop_and_start_of_one_type(server: Server, client: RawClient) -> None:
    server.publish(pose(1))
    assert client.read().t_s == 1.0
    client.send(query("STP_TRANS"))
    answer = client.read()
    assert (answer.type, answer.body.pack()) == ("RTS_TRANS", b"\0")
    server.publish(pose(2))
    server.publish(encode(string_message("Spots", "", 3.0)))
    assert client.read().t_s == 3.0
    client.send(query("STT_TRANS"))
    assert client.read().type == "RTS_TRANS"
    server.publish(pose(4))
    assert client.read().t_s == 4.0
    client.send(query("STT_POLYDATA"))
    assert client.read().body.pack() == b"\1"


def test_capability_lists_what_is_published(server: Server, client: RawClient) -> None:
    server.publish(pose(1))
    server.publish(encode(string_message("Spots", "", 3.0)))
    assert [client.read().type for _ in range(2)] == ["TRANSFORM", "STRING"]
    client.send(query("GET_CAPABIL"))
    answer = client.read()
    assert answer.type == "CAPABILITY"
    assert answer.body == CapabilityContent(("STRING", "TRANSFORM"))


def test_stop_lets_out_what_is_queued() -> None:
    server = Server(0)
    server.start()
    with RawClient(server.port) as client:
        assert poll(lambda: len(server.clients) == 1)
        for i in range(500):
            server.publish(pose(i))
        server.stop()
        assert [client.read().t_s for _ in range(500)] == list(range(500))
        with pytest.raises(EOFError):
            client.read()


def test_stop_does_not_wait_for_a_stalled_client(server: Server, client: RawClient) -> None:
    server.publish(image("Activity_Reference", 0))
    start_s = time.monotonic()
    server.stop(drain_s=0.1)
    assert time.monotonic() - start_s < 1.0


def test_both_ends_of_the_project_meet(server: Server) -> None:
    collector = Collector()
    client = Client("127.0.0.1", server.port, "engine", collector.on_raw)
    client.start()
    assert poll(lambda: [c.version for c in server.clients] == [2])
    server.publish(pose(1), pose(1, 2))
    assert collector.wait(lambda c: len(c.raw) == 1)
    message = decode(collector.raw[0])
    assert message.metadata == {"Seq": "1"}
    assert isinstance(message.body, TransformContent)
    client.stop()


def test_fan_out_to_many_with_some_that_never_read() -> None:
    """32 clients, 4 of them stalled: no gap for the others, the stalled ones are cut, little waits."""
    server = Server(0, stall_s=1.0)
    server.start()
    collectors = [Collector() for _ in range(28)]
    readers = [Client("127.0.0.1", server.port, str(i), c.on_raw) for i, c in enumerate(collectors)]
    for reader in readers:
        reader.start()
    stalled = [RawClient(server.port, receive_buffer=4096) for _ in range(4)]
    assert poll(lambda: len(server.clients) == 32)
    raw_map = image("Activity_Reference", 0, side=64)
    most_queued, sent = 0, 0
    pause = threading.Event()
    deadline_s = time.monotonic() + PATIENCE_S
    while len(server.clients) > 28 and time.monotonic() < deadline_s:
        if sent % 50 == 0:
            server.publish(raw_map, key="map", newest_wins=True)
        sent += 1
        server.publish(pose(sent))
        most_queued = max(most_queued, *(c.queued_bytes for c in server.clients))
        pause.wait(0.005)
    assert len(server.clients) == 28
    for collector in collectors:
        assert collector.wait(lambda c: sum(len(r) < 1000 for r in c.raw) == sent)
        times = [decode(r).t_s for r in collector.raw if len(r) < 1000]
        assert times == list(range(1, sent + 1))
    # one map on its way, one that waits, and the poses of the time until the cut
    assert most_queued < 2 * len(raw_map) + sent * len(pose(1))
    for reader in readers:
        reader.stop()
    for sock in stalled:
        sock.close()
    server.stop()
