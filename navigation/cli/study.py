"""`gammanav study`: import and check a preoperative study."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from navigation.io.study import import_study, load_study
from navigation.studycheck import MAX_AGE_DAYS, Expected, check_study


@click.command(
    "study",
    epilog="Example: gammanav study /media/cd/DICOM --out study",
    short_help="Import and check a preoperative study.",
)
@click.argument("dicom_folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Study folder to write.")
@click.option("--resample-tilt", is_flag=True, help="Set a series from a tilted gantry upright.")
@click.option("--leave-out-defective", is_flag=True, help="Import the series that have no fatal defect.")
@click.option("--drop-copies", is_flag=True, help="Leave out files that are there twice, byte by byte.")
@click.option("--keep-identity", is_flag=True, help="Store name, number and dates in plain text.")
@click.option(
    "--max-age-days",
    default=MAX_AGE_DAYS,
    show_default=True,
    type=click.FloatRange(min=0.0),
    help="Tell of a study that is older.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing study.")
def command(
    dicom_folder: Path,
    out: Path,
    resample_tilt: bool,
    leave_out_defective: bool,
    drop_copies: bool,
    keep_identity: bool,
    max_age_days: float,
    force: bool,
) -> None:
    """Import a DICOM study (CT, PET, SPECT, MR) after proving its geometry.

    The folder is searched recursively. A series whose geometry or units cannot be trusted stops the import
    with every defect named. The patient's identity is stored as hashes unless --keep-identity is given.
    """
    study = import_study(
        dicom_folder,
        out,
        resample_tilt=resample_tilt,
        leave_out_defective=leave_out_defective,
        identified=keep_identity,
        drop_copies=drop_copies,
        force=force,
    )
    click.echo(summary(study))
    for line in age_lines(out, max_age_days):
        click.echo(line)


def summary(study: dict[str, Any]) -> str:
    """One line per series, then what was not imported."""
    lines = [_line(entry) for entry in study["series"]]
    lines += [
        f"left out: {e['modality']} of {e['slices']} slices: {e['notes'][0]}" for e in study["left_out"]
    ]
    lines += [_structure_line(entry) for entry in study["structures"]]
    lines += [f"left out: {e['source']}: {e['notes'][0]}" for e in study["structures_left_out"]]
    kinds = ", ".join(f"{n} {kind}" for kind, n in study["skipped"]["kinds"].items())
    return "\n".join([*lines, f"skipped files: {kinds or 'none'}"])


def age_lines(out: Path, max_age_days: float) -> list[str]:
    """What is to be told of the age of an imported study, beside what a case would be compared with."""
    check = check_study(load_study(out), Expected(max_age_days=max_age_days), time.time())
    told = (*check.blocking, *check.warnings)
    return [str(f) for f in told if f.code in ("STUDY_OLD", "STUDY_IN_FUTURE", "AGE_UNKNOWN")]


def _structure_line(entry: dict[str, Any]) -> str:
    place = "nowhere"
    if entry["centroid_mm"] is not None:
        x, y, z = entry["centroid_mm"]
        place = f"{entry['volume_ml']:.1f} mL at L {x:.1f}, P {y:.1f}, S {z:.1f} mm"
    doubt = "" if entry["usable"] else f", not usable: {'; '.join(entry['notes']) or 'empty'}"
    return f"{entry['id']}: {entry['name']} ({entry['source']}), {place}{doubt}"


def _line(entry: dict[str, Any]) -> str:
    size = " x ".join(str(n) for n in entry["geometry"]["size"])
    spacing = " x ".join(f"{v:.3g}" for v in entry["geometry"]["spacing_mm"])
    defects = ", ".join(entry["defects"]) or "no defects"
    stamp = " SIMULATION" if entry["simulated"] else ""
    return (
        f"{entry['file']}: {entry['modality']} in {entry['units']}, {size} at {spacing} mm, {defects}{stamp}"
    )
