"""Writes the DICOM objects of a case into a folder of their own: all of them, or none."""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from navigation.dicomresults.identity import Identity, deidentified, identified
from navigation.dicomresults.place import placement_of, scans_elsewhere
from navigation.report.content import version
from navigation.report.results import CaseReport
from tracking.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from navigation.dicomresults.common import Context

FOLDER = "dicom"
_OURS = re.compile(r"(.+-(activity|mda|regions)|findings|report)\.dcm")


@dataclass(frozen=True, slots=True)
class Written:
    """The files, in the order in which they refer to each other, and what was left out, in words."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def write_dicom(
    case: CaseReport, out_dir: Path, study: Path | None = None, with_identity: bool = False
) -> Written:
    """`out_dir/dicom/*.dcm` of a case: maps, regions, findings, and the report.pdf that lies in `out_dir`.

    `study` is the imported study, by default `study/` beside the results. De-identified unless `with_identity`.
    Raises InputError when identity is wanted and not there, or a file of the case cannot be read; OSError.
    """
    from navigation.dicomresults.common import encoded
    from tracking.jsonfile import prepare_out

    context = context_of(case, study, with_identity)
    left_out: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a name goes out as its study spells it, whatever it looks like
        made = {name: encoded(ds) for name, ds in objects(case, context, out_dir, left_out)}
    target = out_dir / FOLDER
    refuse_foreign(target)
    with prepare_out(target, force=True) as work:
        for name, content in made.items():
            (work.path / name).write_bytes(content)
    for stale in sorted(target.glob("*.dcm")):
        if stale.name not in made:
            stale.unlink()
    return Written(tuple(target / name for name in made), tuple(left_out))


def refuse_foreign(target: Path) -> None:
    """InputError when the folder holds files that are not ours: a study's images may lie in a folder of this name."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file, not a folder")
    if target.is_dir() and any(not _OURS.fullmatch(item.name) for item in target.iterdir()):
        raise InputError(f"{target}: holds other files; name another folder with --out, or give --no-dicom")


def context_of(case: CaseReport, study: Path | None, with_identity: bool) -> Context:
    """What all objects of a case share: whose they are, and where they lie.

    `study` is the imported study, by default `study/` beside the results. Raises InputError where identity is wanted
    and not there, or a registration or the study cannot be read.
    """
    from navigation.dicomresults.common import Context

    folder = study if study is not None else case.folder / "study"
    known = folder if (folder / "study.json").is_file() else None
    who = identified(case, known) if with_identity else deidentified(case, known)
    place = placement_of(case, known, who.key, identified=with_identity)
    return Context(who, place, case.simulated, version(), _measured_s(case), scans_elsewhere(case))


def _measured_s(case: CaseReport) -> float | None:
    """When the last scan was made, as far as its folder says."""
    for scan in reversed(case.scans):
        if scan.scan is not None and scan.scan.measured_s is not None:
            return scan.scan.measured_s
        if scan.scan is not None and scan.scan.reference_time:
            return datetime.fromisoformat(scan.scan.reference_time).timestamp()
    return None


def objects(
    case: CaseReport, context: Context, out_dir: Path, left_out: list[str]
) -> Iterator[tuple[str, Dataset]]:
    """Every object with the name of its file; what cannot be written is said in `left_out`."""
    from navigation.dicomresults.document import encapsulated_pdf
    from navigation.dicomresults.findings import findings
    from navigation.dicomresults.maps import parametric_map
    from navigation.dicomresults.regions import segmentation

    evidence = []
    for number, scan in enumerate(case.scans, start=1):
        here = context.at(scan.name)
        activity = parametric_map(scan, number, "activity", here)
        found = {
            "activity": activity,
            "mda": parametric_map(scan, number, "mda", here),
            "regions": segmentation(scan, number, here, activity),
        }
        for kind, ds in found.items():
            if ds is not None:
                evidence.append(ds)
                yield f"{scan.name}-{kind}.dcm", ds
    yield "findings.dcm", findings(case, context, evidence)
    pdf = out_dir / "report.pdf"
    if not pdf.is_file():
        left_out.append("report.pdf: is not there")
    elif _names_patient(out_dir / "report.html", context.identity):
        left_out.append(
            "report.pdf: holds words of the patient's identity, which a de-identified object must not"
        )
    else:
        yield "report.dcm", encapsulated_pdf(pdf.read_bytes(), context)


def _names_patient(page: Path, who: Identity) -> bool:
    """Whether the page, whose words the PDF has, holds what must not leave."""
    if not who.deidentified or not page.is_file():
        return False
    words = html.unescape(re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")))
    return who.text(words) != words
