"""What is cut out of a record: its phases, the named stretches in which a scan was taken, and its sources.

A phase lies between two `phase` events whose JSON payload is `{"phase": "scan-1", "action": "start" | "stop",
"t_s": stamp}`, `t_s` on the clock of the devices' stamps (the event's arrival where it is absent).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tracking.counts import CountInterval
from tracking.errors import InputError
from tracking.inputs import Inputs
from tracking.recording.reader import Event

# Poses kept round the counting intervals: for any count latency and for interpolation at the borders.
POSE_MARGIN_S = 0.5
# Stamps at a border of a phase may differ by rounding.
BORDER_ROUNDING_S = 1e-6


class Source(Protocol):
    """What scans are cut out of: a record, or a file that is read like one."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def meta(self) -> dict[str, Any]:
        """Its head."""

    def events(self, *kinds: str) -> Iterator[Event]:
        """All events, or those of the given kinds, in order."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A named stretch of a record in seconds of the devices' stamps."""

    name: str
    start_s: float
    stop_s: float


def phases_of(record: Source) -> dict[str, Phase]:
    """Phases by name; one without a stop ends with the record. Raises InputError for a bad phase event."""
    began: dict[str, float] = {}
    found: dict[str, Phase] = {}
    for event in record.events("phase"):
        content = event.content()
        name, t_s = str(content.get("phase")), _stamp_of(content, event)
        if content.get("action") == "start":
            began[name] = t_s
            found[name] = Phase(name, t_s, np.inf)
        elif content.get("action") == "stop" and name in began:
            found[name] = Phase(name, began[name], t_s)
        else:
            raise InputError(f"{record.path}, event {event.id}: not a start or stop of a phase")
    return found


def inputs_of(source: Source) -> dict[str, Inputs] | None:
    """What each source may send and on whose clock, as the head of a live case says; None of any other.

    Raises InputError when the head is not as an engine writes it.
    """
    settings = source.meta.get("settings")
    if settings is None:
        return None
    try:
        return {name: Inputs.from_json(role) for name, role in settings["sources"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{source.path}: its head does not describe its sources ({error!r})") from None


def inside(interval: CountInterval, phase: Phase) -> bool:
    """Whether a counting interval lies wholly in a phase."""
    begins = interval.t_end_s - interval.window_s >= phase.start_s - BORDER_ROUNDING_S
    return begins and interval.t_end_s <= phase.stop_s + BORDER_ROUNDING_S


def _stamp_of(content: Mapping[str, Any], event: Event) -> float:
    value = content.get("t_s", event.arrival_s)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"event {event.id} (phase): t_s is {value!r}, not a number")
    return float(value)
