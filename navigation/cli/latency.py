"""`gammanav calibrate latency`: time offset of counts against poses from an ordinary scan, or of two series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration.records.record import LATENCY, stamped
from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.recordoptions import record_options
from navigation.plots import plots_option, write_plots
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.latencyprofile import LatencyProfile
    from navigation.reconstruction.live import ScanState

# The first column of a series is its time, the second what was measured.
SERIES_COLUMNS = ("t_s", "value")


@click.command(
    "latency",
    epilog="Example: gammanav calibrate latency scan-1 --probe probe.json --out latency.json",
    short_help="Time offset of counts against poses.",
)
@click.argument("scan", required=False, type=click.Path(path_type=Path))
@click.option("--probe", type=click.Path(path_type=Path), help="Detector calibration, probe.json.")
@click.option(
    "--tip", "tips", multiple=True, type=click.Path(path_type=Path), help="tip.json and/or axis.json."
)
@click.option(
    "--surface", type=click.Path(path_type=Path), help="Touched or scanned surface: .csv, .ply, .stl."
)
@click.option(
    "--series",
    nargs=2,
    type=click.Path(path_type=Path),
    help="Instead of a scan: two CSV files t_s,value of one movement, told by two devices.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, latency.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@record_options
@plots_option
def command(
    scan: Path | None,
    probe: Path | None,
    tips: tuple[Path, ...],
    surface: Path | None,
    series: tuple[Path, Path] | None,
    out: Path,
    force: bool,
    operator: str | None,
    probe_serial: str | None,
    plots: bool,
) -> None:
    """By how much the counter of SCAN stamps late, with its 95 % interval.

    An ordinary scan determines it only where a strong focus is passed quickly: the result says whether it does. With
    --series it is by how much the second series is late behind the first, whatever the two measure.
    """
    refuse_existing(out, force)
    if series is not None:
        if scan is not None or probe is not None:
            raise InputError("--series is without a scan and without --probe")
        _of_series(*series, out)
        return
    if scan is None or probe is None:
        raise InputError("a scan and --probe are needed, or --series with two files")
    from navigation.offline import ScanOptions, scan_latency
    from navigation.plots.latency import latency_plots

    state, profile = scan_latency(scan, probe, ScanOptions(surface, tips))
    content = latency_content(state, profile)
    who = {"operator": operator, "probe_serial": probe_serial, "nuclide": state.result.nuclide}
    content = stamped(content, LATENCY, **who, replaces=out)
    write_result(out, content)
    write_plots(lambda: latency_plots(out, content), plots)
    click.echo(_summary(content))


def latency_content(state: ScanState, profile: LatencyProfile | None) -> dict[str, Any]:
    """latency.json: what the likelihood of the scan says; without a profile only what is assumed of counters."""
    from navigation.scanlatency import carried, lead_words

    common = {"simulated": state.result.simulated}
    if profile is None:
        low, high = state.result.count_latency_ci95_s or (0.0, 0.0)
        reason = "there is no focus of activity, or too few windows have poses: nothing tells it"
        return {
            "count_latency_s": state.result.count_latency_s,
            "ci95_s": [low, high],
            "determined": False,
            "reasons": [reason],
            "fisher_sd_s": None,
            **common,
        }
    latency, interval = carried(profile)
    reasons = list(profile.reasons) + ([lead_words(profile)] if profile.leads else [])
    return {
        "count_latency_s": latency,
        "ci95_s": list(interval),
        "determined": profile.determined and not profile.leads,
        "reasons": reasons,
        "fisher_sd_s": profile.fisher_sd_s,
        "by_likelihood_alone": {"lag_s": profile.lag_s, "ci95_s": list(profile.ci95_s)},
        "misfit": profile.dispersion,
        "profile": {"latency_s": profile.trials_s.tolist(), "drop": (2.0 * profile.drop).tolist()},
        **common,
    }


def _summary(content: dict[str, Any]) -> str:
    low, high = (1000 * end for end in content["ci95_s"])
    fisher = content["fisher_sd_s"]
    bound = "" if fisher is None else f", Fisher bound {1000 * fisher:.0f} ms"
    words = "" if content["determined"] else f": undetermined; {'; '.join(content['reasons'])}"
    return f"count latency {1000 * content['count_latency_s']:.0f} ms ({low:.0f} to {high:.0f}{bound}){words}"


def _of_series(first: Path, second: Path, out: Path) -> None:
    from calibration.timing.lag import estimate_lag
    from tracking.tables import read_table

    a, b = (read_table(path, SERIES_COLUMNS).values for path in (first, second))
    found = estimate_lag(a[:, 0], a[:, 1], b[:, 0], b[:, 1], names=(str(first), str(second)))
    content = {
        "series": [str(first), str(second)],
        "lag_s": found.lag_s,
        "sd_s": found.sd_s,
        "ci95_s": None if found.ci95_s is None else list(found.ci95_s),
        "determined": found.determined,
        "correlation": found.correlation,
        "reasons": list(found.reasons),
    }
    write_result(out, content)
    told = "unknown" if found.lag_s is None else f"{1000 * found.lag_s:.1f} ms"
    between = (
        "" if found.ci95_s is None else f" ({1000 * found.ci95_s[0]:.1f} to {1000 * found.ci95_s[1]:.1f})"
    )
    words = "" if found.determined else f": undetermined; {'; '.join(found.reasons)}"
    click.echo(f"{second} is behind {first} by {told}{between}{words}")
