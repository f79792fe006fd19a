"""`gammanav calibrate detector`: response of a probe from a point-source grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing, write_result
from navigation.cli.sourceoptions import source_options
from navigation.plots import plots_option, write_plots
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from calibration.probe.gridfit import Grid


@click.command(
    "detector",
    epilog="Example: gammanav calibrate detector grid.csv --nuclide Tc-99m --air-water aw.json --out probe.json",
    short_help="Detector response from a point-source grid.",
)
@click.argument("grid", type=click.Path(path_type=Path))
@click.option("--nuclide", required=True, help="Nuclide of the source, such as Tc-99m.")
@click.option("--window-kev", help="Energy window LO,HI; default 20 % round the main line.")
@click.option("--air-water", type=click.Path(path_type=Path), help="Air/water measurement (JSON).")
@click.option("--probe-serial", help="Serial number the calibration is bound to.")
@click.option("--collimator", help="Collimator the calibration is bound to.")
@click.option("--operator", help="Who measured; another person approves.")
@click.option("--dead-time-s", type=Finite(min=0.0), help="Dead time of the counter in s.")
@click.option("--dead-time", type=click.Path(path_type=Path), help="deadtime.json of the same counter.")
@click.option(
    "--grid-time",
    type=click.Choice(["live", "clock"]),
    help="live: live_s leaves the dead time out; clock: it does not, and the losses are made good. Default: clock"
    " with --dead-time, whose counter told its losses, else live.",
)
@source_options
@click.option("--case", type=click.Path(path_type=Path), help="Case file; its table [gates] sets thresholds.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, probe.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
@plots_option
def command(
    grid: Path,
    nuclide: str,
    window_kev: str | None,
    air_water: Path | None,
    probe_serial: str | None,
    collimator: str | None,
    operator: str | None,
    dead_time_s: float | None,
    dead_time: Path | None,
    grid_time: str | None,
    source_relative_sd: float | None,
    calibrator_id: str | None,
    assay_time: str | None,
    measured_at: str | None,
    case: Path | None,
    out: Path,
    force: bool,
    plots: bool,
) -> None:
    """Response of a probe from a point source on a grid in front of its face, in air.

    GRID has the columns r_mm,z_mm,counts,live_s,activity_kbq; with --grid-time clock what the counter lost to
    dead time is made good. The result is a draft until someone signs it.
    """
    from calibration.gates import read_gates
    from calibration.physics.nuclide import nuclide as nuclide_by_name
    from calibration.physics.source import source_statement
    from calibration.probe.detector import calibrate, read_air_water, read_grid
    from calibration.records.record import sealed
    from navigation.plots.detector import detector_plots

    refuse_existing(out, force)
    gates = read_gates(case).detector
    known = nuclide_by_name(nuclide)
    source = source_statement(known, source_relative_sd, calibrator_id, assay_time, measured_at)
    window = None if window_kev is None else parse_window(window_kev)
    measured = None if air_water is None else read_air_water(air_water)
    points, doubts, dead = counted(read_grid(grid), dead_time_s, dead_time, probe_serial, grid_time)
    extra = {"probe_serial": probe_serial, "collimator": collimator, "operator": operator, **dead}
    content = calibrate(
        points,
        known,
        window,
        measured,
        extra={k: v for k, v in extra.items() if v is not None},
        gates=gates,
        source=source,
    )
    if doubts:
        content = sealed(content | {"reasons": [*content["reasons"], *doubts]})
    write_result(out, content)
    write_plots(lambda: detector_plots(out, points, content), plots)
    if content["accepted"] is not True:
        raise GateRefusedError(f"{out}: detector calibration refused: {'; '.join(content['reasons'])}")
    click.echo(summary(content))


def counted(
    points: Grid,
    dead_time_s: float | None,
    measured: Path | None,
    probe_serial: str | None,
    grid_time: str | None,
) -> tuple[Grid, list[str], dict[str, Any]]:
    """The grid without its losses, what is doubtful of that, and the keys of probe.json.

    Raises InputError when both figure and file are given, GateRefusedError for a file of another probe.
    """
    from calibration.counter.deadtime import DeadTime
    from calibration.counter.deadtimecheck import corrected_grid, doubt_of_grid, read_dead_time

    if dead_time_s is not None and measured is not None:
        raise InputError("--dead-time-s and --dead-time: give one of them")
    if measured is None:
        if dead_time_s is None:
            return points, [], {}
        dead, record = DeadTime(dead_time_s), dict[str, Any]()
    else:
        dead, record = read_dead_time(measured)
        whose = record.get("probe_serial")
        if None not in (whose, probe_serial) and whose != probe_serial:
            raise GateRefusedError(f"{measured}: the dead time is of probe {whose}, not of {probe_serial}")
    clock = grid_time == "clock" or (grid_time is None and measured is not None)
    told = dead.content() | {"grid_time": "clock" if clock else "live"}
    if "id" in record:
        told["dead_time_id"] = record["id"]
    doubts = doubt_of_grid(points, dead, clock)
    if not clock:
        return points, doubts, told
    kept, left_out = corrected_grid(points, dead)
    return kept, left_out + doubts, told


def parse_window(text: str) -> tuple[float, float]:
    """Two energies in keV. Raises InputError."""
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError as fault:
        raise InputError(f"--window-kev {text}: must be LO,HI in keV") from fault
    if not 0.0 < low < high < math.inf:
        raise InputError(f"--window-kev {text}: must be 0 < LO < HI")
    return low, high


def summary(content: dict[str, Any]) -> str:
    """One line for the terminal."""
    axis = content["response"]["on_axis_cps_per_mbq"]
    doubts = f"; {'; '.join(content['reasons'])}" if content["reasons"] else ""
    return (
        f"{content['nuclide']}: {axis['10mm']:.0f}, {axis['30mm']:.0f}, {axis['50mm']:.0f} cps/MBq at 10, 30, 50 mm,"
        f" known to {100.0 * content['response']['scale_relative_sd']:.1f} %; {attenuation_words(content)};"
        f" held-out chi2/dof {content['held_out_chi2_per_dof']:.2f}; draft, accepted{doubts}"
    )


def attenuation_words(content: dict[str, Any]) -> str:
    """Effective attenuation at the middle distance: predicted, and measured where it was."""
    found = content["attenuation"]
    middle = len(found["distance_mm"]) // 2
    at = f"effective mu of water at {found['distance_mm'][middle]:g} mm"
    predicted = found["predicted_effective_mu_per_cm"][middle]
    if "effective_mu_per_cm" not in found:
        return f"{at} predicted {predicted:.4f}/cm"
    measured = found["effective_mu_per_cm"][middle]
    return (
        f"{at} measured {measured:.4f}/cm, predicted {predicted:.4f} (difference {measured - predicted:+.4f})"
    )
