"""What is cut out of a record: its phases, the named stretches in which a scan was taken, and its sources.

A phase lies between two `phase` events whose JSON payload is `{"phase": "scan-1", "action": "start" | "stop",
"t_s": stamp}`, `t_s` on the clock of the devices' stamps (the event's arrival where it is absent). A start may
hold what the scan rested on: `count_latency_s` and `surface_mm` [[x, y, z], ...]. `"action": "discard"` with
`from_s` marks what was stamped after it, up to `t_s`, as not to be used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import float_info
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracking.counts import CountInterval
from tracking.errors import InputError
from tracking.inputs import Inputs
from tracking.jsonfile import number_of
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
    """A named stretch of a record in seconds of the devices' stamps, and what its scan rested on.

    `surface_mm` (k, 3) are points on the body's surface in Reference.
    """

    name: str
    start_s: float
    stop_s: float
    count_latency_s: float | None = None
    surface_mm: NDArray[np.float64] | None = field(default=None, compare=False)
    discarded: tuple[tuple[float, float], ...] = ()  # stamps (from, to]


def phases_of(record: Source) -> dict[str, Phase]:
    """Phases by name; one without a stop ends with the record. Raises InputError for a bad phase event."""
    found: dict[str, Phase] = {}
    for event in record.events("phase"):
        content = event.content()
        name, t_s = str(content.get("phase")), _stamp_of(content, event)
        if content.get("action") == "start":
            latency_s = number_of(content, "count_latency_s", record.path)
            surface_mm = points_of(content.get("surface_mm"), f"{record.path}, event {event.id}")
            found[name] = Phase(name, t_s, np.inf, latency_s, surface_mm)
        elif content.get("action") == "stop" and name in found:
            found[name] = replace(found[name], stop_s=t_s)
        elif content.get("action") == "discard" and name in found:
            from_s = number_of(content, "from_s", record.path)
            undone = () if from_s is None else ((from_s, t_s),)
            found[name] = replace(found[name], discarded=(*found[name].discarded, *undone))
        else:
            raise InputError(f"{record.path}, event {event.id}: not a start or stop of a phase")
    return found


def phase_payload(phase: Phase, action: str) -> bytes:
    """The JSON of the event that starts or stops a phase."""
    content: dict[str, Any] = {"phase": phase.name, "action": action}
    content["t_s"] = phase.start_s if action == "start" else phase.stop_s
    if action == "start" and phase.count_latency_s is not None:
        content["count_latency_s"] = phase.count_latency_s
    if action == "start" and phase.surface_mm is not None:
        content["surface_mm"] = phase.surface_mm.tolist()
    return json.dumps(content, allow_nan=False).encode()


def points_of(value: object, where: str) -> NDArray[np.float64] | None:
    """Points (k, 3) in mm from JSON, None where there are none. Raises InputError naming `where`."""
    if value is None:
        return None
    try:
        points = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"{where}: does not hold points x, y, z")
    return points


def name_of(path: Path) -> str:
    """A file's name as text that can be written anywhere; bytes of it that are no UTF-8 become "?"."""
    return path.name.encode("utf-8", "replace").decode("utf-8")


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
    """Whether a counting interval lies wholly in a phase and was not discarded."""
    end_s = interval.t_end_s - BORDER_ROUNDING_S
    if any(low < end_s <= high for low, high in phase.discarded):
        return False
    begins = interval.t_end_s - interval.window_s >= phase.start_s - BORDER_ROUNDING_S
    return begins and interval.t_end_s <= phase.stop_s + BORDER_ROUNDING_S


def _stamp_of(content: Mapping[str, Any], event: Event) -> float:
    value = content.get("t_s", event.arrival_s)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= float_info.max:
        raise InputError(f"event {event.id} (phase): t_s is {value!r}, not a number")
    return float(value)
