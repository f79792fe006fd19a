"""Reads the result folders of a case: what the report says can come from nowhere else.

A case folder holds `scan-1/` and, after a resection, `scan-2/`; beside them `probe.json`, `latency.json`,
`reg.json` and a `study/` where there are any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.findings import spot_from_json
from navigation.io.nrrd import read_nrrd
from navigation.timed.content import read_counts
from navigation.timed.count import TimedCount
from navigation.volume import NOT_EXAMINED, Spot, VoxelGrid
from tracking.errors import InputError
from tracking.jsonfile import read_json
from tracking.scanfolder import Scan, read_scan

# States of a registration (`engine.snapshot.Registration.state`) in which its places may be shown.
TRUSTED_STATES = ("as registered", "verified")
VOLUMES = ("activity", "relative_sd", "mda")


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume of results: `values` k-j-i on `grid`; `examined` is False where it holds no finding."""

    grid: VoxelGrid
    values: NDArray[np.float32]
    examined: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ScanReport:
    """One scan and what was made of it; None for what was not there."""

    name: str
    folder: Path
    scan: Scan | None
    info: dict[str, Any]  # spots.json without the spots
    spots: tuple[Spot, ...]
    volumes: dict[str, Volume]
    bed_check: dict[str, Any] | None
    bed: dict[str, Any] | None
    bed_map: NDArray[np.float64] | None  # rows of bed_map.csv: x, y, z, MDA, upper limit, covered
    shift: dict[str, Any] | None = None  # does the activity lie where the study says

    @property
    def surface_mm(self) -> NDArray[np.float64] | None:
        """Touched points (k, 3) of the body surface in Reference."""
        return None if self.scan is None else self.scan.surface_mm

    @property
    def accepted_spots(self) -> tuple[Spot, ...]:
        """The spots the software stands by."""
        return tuple(s for s in self.spots if s.quality in ("ok", "limited"))


@dataclass(frozen=True, slots=True, eq=False)
class CaseReport:
    """A case as the folders tell it."""

    folder: Path
    scans: tuple[ScanReport, ...]
    probe: dict[str, Any] | None
    latency: dict[str, Any] | None
    registration: dict[str, Any] | None
    study: dict[str, Any] | None
    simulated: bool
    targets: dict[str, Any] | None = None
    study_check: dict[str, Any] | None = None
    about: dict[str, Any] | None = None  # case.json
    journal: dict[str, Any] | None = None  # alarms as they were shown, and marks of what was asked for
    record: Path | None = None
    timed: tuple[TimedCount, ...] = ()  # timed counts

    @property
    def nuclide(self) -> str | None:
        """The nuclide the scans name, else the case."""
        names = [*(s.info.get("nuclide") for s in self.scans), (self.about or {}).get("nuclide")]
        return next((str(n) for n in names if n), None)

    @property
    def T_ras_reference(self) -> NDArray[np.float64] | None:
        """(4, 4) into the patient's RAS axes when an accepted registration says so."""
        reg = self.registration
        if not reg or not reg.get("accepted", False) or "T_ras_reference" not in reg:
            return None
        return np.asarray(reg["T_ras_reference"], dtype=np.float64)


def read_case(folder: Path, record: Path | None = None) -> CaseReport:
    """Everything the report needs from `folder`; the record is by default the only one beside the results.

    Raises InputError when there is neither a scan result nor a timed count, or when a file cannot be read.
    """
    timed = read_counts(folder)
    present = _scan_folders(folder)
    if not present and (folder / "spots.json").is_file():
        present = [folder]
    if not present and not timed:
        raise InputError(f"{folder}: no results here (looked for scan-1/spots.json)")
    # In the order in which they were made; hand-made folders may all begin at 0, and are taken by name.
    scans = tuple(sorted((_read_scan_report(p, p is folder) for p in present), key=_began_s))
    probe, about = _optional(folder / "probe.json"), _optional(folder / "case.json")
    return CaseReport(
        folder=folder,
        scans=scans,
        probe=probe,
        latency=_optional(folder / "latency.json"),
        registration=_registration(folder),
        study=_optional(folder / "study" / "study.json"),
        simulated=_simulated(scans, probe) or bool(about and about.get("simulated")),
        targets=_optional(folder / "targets.json"),
        study_check=_optional(folder / "study_check.json"),
        about=about,
        journal=_optional(folder / "journal.json"),
        record=_only_record(folder) if record is None else record,
        timed=timed,
    )


def _simulated(scans: Iterable[ScanReport], probe: dict[str, Any] | None) -> bool:
    """One simulated source makes the whole case simulated."""
    said = [bool(probe and probe.get("simulated"))]
    for scan in scans:
        said += [bool(scan.info.get("simulated")), scan.scan is not None and scan.scan.simulated]
    return any(said)


def _scan_folders(folder: Path) -> list[Path]:
    """Every folder of results, by name."""
    return sorted((p.parent for p in folder.glob("*/spots.json")), key=lambda p: p.name)


def _began_s(scan: ScanReport) -> float:
    """When it began, on the clock that the scans of a case share; 0 where it is not told."""
    return 0.0 if scan.scan is None or not len(scan.scan.counts.t_s) else float(scan.scan.counts.t_s[0])


def _only_record(folder: Path) -> Path | None:
    found = sorted(folder.glob("*.gnav"))
    return found[0] if len(found) == 1 else None


def _optional(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _registration(folder: Path) -> dict[str, Any] | None:
    """reg.json, else the one that held at the end of the case; with the map into RAS axes: its target is LPS."""
    reg = _optional(folder / "reg.json") or _last_registration(folder / "registrations.json")
    if reg is not None and "T_target_source" in reg:
        to_lps = np.asarray(reg["T_target_source"], dtype=np.float64)
        reg["T_ras_reference"] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_lps
    elsewhere = (_optional(folder / "registrations.json") or {}).get("scans_elsewhere")
    if reg is None or not elsewhere:
        return reg
    # One registration cannot place the scans of before and after a move of the reference.
    reason = f"the reference has moved since {', '.join(map(str, elsewhere))}"
    return {**reg, "accepted": False, "reasons": [*(reg.get("reasons") or ()), reason]}


def _last_registration(path: Path) -> dict[str, Any] | None:
    """The newest entry of registrations.json as reg.json has it; accepted while nothing speaks against it."""
    found = _optional(path)
    if found is None or not found.get("registrations"):
        return None
    entry, state = found["registrations"][-1], str(found.get("state", ""))
    error = entry.get("tre_mm")
    return {
        "id": entry.get("id"),
        "method": entry.get("method"),
        "T_target_source": entry["T_study_reference"],
        "tre_mm": {"targets": [], "predicted": [] if error is None else [error]},
        "accepted": state in TRUSTED_STATES,
        "reasons": [] if state in TRUSTED_STATES else [state],
    }


def _read_scan_report(folder: Path, alone: bool = False) -> ScanReport:
    info = read_json(folder / "spots.json")
    items = info.pop("spots", ())
    spots = tuple(spot_from_json(s, f"{folder / 'spots.json'}, spot {n}") for n, s in enumerate(items, 1))
    volumes = {n: _read_volume(folder / f"{n}.nrrd") for n in VOLUMES if (folder / f"{n}.nrrd").is_file()}
    if "activity" in volumes and "mda" in volumes:
        activity, mda = volumes["activity"], volumes["mda"]
        if activity.values.shape == mda.values.shape:
            volumes["activity"] = Volume(activity.grid, activity.values, mda.examined)
    return ScanReport(
        name="scan-1" if alone else folder.name,
        folder=folder,
        scan=read_scan(folder) if (folder / "scan.json").is_file() else None,
        info=info,
        spots=spots,
        volumes=volumes,
        bed_check=_optional(folder / "bed_check.json"),
        bed=_optional(folder / "bed.json") or _optional(folder.parent / "bed.json"),
        bed_map=_read_bed_map(folder / "bed_map.csv"),
        shift=_optional(folder / "shift.json"),
    )


def _read_bed_map(path: Path) -> NDArray[np.float64] | None:
    """The bed voxel by voxel (m, 6), None without it; an empty cell is NaN. What follows these six is left out."""
    if not path.is_file():
        return None
    rows = path.read_text(encoding="utf-8").splitlines()[1:]
    try:
        told = [row.split(",")[:6] for row in rows if row.strip()]
        cells = [[float(c) if c.strip() else np.nan for c in row] for row in told]
        table = np.asarray(cells, dtype=np.float64).reshape(len(cells), 6)
    except ValueError as error:
        raise InputError(f"{path}: a row is not six numbers") from error
    return table


def _read_volume(path: Path) -> Volume:
    stored = read_nrrd(path)
    try:
        sentinel = np.float32(stored.keys.get("not_examined", NOT_EXAMINED))
    except ValueError as error:
        raise InputError(f"{path}: key not_examined is no number") from error
    return Volume(stored.grid, stored.array, stored.array != sentinel)
