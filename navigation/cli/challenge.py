"""`gammanav challenge make|score`: a set of simulated scans for comparing methods, and the scores of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command(
    "make",
    epilog="Example: gammanav challenge make --cases 30 --seed 7 --out set",
    short_help="A set of simulated scans.",
)
@click.option("--cases", default=30, show_default=True, type=click.IntRange(1, 999))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31))
@click.option("--out", required=True, type=click.Path(path_type=Path))
def make_command(cases: int, seed: int, out: Path) -> None:
    """Write numbered scan folders, the bench calibration of their probe, and the truth apart."""
    from tqdm import tqdm

    from navigation.challenge.make import make_set

    with tqdm(total=cases, disable=not sys.stderr.isatty(), unit=" scans", leave=False) as bar:
        make_set(out, cases, seed, bar.update)
    click.echo(f"SIMULATION: {cases} scans in {out}")


@click.command(
    "score",
    epilog="Example: gammanav challenge score answers --set set --out scores",
    short_help="What a method's answers are worth.",
)
@click.argument("answers", type=click.Path(path_type=Path))
@click.option("--set", "folder", required=True, type=click.Path(path_type=Path), help="The set, with truth.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite existing scores.")
def score_command(answers: Path, folder: Path, out: Path, force: bool) -> None:
    """Compare ANSWERS, a folder for each case with spots.json, with the truth: scores.json and a table."""
    from dataclasses import asdict

    from navigation.challenge.score import score_set, summary
    from tracking.jsonfile import prepare_out, write_json

    with prepare_out(out, force, ("scores.json",)) as work:
        scores = score_set(answers, folder)
        figures = summary(scores)
        content = {"simulated": True, "summary": figures, "cases": [asdict(s) for s in scores]}
        write_json(work.path / "scores.json", content)
    click.echo("SIMULATION, not a measure of use in surgery")
    for name, found in figures.items():
        click.echo(line(name, found))


def line(name: str, found: dict[str, Any]) -> str:
    """One group of cases in a line."""
    error = found["error_mm"]
    told = "no place" if error is None else f"error {error['median']:.1f} mm (95 %: {error['p95']:.1f})"
    share = found["found"]
    hit = "nothing to find" if share is None else f"found {share['k']} of {share['n']}"
    false = f"{found['false_per_scan']:.2f} false a scan"
    wrong = found["absence_wrong"]
    beds = "" if wrong is None else f"; absence stated {wrong['n']} times, wrongly {wrong['k']}"
    return f"{name}: {found['answered']} of {found['cases']} answered; {hit}; {told}; {false}{beds}"
