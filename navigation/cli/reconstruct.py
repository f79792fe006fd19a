"""`gammanav reconstruct`: map and foci of one scan, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from navigation.offline import ScanOptions
from navigation.volume import ScanResult

RESULT_FILES = ("spots.json", "activity.nrrd", "relative_sd.nrrd", "mda.nrrd", "upper_limit.nrrd")


def scan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command over a scan shares."""
    file = click.Path(exists=True, path_type=Path)
    for option in reversed(
        (
            click.option("--probe", required=True, type=file, help="Detector calibration, probe.json."),
            click.option("--surface", type=file, help="Touched or scanned surface: .csv, .ply, .stl."),
            click.option(
                "--tip", "tips", multiple=True, type=file, help="tip.json and/or axis.json of the probe."
            ),
            click.option("--latency", type=file, help="Count latency, latency.json."),
            click.option("--registration", type=file, help="Registration of the study, reg.json."),
            click.option(
                "--case-data",
                type=file,
                help="What was injected (TOML or JSON): activities in percent of it.",
            ),
            click.option("--sheath", type=file, help="What the sterile sheath lets through, sheath.json."),
            click.option(
                "--crosstalk",
                type=file,
                help="Spill of a second nuclide, crosstalk.json; SCAN then holds counts_other.csv.",
            ),
            click.option("--out", required=True, type=click.Path(path_type=Path), help="Result folder."),
            click.option("--force", is_flag=True, help="Overwrite an existing result."),
        )
    ):
        command = option(command)
    return command


@click.command(
    "reconstruct",
    epilog="Example: gammanav reconstruct scan-1 --probe probe.json --out result",
    short_help="Map and foci of one scan, offline.",
)
@click.argument("scan", type=click.Path(path_type=Path))
@scan_options
@click.option(
    "--ct",
    type=click.Path(path_type=Path),
    help="Study with a CT (needs --registration); its SPECT or PET tells where hot organs are.",
)
def command(
    scan: Path,
    probe: Path,
    surface: Path | None,
    tips: tuple[Path, ...],
    latency: Path | None,
    registration: Path | None,
    case_data: Path | None,
    sheath: Path | None,
    crosstalk: Path | None,
    out: Path,
    force: bool,
    ct: Path | None,
) -> None:
    """Activity map, its uncertainty, and the foci of activity of one SCAN (a folder or a record)."""
    from navigation.offline import reconstruct_scan
    from navigation.results import write_scan_result
    from tracking.jsonfile import prepare_out

    with prepare_out(out, force, RESULT_FILES) as folder:
        state = reconstruct_scan(
            scan, probe, ScanOptions(surface, tips, latency, registration, ct, case_data, sheath, crosstalk)
        )
        write_scan_result(state.result, folder.path)
    for line in summary(state.result):
        click.echo(line)


def summary(result: ScanResult) -> list[str]:
    """What was found, for the terminal."""
    found = [s for s in result.spots if s.quality != "unusable"]
    lines = ["SIMULATION"] if result.simulated else []
    lines.append(
        f"{len(found)} foci of activity in {result.samples_placed} of {result.samples_total} readings"
    )
    if result.records:
        lines[-1] += f", calibration {result.records[0].words}"
    for s in found:
        x, y, z = s.position_mm
        low, high = s.activity_ci95_kbq
        share = (
            "" if result.given is None else f", {result.given.percent(s.activity_kbq):.2g} % of the injected"
        )
        lines.append(
            f"  {s.id}: ({x:.1f}, {y:.1f}, {z:.1f}) mm +- {s.sd_mm:.1f} mm, {s.activity_kbq:.1f} kBq"
            f" ({low:.1f} to {high:.1f}){share}, significance {s.significance:.1f}, {s.quality}"
        )
    return lines + [f"  beware: {reason}" for reason in result.reasons]
