"""`gammanav calibrate dead-time`: dead time of a counter from two sources, a decaying or an approaching source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from navigation.cli.pivot import refuse_existing, write_result
from tracking.errors import GateRefusedError

METHODS = ("two-source", "decaying", "approaching")
KINDS = ("non-paralysable", "paralysable")


@click.command(
    "dead-time",
    epilog="Example: gammanav calibrate dead-time counts.csv --method two-source --out deadtime.json",
    short_help="Dead time of the counter, and which kind it is.",
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--method", required=True, type=click.Choice(METHODS), help="How DATA was measured.")
@click.option("--nuclide", help="Nuclide of the source; needed for a decaying one.")
@click.option(
    "--probe", type=click.Path(path_type=Path), help="Response of the probe, probe.json: approaching only."
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="What the maker says the counter is: two sources alone cannot tell, and the error then covers both.",
)
@click.option("--probe-serial", help="Serial number of the probe and its counter.")
@click.option("--operator", help="Who measured.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, deadtime.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    data: Path,
    method: str,
    nuclide: str | None,
    probe: Path | None,
    kind: str | None,
    probe_serial: str | None,
    operator: str | None,
    out: Path,
    force: bool,
) -> None:
    """Dead time of a counter, with its error, for a non-paralysable and a paralysable counter.

    DATA is a CSV with a header. two-source: source,counts,live_s with source one of S1, S2, S12 (both together) and
    background; any number of rows each, and t_s (end of the window) where the decay in between matters.
    decaying: t_s,counts,live_s over some half-lives. approaching: z_mm,counts,live_s of a point source in air, with
    --probe also r_mm and activity_kbq; without it 1/d^2 with a free offset. The last two take a column kind: source
    or background. Windows are clock time: a live time that the counter corrected itself leaves nothing to measure.

    `calibrate detector --dead-time deadtime.json` puts the result into a calibration.
    """
    from calibration.counter.deadtimecheck import measure_dead_time
    from calibration.physics.nuclide import nuclide as nuclide_by_name
    from calibration.probe.response import load_response

    refuse_existing(out, force)
    known = None if nuclide is None else nuclide_by_name(nuclide)
    if probe is not None and method != "approaching":
        raise click.UsageError(f"--probe is for --method approaching, not {method}")
    response = None if probe is None else load_response(probe)
    extra = {"probe_serial": probe_serial, "operator": operator}
    content = measure_dead_time(
        data, method, known, response, {k: v for k, v in extra.items() if v is not None}, kind
    )
    write_result(out, content)
    if content["accepted"] is not True:
        raise GateRefusedError(f"{out}: dead time refused: {'; '.join(content['reasons'])}")
    click.echo(summary(content))


def summary(content: dict[str, Any]) -> str:
    """One line for the terminal."""
    low, high = content["ci95_s"]
    told = content["distinguished"] or content["stated_model"]
    kind = content["dead_time_model"] if told else "kind of counter undistinguished"
    doubts = f"; {'; '.join(content['reasons'])}" if content["reasons"] else ""
    return (
        f"dead time {1e6 * content['dead_time_s']:.3g} us ({1e6 * low:.3g} to {1e6 * high:.3g}), {kind};"
        f" largest loss {100 * content['highest_loss']:.0f} %; saturated above"
        f" {content['saturated_above_cps']:,.0f} cps{doubts}"
    )
