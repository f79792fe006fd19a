"""Options that every command which writes a calibration record shares: who measured, and with which probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def record_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --operator and --probe-serial, as keywords of those names."""
    for option in reversed(
        (
            click.option("--probe-serial", help="Serial number the calibration is bound to."),
            click.option("--operator", help="Who measured; another person approves."),
        )
    ):
        command = option(command)
    return command
