"""How much sooner a hand that is told where to scan next reaches a declared MDA over a bed than one that scans lines.

Two minutes of lines over the bed declare an MDA: the least that 99 % of the bed does not exceed, with no patch wider
than 5 mm above it. The other hand follows the pose shown, which is renewed twice a second, until the same is declared
by the same rule. Travel, reaction and the first seconds without a pose are counted; both hands have the same speed,
wobble, tilt, tracker and counter. Lines are those of the simulator's hand, which end where the outline ends, and the
best in hindsight of three that go 0, 18 and 35 % beyond it.

Run: python -m benchmarks.guidance [--seeds N] [--first S] [--shape NAME ...] [--seconds T]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.guidedhand import (
    LONGEST_S,
    NUCLIDE,
    SHAPES,
    STEP_S,
    Bed,
    Counter,
    Follower,
    bed_of,
    raster,
)
from benchmarks.machine import machine
from benchmarks.redrawprobes import PROBES, probe_file
from calibration.probe.response import response_of
from navigation.bed import Bed as Outline
from navigation.bedplaces import WIDEST_PATCH_MM, reach_of, widest_patch
from navigation.coverage import NEEDED_SHARE, Aim, BedCoverage
from navigation.engine.surface import expected_poses, surface_after
from navigation.reconstruction.geometry import Geometry, build_geometry
from navigation.reconstruction.readinglog import GrowingArray, ReadingLog
from navigation.reconstruction.search import Search, Seen
from navigation.reconstruction.setup import ImagingSetup
from navigation.simulate.chance import stream
from tracking.jsonfile import read_json
from tracking.sample import Readings

Array = NDArray[np.float64]

DEPTH_MM = 10.0
RASTER_S = 120.0
# How far beyond the outline lines go, in parts of its radius; the first is what the simulator's hand does.
WIDER = (1.0, 1.18, 1.35)
# The pose is renewed so often; a search takes as long, so that what is shown is of the readings before the last.
RENEWED_S = 0.5
WANTED = 0.6
RESAMPLES = 4000


class Assessor:
    """What a live scan tells of the bed, without its map."""

    def __init__(self, setup: ImagingSetup, geometry: Geometry) -> None:
        self._setup, self._geometry = setup, geometry
        self._search, self._log = Search(setup), ReadingLog()
        self._background = GrowingArray(np.zeros((0, geometry.background.modes.shape[1])))

    def add(self, readings: Readings) -> None:
        """Take more readings."""
        rows = self._geometry.background.rows(self._geometry.projector, readings)
        self._background.append(rows * self._setup.decay(readings.t_s)[:, None])
        self._log.append(readings)

    def look(self, aim: Aim) -> BedCoverage:
        """The coverage so far."""
        background = np.asarray(self._background.all, dtype=np.float64)
        found = self._search.look(Seen(self._geometry, self._log.all, background, False, aim)).coverage
        assert found is not None
        return found


@dataclass(frozen=True)
class Row:
    """One bed: the MDA that lines declared, and the seconds that the guided hand took."""

    shape: str
    seed: int
    lines: str  # "outline" | "best"
    mda_kbq: float
    guided_s: float
    raster_s: float
    reached: bool

    @property
    def ratio(self) -> float:
        """Guided over lines; of a hand that never got there, at least so much."""
        return self.guided_s / self.raster_s


def setup_of(bed: Bed, probes: Path) -> ImagingSetup:
    """What a case would know before the scan."""
    path = probe_file(NUCLIDE, bed.probe, probes)
    surface = bed.skin_mm
    if bed.body.cavity is not None:
        surface = surface_after(bed.skin_mm, bed.outline_mm)
        assert surface is not None
    above = bed.T_reference_body @ np.array([0.0, 0.0, 80.0, 1.0])
    return ImagingSetup.create(
        response_of(read_json(path), path), surface, NUCLIDE, tip_hint=expected_poses(surface, above[:3])
    )


def lines(bed: Bed, setup: ImagingSetup, seconds: float, wider: float, seed: int) -> float | None:
    """The MDA in kBq that so long a scan in lines declares; None where it declares none."""
    rng = stream(seed, bed.shape, f"lines {wider:g}")
    readings = Counter(bed, rng).read(0.0, raster(bed, seconds, wider, rng))
    assessor = Assessor(setup, build_geometry(setup, readings.head(50)))
    assessor.add(readings)
    told = assessor.look(Aim(Outline(bed.outline_mm, DEPTH_MM)))
    return reach_of(told.points_mm, told.mda_kbq, NEEDED_SHARE)


def declares(told: BedCoverage, mda_kbq: float) -> bool:
    """Whether the bed is covered to that MDA."""
    covered = told.mda_kbq <= mda_kbq
    return bool(covered.mean() >= NEEDED_SHARE) and widest_patch(told.points_mm, covered) <= WIDEST_PATCH_MM


def guided(bed: Bed, setup: ImagingSetup, mda_kbq: float, seed: int) -> tuple[float, bool]:
    """Seconds until the MDA is declared, and whether it was within LONGEST_S."""
    rng = stream(seed, bed.shape, "guided")
    counter, aim = Counter(bed, rng), Aim(Outline(bed.outline_mm, DEPTH_MM), mda_kbq)
    hand = Follower(bed, raster(bed, RASTER_S, 1.0, rng)[0], rng)
    assessor: Assessor | None = None
    steps, told = round(RENEWED_S / STEP_S), None
    early: list[Readings] = []
    for turn in range(round(LONGEST_S / RENEWED_S)):
        now_s = RENEWED_S * turn
        if told is not None and told.scan_next is not None:
            hand.show(now_s, told.scan_next.pose)
        if assessor is not None:
            told = assessor.look(aim)  # of the readings so far, shown at the next turn
            if declares(told, mda_kbq):
                return now_s, True
        fresh = counter.read(now_s, hand.go(steps))
        early.append(fresh)
        if assessor is None and now_s >= 1.0:
            known = Readings.joined(early)
            assessor = Assessor(setup, build_geometry(setup, known))
            assessor.add(known)
        elif assessor is not None:
            assessor.add(fresh)
    return LONGEST_S, False


def one_bed(shape: str, seed: int, seconds: float, probes: Path) -> list[Row]:
    """One bed scanned both ways, against both kinds of lines; none of those that declared nothing."""
    bed = bed_of(shape, seed, PROBES)
    setup = setup_of(bed, probes)
    declared = [lines(bed, setup, seconds, wider, seed) for wider in WIDER]
    best = min((d for d in declared if d is not None), default=None)
    rows = []
    for kind, mda in (("outline", declared[0]), ("best", best)):
        if mda is None:
            continue
        mda = float(np.nextafter(mda, np.inf))
        rows.append(Row(shape, seed, kind, mda, *_swapped(guided(bed, setup, mda, seed), seconds)))
    return rows


def _swapped(found: tuple[float, bool], seconds: float) -> tuple[float, float, bool]:
    return found[0], seconds, found[1]


def interval(ratios: Array, seed: int = 1) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    rng = np.random.default_rng(seed)
    means = rng.choice(ratios, (RESAMPLES, len(ratios))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def summary(rows: list[Row]) -> str:
    """Mean ratio with its interval, by lines and shape, and of all shapes."""
    out = []
    for kind in dict.fromkeys(r.lines for r in rows):
        for shape in (*dict.fromkeys(r.shape for r in rows), None):
            ratios = np.array([r.ratio for r in rows if r.lines == kind and shape in (None, r.shape)])
            if len(ratios) == 0:
                continue
            low, high = interval(ratios)
            out.append(
                f"{kind:8s} {shape or 'all':8s} {len(ratios):3d} beds"
                f"  ratio {ratios.mean():.2f} [{low:.2f}, {high:.2f}],"
                f" median {np.median(ratios):.2f}, <= {WANTED:g} in {float((ratios <= WANTED).mean()):.0%}"
            )
    return "\n".join(out)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--shape", nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--seconds", type=float, default=RASTER_S)
    asked = parser.parse_args()
    print(machine())
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(asked.first, asked.first + asked.seeds):
            for shape in asked.shape:
                found = one_bed(shape, seed, asked.seconds, Path(folder))
                rows += found
                for row in found:
                    short = "" if row.reached else "  NOT REACHED"
                    print(
                        f"{shape:8s} {seed:3d}  lines {row.lines:8s} {row.mda_kbq:6.2f} kBq in {row.raster_s:3.0f} s,"
                        f" guided {row.guided_s:5.1f} s, ratio {row.ratio:.2f}{short}",
                        flush=True,
                    )
    print(summary(rows) if rows else "nothing was measured")


if __name__ == "__main__":
    main()
