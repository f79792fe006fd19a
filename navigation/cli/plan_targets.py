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
    from navigation.io.study import Study
    from navigation.targets import TargetList


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
    replace what was proposed before; targets that were added by hand, or that have ended, stay. Extended uptake is
    named and is no target. Spots in outlined regions (`gammanav plan regions`) are labelled.
    """
    from navigation.io.study import load_study
    from navigation.targetfiles import write_targets
    from navigation.targets import load_targets, save_targets

    if out is not None:
        refuse_existing(out, force)
    loaded = load_study(study)
    targets = load_targets(loaded.path)
    said: list[str] = []
    if add or from_file or remove:
        targets = _by_hand(targets, add, from_file, remove)
    elif not only_list:
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

    from navigation.targetplan import propose, surgery_after_image_h
    from navigation.targets import CONTOUR, HOT_SPOT
    from navigation.uptake import load_regions

    when = _surgery(study, surgery, hours)
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
    from navigation.targetplan import surgery_time

    if surgery is not None and hours is not None:
        raise InputError("--surgery and --hours say the same: give one")
    if hours is not None:
        return surgery_time(study.functional, hours)
    if surgery is None:
        return None
    try:
        return datetime.fromisoformat(surgery).timestamp()
    except ValueError:
        raise InputError(f"--surgery {surgery!r}: a time such as 2026-11-24T09:00+01:00 expected") from None


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
