"""A tracker against known distances: touches of a phantom's points, as ASTM F2554 tests a navigation system.

Told are the errors of the distances between points, the scale, the scatter of repeated touches and the misfit
of the whole phantom along each axis. Lengths mm; the frame of the touches is that of the tracker or of Reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import TrackerGates, gates_content
from tracking.errors import InputError

Floats = NDArray[np.float64]
# A rigid placing of the phantom has six unknowns: three points not in line.
FEWEST_PLACED = 3
# Points in a line leave the turn about it open: the second extent of the phantom, as a share of the first.
LEAST_BREADTH = 1e-3


@dataclass(frozen=True, slots=True)
class KnownDistance:
    """Two points of a phantom by their labels, and how far apart they are, mm."""

    first: str
    second: str
    length_mm: float


@dataclass(frozen=True, slots=True, eq=False)
class DistanceCheck:
    """What the touches gave: errors are measured less known.

    `scale` is measured over known length (least squares), `repeat_rms_mm` the 3D RMS of repeated touches about
    their mean, `axis_rms_mm` (3,) the RMS misfit of the rigidly placed phantom along x, y and z of the touches'
    frame, `anisotropy` the largest of its principal deviations over the smallest; None where not determined.
    """

    points: int
    touches: int
    distances: tuple[tuple[KnownDistance, float], ...]
    scale: float | None
    repeat_rms_mm: float | None
    axis_rms_mm: Floats | None
    anisotropy: float | None
    reasons: tuple[str, ...] = ()
    gates: TrackerGates = field(default_factory=TrackerGates)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The content of the result file; unknown is None."""
        errors = np.array([error for _, error in self.distances])
        worst = max(self.distances, key=lambda pair: abs(pair[1]), default=None)
        return {
            "points": self.points,
            "touches": self.touches,
            "distances": len(self.distances),
            "rms_error_mm": float(np.sqrt((errors**2).mean())) if len(errors) else None,
            "mean_error_mm": float(errors.mean()) if len(errors) else None,
            "max_error_mm": float(np.abs(errors).max()) if len(errors) else None,
            "worst": None
            if worst is None
            else [worst[0].first, worst[0].second, worst[0].length_mm, worst[1]],
            "scale": self.scale,
            "repeat_rms_mm": self.repeat_rms_mm,
            "axis_rms_mm": None if self.axis_rms_mm is None else self.axis_rms_mm.tolist(),
            "anisotropy": self.anisotropy,
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            **gates_content(self.gates),
        }


def distances_of(phantom: Mapping[str, Floats]) -> list[KnownDistance]:
    """All distances between the labelled points (3,) of a phantom."""
    return [
        KnownDistance(a, b, float(np.linalg.norm(phantom[a] - phantom[b])))
        for a, b in combinations(phantom, 2)
    ]


def check_distances(
    touches: Sequence[tuple[str, Floats]],
    known: Sequence[KnownDistance],
    phantom: Mapping[str, Floats] | None = None,
    gates: TrackerGates | None = None,
) -> DistanceCheck:
    """Check touches (label, (3,)), several of a point allowed, against known distances.

    With the `phantom` itself, labelled points (3,), also its misfit along each axis. Raises InputError for a
    touch of a point that is not known.
    """
    gates = gates or TrackerGates()
    names = {name for one in known for name in (one.first, one.second)}
    unknown = [label for label, _ in touches if label not in names]
    if unknown:
        raise InputError(
            f"touched point {unknown[0]!r} is none of the phantom's ({', '.join(sorted(names))})"
        )
    groups = _grouped(touches)
    means = {label: places.mean(axis=0) for label, places in groups.items()}
    measured = [(one, _length(means, one)) for one in known if one.first in means and one.second in means]
    errors = tuple((one, length - one.length_mm) for one, length in measured)
    axis_rms, anisotropy = (None, None) if phantom is None else _misfit(means, phantom)
    return DistanceCheck(
        len(means),
        len(touches),
        errors,
        _scale(measured),
        _repeat_rms(groups),
        axis_rms,
        anisotropy,
        tuple(_reasons(len(means), errors, gates)),
        gates,
    )


def _grouped(touches: Sequence[tuple[str, Floats]]) -> dict[str, Floats]:
    groups: dict[str, list[Floats]] = {}
    for label, place in touches:
        groups.setdefault(label, []).append(place)
    return {label: np.stack(places) for label, places in groups.items()}


def _length(means: Mapping[str, Floats], pair: KnownDistance) -> float:
    return float(np.linalg.norm(means[pair.first] - means[pair.second]))


def _scale(measured: Sequence[tuple[KnownDistance, float]]) -> float | None:
    known = np.array([one.length_mm for one, _ in measured])
    if not len(known):
        return None
    return float(known @ np.array([length for _, length in measured]) / (known @ known))


def _repeat_rms(groups: Mapping[str, Floats]) -> float | None:
    """3D RMS of repeated touches about their mean, its freedom taken out."""
    freedom = sum(len(places) - 1 for places in groups.values())
    if not freedom:
        return None
    squares = sum(float(((places - places.mean(axis=0)) ** 2).sum()) for places in groups.values())
    return float(np.sqrt(squares / freedom))


def _misfit(means: Mapping[str, Floats], phantom: Mapping[str, Floats]) -> tuple[Floats | None, float | None]:
    """RMS misfit (3,) along the axes of the touches, and the ratio of its principal deviations."""
    labels = [label for label in phantom if label in means]
    if len(labels) < FEWEST_PLACED:
        return None, None
    fixed, moving = np.stack([means[k] for k in labels]), np.stack([phantom[k] for k in labels])
    spread = np.linalg.svd(moving - moving.mean(axis=0), compute_uv=False)
    if spread[1] <= LEAST_BREADTH * spread[0]:
        return None, None
    residuals = _placed(moving, fixed) - fixed
    # More residuals than the rigid placing has taken out, else the ratio is its own.
    if len(labels) <= FEWEST_PLACED:
        return np.sqrt((residuals**2).mean(axis=0)), None
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(residuals.T @ residuals), 0.0))
    ratio = float(values[-1] / values[0]) if values[0] > 0.0 else None
    return np.sqrt((residuals**2).mean(axis=0)), ratio


def _placed(moving: Floats, fixed: Floats) -> Floats:
    """The points (n, 3) brought rigidly onto others (Arun 1987, doi:10.1109/TPAMI.1987.4767965)."""
    centred = moving - moving.mean(axis=0)
    u, _, vt = np.linalg.svd(centred.T @ (fixed - fixed.mean(axis=0)))
    rotation = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ u.T
    placed: Floats = centred @ rotation.T + fixed.mean(axis=0)
    return placed


def _reasons(points: int, errors: Sequence[tuple[KnownDistance, float]], gates: TrackerGates) -> list[str]:
    if points < gates.min_points or not errors:
        return [f"{points} points touched, at least {gates.min_points} needed"]
    values = np.array([error for _, error in errors])
    rms, (pair, worst) = float(np.sqrt((values**2).mean())), max(errors, key=lambda one: abs(one[1]))
    reasons = []
    if rms > gates.max_distance_rms_mm:
        reasons.append(
            f"RMS error of the distances {rms:.2f} mm, at most {gates.max_distance_rms_mm:g} allowed"
        )
    if abs(worst) > gates.max_distance_error_mm:
        reasons.append(
            f"{pair.first} to {pair.second}, {pair.length_mm:.1f} mm, measured {worst:+.2f} mm wrong, at most "
            f"{gates.max_distance_error_mm:g} allowed"
        )
    return reasons
