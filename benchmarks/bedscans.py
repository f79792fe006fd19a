"""One simulated bed: what is left in it, what went wrong with its scan, what the check said and an oracle could say.

The oracle knows the true background, response and counts' times, and tests every place for itself: the least
threshold that the same rule (MDA and upper limit on 99 % of the bed) would let it state on these very counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bedground import Ground, ground_of
from navigation.bedcheck import check_bed
from navigation.bedrules import near_seconds
from navigation.simulate.chance import stream
from navigation.spots import fit_background
from navigation.uncertainty import Nuisance, score_map

Array = NDArray[np.float64]
Rng = np.random.Generator
Record = dict[str, Any]

# 5 % false positives, 95 % detection, 95 % limit: one quantile of the normal distribution.
Z95 = 1.6449
NEEDED_SHARE = 0.99
# The tissue's level over that of its ground, and the relative size of its long wave.
LEVEL_SHARE, RIPPLE = (0.7, 1.4), (0.0, 0.1)
# What is asked for, over what the oracle can detect on this ground; where less is asked no statement is made.
ASKED = (0.8, 1.7)
# Of a bed that is half left out, the same over what the oracle can detect on this share of it.
HALF_SEEN = 0.45
# Change of the background from the first second to the last; SD of the log sensitivity.
DRIFT, SCALE_SD = (-0.3, 0.3), 0.05
# Activity of the strong source beside the bed over the threshold.
HOT_TIMES = (1e2, 3e3)
# A remnant that lifts the hottest second to this many times the background.
TBR = (1.2, 2.0)
# Multiples of the declared MDA, places of a bed, and draws at each.
MULTIPLES, MDA_PLACES, MDA_DRAWS = (0.8, 0.9, 1.0, 1.1, 1.2), 4, 6


@dataclass(frozen=True, slots=True)
class Condition:
    """`times` the threshold is left at one place of the bed; what is wrong besides."""

    times: float = 0.0
    kind: str = "whole"
    drift: bool = False
    scale: bool = False
    hot: bool = False
    tbr: bool = False
    mda: bool = False


CONDITIONS = {
    "none": Condition(),
    "at X": Condition(1.0),
    "1.5 X": Condition(1.5),
    "half X": Condition(0.5),
    "partial": Condition(1.5, "half"),
    "drift": Condition(1.0, drift=True),
    "drift, none": Condition(drift=True),
    "scale": Condition(1.0, scale=True),
    "scale, none": Condition(scale=True),
    "askew": Condition(1.0, "askew"),
    "askew, none": Condition(kind="askew"),
    "shine": Condition(1.0, hot=True),
    "shine, none": Condition(hot=True),
    "tbr": Condition(tbr=True),
    "mda": Condition(mda=True),
}


def beds(name: str, index: int, number: int, beds: int) -> list[Record]:
    """The beds of one shard, on ground `index`."""
    condition = CONDITIONS[name]
    ground, rng = ground_of(index, condition.kind), stream(index, name, str(number))
    one: Callable[..., Record] = _mda if condition.mda else _bed
    return [{"ground": index, **one(ground, condition, rng)} for _ in range(beds)]


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Counts (n,), the true rate of the tissue alone, and of the whole."""

    counts: Array
    quiet_cps: Array


def _quiet(ground: Ground, rng: Rng) -> Array:
    """(n,) cps of the tissue."""
    level, ripple, phase = ground.level * rng.uniform(*LEVEL_SHARE), rng.uniform(*RIPPLE), rng.uniform(0, 6.3)
    wave = np.cos(phase) * ground.quiet_cps[1] + np.sin(phase) * ground.quiet_cps[2]
    return np.asarray(level * (ground.quiet_cps[0] + ripple * wave))


def _bed(ground: Ground, condition: Condition, rng: Rng) -> Record:
    quiet, live = _quiet(ground, rng), ground.readings.live_s
    oracle = _oracle_mda(ground, quiet)
    share = HALF_SEEN if condition.kind == "half" else NEEDED_SHARE
    asked = rng.uniform(*ASKED) * float(np.quantile(oracle, share, method="higher"))
    place = int(rng.integers(len(ground.places_mm)))
    left = condition.times * asked
    if condition.tbr:
        # Of the mean over a second of the path at its nearest.
        second = np.convolve(ground.place_cps[place], np.ones(10) / 10, mode="same").max()
        left = (rng.uniform(*TBR) - 1.0) * float(np.median(quiet)) / float(second)
    if condition.drift:
        quiet = quiet * (1.0 + rng.uniform(*DRIFT) * np.linspace(0.0, 1.0, len(quiet)))
    rate = quiet + left * ground.place_cps[place]
    hot = asked * float(np.exp(rng.uniform(*np.log(HOT_TIMES)))) if condition.hot else 0.0
    rate = rate + hot * ground.hot_cps
    if condition.scale:
        rate = rate * np.exp(rng.normal(0.0, SCALE_SD))
    counts = rng.poisson(rate * live).astype(np.float64)
    told = _told(ground, counts, asked)
    return {
        "asked": asked,
        "left": left,
        "place": place,
        "place_mda": float(oracle[place]),
        "covered_truly": float((oracle <= asked).mean()),
        "oracle": _oracle_reach(ground, quiet, counts, oracle) if not hot and not left else None,
        "hot": hot,
        **told,
    }


def _told(ground: Ground, counts: Array, asked: float) -> Record:
    """What the real check says, and the hottest second over the background."""
    state = ground.state(counts)
    check = check_bed(state, ground.bed, asked)
    rate, near, background = near_seconds(state, ground.bed)
    return {
        "finding": check.finding,
        "covered": check.covered_fraction,
        "reach": check.reach_kbq,
        "mda": check.mda_kbq,
        "limit": check.max_upper_limit_kbq,
        "shadowed": check.shadowed_fraction,
        "residuals": [r.significance for r in check.residuals],
        "ratio": float(rate[near].max()) / background if near.any() and background > 0 else None,
        "why": check.statement[:90],
    }


def _oracle_mda(ground: Ground, quiet: Array) -> Array:
    """(p,) kBq at each place, background and response known."""
    live, s = ground.readings.live_s, ground.place_cps
    information, third = (s**2 * (live / quiet)).sum(axis=1), (s**3 * (live / quiet**2)).sum(axis=1)
    # a I - z sqrt(I + a K) = z sqrt(I), the variance growing with the source's own counts.
    return np.asarray(2 * Z95 / np.sqrt(information) + Z95**2 * third / information**2)


def _oracle_reach(ground: Ground, quiet: Array, counts: Array, mda: Array) -> float:
    """Least threshold in kBq that the oracle could state on these counts."""
    live, s = ground.readings.live_s, ground.place_cps
    information, third = (s**2 * (live / quiet)).sum(axis=1), (s**3 * (live / quiet**2)).sum(axis=1)
    score = np.maximum((s * ((counts - quiet * live) / quiet)).sum(axis=1), 0.0)
    lean = third / information
    limit = score + Z95**2 * lean / 2 + Z95 * np.sqrt(information + score * lean + (Z95 * lean) ** 2 / 4)
    return float(np.quantile(np.maximum(mda, limit / information), NEEDED_SHARE, method="higher"))


def _mda(ground: Ground, condition: Condition, rng: Rng) -> Record:
    """Of places with a declared MDA: how often multiples of it are detected at a local 5 %."""
    quiet, live = _quiet(ground, rng), ground.readings.live_s
    state = ground.state(rng.poisson(quiet * live).astype(np.float64))
    check = check_bed(state, ground.bed, 1.0)
    assert check.bed_map is not None
    seen = {str(m): 0 for m in MULTIPLES}
    for place in rng.choice(len(ground.places_mm), MDA_PLACES, replace=False):
        away = np.linalg.norm(check.bed_map.points_mm - ground.places_mm[place], axis=1)
        declared = float(check.bed_map.mda_kbq[int(away.argmin())])
        row = state.problem.rows(ground.places_mm[place][None]).astype(np.float32)
        for multiple in MULTIPLES:
            rate = quiet + multiple * declared * ground.place_cps[place]
            for _ in range(MDA_DRAWS):
                counts = rng.poisson(rate * live).astype(np.float64)
                problem = replace(state.problem, data=replace(state.problem.data, counts=counts))
                fit, precision = fit_background(problem)
                null = Nuisance(problem.data, problem.background_rows, precision, fit.rate_cps)
                seen[str(multiple)] += bool(score_map(row, null).significance[0] > Z95)
    return {"detected": seen, "of": MDA_PLACES * MDA_DRAWS}
