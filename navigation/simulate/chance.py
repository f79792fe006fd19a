"""Random numbers of the simulation: one independent, reproducible stream for each purpose."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def stream(seed: int, *labels: str) -> np.random.Generator:
    """The generator of `seed` for one purpose; equal labels give equal numbers on every machine."""
    return np.random.default_rng([seed, *(zlib.crc32(label.encode()) for label in labels)])


def wave(rng: np.random.Generator, x: Array, shortest: float, longest: float, terms: int = 6) -> Array:
    """A smooth random function of x (n,) of unit variance, made of waves between two periods (in x's
    unit).
    """
    period = np.exp(rng.uniform(np.log(shortest), np.log(longest), terms))
    phase = rng.uniform(0.0, 2 * np.pi, terms)
    return np.asarray(np.sin(2 * np.pi * x[:, None] / period + phase).sum(axis=1) * np.sqrt(2.0 / terms))


def random_rotation(rng: np.random.Generator) -> Array:
    """(3, 3): uniform over all orientations (QR of a Gaussian matrix)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return np.asarray(q * np.linalg.det(q))


def small_rotation(vector_rad: Array) -> Array:
    """(3, 3): rotation by the vector's length about its direction (Rodrigues)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector_rad / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def rigid(rotation: Array, translation_mm: Array) -> Array:
    """(4, 4) of a rotation and a translation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation_mm
    return matrix
