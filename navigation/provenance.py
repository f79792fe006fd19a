"""Which calibration records a scan rests on, and whether they belong together and to the scan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.probe.response import DetectorResponse, load_response
from calibration.records.binding import Identity, require_match
from calibration.records.record import TIP, UNSEALED, RecordStamp, require_usable
from navigation.io.study import load_study
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json
from tracking.scanfolder import MARKER_POSES, Scan

# Modalities of a study that show a tracer.
FUNCTIONAL = ("NM", "PT")


def identity_of(scan: Scan) -> Identity:
    """What the scan states of nuclide, window, probe and collimator. Raises InputError naming its head and the key."""
    head = scan.source / "scan.json" if scan.source.is_dir() else scan.source
    return Identity.of({"nuclide": scan.nuclide, **scan.stated}, head)


def response_for(scan: Scan, probe: Path) -> DetectorResponse:
    """The calibration in the file or store `probe` for this scan.

    Raises InputError, and GateRefusedError for one that is altered, refused, expired or of something else.
    """
    stated = identity_of(scan)
    response = load_response(probe, stated, scan.measured_on)
    require_match(response.identity, stated, "the scan", probe)
    return response


def other_records(
    scan: Scan, tips: Sequence[Path], more: Sequence[Path | None], response: DetectorResponse
) -> tuple[RecordStamp, ...]:
    """Stamps of the files that are used with the scan: of the tip, and `more` of latency, sheath, crosstalk.

    Raises GateRefusedError for one that may not be used or is of another probe, InputError.
    """
    own = scan.source / "tip.json"
    moved = scan.pose_name == MARKER_POSES and (tips or response.T_probe_probetip is None)
    used = [*([own] if moved and own.is_file() else []), *(tips if moved else ())]
    files = (*used, *(f for f in more if f is not None))
    return tuple(stamp_of(path, response.identity, scan.measured_on) for path in files)


def stamp_of(path: Path, calibration: Identity, day: date | None = None) -> RecordStamp:
    """The stamp of another file that is used with a detector's calibration; a PLUS file is named as unsealed.

    Raises GateRefusedError when it may not be used on `day` (default: today) or is of another probe, InputError.
    """
    if path.suffix.lower() == ".xml":
        return RecordStamp(path.name, TIP, UNSEALED)
    content = read_json(path)
    require_usable(content, path, day)
    stated = Identity.of({"probe_serial": content.get("probe_serial")}, path)
    require_match(calibration, stated, path.name, path)
    return RecordStamp.of(content, path)


def require_study(study: Path, nuclide: str) -> tuple[str, ...]:
    """What is doubtful of a study's nuclide beside the scan's (H11).

    A PET of another nuclide is told: its tracer may go to the same place, as Ga-68 before Tc-99m. Raises
    GateRefusedError when an NM series is of another nuclide, InputError for a study that cannot be read.
    """
    scanned, told = nuclide_by_name(nuclide).name, []
    for series in load_study(study).series:
        if series.modality not in FUNCTIONAL:
            continue
        name = (series.facts.get("radiopharmaceutical") or {}).get("nuclide")
        known = None if name is None else _known(str(name))
        if known is None:
            told.append(f"unverified: the study's {series.modality} series names no known nuclide")
        elif known != scanned and series.modality == "NM":
            raise GateRefusedError(f"{study}: its NM series is of {known}, the scan is {scanned}")
        elif known != scanned:
            told.append(f"the study's {series.modality} series is of {known}, the scan is {scanned}")
    return tuple(told)


def _known(name: str) -> str | None:
    try:
        return nuclide_by_name(name).name
    except InputError:
        return None
