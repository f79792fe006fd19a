"""`gammanav plan targets`: what the surgeon wants to reach."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.io.study import Study, StudySeries
    from navigation.targets import Target, TargetList

# A target may lie so far beside what was imaged: a slip of the hand at the rim, no other frame.
OUTSIDE_MM = 20.0


@click.command(
    "targets",
    epilog='Example: gammanav plan targets study --surgery 2026-11-24T09:00+01:00 --add "node 2,12.5,-30,104"',
    short_help="Places to reach: contours, foci, clicks.",
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--add", multiple=True, metavar="NAME,x,y,z", help="Add a place in LPS mm; proposes nothing.")
@click.option(
    "--from", "from_file", type=click.Path(path_type=Path), help="Add those of a .json, .csv or .fcsv."
)
@click.option("--remove", multiple=True, metavar="NAME", help="Take one out that has not ended.")
@click.option("--list", "only_list", is_flag=True, help="Show the list; change nothing.")
@click.option(
    "--surgery", metavar="TIME", help="Time of surgery for expected activities, ISO 8601 with zone."
)
@click.option("--hours", type=Finite(min=0.0), help="Instead: hours from the image's acquisition to surgery.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the places as .mrk.json, .csv or .fcsv too."
)
@click.option("--force", is_flag=True, help="Overwrite the file of --out.")
def command(
    study: Path,
    add: tuple[str, ...],
    from_file: Path | None,
    remove: tuple[str, ...],
    only_list: bool,
    surgery: str | None,
    hours: float | None,
    out: Path | None,
    force: bool,
) -> None:
    """Targets of an imported STUDY, kept in its targets.json.

    Without --add, --from, --remove or --list, contours of the study and foci of its SPECT or PET are proposed, and
    replace what was proposed before; targets that were added by hand, or that have ended, stay, and so does the time
    of surgery until another is given. --out alone writes a list that is there and proposes nothing. Extended uptake
    is named and is no target. Spots in outlined regions (`gammanav plan regions`) are labelled.
    """
    from navigation.io.study import load_study
    from navigation.targetfiles import write_targets
    from navigation.targets import load_targets, save_targets

    if out is not None:
        refuse_existing(out, force)
    loaded = load_study(study)
    targets = load_targets(loaded.path)
    said: list[str] = []
    written = out is not None and bool(len(targets)) and surgery is None and hours is None
    if add or from_file or remove:
        before = {t.name for t in targets.targets}
        targets = _by_hand(targets, add, from_file, remove)
        for target in targets.targets:
            if target.name not in before:
                require_inside(loaded, target)
    elif not (only_list or written):
        targets, said = _proposed(loaded, targets, surgery, hours)
    targets = _labelled(loaded, targets)
    if out is not None:
        write_targets(out, targets.targets)
    if not only_list:
        save_targets(loaded.path, targets)
    click.echo("\n".join([*summary(targets), *said]))


def _by_hand(
    targets: TargetList, add: tuple[str, ...], from_file: Path | None, remove: tuple[str, ...]
) -> TargetList:
    from navigation.targetfiles import read_targets
    from navigation.targets import clicked

    for name in remove:
        targets = targets.without(name)
    for text in add:
        targets = targets.added(clicked(*place_of(text)))
    return targets if from_file is None else targets.added(*read_targets(from_file).targets)


def require_inside(study: Study, target: Target) -> None:
    """Raises InputError for a place farther outside every image of the study than OUTSIDE_MM."""
    import numpy as np

    fields = []
    for series in study.series:
        if series.usable:
            index = series.grid.index_of(target.position_mm[None])[0]
            past = np.maximum(np.maximum(-index, index - (np.array(series.grid.size) - 1.0)), 0.0)
            fields.append((float(np.linalg.norm(past * series.grid.spacing_mm)), series))
    if not fields:
        return
    away, series = min(fields, key=lambda field: field[0])
    if away > OUTSIDE_MM:
        place = ", ".join(f"{v:g}" for v in target.position_mm)
        raise InputError(
            f"{target.name}: ({place}) mm lies {away:.0f} mm outside {series.id}, {_extent(series)}: LPS mm?"
        )


def _extent(series: StudySeries) -> str:
    """From where to where an image reaches along x, y and z."""
    import numpy as np

    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    grid = series.grid
    places = corners * (np.array(grid.size) - 1.0) @ grid.matrix[:3, :3].T + grid.origin_mm
    reach = zip("xyz", places.min(axis=0), places.max(axis=0), strict=True)
    return "which reaches " + ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, low, high in reach)


def place_of(text: str) -> tuple[str, list[float]]:
    """Name and position written as NAME,x,y,z. Raises InputError."""
    name, *cells = text.rsplit(",", 3)
    try:
        return name.strip(), [float(c) for c in _three(cells)]
    except ValueError:
        raise InputError(f"--add {text!r}: NAME,x,y,z in mm expected") from None


def _three(cells: list[str]) -> list[str]:
    if len(cells) != 3:
        raise ValueError(cells)
    return cells


def _proposed(
    study: Study, targets: TargetList, surgery: str | None, hours: float | None
) -> tuple[TargetList, list[str]]:
    """The list with the proposals of before replaced, and lines on what is no target."""
    from dataclasses import replace

    from navigation.targetplan import propose, surgery_after_image_h, surgery_time
    from navigation.targets import CONTOUR, HOT_SPOT
    from navigation.uptake import load_regions

    when = _surgery(study, surgery, hours)
    if when is None and targets.after_image_h is not None:
        when = surgery_time(study.functional, targets.after_image_h)
    proposal = propose(study, load_regions(study.path), when)
    ended = {e.target for e in targets.ends}
    kept = tuple(t for t in targets.targets if t.origin not in (CONTOUR, HOT_SPOT) or t.name in ended)
    names = {t.name for t in kept}
    new = tuple(t for t in proposal.targets if t.name not in names)
    after = surgery_after_image_h(study.functional, when)
    targets = replace(targets, targets=(*kept, *new), after_image_h=after, simulated=study.simulated)
    notes = [f"note: {r}" for r in proposal.reasons]
    return targets, [*(f"no target: {line}" for line in proposal.others), *notes]


def _surgery(study: Study, surgery: str | None, hours: float | None) -> float | None:
    """Unix time of surgery as it was given, None where it was not."""
    from navigation.targetplan import surgery_after_image_h, surgery_time

    if surgery is not None and hours is not None:
        raise InputError("--surgery and --hours say the same: give one")
    if hours is not None:
        return surgery_time(study.functional, hours)
    if surgery is None:
        return None
    try:
        when = datetime.fromisoformat(surgery)
    except ValueError:
        raise InputError(f"--surgery {surgery!r}: a time such as 2026-11-24T09:00+01:00 expected") from None
    if when.tzinfo is None:
        raise InputError(f"--surgery {surgery!r}: the zone is missing, as in 2026-11-24T09:00+01:00")
    after_h = surgery_after_image_h(study.functional, when.timestamp())
    if after_h is not None and after_h < 0.0:
        raise InputError(f"--surgery {surgery!r}: that is {-after_h:.1f} h before the image was acquired")
    return when.timestamp()


def _labelled(study: Study, targets: TargetList) -> TargetList:
    """With the labels of the regions as they are now, where a target has not ended."""
    from dataclasses import replace

    from navigation.uptake import load_regions

    uptake = load_regions(study.path)
    ended = {e.target for e in targets.ends}
    labelled = tuple(
        t if t.name in ended else replace(t, label=uptake.label_of(t.position_mm)) for t in targets.targets
    )
    return replace(targets, targets=labelled)


def summary(targets: TargetList) -> list[str]:
    """A line for each target, and what its activities mean."""
    lines = []
    for target in targets.targets:
        place = ", ".join(f"{v:.1f}" for v in target.position_mm)
        kbq = ""
        if target.expected_kbq is not None:
            sd = "" if target.expected_sd_kbq is None else f" +- {_kbq(target.expected_sd_kbq)}"
            kbq = f", {_kbq(target.expected_kbq)}{sd} kBq expected"
        end = targets.outcome(target.name)
        over = "" if end is None else f", {end.outcome}: {end.reason}"
        notes = "".join(f"; {n}" for n in (target.label, target.note) if n)
        sd_mm = f"SD {target.sd_mm:.1f} mm"
        lines.append(f"{target.name} ({target.origin}): ({place}) mm, {sd_mm}{kbq}{over}{notes}")
    if targets.after_image_h is not None:
        lines.append(f"activities are for {targets.after_image_h:.1f} h after the image")
    if targets.simulated:
        lines.append("SIMULATION")
    return lines or ["no targets"]


def _kbq(value: float) -> str:
    """An activity in kBq without exponents."""
    return f"{value:.0f}" if value >= 100.0 else f"{value:.2g}"
