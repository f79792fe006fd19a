"""From a count rate that leaves the engine to the tone that is heard: through socket, window, sound server and back.

The recording of a null sink adds its own blocks, of so many ms, and a pulse may have to begin first; both are in what
is told. Run: python -m benchmarks.sound [--changes N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.machine import machine
from navigation.publish import rate_message
from navigation.ui.sound import RATE_HZ, SoundSettings, tone_of
from tests.navigation.ui.scene import snapshot
from tracking.igtl import Server, encode

BLOCK_S, WINDOW_S = 0.005, 0.02
LOW_CPS, HIGH_CPS = 137.0, 5000.0
QUIET = 300.0
LONGEST_S = 3.0
BYTES = 2


@contextmanager
def sound_server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a PulseAudio that plays into nothing."""
    socket = folder / "pulse.socket"
    there = {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), "PULSE_SERVER": f"unix:{socket}"}
    environment = {**os.environ, **there, "QT_QPA_PLATFORM": "offscreen"}
    modules = (
        f"module-null-sink sink_name=nowhere rate={RATE_HZ}",
        f"module-native-protocol-unix socket={socket} auth-anonymous=1",
    )
    words = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", *(f"--load={m}" for m in modules)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, env=environment, stdout=quiet, stderr=quiet) as server:
        while not socket.exists():
            time.sleep(0.05)
        try:
            yield environment
        finally:
            server.terminate()


class Engine:
    """Tells a count rate, ten times a second or when it changes."""

    def __init__(self) -> None:
        self.server = Server(0)
        self.server.start()
        self._number = 0

    def tell(self, cps: float) -> None:
        """One message."""
        self._number += 1
        shot = snapshot()
        message = rate_message(replace(shot, counts=replace(shot.counts, seq=self._number, rate_cps=cps)))
        raw = encode(message.with_version(1)), encode(message.with_version(2))
        self.server.publish(*raw, (message.type, message.device), True)


def heard_after_s(ear: IO[bytes], engine: Engine, before: float, after: float) -> float | None:
    """Seconds from the message of another rate to the end of the first stretch that has its pitch; None without any."""
    pitch = tone_of(after, False, SoundSettings()).pitch_hz
    begun = time.monotonic()
    while time.monotonic() < begun + 0.6:
        engine.tell(before)
        _block(ear, 0.1)
    sent, told = time.monotonic(), 0.0
    kept = np.zeros(0)
    while time.monotonic() < sent + LONGEST_S:
        if time.monotonic() - told > 0.1:
            engine.tell(after)
            told = time.monotonic()
        kept = np.concatenate([kept, _block(ear, BLOCK_S)])[-round(WINDOW_S * RATE_HZ) :]
        if _pitch(kept) is not None and abs((_pitch(kept) or 0.0) - pitch) < 60.0:
            return time.monotonic() - sent
    return None


def _block(ear: IO[bytes], seconds: float) -> np.ndarray:
    return np.frombuffer(ear.read(round(seconds * RATE_HZ) * BYTES), dtype="<i2").astype(float)


def _pitch(samples: np.ndarray) -> float | None:
    """Loudest frequency in Hz of a stretch that sounds from end to end; None while it does not."""
    halves = np.array_split(samples, 4)
    if len(samples) < WINDOW_S * RATE_HZ or min(np.abs(h).max(initial=0.0) for h in halves) < QUIET:
        return None
    padded = np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples))
    return float(np.argmax(np.abs(padded)) * RATE_HZ / (8 * len(samples)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=30)
    asked = parser.parse_args()
    print(machine())
    engine = Engine()
    quiet = subprocess.DEVNULL
    with tempfile.TemporaryDirectory() as folder, sound_server(Path(folder)) as environment:
        drawn = [
            sys.executable,
            "-m",
            "navigation.ui",
            "--connect",
            f"127.0.0.1:{engine.server.port}",
            "--sound",
        ]
        record = ["parec", "-d", "nowhere.monitor", "--format=s16le", "--channels=1", f"--rate={RATE_HZ}"]
        with subprocess.Popen(drawn, env=environment, stdout=quiet, stderr=quiet) as window:
            time.sleep(3.0)
            with subprocess.Popen(
                [*record, "--latency-msec=5"], env=environment, stdout=subprocess.PIPE
            ) as ear:
                assert ear.stdout is not None
                found = []
                for number in range(asked.changes):
                    rates = (LOW_CPS, HIGH_CPS) if number % 2 else (HIGH_CPS, LOW_CPS)
                    found.append(heard_after_s(ear.stdout, engine, *rates))
                ear.terminate()
            window.terminate()
    engine.server.stop()
    ms = 1000.0 * np.array([f for f in found if f is not None])
    print(
        f"heard {len(ms)} of {len(found)} changes: median {np.median(ms):.0f} ms, p95 {np.quantile(ms, 0.95):.0f} ms"
    )
    print(f"of which the stretch that a pitch is told from {1000 * WINDOW_S:.0f} ms")


if __name__ == "__main__":
    main()
