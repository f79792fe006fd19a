"""Timed counts noted by hand, of a probe that only shows them: a table `kind,counts,live_s` with more if it is known.

`specimen` is the number of a specimen, `name` anything, `t_s` when the count began, in s after the reference time.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime
from calibration.physics.nuclide import nuclide
from navigation.timed.count import SPECIMEN, TimedCount, kind_of
from tracking.counts import HIGHEST_RATE_CPS
from tracking.errors import InputError

NEEDED, KNOWN = ("kind", "counts", "live_s"), ("kind", "counts", "live_s", "specimen", "name", "t_s")

LONGEST_LIVE_S = 86400.0
# Beyond it nothing is left that could be counted.
MOST_HALF_LIVES = 50.0


def read_noted(path: Path, nuclide_name: str | None, dead: DeadTime = NO_DEAD_TIME) -> tuple[TimedCount, ...]:
    """The counts of a table, in its order; decayed to the reference time where both nuclide and `t_s` are known.

    Raises InputError naming the line, and OSError.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(
                (line for line in file if not line.startswith("#")), skipinitialspace=True
            )
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no table ({error})") from None
    header = reader.fieldnames or ()
    missing = [name for name in NEEDED if name not in header]
    unknown = [name for name in header if name not in KNOWN]
    if missing or unknown:
        said = f"column {missing[0]} is missing" if missing else f"unknown column {unknown[0]!r}"
        raise InputError(f"{path}: {said}; a table of counts has {', '.join(KNOWN)}")
    counts: list[TimedCount] = []
    for number, row in enumerate(rows, 1):
        after_s = counts[-1].end_s if counts else 0.0
        counts.append(_count(row, number, after_s, nuclide_name, dead, f"{path}, row {number}"))
    return tuple(counts)


def _count(
    row: Mapping[str, str | None], number: int, after_s: float, name: str | None, dead: DeadTime, where: str
) -> TimedCount:
    try:
        kind = kind_of(str(row["kind"]).strip().lower())
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    counts, live_s = (_number(row[key], f"{where}, {key}") for key in ("counts", "live_s"))
    if counts is None or live_s is None or counts < 0.0 or not 0.0 < live_s <= LONGEST_LIVE_S:
        raise InputError(
            f"{where}: counts and live_s have to be numbers, not below 0 and above 0, live_s up to a day"
        )
    if counts > HIGHEST_RATE_CPS * live_s:
        raise InputError(f"{where}: no probe counts {counts / live_s:g} a second")
    began_s = _number(row.get("t_s"), f"{where}, t_s")
    start_s = after_s if began_s is None else began_s
    decays = name is not None and began_s is not None
    if decays and abs(start_s) > MOST_HALF_LIVES * nuclide(str(name)).half_life_s:
        raise InputError(
            f"{where}, t_s: {start_s:g} s are too many half-lives of {name} from the reference time"
        )
    return TimedCount(
        number,
        kind,
        " ".join(str(row.get("name") or "").split()),
        counts,
        live_s,
        live_s,
        start_s,
        start_s + live_s,
        dead,
        decay=nuclide(str(name)).mean_decay_factor(start_s, start_s + live_s) if decays else 1.0,
        saturated=bool(dead.saturated(counts / live_s)),
        specimen=_specimen(row.get("specimen"), kind, where),
    )


def _specimen(text: str | None, kind: str, where: str) -> int | None:
    """Raises InputError for a specimen without a number, or a number of something else."""
    text = (text or "").strip()
    if kind != SPECIMEN and text:
        raise InputError(f"{where}: only a {SPECIMEN} has a number")
    if kind == SPECIMEN and not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"{where}: a {SPECIMEN} has a number from 1 on, not {text!r}")
    return int(text) if text else None


def _number(text: str | None, where: str) -> float | None:
    """None where nothing is said. Raises InputError for what is no number."""
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {text!r} is no number")
    return value
