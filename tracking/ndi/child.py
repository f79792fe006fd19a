"""The process that holds the driver: tracker in, OpenIGTLink messages on standard output.

STATUS messages tell the parent how far the session is (code 1: tracking) and why it ends. The process ends
when its standard input does, so that it never outlives whoever started it.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable

from tracking.errors import GammanavError
from tracking.igtl.codec import Message, encode
from tracking.igtl.content import StatusContent
from tracking.igtl.messages import status_message
from tracking.igtl.poses import pose_message
from tracking.ndi.driver import Session, ToolFrame
from tracking.ndi.settings import TRACKER, NdiSettings
from tracking.sample import PoseSample, PoseStatus

LINK = "Ndi"
FRAME_NUMBER = "FrameNumber"
# Ten polls in each frame of a 60 Hz tracker would be idle work; at this rhythm a frame waits 2 ms on average.
POLL_S = 0.004
# A frame number that stands still for three frames of the slowest mode (20 Hz) is a tracker that repeats itself.
FROZEN_S = 0.15
# How often it is told that it does: no faster than a slow tracker's frames.
REMIND_S = 0.05
# A tracker whose number stands still for so long must be set up anew.
DEAD_S = 2.0
_STARTING, _FAULT = 13, 18  # the standard's codes: not ready, hardware failure


class Gate:
    """Lets each frame of a tool pass once; what stands still is told INVALID now and then, never passed again."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, float]] = {}
        self._tell_s: dict[str, float] = {}

    def news(self, frame: ToolFrame, now_s: float) -> PoseStatus | None:
        """The status to tell of this frame, None when there is nothing new to tell."""
        number, _ = self._newest.get(frame.tool, (None, now_s))
        if number != frame.frame:
            self._newest[frame.tool] = (frame.frame, now_s)
            self._tell_s[frame.tool] = now_s + FROZEN_S
            return frame.status
        if now_s < self._tell_s[frame.tool]:
            return None
        self._tell_s[frame.tool] = now_s + REMIND_S
        return PoseStatus.INVALID

    def standstill_s(self, now_s: float) -> float:
        """For how long no tool's frame number has changed."""
        return now_s - max((since_s for _, since_s in self._newest.values()), default=now_s)


def message_of(frame: ToolFrame, status: PoseStatus) -> Message:
    """The tool's TRANSFORM with its status and frame number; the matrix is NaN unless the status is OK."""
    matrix = frame.matrix if status is frame.status else frame.matrix * float("nan")
    sample = PoseSample(f"{frame.tool}To{TRACKER}", frame.t_s, matrix, status)
    return pose_message(sample, {FRAME_NUMBER: str(frame.frame)}, version=2)


def run(session: Session, send: Callable[[Message], None], asked_to_end: Callable[[float], bool]) -> None:
    """Set the session up and send frames until asked to end. Raises GammanavError when the tracker fails."""
    session.open(lambda step: send(status_message(LINK, time.time(), _STARTING, step)))
    try:
        send(status_message(LINK, time.time(), StatusContent.OK, session.identity))
        _send_frames(session, send, asked_to_end)
    except BrokenPipeError:  # the parent is gone: its tracker is still to be left in order
        session.close()
        raise
    session.close()


def _send_frames(
    session: Session, send: Callable[[Message], None], asked_to_end: Callable[[float], bool]
) -> None:
    gate = Gate()
    while not asked_to_end(POLL_S):
        now_s = time.monotonic()
        for frame in session.frames():
            status = gate.news(frame, now_s)
            if status is not None:
                send(message_of(frame, status))
        if gate.standstill_s(now_s) > DEAD_S:
            send(status_message(LINK, time.time(), _FAULT, "the tracker's frame number stands still"))
            break


def _send(message: Message) -> None:
    raw = encode(message, 2)
    while raw:
        raw = raw[os.write(sys.stdout.fileno(), raw) :]


def _asked_to_end(wait_s: float) -> bool:
    return bool(select.select([sys.stdin], [], [], wait_s)[0])


def main() -> None:
    """Run one session with the settings in the first argument."""
    try:
        run(Session(NdiSettings.from_json(json.loads(sys.argv[1]))), _send, _asked_to_end)
    except BrokenPipeError:
        return
    except GammanavError as error:
        _send(status_message(LINK, time.time(), _FAULT, str(error)))
    except Exception as error:  # noqa: BLE001 - the last door of this process: its parent must hear why
        _send(status_message(LINK, time.time(), _FAULT, f"the driver failed: {error!r}"))
        sys.exit(1)


if __name__ == "__main__":
    main()
