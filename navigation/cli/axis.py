"""`gammanav calibrate axis`: the direction a tracked probe looks, from poses of a spin about its own axis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from calibration.records.record import AXIS, stamped
from calibration.tip.axis import AxisCalibration, calibrate_axis
from calibration.tip.expected import ExpectedTip, read_expected, tool_of
from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.plus_tip import check_plus, put_tip
from navigation.cli.posesource import PoseRequest, gates_for, pose_options, take_poses, told_of
from navigation.cli.recordoptions import record_options
from navigation.plots import plots_option, write_plots
from tracking.errors import GateRefusedError, InputError

PROBE = "Probe"


@click.command(
    "axis",
    epilog="Example: gammanav calibrate axis spin.csv --tip tip.json --out axis.json",
    short_help="Direction a tracked probe looks.",
)
@click.argument("poses", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, axis.json.")
@click.option("--tip", type=click.Path(path_type=Path), help="tip.json: tells which end is the face.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@pose_options("Probe")
@click.option("--transform", help="Which transform of a PLUS sequence, such as ProbeToTracker.")
@click.option(
    "--plus", type=click.Path(path_type=Path), help="PLUS file to put tip and axis into (needs --tip)."
)
@record_options
@plots_option
def command(
    poses: Path | None,
    out: Path,
    tip: Path | None,
    force: bool,
    live: str | None,
    device: str,
    seconds: float,
    case: Path | None,
    transform: str | None,
    plus: Path | None,
    operator: str | None,
    probe_serial: str | None,
    plots: bool,
) -> None:
    """Direction out of a probe's face, from a probe that was spun about its own axis.

    POSES (marker to tracker) is a folder of 4x4 text files, a CSV (t_s,m00..m33) or a PLUS sequence; with
    --live they are recorded now and kept beside the result. A spin alone does not tell which end is the face:
    give --tip, or spin with the tip in a divot and let the probe sway a little. A calibration that fails a gate
    is written with "accepted": false; the exit code is then 3.
    """
    from navigation.plots.axis import axis_plots

    refuse_existing(out, force)
    gates = gates_for(case, live)
    expected = None if tip is None else read_expected(tip, tool_of(device))
    if plus is not None:
        check_plus(plus)
        if expected is None:
            raise InputError("--plus needs --tip: PLUS keeps tip and axis as one matrix")
    request = PoseRequest(poses, live, device, seconds, transform, out, force)
    pose_set = take_poses(request)
    tip_mm = None if expected is None else expected.tip_mm
    result = calibrate_axis(pose_set.matrices, tip_mm, gates.axis, pose_set.skipped)
    result = _of_one_tool(result, expected, pose_set.source)
    content = told_of(result.as_json(), pose_set, request)
    content = stamped(content, AXIS, operator=operator, probe_serial=probe_serial, replaces=out)
    write_result(out, content)
    write_plots(lambda: axis_plots(out, pose_set.matrices, content), plots)
    if not result.accepted:
        raise GateRefusedError(f"{out}: axis calibration refused: {'; '.join(result.reasons)}")
    written = "" if plus is None or expected is None else _into_plus(plus, content, expected)
    click.echo(summary(result) + written)


def _of_one_tool(result: AxisCalibration, tip: ExpectedTip | None, transform: str | None) -> AxisCalibration:
    """The result, refused where the tip is of another tool than the poses; what neither says is no mismatch."""
    wrong = None if tip is None else tip.of_other_tool(transform)
    return result if wrong is None else replace(result, reasons=(*result.reasons, wrong))


def _into_plus(plus: Path, content: dict[str, Any], tip: ExpectedTip) -> str:
    """Put the tip with its axis into the file; says what is where."""
    tool = tool_of(content.get("transform") or tip.transform or PROBE)
    known = {"tip_offset_mm": tip.tip_mm.tolist(), "axis": content["axis"]}
    return f"; {put_tip(plus, tool, known, tip.error_mm)} in {plus}"


def summary(result: AxisCalibration) -> str:
    """One line for the terminal."""
    axis = "none" if result.axis is None else ", ".join(f"{v:.4f}" for v in result.axis)
    figures = f"SD {result.axis_sd_deg:.2f} deg, spun through {result.spin_deg:.0f} deg"
    return f"axis ({axis}), {figures}, face known from the {result.sign_from}: accepted"
