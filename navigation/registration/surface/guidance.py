"""Directions in words a hand can follow: which motion is loose, and where touching would hold it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.registration.surface.align import Problem, moved
from navigation.registration.surface.information import Certainty
from navigation.registration.surface.result import Loose

Array = NDArray[np.float64]

# Beyond this the direction is named: it adds to the error at every target.
NAMED_SD_MM = 1.0
# A place that was touched already within this holds no more; one beyond the other limit no hand wants to reach.
TOUCHED_MM, REACHED_MM = 25.0, 220.0
# Mean normal of a patch that still has one side: a limb touched all round has none.
ONE_SIDED = 0.5
# Components of a direction below this share are left out of its name.
NAMED_COMPONENT = 0.4
_LPS = (
    ("the patient's right", "the patient's left"),
    ("the front", "the back"),
    ("the feet", "the head"),
)
_AXES = (("-x", "+x"), ("-y", "+y"), ("-z", "+z"))


def direction_words(direction: Array, lps: bool) -> str:
    """A direction (3,) as the axes it mostly follows, strongest first."""
    unit = direction / max(float(np.linalg.norm(direction)), 1e-12)
    names = _LPS if lps else _AXES
    order = [a for a in np.argsort(-np.abs(unit)) if abs(unit[a]) >= NAMED_COMPONENT]
    return " and ".join(names[a][int(unit[a] > 0.0)] for a in order)


def loose_directions(problem: Problem, T: Array, certainty: Certainty) -> tuple[Loose, ...]:
    """The motions that move the touched region by more than NAMED_SD_MM, loosest first."""
    points = moved(T[None], problem.points_mm)[0]
    normal = problem.surface.blended_normals(points).mean(axis=0)
    return tuple(
        Loose(
            _motion_words(twist, points - certainty.about_mm, normal, problem.surface.lps),
            _where_to_touch(problem, points, twist, certainty.about_mm),
            float(sd),
            twist[:3].copy(),
            twist[3:].copy(),
            certainty.about_mm.copy(),
        )
        for sd, twist in zip(certainty.sd_mm, certainty.twists, strict=True)
        if sd > NAMED_SD_MM
    )


def _motion_words(twist: Array, arm_mm: Array, normal: Array, lps: bool) -> str:
    """What a twist does to the touched patch, whose mean normal is given: slide, sink, spin or tilt."""
    turn, shift = twist[:3], twist[3:]
    turning = np.cross(turn, arm_mm)
    one_sided = float(np.linalg.norm(normal)) > ONE_SIDED
    normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
    if shift @ shift >= (turning**2).sum(axis=1).mean():
        if not one_sided:
            return f"moving towards {direction_words(_signed(shift), lps)} or away from it"
        if abs(shift @ normal) > np.sqrt(0.5) * np.linalg.norm(shift):
            return "in and out of the surface"
        return f"sliding over the surface towards {direction_words(_signed(shift), lps)} or away from it"
    if one_sided and abs(turn @ normal) > np.sqrt(0.5) * np.linalg.norm(turn):
        return "turning about the surface's normal"
    return f"tilting about an axis towards {direction_words(_signed(turn), lps)}"


def _signed(vector: Array) -> Array:
    """The vector or its opposite: the largest component positive, since either sign is as loose."""
    return np.asarray(vector * np.sign(vector[np.argmax(np.abs(vector))]))


def _where_to_touch(problem: Problem, points: Array, twist: Array, about: Array) -> str:
    """The untouched part of the surface that this motion would move most along its normal."""
    from scipy.spatial import cKDTree

    surface = problem.surface
    arm = surface.points_mm - about
    lift = np.abs(np.einsum("nd,nd->n", np.cross(twist[:3], arm) + twist[3:], surface.blended))
    away = cKDTree(points).query(surface.points_mm)[0]
    candidate = (away > TOUCHED_MM) & (away < REACHED_MM) & ~surface.rim
    if not candidate.any() or lift[candidate].max() < np.median(lift):
        return "no other part of this surface would hold it: add landmarks"
    place = int(np.argmax(np.where(candidate, lift, -1.0)))
    towards = surface.points_mm[place] - about
    words = direction_words(towards, surface.lps)
    at = ", ".join(f"{v:.0f}" for v in surface.points_mm[place])
    return f"touch also the surface towards {words}, near ({at}) mm"
