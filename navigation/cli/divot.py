"""`gammanav calibrate divot`: is the tip still where its calibration says, checked in a divot."""

from __future__ import annotations

from pathlib import Path

import click

from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.posesource import PoseRequest, gates_for, pose_options, take_poses, told_of
from tracking.errors import GateRefusedError, InputError


@click.command(
    "divot",
    epilog="Example: gammanav calibrate divot poses.csv --tip tip.json --out divot.json",
    short_help="Is the tip where its calibration says?",
)
@click.argument("poses", required=False, type=click.Path(path_type=Path))
@click.option(
    "--tip", required=True, type=click.Path(path_type=Path), help="tip.json of the tool, or a PLUS file."
)
@click.option("--point", help="Place X,Y,Z of the divot in the frame of the poses, mm, where it is known.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, divot.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@pose_options("Probe")
@click.option("--transform", help="Which transform of a PLUS sequence, such as ProbeToTracker.")
def command(
    poses: Path | None,
    tip: Path,
    point: str | None,
    out: Path,
    force: bool,
    live: str | None,
    device: str,
    seconds: float,
    case: Path | None,
    transform: str | None,
) -> None:
    """Check a tip: the tool rests in a divot and is tilted to all sides by some 20 degrees.

    POSES as of `calibrate pivot`, or --live. A bent probe, a moved marker or another tool is refused: the result is
    written with "accepted": false and the exit code is 3.
    """
    import numpy as np

    from calibration.tip.acceptance import check_divot
    from calibration.tip.expected import read_expected, tool_of

    refuse_existing(out, force)
    gates = gates_for(case, live).tracker
    known = None if point is None else np.array(parse_place(point))
    expected = read_expected(tip, tool_of(device))
    request = PoseRequest(poses, live, device, seconds, transform, out, force)
    pose_set = take_poses(request)
    check = check_divot(pose_set.matrices, expected.tip_mm, known, gates, pose_set.skipped)
    wrong = expected.of_other_tool(pose_set.source)
    content = told_of({**check.as_json(), "tip": str(tip)}, pose_set, request)
    if wrong is not None:
        content |= {"accepted": False, "reasons": [*content["reasons"], wrong]}
    write_result(out, content)
    if content["reasons"]:
        raise GateRefusedError(f"{out}: the tip is refused: {'; '.join(content['reasons'])}")
    shift = check.tip_shift_length_mm
    told = "" if shift is None else f", tip moved by {shift:.2f} mm (SD {check.tip_shift_sd_mm:.2f})"
    click.echo(f"3D RMS {check.rms_mm:.2f} mm in the divot, drift {check.drift_mm:.2f} mm{told}: accepted")


def parse_place(text: str) -> tuple[float, float, float]:
    """Three coordinates in mm. Raises InputError."""
    import math

    try:
        x, y, z = (float(v) for v in text.split(","))
    except ValueError:
        raise InputError(f"--point {text}: must be X,Y,Z in mm") from None
    if not all(math.isfinite(v) for v in (x, y, z)):
        raise InputError(f"--point {text}: is not finite")
    return x, y, z
