"""What a record's head says beside the frames, as header fields of a sequence file and back.

PLUS hands unknown fields on untouched. Timestamps in the file count from `GammaTimeZeroS`, because Slicer
keeps six digits of them: Unix seconds would all fall together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from sys import float_info
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.recording.phases import Phase, phase_payload, points_of

NUCLIDE = "GammaNuclide"
TIME_ZERO = "GammaTimeZeroS"
SIMULATION = "GammaSimulation"
SIMULATED_WORD = "SIMULATION"
TIP = "GammaTip"
PHASE = "GammaPhase"
SURFACE = "Surface"
# Header field and key of the head for what is JSON in both.
JSON_FIELDS = (
    ("GammaEpochS", "epoch_s"),
    ("GammaUnixTime", "unix_time"),
    ("GammaDeadTimeS", "dead_time_s"),
    ("GammaCountLatencyS", "count_latency_s"),
    ("GammaTipMatrix", "T_probe_probetip"),
    (TIP, "tip"),
)
# Ten points with every digit stay well within a line that PLUS reads.
POINTS_PER_LINE = 10


def fields_of(meta: Mapping[str, Any], zero_s: float, phases: Mapping[str, Phase]) -> dict[str, str]:
    """Header fields of a record's head; `zero_s` is the stamp that becomes 0 in the file."""
    fields = {TIME_ZERO: repr(zero_s)}
    if isinstance(meta.get("nuclide"), str):
        fields[NUCLIDE] = meta["nuclide"]
    if meta.get("simulated"):
        fields[SIMULATION] = SIMULATED_WORD
    for field, key in JSON_FIELDS:
        if meta.get(key) is not None:
            fields[field] = json.dumps(meta[key], separators=(",", ":"), allow_nan=False)
    for i, phase in enumerate(phases.values()):
        fields |= _phase_fields(f"{PHASE}{i:04d}", phase, zero_s)
    return fields


def _phase_fields(key: str, phase: Phase, zero_s: float) -> dict[str, str]:
    stop_s = None if phase.stop_s == np.inf else phase.stop_s - zero_s
    content = {"name": phase.name, "start_s": phase.start_s - zero_s, "stop_s": stop_s}
    fields = {key: json.dumps({**content, "count_latency_s": phase.count_latency_s})}
    points = [] if phase.surface_mm is None else phase.surface_mm.tolist()
    for i in range(0, len(points), POINTS_PER_LINE):
        line = json.dumps(points[i : i + POINTS_PER_LINE], allow_nan=False)
        fields[f"{key}{SURFACE}{i // POINTS_PER_LINE:04d}"] = line
    return fields


def time_zero_s(fields: Mapping[str, str], path: Path) -> float:
    """The stamp at which the file's clock says 0: 0 where it does not tell. Raises InputError."""
    return 0.0 if TIME_ZERO not in fields else _number(_parsed(fields, TIME_ZERO, path), TIME_ZERO, path)


def meta_of(fields: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The head that `fields_of` wrote, as far as it is there. Raises InputError naming file and field."""
    meta: dict[str, Any] = {"simulated": fields.get(SIMULATION) == SIMULATED_WORD}
    if NUCLIDE in fields:
        meta["nuclide"] = fields[NUCLIDE]
    for field, key in JSON_FIELDS:
        if field in fields:
            meta[key] = _parsed(fields, field, path)
    return meta


def phases_in(fields: Mapping[str, str], zero_s: float, path: Path) -> list[Phase]:
    """The phases of the header in their order. Raises InputError naming file and field."""
    found = []
    for name in sorted(n for n in fields if re.fullmatch(rf"{PHASE}\d+", n)):
        content = _parsed(fields, name, path)
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            raise InputError(f"{path}: {name} is not a phase")
        stop = content.get("stop_s")
        stop_s = np.inf if stop is None else zero_s + _number(stop, name, path)
        latency = content.get("count_latency_s")
        latency_s = None if latency is None else _number(latency, name, path)
        start_s = zero_s + _number(content.get("start_s"), name, path)
        found.append(Phase(content["name"], start_s, stop_s, latency_s, _surface(fields, name, path)))
    return found


def _surface(fields: Mapping[str, str], phase: str, path: Path) -> NDArray[np.float64] | None:
    lines = sorted(name for name in fields if name.startswith(f"{phase}{SURFACE}"))
    parts = [points_of(_parsed(fields, name, path), f"{path}, {name}") for name in lines]
    return np.concatenate([part for part in parts if part is not None]) if parts else None


Marks = list[tuple[float, bytes]]


def phase_marks(phases: list[Phase]) -> tuple[Marks, Marks]:
    """(stamp, payload) of the events that start and stop phases; one that is open has no stop."""
    starts = [(p.start_s, phase_payload(p, "start")) for p in phases]
    stops = [(p.stop_s, phase_payload(p, "stop")) for p in phases if p.stop_s < np.inf]
    return starts, stops


def _parsed(fields: Mapping[str, str], name: str, path: Path) -> Any:
    try:
        return json.loads(fields[name])
    except (ValueError, RecursionError):
        raise InputError(f"{path}: {name} is {fields[name][:40]!r}, not JSON") from None


def _number(value: object, name: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= float_info.max:
        raise InputError(f"{path}: {name} is {value!r}, not a number")
    return float(value)
