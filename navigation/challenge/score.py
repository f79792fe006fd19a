"""Scores of a method's answers on a set of simulated scans: what was found, how far off, how honest its errors were.

Every figure comes with its number of cases; intervals of shares are Clopper-Pearson (DOI 10.1093/biomet/26.4.404).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import beta, chi2

from navigation.challenge.make import VERSION
from tracking.errors import InputError
from tracking.jsonfile import read_json

Array = NDArray[np.float64]

# A spot farther than this from every source is false, and a source without a spot this near is missed.
MATCH_MM = 10.0
REGION = float(chi2.ppf(0.95, 3))
# Qualities by which a method stands; a spot without one counts.
STANDING = ("ok", "limited")


@dataclass(frozen=True, slots=True, eq=False)
class CaseScore:
    """One case: of each source that was to be found, how far off it was (None: missed), and the rest."""

    case: str
    scene: str
    phase: str
    answered: bool
    errors_mm: tuple[float | None, ...]
    log_ratios: tuple[float, ...] = ()  # natural logarithm of told over true activity
    in_region: tuple[bool, ...] = ()
    in_interval: tuple[bool, ...] = ()
    false: int = 0
    wrong_absence: bool | None = None  # None: no statement of absence was made
    stated_absence: bool = False
    names: tuple[str, ...] = field(default=())


def score_set(answers: Path, folder: Path) -> tuple[CaseScore, ...]:
    """Scores of `answers` (a folder for each case) on the set in `folder`. Raises InputError."""
    about = read_json(folder / "challenge.json")
    if about.get("version") != VERSION:
        raise InputError(f"{folder / 'challenge.json'}: version {about.get('version')!r} is not known here")
    if not answers.is_dir():
        raise InputError(f"{answers}: no such folder")
    truths = [read_json(p) for p in sorted((folder / "truth").glob("*.json"))]
    if not truths:
        raise InputError(f"{folder}: holds no truth")
    if not any((answers / str(t["case"])).is_dir() for t in truths):
        raise InputError(f"{answers}: no folder there has the name of a case ({truths[0]['case']}, ...)")
    return tuple(score_case(answers / str(truth["case"]), truth) for truth in truths)


def score_case(answer: Path, truth: Mapping[str, Any]) -> CaseScore:
    """The score of one answer; a case without one has missed all. Raises InputError for a malformed one."""
    head = (str(truth["case"]), str(truth["scene"]), str(truth["phase"]))
    sources = list(truth["lesions"])
    file = answer / "spots.json"
    if not file.is_file():
        return CaseScore(*head, False, tuple(None for _ in sources))
    spots = [s for s in _spots(file) if s.get("quality", STANDING[0]) in STANDING]
    pairs = _pairs(spots, sources)
    taken = set(pairs.values())
    others = [*sources, *truth.get("other_activity", ())]
    false = sum(n not in taken and not _of_any(s, others) for n, s in enumerate(spots))
    matched = [(sources[i], spots[n]) for i, n in pairs.items()]
    return CaseScore(
        *head,
        True,
        tuple(_distance(spots[pairs[i]], s) if i in pairs else None for i, s in enumerate(sources)),
        tuple(_log_ratio(s, spot) for s, spot in matched if spot.get("activity_kbq")),
        tuple(_in_region(s, spot, file) for s, spot in matched if spot.get("covariance_mm2") is not None),
        tuple(_in_interval(s, spot) for s, spot in matched if spot.get("activity_ci95_kbq") is not None),
        false,
        *_absence(answer / "bed_check.json", sources),
    )


def _spots(file: Path) -> list[dict[str, Any]]:
    found = read_json(file).get("spots")
    if not isinstance(found, list):
        raise InputError(f"{file}: spots is no list")
    for n, spot in enumerate(found, 1):
        try:
            place = np.array(spot["position_mm"], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}, spot {n}: position_mm is missing or malformed") from error
        if place.shape != (3,) or not np.isfinite(place).all():
            raise InputError(f"{file}, spot {n}: position_mm is not three numbers")
    return found


def _distance(spot: Mapping[str, Any], source: Mapping[str, Any]) -> float:
    return float(np.linalg.norm(np.subtract(spot["position_mm"], source["position_mm"])))


def _pairs(spots: Sequence[Mapping[str, Any]], sources: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Source to spot, each at most once: as many as lie within MATCH_MM, and of these the nearest in sum."""
    if not spots or not sources:
        return {}
    distance = np.array([[_distance(spot, source) for spot in spots] for source in sources])
    # Beyond reach costs more than any sum of pairs within it, so that no pair is given up for shorter ways.
    cost = np.where(distance <= MATCH_MM, distance, MATCH_MM * (1.0 + min(distance.shape)))
    rows, columns = linear_sum_assignment(cost)
    return {int(i): int(n) for i, n in zip(rows, columns, strict=True) if distance[i, n] <= MATCH_MM}


def _of_any(spot: Mapping[str, Any], sources: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a spot lies at or in a source, which may be an organ."""
    return any(_distance(spot, s) <= MATCH_MM + float(s.get("extent_mm") or 0.0) for s in sources)


def _log_ratio(source: Mapping[str, Any], spot: Mapping[str, Any]) -> float:
    return float(np.log(float(spot["activity_kbq"]) / float(source["activity_kbq"])))


def _in_region(source: Mapping[str, Any], spot: Mapping[str, Any], file: Path) -> bool:
    """Whether the spot's own 95 % region holds the source."""
    offset = np.subtract(spot["position_mm"], source["position_mm"])
    try:
        return (
            float(offset @ np.linalg.solve(np.array(spot["covariance_mm2"], dtype=float), offset)) <= REGION
        )
    except (np.linalg.LinAlgError, ValueError, TypeError) as error:
        raise InputError(f"{file}: covariance_mm2 is no matrix that can be inverted") from error


def _in_interval(source: Mapping[str, Any], spot: Mapping[str, Any]) -> bool:
    low, high = spot["activity_ci95_kbq"]
    return bool(low <= float(source["activity_kbq"]) <= high)


def _absence(file: Path, sources: Sequence[Mapping[str, Any]]) -> tuple[bool | None, bool]:
    """(whether a statement of absence is wrong, whether one was made); all that is left lies in the outlined bed."""
    found = read_json(file) if file.is_file() else {}
    if found.get("finding") != "none-above":
        return None, False
    threshold = float(found["threshold_kbq"])
    return any(float(s["activity_kbq"]) > threshold for s in sources), True


def summary(scores: Sequence[CaseScore]) -> dict[str, dict[str, Any]]:
    """Figures of each scene and phase, and of all; None where there is nothing to take a figure of."""
    groups = {"all": list(scores)}
    for score in scores:
        groups.setdefault(f"{score.scene}, {score.phase}", []).append(score)
    return {name: _figures(found) for name, found in groups.items()}


def _figures(scores: Sequence[CaseScore]) -> dict[str, Any]:
    errors = [e for s in scores for e in s.errors_mm]
    found = [e for e in errors if e is not None]
    ratios = [r for s in scores for r in s.log_ratios]
    beds = [s for s in scores if s.stated_absence]
    return {
        "cases": len(scores),
        "answered": sum(s.answered for s in scores),
        "sources": len(errors),
        "found": _share(len(found), len(errors)),
        "error_mm": None
        if not found
        else {q: float(np.quantile(found, p)) for q, p in (("median", 0.5), ("p95", 0.95))},
        "false_per_scan": sum(s.false for s in scores) / len(scores),
        "activity_bias": None if not ratios else float(np.exp(np.median(ratios)) - 1.0),
        "activity_spread": None if not ratios else float(np.exp(np.median(np.abs(ratios))) - 1.0),
        "region_coverage": _shares(b for s in scores for b in s.in_region),
        "interval_coverage": _shares(b for s in scores for b in s.in_interval),
        "absence_stated": len(beds),
        "absence_wrong": _shares(bool(s.wrong_absence) for s in beds),
    }


def _shares(flags: Iterable[bool]) -> dict[str, Any] | None:
    told = list(flags)
    return _share(sum(told), len(told))


def _share(k: int, n: int) -> dict[str, Any] | None:
    """k of n with its 95 % interval."""
    if n == 0:
        return None
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return {"k": k, "n": n, "share": k / n, "ci95": [low, high]}
