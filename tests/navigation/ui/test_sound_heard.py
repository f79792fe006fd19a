"""The window's sound as it leaves the machine: a sound server without a loudspeaker, and what it would have played."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from navigation.publish import rate_message
from navigation.ui.sound import FAULT_HZ, RATE_HZ, SoundSettings, tone_of
from tests.navigation.ui.scene import snapshot
from tracking.igtl import Server, encode

PATIENCE_S = 60.0
CPS = 137.0


def peers() -> None:
    if shutil.which("pulseaudio") is None or shutil.which("parec") is None:
        if os.environ.get("CI"):
            pytest.fail("pulseaudio and parec are missing")
        pytest.skip("pulseaudio and parec are not installed")


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a sound server that plays into nothing."""
    peers()
    socket = tmp_path / "pulse.socket"
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    there = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PULSE_SERVER": f"unix:{socket}"}
    modules = (
        "module-null-sink sink_name=nowhere rate=48000",
        f"module-native-protocol-unix socket={socket} auth-anonymous=1",
    )
    server = subprocess.Popen(
        ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", *(f"--load={m}" for m in modules)],
        env=kept | there,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not socket.exists():
        assert server.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    yield kept | there | {"QT_QPA_PLATFORM": "offscreen"}
    server.terminate()
    server.wait(PATIENCE_S)


def told(server: Server, number: int) -> None:
    shot = snapshot()
    message = rate_message(snapshot(counts=_counted(shot, number)))
    server.publish(
        encode(message.with_version(1)), encode(message.with_version(2)), (message.type, message.device), True
    )


def _counted(shot: object, number: int) -> object:
    from dataclasses import replace

    return replace(shot.counts, seq=number, rate_cps=CPS)  # type: ignore[attr-defined]


def listened(environment: dict[str, str], server: Server | None, wanted_hz: float) -> list[float]:
    """The loudest frequencies of tenths of a second, until the wanted one was heard or patience has ended."""
    words = ["parec", "-d", "nowhere.monitor", "--format=s16le", "--channels=1", f"--rate={RATE_HZ}"]
    found: list[float] = []
    with subprocess.Popen([*words, "--latency-msec=50"], env=environment, stdout=subprocess.PIPE) as ear:
        assert ear.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        number = 0
        while time.monotonic() < deadline:
            number += 1
            if server is not None:
                told(server, number)
            block = np.frombuffer(ear.stdout.read(RATE_HZ // 10 * 2), dtype="<i2").astype(float)
            if np.abs(block).max(initial=0.0) < 1000.0:
                continue
            spectrum = np.abs(np.fft.rfft(block * np.hanning(len(block))))
            found.append(float(np.argmax(spectrum) * RATE_HZ / len(block)))
            if abs(found[-1] - wanted_hz) < 15.0:
                break
        ear.terminate()
    return found


def test_counts_are_heard_and_a_silent_engine_too(sink: dict[str, str]) -> None:
    server = Server(0)
    server.start()
    where = f"127.0.0.1:{server.port}"
    window = subprocess.Popen(
        [sys.executable, "-m", "navigation.ui", "--connect", where, "--sound"],
        env=sink,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pitch = tone_of(CPS, False, SoundSettings()).pitch_hz
        assert listened(sink, server, pitch)[-1] == pytest.approx(pitch, abs=15.0)
        # Nothing is told any more: the fault tone, lower than any count.
        assert listened(sink, None, FAULT_HZ[0])[-1] == pytest.approx(FAULT_HZ[0], abs=15.0)
    finally:
        window.terminate()
        with suppress(subprocess.TimeoutExpired):
            window.wait(PATIENCE_S)
        server.stop()


def test_without_a_sound_device_the_window_goes_on_and_says_so(tmp_path: Path) -> None:
    silent = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    silent |= {
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(tmp_path),
        "HOME": str(tmp_path),
        "PULSE_SERVER": "unix:/nowhere",
    }
    picture = tmp_path / "w.png"
    words = ["--port", "1", "--after", "1.0", "--sound", "--screenshot", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "navigation.ui", *words],
        env=silent,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert picture.is_file()
