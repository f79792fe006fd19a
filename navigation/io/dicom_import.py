"""The part of a study's import that touches foreign files, for a child process with bounded memory and time.

Reads a folder, refuses it with every defect named, or writes one NRRD per series and study.json.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from navigation.io.defects import Code, Defect
from navigation.io.dicom_headers import UnreadableError
from navigation.io.dicom_identity import Redactor, alias, owner_of, same_patient, strangers
from navigation.io.dicom_outlines import Written, geometry_json, write_outlines
from navigation.io.dicom_pixels import load_volume
from navigation.io.dicom_series import Contents, Series, copies_of, read_folder, series_of
from navigation.io.nrrd import fits_short, write_nrrd
from navigation.io.studyfile import grid_from
from tracking.errors import InputError
from tracking.jsonfile import write_json

# A volume of the largest allowed size, its float64 slices and the libraries' own address space.
MEMORY_LIMIT_BYTES = 4 << 30
CPU_LIMIT_S = 120
STUDY_FORMAT = 1
RESAMPLE_TILT = "resample-tilt"
# More unreadable files than this are counted, not listed.
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    folder: str
    out: str
    resample_tilt: bool = False
    leave_out_defective: bool = False
    identified: bool = False
    drop_copies: bool = False


def import_folder(options: Options) -> dict[str, Any]:
    """Write the study into `options.out`, return study.json's content. Raises InputError with all defects."""
    contents = _without_copies(read_folder(Path(options.folder)), options)
    owners = {path: owner_of(path) for path, _ in contents.outlines}
    facts = [*(h.patient for h in contents.headers), *(f for f in owners.values() if f is not None)]
    redactor = Redactor(word for one in facts for word in one.words)
    series = series_of(contents.headers)
    wanted = [s for s in series if not _stops(s, options)]
    try:
        _refuse(options, contents, series, wanted)
        entries = [_write_series(s, n, Path(options.out)) for n, s in enumerate(wanted, start=1)]
    except UnreadableError as fault:
        raise InputError(f"{options.folder}: {redactor.text(f'{Code.UNREADABLE}: {fault}')}") from None
    except DefectiveError as fault:
        raise InputError(f"{options.folder}: {redactor.text(str(fault))}") from None
    homes = [
        Written(s, e["id"], grid_from(e["geometry"]), e["usable"])
        for s, e in zip(wanted, entries, strict=True)
    ]
    patient = wanted[0].first.patient
    mine = {path for path, owner in owners.items() if owner is None or same_patient(owner, patient)}
    drawn = [file for file in contents.outlines if file[0] in mine]
    structures, broken = write_outlines(drawn, homes, Path(options.out))
    broken += [
        {"source": source, "notes": [f"{Code.MIXED_PATIENTS}: it is of another patient"]}
        for path, source in contents.outlines
        if path not in mine
    ]
    left_out = [s for s in series if s not in wanted]
    study = _study(entries, structures, wanted, left_out, contents)
    study["structures_left_out"] = broken
    content: dict[str, Any] = redactor.tree(study)
    uids = _hide_uids(content, redactor)
    content["patient"] = _patient(wanted, entries, uids, options)
    write_json(Path(options.out) / "study.json", content)
    return content


def _without_copies(contents: Contents, options: Options) -> Contents:
    """The contents without files that are there twice, if that was confirmed."""
    copies = copies_of(contents.headers) if options.drop_copies else ()
    if not copies:
        return contents
    kept = tuple(h for h in contents.headers if h not in copies)
    return replace(contents, headers=kept, skipped=contents.skipped + Counter({"copy": len(copies)}))


class DefectiveError(Exception):
    """The folder may not be imported; the text names every defect."""


def _hide_uids(study: dict[str, Any], redactor: Redactor) -> dict[str, str]:
    """Put other UIDs in the place of those that identify; returns them with what they stand for."""
    used: dict[str, str] = {}
    for entry in (*study["series"], *study["structures"]):
        for key in ("study_uid", "series_uid", "frame_of_reference"):
            uid = entry.get(key)
            if uid is not None:
                entry[key] = redactor.frame(uid) if key == "frame_of_reference" else alias(uid)
                used[entry[key]] = uid
    return {other: uid for other, uid in used.items() if other != uid}


def _patient(
    wanted: Sequence[Series], entries: Sequence[dict[str, Any]], uids: dict[str, str], options: Options
) -> dict[str, Any]:
    """The one table that tells of a person: who, and when."""
    first = wanted[0].first
    table = first.patient.as_json(options.identified, first.study_uid)
    table["clocks"] = {e["id"]: s.clock.as_json() for s, e in zip(wanted, entries, strict=True)}
    return table | ({"uids": uids} if options.identified else {})


def _stops(series: Series, options: Options) -> bool:
    """Whether a series may not be imported: a fatal defect without a confirmed remedy."""
    remedied = options.resample_tilt and all(d.code == Code.GANTRY_TILT for d in series.fatal)
    return bool(series.fatal) and not remedied


def _refuse(options: Options, contents: Contents, series: Sequence[Series], wanted: Sequence[Series]) -> None:
    """DefectiveError that names every defect of the folder, unless it can be imported."""
    complaints = [_unreadable(contents)] if contents.unreadable else []
    patients = {s.first.patient.id for s in wanted} - {""}
    if len(patients) > 1 or strangers(s.first.patient for s in wanted):
        complaints.append(f"{Code.MIXED_PATIENTS}: images of {max(len(patients), 2)} patients")
    if not wanted or (len(wanted) < len(series) and not options.leave_out_defective):
        complaints += [_complaint(s) for s in series if s.defects]
        if any(d.code == Code.GANTRY_TILT for s in series for d in s.fatal) and not options.resample_tilt:
            complaints.append("--resample-tilt confirms setting a tilted series upright")
        doubled = any(d.code == Code.DUPLICATE_POSITION for s in series for d in s.fatal)
        copies = len(copies_of(contents.headers)) if doubled else 0
        if copies:
            complaints.append(f"--drop-copies confirms leaving out {copies} files that are there twice")
        if wanted:
            complaints.append("--leave-out-defective imports the other series")
    if not series and not complaints:
        complaints.append(f"{Code.NOT_A_VOLUME}: no image series that forms a volume ({_kinds(contents)})")
    if complaints:
        raise DefectiveError("; ".join(complaints))


def _kinds(contents: Contents) -> str:
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(contents.skipped.items()))
    return f"skipped: {kinds}" if kinds else "the folder is empty"


def _unreadable(contents: Contents) -> str:
    named = ", ".join(f"{path.name} ({fault})" for path, fault in contents.unreadable[:_MOST_NAMED])
    more = len(contents.unreadable) - _MOST_NAMED
    return f"{Code.UNREADABLE}: {named}" + (f" and {more} more files" if more > 0 else "")


def _complaint(series: Series) -> str:
    defects = "; ".join(str(d) for d in series.defects)
    return f"{defects} ({series.first.modality} series of {series.slices} slices)"


def _write_series(series: Series, number: int, out: Path) -> dict[str, Any]:
    """The NRRD of one series and its entry in study.json."""
    first = series.first
    volume, grid = load_volume(series)
    name = f"{first.modality.lower()}-{number}.nrrd"
    units = first.meanings[0].units
    keys = {"modality": first.modality, "units": units}
    if first.facts.simulated:
        keys["simulation"] = "SIMULATION"
    write_nrrd(out / name, volume, grid, keys, stored="short" if fits_short(volume) else "float")
    tilted = any(d.code == Code.GANTRY_TILT for d in series.defects)
    return {
        "id": f"series-{number}",
        "file": name,
        "modality": first.modality,
        "study_uid": first.study_uid,
        "series_uid": first.series_uid,
        "frame_of_reference": first.frame_of_reference,
        "patient_position": first.patient_position,
        "units": units,
        "slices": series.slices,
        "geometry": geometry_json(grid),
        "remedies": [RESAMPLE_TILT] if tilted else [],
        **_defects(series.defects),
        **first.facts.as_json(),
        "lossy_compression": any(h.facts.lossy for h in series.headers),
        "decay_reference_s": series.clock.after_acquisition_s(),
    }


def _defects(defects: Sequence[Defect]) -> dict[str, Any]:
    return {
        "defects": list(dict.fromkeys(d.code.value for d in defects)),
        "notes": [str(d) for d in defects],
        "usable": not any(d.code.needs_registration for d in defects),
    }


def _study(
    entries: list[dict[str, Any]],
    structures: list[dict[str, Any]],
    wanted: Sequence[Series],
    left_out: Sequence[Series],
    contents: Contents,
) -> dict[str, Any]:
    """Content of study.json; whose study it is comes into `patient` and stands nowhere else."""
    return {
        "format": STUDY_FORMAT,
        "simulated": any(s.first.facts.simulated for s in wanted),
        "patient": {},
        "series": entries,
        "structures": structures,
        "defects": sorted({code for entry in entries for code in entry["defects"]}),
        "left_out": [
            {"modality": s.first.modality, "slices": s.slices, **_defects(s.defects), "usable": False}
            for s in left_out
        ],
        "skipped": {"files": sum(contents.skipped.values()), "kinds": dict(sorted(contents.skipped.items()))},
    }


def _limit(what: int, most: int) -> None:
    """Lower a limit of this process; one that is lower already stays."""
    _, hard = resource.getrlimit(what)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, bound))


def restrict() -> None:
    """Bound the memory of this process for good, and keep its libraries quiet."""
    _limit(resource.RLIMIT_AS, MEMORY_LIMIT_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    logging.disable(logging.CRITICAL)


def main() -> None:
    """Entry point of the child: options as JSON on stdin, the outcome as JSON on stdout."""
    restrict()
    _limit(resource.RLIMIT_CPU, CPU_LIMIT_S)
    options = Options(**json.load(sys.stdin))
    try:
        outcome: dict[str, Any] = {"study": import_folder(options)}
    except InputError as fault:
        outcome = {"input": str(fault)}
    except MemoryError:
        outcome = {
            "input": f"{options.folder}: {Code.UNREADABLE}: more than {MEMORY_LIMIT_BYTES >> 30} GiB needed"
        }
    except OSError as fault:
        outcome = {"surroundings": f"{fault.filename or options.out}: {fault.strerror or fault}"}
    json.dump(outcome, sys.stdout)
