"""`gammanav calibrate pivot`: tip offset of a tracked tool from poses round a fixed point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calibration.gates import PivotGates
from calibration.pivot import SOLVERS, PivotCalibration, calibrate_pivot
from calibration.posefile import read_poses
from navigation.plots import plots_option, write_plots
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import write_json


def refuse_existing(out: Path, force: bool) -> None:
    """InputError if the result file is there already and may not be replaced."""
    if out.is_dir():
        raise InputError(f"{out}: is a folder, a file name is needed")
    if out.exists() and not force:
        raise InputError(f"{out}: exists already; --force overwrites it")


def write_result(out: Path, content: dict[str, Any]) -> None:
    """Write a JSON result, its folder made if need be."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, content)


@click.command(
    "pivot",
    epilog="Example: gammanav calibrate pivot poses.csv --out tip.json",
    short_help="Tip offset of a tracked tool.",
)
@click.argument("poses", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, tip.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@click.option(
    "--max-rms-mm",
    default=PivotGates().max_rms_mm,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Largest accepted 3D RMS.",
)
@click.option("--transform", help="Which transform of a PLUS sequence, such as StylusToTracker.")
@click.option(
    "--method",
    default="robust",
    show_default=True,
    type=click.Choice(sorted(SOLVERS)),
    help="robust: few poses far off are left out and counted; aos: equal weights for all.",
)
@plots_option
def command(
    poses: Path,
    out: Path,
    force: bool,
    max_rms_mm: float,
    transform: str | None,
    method: str,
    plots: bool,
) -> None:
    """Tip offset of a tool that was turned about a fixed point.

    POSES (marker to tracker) is a folder of 4x4 text files, a CSV (t_s,m00..m33) or a PLUS sequence.
    A calibration that fails a gate is written with "accepted": false; the exit code is then 3.
    """
    from navigation.plots.pivot import pivot_plots

    refuse_existing(out, force)
    pose_set = read_poses(poses, transform)
    result = calibrate_pivot(pose_set.matrices, PivotGates(max_rms_mm=max_rms_mm), pose_set.skipped, method)
    content = result.as_json()
    if pose_set.source is not None:
        content["transform"] = pose_set.source
    write_result(out, content)
    write_plots(lambda: pivot_plots(out, pose_set.matrices, content), plots)
    if not result.accepted:
        raise GateRefusedError(f"{out}: pivot calibration refused: {'; '.join(result.reasons)}")
    click.echo(summary(result))


def summary(result: PivotCalibration) -> str:
    """One line for the terminal."""
    tip = "none" if result.tip_offset_mm is None else ", ".join(f"{v:.2f}" for v in result.tip_offset_mm)
    far_off = f", {result.outliers} of {result.poses} poses far off left out" if result.outliers else ""
    figures = f"3D RMS {result.rms_mm:.3f} mm, tip SD {result.tip_sd_mm:.3f} mm"
    return f"tip ({tip}) mm, {figures}{far_off}: accepted"
