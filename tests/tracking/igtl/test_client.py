"""The client over real sockets: pieces, garbage, reconnecting, the end of a peer noticed at once."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.tracking.igtl.peers import PATIENCE_S, Collector, poll
from tracking.errors import WireError
from tracking.igtl import Client, ImageContent, Message, decode, encode, transform_message
from tracking.igtl.header import Header
from tracking.igtl.link import Intake

POSES = [encode(transform_message("ProbeToTracker", np.eye(4), float(i))) for i in range(20)]


class Source:
    """A listening socket whose other side is the client under test."""

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(PATIENCE_S)
        self.port = int(self.listener.getsockname()[1])
        self.peer: socket.socket | None = None

    def accept(self) -> socket.socket:
        self.peer, _ = self.listener.accept()
        self.peer.settimeout(PATIENCE_S)
        return self.peer

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.listener.close()


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.close()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def client(source: Source, collector: Collector) -> Iterator[Client]:
    made = Client("127.0.0.1", source.port, "tracker", collector.on_raw, collector.on_state)
    made.start()
    yield made
    made.stop()


def test_hello_is_an_empty_version_2_status(source: Source, client: Client) -> None:
    hello = decode(source.accept().recv(4096))
    assert (hello.type, hello.device, hello.version, hello.metadata) == ("STATUS", "", 2, {})


def test_no_hello_for_a_version_1_peer(source: Source, collector: Collector) -> None:
    client = Client("127.0.0.1", source.port, "old", collector.on_raw, hello=False)
    client.start()
    peer = source.accept()
    assert client.wait_connected(PATIENCE_S)
    client.stop()
    assert peer.recv(4096) == b""


def test_messages_arrive_whole_in_order_and_stamped(
    source: Source, client: Client, collector: Collector
) -> None:
    peer = source.accept()
    stream = b"".join(POSES)
    before_s = time.monotonic()
    for start in range(0, len(stream), 37):
        peer.sendall(stream[start : start + 37])
    assert collector.wait(lambda c: len(c.raw) == len(POSES))
    assert collector.raw == POSES
    assert collector.arrivals_s == sorted(collector.arrivals_s)
    assert before_s <= collector.arrivals_s[0] <= collector.arrivals_s[-1] <= time.monotonic()
    assert client.messages == len(POSES)


def test_garbage_is_counted_and_passed_over(source: Source, client: Client, collector: Collector) -> None:
    peer = source.accept()
    peer.sendall(POSES[0] + b"noise" * 10 + POSES[1])
    assert collector.wait(lambda c: len(c.raw) == 2)
    assert collector.raw == POSES[:2]
    assert poll(lambda: client.garbage_bytes == 50)


def test_end_of_the_peer_is_noticed_at_once_and_the_link_made_anew(
    source: Source, client: Client, collector: Collector
) -> None:
    source.accept().sendall(POSES[0])
    assert collector.wait(lambda c: len(c.raw) == 1)
    closed_s = time.monotonic()
    assert source.peer is not None
    source.peer.close()
    assert collector.wait(lambda c: "lost" in c.state_names)
    # the end of the stream wakes the select: no time-out is involved, a quarter second is a loaded machine
    assert time.monotonic() - closed_s < 0.25
    source.accept().sendall(POSES[1])
    assert collector.wait(lambda c: len(c.raw) == 2)
    assert collector.state_names == ["connecting", "connected", "lost", "connected"]
    assert client.connections == 2


def test_source_that_starts_later_is_found(collector: Collector) -> None:
    placeholder = Source()
    port = placeholder.port
    placeholder.close()
    client = Client("127.0.0.1", port, "tracker", collector.on_raw, collector.on_state)
    client.start()
    assert collector.wait(lambda c: any("refused" in detail for _, detail in c.states))
    assert not client.connected
    late = Source(port)
    late.accept()
    assert client.wait_connected(PATIENCE_S)
    client.stop()
    late.close()


def test_half_open_link_is_made_anew(source: Source, collector: Collector) -> None:
    client = Client("127.0.0.1", source.port, "t", collector.on_raw, collector.on_state, silence_s=0.05)
    client.start()
    first = source.accept()
    assert collector.wait(lambda c: ("lost", "silent for 0.05 s") in c.states)
    first.close()
    source.accept()
    client.stop()


def test_keepalive_is_on(source: Source, client: Client) -> None:
    source.accept()
    assert client.wait_connected(PATIENCE_S)
    sock = client._socket
    assert sock is not None
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    # idle 1 s + 2 probes at 1 s
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 2


def test_peer_that_speaks_something_else_is_dropped(
    source: Source, client: Client, collector: Collector
) -> None:
    peer = source.accept()
    noise = bytes(range(256)) * (1 << 14)
    # the kernel may take it all before the link is cut, or report the cut
    with contextlib.suppress(ConnectionError):
        peer.sendall(noise)
    assert collector.wait(lambda c: ("lost", "the source does not speak OpenIGTLink") in c.states)
    assert collector.raw == []


def test_send(source: Source, client: Client) -> None:
    peer = source.accept()
    assert client.wait_connected(PATIENCE_S)
    hello = peer.recv(4096)
    assert client.send(POSES[3])
    assert peer.recv(4096) == POSES[3]
    assert hello != POSES[3]


def test_send_without_a_link(collector: Collector) -> None:
    client = Client("127.0.0.1", 9, "t", collector.on_raw)
    assert not client.send(POSES[0])
    client.stop()


def test_stop_is_quick_and_may_be_repeated(source: Source, client: Client, collector: Collector) -> None:
    source.accept()
    assert client.wait_connected(PATIENCE_S)
    start_s = time.monotonic()
    client.stop()
    client.stop()
    assert time.monotonic() - start_s < 1.0
    assert collector.state_names[-1] == "stopped"
    assert not client.connected
    with pytest.raises(RuntimeError, match="before"):
        client.start()


def test_stop_from_the_callback(source: Source) -> None:
    collector = Collector()

    def stop_at_first(name: str, arrival_s: float, raw: bytes) -> None:
        collector.on_raw(name, arrival_s, raw)
        client.stop()

    client = Client("127.0.0.1", source.port, "t", stop_at_first, collector.on_state)
    client.start()
    source.accept().sendall(POSES[0])
    assert collector.wait(lambda c: "stopped" in c.state_names)
    client.stop()
    assert collector.raw == POSES[:1]


def test_lying_header_is_given_up_after_a_second() -> None:
    times = iter([0.0, 0.5, 1.5, 1.6])
    intake = Intake(lambda: next(times))
    lie = Header(1, "IMAGE", "x", 0, 1 << 20, 0).pack()
    assert intake.feed(lie) == []
    assert intake.feed(POSES[0]) == []
    assert intake.feed(POSES[1][:50]) == [POSES[0]]
    assert intake.feed(POSES[1][50:]) == [POSES[1]]
    assert intake.garbage_bytes == 58


def test_a_slow_image_is_no_lie() -> None:
    """Half a megabyte in pieces over a minute, the next message behind it: both arrive, nothing is garbage."""
    now_s = 0.0
    intake = Intake(lambda: now_s)
    voxels = np.arange(50**3, dtype=np.float32).reshape(50, 50, 50)
    image = encode(
        Message("IMAGE", "Map", 1.0, 1, {}, ImageContent.of(voxels, [0, 0, 0], [1, 1, 1], np.eye(3)))
    )
    stream = image + POSES[0]
    found = []
    for start in range(0, len(stream), 9000):
        now_s += 1.1
        found += intake.feed(stream[start : start + 9000])
    assert found == [image, POSES[0]]
    assert intake.garbage_bytes == 0


def test_what_is_too_large_for_a_source_passes_by() -> None:
    voxels = np.arange(50**3, dtype=np.float32).reshape(50, 50, 50)
    image = encode(
        Message("IMAGE", "Map", 1.0, 1, {}, ImageContent.of(voxels, [0, 0, 0], [1, 1, 1], np.eye(3)))
    )
    intake = Intake(lambda: 0.0, largest_bytes=1 << 16)
    assert intake.feed(POSES[0] + image + POSES[1]) == POSES[:2]
    assert intake.garbage_bytes == 0


def test_intake_refuses_endless_garbage() -> None:
    intake = Intake(lambda: 0.0)
    # 64 times 16 KiB is the limit of 1 MiB, less what may still begin a header
    assert all(intake.feed(bytes(1 << 14)) == [] for _ in range(64))
    with pytest.raises(WireError, match="does not speak"):
        intake.feed(bytes(1 << 14))


@pytest.mark.parametrize("host", ["tracker..local", "a" * 64])
def test_a_host_that_can_be_no_name_is_told(host: str) -> None:
    collector = Collector()
    client = Client(host, 1, "tracker", collector.on_raw, collector.on_state)
    client.start()
    try:
        assert collector.wait(lambda c: any("is not known" in detail for _, detail in c.states))
    finally:
        client.stop()
    assert collector.state_names[-1] == "stopped"
