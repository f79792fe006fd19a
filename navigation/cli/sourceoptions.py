"""Options that state how well the activity of a calibration source is known, for every command that needs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from navigation.cli.numbers import Finite


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--source-relative-sd, --calibrator-id, --assay-time, --measured-at."""
    for option in reversed(
        (
            click.option(
                "--source-relative-sd",
                type=Finite(min=0.0),
                help="Standard uncertainty of the source's activity, a share (0.02 = 2 %); else 2.5 % is assumed.",
            ),
            click.option("--calibrator-id", help="Radionuclide calibrator that measured the source."),
            click.option(
                "--assay-time",
                help="When the activity given was measured, with its zone; it decays to --measured-at.",
            ),
            click.option("--measured-at", help="Middle of the measurement, with its zone."),
        )
    ):
        command = option(command)
    return command
