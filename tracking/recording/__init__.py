"""The record of a session: written before anything is interpreted, read back in the same order, replayed."""

from __future__ import annotations

from tracking.recording.chain import read_key
from tracking.recording.health import Health
from tracking.recording.reader import DamagedRecordError, Event, Record, read_events, read_meta
from tracking.recording.replay import MAX_SPEED, Replay, parse_speed
from tracking.recording.verify import Verdict, verify
from tracking.recording.writer import Recorder

__all__ = [
    "MAX_SPEED",
    "DamagedRecordError",
    "Event",
    "Health",
    "Record",
    "Recorder",
    "Replay",
    "Verdict",
    "parse_speed",
    "read_events",
    "read_key",
    "read_meta",
    "verify",
]
