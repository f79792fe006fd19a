"""Writes the report of a case: pictures first, then the same document as HTML and as PDF."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from navigation.report.anatomy import Anatomy, anatomy_of
from navigation.report.charts import bed_picture, rate_picture
from navigation.report.content import CASE, Pictures, document
from navigation.report.html import render_html
from navigation.report.maps import front_picture, overview_picture, spot_picture
from navigation.report.pdf import render_pdf
from navigation.report.planes import planes_picture
from navigation.report.results import CaseReport, read_case
from navigation.report.tables import tables_of
from navigation.report.view3d import view3d_picture


def write_report(
    out_dir: Path, results_dir: Path | None = None, study: Path | None = None, record: Path | None = None
) -> None:
    """`report.html`, `report.pdf`, `pictures/*.png` and `tables/*.csv` in `out_dir`, of the results in `results_dir`.

    `results_dir` is by default `out_dir`, `study` (imported) the folder `study` beside the results, `record` the only
    one there. Raises InputError when there are no results, one of them cannot be read, or the study is another one;
    then nothing is written.
    """
    case = read_case(results_dir or out_dir, record)
    anatomy = anatomy_of(case, study)
    out_dir.mkdir(parents=True, exist_ok=True)
    report = document(case, draw_pictures(case, out_dir / "pictures", anatomy))
    _replace(out_dir / "report.html", render_html(report).encode())
    _replace(out_dir / "report.pdf", render_pdf(report))
    (out_dir / "tables").mkdir(exist_ok=True)
    for name, content in tables_of(case).items():
        _replace(out_dir / "tables" / name, content.encode())


def draw_pictures(case: CaseReport, folder: Path, anatomy: Anatomy | None = None) -> Pictures:
    """Every picture that the results allow, keyed by (scan, what); those of the whole case under CASE."""
    made: Pictures = {}
    for name, picture in (("planes", planes_picture), ("view3d", view3d_picture)):
        if case.scans and picture(case, anatomy, folder / f"{name}.png"):
            made[CASE, name] = folder / f"{name}.png"
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
