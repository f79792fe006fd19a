"""The ordered sequence that drives the engine: what arrived, what the user asked for, what was computed when.

The engine's state is a function of this sequence alone; the record holds exactly it, so a replay repeats it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tracking.errors import InputError

RAW = "raw"  # a wire message, untouched
LINK = "link"  # a source came or went
COMMAND = "command"  # the user's wish
TICK = "tick"  # the reconstruction takes the readings placed so far
PHASE = "phase"  # where a scan begins and ends; follows from the commands, the engine does not read it
RESUME = "resume"  # the case goes on after a crash: what was on its way then is gone
ALARM = "alarm"  # what the inputs gave cause to tell; follows from the messages, a restored case looks there
NOTICE = (
    "notice"  # alarms that the live engine began and ceased to show; for the journal, which decides nothing
)
RESULT = "result"  # what a tick or an analysis gave: digests only, for comparison


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One entry of the sequence; `arrival_s` is Unix time at the engine, `payload` wire bytes or JSON."""

    source: str
    arrival_s: float
    kind: str
    payload: bytes

    def content(self) -> dict[str, Any]:
        """The JSON object of any kind but RAW. Raises InputError for anything else."""
        try:
            found = json.loads(self.payload)
        except ValueError as error:
            raise InputError(f"event {self.kind} of {self.source} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise InputError(f"event {self.kind} of {self.source} is no JSON object")
        return found


def json_event(source: str, arrival_s: float, kind: str, content: dict[str, Any]) -> EngineEvent:
    """An event whose payload is JSON; floats keep every bit."""
    return EngineEvent(source, arrival_s, kind, json.dumps(content, allow_nan=False).encode())
