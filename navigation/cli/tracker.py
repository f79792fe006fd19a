"""`gammanav calibrate tracker`: a tracker and its stylus against known distances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from navigation.cli.pivot import refuse_existing, write_result
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from calibration.tip.distances import DistanceCheck


@click.command(
    "tracker",
    epilog="Example: gammanav calibrate tracker touches.csv --phantom phantom.csv --out tracker.json",
    short_help="A tracker against known distances.",
)
@click.argument("touches", type=click.Path(path_type=Path))
@click.option("--phantom", type=click.Path(path_type=Path), help="Its points: label,x_mm,y_mm,z_mm.")
@click.option(
    "--distances", type=click.Path(path_type=Path), help="Or distances alone: first,second,length_mm."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, tracker.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@click.option("--case", type=click.Path(path_type=Path), help="Case file; its table [gates] sets thresholds.")
def command(
    touches: Path, phantom: Path | None, distances: Path | None, out: Path, force: bool, case: Path | None
) -> None:
    """Distances between points of a phantom, touched with the stylus, against the known ones.

    TOUCHES has the columns label,x_mm,y_mm,z_mm; a point may be touched several times. Errors beyond the gates
    are written with "accepted": false; the exit code is then 3.
    """
    from calibration.gates import read_gates
    from calibration.tip.distances import check_distances, distances_of
    from calibration.tip.touchfile import read_distances, read_touches

    refuse_existing(out, force)
    if (phantom is None) == (distances is None):
        raise InputError("give either --phantom or --distances")
    gates = read_gates(case).tracker
    found = read_touches(touches)
    points = None if phantom is None else read_touches(phantom, once=True)
    model = None if points is None else dict(points)
    known = read_distances(distances) if distances is not None else distances_of(model or {})
    check = check_distances(found, known, model, gates)
    write_result(out, check.as_json())
    if not check.accepted:
        raise GateRefusedError(f"{out}: the tracker is refused: {'; '.join(check.reasons)}")
    click.echo(summary(check))


def summary(check: DistanceCheck) -> str:
    """One line for the terminal."""
    told = check.as_json()
    repeated = (
        "" if check.repeat_rms_mm is None else f", repeated touches within {check.repeat_rms_mm:.2f} mm RMS"
    )
    return (
        f"{told['distances']} distances: RMS error {told['rms_error_mm']:.2f} mm, "
        f"largest {told['max_error_mm']:.2f} mm, scale {check.scale:.5f}{repeated}: accepted"
    )
