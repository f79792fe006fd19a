"""One focus or two close together: what no single step of the search finds, since both must move at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import JointFit, Problem, Source, fit_sources

Array = NDArray[np.float64]

# Half the distance at which the two start, and directions across the probe's axis that are tried: the fit moves a start
# by its reach in any case.
HALF_MM, TURNS = 6.0, 3
# Two that end farther apart than this were no split, and one that keeps less than this share is a mended model; as a
# mere possibility half of it is enough.
WIDEST_MM, LEAST_SHARE, POSSIBLE_SHARE = 25.0, 0.15, 0.08
# Twice the log-likelihood that four more parameters gain by chance in 5 % of foci: from here on two are a possibility.
POSSIBLE_GAIN = 9.49
# A focus that shows less than this in standard deviations could not show as two.
LEAST_SIGNIFICANCE = 12.0


def best_split(
    problem: Problem, fit: JointFit, precision: Array, index: int, least_share: float = LEAST_SHARE
) -> JointFit | None:
    """The best model with two points in the place of one source, as its last two; None where that ends otherwise."""
    best: JointFit | None = None
    for turn in np.arange(TURNS) * np.pi / TURNS:
        kept = [s for i, s in enumerate(fit.sources) if i != index]
        trial = fit_sources(
            problem, [*kept, *_halves(problem, fit.sources[index], turn)], fit.background, precision
        )
        if _is_split(trial, least_share) and (best is None or trial.objective > best.objective):
            best = trial
    return best


def possible_pair(
    problem: Problem, fit: JointFit, precision: Array, index: int, significance: float
) -> tuple[Array, str] | None:
    """Spread (3, 3) in mm2 about a point source of the two that explain it better, though not surely, and the words.

    None where one explains the counts as well as two do.
    """
    source = fit.sources[index]
    if source.known is not None or source.radius_mm > 0.0 or significance < LEAST_SIGNIFICANCE:
        return None
    two = best_split(problem, fit, precision, index, POSSIBLE_SHARE)
    if two is None or 2 * (two.objective - fit.objective) < POSSIBLE_GAIN:
        return None
    offsets = np.array([s.position_mm - source.position_mm for s in two.sources[-2:]])
    shares = np.array([s.activity_kbq for s in two.sources[-2:]])
    shares = shares / shares.sum()
    spread: Array = np.einsum("k,ki,kj->ij", shares, offsets, offsets)
    apart = float(np.linalg.norm(offsets[0] - offsets[1]))
    return spread, f"may be two foci {apart:.0f} mm apart: the counts do not tell"


def _halves(problem: Problem, source: Source, turn_rad: float) -> list[Source]:
    axis = problem.readings.mid_poses[:, :3, 2].mean(axis=0)
    u = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    u /= max(float(np.linalg.norm(u)), 1e-9)
    v = np.cross(axis, u) / max(float(np.linalg.norm(axis)), 1e-9)
    step = HALF_MM * (np.cos(turn_rad) * u + np.sin(turn_rad) * v)
    half = replace(source, activity_kbq=source.activity_kbq / 2, radius_mm=0.0)
    return [replace(half, position_mm=source.position_mm + way * step) for way in (1.0, -1.0)]


def _is_split(fit: JointFit, least_share: float) -> bool:
    first, second = fit.sources[-2:]
    weaker = min(first.activity_kbq, second.activity_kbq)
    apart = float(np.linalg.norm(first.position_mm - second.position_mm))
    return apart <= WIDEST_MM and weaker >= least_share * (first.activity_kbq + second.activity_kbq)
