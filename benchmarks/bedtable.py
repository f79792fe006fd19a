"""The table of the validation of the bed check: every row with its upper 95 % bound, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.bedscans import MULTIPLES

Array = NDArray[np.float64]
Record = dict[str, Any]
Records = dict[str, list[Record]]

NONE_ABOVE, SUSPECTED = "none-above", "residual-suspected"
# Of what a bed holds at a place that its oracle would notice at less than the threshold.
NEEDED_SHARE = 0.99
# A statement at this many times the oracle's threshold is one that it could have been.
WITHIN = 1.5
EVEN_SPECIFICITY_FEWEST = 20
# A place is a hard one where what the oracle detects is more than this share of what is left there.
HARD_SHARE = 0.5
DETECTED = 0.95


def upper(hits: int, n: int) -> float:
    """One-sided upper 95 % bound of a share (Clopper & Pearson 1934, DOI 10.1093/biomet/26.4.404)."""
    return 1.0 if hits >= n else float(beta.ppf(0.95, hits + 1, n - hits))


def lower(hits: int, n: int) -> float:
    """One-sided lower 95 % bound of a share."""
    return 0.0 if hits <= 0 else float(beta.ppf(0.05, hits, n - hits + 1))


def rows(told: Records) -> Iterator[tuple[str, str, str]]:
    """What, what was found, what is wanted."""
    for name, wanted in (("at X", "<= 5 %"), ("1.5 X", "<= 1 %"), ("half X", "")):
        yield f"false none above, {name} left", _at_most(told.get(name, []), _none), wanted
    hard = [r for r in told.get("at X", []) if r["place_mda"] > HARD_SHARE * r["left"]]
    yield "at X, where the oracle itself needs half of it", _at_most(hard, _none), "<= 5 %"
    for name in ("drift", "scale", "askew", "shine"):
        yield f"the same at X, {name}", _at_most(told.get(name, []), _none), "<= 5 %"
    under = [r for r in _all(told) if r["covered_truly"] < NEEDED_SHARE]
    yield "under-covered beds called none above", _at_most(under, _none), "0"
    yield "a side left out called none above", _at_most(told.get("partial", []), _none), "0"
    for name in ("none", "drift, none", "scale, none", "askew, none", "shine, none"):
        yield f"false suspicion, {name}", _at_most(told.get(name, []), _suspected), "<= 5 %"
    for name in ("none", "scale, none", "askew, none", "drift, none"):
        yield f"statement within {WITHIN:g} of the oracle, {name}", _stated(told.get(name, [])), ">= 80 %"
    yield "declared MDA over the true one", _mda(told.get("mda", [])), "0.8 to 1.2"
    yield from _against_ratio(told.get("none", []), told.get("tbr", []))


def _all(told: Records) -> Iterator[Record]:
    for name, some in told.items():
        if name != "mda":
            yield from some


def _none(record: Record) -> bool:
    return bool(record["finding"] == NONE_ABOVE)


def _suspected(record: Record) -> bool:
    return bool(record["finding"] == SUSPECTED)


def _at_most(some: list[Record], test: Callable[[Record], bool]) -> str:
    hits, n = sum(map(test, some)), len(some)
    return f"{hits} of {n}, at most {upper(hits, n):.2%}" if n else "no beds"


def ratios(some: list[Record]) -> Array:
    """Our least threshold over the oracle's of quiet beds (k,); inf where none could be stated."""
    return np.array([r["reach"] / r["oracle"] if r["reach"] else np.inf for r in some if r["oracle"]])


def _stated(some: list[Record]) -> str:
    ratio = ratios(some)
    if not len(ratio):
        return "no beds"
    hits = int((ratio <= WITHIN).sum())
    return (
        f"{hits / len(ratio):.0%} of {len(ratio)}, at least {lower(hits, len(ratio)):.0%}; "
        f"median {np.median(ratio):.2f}, 80 % within {np.quantile(ratio, 0.8, method='higher'):.2f}"
    )


def _mda(some: list[Record]) -> str:
    """Where a share of 95 % is detected, over what was declared, by the shares at multiples of it."""
    of = sum(r["of"] for r in some)
    if not of:
        return "no beds"
    share = np.array([sum(r["detected"][str(m)] for r in some) for m in MULTIPLES]) / of
    told = ", ".join(f"{s:.3f} at {m:g}" for m, s in zip(MULTIPLES, share, strict=True))
    if share[0] >= DETECTED or share[-1] < DETECTED:
        return f"outside {1 / MULTIPLES[-1]:.2f} to {1 / MULTIPLES[0]:.2f} (detected {told})"
    true = float(np.interp(DETECTED, np.maximum.accumulate(share), MULTIPLES))
    return f"{1 / true:.2f} (detected {told} times it)"


def _against_ratio(quiet: list[Record], left: list[Record]) -> Iterator[tuple[str, str, str]]:
    """Sensitivity at the specificity of the 1.5:1 rule, and at ours, over remnants of a TBR of 1.2 to 2."""
    if len(quiet) < EVEN_SPECIFICITY_FEWEST or not left:
        return
    empty = np.array([r["ratio"] or 0.0 for r in quiet])
    seen = np.array([r["ratio"] or 0.0 for r in left])
    ours, false = (
        float(np.mean([_suspected(r) for r in left])),
        float(np.mean([_suspected(r) for r in quiet])),
    )
    at_ours = float(np.quantile(empty, 1.0 - false, method="higher"))
    even = float(np.mean(seen > at_ours))
    yield (
        "sensitivity at TBR 1.2 to 2, and of a ratio at our specificity",
        f"{ours:.0%} and {even:.0%} (cut {at_ours:.2f}:1, specificity {1 - false:.1%}, {len(left)} beds)",
        "20 points",
    )
    rule = float(np.mean(seen >= 1.5))
    yield (
        "the 1.5:1 rule itself",
        f"sensitivity {rule:.0%}, specificity {np.mean(empty < 1.5):.1%}",
        "",
    )


def plot(told: Records, path: Path) -> None:
    """Two panels: our least threshold against the oracle's, and what was called of remnants by their size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("none", "scale, none", "askew, none"):
        ratio = np.sort(ratios(told.get(name, [])))
        left.step(ratio, (np.arange(len(ratio)) + 1) / max(len(ratio), 1), where="post", label=name)
    left.axvline(WITHIN, color="0.6", linewidth=0.8)
    left.set(xlabel="least threshold over the oracle's", ylabel="share of quiet beds", xlim=(0.5, 3.0))
    left.legend(loc="lower right")
    some = [r for n in ("half X", "at X", "1.5 X", "tbr") for r in told.get(n, [])]
    size = np.array([r["left"] / r["place_mda"] for r in some])
    edges = np.geomspace(0.5, 16.0, 9)
    for finding, style in ((SUSPECTED, "o-"), (NONE_ABOVE, "s-")):
        hit = np.array([r["finding"] == finding for r in some])
        within = [(size >= low) & (size < high) for low, high in pairwise(edges)]
        share = [float(hit[w].mean()) if w.any() else np.nan for w in within]
        right.plot(np.sqrt(edges[1:] * edges[:-1]), share, style, label=finding)
    right.set(xscale="log", xlabel="remnant over what the oracle detects there", ylabel="share of beds")
    right.set_xticks([0.5, 1, 2, 4, 8])
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter("")
    right.legend(loc="center right")
    figure.savefig(path, dpi=110)
