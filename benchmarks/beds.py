"""Does a bed check keep its word: thousands of simulated beds per condition, in shards that a stopped run goes on with.

A shard is one file of JSON lines: some beds of one condition on one ground (a bed, a hand, a probe). Shards are shared
out by Dask, to processes of this machine or to the scheduler at an address; what is there already is not done again.

Run: python -m benchmarks.beds [--beds N] [--condition NAME ...] [--workers W] [--scheduler tcp://...] [--report]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bedscans import CONDITIONS, beds
from benchmarks.bedtable import plot, rows
from benchmarks.machine import machine

Record = dict[str, Any]

# Beds of a condition on one ground: its rows take some seconds, as many beds as this some seconds more.
SHARD_BEDS = 10
# So many grounds before one serves a second time.
GROUNDS = 300
# Few conditions share a ground's rows; so they go to one worker together.
ORDER = tuple(CONDITIONS)


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: which condition, on which ground, which run of beds."""

    condition: str
    ground: int
    number: int
    beds: int = SHARD_BEDS

    @property
    def name(self) -> str:
        """Of the file."""
        words = self.condition.replace(", ", "-").replace(" ", "-").replace(".", "_")
        return f"{words}-{self.ground:03d}-{self.number:03d}-{self.beds:02d}.jsonl"


def shards(wanted: int, conditions: tuple[str, ...] = ORDER, grounds: int = GROUNDS) -> list[Shard]:
    """Every shard of so many beds of each condition, ground by ground; more beds only add shards."""
    number = -(-wanted // SHARD_BEDS)
    each = sorted(range(number), key=lambda i: (i % grounds, i // grounds))
    return [Shard(c, i % grounds, i // grounds) for i in each for c in conditions]


def made(shard: Shard) -> tuple[Shard, str]:
    """The text of one shard: a line for each bed."""
    found = beds(shard.condition, shard.ground, shard.number, shard.beds)
    return shard, "".join(json.dumps(record) + "\n" for record in found)


def inline(missing: list[list[Shard]]) -> Iterator[list[tuple[Shard, str]]]:
    """One after the other in this process."""
    for some in missing:
        yield from ([made(shard)] for shard in some)


def of_ground(some: list[Shard]) -> list[tuple[Shard, str]]:
    """Shards that rest on the same rows."""
    return [made(shard) for shard in some]


def groups(missing: list[Shard]) -> list[list[Shard]]:
    """Missing shards by ground and kind of bed, in order."""
    found: dict[tuple[int, int, str], list[Shard]] = {}
    for shard in missing:
        key = (shard.ground, shard.number, CONDITIONS[shard.condition].kind)
        found.setdefault(key, []).append(shard)
    return list(found.values())


def run(wanted: list[Shard], out: Path, workers: int, scheduler: str | None = None) -> None:
    """Make the shards that are missing in `out`; each appears whole or not at all. Without workers, in this process."""
    out.mkdir(parents=True, exist_ok=True)
    missing = groups([s for s in wanted if not (out / s.name).exists()])
    start, done = time.monotonic(), 0
    for finished in _each(missing, workers, scheduler):
        for shard, text in finished:
            part = out / (shard.name + ".part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, out / shard.name)
            done += shard.beds
        print(f"{done} beds in {time.monotonic() - start:.0f} s: {finished[-1][0].name}", flush=True)


def _each(
    missing: list[list[Shard]], workers: int, scheduler: str | None
) -> Iterator[list[tuple[Shard, str]]]:
    if not missing:
        return
    if scheduler is None and workers == 0:
        yield from inline(missing)
        return
    from dask.distributed import Client, LocalCluster, as_completed

    cluster = scheduler or LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with Client(cluster) as client:
        for future in as_completed(client.map(of_ground, missing, pure=False)):
            yield future.result()
            future.release()
    if not isinstance(cluster, str):
        cluster.close()


def records(out: Path) -> dict[str, list[Record]]:
    """All beds in the folder by condition; of shards of the usual size."""
    told: dict[str, list[Record]] = {}
    for condition in ORDER:
        stem = Shard(condition, 0, 0).name.removesuffix("-000-000-10.jsonl")
        lines = [
            line
            for path in sorted(out.glob(f"{stem}-[0-9]*-[0-9]*-{SHARD_BEDS:02d}.jsonl"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        told[condition] = [json.loads(line) for line in lines]
    return told


def report(out: Path) -> None:
    """The table of all shards in the folder, and its picture."""
    told = records(out)
    print(machine())
    for what, found, wanted in rows(told):
        print(f"{what:62s} {found}{f'  (wanted {wanted})' if wanted else ''}")
    plot(told, out / "beds.png")


def main() -> None:
    """The study, then its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--beds", type=int, default=3000, help="of each condition")
    parser.add_argument("--condition", action="append", choices=ORDER, help="all by default")
    parser.add_argument("--grounds", type=int, default=GROUNDS, help="on so many, before one serves again")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="0: in this process")
    parser.add_argument("--scheduler", help="of a Dask cluster, tcp://host:port")
    parser.add_argument("--out", type=Path, default=Path("build/beds"))
    parser.add_argument("--report", action="store_true", help="only the table of what is there")
    options = parser.parse_args()
    if not options.report:
        wanted = shards(options.beds, tuple(options.condition or ORDER), options.grounds)
        run(wanted, options.out, options.workers, options.scheduler)
    report(options.out)


if __name__ == "__main__":
    main()
