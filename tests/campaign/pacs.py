"""Damaged answers of a PACS, replayed by the thousand: `python -m tests.campaign.pacs --n 1000`.

Whatever a peer sends, a retrieval ends in time, whole or with one line, and leaves nothing of a failed one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from navigation.io.pacs import retrieve
from navigation.io.pacssettings import Limits, Peer
from tests.navigation.io.pacs_peer import STUDY, TITLE, finding, getting, image, series_entry, served
from tracking.errors import SurroundingsError

IMAGES = 3
TIMEOUT_S = 0.7
# What a good peer may need on a busy machine.
PATIENCE_S = 60.0
# Start of a process, the time allowed, leaving the peer, and a busy machine.
HANG_S = 15.0
# Most damage goes where headers and commands are, not into the zeros of the pixels.
_HEAD_BYTES = 400
_HEAD_SHARE = 0.8
_MOST_CHANGES = 3

# ("sent", bytes of the PACS) or ("taken", as many bytes from us), in the order in which they went.
Piece = tuple[str, bytes]


@dataclass
class Findings:
    """What a run has seen, by outcome; faults with the number of their input."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{n} {what}" for what, n in sorted(self.outcomes.items()))
        return "\n".join([f"{told}; slowest {self.slowest_s:.1f} s", *self.faults])


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """A listener on the loopback, served by a thread that has ended behind the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener
        thread.join(HANG_S)


def recorded() -> list[Piece]:
    """A retrieval from a good peer, as pieces."""
    pieces: list[Piece] = []
    images = [image(f"{STUDY}.1.{n}") for n in range(IMAGES)]
    with served(finding(series_entry(IMAGES)), getting(images)) as port:
        serve = functools.partial(_pass_on, port=port, pieces=pieces)
        with listening(serve) as listener, tempfile.TemporaryDirectory() as folder:
            retrieve(_peer(listener, PATIENCE_S), STUDY, Path(folder), modalities=("CT",))
    return pieces


def _peer(listener: socket.socket, timeout_s: float = TIMEOUT_S) -> Peer:
    limits = Limits(keep_free_bytes=0)
    return Peer("127.0.0.1", listener.getsockname()[1], TITLE, timeout_s=timeout_s, limits=limits)


def _pass_on(listener: socket.socket, port: int, pieces: list[Piece]) -> None:
    with listener.accept()[0] as ours, socket.create_connection(("127.0.0.1", port)) as theirs:

        def upwards() -> None:
            with contextlib.suppress(OSError):
                while data := ours.recv(1 << 16):
                    pieces.append(("taken", data))
                    theirs.sendall(data)
                theirs.shutdown(socket.SHUT_WR)

        up = threading.Thread(target=upwards)
        up.start()
        with contextlib.suppress(OSError):
            while data := theirs.recv(1 << 16):
                pieces.append(("sent", data))
                ours.sendall(data)
            ours.shutdown(socket.SHUT_RDWR)
        up.join(HANG_S)


def damaged(pieces: list[Piece], rng: random.Random) -> list[Piece]:
    """Some of the pieces that the PACS sends, with bytes changed, cut out, put in or cut off."""
    changed = list(pieces)
    places = [n for n, (who, _) in enumerate(pieces) if who == "sent"]
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        place = rng.choice(places)
        changed[place] = ("sent", _damage(bytearray(changed[place][1]), rng))
    return changed


def _damage(data: bytearray, rng: random.Random) -> bytes:
    if not data:
        return b""
    head = min(len(data), _HEAD_BYTES) if rng.random() < _HEAD_SHARE else len(data)
    at, some = rng.randrange(head), rng.randint(1, 16)
    kind = rng.randrange(6)
    if kind <= 1:
        data[at] = rng.randrange(256)
    elif kind == 2:
        data[at : at + 4] = b"\xff" * 4
    elif kind == 3:
        del data[at : at + some]
    elif kind == 4:
        data[at:at] = rng.randbytes(some)
    else:
        del data[at:]
    return bytes(data)


def _replay(listener: socket.socket, pieces: list[Piece]) -> None:
    with contextlib.suppress(OSError), listener.accept()[0] as connection:
        connection.settimeout(2.0 * TIMEOUT_S)
        for who, data in pieces:
            if who == "sent":
                connection.sendall(data)
            elif not _take(connection, len(data)):
                return
        while connection.recv(1 << 16):
            pass


def _take(connection: socket.socket, count: int) -> bool:
    while count > 0:
        got = connection.recv(count)
        if not got:
            return False
        count -= len(got)
    return True


def run(n: int, seed: int) -> Findings:
    """n damaged retrievals; the same seed gives the same ones."""
    findings = Findings()
    pieces = recorded()
    for number in range(n):
        script = damaged(pieces, random.Random(f"{seed} {number}"))
        serve = functools.partial(_replay, pieces=script)
        with tempfile.TemporaryDirectory() as parent, listening(serve) as listener:
            _judge(findings, _peer(listener), Path(parent) / "a", number)
    return findings


def _judge(findings: Findings, peer: Peer, folder: Path, number: int) -> None:
    folder.mkdir()
    start_s = time.perf_counter()
    try:
        files = retrieve(peer, STUDY, folder, modalities=("CT",)).files
        outcome = "whole"
        if files != IMAGES or len(list(folder.iterdir())) != IMAGES:
            findings.faults.append(f"{number}: {files} of {IMAGES} taken for a whole series")
    except SurroundingsError as told:
        outcome = "refused"
        if folder.exists() or len(str(told).splitlines()) != 1:
            findings.faults.append(f"{number}: left something behind, or more than a line: {told}")
    elapsed_s = time.perf_counter() - start_s
    if elapsed_s > HANG_S:
        findings.faults.append(f"{number}: took {elapsed_s:.1f} s")
    findings.slowest_s = max(findings.slowest_s, elapsed_s)
    findings.outcomes[outcome] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    findings = run(arguments.n, arguments.seed)
    print(findings)
    sys.exit(bool(findings.faults))


if __name__ == "__main__":
    main()
