"""The outlined bed from a file, touched in the Reference frame or drawn in a study, which errs by its registration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from navigation.bed import Bed
from tracking.errors import InputError
from tracking.jsonfile import read_json

REFERENCE, STUDY = "reference", "study"
# 95 % quantile of the length of a three-dimensional normal error over its RMS: sqrt(chi2(3) / 3).
BOUND_OF_RMS = 1.614


def read_bed(
    path: Path, depth_mm: float | None, frame: str | None = None, registration: Path | None = None
) -> Bed:
    """The outlined bed in Reference: `bed.json`, or a mesh with `depth_mm`.

    `frame` is whose coordinates the file has, over what it says itself. A bed drawn in the study is brought over by
    `registration` and made wider by what that may err. Raises InputError, GateRefusedError for a refused registration.
    """
    from navigation.surface import FEWEST_POINTS, read_surface

    if path.suffix.lower() in (".ply", ".stl"):
        if depth_mm is None:
            raise InputError(f"{path}: a mesh needs --depth-mm")
        return _placed(Bed(read_surface(path), depth_mm), frame or REFERENCE, path, registration)
    content = read_json(path)
    try:
        points = np.array(content["points_mm"], dtype=np.float64)
        depth = float(content["depth_mm"]) if depth_mm is None else depth_mm
    except (KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: points_mm or depth_mm is missing or malformed ({fault})") from fault
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < FEWEST_POINTS:
        raise InputError(f"{path}: points_mm must be at least {FEWEST_POINTS} points of 3 numbers")
    if not np.isfinite(points).all():
        raise InputError(f"{path}: points_mm holds a number that is not finite")
    if not np.isfinite(depth) or depth <= 0:
        raise InputError(f"{path}: depth_mm must be a positive number")
    return _placed(Bed(points, depth), frame or _frame(content, path), path, registration)


def _frame(content: dict[str, Any], path: Path) -> str:
    frame = str(content.get("frame", REFERENCE)).lower()
    if frame not in (REFERENCE, STUDY):
        raise InputError(f"{path}: frame {frame!r} is neither {REFERENCE} nor {STUDY}")
    return frame


def _placed(bed: Bed, frame: str, path: Path, registration: Path | None) -> Bed:
    if frame == REFERENCE:
        return bed
    if registration is None:
        raise InputError(f"{path}: a bed of the study needs --registration to lie in the Reference frame")
    from navigation.registration.study import load_registration

    back = load_registration(registration).T_study_reference.inverse()
    return Bed(back.apply(bed.points_mm), bed.depth_mm, registration_bound_mm(registration))


def registration_bound_mm(path: Path) -> float:
    """95 % bound of the error of a registration, the largest that its file predicts. Raises InputError without one."""
    told = read_json(path).get("tre_mm") or {}
    bounds = [*_numbers(told.get("bound95")), *_numbers([(told.get("centre") or {}).get("bound95")])]
    bounds = bounds or [BOUND_OF_RMS * v for v in _numbers(told.get("predicted"))]
    if not bounds:
        raise InputError(
            f"{path}: predicts no error (tre_mm), so nothing can be told of a bed that it places"
        )
    return max(bounds)


def _numbers(values: Any) -> list[float]:
    return [float(v) for v in values or () if isinstance(v, int | float) and np.isfinite(v)]
