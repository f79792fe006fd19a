"""A recorder on a disk that fills up and gets room again; run in a process of its own, prints what happened.

Run: python -m tests.tracking.recording.disk_full FOLDER filler|limit|end; `filler` needs a small file system at
FOLDER, `limit` makes every write beyond a size fail instead.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracking.errors import SurroundingsError
from tracking.recording import Record, Recorder, verify

DEADLINE_S = 60.0
ROOT = Path(__file__).resolve().parents[3]
LIMIT_BYTES = 1 << 20
ROW_BYTES = 2000


class Scene:
    """A recorder with its alarms; every accepted number is noted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "r.gnav"
        self.alarms: list[tuple[float, str]] = []
        self.recorder = Recorder(self.path, {"case": "full"}, on_alarm=self._hear)
        self.accepted: list[int] = []
        self.number = 0
        self.slowest_s = 0.0

    def _hear(self, kind: str, text: str) -> None:
        self.alarms.append((time.monotonic(), kind))

    def heard(self, kind: str) -> bool:
        return any(k == kind for _, k in self.alarms)

    def append(self) -> bool:
        began = time.monotonic()
        taken = self.recorder.append(
            "s", float(self.number), "raw", self.number.to_bytes(8, "big") * (ROW_BYTES // 8)
        )
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.accepted += [self.number] if taken else []
        self.number += 1
        return taken

    def append_until(self, done: Callable[[], bool]) -> None:
        """At 200 Hz, as the sources of a live case do."""
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            self.append()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.recorder.health}, alarms {self.alarms}")
            time.sleep(0.005)

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.recorder.health}, alarms {self.alarms}")
            time.sleep(0.005)

    def result(self, failed_s: float) -> dict[str, Any]:
        events = list(Record(self.path).events())
        verdict = verify(self.path)
        kept = [int.from_bytes(e.payload[:8], "big") for e in events if e.kind == "raw"]
        alarm_s = [t for t, kind in self.alarms if kind in ("full", "disk")]
        return {
            "accepted": len(self.accepted),
            "refused": self.number - len(self.accepted),
            "missing": len(set(self.accepted) - set(kept)),
            "unasked": len(set(kept) - set(self.accepted)),
            "lost": self.recorder.lost,
            "noted": sum(e.content()["lost"] for e in events if e.kind == "recorder"),
            "alarms": [kind for _, kind in self.alarms],
            "alarm_after_s": alarm_s[0] - failed_s,
            "slowest_append_s": self.slowest_s,
            "sealed": verdict.seal is not None,
            "beside": sorted(p.name for p in self.path.parent.iterdir()),
        }


def fill(path: Path) -> None:
    """Take all the room that is left."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    block = 65536
    while block:
        try:
            os.write(handle, bytes(block))
        except OSError:
            block //= 2
    os.close(handle)


def filler(folder: Path) -> dict[str, Any]:
    """Another program fills the disk and gives its room back."""
    scene = Scene(folder)
    for _ in range(100):
        scene.append()
    scene.wait(lambda: scene.recorder.waiting == 0)
    fill(folder / "filler")
    failed_s = time.monotonic()
    scene.append_until(lambda: scene.recorder.lost > 20)
    scene.wait(lambda: scene.recorder.waiting == 0)  # accepted before: written into the ballast's room
    assert scene.recorder.fault is not None
    (folder / "filler").unlink()
    scene.append_until(lambda: scene.heard("recovered"))
    for _ in range(20):
        assert scene.append()
    assert scene.recorder.fault is None
    scene.recorder.close()
    return scene.result(failed_s)


def limit(folder: Path) -> dict[str, Any]:
    """Writes beyond a size fail, until they do not."""
    scene = Scene(folder)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, usual[1]))
    failed_s = 0.0
    scene.append_until(lambda: scene.recorder.fault is not None)
    failed_s = time.monotonic()
    scene.append_until(lambda: scene.recorder.lost > 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    scene.append_until(lambda: scene.heard("recovered"))
    for _ in range(20):
        assert scene.append()
    scene.recorder.close()
    return scene.result(failed_s)


def end(folder: Path) -> dict[str, Any]:
    """The recorder itself fills the disk, and is closed while it is full."""
    scene = Scene(folder)
    while scene.append():
        time.sleep(0.0005)
    failed_s = time.monotonic()
    scene.wait(lambda: scene.heard("full") or scene.heard("behind"))
    scene.append_until(lambda: scene.heard("full"))
    try:
        scene.recorder.close()
    except SurroundingsError as error:
        print(error, file=sys.stderr)
    return scene.result(failed_s)


if __name__ == "__main__":
    print(json.dumps({"filler": filler, "limit": limit, "end": end}[sys.argv[2]](Path(sys.argv[1]))))
