"""Links that are dead without saying so: frozen programs, vanished machines, names and hosts that do not answer."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.tracking.igtl.peers import PATIENCE_S, Collector, RawClient, poll
from tracking.igtl import Client, Server, decode, encode, link, transform_message
from tracking.igtl import dial as dial_module

POSE = encode(transform_message("ProbeToTracker", np.eye(4), 1.0))
# Linux: attach a classic packet filter to a socket; a program of one "return 0" lets nothing in any more.
SO_ATTACH_FILTER = 26
RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


def vanish(sock: socket.socket) -> None:
    """From now on the peer of this socket is a machine that is gone: no answer, no reset."""
    program = ctypes.create_string_buffer(RETURN_NOTHING)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(PATIENCE_S)
        yield made


@pytest.fixture
def collector() -> Collector:
    return Collector()


def started(listener: socket.socket, collector: Collector, **options: Any) -> Client:
    port = int(listener.getsockname()[1])
    client = Client("127.0.0.1", port, "tracker", collector.on_raw, collector.on_state, **options)
    client.start()
    return client


def lost(collector: Collector) -> list[str]:
    return [detail for state, detail in collector.states if state == "lost"]


def test_a_frozen_program_is_left_within_the_silence(listener: socket.socket, collector: Collector) -> None:
    client = started(listener, collector, silence_s=0.3)
    peer, _ = listener.accept()
    peer.sendall(POSE)
    assert collector.wait(lambda c: len(c.raw) == 1)
    assert collector.wait(lambda c: lost(c) == ["silent for 0.3 s"])
    # it was asked before it was given up
    asked = b""
    while b"GET_STATUS" not in asked:
        asked += peer.recv(4096)
    client.stop()
    peer.close()


def test_a_source_that_answers_may_be_silent(collector: Collector) -> None:
    server = Server(0)
    server.start()
    client = Client("127.0.0.1", server.port, "t", collector.on_raw, collector.on_state, silence_s=0.5)
    client.start()
    # each answer stands for 0.2 s of silence: together they are more than a dead link gets
    assert collector.wait(lambda c: len(c.raw) >= 4)
    assert client.connections == 1
    assert {decode(raw).type for raw in collector.raw} == {"STATUS"}
    client.stop()
    server.stop()


def test_links_that_never_deliver_are_tried_less_and_less_often(
    listener: socket.socket, collector: Collector
) -> None:
    client = started(listener, collector, silence_s=0.03)
    peers = [listener.accept()[0] for _ in range(4)]
    assert lost(collector)[:3] == ["silent for 0.03 s", "silent for 0.06 s", "silent for 0.12 s"]
    peers[-1].sendall(POSE)
    # one that delivers is a live one again, and the next gets the usual patience
    assert collector.wait(lambda c: lost(c)[3:] == ["silent for 0.24 s"])
    peers.append(listener.accept()[0])
    assert collector.wait(lambda c: lost(c)[4:] == ["silent for 0.03 s"])
    client.stop()
    for peer in peers:
        peer.close()


def test_silence_may_be_allowed(listener: socket.socket, collector: Collector) -> None:
    client = started(listener, collector, silence_s=None, hello=False)
    peer, _ = listener.accept()
    peer.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.recv(100)
    assert client.connected
    client.stop()
    peer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="packet filters on sockets are Linux's")
def test_a_vanished_source_is_noticed_within_three_seconds(
    listener: socket.socket, collector: Collector
) -> None:
    """By keepalive alone: the silence is allowed."""
    client = started(listener, collector, silence_s=None, hello=False)
    peer, _ = listener.accept()
    peer.sendall(POSE)
    assert collector.wait(lambda c: len(c.raw) == 1)
    vanish(peer)
    gone_s = time.monotonic()
    assert collector.wait(lambda c: "lost" in c.state_names)
    # a second of silence, a probe, a second for its answer, and the kernel's tick
    assert time.monotonic() - gone_s < 3.0
    client.stop()
    peer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="packet filters on sockets are Linux's")
def test_a_vanished_client_is_noticed_within_three_seconds() -> None:
    server = Server(0)
    server.start()
    with RawClient(server.port) as client:
        assert poll(lambda: len(server.clients) == 1)
        vanish(client.socket)
        gone_s = time.monotonic()
        # what is sent to it is never acknowledged
        server.publish(POSE)
        assert poll(lambda: server.clients == ())
        assert time.monotonic() - gone_s < 3.0
    server.stop()


def test_a_host_that_does_not_answer_holds_up_nobody(collector: Collector) -> None:
    """A full queue of a listener that never accepts: further connections are not even refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = int(full.getsockname()[1])
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        client = Client("127.0.0.1", port, "t", collector.on_raw, collector.on_state)
        client.start()
        assert collector.wait(lambda c: ("connecting", "no answer in 2 s") in c.states)
        start_s = time.monotonic()
        client.stop()
        # in the middle of the next attempt, which would last two seconds
        assert time.monotonic() - start_s < 1.0
        for filler in fillers:
            filler.close()


def test_a_name_that_is_not_known_is_told(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = socket.getaddrinfo

    def unknown(host: str, *args: Any, **options: Any) -> Any:
        if options.get("flags") == socket.AI_NUMERICHOST:
            return resolver(host, *args, **options)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(dial_module.socket, "getaddrinfo", unknown)
    client = Client("plus-server", 18944, "tracker", collector.on_raw, collector.on_state)
    client.start()
    assert collector.wait(lambda c: any("the name plus-server is not known" in d for _, d in c.states))
    client.stop()
    assert collector.state_names[-1] == "stopped"


def test_a_resolver_that_hangs_holds_up_nobody(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = [], threading.Event()
    resolver = socket.getaddrinfo

    def hanging(host: str, *args: Any, **options: Any) -> Any:
        if options.get("flags") == socket.AI_NUMERICHOST:
            return resolver(host, *args, **options)
        asked.append(host)
        answer.wait(PATIENCE_S)
        return resolver("127.0.0.1", *args, **options)

    monkeypatch.setattr(dial_module.socket, "getaddrinfo", hanging)
    monkeypatch.setattr(dial_module.Dialer.dial, "__defaults__", (0.1,))
    server = Server(0)
    server.start()
    client = Client("plus-server", server.port, "tracker", collector.on_raw, collector.on_state)
    client.start()
    assert collector.wait(lambda c: any("still being looked up" in detail for _, detail in c.states))
    # the answer to the first question serves the attempts after it: no second thread hangs
    answer.set()
    assert client.wait_connected(PATIENCE_S)
    assert asked == ["plus-server"]
    client.stop()
    server.stop()


def test_a_peer_that_hangs_up_at_once_is_not_hammered(listener: socket.socket, collector: Collector) -> None:
    client = started(listener, collector)
    times_s = []
    for _ in range(5):
        listener.accept()[0].close()
        times_s.append(time.monotonic())
    client.stop()
    # 0.1 s, doubled each time, less a quarter for the jitter
    waits_s = np.diff(times_s)
    assert np.all(waits_s > 0.74 * np.array([0.1, 0.2, 0.4, 0.8]))


def test_one_message_and_a_hang_up_is_no_steady_link(listener: socket.socket, collector: Collector) -> None:
    client = started(listener, collector)
    times_s = []
    for i in range(4):
        peer, _ = listener.accept()
        peer.sendall(POSE)
        assert collector.wait(lambda c, i=i: len(c.raw) == i + 1)
        peer.close()
        times_s.append(time.monotonic())
    client.stop()
    assert np.all(np.diff(times_s) > 0.74 * np.array([0.1, 0.2, 0.4]))


def test_ipv6_loopback(collector: Collector) -> None:
    try:
        server = Server(0, "::1")
        server.start()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    client = Client("::1", server.port, "t", collector.on_raw, collector.on_state)
    client.start()
    assert poll(lambda: len(server.clients) == 1)
    server.publish(POSE)
    assert collector.wait(lambda c: c.raw == [POSE])
    client.stop()
    server.stop()


def test_waiting_costs_nothing(collector: Collector) -> None:
    """A client without a source, one with a silent source, and its server: none of them spins."""
    server = Server(0)
    server.start()
    clients = [Client("127.0.0.1", port, "t", collector.on_raw) for port in (server.port, 9)]
    for client in clients:
        client.start()
    assert clients[0].wait_connected(PATIENCE_S)
    before_s = time.process_time()
    threading.Event().wait(0.6)
    # a thread that spins uses all of the time that it gets
    assert time.process_time() - before_s < 0.3
    for client in clients:
        client.stop()
    server.stop()


def test_a_source_that_takes_nothing_ends_the_link(
    listener: socket.socket, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a message may have gone: what came after it would be no message."""
    monkeypatch.setattr(link, "_SEND_TIMEOUT_S", 0.2)
    client = started(listener, collector, hello=False)
    peer, _ = listener.accept()
    assert client.wait_connected(PATIENCE_S)
    assert not client.send(bytes(64 << 20))
    assert collector.wait(lambda c: "lost" in c.state_names)
    client.stop()
    peer.close()
