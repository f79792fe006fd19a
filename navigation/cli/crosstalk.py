"""`gammanav calibrate crosstalk`: what each of two nuclides adds to the energy window of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from navigation.cli.detector import parse_window
from navigation.cli.pivot import refuse_existing, write_result
from tracking.errors import GateRefusedError, InputError


@click.command(
    "crosstalk",
    epilog="Example: gammanav calibrate crosstalk pure.csv --nuclide Tc-99m --other I-125 --out crosstalk.json",
    short_help="Spill of a second nuclide between windows.",
)
@click.argument("measurement", type=click.Path(path_type=Path))
@click.option("--nuclide", required=True, help="Nuclide that is looked for; its window is the main one.")
@click.option("--other", required=True, help="The other nuclide in the patient, such as I-125 of a seed.")
@click.option("--window-kev", help="Main window LO,HI; default that of the nuclide.")
@click.option("--other-window-kev", help="Other window LO,HI; default that of the other nuclide.")
@click.option("--probe-serial", help="Serial number of the probe.")
@click.option("--operator", help="Who measured.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, crosstalk.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    measurement: Path,
    nuclide: str,
    other: str,
    window_kev: str | None,
    other_window_kev: str | None,
    probe_serial: str | None,
    operator: str | None,
    out: Path,
    force: bool,
) -> None:
    """Factors of spill between two windows, from pure sources of both nuclides and a background.

    MEASUREMENT has the columns source,main_counts,other_counts,live_s; source is a nuclide or "background". Factors
    that cannot be used are written with "accepted": false; the exit code is then 3.
    """
    from calibration.physics.crosstalk import calibrate_crosstalk, read_measurement
    from calibration.physics.nuclide import nuclide as nuclide_by_name

    refuse_existing(out, force)
    main, second = nuclide_by_name(nuclide), nuclide_by_name(other)
    if main.name == second.name:
        raise InputError(f"--other {other}: is the nuclide itself")
    windows = (
        main.window_kev if window_kev is None else parse_window(window_kev),
        second.window_kev if other_window_kev is None else parse_window(other_window_kev),
    )
    measured = read_measurement(measurement, main, second)
    extra = {"probe_serial": probe_serial, "operator": operator}
    content = calibrate_crosstalk(
        measured, main, second, windows, {k: v for k, v in extra.items() if v is not None}
    )
    write_result(out, content)
    if content["accepted"] is not True:
        raise GateRefusedError(f"{out}: crosstalk refused: {'; '.join(content['reasons'])}")
    click.echo(summary(content))


def summary(content: dict[str, Any]) -> str:
    """One line for the terminal."""
    factors, errors = content["factors"], content["standard_errors"]
    main, other = content["nuclide"], content["other_nuclide"]
    doubts = f"; {'; '.join(content['reasons'])}" if content["reasons"] else ""
    return (
        f"{other} into the window of {main}: {factors['other_into_main']:.4f} (SD {errors[0]:.4f});"
        f" {main} into that of {other}: {factors['main_into_other']:.4f} (SD {errors[1]:.4f});"
        f" condition {content['condition']:.2f}; accepted{doubts}"
    )
