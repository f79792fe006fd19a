"""What the surgeon wants to reach: targets with place, uncertainty and expected activity, and how each one ended.

Positions are LPS millimetres of the study. A list is never changed: what is added, and each end, makes a new one, and
the history of ends only grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import InputError
from tracking.jsonfile import read_json, write_json

Array = NDArray[np.float64]

FILE_NAME = "targets.json"
FORMAT = 1
CONTOUR, HOT_SPOT, CLICK, UNEXPECTED = "contour", "hot spot", "click", "unexpected"
ORIGINS = (CONTOUR, HOT_SPOT, CLICK, UNEXPECTED)
FOUND, NOT_FOUND, REMOVED, LEFT = "found", "not found", "removed", "left"
OUTCOMES = (FOUND, NOT_FOUND, REMOVED, LEFT)
UNEXPECTED_NOTE = "unexpected focus, not on preoperative imaging"
# A place that somebody points at in an image is right to about a voxel of a SPECT or a few of a CT.
CLICK_SD_MM = 2.0
MOST_NAME = 64


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One place to reach: LPS mm with covariance (3, 3) mm2, and kBq at the time of surgery, None where unknown.

    `expected_sd_kbq` is one standard deviation; `extent_mm` the largest diameter; `label` what uptake there may be
    by nature. Raises InputError for values that are none.
    """

    name: str
    position_mm: Array
    covariance_mm2: Array
    expected_kbq: float | None
    origin: str
    note: str = ""
    expected_sd_kbq: float | None = None
    extent_mm: float | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > MOST_NAME or not self.name.isprintable():
            raise InputError(f"target {self.name!r}: a name has 1 to {MOST_NAME} printable characters")
        if self.origin not in ORIGINS:
            raise InputError(f"target {self.name}: origin {self.origin!r} is none of {', '.join(ORIGINS)}")
        object.__setattr__(self, "position_mm", _frozen(self.position_mm, (3,), self.name, "position"))
        covariance = _frozen(self.covariance_mm2, (3, 3), self.name, "covariance")
        # Rounding of a file may make a tiny eigenvalue negative.
        least = -1e-6 * max(float(np.trace(covariance)), 1.0)
        if not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance)[0] < least:
            raise InputError(f"target {self.name}: covariance_mm2 is no covariance")
        object.__setattr__(self, "covariance_mm2", covariance)
        for key in ("expected_kbq", "expected_sd_kbq", "extent_mm"):
            value = getattr(self, key)
            if value is not None and not (np.isfinite(value) and value >= 0.0):
                raise InputError(f"target {self.name}: {key} {value} is none")

    @property
    def sd_mm(self) -> float:
        """Root of the largest eigenvalue of the covariance."""
        return float(np.sqrt(max(np.linalg.eigvalsh(self.covariance_mm2)[-1], 0.0)))

    def as_json(self) -> dict[str, Any]:
        """As in targets.json."""
        return {
            "name": self.name,
            "position_mm": self.position_mm.tolist(),
            "covariance_mm2": self.covariance_mm2.tolist(),
            "expected_kbq": self.expected_kbq,
            "expected_sd_kbq": self.expected_sd_kbq,
            "origin": self.origin,
            "extent_mm": self.extent_mm,
            "label": self.label,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class End:
    """How a target ended: one entry of a history that only grows; `t_s` is Unix time."""

    target: str
    outcome: str
    reason: str
    by: str
    t_s: float

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise InputError(
                f"target {self.target}: {self.outcome!r} is no end; known are {', '.join(OUTCOMES)}"
            )
        if not self.reason.strip() or not self.by.strip():
            raise InputError(f"target {self.target}: its end needs a reason, and who says so")
        if not np.isfinite(self.t_s):
            raise InputError(f"target {self.target}: its end needs a time")

    def as_json(self) -> dict[str, Any]:
        """As in targets.json."""
        return {n: getattr(self, n) for n in ("target", "outcome", "reason", "by", "t_s")}


@dataclass(frozen=True, slots=True, eq=False)
class TargetList:
    """Targets of a case in a fixed order, and every end that was ever entered.

    `after_image_h` are the hours from the image's acquisition to the surgery for which activities are told.
    """

    targets: tuple[Target, ...] = ()
    ends: tuple[End, ...] = ()
    after_image_h: float | None = None
    simulated: bool = False

    def __post_init__(self) -> None:
        names = [t.name for t in self.targets]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"the target {name!r} occurs more than once")
        for end in self.ends:
            if end.target not in names:
                raise InputError(f"an end names the target {end.target!r}, which is not in the list")

    def __len__(self) -> int:
        return len(self.targets)

    def target(self, name: str) -> Target:
        """The target of that name. Raises InputError."""
        found = next((t for t in self.targets if t.name == name), None)
        if found is None:
            raise InputError(
                f"no target {name!r}; there are: {', '.join(t.name for t in self.targets) or 'none'}"
            )
        return found

    def added(self, *targets: Target) -> TargetList:
        """With more targets at the end."""
        return replace(self, targets=(*self.targets, *targets))

    def replaced(self, targets: Iterable[Target]) -> TargetList:
        """With each of these in the place of the one of its name, or at the end; one that ended stays as it is."""
        new = {t.name: t for t in targets}
        fixed = {e.target for e in self.ends}
        for name in fixed & set(new):
            raise InputError(f"the target {name!r} has ended and cannot be changed")
        kept = tuple(new.pop(t.name, t) for t in self.targets)
        return replace(self, targets=(*kept, *new.values()))

    def without(self, name: str) -> TargetList:
        """Without one that has not ended. Raises InputError."""
        self.target(name)
        if self.history(name):
            raise InputError(f"the target {name!r} has ended and cannot be taken out")
        return replace(self, targets=tuple(t for t in self.targets if t.name != name))

    def unexpected(self, target: Target) -> TargetList:
        """With a focus that the scan showed and the study did not."""
        note = f"{UNEXPECTED_NOTE}; {target.note}" if target.note else UNEXPECTED_NOTE
        return self.added(replace(target, origin=UNEXPECTED, note=note))

    def ended(self, end: End) -> TargetList:
        """With one more end; a later one supersedes and never erases. Raises InputError for an unknown target."""
        last = self.ends[-1].t_s if self.ends else -np.inf
        if end.t_s < last:
            raise InputError(f"target {end.target}: its end lies before the last that was entered")
        return replace(self, ends=(*self.ends, end))

    def history(self, name: str) -> tuple[End, ...]:
        """Every end that was entered for a target, the oldest first."""
        return tuple(e for e in self.ends if e.target == name)

    def outcome(self, name: str) -> End | None:
        """The end that holds, None while the target is open."""
        self.target(name)
        entered = self.history(name)
        return entered[-1] if entered else None

    @property
    def open(self) -> tuple[Target, ...]:
        """Targets without an end."""
        over = {e.target for e in self.ends}
        return tuple(t for t in self.targets if t.name not in over)

    def as_json(self) -> dict[str, Any]:
        """As in targets.json."""
        return {
            "format": FORMAT,
            "frame": "LPS",
            "simulated": self.simulated,
            "after_image_h": self.after_image_h,
            "targets": [t.as_json() for t in self.targets],
            "ends": [e.as_json() for e in self.ends],
        }


def targets_path(study: Path) -> Path:
    """Where a study folder keeps its targets; a file is taken as it is."""
    return study / FILE_NAME if study.is_dir() else study


def load_targets(study: Path) -> TargetList:
    """The list of a study folder, or of a targets.json; an empty one where a folder has none. Raises InputError."""
    path = targets_path(study)
    return targets_of(read_json(path), path) if path.exists() or not study.is_dir() else TargetList()


def save_targets(study: Path, targets: TargetList) -> Path:
    """Write the list into a study folder, whole or not at all; returns the file.

    Raises InputError where the file holds an end that the new list has not: a history is only added to.
    """
    path = targets_path(study)
    if path.exists():
        before = load_targets(path).ends
        if targets.ends[: len(before)] != before:
            raise InputError(f"{path}: holds ends that the new list lacks; a history is only added to")
    write_json(path, targets.as_json())
    return path


def targets_of(content: dict[str, Any], path: Path) -> TargetList:
    """The list that a targets.json holds. Raises InputError that names file and entry."""
    if content.get("format") != FORMAT or content.get("frame") != "LPS":
        raise InputError(f"{path}: no list of targets of format {FORMAT} in LPS")
    targets = tuple(_entry(_target, e, path, "targets", n) for n, e in _numbered(content, "targets", path))
    ends = tuple(_entry(_end, e, path, "ends", n) for n, e in _numbered(content, "ends", path))
    try:
        return TargetList(
            targets, ends, _optional(content.get("after_image_h")), content.get("simulated") is True
        )
    except (InputError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: {fault}") from None


def _numbered(content: dict[str, Any], key: str, path: Path) -> list[tuple[int, Any]]:
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise InputError(f"{path}, {key}: not a list")
    return list(enumerate(entries, start=1))


def _entry(make: Any, entry: Any, path: Path, key: str, number: int) -> Any:
    try:
        return make(entry)
    except InputError as fault:
        raise InputError(f"{path}, {key} {number}: {fault}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise InputError(f"{path}, {key} {number}: {fault} is missing or wrong") from None


def _target(entry: Any) -> Target:
    label = entry.get("label")
    return Target(
        str(entry["name"]),
        np.asarray(entry["position_mm"], dtype=np.float64),
        np.asarray(entry["covariance_mm2"], dtype=np.float64),
        _optional(entry.get("expected_kbq")),
        str(entry["origin"]),
        str(entry.get("note", "")),
        _optional(entry.get("expected_sd_kbq")),
        _optional(entry.get("extent_mm")),
        None if label is None else str(label),
    )


def _end(entry: Any) -> End:
    target, outcome, reason, by = (str(entry[n]) for n in ("target", "outcome", "reason", "by"))
    return End(target, outcome, reason, by, float(entry["t_s"]))


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _frozen(value: ArrayLike, shape: tuple[int, ...], name: str, what: str) -> Array:
    array = np.array(value, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise InputError(f"target {name}: its {what} is none")
    array.setflags(write=False)
    return array


def clicked(name: str, position_mm: ArrayLike, sd_mm: float = CLICK_SD_MM, note: str = "") -> Target:
    """A target that somebody pointed at."""
    return Target(name, np.asarray(position_mm, dtype=np.float64), sd_mm**2 * np.eye(3), None, CLICK, note)
