"""`gammanav calibrate latency`: time offset of counts against poses from an ordinary scan."""

from __future__ import annotations

from pathlib import Path

import click

from calibration.record import LATENCY, stamped
from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.recordoptions import record_options
from navigation.offline import ScanOptions
from navigation.plots import plots_option, write_plots


@click.command(
    "latency",
    epilog="Example: gammanav calibrate latency scan-1 --probe probe.json --out latency.json",
    short_help="Time offset of counts against poses.",
)
@click.argument("scan", type=click.Path(path_type=Path))
@click.option(
    "--probe", required=True, type=click.Path(path_type=Path), help="Detector calibration, probe.json."
)
@click.option(
    "--tip", "tips", multiple=True, type=click.Path(path_type=Path), help="tip.json and/or axis.json."
)
@click.option(
    "--surface", type=click.Path(path_type=Path), help="Touched or scanned surface: .csv, .ply, .stl."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, latency.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@record_options
@plots_option
def command(
    scan: Path,
    probe: Path,
    tips: tuple[Path, ...],
    surface: Path | None,
    out: Path,
    force: bool,
    operator: str | None,
    probe_serial: str | None,
    plots: bool,
) -> None:
    """By how much the counter of SCAN stamps late, with its 95 % interval.

    An ordinary scan determines it only where a strong focus is passed quickly: the result says whether it does.
    """
    from calibration.latency import DETERMINED_HALF_WIDTH_S
    from navigation.offline import reconstruct_scan
    from navigation.plots.latency import latency_plots

    refuse_existing(out, force)
    state = reconstruct_scan(scan, probe, ScanOptions(surface, tips), ignore_known_latency=True)
    low, high = state.result.count_latency_ci95_s or (0.0, 0.0)
    determined = (high - low) / 2 <= DETERMINED_HALF_WIDTH_S
    reasons = [] if determined else [f"the scan leaves {1000 * (high - low):.0f} ms open"]
    content = {
        "count_latency_s": state.result.count_latency_s,
        "ci95_s": [low, high],
        "determined": determined,
        "reasons": reasons,
        "simulated": state.result.simulated,
    }
    who = {"operator": operator, "probe_serial": probe_serial, "nuclide": state.result.nuclide}
    content = stamped(content, LATENCY, **who, replaces=out)
    write_result(out, content)
    write_plots(lambda: latency_plots(out, content), plots)
    click.echo(
        f"count latency {1000 * state.result.count_latency_s:.0f} ms ({1000 * low:.0f} to {1000 * high:.0f})"
        + ("" if determined else ": undetermined")
    )
