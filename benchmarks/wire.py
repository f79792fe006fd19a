"""Latency, images and fan-out on loopback, in turn with pyigtl; every peer is a process of its own.

Run: python -m benchmarks.wire [--seconds S] [--rounds N] [--out FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pyigtl
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.processes import Child, cpu_s, pace, rss_mib, spread, table, told, write
from tracking.igtl import Client, Server, decode, encode, image_message, transform_message
from tracking.igtl.header import HEADER_BYTES, Header

RATE_HZ = 1000.0
# After the last message: what is still on its way.
SETTLE_S = 0.5
SMALL_BYTES = 1000
POSE, IMAGE = "ProbeToTracker", "Activity_Reference"


@dataclass(frozen=True)
class Grid:
    origin_mm: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    spacing_mm: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    direction: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def cube(side: int) -> NDArray[np.float32]:
    return np.random.default_rng(side).random((side, side, side), dtype=np.float32)


class OurSender:
    def __init__(self) -> None:
        self.server = Server(0)
        self.server.start()
        self.port = self.server.port

    def wait(self) -> None:
        while not self.server.clients:
            time.sleep(0.01)

    def pose(self, i: int) -> None:
        self.server.publish(encode(transform_message(POSE, np.eye(4), time.time())))

    def image(self, voxels: NDArray[np.float32]) -> None:
        self.server.publish(encode(image_message(IMAGE, voxels, Grid(), time.time())))

    def stop(self) -> None:
        self.server.stop()


class TheirSender:
    def __init__(self) -> None:
        self.port = free_port()
        self.server = pyigtl.OpenIGTLinkServer(port=self.port, local_server=True)

    def wait(self) -> None:
        while not self.server.is_connected():
            time.sleep(0.01)

    def pose(self, i: int) -> None:
        message = pyigtl.TransformMessage(np.eye(4), timestamp=time.time(), device_name=POSE)
        self.server.send_message(message, wait=False)

    def image(self, voxels: NDArray[np.float32]) -> None:
        message = pyigtl.ImageMessage(voxels, timestamp=time.time(), device_name=IMAGE)
        self.server.send_message(message, wait=False)

    def stop(self) -> None:
        self.server.stop()


SENDERS: dict[str, Callable[[], Any]] = {"ours": OurSender, "pyigtl": TheirSender}


class OurReceiver:
    """Decodes on the client's thread; keeps (stamp, time when decoded)."""

    def __init__(self, port: int, device: str) -> None:
        self.delays_s: list[float] = []
        self._device = device
        self._client = Client("127.0.0.1", port, "benchmark", self._take, hello=False)
        self._client.start()

    def _take(self, source: str, arrival_s: float, raw: bytes) -> None:
        message = decode(raw)
        if message.device == self._device:
            self.delays_s.append(time.time() - message.t_s)

    def stop(self) -> None:
        self._client.stop()


class TheirReceiver:
    """As its own documentation does it: wait for a message, take it, wait for the next."""

    def __init__(self, port: int, device: str) -> None:
        self.delays_s: list[float] = []
        self._device = device
        self._client = pyigtl.OpenIGTLinkClient("127.0.0.1", port)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            message = self._client.wait_for_message(self._device, timeout=0.2)
            if message is not None:
                self.delays_s.append(time.time() - message.timestamp)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._client.stop()


RECEIVERS: dict[str, Callable[[int, str], Any]] = {"ours": OurReceiver, "pyigtl": TheirReceiver}


def send_poses(pipe: Pipe, who: str, seconds: float) -> None:
    sender = SENDERS[who]()
    pipe.send(sender.port)
    sender.wait()
    used_s = cpu_s()
    sent = pace(RATE_HZ, seconds, sender.pose)
    pipe.send((sent, (cpu_s() - used_s) / seconds))
    time.sleep(SETTLE_S)
    sender.stop()


def send_images(pipe: Pipe, who: str, side: int, count: int, rate_hz: float) -> None:
    voxels = cube(side)
    logging.disable()
    with contextlib.redirect_stderr(io.StringIO()):  # pyigtl prints where it gives an image up
        sender = SENDERS[who]()
        pipe.send(sender.port)
        sender.wait()
        pipe.send((pace(rate_hz, count / rate_hz, lambda i: sender.image(voxels)), 0.0))
        while not told(pipe):
            time.sleep(0.01)
        sender.stop()


def transport(who: str, seconds: float) -> dict[str, Any]:
    """A pose a millisecond: latency from before encoding until decoded, share that arrived."""
    sender = Child(send_poses, who, seconds)
    receiver = RECEIVERS[who](sender.hear(), POSE)
    used_s = cpu_s()
    sent, cores = sender.hear(seconds + 30.0)
    time.sleep(SETTLE_S / 2)
    cores_receiving = (cpu_s() - used_s) / seconds
    receiver.stop()
    sender.end()
    return {
        "delays_s": receiver.delays_s,
        "sent": sent,
        "sender_cores": cores,
        "receiver_cores": cores_receiving,
    }


def images(who: str, side: int, count: int) -> dict[str, Any]:
    """Images one at a time: from before encoding until decoded."""
    sender = Child(send_images, who, side, count, 10.0 if side < 100 else 2.0)
    receiver = RECEIVERS[who](sender.hear(), IMAGE)
    sent, _ = sender.hear(60.0)
    deadline_s = time.monotonic() + 5.0
    while len(receiver.delays_s) < sent and time.monotonic() < deadline_s:
        time.sleep(0.01)
    sender.tell("stop")
    receiver.stop()
    sender.end()
    return {"delays_s": receiver.delays_s, "sent": sent}


def in_turn(rounds: int, work: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Ours and pyigtl in turn; all rounds of each together."""
    found: dict[str, dict[str, Any]] = {"ours": {}, "pyigtl": {}}
    for _ in range(rounds):
        for who, total in found.items():
            for key, value in work(who).items():
                total[key] = total[key] + value if key in total else value
    for total in found.values():
        delays = total.pop("delays_s")
        total["delivered"] = round(len(delays) / total["sent"], 4)
        total.update(spread(delays))
        for key in ("sender_cores", "receiver_cores"):
            if key in total:
                total[key] = round(total[key] / rounds, 3)
    return found


def send_both(pipe: Pipe, side: int, own_port: bool, seconds: float) -> None:
    """Poses at 500 Hz, maps at 2 Hz, over one connection or two."""
    server = Server(0, image_port=0 if own_port else None)
    server.start()
    pipe.send((server.port, server.image_port))
    while len(server.clients) < 1 + own_port:
        time.sleep(0.01)
    raw_map = encode(image_message(IMAGE, cube(side), Grid(), time.time()))

    def tick(i: int) -> None:
        if i % 250 == 100:
            server.publish(raw_map, key=IMAGE, newest_wins=True)
        server.publish(encode(transform_message(POSE, np.eye(4), time.time())))

    pipe.send(pace(500.0, seconds, tick))
    time.sleep(SETTLE_S)
    server.stop()


def take_images(pipe: Pipe, port: int) -> None:
    """A viewer's second connection."""
    receiver = OurReceiver(port, IMAGE)
    pipe.send("started")
    pipe.recv()
    receiver.stop()
    pipe.send(len(receiver.delays_s))


def beside_map(side: int, own_port: bool, seconds: float) -> dict[str, Any]:
    """How long poses wait behind images that have begun."""
    sender = Child(send_both, side, own_port, seconds)
    port, image_port = sender.hear()
    viewer = Child(take_images, image_port) if own_port else None
    receiver = OurReceiver(port, POSE)
    sent = sender.hear(seconds + 30.0)
    time.sleep(SETTLE_S / 2)
    receiver.stop()
    found = {"sent": sent, "delivered": len(receiver.delays_s) / sent, **spread(receiver.delays_s)}
    if viewer is not None:
        viewer.hear()
        viewer.tell("stop")
        found["images"] = viewer.hear()
        viewer.end()
    sender.end()
    return found


def fan_out_server(pipe: Pipe, clients: int, seconds: float, side: int) -> None:
    """Poses at 60 Hz and a map at 2 Hz for everybody; tells its memory before and after, and who was cut."""
    cut: list[str] = []
    server = Server(0, on_client=lambda peer, here, reason: None if here else cut.append(reason))
    server.start()
    pipe.send(server.port)
    while len(server.clients) < clients:
        time.sleep(0.01)
    raw_map = encode(image_message(IMAGE, cube(side), Grid(), time.time()))
    memory: list[float] = []

    def tick(i: int) -> None:
        matrix = np.eye(4)
        matrix[0, 3] = i
        server.publish(encode(transform_message(POSE, matrix, time.time())))
        if i % 30 == 0:
            server.publish(raw_map, key=IMAGE, newest_wins=True)
            memory.append(rss_mib())

    used_s = cpu_s()
    sent = pace(60.0, seconds, tick)
    time.sleep(SETTLE_S)
    # the first map and the buffers of the first second are not growth
    pipe.send(
        {
            "sent": sent,
            "cut": cut[:],
            "cores": round((cpu_s() - used_s) / seconds, 3),
            "rss_start_mib": round(memory[min(2, len(memory) - 1)], 1),
            "rss_most_mib": round(max(memory), 1),
            "rss_end_mib": round(rss_mib(), 1),
        }
    )
    while not told(pipe):
        time.sleep(0.01)
    server.stop()


class Skimmer:
    """Reads one stream and keeps of it the small messages alone, so that the reader is not what is measured."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.found: list[tuple[float, bytes]] = []
        self._kept = b""
        self._skip = 0

    def read(self) -> None:
        data = self.socket.recv(1 << 18)
        now_s = time.time()
        while data:
            passed = min(self._skip, len(data))
            self._skip -= passed
            self._kept += data[passed : passed + HEADER_BYTES + SMALL_BYTES]
            data = data[passed + HEADER_BYTES + SMALL_BYTES :]
            self._cut(now_s)

    def _cut(self, now_s: float) -> None:
        while len(self._kept) >= HEADER_BYTES:
            end = HEADER_BYTES + Header.unpack(self._kept).body_bytes
            if end > SMALL_BYTES:
                self._skip = max(0, end - len(self._kept))
            elif end > len(self._kept):
                return
            else:
                self.found.append((now_s, self._kept[:end]))
            self._kept = self._kept[end:]


def fan_out_readers(pipe: Pipe, port: int, count: int) -> None:
    """`count` clients; tells delays of the poses, how many each got and how many numbers were missed."""
    skimmers = [Skimmer(port) for _ in range(count)]
    pipe.send("started")
    with selectors.DefaultSelector() as selector:
        for skimmer in skimmers:
            selector.register(skimmer.socket, selectors.EVENT_READ, skimmer)
        while not told(pipe):
            for key, _ in selector.select(0.05):
                key.data.read()
    delays_s, counts, gaps = [], [], 0
    for skimmer in skimmers:
        skimmer.socket.close()
        numbers = []
        for arrival_s, raw in skimmer.found:
            message = decode(raw)
            numbers.append(round(float(message.body.matrix[0, 3])))
            delays_s.append(arrival_s - message.t_s)
        counts.append(len(numbers))
        gaps += sum(b - a != 1 for a, b in itertools.pairwise(numbers))
    pipe.send((delays_s, counts, gaps))


def fan_out(clients: int, stalled: int, seconds: float, side: int = 64) -> dict[str, Any]:
    """One server; `stalled` of the clients never read."""
    server = Child(fan_out_server, clients, seconds, side)
    port = server.hear()
    stuck = []
    for _ in range(stalled):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        stuck.append(sock)
    readers = Child(fan_out_readers, port, clients - stalled)
    readers.hear()
    found: dict[str, Any] = server.hear(seconds + 60.0)
    readers.tell("stop")
    delays_s, counts, gaps = readers.hear()
    server.tell("stop")
    for child in (server, readers):
        child.end()
    for sock in stuck:
        sock.close()
    complete = sum(count == found["sent"] for count in counts)
    return {
        **found,
        "clients": clients,
        "stalled": stalled,
        "complete": complete,
        "gaps": gaps,
        **spread(delays_s),
    }


def main() -> None:
    """All comparisons and one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--stalled", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    print(machine())
    count = max(5, int(2 * args.seconds))
    results = {
        "transport_1khz": in_turn(args.rounds, lambda who: transport(who, args.seconds)),
        "image_64": in_turn(args.rounds, lambda who: images(who, 64, count)),
        "image_160": in_turn(1, lambda who: images(who, 160, 4)),
        "poses_beside_map": {
            f"{side}^3 {'own port' if own else 'one port'}": beside_map(side, own, args.seconds)
            for side in (64, 160)
            for own in (False, True)
        },
        "fan_out": fan_out(args.clients, args.stalled, max(args.seconds, 5.0)),
    }
    table([("what", "measured", "reach"), *rows(results)])
    write(args.out, results)


def rows(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = []
    reaches = {"transport_1khz": "p50 < 1, p99 < 5 ms", "image_64": "< 10 ms", "image_160": "delivered"}
    for part, reach in reaches.items():
        for who, r in results[part].items():
            text = (
                f"p50 {r['p50_ms']:.2f} ms, p99 {r['p99_ms']:.2f} ms, delivered {100 * r['delivered']:.1f} %"
            )
            if "sender_cores" in r:
                text += f", cores {r['sender_cores']:.2f} + {r['receiver_cores']:.2f}"
            found.append((f"{part} {who}", text, reach if who == "ours" else ""))
    for how, r in results["poses_beside_map"].items():
        text = f"p50 {r['p50_ms']:.2f} ms, p99 {r['p99_ms']:.2f} ms, longest {r['max_ms']:.2f} ms"
        found.append((f"500 Hz of poses beside a map of {how}", text, ""))
    r = results["fan_out"]
    found.append(
        (
            f"fan-out, {r['clients']} clients, {r['stalled']} stalled",
            f"p99 {r['p99_ms']:.2f} ms, gaps {r['gaps']}, complete {r['complete']}, cut {len(r['cut'])}, "
            f"memory {r['rss_start_mib']} -> {r['rss_end_mib']} MiB (most {r['rss_most_mib']})",
            "p99 <= 20 ms, 0 gaps, memory flat",
        )
    )
    return found


if __name__ == "__main__":
    main()
