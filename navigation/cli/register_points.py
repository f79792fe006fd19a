"""`gammanav register points`: matched points."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from navigation.cli.pivot import refuse_existing, write_result
from navigation.io.points import read_points
from navigation.registration.landmarks import MAX_FRE_MM, LandmarkRegistration, fit_rigid, register_landmarks
from navigation.registration.pairs import PointPairs, match_points
from tracking.errors import GateRefusedError, InputError
from tracking.transform import invert_rigid


@click.command("points", epilog="Example: gammanav register points ct.mrk.json touched.csv --out reg.json")
@click.argument("fixed", type=click.Path(path_type=Path))
@click.argument("moving", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, reg.json.")
@click.option("--targets", type=click.Path(path_type=Path), help="Points whose error is predicted.")
@click.option(
    "--targets-in",
    type=click.Choice(["moving", "fixed"]),
    default="moving",
    show_default=True,
    help="Frame of the targets.",
)
@click.option(
    "--max-fre-mm",
    default=MAX_FRE_MM,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Largest accepted FRE.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    fixed: Path,
    moving: Path,
    out: Path,
    targets: Path | None,
    targets_in: str,
    max_fre_mm: float,
    force: bool,
) -> None:
    """Register matched points; T_target_source maps MOVING into FIXED.

    Files hold x,y,z or label,x,y,z; Slicer's .mrk.json and .fcsv are read too (as LPS). Labels are matched by
    name when both files have them, else points are matched by their order. A registration that fails a gate
    is written with "accepted": false; the exit code is then 3.
    """
    refuse_existing(out, force)
    pairs = _pairs(fixed, moving)
    wanted = None if targets is None else read_points(targets).points_mm
    in_moving = _to_moving(wanted, pairs) if wanted is not None and targets_in == "fixed" else wanted
    result = register_landmarks(pairs.fixed_mm, pairs.moving_mm, pairs.labels, in_moving, max_fre_mm)
    content = result.as_json() | {"unmatched": list(pairs.unmatched)}
    if wanted is not None:
        content["tre_mm"] |= {"targets": wanted.tolist(), "frame": targets_in}
    write_result(out, content)
    if not result.accepted:
        raise GateRefusedError(f"{out}: registration refused: {'; '.join(result.reasons)}")
    click.echo(summary(result))


def _pairs(fixed: Path, moving: Path) -> PointPairs:
    fixed_points, moving_points = read_points(fixed), read_points(moving)
    try:
        return match_points(fixed_points, moving_points)
    except InputError as fault:
        raise InputError(f"{fixed}, {moving}: {fault}") from None


def _to_moving(targets_mm: NDArray[np.float64], pairs: PointPairs) -> NDArray[np.float64]:
    """Targets (k, 3) given in FIXED, brought into MOVING by the fit itself."""
    back = invert_rigid(fit_rigid(pairs.fixed_mm, pairs.moving_mm).matrix)
    return np.asarray(targets_mm @ back[:3, :3].T + back[:3, 3])


def summary(result: LandmarkRegistration) -> str:
    """One line for the terminal, the warnings below it."""
    fre = "unknown" if result.fit is None else f"{result.fit.fre_mm:.2f} mm"
    return "\n".join([f"registration accepted, FRE {fre}", *(f"warning: {w}" for w in result.warnings)])
