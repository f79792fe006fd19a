"""`gammanav plan skin`, `plan bones` and `plan fiducials`: what the CT of a study gives to register by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from navigation.cli.pivot import refuse_existing
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.anatomy.fiducials import Fiducial
    from navigation.io.study import StudySeries

FEWEST_TRIANGLES, DEFAULT_TRIANGLES = 1000, 50_000


@click.command(
    "skin",
    epilog="Example: gammanav plan skin study --out skin.ply",
    short_help="Skin surface out of the CT.",
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Surface to write, .ply in LPS mm."
)
@click.option(
    "--triangles",
    default=DEFAULT_TRIANGLES,
    show_default=True,
    type=click.IntRange(min=FEWEST_TRIANGLES),
    help="At most so many.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def skin(study: Path, out: Path, triangles: int, force: bool) -> None:
    """Skin of the patient out of the CT of an imported STUDY, without table, clothing and supports.

    The surface is open where the field of view cuts the patient. It is what `gammanav register surface` takes.
    """
    from navigation.anatomy.skin import skin_surface, write_ply

    refuse_existing(out, force)
    if out.suffix.lower() != ".ply":
        raise InputError(f"{out}: a surface is written as .ply")
    series = _ct(study)
    try:
        mesh = skin_surface(series.volume(), series.grid, triangles)
    except InputError as fault:
        raise InputError(f"{study}: {fault}") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_ply(out, mesh)
    area = mesh.area_mm2 / 100.0
    click.echo(f"{out}: skin of {area:.0f} cm2, {len(mesh.triangles)} triangles{_stamp(series)}")


@click.command(
    "bones",
    epilog="Example: gammanav plan bones study --out bones.ply",
    short_help="Bone surface out of the CT.",
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Surface to write, .ply in LPS mm."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def bones(study: Path, out: Path, force: bool) -> None:
    """Bone out of the CT of an imported STUDY, apart from contrast medium and metal as far as CT numbers tell.

    What is left out for metal or contrast medium is told in mL. Urine with much contrast medium counts as bone.
    """
    import numpy as np

    from navigation.anatomy.bones import bone_surface, bones_of
    from navigation.anatomy.skin import write_ply

    refuse_existing(out, force)
    if out.suffix.lower() != ".ply":
        raise InputError(f"{out}: a surface is written as .ply")
    series = _ct(study)
    try:
        found = bones_of(series.volume(), series.grid)
        mesh = bone_surface(found)
    except InputError as fault:
        raise InputError(f"{study}: {fault}") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    write_ply(out, mesh)
    parts = [("bone", found.bone), ("contrast medium", found.contrast), ("metal", found.metal)]
    told = ", ".join(f"{np.count_nonzero(m) * found.grid.voxel_ml:.0f} mL of {name}" for name, m in parts)
    click.echo(f"{out}: {told}, {len(mesh.triangles)} triangles{_stamp(series)}")


@click.command(
    "fiducials",
    epilog="Example: gammanav plan fiducials study --out fiducials.mrk.json",
    short_help="Skin markers in the CT.",
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Points: .mrk.json, .csv or .fcsv."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def fiducials(study: Path, out: Path, force: bool) -> None:
    """Radio-opaque markers on the skin, balls or rings, in the CT of an imported STUDY, from the head down.

    What lies under the skin is none: bone, teeth, calcifications, implants. Metal on the skin, such as an
    electrode's snap, looks like a marker: leave out what is none. The file is FIXED of `gammanav register points`.
    """
    from navigation.anatomy.fiducials import find_fiducials
    from navigation.targetfiles import write_points

    refuse_existing(out, force)
    series = _ct(study)
    try:
        found = find_fiducials(series.volume(), series.grid)
    except InputError as fault:
        raise InputError(f"{study}: {fault}") from None
    if not found:
        raise InputError(f"{study}: no radio-opaque marker on the skin in its CT")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [describe(f) for f in found]
    write_points(out, [f.label for f in found], [f.position_mm for f in found], lines)
    said = [f"{f.label}: {line}" for f, line in zip(found, lines, strict=True)]
    click.echo("\n".join([*said, f"{out}: {len(found)} markers{_stamp(series)}"]))


def describe(fiducial: Fiducial) -> str:
    """Place, uncertainty and size of a marker."""
    place = ", ".join(f"{v:.1f}" for v in fiducial.position_mm)
    size = f"as large as a ball of {fiducial.radius_mm:.1f} mm radius"
    sd = float(fiducial.sd_mm.max())
    return f"({place}) mm, SD {sd:.2f} mm, {size}, {fiducial.above_skin_mm:.1f} mm above the skin"


def _ct(study: Path) -> StudySeries:
    """The usable CT of a study. Raises InputError."""
    from navigation.io.study import load_study

    series = load_study(study).ct
    if series is None or not series.usable:
        raise InputError(f"{study}: no usable CT in it")
    return series


def _stamp(series: StudySeries) -> str:
    return " SIMULATION" if series.simulated else ""
