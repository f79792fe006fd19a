"""Surfaces with a formula, and hands that touch them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.skin import Mesh
from navigation.registration.surface.align import rotations

Array = NDArray[np.float64]


def directions(azimuth: Array, polar: Array) -> Array:
    """(..., 3) unit vectors; polar 0 is +z."""
    return np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1
    )


def torso(unit: Array) -> Array:
    """(..., 3): a body without any symmetry, 180 x 140 x 110 mm half axes with three swellings, by direction."""
    radius = 1.0 / np.sqrt((unit**2 / np.array([180.0, 140.0, 110.0]) ** 2).sum(axis=-1))
    for towards, height, width in (
        ((0.6, 0.5, 0.6), 28.0, 0.35),
        ((-0.7, 0.1, 0.5), 18.0, 0.5),
        ((0.1, -0.8, 0.4), 22.0, 0.3),
    ):
        axis = np.array(towards) / np.linalg.norm(towards)
        radius = radius + height * np.exp((unit @ axis - 1.0) / width**2 * 2.0)
    return np.asarray(radius[..., None] * unit)


def ball(unit: Array) -> Array:
    """(..., 3): a sphere of 110 mm."""
    return np.asarray(110.0 * unit)


def egg(unit: Array) -> Array:
    """(..., 3): an ellipsoid of 190 x 140 x 105 mm half axes."""
    scale = np.sqrt((unit**2 / np.array([190.0, 140.0, 105.0]) ** 2).sum(axis=-1))
    return np.asarray(unit / scale[..., None])


def star_mesh(shape: object = torso, rings: int = 70) -> Mesh:
    """The closed surface of a shape by direction, wound counter-clockwise seen from outside."""
    assert callable(shape)
    polar, azimuth = np.linspace(0.0, np.pi, rings + 1)[1:-1], np.arange(2 * rings) * np.pi / rings
    grid = directions(*np.meshgrid(azimuth, polar, indexing="xy"))
    poles = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    points = shape(np.concatenate([grid.reshape(-1, 3), poles]))
    n = 2 * rings
    row, column = np.meshgrid(np.arange(rings - 2), np.arange(n), indexing="ij")
    a, b = (row * n + column).ravel(), (row * n + (column + 1) % n).ravel()
    c, d = a + n, b + n
    last, north, south = (rings - 2) * n, len(points) - 2, len(points) - 1
    ring, after = np.arange(n), (np.arange(n) + 1) % n
    caps = [
        np.stack([np.full(n, north), ring, after], axis=1),
        np.stack([np.full(n, south), last + after, last + ring], axis=1),
    ]
    triangles = np.concatenate([np.stack([a, c, d], axis=1), np.stack([a, d, b], axis=1), *caps])
    return Mesh(points, triangles.astype(np.int64))


def tube_mesh(radius: float = 90.0, half_length: float = 250.0) -> Mesh:
    """A cylinder along z, open at both ends."""
    n, rows = 180, 100
    azimuth, z = np.meshgrid(np.arange(n) * 2 * np.pi / n, np.linspace(-half_length, half_length, rows))
    points = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=-1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(n), indexing="ij")
    a, b = (row * n + column).ravel(), (row * n + (column + 1) % n).ravel()
    c, d = a + n, b + n
    return Mesh(points, np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)]))


def plate_mesh(half: float = 200.0) -> Mesh:
    """A square in the plane z = 0."""
    points = np.array(
        [[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]], dtype=np.float64
    )
    return Mesh(points, np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int64))


def touched(
    rng: np.random.Generator,
    shape: object = torso,
    n: int = 120,
    widest_deg: float = 85.0,
    noise_mm: float = 0.7,
) -> Array:
    """(n, 3) points of a shape within an angle of +z, with isotropic noise of that RMS length."""
    assert callable(shape)
    polar = np.arccos(rng.uniform(np.cos(np.radians(widest_deg)), 1.0, n))
    points = shape(directions(rng.uniform(0.0, 2.0 * np.pi, n), polar))
    return np.asarray(points + rng.normal(0.0, noise_mm / np.sqrt(3.0), (n, 3)))


def pose(rng: np.random.Generator) -> Array:
    """(4, 4): any orientation, up to some 300 mm away."""
    T = np.eye(4)
    T[:3, :3] = rotations(rng.normal(size=(1, 3)) * 1.5)[0]
    T[:3, 3] = rng.uniform(-300.0, 300.0, 3)
    return T


def off_by(T: Array, points: Array, rng: np.random.Generator, mm: float, deg: float) -> Array:
    """T with its points moved by `mm` and turned by `deg` about their middle, in any direction."""
    direction, axis = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    turn = rotations((np.radians(deg) * axis)[None])[0]
    middle = points.mean(axis=0) @ T[:3, :3].T + T[:3, 3]
    result = np.eye(4)
    result[:3, :3] = turn @ T[:3, :3]
    result[:3, 3] = turn @ (T[:3, 3] - middle) + middle + mm * direction
    return result


def applied(T: Array, points: Array) -> Array:
    return np.asarray(points @ T[:3, :3].T + T[:3, 3])
