"""Redraw study of the foci: many scans of a scene, each in another body, frame, hand and draw, and what was found.

Errors, depth and sides apart, share found, false foci, coverage of the 95 % regions and intervals, and the predicted
standard deviation over the Cramer-Rao bound of the same scan. A study that was cut off goes on where it stopped.

Run: python -m benchmarks.redraws [--scans N] [--scene NAME ...] [--seed S] [--out FOLDER] [--report]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.machine import machine
from benchmarks.redrawprobes import probe_file
from benchmarks.redrawscan import draw
from benchmarks.redrawscenes import SCENES, patient_of
from navigation.offline import ScanOptions, reconstruct_scan
from navigation.volume import Spot

Array = NDArray[np.float64]

# A focus this near a true one is it; 95 % quantile of chi2 with three degrees of freedom.
MATCH_MM, CHI2_95 = 12.0, 7.815
# A focus farther than that from everything, and a lesion without one within this: it strayed, and its region missed.
STRAY_MM = 30.0
STATED = ("ok", "limited")


def one_scan(name: str, seed: int, probes: Path) -> dict[str, Any]:
    """What is true of one scan, what is allowed, and what was found."""
    scene = SCENES[name]
    patient, instruments = patient_of(scene, name, seed)
    probe = probe_file(instruments.nuclide, instruments.probe, probes)
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(patient, instruments, scene.duration_s, seed, Path(folder) / "scan")
        start = time.process_time()
        result = reconstruct_scan(Path(folder) / "scan", probe, ScanOptions()).result
    T = drawn.T_reference_body
    up = T[:3, 2]
    truths = [
        {
            "place": (T[:3, :3] @ s.centre + T[:3, 3]).tolist(),
            "kbq": s.activity_kbq,
            "radius": float(np.linalg.norm(s.points - s.centre, axis=1).max()),
            "lesion": i < len(patient.lesions),
        }
        for i, s in enumerate(patient.sources)
    ]
    rotation = np.eye(4)
    rotation[:3, :3] = T[:3, :3]
    return {
        "scene": name,
        "seed": seed,
        "up": up.tolist(),
        "truth": truths,
        "bound": [(rotation @ b @ rotation.T).tolist() for b in drawn.bound],
        "spots": [_told(s) for s in result.spots],
        "reasons": list(result.reasons),
        "cpu_s": time.process_time() - start,
    }


def _told(spot: Spot) -> dict[str, Any]:
    return {
        "place": spot.position_mm.tolist(),
        "covariance": spot.covariance_mm2.tolist(),
        "kbq": spot.activity_kbq,
        "ci": list(spot.activity_ci95_kbq),
        "significance": spot.significance,
        "extent": spot.extent_mm,
        "quality": spot.quality,
        "reasons": list(spot.reasons),
    }


def judged(scan: dict[str, Any]) -> dict[str, Any]:
    """Errors of the found lesions and the number of foci where nothing is, or where something has one already."""
    stated = [s for s in scan["spots"] if s["quality"] in STATED]
    truths, found, false, strayed = scan["truth"], [], len(stated), 0
    if stated and truths:
        offset = np.array([t["place"] for t in truths])[:, None] - np.array([s["place"] for s in stated])
        reach = np.array(
            [max(MATCH_MM, t["radius"] + MATCH_MM / 2 if not t["lesion"] else 0) for t in truths]
        )
        distance = np.linalg.norm(offset, axis=-1)
        cost = np.where(distance <= reach[:, None], distance / reach[:, None], 1e3)
        pairs = [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] <= 1.0]
        strayed = _strayed(distance, pairs, truths)
        for i, j in pairs:
            false -= 1
            if truths[i]["lesion"]:
                lesion = sum(t["lesion"] for t in truths[:i])
                found.append(_errors(scan, truths[i], stated[j], np.array(scan["bound"][lesion])))
    lesions = sum(t["lesion"] for t in truths)
    return {"found": found, "false": false, "lesions": lesions, "strayed": strayed}


def _strayed(distance: Array, pairs: list[tuple[int, int]], truths: list[dict[str, Any]]) -> int:
    """Foci that belong to nothing and lie near a lesion that has none."""
    missed = [i for i, t in enumerate(truths) if t["lesion"] and i not in {i for i, _ in pairs}]
    spare = [j for j in range(distance.shape[1]) if j not in {j for _, j in pairs}]
    near = distance[np.ix_(missed, spare)] <= STRAY_MM
    return min(int(near.any(axis=0).sum()), int(near.any(axis=1).sum())) if near.size else 0


def _errors(
    scan: dict[str, Any], truth: dict[str, Any], spot: dict[str, Any], bound: Array
) -> dict[str, Any]:
    offset, covariance = np.array(spot["place"]) - np.array(truth["place"]), np.array(spot["covariance"])
    deep = float(offset @ np.array(scan["up"]))
    return {
        "error": float(np.linalg.norm(offset)),
        "depth": deep,
        "side": float(np.sqrt(max(offset @ offset - deep**2, 0.0))),
        "chi2": float(offset @ np.linalg.solve(covariance, offset)),
        "ratio": float(np.sqrt(np.trace(covariance) / np.trace(bound[:3, :3]))),
        "floor": float(np.sqrt(np.trace(bound[:3, :3]))),
        "kbq_ratio": spot["kbq"] / truth["kbq"],
        "inside": bool(spot["ci"][0] <= truth["kbq"] <= spot["ci"][1]),
        "quality": spot["quality"],
    }


HEAD = (
    "scene        scans  found  false  median   RMS depth(bias,RMS) side   CRB  regions ratio  kBq inside"
    "  within  ok  CPU"
)


def line(name: str, scans: list[dict[str, Any]]) -> str:
    """One row of the table."""
    results = [judged(s) for s in scans]
    found = [f for r in results for f in r["found"]]
    lesions = sum(r["lesions"] for r in results)
    false = sum(r["false"] for r in results) / max(len(results), 1)
    cpu = float(np.median([s["cpu_s"] for s in scans])) if scans else 0.0
    both = np.mean([len(r["found"]) == r["lesions"] for r in results]) if results else 0.0
    head = f"{name:12s} {len(results):5d}  {both:5.0%}  {false:5.2f}"
    if not found or not lesions:
        return f"{head}  {'':81s} {cpu:4.0f}"
    column = {key: np.array([f[key] for f in found]) for key in found[0] if key != "quality"}
    limit, strayed = SCENES[name].error_mm, sum(r["strayed"] for r in results)
    covered = float(np.sum(column["chi2"] <= CHI2_95))
    asked = "" if limit is None else f"/{limit:.1f}"
    return (
        f"{head}  {np.median(column['error']):4.2f}{asked:4s} {np.sqrt(np.mean(column['error'] ** 2)):5.2f}"
        f"  {column['depth'].mean():+5.2f} {np.sqrt(np.mean(column['depth'] ** 2)):5.2f}"
        f"   {np.sqrt(np.mean(column['side'] ** 2)):5.2f} {np.sqrt(np.mean(column['floor'] ** 2)):5.2f}"
        f"   {covered / (len(found) + strayed):5.2f}   {np.median(column['ratio']):4.2f}"
        f"  {np.median(column['kbq_ratio']):4.2f}  {np.mean(column['inside']):4.2f}"
        f"   {np.mean(np.abs(column['kbq_ratio'] - 1) <= 0.15):4.0%}"
        f"  {np.mean([f['quality'] == 'ok' for f in found]):4.0%} {cpu:3.0f}"
    )


def load(path: Path) -> list[dict[str, Any]]:
    """The scans of a file, none where there is none; a line cut off in writing is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(text) for text in lines]


def study(name: str, seeds: range, out: Path) -> list[dict[str, Any]]:
    """The scans of a scene that are there, and those of `seeds` that are not yet."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.jsonl"
    scans = load(path)
    path.write_text("".join(f"{json.dumps(s)}\n" for s in scans), encoding="utf-8")
    done = {s["seed"] for s in scans}
    for seed in (s for s in seeds if s not in done):
        scans.append(one_scan(name, seed, out.parent / "redraw-probes"))
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(scans[-1]) + "\n")
    return [s for s in scans if s["seed"] in seeds]


def main() -> None:
    """Run what is missing and print a row for each scene."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=int, default=20)
    parser.add_argument("--scene", action="append", choices=list(SCENES))
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("build/redraws"))
    parser.add_argument("--report", action="store_true", help="only what is there already")
    wanted = parser.parse_args()
    print(machine())
    print(HEAD)
    for name in wanted.scene or SCENES:
        seeds = range(wanted.seed, wanted.seed + wanted.scans)
        path = wanted.out / f"{name}.jsonl"
        scans = load(path) if wanted.report else study(name, seeds, wanted.out)
        print(line(name, scans), flush=True)


if __name__ == "__main__":
    main()
