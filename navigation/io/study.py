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

import numpy as np
from numpy.typing import NDArray

from navigation.io.nrrd import read_nrrd
from navigation.volume import VoxelGrid
from tracking.errors import InputError, SurroundingsError
from tracking.jsonfile import prepare_out, read_json

# A study of 500 slices takes some ten seconds; what takes longer than this does not end.
TIME_LIMIT_S = 60.0
_CHILD = "from navigation.io.dicom_import import main; main()"


@dataclass(frozen=True, slots=True, eq=False)
class StudySeries:
    """One imported series: its grid in LPS millimetres, and the volume on demand.

    `usable` is False while the series has no frame of reference in common with the study's first one.
    """

    id: str
    file: Path
    modality: str
    units: str
    frame_of_reference: str | None
    grid: VoxelGrid
    defects: tuple[str, ...]
    usable: bool
    simulated: bool
    facts: dict[str, Any]  # the whole entry of study.json

    def volume(self) -> NDArray[np.float32]:
        """Values (nz, ny, nx) in `units`. Raises InputError if the file does not fit study.json."""
        loaded = read_nrrd(self.file)
        if loaded.grid.size != self.grid.size or not np.allclose(loaded.grid.matrix, self.grid.matrix):
            raise InputError(f"{self.file}: its geometry is not that of study.json")
        return loaded.array


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """An imported study folder."""

    path: Path
    series: tuple[StudySeries, ...]
    patient: dict[str, Any]
    simulated: bool

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
        }
        return _outcome(_run_child(json.dumps(options), folder), folder)


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
    series = tuple(_series(entry, file, number) for number, entry in enumerate(entries, start=1))
    return Study(file.parent, series, dict(content.get("patient") or {}), content.get("simulated") is True)


def _series(entry: Any, file: Path, number: int) -> StudySeries:
    try:
        geometry = entry["geometry"]
        size = tuple(int(n) for n in geometry["size"])
        grid = VoxelGrid(
            np.asarray(geometry["origin_mm"], dtype=np.float64).reshape(3),
            np.asarray(geometry["spacing_mm"], dtype=np.float64).reshape(3),
            (size[0], size[1], size[2]),
            np.asarray(geometry["direction"], dtype=np.float64).reshape(3, 3),
        )
        name = Path(str(entry["file"])).name
        return StudySeries(
            id=str(entry["id"]),
            file=file.parent / name,
            modality=str(entry["modality"]),
            units=str(entry["units"]),
            frame_of_reference=entry.get("frame_of_reference"),
            grid=grid,
            defects=tuple(entry.get("defects", ())),
            usable=entry.get("usable") is True,
            simulated=entry.get("simulated") is True,
            facts=dict(entry),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as fault:
        raise InputError(f"{file}, series {number}: {fault} is missing or wrong") from None
