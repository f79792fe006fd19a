"""What one client can do to the others and to the server: nothing. Floods, full houses, memory, images apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.campaign import links
from tests.tracking.igtl.peers import PATIENCE_S, Collector, RawClient, poll
from tests.tracking.igtl.test_server import Grid, image, pose, query, upgraded
from tracking.errors import InputError
from tracking.igtl import Client, Server, StatusContent, crowd, decode, encode, image_message, string_message
from tracking.igtl import server as server_module
from tracking.igtl.allowance import Allowance


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(0)
    made.start()
    yield made
    made.stop()


def test_other_machines_are_let_in_only_by_explicit_choice() -> None:
    for host in ("0.0.0.0", "192.168.0.2", "::", ""):
        with pytest.raises(InputError, match="loopback only, unless other machines are allowed in"):
            Server(0, host)
    assert Server(0, "0.0.0.0", allow_remote=True).host == "0.0.0.0"


def test_a_full_house_says_so_and_goes_on() -> None:
    server = Server(0, most_clients=2)
    server.start()
    with RawClient(server.port) as first, RawClient(server.port) as second:
        assert poll(lambda: len(server.clients) == 2)
        with RawClient(server.port) as third:
            refusal = third.read()
            # the standard's code 6: busy
            assert refusal.body == StatusContent(6, 0, "BUSY", "2 clients are connected already")
            with pytest.raises(EOFError):
                third.read_raw()
        server.publish(pose(1))
        assert [client.read().t_s for client in (first, second)] == [1.0, 1.0]
        second.close()
        assert poll(lambda: len(server.clients) == 1)
        with RawClient(server.port) as fourth:
            assert poll(lambda: len(server.clients) == 2)
            server.publish(pose(2))
            assert fourth.read().t_s == 2.0
    server.stop()


def test_a_flood_of_requests_waits_at_its_sender(server: Server) -> None:
    """1,400 requests: 1,000 at once, the others 200 a second; none is lost, and poses pass them all."""
    flooder, reader = RawClient(server.port), RawClient(server.port)
    assert poll(lambda: len(server.clients) == 2)
    start_s = time.monotonic()
    flooder.send(query("GET_STATUS") * 1400)
    answers = number = 0
    while answers < 1400:
        number += 1
        server.publish(pose(number))
        assert reader.read().t_s == number
        # what the flooder gets: its answers and the same poses
        while (kind := flooder.read().type) == "STATUS":
            answers += 1
        assert kind == "TRANSFORM"
        elapsed_s = time.monotonic() - start_s
        # a turn of 4 KiB ends at most 71 requests of 58 bytes and may overdraw the account
        assert answers <= 1000 + 200 * elapsed_s + 71
    # what is over the thousand and an overdraft took its time
    assert time.monotonic() - start_s > (1400 - 1000 - 71) / 200
    flooder.close()
    reader.close()


def test_allowance() -> None:
    allowance = Allowance(rate=10.0, burst=5.0)
    allowance.take(5.0, 100.0)
    assert allowance.wait_s(100.0) == 0.0
    allowance.take(3.0, 100.0)
    # 3 owed at 10 a second
    assert allowance.wait_s(100.0) == pytest.approx(0.3)
    assert allowance.wait_s(100.2) == pytest.approx(0.1)
    assert allowance.wait_s(101.0) == 0.0
    # an hour saves no more than the burst
    allowance.take(6.0, 3700.0)
    assert allowance.wait_s(3700.0) == pytest.approx(0.1)


def test_all_clients_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that waits for several is one map in memory; what is too much costs the client that lags most."""
    raw = image("Activity_Reference", 0)
    monkeypatch.setattr(crowd, "MOST_WAITING_BYTES", 2 * len(raw))
    gone: list[str] = []
    server = Server(0, on_client=lambda peer, here, reason: None if here else gone.append(reason))
    server.start()
    stalled = [RawClient(server.port, receive_buffer=4096) for _ in range(3)]
    assert poll(lambda: len(server.clients) == 3)
    server.publish(raw, key="map", newest_wins=True)
    assert poll(lambda: all(0 < c.queued_bytes < len(raw) for c in server.clients))
    server.publish(image("Activity_Reference", 1), key="map", newest_wins=True)
    # one on its way and one waiting for each of the three, but the same two in memory
    assert poll(lambda: sum(c.queued_bytes for c in server.clients) > 4 * len(raw))
    assert gone == []
    for name in ("RelSd_Reference", "Coverage_Reference"):
        server.publish(image(name, 0), key=name, newest_wins=True)
    assert poll(lambda: "too much waits for all clients together" in gone)
    for client in stalled:
        client.close()
    server.stop()


def test_what_the_server_is_too_far_behind_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_PUBLISHED", 10)
    server = Server(0)
    for i in range(13):
        server.publish(pose(i))
    assert server.dropped_messages == 3


def test_images_have_a_port_of_their_own() -> None:
    server = Server(0, image_port=0)
    server.start()
    assert server.image_port not in (None, 0, server.port)
    server.publish(image("Activity_Reference", 1, side=8), key="map", newest_wins=True)
    with RawClient(server.port) as poses, RawClient(server.image_port or 0) as images:
        assert poll(lambda: len(server.clients) == 2)
        for i in range(2, 5):
            server.publish(pose(i))
            server.publish(image("Activity_Reference", i, side=8))
        assert [poses.read().t_s for _ in range(3)] == [2.0, 3.0, 4.0]
        assert [images.read().t_s for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
        # what is asked for is answered where it was asked
        poses.send(query("GET_IMAGE"))
        assert poses.read().type == "IMAGE"
    server.stop()


def test_an_image_port_in_use_leaves_nothing_open(server: Server) -> None:
    second = Server(0, image_port=server.port)
    with pytest.raises(OSError, match=f"port {server.port}"):
        second.start()
    # the port it had bound first is free again
    third = Server(second.port)
    third.start()
    third.stop()


def test_a_pose_passes_an_image_that_nobody_reads(server: Server) -> None:
    """With two connections of one viewer, as with two ports: the poses of one do not wait for the other."""
    images, poses = RawClient(server.port, receive_buffer=4096), RawClient(server.port)
    assert poll(lambda: len(server.clients) == 2)
    poses.send(query("STP_IMAGE"))
    assert poses.read().type == "RTS_IMAGE"
    server.publish(image("Activity_Reference", 1))
    for i in range(2, 50):
        server.publish(pose(i))
    assert [poses.read().t_s for _ in range(48)] == list(range(2, 50))
    # the other connection has the image before, between or after the same 48 poses
    assert sum(images.read().type == "IMAGE" for _ in range(49)) == 1
    images.close()
    poses.close()


def test_a_map_of_160_voxels_a_side_arrives_whole(server: Server) -> None:
    collector = Collector()
    client = Client("127.0.0.1", server.port, "t", collector.on_raw)
    client.start()
    assert poll(lambda: len(server.clients) == 1)
    voxels = np.arange(160**3, dtype=np.float32).reshape(160, 160, 160)
    raw = encode(image_message("Activity_Reference", voxels, Grid(), 1.0))
    server.publish(raw, key="map", newest_wins=True)
    assert collector.wait(lambda c: len(c.raw) == 1)
    assert collector.raw == [raw]
    client.stop()


def test_a_version_1_client_never_gets_version_2(server: Server) -> None:
    """Whatever others speak, and whatever it asks for."""
    server.publish(pose(1), pose(1, 2), key="pose", newest_wins=True)
    server.publish(None, pose(2, 2), key="invalid", newest_wins=True)
    with RawClient(server.port) as old, RawClient(server.port) as new:
        assert poll(lambda: len(server.clients) == 2)
        upgraded(server, new)
        for kind in ("GET_TRANS", "GET_STATUS", "GET_CAPABIL", "GET_IMAGE", "STT_TDATA", "STP_TDATA"):
            old.send(query(kind))
            new.send(query(kind))
        server.publish(pose(3), pose(3, 2))
        server.publish(None, pose(4, 2))
        server.publish(encode(string_message("End", "", 9.0)))
        found: dict[RawClient, set[int]] = {}
        for client in (old, new):
            versions = found.setdefault(client, set())
            while (message := client.read()).device != "End":
                versions.add(message.version)
        assert found[old] == {1}
        assert 2 in found[new]


def test_newcomers_and_leavers_do_not_disturb(server: Server) -> None:
    """Sixty clients come, take a few poses and go, some in the middle of a message: the one that stays has all."""
    collector = Collector()
    client = Client("127.0.0.1", server.port, "t", collector.on_raw)
    client.start()
    assert poll(lambda: len(server.clients) == 1)
    over = threading.Event()

    def guests() -> None:
        for i in range(60):
            with RawClient(server.port) as guest:
                if i % 3:
                    guest.socket.recv(50)
        over.set()

    thread = threading.Thread(target=guests)
    thread.start()
    sent = 0
    deadline_s = time.monotonic() + PATIENCE_S
    while not over.wait(0.001) and time.monotonic() < deadline_s:
        sent += 1
        server.publish(pose(sent))
    thread.join()
    assert collector.wait(lambda c: len(c.raw) == sent)
    assert [decode(raw).t_s for raw in collector.raw] == list(range(1, sent + 1))
    assert poll(lambda: len(server.clients) == 1)
    client.stop()


def test_bad_company_costs_nothing() -> None:
    """Three of each kind of bad visitor; the campaign has thousands."""
    found = links.run(3 * len(links.VISITS), seed=5)
    assert found.fault == ""
    assert found.sent > 200
