"""`gammanav calibrate detector-scan`: count latency, detector axis and centre from a sweep round a point source."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.sourceoptions import source_options
from navigation.plots import plots_option, write_plots
from tracking.errors import GateRefusedError, InputError


@click.command(
    "detector-scan",
    epilog="Example: gammanav calibrate detector-scan sweep --source=72.1,12.6,124.3 --activity-kbq 300"
    " --response probe.json --out probe-2.json",
    short_help="Detector centre, axis and count latency from a sweep.",
)
@click.argument("scan", type=click.Path(path_type=Path))
@click.option("--source", required=True, help="Place X,Y,Z of the point source in Reference, mm.")
@click.option(
    "--activity-kbq",
    required=True,
    type=Finite(min=0.0, min_open=True),
    help="Activity of the source at the time of the sweep, or at --assay-time, kBq.",
)
@click.option(
    "--source-sd-mm",
    default=0.5,
    show_default=True,
    type=Finite(min=0.0),
    help="How well the source's place is known along each axis, one standard deviation; 0: exactly.",
)
@source_options
@click.option("--response", type=click.Path(path_type=Path), help="probe.json of the same probe from a grid.")
@click.option(
    "--tip", "tips", multiple=True, type=click.Path(path_type=Path), help="tip.json and/or axis.json."
)
@click.option("--probe-serial", help="Serial number the calibration is bound to.")
@click.option("--operator", help="Who measured.")
@click.option("--case", type=click.Path(path_type=Path), help="Case file; its table [gates] sets thresholds.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, probe.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@plots_option
def command(
    scan: Path,
    source: str,
    activity_kbq: float,
    source_sd_mm: float,
    source_relative_sd: float | None,
    calibrator_id: str | None,
    assay_time: str | None,
    measured_at: str | None,
    response: Path | None,
    tips: tuple[Path, ...],
    probe_serial: str | None,
    operator: str | None,
    case: Path | None,
    out: Path,
    force: bool,
    plots: bool,
) -> None:
    """Where the detector looks from and how late it counts, from a tracked SCAN round a point source in air.

    With --response also the centre along the axis and the scale; without it that place stays tip.json's and the
    response is fitted along. A sweep that fails a gate is written with "accepted": false; the exit code is then 3.
    """
    import numpy as np

    from calibration.gates import read_gates
    from calibration.physics.nuclide import nuclide as nuclide_by_name
    from calibration.physics.source import source_statement
    from calibration.probe.detectorscan import Source, calibrate_sweep
    from calibration.records.record import DETECTOR
    from calibration.records.store import read_record
    from navigation.plots.sweep import sweep_plots
    from navigation.provenance import identity_of
    from tracking.recording.export import open_scan

    refuse_existing(out, force)
    gates = read_gates(case).sweep
    extra = {"probe_serial": probe_serial, "operator": operator}
    sweep = open_scan(scan)
    nuclide = nuclide_by_name(sweep.nuclide)
    stated = source_statement(nuclide, source_relative_sd, calibrator_id, assay_time, measured_at)
    activity = activity_kbq * stated.decay_factor(nuclide)
    where = Source(np.array(parse_point(source)), activity, source_sd_mm, stated)
    given = None if response is None else read_record(response, DETECTOR, identity_of(sweep))
    known = {k: v for k, v in extra.items() if v is not None}
    content = calibrate_sweep(sweep, where, tips, given, known, gates)
    write_result(out, content)
    write_plots(lambda: sweep_plots(out, sweep, where.position_mm, content), plots)
    if content["accepted"] is not True:
        raise GateRefusedError(f"{out}: detector calibration refused: {'; '.join(content['reasons'])}")
    click.echo(summary(content))


def parse_point(text: str) -> tuple[float, float, float]:
    """Three coordinates in mm. Raises InputError."""
    try:
        x, y, z = (float(v) for v in text.split(","))
    except ValueError as fault:
        raise InputError(f"--source {text}: must be X,Y,Z in mm") from fault
    if not all(math.isfinite(v) for v in (x, y, z)):
        raise InputError(f"--source {text}: is not finite")
    return x, y, z


def summary(content: dict[str, Any]) -> str:
    """One line for the terminal."""
    sd, shift = content["standard_errors"], content["correction"]
    across, along = math.hypot(*shift["shift_mm"][:2]), shift["shift_mm"][2]
    doubts = f"; {'; '.join(content['reasons'])}" if content["reasons"] else ""
    return (
        f"count latency {1000 * content['count_latency_s']:.1f} ms (SD {1000 * sd['count_latency_s']:.1f});"
        f" axis moved by {shift['tilt_deg']:.2f} degrees (SD {max(sd['axis_deg']):.2f}),"
        f" centre by {across:.2f} mm across (SD {max(sd['centre_across_mm']):.2f}), {along:.2f} mm along it"
        f" ({content['centre_along_axis']}); draft, accepted{doubts}"
    )
