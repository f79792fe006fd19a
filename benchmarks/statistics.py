"""Do the statistics keep their word: false positives, power at the MDA, limits and intervals over many simulated scans.

Each shard is one file of JSON lines in the folder; a run makes those that are missing, so it may be stopped at any
time. Counts are drawn from the simulator's own rates (statistics and model together) and from the model itself, its
background by its own prior (statistics alone).

Run: python -m benchmarks.statistics [--null N] [--positive N] [--foci N] [--beside N] [--out DIR] [--report]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from benchmarks.machine import machine
from benchmarks.redrawable import Redrawable, redrawable
from navigation.besidefoci import Beside
from navigation.pointlayer import Problem
from navigation.spotreport import described, spots_of
from navigation.spots import Found, background_alone, find, fit_background
from navigation.uncertainty import Nuisance, ScoreMap, Thresholds, field_thresholds, score_map
from navigation.upperlimits import total_limit
from navigation.volume import NO_LIMIT_KBQ, Spot

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
Record = dict[str, Any]

GEOMETRIES = 12
# Scans in one shard: some seconds of work each.
SHARD = {"null": 100, "mda": 100, "focus": 10, "beside": 10}
# The thresholds of a geometry move by a hundredth or two from scan to scan: farther from them they need no reckoning.
NEAR_THRESHOLD = 0.03
# Scores are made with the geometry's own information first; exactly where they come so near their largest.
NEAR_LARGEST = 0.4
# The model's own counts are drawn for one scan in so many of the simulator's: they test the arithmetic alone.
MODEL_SHARE = 4
SEEN_KBQ = 60.0
# Multiples of the MDA that a source has: at it for the power, below and above for the limits.
MULTIPLES = (1.0, 0.3, 1.0, 3.0)
FOCUS_MULTIPLES = (2.0, 10.0)
NEAR_MM = 15.0
# A second focus beside a strong one: multiples of the MDA that the place had without it, and how far.
STRONG_MULTIPLES, BESIDE_MULTIPLES, BESIDE_MM = (10.0, 100.0), (1.0, 3.0, 10.0), (8.0, 30.0)
# A bed stands for the small field: so many of the best seen places.
BED_PLACES = 80
Z95 = float(norm.ppf(0.95))


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: kind, whose counts, whether few, which geometry, which run of scans."""

    kind: str
    source: str
    few: bool
    geometry: int
    number: int

    @property
    def name(self) -> str:
        """Of the file."""
        regime = "few" if self.few else "usual"
        return f"{self.kind}-{self.source}-{regime}-{self.geometry:02d}-{self.number:04d}.jsonl"

    @property
    def rng(self) -> np.random.Generator:
        """Its own stream."""
        kinds, sources = tuple(SHARD), ("simulator", "model")
        key = [kinds.index(self.kind), sources.index(self.source), int(self.few), self.geometry, self.number]
        return np.random.default_rng([20260917, *key])


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One geometry with the quiet rate (n,) that counts are drawn from, and how it sees a point.

    `uneven_cps` (n, q) is what one standard deviation of each modulation of the background adds.
    """

    scan: Redrawable
    quiet_cps: Array
    uneven_cps: Array
    of_point: Callable[[Array], Array]
    seen: NDArray[np.intp]  # search points with an MDA worth a test
    bed: NDArray[np.intp]
    mean: ScoreMap  # of the mean counts
    thresholds: tuple[float, float]  # of the field, at 5 % and 1 %, and of the bed
    bed_thresholds: tuple[float, float]

    def draw(self, rng: np.random.Generator, extra_cps: Array | float = 0.0) -> Problem:
        """Counts of one scan."""
        uneven = self.uneven_cps @ rng.standard_normal(self.uneven_cps.shape[1])
        rate = np.maximum(self.quiet_cps + uneven, 0.0) + extra_cps
        return self.scan.with_counts(rng.poisson(rate * self.scan.readings.live_s).astype(np.float64))


def case_of(scan: Redrawable, source: str) -> Case:
    """The geometry as `source` (simulator or model) sees it; the model's level is that of the mean counts."""
    problem = scan.with_counts(scan.quiet_cps * scan.readings.live_s)
    fit, precision = fit_background(problem)
    design = problem.background_rows
    null = Nuisance(problem.data, design, precision, fit.rate_cps)
    mean = score_map(scan.search_rows, null)
    mda = mean.mda_kbq
    seen = np.flatnonzero(mda <= SEEN_KBQ)
    bed = np.argsort(mda, kind="stable")[:BED_PLACES]
    field, small = (_pair(rows, null) for rows in (scan.search_rows, scan.search_rows[:, bed]))
    fixed = (seen, bed, mean, field, small)
    if source == "simulator":
        return Case(scan, scan.quiet_cps, np.zeros((len(design), 0)), scan.of_point, *fixed)
    uneven, even = design[:, 1:] / np.sqrt(precision[1:]), design[:, 0] * fit.theta[0]
    return Case(scan, even, uneven, lambda p: scan.problem.rows(p[None])[:, 0], *fixed)


def _pair(rows: Array32, null: Nuisance) -> tuple[float, float]:
    five, one = field_thresholds(rows, null, (0.05, 0.01))
    return five, one


def nuisance(problem: Problem) -> Nuisance:
    """The background fitted to a scan, as the null of any test."""
    fit, precision = fit_background(problem)
    return Nuisance(problem.data, problem.background_rows, precision, fit.rate_cps)


def null_scans(case: Case, rng: np.random.Generator, n: int) -> list[Record]:
    """Nothing there: the maximum over field and bed, and one place picked at random. Scores are made together."""
    problems = [case.draw(rng) for _ in range(n)]
    nulls = [nuisance(problem) for problem in problems]
    plain = np.stack([null.data.weights(null.rate_cps)[0] for null in nulls]).astype(np.float32)
    scores = (plain @ case.scan.search_rows).astype(np.float64)
    places = rng.choice(case.seen, n)
    return [_null(case, *of_one) for of_one in zip(problems, nulls, scores, places, strict=True)]


def _null(case: Case, problem: Problem, null: Nuisance, score: Array, place: int) -> Record:
    rows = case.scan.search_rows
    largest, in_bed, z = _largest(case, null, score, int(place))
    five, one = _passed(largest, case.thresholds, rows, null)
    bed_five, bed_one = _passed(in_bed, case.bed_thresholds, rows[:, case.bed], null)
    record: Record = {
        "largest": largest,
        "z": z,
        "five": five,
        "one": one,
        "bed_five": bed_five,
        "bed_one": bed_one,
    }
    found = _found(case, problem) if five else None
    entered = found is not None and bool(found.fit.sources)
    stood = [] if found is None else [s for s in spots_of(problem, found) if s.quality != "unusable"]
    return record | {"entered": entered, "reported": len(stood)}


def _largest(case: Case, null: Nuisance, score: Array, place: int) -> tuple[float, float, float]:
    """Largest significance of field and bed, and that of one place.

    Only columns that come near the largest are reckoned with the scan's own information.
    """
    rough = replace(case.mean, score=score).significance
    near = np.flatnonzero(rough >= rough.max() - NEAR_LARGEST)
    chosen = np.concatenate([[place], case.bed, near])
    exact = score_map(np.ascontiguousarray(case.scan.search_rows[:, chosen]), null).significance
    return float(exact.max()), float(exact[1 : 1 + len(case.bed)].max()), float(exact[0])


def _passed(largest: float, usual: tuple[float, float], rows: Array32, null: Nuisance) -> tuple[bool, bool]:
    """Whether a maximum passes the thresholds at 5 % and 1 % of its own scan."""
    if min(abs(largest - t) for t in usual) > NEAR_THRESHOLD:
        return largest > usual[0], largest > usual[1]
    five, one = field_thresholds(rows, null, (0.05, 0.01))
    return largest > five, largest > one


def _found(case: Case, problem: Problem) -> Found:
    return find(problem, case.scan.search_mm, case.scan.search_rows, Thresholds(*case.thresholds))


def mda_scan(case: Case, rng: np.random.Generator) -> Record:
    """A source of a multiple of the MDA that another scan, without it, states for its place."""
    place = int(rng.choice(case.seen))
    row = case.scan.search_rows[:, [place]]
    stated = float(score_map(row, nuisance(case.draw(rng))).mda_kbq[0])
    multiple = MULTIPLES[int(rng.integers(len(MULTIPLES)))]
    activity = multiple * stated
    scores = score_map(row, nuisance(case.draw(rng, activity * case.of_point(case.scan.search_mm[place]))))
    return {
        "multiple": multiple,
        "mda": stated,
        "z": float(scores.significance[0]),
        "limit": float(scores.upper_limit_kbq(Z95)[0]) / activity,
    }


def focus_scan(case: Case, rng: np.random.Generator) -> Record:
    """A source anywhere between the search points, found and reported by the whole chain."""
    position, stated = _place(case, rng)
    low, high = np.log(FOCUS_MULTIPLES)
    activity = float(np.exp(rng.uniform(low, high))) * stated
    problem = case.draw(rng, activity * case.of_point(position))
    stood = [s for s in spots_of(problem, _found(case, problem)) if s.quality != "unusable"]
    record: Record = {"activity": activity, "mda": stated, "spots": len(stood), "found": False}
    near = [s for s in stood if np.linalg.norm(s.position_mm - position) <= NEAR_MM]
    return record | (_judged(near, position, activity) if near else {})


def beside_scan(case: Case, rng: np.random.Generator) -> Record:
    """A second focus 8 to 30 mm beside a strong one, and the limit beside it, as the map has it near foci."""
    position, stated = _place(case, rng)
    low, high = np.log(STRONG_MULTIPLES)
    strong = float(np.exp(rng.uniform(low, high))) * stated
    hidden, alone = _place(case, rng, position)
    multiple = BESIDE_MULTIPLES[int(rng.integers(len(BESIDE_MULTIPLES)))]
    activity = multiple * alone
    problem = case.draw(rng, strong * case.of_point(position) + activity * case.of_point(hidden))
    found = _found(case, problem)
    told = described(problem, found)
    voxel_mm = float(case.scan.geometry.field.grid.spacing_mm[0])
    foci = tuple(t.bound(voxel_mm) for t in told)
    beside = Beside.of(problem, found.fit, found.precision, foci)
    row = problem.rows(hidden[None]).astype(np.float32)
    scores = score_map(row, background_alone(problem, found)).dimmed(beside.share(hidden[None], row))
    systematic = problem.projector.response.systematic_relative_sd
    limit = total_limit(hidden[None], scores.upper_limit_kbq(Z95), foci, systematic)[0]
    near = [s for s in told if np.linalg.norm(s.spot.position_mm - hidden) <= 0.5 * BESIDE_MM[0]]
    return {
        "strong": strong,
        "multiple": multiple,
        "away_mm": float(np.linalg.norm(hidden - position)),
        "limit": min(float(limit), NO_LIMIT_KBQ) / activity,
        "found": bool(near),
    }


def _place(case: Case, rng: np.random.Generator, beside: Array | None = None) -> tuple[Array, float]:
    """A place (3,) in tissue between the search points, BESIDE_MM from another if there is one, and its lone MDA."""
    tissue = case.scan.geometry.projector.tissue
    assert tissue is not None
    asked = case.seen
    if beside is not None:
        away = np.linalg.norm(case.scan.search_mm[case.seen] - beside, axis=1)
        asked = case.seen[(away > BESIDE_MM[0] + 4.0) & (away < BESIDE_MM[1])]
    while True:
        at = int(rng.choice(asked))
        position = case.scan.search_mm[at] + rng.uniform(-3.0, 3.0, 3)
        if tissue.at(position[None])[0] > 0.5:
            row = case.scan.search_rows[:, [at]]
            return position, float(score_map(row, nuisance(case.draw(rng))).mda_kbq[0])


def _judged(near: list[Spot], position: Array, activity: float) -> Record:
    spot = min(near, key=lambda s: float(np.linalg.norm(s.position_mm - position)))
    offset = spot.position_mm - position
    assert spot.budget is not None
    counted = [c.relative_sd for c in spot.budget.components if c.kind == "A"]
    return {
        "found": True,
        "spot": spot.activity_kbq,
        "low": spot.activity_ci95_kbq[0],
        "high": spot.activity_ci95_kbq[1],
        "counting_sd": float(np.linalg.norm(counted)),
        "error_mm": float(np.linalg.norm(offset)),
        "chi2": float(offset @ np.linalg.solve(spot.covariance_mm2, offset)),
        "significance": spot.significance,
        "quality": spot.quality,
    }


def scans(kind: str, case: Case, rng: np.random.Generator) -> list[Record]:
    """The scans of one shard."""
    if kind == "null":
        return null_scans(case, rng, SHARD[kind])
    one = {"mda": mda_scan, "focus": focus_scan, "beside": beside_scan}[kind]
    return [one(case, rng) for _ in range(SHARD[kind])]


def shards(wanted: dict[str, int]) -> list[Shard]:
    """Every shard, geometry by geometry; `wanted` scans of each kind from the simulator's rates."""
    found = []
    for few in (False, True):
        for geometry in range(GEOMETRIES):
            for source in ("simulator", "model"):
                for kind, total in wanted.items():
                    share = 1 if source == "simulator" else MODEL_SHARE
                    each = -(-total // (2 * GEOMETRIES * SHARD[kind] * share))
                    found += [Shard(kind, source, few, geometry, i) for i in range(each)]
    return found


def run(wanted: dict[str, int], out: Path) -> None:
    """Make the shards that are missing in `out`; each appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [s for s in shards(wanted) if not (out / s.name).exists()]
    built: tuple[tuple[bool, int], Redrawable] | None = None
    case: tuple[tuple[bool, int, str], Case] | None = None
    for i, shard in enumerate(missing):
        place = (shard.few, shard.geometry)
        if built is None or built[0] != place:
            built = (place, redrawable(shard.geometry, shard.few))
        if case is None or case[0] != (*place, shard.source):
            case = ((*place, shard.source), case_of(built[1], shard.source))
        lines = [json.dumps(record) for record in scans(shard.kind, case[1], shard.rng)]
        part = out / (shard.name + ".part")
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(part, out / shard.name)
        print(f"{i + 1}/{len(missing)} {shard.name}", flush=True)


def records(out: Path, kind: str, source: str, regime: str) -> Iterator[Record]:
    """All scans of one kind."""
    for path in sorted(out.glob(f"{kind}-{source}-{regime}-*.jsonl")):
        yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def share(hits: int, n: int) -> str:
    """A share with its 95 % binomial interval (Clopper-Pearson)."""
    if n == 0:
        return "none"
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return f"{hits / n:.4f} [{low:.4f}, {high:.4f}] of {n}"


def report(out: Path) -> None:
    """The table of all shards in the folder."""
    print(machine())
    for source in ("model", "simulator"):
        for regime in ("usual", "few"):
            print(f"\ncounts of the {source}, {regime} counts")
            for name, text in _rows(out, source, regime):
                print(f"  {name:46s} {text}")


def _rows(out: Path, source: str, regime: str) -> Iterator[tuple[str, str]]:
    null = list(records(out, "null", source, regime))
    tests = (
        ("field, score above the 5 % threshold", lambda r: r["five"]),
        ("field, a source enters the model (5 %)", lambda r: r["entered"]),
        ("field, score above the 1 % threshold", lambda r: r["one"]),
        ("field, a spot that is stood by (1 %)", lambda r: r["reported"] > 0),
        ("bed-sized field at 5 %", lambda r: r["bed_five"]),
        ("bed-sized field at 1 %", lambda r: r["bed_one"]),
        ("one place at 5 %", lambda r: r["z"] > norm.ppf(0.95)),
        ("one place at 1 %", lambda r: r["z"] > norm.ppf(0.99)),
    )
    for name, test in tests:
        yield name, share(sum(map(test, null)), len(null))
    positive = list(records(out, "mda", source, regime))
    at = [r for r in positive if r["multiple"] == 1.0]
    yield "power at the MDA, one place at 5 %", share(sum(r["z"] > Z95 for r in at), len(at))
    for multiple in sorted(set(MULTIPLES)):
        some = [r for r in positive if r["multiple"] == multiple]
        yield (
            f"95 % upper limit holds at {multiple:g} MDA",
            share(sum(r["limit"] >= 1.0 for r in some), len(some)),
        )
    yield from _foci(list(records(out, "focus", source, regime)))
    beside = list(records(out, "beside", source, regime))
    for name, low, high in (("8 to 16", 0.0, 16.0), ("16 to 30", 16.0, np.inf)):
        some = [r for r in beside if low <= r["away_mm"] < high]
        holds = share(sum(r["limit"] >= 1.0 for r in some), len(some))
        median = f", median {np.median([r['limit'] * r['multiple'] for r in some]):.1f} MDA" if some else ""
        yield f"95 % upper limit {name} mm beside a strong focus", holds + median


def _foci(foci: list[Record]) -> Iterator[tuple[str, str]]:
    found = [r for r in foci if r["found"]]
    yield "focus of 2 to 10 MDA found and stood by", share(len(found), len(foci))
    yield "false spots in scans with one focus", share(sum(r["spots"] > r["found"] for r in foci), len(foci))
    counting = [abs(np.log(r["spot"] / r["activity"])) <= 1.96 * r["counting_sd"] for r in found]
    yield "activity within the counting interval, quadratic", share(sum(counting), len(found))
    yield (
        "activity within the stated interval",
        share(sum(r["low"] <= r["activity"] <= r["high"] for r in found), len(found)),
    )
    yield "position within the 95 % region", share(sum(r["chi2"] <= 7.815 for r in found), len(found))
    if found:
        error, bias = (
            [r["error_mm"] for r in found],
            [np.log(r["spot"] / r["activity"]) for r in found],
        )
        yield "median error, median log activity ratio", f"{np.median(error):.2f} mm, {np.median(bias):+.3f}"


def main() -> None:
    """The study, then its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--null", type=int, default=1200, help="scans without a source")
    parser.add_argument(
        "--positive", type=int, default=2400, help="scans with a source of a multiple of the MDA"
    )
    parser.add_argument("--foci", type=int, default=120, help="scans that go through the whole search")
    parser.add_argument("--beside", type=int, default=120, help="scans with a focus beside a strong one")
    parser.add_argument("--out", type=Path, default=Path("build/statistics"))
    parser.add_argument("--report", action="store_true", help="only the table of what is there")
    options = parser.parse_args()
    if not options.report:
        wanted = {"null": options.null, "mda": options.positive, "focus": options.foci}
        run(wanted | {"beside": options.beside}, options.out)
    report(options.out)


if __name__ == "__main__":
    main()
