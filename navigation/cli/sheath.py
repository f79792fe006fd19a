"""`gammanav calibrate sheath`: what a sterile sheath or drape lets through, from two series of counts."""

from __future__ import annotations

from pathlib import Path

import click

from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.recordoptions import record_options
from tracking.errors import GateRefusedError


@click.command(
    "sheath",
    epilog="Example: gammanav calibrate sheath with.csv without.csv --nuclide Tc-99m --out sheath.json",
    short_help="What a sterile sheath lets through.",
)
@click.argument("with_sheath", metavar="WITH", type=click.Path(path_type=Path))
@click.argument("without", metavar="WITHOUT", type=click.Path(path_type=Path))
@click.option("--nuclide", help="Where the scans do not name one; for the decay between them.")
@click.option(
    "--background", type=click.Path(path_type=Path), help="Scan or background.json without the source."
)
@click.option(
    "--minutes-between",
    type=Finite(min=-1440.0, max=1440.0),
    help="From the middle of WITHOUT to that of WITH; else their reference times, else none.",
)
@click.option(
    "--dead-time-s", type=Finite(min=0.0, max=1e-3), default=0.0, help="Dead time of the counter, s."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, sheath.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@record_options
def command(
    with_sheath: Path,
    without: Path,
    nuclide: str | None,
    background: Path | None,
    minutes_between: float | None,
    dead_time_s: float,
    out: Path,
    force: bool,
    operator: str | None,
    probe_serial: str | None,
) -> None:
    """Share of the counts that pass a sheath: the same source in the same place, WITH and WITHOUT it.

    Both are scans, records or counts.csv files (t_s,counts,window_s). The case file takes the result as
    sheath = "sheath.json", offline commands as --sheath.
    """
    from calibration.physics.nuclide import nuclide as nuclide_by_name
    from calibration.probe.sheath import measure
    from calibration.records.record import SHEATH, stamped
    from navigation.cli.background import counted_at, measured

    refuse_existing(out, force)
    covered, simulated = measured(with_sheath, "room", nuclide)
    bare, _ = measured(without, "room", nuclide)
    seconds = 60.0 * minutes_between if minutes_between is not None else 0.0
    if minutes_between is None and covered.time is not None and bare.time is not None:
        seconds = (covered.time - bare.time).total_seconds()
    decay = float(nuclide_by_name(covered.nuclide).decay_factor(seconds))
    room = None if background is None else counted_at(background)
    found = measure(covered.counted, bare.counted, room, decay, dead_time_s)
    content = found.content() | {"nuclide": covered.nuclide, "decay": decay, "simulated": simulated}
    content = stamped(content, SHEATH, operator=operator, probe_serial=probe_serial, replaces=out)
    write_result(out, content)
    if simulated:
        click.echo("SIMULATION")
    if found.reasons:
        raise GateRefusedError(f"{out}: sheath refused: {'; '.join(found.reasons)}")
    low, high = found.ci95
    click.echo(f"the sheath passes {found.transmission:.4f} of the counts ({low:.4f} to {high:.4f})")
