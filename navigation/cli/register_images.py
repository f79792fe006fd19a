"""`gammanav register images`: a volume onto another, or the SPECT or PET of a study onto its CT."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from navigation.cli.pivot import refuse_existing, write_result
from navigation.io.points import read_points
from navigation.io.study import Study, StudySeries, load_study
from navigation.plots.fusion import images_pictures
from navigation.plots.write import write_plots
from navigation.registration.imagefiles import (
    other_patient,
    read_fixed,
    read_initial,
    read_moving,
    split_spec,
    volume_of,
)
from navigation.registration.imagemetric import CORRELATION, MUTUAL_INFORMATION
from navigation.registration.images import (
    LONGEST_TICKS,
    MAX_PREDICTED_MM,
    MAX_SHIFT_MM,
    MAX_TURN_DEG,
    ImageRegistration,
    Settings,
    register_images,
)
from navigation.registration.imagevolume import ImageVolume
from navigation.registration.series import anchor, binding, registration_file
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import write_json

METRICS = {"auto": None, "mi": MUTUAL_INFORMATION, "correlation": CORRELATION}
_positive = click.FloatRange(min=0.0, min_open=True)


class Bar:
    """Progress on a terminal, nothing in a pipe."""

    def __init__(self) -> None:
        from tqdm import tqdm

        form = "{desc:<34} |{bar}|"
        self._bar = tqdm(total=LONGEST_TICKS, disable=not sys.stderr.isatty(), bar_format=form, leave=False)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def __call__(self, what: str) -> None:
        """One part of the work is done."""
        self._bar.set_description_str(what)
        self._bar.update()


@click.command(
    "images",
    epilog="Examples: gammanav register images ct.nrrd spect.nrrd --out reg.json; gammanav register images study",
    short_help="Two volumes, or a study's SPECT onto its CT.",
)
@click.argument("fixed")
@click.argument("moving", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Result file, reg.json; needed with MOVING.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder for overlays and checkerboards.")
@click.option("--initial", type=click.Path(path_type=Path), help="A registration to start from as well.")
@click.option("--targets", type=click.Path(path_type=Path), help="Points whose error is predicted.")
@click.option("--targets-in", type=click.Choice(["moving", "fixed"]), default="moving", show_default=True)
@click.option("--metric", type=click.Choice(list(METRICS)), default="auto", show_default=True)
@click.option(
    "--max-tre-mm",
    type=_positive,
    help=f"Largest accepted predicted error; default {MAX_PREDICTED_MM[CORRELATION]:g} mm for two CTs, "
    f"else {MAX_PREDICTED_MM[MUTUAL_INFORMATION]:g}.",
)
@click.option("--max-shift-mm", type=_positive, default=MAX_SHIFT_MM, show_default=True)
@click.option("--max-turn-deg", type=_positive, default=MAX_TURN_DEG, show_default=True)
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    fixed: str,
    moving: str | None,
    out: Path | None,
    pictures: Path | None,
    initial: Path | None,
    targets: Path | None,
    targets_in: str,
    metric: str,
    max_tre_mm: float | None,
    max_shift_mm: float,
    max_turn_deg: float,
    force: bool,
) -> None:
    """Register the volume MOVING onto FIXED, rigidly; T_target_source maps MOVING into FIXED.

    Each is an NRRD file, a study's folder (its CT as FIXED, its SPECT or PET as MOVING) or FOLDER:series-2.
    With a study alone, its SPECT or PET is registered onto its CT and can be used in the study from then on.
    A registration that cannot be trusted is written with "accepted": false; the exit code is then 3.
    """
    settings = Settings(METRICS[metric], max_tre_mm, max_shift_mm, max_turn_deg)
    start = None if initial is None else read_initial(initial)
    if moving is None:
        within = _within_study(fixed)
        out = out or registration_file(within[0].path, within[2].id)
        pair = volume_of(within[1]), volume_of(within[2])
    elif out is None:
        raise InputError("--out is needed with two volumes")
    else:
        within = None
        pair = None
    refuse_existing(out, force)
    volumes = pair or (read_fixed(fixed), read_moving(str(moving)))
    result = _registered(volumes, settings, start, targets, targets_in)
    content = result.as_json() | {"simulated": any(v.simulated for v in volumes)}
    reasons = [*result.reasons]
    if within is None and (stranger := other_patient(fixed, str(moving))):
        reasons = [stranger, *reasons]
        content |= {"accepted": False, "reasons": reasons}
    _keep(out, content, within)
    if pictures is not None:
        wanted = pictures
        write_plots(lambda: images_pictures(wanted, *volumes, result.T_fixed_moving, content))
    if reasons:
        raise GateRefusedError(f"{out}: registration refused: {'; '.join(reasons)}")
    click.echo(summary(result))


def _registered(
    volumes: tuple[ImageVolume, ImageVolume],
    settings: Settings,
    start: NDArray[np.float64] | None,
    targets: Path | None,
    targets_in: str,
) -> ImageRegistration:
    wanted = None if targets is None else read_points(targets).points_mm
    with Bar() as bar:
        return register_images(*volumes, wanted, settings, start, targets_in, bar)


def _within_study(spec: str) -> tuple[Study, StudySeries, StudySeries]:
    """A study, its series to register onto, and the one that has no place in it yet. Raises InputError."""
    path, series_id = split_spec(spec)
    if path.is_file() and path.name != "study.json":
        raise InputError(f"{path}: MOVING is missing; only a study's folder stands alone")
    study = load_study(path)
    placed = [s for s in study.series if s.usable and s.registration is None]
    fixed = placed[0] if placed else (study.ct or study.series[0])
    loose = [s for s in study.series if s is not fixed and (s not in placed)]
    if series_id is not None:
        loose = [s for s in loose if s.id == series_id]
    if not loose:
        which = series_id or "every series"
        raise InputError(f"{path}: {which} shares the frame of reference of {fixed.id}, nothing to register")
    return study, fixed, next((s for s in loose if s.modality in ("NM", "PT")), loose[0])


def _keep(out: Path, content: dict[str, Any], within: tuple[Study, StudySeries, StudySeries] | None) -> None:
    """Write the result; within a study also where `load_study` looks for it, bound to the two series."""
    if within is None:
        write_result(out, content)
        return
    study, fixed, moving = within
    content |= binding(fixed, moving)
    kept = registration_file(study.path, moving.id)
    if not fixed.usable or fixed.registration is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(registration_file(study.path, fixed.id), anchor(fixed))
    write_result(kept, content)
    if out != kept:
        write_result(out, content)


def summary(result: ImageRegistration) -> str:
    """One line for the terminal, the warnings below it."""
    worst = float(result.predicted_mm.max())
    line = f"registration accepted by {result.kind}, predicted error up to {worst:.1f} mm"
    return "\n".join([line, *(f"warning: {w}" for w in result.warnings)])
