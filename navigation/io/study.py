"""A preoperative study: imported from DICOM with its geometry proven, loaded as volumes in the patient's LPS.

The import runs in a child process, because DICOM files come from anywhere (hazard H26).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navigation.io.studyfile import StudySeries, StudyStructure, series_from, structure_from
from navigation.registration.series import with_registrations
from tracking.errors import InputError, SurroundingsError
from tracking.jsonfile import prepare_out, read_json

# A study of 500 slices takes some ten seconds; what takes longer than this does not end.
TIME_LIMIT_S = 60.0
__all__ = ["Study", "StudySeries", "StudyStructure", "import_study", "load_study"]
# Lists that are made over an imported study, and what marks those of the study that lay here before.
PLANNED, REGISTRATIONS, EARLIER = (
    ("targets.json", "regions.json", "fiducials.json"),
    "registrations",
    "earlier-",
)
_CHILD = "from navigation.io.dicom_import import main; main()"


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """An imported study folder."""

    path: Path
    series: tuple[StudySeries, ...]
    patient: dict[str, Any]
    simulated: bool
    structures: tuple[StudyStructure, ...] = ()

    @property
    def ct(self) -> StudySeries | None:
        """The first CT, if there is one."""
        return self._first("CT")

    @property
    def functional(self) -> StudySeries | None:
        """The first NM or else PET series, if there is one."""
        return self._first("NM") or self._first("PT")

    def _first(self, modality: str) -> StudySeries | None:
        return next((s for s in self.series if s.modality == modality), None)


def import_study(
    folder: Path,
    out: Path,
    *,
    resample_tilt: bool = False,
    leave_out_defective: bool = False,
    identified: bool = False,
    drop_copies: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Import a DICOM folder into the study folder `out` and return study.json's content.

    Raises InputError that names every defect (nothing is written), SurroundingsError when writing fails.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such file or folder")
    with prepare_out(out, force) as work:
        options = {
            "folder": str(folder),
            "out": str(work.path),
            "resample_tilt": resample_tilt,
            "leave_out_defective": leave_out_defective,
            "identified": identified,
            "drop_copies": drop_copies,
        }
        outcome = _outcome(_run_child(json.dumps(options), folder), folder)
        _set_aside(out, {item.name for item in work.path.iterdir()})
        return outcome


def _set_aside(out: Path, written: set[str]) -> None:
    """What was planned on another study, or is left of it, is none of the new one's: kept under another name.

    Raises OSError.
    """
    if not (out / "study.json").is_file():
        return
    for item in sorted(out.iterdir()):
        ours = item.name in PLANNED or item.name == REGISTRATIONS or item.suffix == ".nrrd"
        if ours and item.name not in written and not item.name.startswith(EARLIER):
            number = 1
            while (out / f"{EARLIER}{number}-{item.name}").exists():
                number += 1
            item.rename(out / f"{EARLIER}{number}-{item.name}")


def _run_child(request: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the reader; -P: Python files in the current folder, perhaps the foreign disc, are not run."""
    paths = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=request,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{folder}: UNREADABLE: not read within {TIME_LIMIT_S:.0f} s") from None


def _outcome(done: subprocess.CompletedProcess[str], folder: Path) -> dict[str, Any]:
    """The study, or the child's complaint as an error; a child that died is the files' doing."""
    if done.returncode != 0 or not done.stdout:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise InputError(f"{folder}: UNREADABLE: the reader failed ({last})")
    outcome = json.loads(done.stdout)
    if "input" in outcome:
        raise InputError(str(outcome["input"]))
    if "surroundings" in outcome:
        raise SurroundingsError(str(outcome["surroundings"]))
    study: dict[str, Any] = outcome["study"]
    return study


def load_study(path: Path) -> Study:
    """Read a study folder written by `import_study`; volumes are read on demand. Raises InputError."""
    file = path / "study.json" if path.is_dir() else path
    content = read_json(file)
    entries = content.get("series")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{file}, series: is missing or empty")
    patient = dict(content.get("patient") or {})
    clocks = patient.get("clocks")
    series = tuple(series_from(entry, file, number, clocks) for number, entry in enumerate(entries, start=1))
    series = with_registrations(file.parent, series)
    drawn = content.get("structures") or []
    if not isinstance(drawn, list):
        raise InputError(f"{file}, structures: is no list")
    structures = tuple(structure_from(entry, file, number) for number, entry in enumerate(drawn, start=1))
    return Study(file.parent, series, patient, content.get("simulated") is True, structures)
