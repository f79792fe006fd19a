"""The whole path under load: counts at 1 kHz, four tools at 60 Hz, a map at 2 Hz, recorded and sent to three clients.

Run: python -m benchmarks.throughput [--minutes M] [--out FILE]; sources, engine and clients are processes of
their own, every message is accounted for.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.processes import Child, cpu_s, pace, rss_mib, spread, table, told, write
from benchmarks.wire import Grid, cube
from tracking.hub import Hub, Inputs
from tracking.igtl import Client, Server, decode, encode, image_message, names, transform_message
from tracking.igtl.content import SensorContent, TransformContent
from tracking.igtl.counts import counts_sensor_message
from tracking.recording.reader import Record
from tracking.recording.writer import Recorder
from tracking.sample import CountSample

COUNTS_HZ, POSES_HZ, MAP_HZ = 1000.0, 60.0, 2.0
TOOLS = ("Probe", "Reference", "Stylus", "Pointer")
MAP_SIDE = 64
CLIENTS = 3
# What is still on its way after the last message.
SETTLE_S = 1.0
RAW = "raw"
# A minute of poses: full long before the half of the run in which the growth of memory is read off.
POSES_KEPT = 3600


def is_answer(raw: bytes) -> bool:
    """Whether it is the answer to a GET_STATUS, which a client sends while nothing comes."""
    return raw[2:8] == b"STATUS"


def counts_source(pipe: Pipe, seconds: float) -> None:
    """A reading a millisecond, numbered by its sequence."""
    server = Server(0)
    server.start()
    pipe.send(server.port)
    pipe.recv()

    def reading(i: int) -> None:
        live_s = (i + 1) / COUNTS_HZ
        sample = CountSample(time.time(), i, 1.0, 1.0 / COUNTS_HZ, float(i + 1), live_s)
        server.publish(encode(counts_sensor_message(sample)))

    report(pipe, server, seconds, lambda: pace(COUNTS_HZ, seconds, reading))


def pose_source(pipe: Pipe, seconds: float) -> None:
    """Every tool sixty times a second, numbered in the metadata and moving, so that no pose is a repeat."""
    server = Server(0)
    server.start()
    pipe.send(server.port)
    pipe.recv()

    def frame(i: int) -> None:
        now_s = time.time()
        for tool in TOOLS:
            matrix = np.eye(4)
            matrix[0, 3] = (i % 4096) / 16.0
            metadata = {"TransformStatus": "OK", "TransformValid": "1", "Seq": str(i)}
            message = transform_message(f"{tool}ToTracker", matrix, now_s, metadata, 2)
            server.publish(None, encode(message))

    report(pipe, server, seconds, lambda: pace(POSES_HZ, seconds, frame) * len(TOOLS))


def report(pipe: Pipe, server: Server, seconds: float, run: Any) -> None:
    """Run, tell how many were sent and what it cost, stop when told."""
    used_s = cpu_s()
    sent = run()
    time.sleep(SETTLE_S)
    pipe.send({"sent": sent, "cores": (cpu_s() - used_s) / seconds, "dropped": server.dropped_messages})
    pipe.recv()
    server.stop()


class Engine:
    """What an engine does with each message before it reconstructs: record, interpret, hand on."""

    def __init__(self, record: Path, ports: dict[str, int]) -> None:
        self.recorder = Recorder(record, {"benchmark": "throughput"})
        inputs = {"probe": Inputs(False, True), "tracker": Inputs(True, False)}
        self.hub = Hub(inputs, capacity=POSES_KEPT)
        self.server = Server(0)
        self.server.start()
        self.taken: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.clients = [
            Client("127.0.0.1", port, name, self._take, clock=time.time) for name, port in ports.items()
        ]
        for client in self.clients:
            client.start()

    def _take(self, source: str, arrival_s: float, raw: bytes) -> None:
        if is_answer(raw):
            return
        with self._lock:
            self.taken[source] += 1
            self.recorder.append(source, arrival_s, RAW, raw)
            self.hub.handle(source, arrival_s, raw)
        if source == "probe":
            self.server.publish(raw)
            return
        message = decode(raw)
        name = message.device.replace("Tracker", "Reference")
        assert isinstance(message.body, TransformContent)
        out = transform_message(name, message.body.matrix, message.t_s, message.metadata)
        self.server.publish(encode(out, 1), encode(out, 2))

    def show_map(self, i: int) -> None:
        voxels = cube(MAP_SIDE)
        voxels[0, 0, 0] = i
        message = image_message(names.ACTIVITY, voxels, Grid(), time.time(), {"Seq": str(i)})
        self.server.publish(encode(message, 1), encode(message, 2), names.ACTIVITY, True)


def engine(pipe: Pipe, record: str, ports: dict[str, int], seconds: float) -> None:
    """Sources in, record and three clients out, a map twice a second."""
    this = Engine(Path(record), ports)
    pipe.send(this.server.port)
    while [client.version for client in this.server.clients] != [2] * CLIENTS:  # they have said hello
        time.sleep(0.01)
    pipe.send("ready")
    pipe.recv()
    used_s = cpu_s()
    memory: list[tuple[float, float]] = []

    def tick(i: int) -> None:
        this.show_map(i)
        if i % 2 == 0:
            memory.append((time.perf_counter(), rss_mib()))

    maps = pace(MAP_HZ, seconds, tick)
    time.sleep(SETTLE_S)
    cores = (cpu_s() - used_s) / seconds
    pipe.send("done")
    pipe.recv()
    for client in this.clients:
        client.stop()
    this.server.stop()
    this.recorder.close()
    pipe.send(
        {
            "taken": dict(this.taken),
            "maps": maps,
            "cores": cores,
            "memory": memory,
            "gaps": this.hub.counts.gaps,
            "duplicates": this.hub.counts.duplicates,
            "lost_in_record": this.recorder.lost,
            "dropped": this.server.dropped_messages,
            "garbage_bytes": sum(client.garbage_bytes for client in this.clients),
        }
    )


@dataclass
class Seen:
    """What one client has got: numbers of each stream, delay of each message."""

    numbers: dict[str, list[int]] = field(default_factory=dict)
    delays_s: dict[str, list[float]] = field(default_factory=dict)

    def take(self, source: str, arrival_s: float, raw: bytes) -> None:
        if is_answer(raw):
            return
        message = decode(raw)
        body = message.body
        number = int(body.values[0]) if isinstance(body, SensorContent) else int(message.metadata["Seq"])
        self.numbers.setdefault(message.device, []).append(number)
        self.delays_s.setdefault(message.type, []).append(arrival_s - message.t_s)

    def told(self) -> dict[str, Any]:
        gaps = {
            device: sum(b - a != 1 for a, b in itertools.pairwise([-1, *found]))
            for device, found in self.numbers.items()
        }
        return {
            "received": {device: len(found) for device, found in self.numbers.items()},
            "gaps": gaps,
            "delays_s": {kind: np.asarray(found, dtype=np.float32) for kind, found in self.delays_s.items()},
        }


def viewer(pipe: Pipe, port: int, seconds: float) -> None:
    """One client of the engine, version 2."""
    seen = Seen()
    client = Client("127.0.0.1", port, "viewer", seen.take, clock=time.time)
    client.start()
    used_s = cpu_s()
    while not told(pipe):
        time.sleep(0.05)
    cores = (cpu_s() - used_s) / seconds
    client.stop()
    pipe.send({**seen.told(), "cores": cores})


def recorded(path: Path) -> dict[str, Any]:
    """Rows of each source in the record, and the sequence numbers of the counts that are missing in it."""
    rows: Counter[str] = Counter()
    numbers = []
    for event in Record(path).events(RAW):
        rows[event.source] += 1
        if event.source == "probe":
            body = decode(event.payload).body
            assert isinstance(body, SensorContent)
            numbers.append(int(body.values[0]))
    gaps = sum(b - a != 1 for a, b in itertools.pairwise([-1, *numbers]))
    return {"rows": dict(rows), "gaps": gaps}


def slope_mib_per_h(memory: list[tuple[float, float]]) -> float:
    """Growth of the engine over the second half of the run."""
    late = np.array(memory[len(memory) // 2 :])
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0] * 3600) if len(late) > 2 else float("nan")


def run(seconds: float, folder: Path) -> dict[str, Any]:
    """All processes from start to end; every figure."""
    sources = {"probe": Child(counts_source, seconds), "tracker": Child(pose_source, seconds)}
    ports = {name: child.hear() for name, child in sources.items()}
    path = folder / "load.gammarec"
    middle = Child(engine, str(path), ports, seconds)
    port = middle.hear()
    viewers = [Child(viewer, port, seconds) for _ in range(CLIENTS)]
    middle.hear()
    for child in (middle, *sources.values()):
        child.tell("go")
    sent = {name: child.hear(seconds + 60.0) for name, child in sources.items()}
    middle.hear(seconds + 60.0)
    for child in viewers:
        child.tell("stop")
    seen = [child.hear(60.0) for child in viewers]
    for child in sources.values():
        child.tell("stop")
    middle.tell("stop")
    inside = middle.hear(60.0)
    for child in (middle, *viewers, *sources.values()):
        child.end()
    return judged(seconds, sent, inside, seen, recorded(path))


def judged(
    seconds: float,
    sent: dict[str, Any],
    inside: dict[str, Any],
    seen: list[dict[str, Any]],
    kept: dict[str, Any],
) -> dict[str, Any]:
    """Accounts and figures."""
    wanted = {name: found["sent"] for name, found in sent.items()}
    each = {"GammaProbe": wanted["probe"]}
    each |= {f"{tool}ToReference": wanted["tracker"] // len(TOOLS) for tool in TOOLS}
    each[names.ACTIVITY] = inside["maps"]
    expected = sum(each.values())
    accounted = [
        sum(min(found["received"].get(device, 0), count) for device, count in each.items()) / expected
        for found in seen
    ]
    cores = sum(found["cores"] for found in (*sent.values(), inside, *seen))
    by_type = {
        kind: spread(np.concatenate([found["delays_s"].get(kind, np.zeros(0)) for found in seen]))
        for kind in ("SENSOR", "TRANSFORM", "IMAGE")
    }
    return {
        "seconds": seconds,
        "sent": wanted,
        "taken": inside["taken"],
        "recorded": kept["rows"],
        "received": [found["received"] for found in seen],
        "accounted": min(accounted),
        "complete": wanted == inside["taken"] == kept["rows"]
        and all(found["received"] == each for found in seen),
        "gaps": {
            "engine": inside["gaps"],
            "record": kept["gaps"],
            "clients": sum(sum(found["gaps"].values()) for found in seen),
        },
        "lost": {
            "sources": sum(found["dropped"] for found in sent.values()),
            "record": inside["lost_in_record"],
            "server": inside["dropped"],
            "garbage_bytes": inside["garbage_bytes"],
        },
        "cores": {
            **{name: round(found["cores"], 3) for name, found in sent.items()},
            "engine": round(inside["cores"], 3),
            "clients": [round(found["cores"], 3) for found in seen],
            "all": round(cores, 3),
        },
        "share_of_two_cores": round(cores / 2, 4),
        "latency": by_type,
        "engine_rss_mib": [round(inside["memory"][0][1], 1), round(inside["memory"][-1][1], 1)],
        "engine_rss_slope_mib_per_h": round(slope_mib_per_h(inside["memory"]), 2),
    }


def main() -> None:
    """The load for so many minutes, and one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        r = run(60.0 * args.minutes, Path(folder))
    latency = r["latency"]
    table(
        [
            ("what", "measured", "reach"),
            ("sent", f"{r['sent']['probe']} counts, {r['sent']['tracker']} poses in {r['seconds']:g} s", ""),
            ("recorded", f"{r['recorded']}", "all"),
            ("accounted at the worst client", f"{100 * r['accounted']:.4f} %", "100 %"),
            ("sent = recorded = received", str(r["complete"]), "True"),
            ("gaps", str(r["gaps"]), "0"),
            (
                "processor, all six processes",
                f"{100 * r['share_of_two_cores']:.1f} % of two cores",
                "<= 60 %",
            ),
            *(
                (f"{kind} source to client", f"p50 {s['p50_ms']:.2f} ms, p99 {s['p99_ms']:.2f} ms", "")
                for kind, s in latency.items()
            ),
            ("engine memory", f"{r['engine_rss_mib']} MiB, {r['engine_rss_slope_mib_per_h']} MiB/h", "flat"),
        ]
    )
    print("cores:", r["cores"], "lost:", r["lost"])
    write(args.out, r)


if __name__ == "__main__":
    main()
