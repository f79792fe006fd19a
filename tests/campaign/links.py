"""A server among clients that misbehave in every way: the one that behaves misses nothing, and nothing grows.

Each visit is one of: garbage, half a message and gone, a reset, a header that lies about its size, a flood of
requests, a stall in the middle of a map, a version 2 peer that leaves, a crowd at the door. Run:
python -m tests.campaign.links --n 2000
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tracking.igtl import (
    Client,
    ImageContent,
    Message,
    OpaqueContent,
    Server,
    decode,
    encode,
    status_message,
    transform_message,
)
from tracking.igtl.header import Header

POSES_HZ, MAP_SIDE = 200.0, 48
STALL_S = 0.5
# A buffer more or less of the allocator; what grows with each visit is far above it after a few hundred.
GROWTH_MIB = 16.0
QUERY = encode(Message("GET_TRANS", "", 0.0, 1, {}, OpaqueContent()))
HELLO = encode(status_message("", 0.0, version=2))


def garbage(sock: socket.socket, rng: random.Random) -> None:
    sock.sendall(rng.randbytes(rng.randrange(1, 200_000)))


def half_a_message(sock: socket.socket, rng: random.Random) -> None:
    sock.sendall(QUERY[: rng.randrange(1, len(QUERY))])


def reset(sock: socket.socket, rng: random.Random) -> None:
    sock.recv(rng.randrange(1, 4096))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def lie(sock: socket.socket, rng: random.Random) -> None:
    kind = rng.choice(["IMAGE", "TRANSFORM", "NEWTYPE", "STRING"])
    sock.sendall(Header(rng.choice([1, 2]), kind, "x", 0, rng.randrange(1 << 40), 0).pack() + QUERY * 3)
    sock.recv(100)


def flood(sock: socket.socket, rng: random.Random) -> None:
    sock.sendall(QUERY * rng.randrange(500, 3000))


def stall(sock: socket.socket, rng: random.Random) -> None:
    sock.recv(rng.randrange(1, 100_000))
    time.sleep(2 * STALL_S)


def version_2(sock: socket.socket, rng: random.Random) -> None:
    sock.sendall(HELLO)
    sock.recv(rng.randrange(1, 100_000))


def crowd(sock: socket.socket, rng: random.Random) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(rng.randrange(2, 80)):
            stack.enter_context(socket.create_connection(sock.getpeername(), 5.0))


VISITS: tuple[Callable[[socket.socket, random.Random], None], ...] = (
    garbage,
    half_a_message,
    reset,
    lie,
    flood,
    stall,
    version_2,
    crowd,
)


@dataclass(slots=True)
class Found:
    """What a run showed; `fault` is empty when all is well."""

    visits: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0
    out_of_order: int = 0
    longest_delay_s: float = 0.0
    growth_mib: float = 0.0
    open_files: tuple[int, int] = (0, 0)
    threads: tuple[int, int] = (0, 0)

    @property
    def fault(self) -> str:
        """What is wrong, in words."""
        if self.received != self.sent or self.out_of_order:
            return f"{self.sent} poses sent, {self.received} received, {self.out_of_order} out of order"
        if self.growth_mib > GROWTH_MIB:
            return f"memory grew by {self.growth_mib:.1f} MiB"
        if self.open_files[1] > self.open_files[0] or self.threads[1] > self.threads[0]:
            return f"open files {self.open_files}, threads {self.threads}"
        return ""


class Stream:
    """Numbered poses at a steady rate and two maps a second, on a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.sent = 0
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        voxels = np.zeros((MAP_SIDE,) * 3, dtype=np.float32)
        body = ImageContent.of(voxels, [0.0] * 3, [1.0] * 3, np.eye(3))
        self._map = encode(Message("IMAGE", "Activity_Reference", 0.0, 1, {}, body))

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; all of it has been published."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1.0 / POSES_HZ):
            matrix = np.eye(4)
            matrix[0, 3] = self.sent % 4096
            self._server.publish(encode(transform_message("ProbeToReference", matrix, time.time())))
            self.sent += 1
            if self.sent % round(POSES_HZ / 2) == 0:
                self._server.publish(self._map, key="map", newest_wins=True)


class Reader:
    """The client that behaves."""

    def __init__(self, port: int, found: Found) -> None:
        self._found = found
        self.client = Client("127.0.0.1", port, "reader", self._take, clock=time.time)
        self.client.start()

    def _take(self, source: str, arrival_s: float, raw: bytes) -> None:
        message = decode(raw)
        if message.type != "TRANSFORM":
            return
        found = self._found
        number = round(float(message.body.matrix[0, 3]))  # type: ignore[union-attr]
        found.out_of_order += number != found.received % 4096
        found.received += 1
        found.longest_delay_s = max(found.longest_delay_s, arrival_s - message.t_s)


def state() -> tuple[float, int, int]:
    """(resident MiB, open files, threads) of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20, len(os.listdir("/proc/self/fd")), threading.active_count()


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether it becomes true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return condition()


def run(n: int, seed: int) -> Found:
    """`n` visits, one after the other; what they did to the others."""
    rng, found = random.Random(seed), Found()
    server = Server(0, stall_s=STALL_S)
    server.start()
    reader = Reader(server.port, found)
    assert wait_for(lambda: [c.version for c in server.clients] == [2])
    stream = Stream(server)
    stream.start()
    before = state()
    for i in range(n):
        # the first of each kind fill caches and pools: growth is what comes after
        if i == 2 * len(VISITS):
            before = state()
        visit = VISITS[i % len(VISITS)]
        found.visits[visit.__name__] += 1
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 5.0) as sock:
            sock.settimeout(5.0)
            visit(sock, rng)
    stream.stop()
    assert wait_for(lambda: len(server.clients) == 1)
    found.sent = stream.sent
    wait_for(lambda: found.received == found.sent)
    after = state()
    found.growth_mib = after[0] - before[0]
    # the stream's thread has ended
    found.open_files, found.threads = (before[1], after[1]), (before[2] - 1, after[2])
    reader.client.stop()
    server.stop()
    return found


def main() -> None:
    """Visits, what came of them, exit 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=400, help="visits")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = run(args.n, args.seed)
    print(
        f"{dict(found.visits)}: {found.sent} poses, none lost or moved, longest delay "
        f"{1e3 * found.longest_delay_s:.0f} ms, memory {found.growth_mib:+.1f} MiB"
        if not found.fault
        else f"wrong: {found.fault}"
    )
    sys.exit(1 if found.fault else 0)


if __name__ == "__main__":
    main()
