"""`gammanav specimen`: what a specimen holds, counted on the bench at known distances."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing, write_result
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from navigation.exvivo import Take


@click.command(
    "specimen",
    epilog="Example: gammanav specimen --probe probe.json --take 4210,20,50 --take 2015,20,80 --background 60,20"
    " --mass-g 14 --out specimen.json",
    short_help="What a specimen holds, counted outside the body.",
)
@click.option(
    "--probe", required=True, type=click.Path(path_type=Path), help="probe.json or a store of calibrations."
)
@click.option(
    "--take",
    "takes",
    multiple=True,
    required=True,
    help="COUNTS,SECONDS,MM: the face so far above the specimen's middle; repeat at another distance.",
)
@click.option("--background", help="COUNTS,SECONDS of the same place without the specimen.")
@click.option("--mass-g", type=Finite(min=0.0, min_open=True), help="Mass of the specimen.")
@click.option(
    "--volume-ml", type=Finite(min=0.0, min_open=True), help="Its volume, where that is known better."
)
@click.option(
    "--distance-sd-mm", type=Finite(min=0.0), default=1.0, show_default=True, help="How well MM is known."
)
@click.option("--at", "when", help="When it was counted, ISO 8601; default: now.")
@click.option("--name", default="specimen", show_default=True, help="Its number or place; no patient's name.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, specimen.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    probe: Path,
    takes: tuple[str, ...],
    background: str | None,
    mass_g: float | None,
    volume_ml: float | None,
    distance_sd_mm: float,
    when: str | None,
    name: str,
    out: Path,
    force: bool,
) -> None:
    """Activity of a specimen in kBq with its interval, for the balance of a bed check and the size of what it states.

    The probe rests above the specimen and looks at its middle. It says what to count next.
    """
    from calibration.probe.response import load_response
    from navigation.exvivo import Take, measure
    from navigation.specimen import TISSUE_G_PER_ML

    refuse_existing(out, force)
    if (mass_g is None) == (volume_ml is None):
        raise InputError("one of --mass-g and --volume-ml is needed")
    volume = volume_ml if volume_ml is not None else (mass_g or 0.0) / TISSUE_G_PER_ML
    counted = tuple(_take(text) for text in takes)
    room = None
    if background is not None:
        room_counts, room_s = _numbers(background, "--background", 2)
        room = Take(room_counts, room_s, counted[0].distance_mm)
    response = load_response(probe)
    found = measure(response, counted, room, volume, distance_sd_mm)
    content = found.content() | {
        "name": name,
        "volume_ml": volume,
        "nuclide": response.nuclide.name,
        "reference_time": _time(when),
        "calibration_id": response.probe_id,
        "calibration_state": response.state,
        "simulated": response.simulated,
        "research_use_only": True,
    }
    write_result(out, content)
    if response.simulated:
        click.echo("SIMULATION")
    low, high = found.ci95_kbq
    if not found.accepted:
        raise GateRefusedError(f"{out}: specimen refused: {'; '.join(found.reasons)}")
    click.echo(
        f"{name}: {found.activity_kbq:.1f} kBq ({low:.1f} to {high:.1f}), {found.activity_kbq / volume:.3g} kBq/mL"
    )
    for words in (*found.reasons, *([f"next: {found.next}"] if found.next else [])):
        click.echo(words)


def _take(text: str) -> Take:
    from navigation.exvivo import Take

    counts, seconds, distance_mm = _numbers(text, "--take", 3)
    return Take(counts, seconds, distance_mm)


def _numbers(text: str, option: str, number: int) -> tuple[float, ...]:
    try:
        found = tuple(float(v) for v in text.split(","))
    except ValueError as fault:
        raise InputError(f"{option} {text}: not numbers with commas between") from fault
    if len(found) != number or not all(0.0 <= v < float("inf") for v in found) or found[1] <= 0.0:
        raise InputError(f"{option} {text}: {number} numbers are needed, none below 0, and a time above it")
    return found


def _time(text: str | None) -> str:
    if text is None:
        return datetime.now(UTC).isoformat(timespec="seconds")
    try:
        when = datetime.fromisoformat(text)
    except ValueError as fault:
        raise InputError(f"--at {text}: no time") from fault
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).isoformat()
