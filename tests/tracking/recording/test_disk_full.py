"""A full disk takes nothing that was accepted, is told within a second, and recording goes on with room (H35)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.recording.disk_full import ROOT
from tracking.recording.health import Forecast

# A full disk must be told within a second.
ALARM_S = 1.0
# As root with the right to mount, and as anybody whose kernel grants a user namespace.
NAMESPACES = (["unshare", "-m"], ["unshare", "-rm"])


def run(folder: Path, how: str, namespace: list[str] | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.tracking.recording.disk_full", str(folder), how]
    if namespace is not None:
        mount = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
        command = [*namespace, "sh", "-c", mount, str(folder), *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> list[str] | None:
    """How a file system of our own can be mounted here; None where it cannot."""
    folder = str(tmp_path_factory.mktemp("mount"))
    for way in NAMESPACES:
        try:
            command = [*way, "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return way
        except FileNotFoundError:
            pass
    return None


def nothing_accepted_is_lost(found: dict[str, Any]) -> None:
    assert found["missing"] == found["unasked"] == 0
    assert found["accepted"] > 100
    assert found["lost"] == found["refused"] == found["noted"] > 0
    assert found["alarm_after_s"] <= ALARM_S
    assert found["slowest_append_s"] < ALARM_S  # navigation goes on
    assert found["sealed"]


def test_a_disk_that_others_fill_and_empty(tmp_path: Path, namespace: list[str] | None) -> None:
    """4 MiB. Where nothing can be mounted, writes beyond 1 MiB fail instead: `limit`."""
    found = run(tmp_path, "limit" if namespace is None else "filler", namespace)
    nothing_accepted_is_lost(found)
    assert found["alarms"] == ["disk" if namespace is None else "full", "recovered"]
    assert found["beside"] == ["r.gnav"]


def test_a_record_that_fills_its_disk_is_closed_whole(tmp_path: Path, namespace: list[str] | None) -> None:
    found = run(tmp_path, "limit" if namespace is None else "end", namespace)
    nothing_accepted_is_lost(found)


def test_writes_that_fail_for_another_reason(tmp_path: Path) -> None:
    found = run(tmp_path, "limit", None)
    nothing_accepted_is_lost(found)
    assert found["alarms"] == ["disk", "recovered"]


def test_half_an_hour_before_the_disk_is_full_there_is_a_warning() -> None:
    """1 MiB a second: 2 GiB last 34 minutes, 1.7 GiB 29."""
    forecast = Forecast()
    warned = []
    for second in range(100):
        free = (2 << 30) if second < 50 else round(1.7 * (1 << 30))
        forecast.look(float(second), second << 20, free)
        if forecast.warns():
            warned.append(second)
    assert warned == [50]
    assert forecast.minutes_left == pytest.approx(1.7 * 1024 / 60)


def test_without_a_rate_nothing_is_foretold() -> None:
    forecast = Forecast()
    for second in range(20):
        forecast.look(float(second), 0, 1000)
        assert not forecast.warns()
    assert forecast.minutes_left is None
