"""`gammanav calibrate axis`: the direction a tracked probe looks, from poses of a spin about its own axis."""

from __future__ import annotations

from pathlib import Path

import click

from calibration.axis import AxisCalibration, calibrate_axis
from calibration.posefile import read_poses
from navigation.cli.pivot import refuse_existing, write_result
from navigation.plots import plots_option, write_plots
from tracking.errors import GateRefusedError, InputError
from tracking.tip import read_tip


@click.command(
    "axis",
    epilog="Example: gammanav calibrate axis spin.csv --tip tip.json --out axis.json",
    short_help="Direction a tracked probe looks.",
)
@click.argument("poses", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, axis.json.")
@click.option("--tip", type=click.Path(path_type=Path), help="tip.json: tells which end is the face.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@click.option("--transform", help="Which transform of a PLUS sequence, such as ProbeToTracker.")
@plots_option
def command(
    poses: Path, out: Path, tip: Path | None, force: bool, transform: str | None, plots: bool
) -> None:
    """Direction out of a probe's face, from a probe that was spun about its own axis.

    POSES (marker to tracker) is a folder of 4x4 text files, a CSV (t_s,m00..m33) or a PLUS sequence. A
    spin alone does not tell which end is the face: give --tip, or spin with the tip in a divot and let the
    probe sway a little. A calibration that fails a gate is written with "accepted": false; the exit code is
    then 3.
    """
    import numpy as np

    from navigation.plots.axis import axis_plots

    refuse_existing(out, force)
    tip_mm = None
    if tip is not None:
        known = read_tip([tip])
        if "T_probe_probetip" in known:
            tip_mm = np.asarray(known["T_probe_probetip"], dtype=np.float64)[:3, 3]
        elif "tip_offset_mm" in known:
            tip_mm = np.asarray(known["tip_offset_mm"], dtype=np.float64)
        else:
            raise InputError(f"{tip}: has neither tip_offset_mm nor T_probe_probetip")
    pose_set = read_poses(poses, transform)
    result = calibrate_axis(pose_set.matrices, tip_mm, skipped=pose_set.skipped)
    content = result.as_json()
    if pose_set.source is not None:
        content["transform"] = pose_set.source
    write_result(out, content)
    write_plots(lambda: axis_plots(out, pose_set.matrices, content), plots)
    if not result.accepted:
        raise GateRefusedError(f"{out}: axis calibration refused: {'; '.join(result.reasons)}")
    click.echo(summary(result))


def summary(result: AxisCalibration) -> str:
    """One line for the terminal."""
    axis = "none" if result.axis is None else ", ".join(f"{v:.4f}" for v in result.axis)
    figures = f"SD {result.axis_sd_deg:.2f} deg, spun through {result.spin_deg:.0f} deg"
    return f"axis ({axis}), {figures}, face known from the {result.sign_from}: accepted"
