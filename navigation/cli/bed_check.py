"""`gammanav bed-check`: what a scan says about an outlined resection bed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from navigation.bed import Bed
from navigation.cli.numbers import Finite
from navigation.cli.reconstruct import RESULT_FILES, scan_options
from navigation.offline import ScanOptions
from tracking.errors import InputError


@click.command(
    "bed-check",
    epilog="Example: gammanav bed-check scan-2 --probe probe.json --bed bed.json --threshold-kbq 4 --out result",
    short_help="What a scan says about a resection bed.",
)
@click.argument("scan", type=click.Path(path_type=Path))
@scan_options
@click.option(
    "--bed", required=True, type=click.Path(path_type=Path), help="bed.json, or .ply/.stl with --depth-mm."
)
@click.option("--threshold-kbq", required=True, type=Finite(min=0.0, min_open=True))
@click.option("--confidence", default=0.95, show_default=True, type=Finite(0.5, 0.9999))
@click.option(
    "--before", type=click.Path(path_type=Path), help="Scan before the resection: activity removed."
)
@click.option("--depth-mm", type=Finite(min=0.5), help="Depth of the bed behind its surface.")
def command(
    scan: Path,
    probe: Path,
    surface: Path | None,
    tips: tuple[Path, ...],
    latency: Path | None,
    registration: Path | None,
    case_data: Path | None,
    sheath: Path | None,
    crosstalk: Path | None,
    out: Path,
    force: bool,
    bed: Path,
    threshold_kbq: float,
    confidence: float,
    before: Path | None,
    depth_mm: float | None,
) -> None:
    """What SCAN says about the outlined bed: residual activity suspected, none above a threshold, or not assessed."""
    from navigation.bedcheck import check_bed
    from navigation.engine.afterwards import blocked_at
    from navigation.engine.imaging import without_absence
    from navigation.offline import decay_between, decay_doubt, reconstruct_scan
    from navigation.results import write_bed_check, write_scan_result
    from tracking.jsonfile import prepare_out

    outlined = read_bed(bed, depth_mm)
    with prepare_out(out, force, (*RESULT_FILES, "bed_check.json")) as folder:
        state = reconstruct_scan(
            scan, probe, ScanOptions(surface, tips, latency, registration, None, case_data, sheath, crosstalk)
        )
        earlier, decay = None, 1.0
        if before is not None:
            earlier = reconstruct_scan(
                before,
                probe,
                ScanOptions(None, tips, latency, registration, sheath=sheath, crosstalk=crosstalk),
            )
            decay = decay_between(before, scan)
        check = check_bed(state, outlined, threshold_kbq, confidence, earlier, decay)
        if before is not None and (doubt := decay_doubt(before, scan)):
            check = replace(check, reasons=(*check.reasons, doubt))
        check = without_absence(check, blocked_at(scan))
        write_scan_result(state.result, folder.path)
        write_bed_check(check, folder.path)
    if state.result.simulated:
        click.echo("SIMULATION")
    click.echo(check.statement)


def read_bed(path: Path, depth_mm: float | None) -> Bed:
    """The outlined bed. Raises InputError."""
    from navigation.surface import FEWEST_POINTS, read_surface
    from tracking.jsonfile import read_json

    if path.suffix.lower() in (".ply", ".stl"):
        if depth_mm is None:
            raise InputError(f"{path}: a mesh needs --depth-mm")
        return Bed(read_surface(path), depth_mm)
    content = read_json(path)
    try:
        points = np.array(content["points_mm"], dtype=np.float64)
        depth = float(content["depth_mm"]) if depth_mm is None else depth_mm
    except (KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: points_mm or depth_mm is missing or malformed ({fault})") from fault
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < FEWEST_POINTS:
        raise InputError(f"{path}: points_mm must be at least {FEWEST_POINTS} points of 3 numbers")
    if not np.isfinite(points).all():
        raise InputError(f"{path}: points_mm holds a number that is not finite")
    if not np.isfinite(depth) or depth <= 0:
        raise InputError(f"{path}: depth_mm must be a positive number")
    return Bed(points, depth)
