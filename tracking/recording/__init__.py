"""The record of a session: written before anything is interpreted, read back in the same order, replayed."""

from __future__ import annotations

from tracking.recording.reader import Event, Record, read_events, read_meta
from tracking.recording.replay import MAX_SPEED, Replay, parse_speed
from tracking.recording.writer import Recorder

__all__ = [
    "MAX_SPEED",
    "Event",
    "Record",
    "Recorder",
    "Replay",
    "parse_speed",
    "read_events",
    "read_meta",
]
