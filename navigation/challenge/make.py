"""Writes a set of simulated scans in the neutral scan format, so that methods can be compared on the same data.

Cases are shuffled and numbered: neither their names nor what lies beside them tells the scene. One probe for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from navigation.simulate.folder import REFERENCE_UTC_S, simulate_scan_folder
from navigation.simulate.scenes import build_scene
from navigation.simulate.setup import write_setup
from navigation.simulate.truth import truth_of
from tracking.jsonfile import prepare_out, write_json, write_text

SCENES = ("occult", "node", "bed")
PHASES = ("scan-1", "scan-2")
# Format of the set; a scorer refuses what it does not know.
VERSION = 1
LICENCE = """\
These scans are simulated: no patient, no measurement. They are offered under the Creative Commons Attribution 4.0
International licence (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/. Attribution: "gammanav challenge set",
with the numbers of cases and seed that challenge.json tells.
"""
README = """\
# Freehand SPECT: a set of simulated scans

`cases/case-NNN/` are scan folders: `scan.json`, `poses.csv` (tip to Reference, 4x4 row-major, mm; NaN: not visible),
`counts.csv` (end of the counting window in s, counts, window in s), `surface.csv` (touched points, mm), and after a
resection `bed.json`. `setup/` is the bench calibration of the one probe that made them all. `truth/` is for the scorer.

Answer with one folder for each case that holds `spots.json`:

    {"spots": [{"position_mm": [x, y, z], "covariance_mm2": [[..]], "activity_kbq": a,
                "activity_ci95_kbq": [lo, hi], "quality": "ok"}]}

Only `position_mm` is needed; what is left out is not scored. Of `bed_check.json`, where given, `finding` and
`threshold_kbq` are scored. Then: `gammanav challenge score ANSWERS --set THIS_FOLDER --out scores`.

A simulation is kinder than a patient: what is measured here is a method on these scans, not its use in surgery.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One scan of the set."""

    name: str
    scene: str
    seed: int
    phase: str


def cases_of(number: int, seed: int) -> tuple[Case, ...]:
    """`number` cases, all scenes and phases in turn, in an order that tells nothing."""
    rng = np.random.default_rng([seed, number])
    kinds = [(scene, phase) for scene in SCENES for phase in PHASES]
    seeds = rng.choice(1_000_000, size=number, replace=False) + 1000
    order = rng.permutation(number)
    return tuple(_case(place + 1, kinds[int(n) % len(kinds)], int(seeds[n])) for place, n in enumerate(order))


def _case(number: int, kind: tuple[str, str], seed: int) -> Case:
    return Case(f"case-{number:03d}", kind[0], seed, kind[1])


def make_set(out: Path, number: int, seed: int, done: Callable[[], object] = lambda: None) -> None:
    """Write the set to `out`, whole or not at all. Raises InputError for an existing folder, OSError."""
    with prepare_out(out, False) as folder:
        write_setup(build_scene(SCENES[0], seed, seed), folder.path / "setup", REFERENCE_UTC_S, study=False)
        for case in cases_of(number, seed):
            place = folder.path / "cases" / case.name
            scene = simulate_scan_folder(case.scene, case.seed, place, case.phase, probe_seed=seed)
            found = truth_of(scene, REFERENCE_UTC_S)[case.phase]
            content = {
                "case": case.name,
                "scene": case.scene,
                "phase": case.phase,
                "seed": case.seed,
                **found,
            }
            (folder.path / "truth").mkdir(exist_ok=True)
            write_json(folder.path / "truth" / f"{case.name}.json", content)
            done()
        about = {"version": VERSION, "cases": number, "seed": seed, "simulated": True, "licence": "CC-BY-4.0"}
        write_json(folder.path / "challenge.json", about)
        write_text(folder.path / "README.md", README)
        write_text(folder.path / "LICENSE", LICENCE)
