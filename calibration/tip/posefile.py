"""Marker poses from files: a folder of 4x4 text files, a CSV, or a PLUS sequence.

Only poses that somebody stands by come out: invisible, invalid, non-rigid, identity and repeated ones are
left out and counted. Lengths mm.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.recording.sequence_head import SIMULATED_WORD, SIMULATION
from tracking.sequence import SUFFIXES, read_sequence
from tracking.transform import rigidity_fault

ELEMENT_NAMES = tuple(f"m{row}{column}" for row in range(4) for column in range(4))
# A pose file is a few hundred bytes.
LARGEST_TEXT_BYTES = 1 << 16
# Remarks in a CSV that tell whose poses they are, and that no real tracker measured them.
TRANSFORM_REMARK, SIMULATION_REMARK = "# transform:", "# SIMULATION"


@dataclass(frozen=True, slots=True, eq=False)
class PoseSet:
    """Usable poses (n, 4, 4) of one tool, in order, and how many others were left out for which cause.

    `source` names the transform of a sequence or of a CSV that says so, else None. Causes: "not visible",
    "not rigid", "identity", "repeated", "no status", and PLUS's own words such as "INVALID".
    """

    matrices: NDArray[np.float64]
    skipped: dict[str, int]
    source: str | None = None
    simulated: bool = False


def read_poses(path: Path, transform: str | None = None) -> PoseSet:
    """Poses of a folder, a CSV or a PLUS sequence; `transform` picks one of several in a sequence.

    Raises InputError that names the file and the row.
    """
    if path.is_dir():
        table = path / "poses.csv"
        return _from_csv(table, transform) if table.is_file() else usable_poses(_read_folder(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix.lower() in SUFFIXES:
        return _read_sequence(path, transform)
    return _from_csv(path, transform)


def _from_csv(file: Path, transform: str | None) -> PoseSet:
    """The poses of a CSV, with what its remarks tell of them."""
    poses = usable_poses(_read_csv(file))
    remarks = [line.strip() for line in _text(file).splitlines() if line.lstrip().startswith("#")]
    named = [r.removeprefix(TRANSFORM_REMARK).strip() for r in remarks if r.startswith(TRANSFORM_REMARK)]
    source = named[0] if named else None
    if source is not None and transform is not None and transform.removesuffix("Transform") != source:
        raise InputError(f"{file}: no transform {transform}; it holds {source}")
    return replace(poses, source=source, simulated=SIMULATION_REMARK in remarks)


def usable_poses(raw: list[NDArray[np.float64]], skipped: Counter[str] | None = None) -> PoseSet:
    """Leave out what no tracker measured: placeholders, repeats of a frozen driver, non-rigid matrices."""
    causes = skipped if skipped is not None else Counter()
    kept: list[NDArray[np.float64]] = []
    for matrix in raw:
        if np.isnan(matrix).all():
            causes["not visible"] += 1
        elif rigidity_fault(matrix) is not None:
            causes["not rigid"] += 1
        elif np.array_equal(matrix, np.eye(4)):
            causes["identity"] += 1
        elif kept and np.array_equal(matrix, kept[-1]):
            causes["repeated"] += 1
        else:
            kept.append(matrix)
    matrices = np.stack(kept) if kept else np.zeros((0, 4, 4))
    matrices.setflags(write=False)
    return PoseSet(matrices, dict(causes))


def _read_folder(folder: Path) -> list[NDArray[np.float64]]:
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise InputError(f"{folder}: no .txt file with a 4x4 matrix and no poses.csv in this folder")
    return [_read_matrix(file) for file in files]


def _read_matrix(file: Path) -> NDArray[np.float64]:
    text = _text(file, LARGEST_TEXT_BYTES)
    lines = [line.split("#")[0] for line in text.splitlines()]
    try:
        rows = [[float(v) for v in re.split(r"[\s,;]+", line.strip())] for line in lines if line.strip()]
    except ValueError:
        raise InputError(f"{file}: not a 4x4 matrix of numbers") from None
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise InputError(f"{file}: not a 4x4 matrix of numbers")
    return np.array(rows)


def _text(file: Path, limit: int | None = None) -> str:
    with file.open("rb") as stream:
        raw = stream.read(-1 if limit is None else limit + 1)
    if limit is not None and len(raw) > limit:
        raise InputError(f"{file}: too large for a 4x4 matrix")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file") from None


def _read_csv(file: Path) -> list[NDArray[np.float64]]:
    columns: list[int] | None = None
    poses: list[NDArray[np.float64]] = []
    for row, line in enumerate(_text(file).splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if columns is None:
            columns, is_header = _columns(cells, file, row)
            if is_header:
                continue
        poses.append(_csv_pose(cells, columns, file, row))
    if columns is None:
        raise InputError(f"{file}: empty")
    return poses


def _columns(cells: list[str], file: Path, row: int) -> tuple[list[int], bool]:
    """Where m00 to m33 stand, and whether this row is a header."""
    if any(name in cells for name in ELEMENT_NAMES):
        missing = [name for name in ELEMENT_NAMES if name not in cells]
        if missing:
            raise InputError(f"{file}, row {row}: column {missing[0]} is missing")
        return [cells.index(name) for name in ELEMENT_NAMES], True
    if len(cells) in (16, 17):
        return list(range(len(cells) - 16, len(cells))), False
    raise InputError(f"{file}, row {row}: columns m00 to m33 expected, optionally after t_s")


def _csv_pose(cells: list[str], columns: list[int], file: Path, row: int) -> NDArray[np.float64]:
    if len(cells) <= max(columns):
        raise InputError(f"{file}, row {row}: {len(cells)} cells, {max(columns) + 1} expected")
    try:
        values = np.array([float(cells[c]) for c in columns])
    except ValueError:
        raise InputError(f"{file}, row {row}: not a number") from None
    if np.isnan(values).any() and not np.isnan(values).all():
        raise InputError(f"{file}, row {row}: some elements are NaN and others are not")
    return values.reshape(4, 4)


def _read_sequence(file: Path, transform: str | None) -> PoseSet:
    sequence = read_sequence(file)
    transforms = sequence.transforms
    if not transforms:
        raise InputError(f"{file}: no Seq_FrameNNNN_...Transform field: no poses in this sequence")
    chosen = _choose(sorted(transforms), transform, file)
    track = transforms[chosen]
    raw = [matrix for matrix, fault in zip(track.matrices, track.faults, strict=True) if not fault]
    poses = usable_poses(raw, track.causes)
    simulated = sequence.fields.get(SIMULATION) == SIMULATED_WORD
    return PoseSet(poses.matrices, poses.skipped, chosen, simulated)


def _choose(names: list[str], wanted: str | None, file: Path) -> str:
    """The transform asked for; else the stylus, else the only tool that moves in the tracker's frame."""
    if wanted is not None:
        name = wanted.removesuffix("Transform")
        if name not in names:
            raise InputError(f"{file}: no transform {wanted}; it holds {', '.join(names)}")
        return name
    tools = [n for n in names if n.endswith("ToTracker") and not n.startswith("Reference")]
    for candidates in ([n for n in tools if n.startswith("Stylus")], tools, names):
        if len(candidates) == 1:
            return candidates[0]
    raise InputError(f"{file}: several transforms, choose one of {', '.join(names)}")
