"""Pictures of a known camera by casting a ray through every pixel: a checkerboard, or balls; no code of the overlay."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

SIZE = (640, 480)
MATRIX = np.array([[610.0, 0.0, 331.0], [0.0, 604.0, 228.0], [0.0, 0.0, 1.0]])
DISTORTION = np.array([-0.21, 0.09, 0.0011, -0.0007, -0.02])
SUPER = 3


def pose(rotvec_deg: tuple[float, float, float], place_mm: tuple[float, float, float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(np.deg2rad(rotvec_deg)).as_matrix()
    T[:3, 3] = place_mm
    return T


T_MARKER_CAMERA = pose((12.0, -20.0, 95.0), (31.0, -18.0, 44.0))
# The board lies on the table of Reference, not along its axes.
T_REFERENCE_BOARD = pose((0.0, 4.0, 31.0), (-60.0, 20.0, 12.0))


@dataclass(frozen=True)
class Rays:
    """Unit rays (h, w, 3) of the camera, several to a pixel."""

    directions: np.ndarray

    @staticmethod
    def of(size: tuple[int, int] = SIZE, super_sampled: int = SUPER) -> Rays:
        step = 1.0 / super_sampled
        u = np.arange(size[0] * super_sampled) * step - 0.5 + step / 2.0
        v = np.arange(size[1] * super_sampled) * step - 0.5 + step / 2.0
        grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 1, 2)
        flat = cv2.undistortPoints(grid, MATRIX, DISTORTION).reshape(len(v), len(u), 2)
        return Rays(np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=-1))


def _down(picture: np.ndarray) -> np.ndarray:
    rows, columns = picture.shape[0] // SUPER, picture.shape[1] // SUPER
    return picture.reshape(rows, SUPER, columns, SUPER).mean(axis=(1, 3))


def board_picture(
    rays: Rays, T_camera_board: np.ndarray, inner: tuple[int, int], square_mm: float
) -> np.ndarray:
    """RGB picture of a checkerboard of (columns, rows) inner corners, the first at the board's origin."""
    R, t = T_camera_board[:3, :3], T_camera_board[:3, 3]
    ahead = rays.directions @ R[:, 2]
    depth = (t @ R[:, 2]) / ahead
    places = (rays.directions * depth[..., None] - t) @ R
    x, y = np.floor(places[..., 0] / square_mm).astype(int), np.floor(places[..., 1] / square_mm).astype(int)
    on = (x >= -1) & (x < inner[0]) & (y >= -1) & (y < inner[1]) & (depth > 0)
    paper = (x >= -2) & (x < inner[0] + 1) & (y >= -2) & (y < inner[1] + 1) & (depth > 0)
    grey = np.where(on & ((x + y) % 2 == 0), 25.0, np.where(paper, 225.0, 90.0))
    return np.repeat(_down(grey)[..., None], 3, axis=-1).astype(np.uint8)


def balls_picture(
    rays: Rays, T_camera_reference: np.ndarray, balls_mm: np.ndarray, radius_mm: float
) -> np.ndarray:
    """Grey picture (h, w): how much of each pixel balls (n, 3) of Reference fill, 0 to 255."""
    centres = balls_mm @ T_camera_reference[:3, :3].T + T_camera_reference[:3, 3]
    unit = rays.directions / np.linalg.norm(rays.directions, axis=-1, keepdims=True)
    hit = np.zeros(unit.shape[:2])
    for c in centres:
        along = unit @ c
        hit = np.maximum(hit, (along > 0) & (c @ c - along**2 <= radius_mm**2))
    return 255.0 * _down(hit)


def looking_at(from_mm: np.ndarray, at_mm: np.ndarray, roll_deg: float) -> np.ndarray:
    """T_reference_camera of a camera that looks at a place."""
    into = (at_mm - from_mm) / np.linalg.norm(at_mm - from_mm)
    right = np.cross(into, [0.3, 1.0, 0.1])
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3] = np.column_stack([right, np.cross(into, right), into])
    T[:3, 3] = from_mm
    return T @ pose((0.0, 0.0, roll_deg), (0.0, 0.0, 0.0))


def camera_poses(rng: np.random.Generator, count: int, middle_mm: np.ndarray) -> list[np.ndarray]:
    """T_reference_camera of a hand that looks at a place from all round above it."""
    out = []
    for i in range(count):
        angle, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.6)
        away = rng.uniform(330.0, 430.0)
        from_mm = middle_mm + away * np.array(
            [np.sin(tilt) * np.cos(angle), np.sin(tilt) * np.sin(angle), np.cos(tilt)]
        )
        aside = rng.uniform(-55.0, 55.0, 3) * [1.0, 1.0, 0.2]
        out.append(looking_at(from_mm, middle_mm + aside, (-60.0, 0.0, 55.0)[i % 3] + rng.uniform(-15, 15)))
    return out


def jittered(T: np.ndarray, rng: np.random.Generator, mm: float, deg: float) -> np.ndarray:
    """A tracker's error on a pose."""
    return T @ pose(tuple(rng.normal(0.0, deg, 3)), tuple(rng.normal(0.0, mm, 3)))  # type: ignore[arg-type]
