"""`gammanav register activity`: does the activity lie where the study says?"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.reconstruct import scan_options
from navigation.io.points import read_points
from navigation.offline import ScanOptions
from tracking.errors import InputError

# As `navigation.registration.activity.REGISTRATION_SD_MM`, which is imported only when a scan is reconstructed.
REGISTRATION_SD_MM = 1.0

# A patient with more targets is looked at region by region; hundreds of places are a surface.
MOST_TARGETS = 20


@click.command(
    "activity",
    epilog="Example: gammanav register activity scan-1 --probe probe.json --targets T.csv --out reg.json",
    short_help="Does the activity lie where the study says?",
)
@click.argument("scan", type=click.Path(path_type=Path))
@click.option(
    "--targets",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Places as believed: .csv, .mrk.json, .fcsv.",
)
@click.option(
    "--targets-in",
    type=click.Choice(["reference", "study"]),
    default="reference",
    show_default=True,
    help="Frame of the targets; of the study they come by --registration.",
)
@click.option(
    "--registration-sd-mm",
    default=REGISTRATION_SD_MM,
    show_default=True,
    type=click.FloatRange(min=0.0),
    help="What a sound registration leaves at a target, along each axis.",
)
@scan_options
@click.option("--ct", type=click.Path(path_type=Path), help="Study with a CT (needs --registration).")
def command(
    scan: Path,
    targets: Path,
    targets_in: str,
    registration_sd_mm: float,
    probe: Path,
    surface: Path | None,
    tips: tuple[Path, ...],
    latency: Path | None,
    registration: Path | None,
    case_data: Path | None,
    sheath: Path | None,
    crosstalk: Path | None,
    out: Path,
    force: bool,
    ct: Path | None,
) -> None:
    """Compare the targets of the study with the counts of SCAN, a folder or a record.

    T_target_source moves the places as believed to where the scan sees them; "shift_alarm" tells whether that is more
    than the registration's own error. It is a proposal: nothing is moved.
    """
    from navigation.offline import reconstruct_scan
    from navigation.registration.activity import register_activity
    from navigation.registration.activityfile import activity_content, activity_words

    refuse_existing(out, force)
    points = read_points(targets)
    if len(points) > MOST_TARGETS:
        raise InputError(
            f"{targets}: {len(points)} places are no list of targets, at most {MOST_TARGETS} are compared"
        )
    believed = _in_reference(points.points_mm, targets_in, registration)
    options = ScanOptions(surface, tips, latency, registration, ct, case_data, sheath, crosstalk)
    state = reconstruct_scan(scan, probe, options)
    found = register_activity(state, believed, points.labels, registration_sd_mm)
    write_result(out, {**activity_content(found), "simulated": state.result.simulated})
    click.echo(activity_words(found))
    for warning in found.warnings:
        click.echo(f"  beware: {warning}")


def _in_reference(
    points_mm: NDArray[np.float64], targets_in: str, registration: Path | None
) -> NDArray[np.float64]:
    """Targets (k, 3) in Reference. Raises InputError where the study is not registered, or as its file does."""
    if targets_in == "reference":
        return points_mm
    if registration is None:
        raise InputError("--targets-in study needs --registration")
    from navigation.registration.study import load_registration

    return load_registration(registration).T_study_reference.inverse().apply(points_mm)
