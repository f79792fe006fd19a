"""`gammanav calibrate pivot`: tip offset of a tracked tool from poses round a fixed point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calibration.gates import Gates, PivotGates
from calibration.records.record import TIP, replacing, stamped
from calibration.tip.expected import compared, read_expected, tool_of
from calibration.tip.pivot import SOLVERS, PivotCalibration, calibrate_pivot
from navigation.cli.numbers import Finite
from navigation.cli.plus_tip import check_plus, imported_tip, is_plus, put_tip
from navigation.cli.posesource import (
    PoseRequest,
    gates_for,
    pose_options,
    take_poses,
    told_of,
    with_max_rms,
)
from navigation.plots import plots_option, write_plots
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import write_json

# What a pivot calibration is of where nobody says.
DEFAULT_TOOL = "Stylus"


def refuse_existing(out: Path, force: bool) -> None:
    """InputError if the result file is there already and may not be replaced."""
    if out.is_dir():
        raise InputError(f"{out}: is a folder, a file name is needed")
    if out.exists() and not force:
        raise InputError(f"{out}: exists already; --force overwrites it")


def write_result(out: Path, content: dict[str, Any]) -> None:
    """Write a JSON result, its folder made if need be; a record names the one that it is written over."""
    out.parent.mkdir(parents=True, exist_ok=True)
    replaces = "previous" in content and content["previous"] is None
    write_json(out, replacing(content, out) if replaces else content)


@click.command(
    "pivot",
    epilog="Example: gammanav calibrate pivot poses.csv --out tip.json",
    short_help="Tip offset of a tracked tool.",
)
@click.argument("poses", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, tip.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@pose_options("Stylus")
@click.option(
    "--max-rms-mm",
    type=Finite(min=0.0, min_open=True),
    help=f"Largest accepted 3D RMS; default: the case's, else {PivotGates().max_rms_mm:g}.",
)
@click.option("--transform", help="Which transform of a PLUS sequence, such as StylusToTracker.")
@click.option(
    "--method",
    default="robust",
    show_default=True,
    type=click.Choice(sorted(SOLVERS)),
    help="robust: few poses far off are left out and counted; aos: equal weights for all.",
)
@click.option(
    "--expect",
    type=click.Path(path_type=Path),
    help="Earlier tip.json of the same tool: refused where the tip has moved or the tool is another.",
)
@click.option("--probe-serial", help="Serial number of the tool, kept in the result.")
@click.option("--operator", help="Who measured; another person approves.")
@click.option("--tool", help="The tool's name in a PLUS file; default: that of the poses, else Stylus.")
@click.option(
    "--plus",
    type=click.Path(path_type=Path),
    help="PLUS file to put an accepted tip into, with Error and Date.",
)
@plots_option
def command(
    poses: Path | None,
    out: Path,
    force: bool,
    live: str | None,
    device: str,
    seconds: float,
    case: Path | None,
    max_rms_mm: float | None,
    transform: str | None,
    method: str,
    expect: Path | None,
    probe_serial: str | None,
    operator: str | None,
    tool: str | None,
    plus: Path | None,
    plots: bool,
) -> None:
    """Tip offset of a tool that was turned about a fixed point.

    POSES (marker to tracker) is a folder of 4x4 text files, a CSV (t_s,m00..m33) or a PLUS sequence; a PLUS
    configuration (.xml) gives the tip it holds. With --live the poses are recorded now and kept beside the
    result. A calibration that fails a gate is written with "accepted": false; the exit code is then 3.
    """
    refuse_existing(out, force)
    gates = with_max_rms(gates_for(case, live), max_rms_mm)
    if plus is not None:
        check_plus(plus)
    if poses is not None and is_plus(poses):
        if plus is not None or live is not None:
            raise InputError(f"{poses}: a tip out of a PLUS file goes with neither --live nor --plus")
        _import(poses, out, tool or DEFAULT_TOOL, gates, operator)
        return
    request = PoseRequest(poses, live, device, seconds, transform, out, force)
    result, content = _calibrated(request, gates, method, expect, probe_serial, operator, plots)
    if not result.accepted:
        raise GateRefusedError(f"{out}: pivot calibration refused: {'; '.join(result.reasons)}")
    named = tool or (tool_of(content["transform"]) if "transform" in content else DEFAULT_TOOL)
    written = "" if plus is None else f"; {put_tip(plus, named, content, result.rms_mm)} in {plus}"
    click.echo(summary(result) + written)


def _calibrated(
    request: PoseRequest,
    gates: Gates,
    method: str,
    expect: Path | None,
    probe_serial: str | None,
    operator: str | None,
    plots: bool,
) -> tuple[PivotCalibration, dict[str, Any]]:
    """The calibration and what was written of it, with its pictures."""
    from navigation.plots.pivot import pivot_plots

    expected = None if expect is None else read_expected(expect, tool_of(request.device))
    pose_set = take_poses(request)
    result = calibrate_pivot(pose_set.matrices, gates.pivot, pose_set.skipped, method)
    more: dict[str, Any] = {} if probe_serial is None else {"probe_serial": probe_serial}
    if expected is not None:
        result, shift = compared(result, expected, pose_set.source, probe_serial)
        more |= shift
    content = told_of({**result.as_json(), **more}, pose_set, request)
    content = stamped(content, TIP, operator=operator, replaces=request.out)
    write_result(request.out, content)
    write_plots(lambda: pivot_plots(request.out, pose_set.matrices, content), plots)
    return result, content


def _import(file: Path, out: Path, tool: str, gates: Gates, operator: str | None) -> None:
    """The tip that a PLUS configuration holds, as a result."""
    content = imported_tip(file, tool, gates.pivot.max_rms_mm)
    write_result(out, stamped(content, TIP, operator=operator, replaces=out))
    if content["reasons"]:
        raise GateRefusedError(f"{out}: imported tip refused: {'; '.join(content['reasons'])}")
    tip = ", ".join(f"{v:.2f}" for v in content["tip_offset_mm"])
    click.echo(f"tip ({tip}) mm of {tool}, error {content['rms_mm']:.3f} mm, {content['date'] or 'no date'}")


def summary(result: PivotCalibration) -> str:
    """One line for the terminal."""
    tip = "none" if result.tip_offset_mm is None else ", ".join(f"{v:.2f}" for v in result.tip_offset_mm)
    far_off = f", {result.outliers} of {result.poses} poses far off left out" if result.outliers else ""
    figures = f"3D RMS {result.rms_mm:.3f} mm, tip SD {result.tip_sd_mm:.3f} mm"
    return f"tip ({tip}) mm, {figures}{far_off}: accepted"
