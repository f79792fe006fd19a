"""Pictures beside a result: drawn after the result is safe, and never able to lose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from navigation.cli.faults import log_fault

plots_option = click.option(
    "--plots/--no-plots", default=True, help="Pictures beside the result, <out>-*.png (default: drawn)."
)


def picture_path(out: Path, what: str) -> Path:
    """Where the picture `what` of the result `out` goes."""
    return out.with_name(f"{out.stem}-{what}.png")


def write_plots(draw: Callable[[], list[Path]], wanted: bool = True) -> list[Path]:
    """Draw, and return what was written; a fault of the drawing is told on stderr, the result stays as it is."""
    if not wanted:
        return []
    try:
        return draw()
    except Exception as fault:  # noqa: BLE001 - the result is written and stands without its pictures
        click.echo(f"gammanav: the pictures were not drawn, the result stands: {log_fault(fault)}", err=True)
        return []
