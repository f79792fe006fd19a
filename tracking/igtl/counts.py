"""Counts of the gamma probe on the wire: SENSOR with five numbers or STRING with JSON, and `CountSample`.

SENSOR values are [sequence, cumulative counts, cumulative live time s, interval counts, interval s]; the
header's time stamp is the end of the counting interval.
"""

from __future__ import annotations

import json
import math
from typing import Any

from tracking.errors import WireError
from tracking.igtl.codec import Message
from tracking.igtl.content import SensorContent, StringContent
from tracking.igtl.messages import sensor_message, string_message
from tracking.igtl.names import GAMMA_PROBE
from tracking.sample import CountSample

_NUMBERS = ("seq", "counts_total", "live_time_s", "counts", "interval_s")
# Whole numbers beyond 2^53 are no longer exact in float64: no counter gets there.
_LARGEST_WHOLE = float(1 << 53)


def is_counts(message: Message) -> bool:
    """Whether the message is of one of the two forms, by its type and device name."""
    return message.device == GAMMA_PROBE and isinstance(message.body, SensorContent | StringContent)


def counts_from_message(message: Message) -> CountSample:
    """The counts in a SENSOR or STRING message.

    Raises WireError when a value is missing, not finite, negative or inconsistent: counts above their own
    total, an interval that is not positive, a sequence number that is not whole.
    """
    if isinstance(message.body, SensorContent):
        values = message.body.values
        if len(values) != len(_NUMBERS):
            raise WireError(f"counts message with {len(values)} values, not {len(_NUMBERS)}")
        return _checked(message.t_s, dict(zip(_NUMBERS, values, strict=True)), {})
    if isinstance(message.body, StringContent):
        record = _parsed(message.body.text)
        return _checked(message.t_s, {key: _number(record, key) for key in _NUMBERS}, record)
    raise WireError(f"{message.type} {message.device!r} holds no counts")


def _parsed(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"counts message is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise WireError("counts message is no JSON object")
    return record


def _number(record: dict[str, Any], key: str) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError(f"counts message: {key} is {value!r}, not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise WireError(f"counts message: {key} is too large") from error


def _checked(t_s: float, numbers: dict[str, float], record: dict[str, Any]) -> CountSample:
    for key, value in numbers.items():
        if not 0.0 <= value <= _LARGEST_WHOLE:
            raise WireError(f"counts message: {key} is {value!r}")
    if not numbers["seq"].is_integer():
        raise WireError(f"counts message: seq is {numbers['seq']!r}, not a whole number")
    if numbers["interval_s"] == 0.0:
        raise WireError("counts message: interval_s is 0")
    if numbers["counts"] > numbers["counts_total"]:
        raise WireError(
            f"counts message: counts {numbers['counts']} exceed the total {numbers['counts_total']}"
        )
    return CountSample(
        t_s,
        int(numbers["seq"]),
        numbers["counts"],
        numbers["interval_s"],
        numbers["counts_total"],
        numbers["live_time_s"],
        _text(record, "nuclide"),
        _window(record),
        _text(record, "probe_serial"),
    )


def _text(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise WireError(f"counts message: {key} is {value!r}, not a text")
    return value


def _window(record: dict[str, Any]) -> tuple[float, float] | None:
    value = record.get("window_kev")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise WireError(f"counts message: window_kev is {value!r}, not two numbers")
    low, high = (_number({"window_kev": v}, "window_kev") for v in value)
    if not (math.isfinite(high) and 0.0 <= low < high):
        raise WireError(f"counts message: window_kev is {value!r}")
    return low, high


def counts_sensor_message(sample: CountSample, version: int = 1, device: str = GAMMA_PROBE) -> Message:
    """The SENSOR form: nuclide, window and serial do not fit into it."""
    values = (
        float(sample.seq),
        sample.counts_total,
        sample.live_time_s,
        sample.counts,
        sample.interval_s,
    )
    return sensor_message(device, values, sample.t_s, version=version)


def counts_string_message(sample: CountSample, version: int = 1, device: str = GAMMA_PROBE) -> Message:
    """The STRING form: JSON in ASCII, with nuclide, window and serial where they are known."""
    record: dict[str, Any] = {
        "seq": sample.seq,
        "counts_total": _plain(sample.counts_total),
        "live_time_s": sample.live_time_s,
        "counts": _plain(sample.counts),
        "interval_s": sample.interval_s,
        "nuclide": sample.nuclide,
        "window_kev": None if sample.window_kev is None else list(sample.window_kev),
        "probe_serial": sample.probe_serial,
    }
    known = {key: value for key, value in record.items() if value is not None}
    return string_message(device, json.dumps(known, allow_nan=False), sample.t_s, version=version)


def _plain(value: float) -> int | float:
    """Whole counts are written as integers."""
    return int(value) if value.is_integer() else value
