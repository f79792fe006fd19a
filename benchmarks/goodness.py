"""How often the goodness of fit flags a sound scan, and how often one whose model is broken in a known way.

Each scan is one of the simulator's physics: another body, frame, hand and draw for each seed, reconstructed whole. A
study that was cut off goes on where it stopped.

Run: python -m benchmarks.goodness [--scans N] [--sound N] [--kind NAME ...] [--out FOLDER] [--report]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.brokenscan import CONTENTS, Break, scan_of
from benchmarks.machine import machine
from navigation.reconstruction import reconstruct
from navigation.simulate.chance import stream
from navigation.simulate.motion import Motion

Z95 = 1.96


def _moved(seed: int, low_mm: float, high_mm: float) -> Break:
    rng = stream(seed, "moved")
    turn, mm = rng.uniform(0, 2 * np.pi), rng.uniform(low_mm, high_mm)
    way = (float(mm * np.cos(turn)), float(mm * np.sin(turn)), 0.0)
    return Break(motion=Motion(moved_mm=way, moved_at_s=rng.uniform(24.0, 36.0)))


def _breathing(seed: int, mm: float) -> Break:
    rng = stream(seed, "breathing")
    turn = rng.uniform(0, 2 * np.pi)
    axis = (float(np.cos(turn)), float(np.sin(turn)), 0.0)
    return Break(motion=Motion(mm, rng.uniform(3.0, 6.0), axis, rng.uniform(0, 2 * np.pi)))


# What is wrong, by seed. A uniform error of the scale is there to show that no scan can show it.
KINDS: dict[str, Callable[[int], Break]] = {
    "sound": lambda seed: Break(),
    "rough 1.5": lambda seed: Break(rough=1.5),
    "latency 300 ms": lambda seed: Break(late_s=0.3 if seed % 2 else -0.3),
    "latency 150 ms": lambda seed: Break(late_s=0.15 if seed % 2 else -0.15),
    "moved 15-20 mm": lambda seed: _moved(seed, 15.0, 20.0),
    "moved 8-10 mm": lambda seed: _moved(seed, 8.0, 10.0),
    "other probe": lambda seed: Break(other_probe=True),
    "nuclide 111In": lambda seed: Break(nuclide="In-111"),
    "surface 20 deg": lambda seed: Break(surface_deg=20.0),
    "surface 15 mm": lambda seed: Break(surface_mm=(0.0, 0.0, 15.0 if seed % 2 else -15.0)),
    "breathing 10 mm": lambda seed: _breathing(seed, 10.0),
    "breathing 5 mm": lambda seed: _breathing(seed, 5.0),
    "scale +30 %": lambda seed: Break(scale=1.3),
}


def one_scan(kind: str, content: str, seed: int) -> dict[str, Any]:
    """What the reconstruction says of one scan."""
    start = time.process_time()
    scan = scan_of(content, seed, KINDS[kind](seed))
    result = reconstruct(scan.setup, scan.readings).result
    assert result.goodness is not None
    return {
        "content": content,
        "seed": seed,
        "p": result.goodness.p,
        "flagged": result.goodness.flagged,
        "reasons": list(result.goodness.reasons),
        "qualities": [s.quality for s in result.spots],
        "reaches": [s.sd_mm for s in result.spots],
        "cpu_s": time.process_time() - start,
    }


def load(path: Path) -> list[dict[str, Any]]:
    """The scans of a file, none where there is none; a line cut off in writing is left out."""
    if not path.is_file():
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").split("\n")[:-1]]


def study(kind: str, scans: int, out: Path) -> list[dict[str, Any]]:
    """The first scans of a kind: those that are there, and those that are not yet."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{kind.replace(' ', '-')}.jsonl"
    done = load(path)
    path.write_text("".join(f"{json.dumps(s)}\n" for s in done), encoding="utf-8")
    have = {(s["content"], s["seed"]) for s in done}
    contents = list(CONTENTS)
    wanted = [(contents[i % len(contents)], 100 + i // len(contents)) for i in range(scans)]
    for content, seed in (w for w in wanted if w not in have):
        done.append({**one_scan(kind, content, seed)})
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
    return [s for s in done if (s["content"], s["seed"]) in wanted]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, DOI 10.1080/01621459.1927.10502953)."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = hits / n, Z95**2
    middle, half = p + z2 / (2 * n), Z95 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return float((middle - half) / (1 + z2 / n)), float((middle + half) / (1 + z2 / n))


def line(kind: str, scans: list[dict[str, Any]]) -> str:
    """One row of the table: flagged of all with its interval, of each content, foci left `ok`, the commonest words."""
    flagged = sum(s["flagged"] for s in scans)
    low, high = wilson(flagged, len(scans))
    each = []
    for content in CONTENTS:
        mine = [s["flagged"] for s in scans if s["content"] == content]
        each.append(f"{sum(mine):3d}/{len(mine):<3d}")
    fine = sum("ok" in s["qualities"] for s in scans)
    words = Counter(s["reasons"][0].split(":")[0][:44] for s in scans if s["reasons"]).most_common(1)
    share = flagged / max(len(scans), 1)
    told = f"{words[0][1]} x {words[0][0]}" if words else ""
    return (
        f"{kind:16s} {flagged:4d}/{len(scans):<4d} {share:6.1%} ({low:.1%} to {high:.1%})  "
        + " ".join(each)
        + f"  {fine:4d}  {told}"
    )


def main() -> None:
    """Run what is missing and print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=int, default=40, help="of each broken kind")
    parser.add_argument("--sound", type=int, default=200)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path("build/goodness-study"))
    parser.add_argument("--report", action="store_true", help="only what is there already")
    wanted = parser.parse_args()
    print(machine())
    print(
        f"{'what is wrong':16s} {'flagged of all':30s}  {' '.join(f'{c:7s}' for c in CONTENTS)}  with ok focus"
    )
    for kind in wanted.kind or KINDS:
        number = wanted.sound if kind == "sound" else wanted.scans
        path = wanted.out / f"{kind.replace(' ', '-')}.jsonl"
        scans = load(path) if wanted.report else study(kind, number, wanted.out)
        print(line(kind, scans), flush=True)


if __name__ == "__main__":
    main()
