"""Writes the report of a case: pictures first, then the same document as HTML and as PDF."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from navigation.report.charts import bed_picture, rate_picture
from navigation.report.content import Pictures, document
from navigation.report.html import render_html
from navigation.report.maps import front_picture, overview_picture, spot_picture
from navigation.report.pdf import render_pdf
from navigation.report.results import CaseReport, read_case


def write_report(out_dir: Path, results_dir: Path | None = None) -> None:
    """`out_dir/report.html`, `report.pdf` and `pictures/*.png` of the results in `results_dir` (default: out_dir).

    Raises InputError when there are no results or one of them cannot be read; then nothing is written.
    """
    case = read_case(results_dir or out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    report = document(case, draw_pictures(case, out_dir / "pictures"))
    _replace(out_dir / "report.html", render_html(report).encode())
    _replace(out_dir / "report.pdf", render_pdf(report))


def draw_pictures(case: CaseReport, folder: Path) -> Pictures:
    """Every picture that the results allow, keyed by (scan, what)."""
    made: Pictures = {}
    for scan in case.scans:
        tasks: dict[str, Callable[[Path], bool]] = {
            "overview": partial(overview_picture, case, scan),
            "rate": partial(rate_picture, case, scan),
            "bed": partial(bed_picture, case, scan),
        }
        if scan is case.scans[0]:
            tasks["front"] = partial(front_picture, case, scan)
        for spot in scan.accepted_spots:
            tasks[f"spot-{spot.id}"] = partial(spot_picture, case, scan, spot)
        for what, draw in tasks.items():
            path = folder / f"{scan.name}-{what}.png"
            if draw(path):
                made[scan.name, what] = path
    return made


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all: a reader never meets half a report."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
