"""`kill -9` at random while recording 200 messages and a map of 1 MiB a second, and the same record goes on.

Acknowledged is what the recorder counted as committed, noted in shared memory that survives the process.
Run: python -m tests.campaign.kill --n 500
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tracking.recording import Record, Recorder, verify

ROOT = Path(__file__).resolve().parents[2]
RATE_S, MAP_S, MAP_BYTES = 1 / 200, 1.0, 1 << 20
# Life number, first number of this life, numbers appended and acknowledged, arrival of the newest, s of resuming.
ACK = struct.Struct("=QQQQdd")
START_S = 30.0
# In place of an arrival while the record is being opened; and how often, and how long after that, a kill comes.
OPENING, EARLY, EARLY_S = -1.0, 0.15, 0.03


def payload(number: int, size: int) -> bytes:
    """What was appended as `number`: its number, then bytes that follow from it."""
    return number.to_bytes(8, "big") + hashlib.shake_128(number.to_bytes(8, "big")).digest(64) * (size // 64)


def live(path: Path, acks: Path) -> None:
    """The child: go on with the record, append at the given rates, acknowledge; until it is killed."""
    with acks.open("r+b") as file, mmap.mmap(file.fileno(), ACK.size) as memory:
        life, _, first, *_ = ACK.unpack_from(memory)
        ACK.pack_into(memory, 0, life, first, first, first, OPENING, 0.0)
        began = time.perf_counter()
        recorder = Recorder.resume(path) if path.exists() else Recorder(path, {"case": "chaos"})
        resumed_s = time.perf_counter() - began
        number, next_s, next_map_s = first, time.time(), time.time() + random.uniform(0.05, MAP_S)
        while True:
            now = time.time()
            large = now >= next_map_s
            next_map_s += MAP_S if large else 0.0
            assert recorder.append(
                "s", now, "map" if large else "raw", payload(number, MAP_BYTES if large else 128)
            )
            number += 1
            deadline = next_s = next_s + RATE_S
            while True:
                ACK.pack_into(memory, 0, life, first, number, first + recorder.committed, now, resumed_s)
                rest = deadline - time.time()
                if rest <= 0.0:
                    break
                time.sleep(min(rest, 0.001))


@dataclass(slots=True)
class Found:
    """Over all lives: kills, acknowledged numbers that are missing, rows, tails in s, resumptions in s."""

    kills: int = 0
    lost: int = 0
    rows: int = 0
    acknowledged: int = 0
    tails_s: list[float] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.rows} rows, {self.acknowledged} acknowledged, {self.lost} of them lost; "
            f"tail at most {1e3 * max(self.tails_s):.1f} ms; resumed in at most {max(self.resumed_s):.3f} s"
        )


def chaos(folder: Path, kills: int, rng: random.Random) -> Found:
    """Kill `kills` recorders of one record. Raises what `verify` raises when the chain is broken."""
    path, acks = folder / "chaos.gnav", folder / "acks"
    acks.write_bytes(bytes(ACK.size))
    found = Found()
    lives: list[tuple[int, int, int]] = []
    with acks.open("r+b") as file, mmap.mmap(file.fileno(), ACK.size) as memory:
        for life in range(kills):
            _, _, first, *_ = ACK.unpack_from(memory)
            ACK.pack_into(memory, 0, life, first, first, first, 0.0, 0.0)
            early = life > 0 and rng.random() < EARLY
            _kill(path, acks, memory, early, rng.uniform(0.0, EARLY_S) if early else rng.uniform(0.05, 0.6))
            _, first, appended, acknowledged, newest_s, resumed_s = ACK.unpack_from(memory)
            lives.append((first, appended, acknowledged))
            found.acknowledged += acknowledged - first
            found.kills += 1
            if newest_s != OPENING:
                found.tails_s.append(max(0.0, newest_s - Record(path).last_arrival_s))
                found.resumed_s += [resumed_s] if life else []
    _compare(path, lives, found)
    return found


def _kill(path: Path, acks: Path, memory: mmap.mmap, early: bool, after_s: float) -> None:
    """Start a recorder, and kill it some time after it records (`early`: after it begins to open the record)."""
    command = [sys.executable, "-m", "tests.campaign.kill", "--live", str(path), str(acks)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + START_S
        while child.poll() is None and time.monotonic() < deadline:
            newest_s = ACK.unpack_from(memory)[4]
            if newest_s > 0.0 or (early and newest_s == OPENING):
                break
            time.sleep(0.001)
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
        assert child.stderr is not None
        words = child.stderr.read().decode()
        if child.wait() != -signal.SIGKILL:
            raise AssertionError(f"the recorder ended by itself: {words}")


def _compare(path: Path, lives: list[tuple[int, int, int]], found: Found) -> None:
    """Every life's rows: none missing before the last, none changed, all acknowledged ones there."""
    rows: list[int] = []
    resumptions = 0
    for event in Record(path).events():
        found.rows += 1
        if event.kind == "recorder":
            resumptions += 1
            continue
        number = int.from_bytes(event.payload[:8], "big")
        assert event.payload == payload(number, MAP_BYTES if event.kind == "map" else 128), f"row {event.id}"
        rows.append(number)
    assert len(found.resumed_s) <= resumptions <= found.kills - 1
    for first, appended, acknowledged in lives:
        own = [n for n in rows if first <= n < appended]
        assert own == list(range(first, first + len(own))), f"a hole in the rows from {first}"
        found.lost += max(0, acknowledged - first - len(own))
    assert verify(path).rows == found.rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--live", nargs=2, type=Path, metavar=("RECORD", "ACKS"), help="be the recorder")
    options = parser.parse_args()
    if options.live:
        live(*options.live)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = chaos(Path(folder), options.n, random.Random(options.seed))
    print(found)
    sys.exit(bool(found.lost or max(found.tails_s) > 0.05 or max(found.resumed_s) > 5.0))


if __name__ == "__main__":
    main()
