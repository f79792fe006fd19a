"""`gammanav register surface`: touched points or a probe's trace against a surface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from navigation.cli.errorlimit import judge_errors, max_error_option
from navigation.cli.pivot import refuse_existing, write_result
from navigation.plots.write import write_plots
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from navigation.registration.surface import SurfaceRegistration


@click.command(
    "surface",
    epilog="Example: gammanav register surface study touched.csv --initial landmarks.json --out reg.json",
    short_help="Touched points against the skin of a CT or a mesh.",
)
@click.argument("fixed", type=click.Path(path_type=Path))
@click.argument("moving", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, reg.json.")
@click.option(
    "--initial", type=click.Path(path_type=Path), help="reg.json to start from, as from a few landmarks."
)
@click.option(
    "--landmarks",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="FIXED MOVING",
    help="Two lists of points that belong together: start, and help.",
)
@click.option("--targets", type=click.Path(path_type=Path), help="Points whose error is predicted.")
@click.option(
    "--targets-in",
    type=click.Choice(["moving", "fixed"]),
    default="moving",
    show_default=True,
    help="Frame of the targets.",
)
@max_error_option
@click.option(
    "--picture", type=click.Path(path_type=Path), help="PNG: the points on the surface, and what is left."
)
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    fixed: Path,
    moving: Path,
    out: Path,
    initial: Path | None,
    landmarks: tuple[Path, Path] | None,
    targets: Path | None,
    targets_in: str,
    max_error_mm: float | None,
    picture: Path | None,
    force: bool,
) -> None:
    """Register touched points to a surface; T_target_source maps MOVING into FIXED.

    FIXED is a mesh (.ply, .stl), a cloud (.csv, .ply) or an imported study, whose CT gives the skin. MOVING is a
    surface.csv, a list of points, or a scan whose probe was led over the skin. The start may be 20 mm and 15 degrees
    off; without one the whole surface is searched. What the touching leaves open is told in words. A registration
    that fails a gate is written with "accepted": false; the exit code is then 3.
    """
    from navigation.io.points import read_points
    from navigation.registration.surface import SurfaceTask, register_surface
    from navigation.registration.surface.files import read_fixed, read_initial, read_moving, read_pairs

    refuse_existing(out, force)
    if picture is not None:
        refuse_existing(picture, force)
    touched = read_moving(moving)
    start = None if initial is None else read_initial(initial)
    pairs = None if landmarks is None else read_pairs(*landmarks)
    told = None if targets is None else read_points(targets)
    wanted = None if told is None else told.points_mm
    surface = read_fixed(fixed)
    try:
        task = SurfaceTask(
            surface, touched.points_mm, touched.normals, start, pairs, wanted, targets_in == "fixed"
        )
        result = register_surface(task)
    except InputError as fault:
        raise InputError(f"{moving}: {fault}") from None
    content = result.as_json() | {"simulated": touched.simulated or surface.simulated}
    names = None if told is None or told.labels is None else list(told.labels)
    judge_errors(content, max_error_mm, names)
    if wanted is not None:
        content["tre_mm"] |= {"targets": wanted.tolist(), "frame": targets_in}
    write_result(out, content)
    if picture is not None:
        from navigation.plots.surfacefit import draw_surface_fit

        write_plots(lambda: draw_surface_fit(picture, task, result, content))
    if not content["accepted"]:
        raise GateRefusedError(f"{out}: registration refused: {'; '.join(content['reasons'])}")
    click.echo(summary(result, content["warnings"]))


def summary(result: SurfaceRegistration, warnings: Sequence[str]) -> str:
    """What the terminal shows: how well the points lie, what follows at the targets, and the warnings."""
    share = f"{result.inlier_share:.0%} of the points lie within {result.rms_mm:.2f} mm (RMS) of the surface"
    lines = [f"registration accepted: {share}"]
    if len(result.targets_mm):
        bound = float(result.target_bound_mm.max())
        lines.append(f"predicted error at the targets: within {bound:.1f} mm in 95 of 100 cases")
    return "\n".join([*lines, *(f"warning: {w}" for w in warnings)])
