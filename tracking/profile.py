"""A case file over the profile of its hospital: what is the same every day is written once.

A case that says `profile = "hospital.toml"` takes over what stands there: tables key by key, the case's own first.
Files are sought beside the file that names them. What belongs to one patient is never taken from a profile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracking.errors import InputError
from tracking.tomlfile import read_toml

PROFILE = "profile"
# Keys whose value is a file, at the top and in tables.
FILES = ("tip", "stylus", "calibration", "latency", "sheath")
FILES_OF = {"camera": ("calibration",)}
ROMS = "roms"
# Of one patient, one operation: a profile that held them would bring them into the next one.
OF_THE_CASE = (
    *("name", "reference_time", "surface", "registration", "study", "landmarks", "patient", "injection"),
    *("simulated", PROFILE),
)


def read_with_profile(path: Path) -> dict[str, Any]:
    """The tables of a case file over those of its profile. Raises InputError naming file and key."""
    case = read_toml(path)
    named = case.pop(PROFILE, None)
    if named is None:
        return case
    if not isinstance(named, str):
        raise InputError(f"{path}, profile: {named!r} is no file name")
    return _over(case, _profile(path.parent / named))


def _profile(path: Path) -> dict[str, Any]:
    found = read_toml(path)
    for key in OF_THE_CASE:
        if key in found:
            raise InputError(f"{path}, {key}: belongs to a case and not to a profile")
    return _placed(found, path.parent.resolve())


def _placed(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with its files named from anywhere."""
    out = dict(found)
    _place(out, FILES, folder)
    for table, keys in FILES_OF.items():
        if isinstance(out.get(table), dict):
            out[table] = dict(out[table])
            _place(out[table], keys, folder)
    tracker = out.get("tracker")
    if isinstance(tracker, dict) and isinstance(tracker.get(ROMS), dict):
        roms = dict(tracker[ROMS])
        _place(roms, tuple(roms), folder)
        out["tracker"] = {**tracker, ROMS: roms}
    return out


def _place(table: dict[str, Any], keys: tuple[str, ...], folder: Path) -> None:
    for key in keys:
        if isinstance(table.get(key), str):
            table[key] = str(folder / table[key])


def _over(case: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
    """Tables are joined key by key, deep down; anything else is the case's where it says it."""
    out = dict(profile)
    for key, value in case.items():
        below = out.get(key)
        out[key] = _over(value, below) if isinstance(value, dict) and isinstance(below, dict) else value
    return out
