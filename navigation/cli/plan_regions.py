"""`gammanav plan regions`: where uptake is by nature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.io.study import Study
    from navigation.uptake import Uptake, Voxels


@click.command(
    "regions",
    epilog='Example: gammanav plan regions study --add "kidney L,62,40,-110,48" --contour Spleen --hot "2=kidney R"',
    short_help="Regions of physiological uptake.",
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--add", multiple=True, metavar="NAME,x,y,z,r", help="A sphere: centre in LPS mm, radius in mm."
)
@click.option("--contour", multiple=True, metavar="CONTOUR[=NAME]", help="A contour of the study.")
@click.option(
    "--hot", multiple=True, metavar="N=NAME", help="Extended uptake N, as `plan targets` numbers it."
)
@click.option("--remove", multiple=True, metavar="NAME", help="Take one out.")
def command(
    study: Path, add: tuple[str, ...], contour: tuple[str, ...], hot: tuple[str, ...], remove: tuple[str, ...]
) -> None:
    """Outline where tracer gathers by nature in an imported STUDY: kidneys, spleen, adrenals, uncinate process.

    Spots and targets inside, or within 5 mm, are labelled "possible physiological uptake"; nothing is hidden.
    Without an option the regions are listed. They are kept in the study's regions.json.
    """
    from navigation.io.study import load_study
    from navigation.uptake import load_regions, save_regions, sphere_of

    loaded = load_study(study)
    uptake = load_regions(loaded.path)
    for name in remove:
        uptake = uptake.without(name)
    uptake = uptake.added(*(sphere_of(text) for text in add))
    uptake = uptake.added(*(_contour(loaded, text) for text in contour))
    uptake = uptake.added(*(_hot(loaded, text) for text in hot))
    if add or contour or hot or remove:
        save_regions(loaded.path, uptake)
    click.echo("\n".join(summary(uptake)))


def _contour(study: Study, text: str) -> Voxels:
    """The region that a usable contour of the study outlines."""
    from navigation.uptake import Voxels

    wanted, _, name = text.partition("=")
    found = [s for s in study.structures if s.name == wanted or s.id == wanted]
    if not found:
        known = ", ".join(s.name for s in study.structures) or "none"
        raise InputError(f"--contour {text!r}: no such contour; there are: {known}")
    structure = next((s for s in found if s.usable and s.grid is not None), None)
    if structure is None or structure.grid is None:
        raise InputError(f"--contour {text!r}: it is empty, or in another frame of reference than the study")
    return Voxels.of(name or wanted, structure.mask(), structure.grid)


def _hot(study: Study, text: str) -> Voxels:
    """An extended hot region of the SPECT or PET."""
    from navigation.uptake import hot_region

    number, _, name = text.partition("=")
    if not number.strip().isdigit() or not name:
        raise InputError(f"--hot {text!r}: N=NAME expected")
    series = study.functional
    if series is None or not series.usable:
        raise InputError(f"--hot {text!r}: the study has no usable SPECT or PET")
    return hot_region(name, series.volume(), series.grid, int(number))


def summary(uptake: Uptake) -> list[str]:
    """A line for each region."""
    lines = []
    for region in uptake.regions:
        place = ", ".join(f"{v:.1f}" for v in region.centre_mm)
        lines.append(f"{region.name}: {region.volume_ml:.1f} mL round ({place}) mm")
    return lines or ["no regions"]
