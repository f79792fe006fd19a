"""When a series was acquired, to which moment its values are decay corrected, and when the tracer was given.

Times are clock readings of the scanner as seconds since 1970 as if it stood at UTC, with the offset where the
header states one; rules: DICOM PS3.3 C.8.9.1 and the QIBA FDG-PET profile's order of times.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydicom.dataset import Dataset

from navigation.io.clock import Clock

_DAY_S = 86400.0
_MOMENT = re.compile(r"(\d{14})(\.\d{1,6})?([+-]\d{4})?")


@dataclass(frozen=True, slots=True)
class Times:
    """Clock readings of one file, None where it does not say; `frame_s` is how long it was acquired."""

    acquired_s: float | None = None
    series_s: float | None = None
    injected_s: float | None = None
    utc_offset_s: float | None = None
    frame_s: float = 0.0


def times_of(ds: Dataset) -> Times:
    """Clock readings of a file."""
    offset = _offset(str(ds.get("TimezoneOffsetFromUTC", "") or ""))
    acquired = _moment(str(ds.get("AcquisitionDateTime", "") or ""), offset) or _pair(ds, "Acquisition")
    series = _pair(ds, "Series")
    items = ds.get("RadiopharmaceuticalInformationSequence")
    tracer = items[0] if items else Dataset()
    duration = ds.get("ActualFrameDuration")
    return Times(
        acquired_s=acquired,
        series_s=series,
        injected_s=_injected(tracer, acquired if acquired is not None else series, offset),
        utc_offset_s=offset,
        frame_s=float(duration) / 1000.0 if duration not in (None, "") else 0.0,
    )


def clock_of(files: Sequence[Times], decay_correction: str | None) -> Clock:
    """The clock of a series from those of its files.

    START is the series' time, or that of its first acquisition where the series claims to be younger; ADMIN the
    injection; NONE the middle of the frames. Anything else leaves the moment unknown.
    """
    acquired = [t.acquired_s for t in files if t.acquired_s is not None]
    series = next((t.series_s for t in files if t.series_s is not None), None)
    first = min(acquired) if acquired else series
    start = series if series is not None and first is not None and series <= first else first
    injected = next((t.injected_s for t in files if t.injected_s is not None), None)
    half = 0.5 * sum(t.frame_s for t in files) / max(len(files), 1)
    middle = sum(acquired) / len(acquired) + half if acquired else None
    reference = {"START": start, "ADMIN": injected, "NONE": middle}.get(decay_correction or "")
    offset = next((t.utc_offset_s for t in files if t.utc_offset_s is not None), None)
    return Clock(first, reference, injected, offset, max(acquired) - min(acquired) if acquired else 0.0)


def _injected(tracer: Dataset, near_s: float | None, offset_s: float | None) -> float | None:
    """When the tracer was given: a full date, else a time of the day before the acquisition."""
    stated = _moment(str(tracer.get("RadiopharmaceuticalStartDateTime", "") or ""), offset_s)
    clock = str(tracer.get("RadiopharmaceuticalStartTime", "") or "")
    if stated is not None or near_s is None or not clock:
        return stated
    day = f"{datetime.fromtimestamp(near_s, UTC):%Y%m%d}"
    same_day = _moment(day + _clock(clock), None)
    if same_day is None:
        return None
    return same_day if same_day <= near_s else same_day - _DAY_S


def _pair(ds: Dataset, what: str) -> float | None:
    date, time = str(ds.get(f"{what}Date", "") or ""), str(ds.get(f"{what}Time", "") or "")
    return _moment(date + _clock(time), None) if date and time else None


def _clock(text: str) -> str:
    """HHMMSS with its fraction; DICOM allows HH and HHMM."""
    whole, _, fraction = text.strip().partition(".")
    return whole.ljust(6, "0") + (f".{fraction[:6]}" if fraction else "")


def _moment(text: str, offset_s: float | None) -> float | None:
    """A date and time; one with its own offset is moved to that of the file."""
    match = _MOMENT.match(text.strip())
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    own = _offset(match[3] or "")
    shift = offset_s - own if own is not None and offset_s is not None else 0.0
    return (moment + timedelta(seconds=shift + float(match[2] or 0.0))).timestamp()


def _offset(text: str) -> float | None:
    """Seconds east of UTC from +HHMM."""
    if not re.fullmatch(r"[+-]\d{4}", text.strip()):
        return None
    hours, minutes = int(text.strip()[1:3]), int(text.strip()[3:])
    return (3600.0 * hours + 60.0 * minutes) * (-1.0 if text.strip()[0] == "-" else 1.0)
