"""Poses of one tool recorded from a running tracker for a calibration, until there are enough seconds of them.

What ended it early is told in one line; what had come by then is never lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.tip.posestream import PoseStream
from navigation.case import HIGHEST_PORT, tracker_of
from navigation.engine.settings import SourceRole
from navigation.engine.sources import device_for
from tracking.device import DeviceState
from tracking.errors import InputError, SurroundingsError

CASE_SUFFIX = ".toml"
# A tracker that is on answers within a second, an NDI's set-up takes some; then the tool is shown to it.
CONNECT_S, FIRST_POSE_S = 20.0, 15.0
# A tracker that sends nothing of the tool for so long is gone; a tool out of view still sends that it is.
LOST_S = 3.0
# Rhythm of looks at what has come, and of the progress told.
LOOK_S = 0.1

OnProgress = Callable[[float, PoseStream], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for a link, for the first usable pose, and for the next message before giving up, s."""

    connect_s: float = CONNECT_S
    first_pose_s: float = FIRST_POSE_S
    lost_s: float = LOST_S


DEFAULT_WAITING = Waiting()


def parse_live(text: str) -> SourceRole:
    """The tracker at HOST:PORT, or that of a case file (CASE.toml). Raises InputError."""
    if text.lower().endswith(CASE_SUFFIX):
        return tracker_of(Path(text))
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) <= HIGHEST_PORT):
        raise InputError(f"--live {text}: must be HOST:PORT or a case file CASE.toml")
    return SourceRole(host.strip("[]"), int(port), poses=True, counts=False)


def wire_name(tool: str) -> str:
    """StylusToTracker of Stylus; a name that says its frame stays."""
    return tool if "To" in tool else f"{tool}ToTracker"


def record_poses(
    role: SourceRole,
    stream: PoseStream,
    seconds: float,
    on_progress: OnProgress = lambda seconds, stream: None,
    waiting: Waiting = DEFAULT_WAITING,
) -> None:
    """Fill `stream` with what the tracker sends for `seconds` from the first usable pose on.

    `on_progress` gets the seconds so far, some ten times a second. Raises SurroundingsError when the tracker
    cannot be reached, does not send the tool or is lost; `stream` then holds what had come.
    """
    details: list[str] = []
    device = device_for(
        role, "tracker", stream.take, lambda name, state, detail: details.append(detail), time.monotonic
    )
    with device:
        if not device.wait_for(DeviceState.CONNECTED, timeout_s=waiting.connect_s):
            raise SurroundingsError(
                f"tracker at {role.where}: no connection within {waiting.connect_s:g} s{_last(details)}"
            )
        start_s = _first_pose(role, stream, waiting.first_pose_s)
        while (elapsed_s := time.monotonic() - start_s) < seconds:
            stream.wait(len(stream), LOOK_S)
            newest_s = stream.arrivals_s()[1]
            if newest_s is not None and time.monotonic() - newest_s > waiting.lost_s:
                raise SurroundingsError(
                    f"tracker at {role.where}: nothing of {stream.device} for {waiting.lost_s:g} s,"
                    f" {elapsed_s:.1f} s after the first pose{_last(details)}"
                )
            on_progress(elapsed_s, stream)


def _first_pose(role: SourceRole, stream: PoseStream, patience_s: float) -> float:
    """When the first usable pose arrived. Raises SurroundingsError that says what came instead."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        first_s, _ = stream.arrivals_s()
        if first_s is not None:
            return first_s
        stream.wait(len(stream), LOOK_S)
    where = f"tracker at {role.where}"
    if len(stream):
        causes = ", ".join(f"{n} {cause}" for cause, n in sorted(stream.pose_set().skipped.items()))
        raise SurroundingsError(f"{where}: {stream.device} was not seen within {patience_s:g} s ({causes})")
    others = ", ".join(stream.others) or "no poses at all"
    raise SurroundingsError(f"{where}: sends no {stream.device} within {patience_s:g} s, but {others}")


def _last(details: list[str]) -> str:
    """The newest word on the link, if there is any."""
    words = [detail for detail in details if detail]
    return f" ({words[-1]})" if words else ""
