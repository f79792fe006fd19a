"""Where the volumes of an image registration come from: an NRRD file, a study's folder, or one series of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.io.dicom_identity import identity_hash
from navigation.io.nrrd import read_nrrd
from navigation.io.study import Study, StudySeries, load_study
from navigation.registration.imagevolume import ImageVolume
from navigation.registration.series import require_rigid
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json


def read_fixed(spec: str) -> ImageVolume:
    """NRRD, `STUDY` (its CT, else its first series) or `STUDY:series-2`. Raises InputError."""
    return _read(spec, default_fixed)


def read_moving(spec: str) -> ImageVolume:
    """NRRD, `STUDY` (its SPECT or PET, else its CT) or `STUDY:series-2`. Raises InputError."""
    return _read(spec, default_moving)


def default_fixed(study: Study) -> StudySeries:
    """What others are registered onto: the CT."""
    return study.ct or study.series[0]


def default_moving(study: Study) -> StudySeries:
    """What is registered: SPECT or PET."""
    return study.functional or default_fixed(study)


def _read(spec: str, choose: Callable[[Study], StudySeries]) -> ImageVolume:
    path, series_id = split_spec(spec)
    if series_id is None and path.is_file() and path.name != "study.json":
        return _nrrd(path)
    study = load_study(path)
    series = named(study, series_id) if series_id is not None else choose(study)
    return volume_of(series)


def split_spec(spec: str) -> tuple[Path, str | None]:
    """A path, and the series after the last colon unless the whole is a path that exists."""
    head, colon, tail = spec.rpartition(":")
    if colon and head and tail and not Path(spec).exists():
        return Path(head), tail
    return Path(spec), None


OTHER_PATIENT = "the two studies are of different patients, as their numbers tell"


def other_patient(fixed: str, moving: str) -> str | None:
    """Why two imported studies cannot be of one patient; None where their numbers agree or one is not known."""
    numbers = [_number_hash(split_spec(spec)[0]) for spec in (fixed, moving)]
    return OTHER_PATIENT if None not in numbers and numbers[0] != numbers[1] else None


def _number_hash(path: Path) -> str | None:
    """The hashed patient number of a study's folder, None of anything else."""
    folder = path.parent if path.name == "study.json" else path
    if not (folder / "study.json").is_file():
        return None
    patient = read_json(folder / "study.json").get("patient") or {}
    number = patient.get("id")
    return identity_hash(str(number), str(number)) if number and patient.get("identified") else number


def named(study: Study, series_id: str) -> StudySeries:
    """A study's series by its id. Raises InputError that lists those there are."""
    for series in study.series:
        if series.id == series_id:
            return series
    known = ", ".join(s.id for s in study.series)
    raise InputError(f"{study.path}: no series {series_id!r}; there are {known}")


def volume_of(series: StudySeries) -> ImageVolume:
    """A study's series as it lies in its own frame, without any registration of it."""
    grid = series.file_grid or series.grid
    name = f"{series.id} ({series.modality})"
    return ImageVolume(series.volume(), grid, series.modality, name, series.simulated)


def _nrrd(path: Path) -> ImageVolume:
    loaded = read_nrrd(path)
    simulated = "simulation" in loaded.keys
    return ImageVolume(loaded.array, loaded.grid, loaded.keys.get("modality", ""), path.name, simulated)


def read_initial(path: Path) -> NDArray[np.float64]:
    """`T_target_source` (4, 4) of a reg.json to start from. Raises InputError, GateRefusedError."""
    content = read_json(path)
    if content.get("accepted") is not True:
        raise GateRefusedError(f"{path}: this registration was not accepted, nothing starts from it")
    return require_rigid(content.get("T_target_source"), path)
