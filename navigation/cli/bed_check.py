"""`gammanav bed-check`: what a scan says about an outlined resection bed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from navigation.bedfile import REFERENCE, STUDY, read_bed
from navigation.cli.numbers import Finite
from navigation.cli.reconstruct import RESULT_FILES, scan_options
from navigation.offline import ScanOptions


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
@click.option(
    "--bed-frame",
    type=click.Choice((REFERENCE, STUDY)),
    help="Whose coordinates BED has; default: what it says, else reference. One of the study needs --registration.",
)
@click.option(
    "--specimen",
    type=click.Path(path_type=Path),
    help="specimen.json: gives activities a size, and closes the balance with --before.",
)
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
    bed_frame: str | None,
    specimen: Path | None,
) -> None:
    """What SCAN says about the outlined bed: residual activity suspected, none above a threshold, or not assessed."""
    from navigation.bedcheck import check_bed
    from navigation.bedcompare import require_one_nuclide
    from navigation.engine.afterwards import blocked_at, require_one_reference
    from navigation.engine.imaging import without_absence
    from navigation.offline import decay_between, decay_doubt, reconstruct_scan
    from navigation.results import write_bed_check, write_scan_result
    from navigation.specimen import read_specimen
    from tracking.jsonfile import prepare_out
    from tracking.recording.export import open_scan

    outlined = read_bed(bed, depth_mm, bed_frame, registration)
    if before is not None:
        require_one_nuclide(before, scan)
        require_one_reference(before, scan)
    with prepare_out(out, force, (*RESULT_FILES, "bed_check.json")) as folder:
        state = reconstruct_scan(
            scan, probe, ScanOptions(surface, tips, latency, registration, None, case_data, sheath, crosstalk)
        )
        taken = None
        if specimen is not None:
            taken = read_specimen(specimen, state.setup.nuclide, open_scan(scan).reference_time)
        earlier, decay = None, 1.0
        if before is not None:
            earlier = reconstruct_scan(
                before,
                probe,
                ScanOptions(None, tips, latency, registration, sheath=sheath, crosstalk=crosstalk),
            )
            decay = decay_between(before, scan)
        check = check_bed(state, outlined, threshold_kbq, confidence, earlier, decay, taken)
        if before is not None and (doubt := decay_doubt(before, scan)):
            check = replace(check, reasons=(*check.reasons, doubt))
        check = without_absence(check, blocked_at(scan))
        write_scan_result(state.result, folder.path)
        write_bed_check(check, folder.path)
    if state.result.simulated:
        click.echo("SIMULATION")
    click.echo(check.statement)
