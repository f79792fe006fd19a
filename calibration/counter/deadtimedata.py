"""What a dead-time measurement holds: the three tables as a physicist writes them, checked row by row.

Two sources: `source,counts,live_s[,t_s]`, source one of S1, S2, S12, background. Decaying: `t_s,counts,live_s[,kind]`.
Approaching: `z_mm,counts,live_s[,r_mm][,activity_kbq][,kind]`. t_s ends the window; kind is source or background.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtimefit import RateData
from calibration.physics.nuclide import Nuclide
from calibration.probe.gridfit import MODEL_ERROR_FLOOR
from calibration.probe.response import DetectorResponse
from tracking.errors import InputError

Array = NDArray[np.float64]

TWO_SOURCE, DECAYING, APPROACHING = "two-source", "decaying", "approaching"
METHODS = (TWO_SOURCE, DECAYING, APPROACHING)
COLUMNS = {
    TWO_SOURCE: (("source", "counts", "live_s"), ("t_s",)),
    DECAYING: (("t_s", "counts", "live_s"), ("kind",)),
    APPROACHING: (("z_mm", "counts", "live_s"), ("r_mm", "activity_kbq", "kind")),
}
SOURCES = {"s1": "S1", "s2": "S2", "s12": "S12", "background": "background"}
KINDS = ("source", "background")
# Distance in mm behind the face at which the crystal of an unknown probe is looked for first.
FIRST_OFFSET_MM = 10.0
# Nearer to the face a collimated crystal does not follow 1/d^2 and would feign a dead time; farther off an offset
# takes up all but this relative error of a crystal 10 mm wide.
NEAREST_SQUARE_LAW_MM, INVERSE_SQUARE_ERROR = 25.0, 0.005
# Logarithm of the factor that a free offset or half-life may take.
LARGEST_LOG_FACTOR = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Readings (n,) of one method: counts, live windows in s, what each looked at, and its remaining columns.

    `label` (n,) is S1, S2, S12, source or background. Columns that the method lacks are zeros, activities ones.
    """

    method: str
    path: Path
    counts: Array
    live_s: Array
    label: NDArray[np.str_]
    t_s: Array
    z_mm: Array
    r_mm: Array
    activity_kbq: Array
    timed: bool = False

    @property
    def of_background(self) -> NDArray[np.bool_]:
        """(n,): which readings were taken without a source."""
        result: NDArray[np.bool_] = self.label == "background"
        return result

    def rate(self, label: str) -> tuple[float, float]:
        """Mean recorded rate of the readings of one label in cps, and its Poisson standard error."""
        chosen = self.label == label
        live = float(self.live_s[chosen].sum())
        counts = float(self.counts[chosen].sum())
        return (counts / live, math.sqrt(max(counts, 1.0)) / live) if live > 0.0 else (0.0, 0.0)


def read_measurement(path: Path, method: str) -> Measurement:
    """The table of one method; any bad cell raises InputError with file and row."""
    rows = _table(path, *COLUMNS[method])
    labels = [_label(path, number, row, method) for number, row in rows]

    def column(name: str, default: float, lowest: float = -math.inf, above: bool = False) -> Array:
        cells = [
            _number(path, number, row, name, default, lowest, above)
            if label != "background" or name in ("counts", "live_s")
            else default
            for (number, row), label in zip(rows, labels, strict=True)
        ]
        return np.array(cells)

    return Measurement(
        method,
        path,
        column("counts", math.nan, 0.0),
        column("live_s", math.nan, 0.0, above=True),
        np.array(labels),
        column("t_s", 0.0),
        column("z_mm", 0.0, 0.0),
        column("r_mm", 0.0, 0.0),
        column("activity_kbq", 1.0, 0.0, above=True),
        "t_s" in rows[0][1],
    )


def rate_data(
    measured: Measurement, nuclide: Nuclide | None, response: DetectorResponse | None, free: bool = False
) -> RateData:
    """The readings with the shape of their true rates; with `free` the half-life of a decaying source is fitted.

    Raises InputError where a decaying source has no nuclide.
    """
    m = measured
    if m.method == TWO_SOURCE:
        return RateData(m.counts, m.live_s, _two_sources(m, nuclide))
    if m.method == DECAYING:
        if nuclide is None:
            raise InputError(f"{m.path}: a decaying source needs its nuclide (--nuclide)")
        return RateData(m.counts, m.live_s, _decaying(m, nuclide), int(free))
    if response is not None:
        return RateData(m.counts, m.live_s, _seen(m, response), 0, MODEL_ERROR_FLOOR)
    if (m.r_mm > 0.0).any():
        raise InputError(f"{m.path}: points beside the axis need the probe's response (--probe)")
    nearest = float(m.z_mm[~m.of_background].min())
    if nearest < NEAREST_SQUARE_LAW_MM:
        raise InputError(
            f"{m.path}: {nearest:g} mm from the face 1/d^2 does not hold: stay beyond {NEAREST_SQUARE_LAW_MM:g} mm,"
            " or give the probe's response (--probe)"
        )
    return RateData(m.counts, m.live_s, _inverse_square(m), 1, INVERSE_SQUARE_ERROR)


def _two_sources(m: Measurement, nuclide: Nuclide | None) -> Callable[[Array], Array]:
    decay = np.ones(len(m.counts))
    if nuclide is not None and m.timed:
        decay = mean_decay(_since_first(m), m.live_s, nuclide.half_life_s)
    first, second = (decay * np.isin(m.label, (name, "S12")) for name in ("S1", "S2"))
    columns = [first, second] + ([np.ones(len(decay))] if m.of_background.any() else [])
    design = np.stack(columns, axis=1)
    return lambda _shape: design


def _decaying(m: Measurement, nuclide: Nuclide) -> Callable[[Array], Array]:
    there, since = ~m.of_background, _since_first(m)

    def design(shape: Array) -> Array:
        half_life = nuclide.half_life_s * (_factor(shape) if len(shape) else 1.0)
        return np.stack([there * mean_decay(since, m.live_s, half_life), np.ones(len(there))], axis=1)

    return design


def _seen(m: Measurement, response: DetectorResponse) -> Callable[[Array], Array]:
    there = ~m.of_background
    known = np.stack([there * m.activity_kbq * response.in_air(m.r_mm, m.z_mm), np.ones(len(there))], axis=1)
    return lambda _shape: known


def _inverse_square(m: Measurement) -> Callable[[Array], Array]:
    there = ~m.of_background

    def design(shape: Array) -> Array:
        offset = FIRST_OFFSET_MM * _factor(shape)
        return np.stack([there * m.activity_kbq / (m.z_mm + offset) ** 2, np.ones(len(there))], axis=1)

    return design


def _factor(shape: Array) -> float:
    return float(np.exp(np.clip(shape[0], -LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)))


def _since_first(m: Measurement) -> Array:
    """Ends of the windows (n,) in s after the first of the source; 0 for the background, which does not decay.

    Strengths are free, so any zero of time will do; one far away, as of clock times, would underflow.
    """
    there = ~m.of_background
    result: Array = np.where(there, m.t_s - m.t_s[there].min(initial=np.inf), 0.0)
    return result


def mean_decay(t_s: Array, live_s: Array, half_life_s: float) -> Array:
    """Mean of the decay factor (n,) over windows of `live_s` that end at `t_s`."""
    rate = math.log(2.0) / half_life_s
    result: Array = np.exp(-rate * (t_s - live_s)) * -np.expm1(-rate * live_s) / (rate * live_s)
    return result


def _table(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...]
) -> list[tuple[int, dict[str, str]]]:
    """Rows as (number in the file, cells by column)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: cannot be read ({fault})") from fault
    lines = [(n, row) for n, row in enumerate(csv.reader(text.splitlines()), 1) if row and row[0][:1] != "#"]
    head = [c.strip() for c in lines[0][1]] if lines else []
    unknown = set(head) - set(required) - set(optional)
    if not set(required) <= set(head) or unknown or len(set(head)) < len(head):
        further = f" (and, if known, {','.join(optional)})" if optional else ""
        raise InputError(f"{path}, row 1: columns must be {','.join(required)}{further}")
    rows = []
    for number, row in lines[1:]:
        if len(row) != len(head):
            raise InputError(f"{path}, row {number}: {len(row)} columns instead of {len(head)}")
        rows.append((number, dict(zip(head, (c.strip() for c in row), strict=True))))
    if not rows:
        raise InputError(f"{path}: no readings")
    return rows


def _label(path: Path, number: int, row: dict[str, str], method: str) -> str:
    if method == TWO_SOURCE:
        found = SOURCES.get(row["source"].lower())
        if found is None:
            raise InputError(
                f"{path}, row {number}: source {row['source']!r} is none of S1, S2, S12, background"
            )
        return found
    kind = row.get("kind", "source") or "source"
    if kind not in KINDS:
        raise InputError(f"{path}, row {number}: kind {kind!r} is neither source nor background")
    return kind


def _number(
    path: Path, number: int, row: dict[str, str], name: str, default: float, lowest: float, above: bool
) -> float:
    if name not in row:
        return default
    try:
        value = float(row[name])
    except ValueError:
        raise InputError(f"{path}, row {number}: {name} {row[name]!r} is not a number") from None
    if not math.isfinite(value):
        raise InputError(f"{path}, row {number}: {name} is not a finite number")
    if value < lowest or (above and value == lowest):
        raise InputError(
            f"{path}, row {number}: {name} {value:g} must be {'above' if above else 'at least'} {lowest:g}"
        )
    return value
