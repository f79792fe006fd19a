"""The log of daily checks of one probe: one line of JSON each, whole whatever happens, and what it tells over days.

A check is known by its scan: judged again it replaces its line, and the verdicts it had before stay in it. A slow
drift is found by Page's CUSUM in units of the tolerance.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.counter.counttest import Z95, cusum
from calibration.gates import DEFAULT_CHECK, CheckGates
from calibration.physics.nuclide import nuclide
from calibration.records.binding import plain_name
from tracking.errors import InputError
from tracking.jsonfile import to_json, write_text

HISTORY_NAME, LOCK_NAME = "history.jsonl", ".history.lock"
# Drift in units of the tolerance: a quarter of it is let pass, and what exceeds that may sum up to three quarters:
# a lasting change of half the tolerance is told after four checks, and a scatter of a fifth once in a thousand.
DRIFT_SLACK, DRIFT_LIMIT = 0.25, 0.75
# Standard errors that a tolerance must hold; of a noisier check so many of them are the unit instead.
NOISE_PER_TOLERANCE = 4.5
# What two assays of an activity differ by beside the counts: the error of the calibration itself does not scatter.
ASSAY_SCATTER = 0.015
# Checks from which a level is learnt that nothing foretells.
BASELINE = 5
# Sources that live this long are used again: their strength is expected to follow the decay.
SEALED_HALF_LIFE_S = 5 * 86400.0
# Activities that tell linearity, and the error of the slope with which it is told.
LINEARITY_CHECKS, LINEARITY_SLOPE_SD = 3, 0.02
TRENDS = (
    ("constancy", "counts over those foretold", ""),
    ("strength", "strength over that expected by decay", ""),
    ("sensitivity_30mm", "sensitivity at 30 mm", "cps/MBq"),
    ("lateral_fwhm", "lateral FWHM at 30 mm", "mm"),
    ("background", "background", "cps"),
    ("latency", "count latency", "ms"),
)


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure over the checks; `drift` is the index of the check from which it drifts, None if it does not."""

    name: str
    label: str
    unit: str
    times: tuple[datetime, ...]
    values: tuple[float, ...]
    sds: tuple[float, ...]
    statuses: tuple[str, ...]
    target: float
    action: tuple[float, float]
    drift: int | None

    @property
    def warning(self) -> tuple[float, float]:
        """Two thirds of the way to the action limits, as on a control chart."""
        low, high = (self.target + 2.0 / 3.0 * (limit - self.target) for limit in self.action)
        return low, high

    @property
    def words(self) -> str | None:
        """The drift as a warning."""
        if self.drift is None:
            return None
        mean = float(np.mean(self.values[self.drift :]))
        unit = f" {self.unit}" if self.unit else ""
        since = self.times[self.drift].date().isoformat()
        return f"{self.label} drifts: {mean:.4g}{unit} on average since {since}, {self.target:.4g} expected"


def read_history(path: Path) -> list[dict[str, Any]]:
    """The checks in order of time; none where there is no file. Raises InputError naming the row."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            key = (str(row["id"]), datetime.fromisoformat(row["time"]), row["figures"].items())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, row {number}: is no line of a history of checks ({error!r})") from None
        rows.append((key[1], row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else writes to the folder's history meanwhile; ended with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def with_check(history: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The history with one check more, or with the check of that scan in place of what was there."""
    same = [old for old in history if old["id"] == row["id"]]
    earlier = [
        *(before for old in same for before in old.get("earlier", [])),
        *({k: old.get(k) for k in ("checked", "accepted", "reasons", "operator")} for old in same),
    ]
    kept = [dict(old) for old in history if old["id"] != row["id"]]
    added = [*kept, dict(row) | {"earlier": earlier}]
    return sorted(added, key=lambda each: datetime.fromisoformat(each["time"]))


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """All lines or none of them. Raises OSError."""
    write_text(path, "".join(f"{to_json(row, indent=None)}\n" for row in history))


def require_same_probe(
    history: Sequence[Mapping[str, Any]], serial: str | None, nuclide: str, path: Path
) -> None:
    """Raise InputError where the folder holds the checks of another probe or nuclide."""
    for row in history:
        other = row.get("probe_serial")
        if serial and other and plain_name(other) != plain_name(serial):
            raise InputError(f"{path}: holds the checks of probe {other}, not of {serial}: another --out")
        if row.get("nuclide") not in (None, nuclide):
            raise InputError(f"{path}: holds checks with {row['nuclide']}, not with {nuclide}: another --out")


def trends_of(history: Sequence[Mapping[str, Any]], limits: CheckGates = DEFAULT_CHECK) -> list[Trend]:
    """Every figure that was measured more than once."""
    found = [_trend(history, *each, limits) for each in TRENDS]
    return [trend for trend in found if trend is not None and len(trend.values) > 1]


def _trend(
    history: Sequence[Mapping[str, Any]], name: str, label: str, unit: str, limits: CheckGates
) -> Trend | None:
    points = _strengths(history, limits) if name == "strength" else _points(history, name)
    if not points:
        return None
    times, values, sds, statuses, bands = zip(*points, strict=True)
    target, action = _expected(name, values, bands, limits)
    scatter = [min(sd, own) for sd, own in zip(sds, _scatter(history, name, values), strict=True)]
    reach = [
        max(abs((action[1] if v >= target else action[0]) - target), NOISE_PER_TOLERANCE * sd)
        for v, sd in zip(values, scatter, strict=True)
    ]
    deviations = [(v - target) / r if r > 0.0 else 0.0 for v, r in zip(values, reach, strict=True)]
    if name == "background" or (bands[-1] is None and name == "latency"):
        deviations[:BASELINE] = [0.0] * len(deviations[:BASELINE])  # the level was learnt from these
    _, _, alarm = cusum(deviations, DRIFT_SLACK, DRIFT_LIMIT)
    return Trend(name, label, unit, times, values, sds, statuses, target, action, _began(deviations, alarm))


def _began(deviations: Sequence[float], alarm: int | None) -> int | None:
    """Where the run that ended in the alarm began; None where the newest check is back at the target."""
    if alarm is None or abs(deviations[-1]) <= DRIFT_SLACK:
        return None
    sign = 1.0 if deviations[alarm] > 0 else -1.0
    first = alarm
    while first > 0 and sign * deviations[first - 1] > 0.0:
        first -= 1
    return first


def _scatter(history: Sequence[Mapping[str, Any]], name: str, values: Sequence[float]) -> list[float]:
    """How much each value (n,) scatters from check to check, where counts of a stated activity tell; else infinite."""
    if name not in ("constancy", "sensitivity_30mm"):
        return [float("inf")] * len(values)
    typical = [float(row["strength_relative_sd"]) for row in history if row.get("strength_relative_sd")]
    if not typical:
        return [float("inf")] * len(values)
    relative = float(np.hypot(np.median(typical), ASSAY_SCATTER))
    return [relative * abs(value) for value in values]


Point = tuple[datetime, float, float, str, tuple[float, float] | None]


def _points(history: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    points: list[Point] = []
    for row in history:
        figure = row["figures"].get(name)
        if figure is None or figure.get("value") is None or figure.get("ci95") is None:
            continue
        low, high = figure["ci95"]
        if low is None or high is None:
            continue
        band = figure.get("tolerance")
        points.append(
            (
                datetime.fromisoformat(row["time"]),
                float(figure["value"]),
                (high - low) / (2 * Z95),
                str(figure["status"]),
                None if band is None else (float(band[0]), float(band[1])),
            )
        )
    return points


def _strengths(history: Sequence[Mapping[str, Any]], limits: CheckGates) -> list[Point]:
    """Strength of a sealed source whose activity nobody states, over its first decayed."""
    rows = [row for row in history if row.get("strength_kbq") and not row.get("declared_kbq")]
    if not rows or nuclide(str(rows[0]["nuclide"])).half_life_s < SEALED_HALF_LIFE_S:
        return []
    known, first = nuclide(str(rows[0]["nuclide"])), rows[0]
    points: list[Point] = []
    for row in rows:
        when = datetime.fromisoformat(row["time"])
        passed = (when - datetime.fromisoformat(first["time"])).total_seconds()
        ratio = row["strength_kbq"] / (first["strength_kbq"] * float(known.decay_factor(passed)))
        sd = ratio * float(row.get("strength_relative_sd") or 0.0)
        inside = abs(ratio - 1.0) <= limits.sensitivity
        points.append((when, ratio, sd, "pass" if inside else "fail", None))
    return points


def _expected(
    name: str,
    values: Sequence[float],
    bands: Sequence[tuple[float, float] | None],
    limits: CheckGates,
) -> tuple[float, tuple[float, float]]:
    """What is expected of a figure, and its action limits."""
    if name in ("constancy", "strength"):
        return 1.0, (1.0 - limits.sensitivity, 1.0 + limits.sensitivity)
    band = next((b for b in reversed(bands) if b is not None), None)
    if name == "background" or band is None:
        level = float(np.median(values[:BASELINE]))
        width = limits.rise_cps if name == "background" else 1000.0 * limits.latency_s
        high = (
            level + max(width, limits.rise_sigma * np.sqrt(level / 10.0))
            if name == "background"
            else level + width
        )
        return level, (max(level - width, 0.0), float(high))
    return (band[0] + band[1]) / 2.0, band


def linearity(
    history: Sequence[Mapping[str, Any]], limits: CheckGates = DEFAULT_CHECK
) -> dict[str, Any] | None:
    """Slope of counts over activity (log-log, less 1) across checks with different activities; None if too few."""
    rows = [row for row in history if row.get("declared_kbq") and row.get("strength_kbq")]
    if len(rows) < LINEARITY_CHECKS:
        return None
    activity = np.array([float(row["declared_kbq"]) for row in rows])
    if activity.max() < limits.linearity_span * activity.min():
        return None
    x, y = np.log(activity), np.log([float(row["strength_kbq"]) for row in rows])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred)) - 1.0
    left = y - y.mean() - (slope + 1.0) * centred
    sd = float(np.sqrt(left @ left / max(len(x) - 2, 1) / (centred @ centred)))
    status = (
        "not measured" if sd > LINEARITY_SLOPE_SD else "pass" if abs(slope) <= limits.linearity else "fail"
    )
    return {"slope_less_1": round(slope, 5), "sd": round(sd, 5), "checks": len(rows), "status": status}
