"""Where the search begins: round a start that was given, or everywhere on the surface where none was.

All sequences are fixed: the same points give the same starts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.registration.surface.align import Problem, farthest, moved, rotations, twisted

Array = NDArray[np.float64]

# How far a start may be off: what landmarks touched on skin, or a patient laid as in the CT, leave.
REACH_MM, REACH_DEG = 20.0, 15.0
LOCAL_STARTS = 32
# The whole surface: places for the points' middle, turns about the normal there.
PLACES, TURNS = 48, 12
# Points of the patch whose plane tells how it lies.
PATCH_SHARE = 0.25


def round_a_start(T: Array, points_mm: Array) -> Array:
    """(s, 4, 4): the start itself, then motions of up to REACH about the middle of points (n, 3)."""
    from scipy.stats import qmc

    draws = qmc.Halton(6, scramble=False).random(LOCAL_STARTS + 1)[1:]
    twist = np.concatenate(
        [
            _in_ball(draws[:, :3]) * np.radians(REACH_DEG),
            _in_ball(draws[:, 3:]) * REACH_MM,
        ],
        axis=1,
    )
    many = np.tile(T, (LOCAL_STARTS, 1, 1))
    about = np.tile(moved(T[None], points_mm)[0].mean(axis=0), (LOCAL_STARTS, 1))
    return np.concatenate([T[None], twisted(many, twist, about)])


def _in_ball(draws: Array) -> Array:
    """(n, 3) in the unit ball from numbers (n, 3) in [0, 1)."""
    cosine, azimuth = 2.0 * draws[:, 0] - 1.0, 2.0 * np.pi * draws[:, 1]
    sine = np.sqrt(1.0 - cosine**2)
    direction = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=1)
    return np.asarray(direction * np.cbrt(draws[:, 2:]))


def everywhere(problem: Problem, moving_normals: Array | None) -> Array:
    """(s, 4, 4): the patch in the middle of the points laid on the surface, at many places and turns.

    Without normals (n, 3) of the points both sides are tried.
    """
    surface, points = problem.surface, problem.points_mm
    anchor, normal = _patch(points, moving_normals)
    places = farthest(surface.points_mm[~surface.rim], PLACES)
    targets, outward = surface.points_mm[~surface.rim][places], surface.blended[~surface.rim][places]
    turned = rotations(np.outer(2.0 * np.pi * np.arange(TURNS) / TURNS, normal))
    sides = (normal,) if moving_normals is not None else (normal, -normal)
    starts = []
    for side in sides:
        laid = np.stack([_turn_onto(side, n) for n in outward])
        rotation = (laid[:, None] @ turned[None]).reshape(-1, 3, 3)
        T = np.tile(np.eye(4), (len(rotation), 1, 1))
        T[:, :3, :3] = rotation
        T[:, :3, 3] = np.repeat(targets, TURNS, axis=0) - rotation @ anchor
        starts.append(T)
    return np.concatenate(starts)


def _patch(points: Array, normals: Array | None) -> tuple[Array, Array]:
    """The touched point nearest to the middle, and the normal of the patch round it."""
    away = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    centre = int(np.argmin(away))
    if normals is not None:
        mean = normals[np.argsort(away)[: max(12, int(PATCH_SHARE * len(points)))]].mean(axis=0)
        return points[centre], mean / np.linalg.norm(mean)
    near = np.argsort(((points - points[centre]) ** 2).sum(axis=1))[: max(12, int(PATCH_SHARE * len(points)))]
    patch = points[near]
    return points[centre], np.linalg.svd(patch - patch.mean(axis=0))[2][2]


def _turn_onto(source: Array, target: Array) -> Array:
    """(3, 3): the shortest turn that brings one unit vector to another."""
    axis = np.cross(source, target)
    sine, cosine = float(np.linalg.norm(axis)), float(source @ target)
    if sine < 1e-9:
        other = np.cross(source, np.eye(3)[np.argmin(np.abs(source))])
        axis = other / np.linalg.norm(other) if cosine < 0.0 else np.zeros(3)
        return np.asarray(rotations((np.pi * axis)[None])[0])
    return np.asarray(rotations((axis / sine * np.arctan2(sine, cosine))[None])[0])
