"""JSON and result folders that are never half-written.

UTF-8 without NaN or Infinity (RFC 8259 knows neither; unknown is null); a file is complete or not there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from sys import float_info
from typing import Any

import numpy as np

from tracking.errors import InputError

# Files whose presence makes a folder an existing result, so that long work is refused before it starts.
RESULT_NAMES = (
    "spots.json",
    "bed_check.json",
    "activity.nrrd",
    "scan.json",
    "scan-1",
    "study.json",
    "report.html",
    "truth.json",
)


def plain(value: object) -> object:
    """What `json` cannot write by itself, numpy values and paths, as what it can. Raises TypeError."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def to_json(obj: object, indent: int | None = 1) -> str:
    """JSON text; numpy arrays and scalars are allowed. Raises ValueError on NaN and Infinity."""
    return json.dumps(obj, default=plain, allow_nan=False, ensure_ascii=False, indent=indent)


def temporary_beside(path: Path) -> tuple[int, str]:
    """Handle and name of a new file beside `path`. Raises OSError that names `path`, which the user knows."""
    try:
        return tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(path)) from None


def write_text(path: Path, text: str, mode: int | None = None, lasting: bool = False) -> None:
    """Write `text` so that `path` holds either the old or the whole new content. Raises OSError.

    `mode` is that of the file, by default what `open` gives; a `lasting` one is there after a loss of power too.
    """
    handle, name = temporary_beside(path)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, _default_mode() if mode is None else mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if lasting:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a change of the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _default_mode(wanted: int = 0o666) -> int:
    """The mode that `open` or `mkdir` would have given; `tempfile` makes private ones."""
    mask = os.umask(0)
    os.umask(mask)
    return wanted & ~mask


def write_json(path: Path, obj: object) -> None:
    """Write `obj` atomically. Raises ValueError on NaN or Infinity (nothing is written), OSError."""
    write_text(path, to_json(obj) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError naming the file when it is missing or is no such thing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, row {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}, not a JSON object")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed; unknown is null")


def number_of(values: Mapping[str, Any], key: str, path: Path, lowest: float | None = None) -> float | None:
    """An optional finite number, None when absent or null. Raises InputError naming file and key."""
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= float_info.max:
        raise InputError(f"{path}, {key}: {value!r} is not a number")
    if lowest is not None and value < lowest:
        raise InputError(f"{path}, {key}: {value} is below {lowest:g}")
    return float(value)


class OutDir:
    """A result folder in the making: write into `path`; it moves to `target` when the work is done."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target

    def __truediv__(self, name: str) -> Path:
        return self.path / name


@contextmanager
def prepare_out(target: Path, force: bool = False, names: Sequence[str] = RESULT_NAMES) -> Iterator[OutDir]:
    """Write a result folder whole or not at all.

    The body writes into a hidden sibling; on success its content moves to `target` (created with its
    parents), on an exception it is removed. Other files in `target` are left alone. Raises InputError when
    `target` is a file or already holds one of `names` (checked first) or any file written, unless `force`.
    """
    target = Path(os.path.abspath(target))
    _refuse_existing(target, names, force)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(target)) from None
    try:
        os.chmod(work, _default_mode(0o777))
        yield OutDir(work, target)
        _refuse_existing(target, [p.name for p in work.iterdir()], force)
        _move_into_place(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refuse_existing(target: Path, names: Sequence[str], force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file, not a folder")
    if force:
        return
    for name in names:
        if (target / name).exists():
            raise InputError(f"{target / name}: already exists (--force overwrites it)")


def _move_into_place(work: Path, target: Path) -> None:
    if not target.exists():
        os.rename(work, target)
        return
    for item in sorted(work.iterdir()):
        place = target / item.name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        os.replace(item, place)
