"""The response of one pose to many points as a user writes it in numpy or numba: table, then attenuation.

The same model as the project's rows, written from its description, in any tissue (rays marched) and the least a user
computes: behind a flat skin, where the path has a formula. Nothing of the project is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Samples of a ray between face and point.
SAMPLES = 12
FOUR_PI = 4.0 * np.pi


@dataclass(frozen=True)
class Model:
    """One pose (4, 4), points (m, 3) in mm, the tables (w, v, 2) and their scales, tissue (nz, ny, nx) and its grid."""

    pose: np.ndarray
    points: np.ndarray
    table: np.ndarray
    tissue: np.ndarray
    origin: np.ndarray
    scales: np.ndarray  # recess, depth scale, leak, mu, spacing of the tissue

    @staticmethod
    def read(folder: Path) -> Model:
        """What `write` put there."""
        with np.load(folder / "model.npz") as f:
            return Model(*(f[k] for k in ("pose", "points", "table", "tissue", "origin", "scales")))

    def write(self, folder: Path) -> None:
        """For another process."""
        np.savez(folder / "model.npz", **vars(self))


def numpy_row(model: Model, flat: bool) -> np.ndarray:
    """(m,) cps per kBq; `flat`: the tissue is all below z = 0 of the Reference frame."""
    recess, depth, leak, mu, spacing = (float(s) for s in model.scales)
    r_, t = model.pose[:3, :3].astype(np.float32), model.pose[:3, 3].astype(np.float32)
    local = (model.points - t) @ r_
    z = local[:, 2]
    front = z > 0
    deep = np.where(front, z, 1.0)
    r = np.hypot(local[:, 0], local[:, 1])
    d2 = np.maximum(r**2 + (z + recess) ** 2, 1.0)
    crystal = t - recess * r_[:, 2]
    back = deep / (deep + recess)
    ray = (model.points - crystal) * back[:, None]
    start = model.points - ray
    if flat:
        above = np.maximum(start[:, 2], 0.0)
        share = 1.0 - above / np.maximum(above - np.minimum(model.points[:, 2], 0.0), 1e-6)
    else:
        share = np.zeros(len(z))
        for k in range(SAMPLES):
            share += _tissue_at(model.tissue, (start + ray * ((k + 0.5) / SAMPLES) - model.origin) / spacing)
        share /= SAMPLES
    through = np.sqrt(d2) * back
    path = share * through
    w = depth / (deep + depth) * (model.table.shape[0] - 1)
    v = r / (r + deep + recess) * (model.table.shape[1] - 1)
    both = _bilinear(model.table, w, v)
    seen = (both[:, 0] + both[:, 1] * path / np.maximum(through, 1e-3)) * np.exp(-mu * path) / d2
    return np.where(front, seen, leak / (FOUR_PI * d2)).astype(np.float32)


def _bilinear(table: np.ndarray, w: np.ndarray, v: np.ndarray) -> np.ndarray:
    iw = np.clip(w.astype(np.int64), 0, table.shape[0] - 2)
    iv = np.clip(v.astype(np.int64), 0, table.shape[1] - 2)
    aw, av = (w - iw)[:, None], (v - iv)[:, None]
    low = table[iw, iv] * (1 - av) + table[iw, iv + 1] * av
    high = table[iw + 1, iv] * (1 - av) + table[iw + 1, iv + 1] * av
    return np.asarray(low * (1 - aw) + high * aw)


def _tissue_at(tissue: np.ndarray, place: np.ndarray) -> np.ndarray:
    size = np.array(tissue.shape[::-1])
    f = np.clip(place, 0.0, size - 1.001)
    low = f.astype(np.int64)
    a = f - low
    i, j, k = low.T
    x, y, z = a.T
    rows = [
        tissue[k + c, j + b, i] * (1 - x) + tissue[k + c, j + b, i + 1] * x for c in (0, 1) for b in (0, 1)
    ]
    return np.asarray((rows[0] * (1 - y) + rows[1] * y) * (1 - z) + (rows[2] * (1 - y) + rows[3] * y) * z)


def numba_row(model: Model, flat: bool) -> Callable[[], np.ndarray]:
    """The same, compiled."""
    import math

    import numba

    @numba.njit(fastmath=True)
    def tissue_at(g, x, y, z):  # type: ignore[no-untyped-def]
        nz, ny, nx = g.shape
        x = min(max(x, 0.0), nx - 1.001)
        y = min(max(y, 0.0), ny - 1.001)
        z = min(max(z, 0.0), nz - 1.001)
        i, j, k = int(x), int(y), int(z)
        x, y, z = x - i, y - j, z - k
        a = (g[k, j, i] * (1 - x) + g[k, j, i + 1] * x) * (1 - y) + (
            g[k, j + 1, i] * (1 - x) + g[k, j + 1, i + 1] * x
        ) * y
        b = (g[k + 1, j, i] * (1 - x) + g[k + 1, j, i + 1] * x) * (1 - y) + (
            g[k + 1, j + 1, i] * (1 - x) + g[k + 1, j + 1, i + 1] * x
        ) * y
        return a * (1 - z) + b * z

    @numba.njit(parallel=True, fastmath=True)
    def row(pose, points, table, tissue, origin, scales):  # type: ignore[no-untyped-def]
        recess, depth, leak, mu, spacing = scales[0], scales[1], scales[2], scales[3], scales[4]
        out = np.empty(len(points), dtype=np.float32)
        n_w, n_v = table.shape[0], table.shape[1]
        for m in numba.prange(len(points)):
            ex, ey, ez = points[m, 0] - pose[0, 3], points[m, 1] - pose[1, 3], points[m, 2] - pose[2, 3]
            px = pose[0, 0] * ex + pose[1, 0] * ey + pose[2, 0] * ez
            py = pose[0, 1] * ex + pose[1, 1] * ey + pose[2, 1] * ez
            z = pose[0, 2] * ex + pose[1, 2] * ey + pose[2, 2] * ez
            r2 = px * px + py * py
            d2 = max(r2 + (z + recess) ** 2, 1.0)
            if z <= 0:
                out[m] = leak / (4.0 * math.pi * d2)
                continue
            r = math.sqrt(r2)
            back = z / (z + recess)
            bx = back * (ex + recess * pose[0, 2])
            by = back * (ey + recess * pose[1, 2])
            bz = back * (ez + recess * pose[2, 2])
            share = 0.0
            if flat:
                above = max(points[m, 2] - bz, 0.0)
                share = 1.0 - above / max(above - min(points[m, 2], 0.0), 1e-6)
            else:
                for k in range(SAMPLES):
                    left = 1.0 - (k + 0.5) / SAMPLES
                    share += tissue_at(
                        tissue,
                        (points[m, 0] - left * bx - origin[0]) / spacing,
                        (points[m, 1] - left * by - origin[1]) / spacing,
                        (points[m, 2] - left * bz - origin[2]) / spacing,
                    )
                share /= SAMPLES
            through = math.sqrt(d2) * back
            path = share * through
            w, v = depth / (z + depth) * (n_w - 1), r / (r + z + recess) * (n_v - 1)
            iw, iv = min(int(w), n_w - 2), min(int(v), n_v - 2)
            aw, av = w - iw, v - iv
            total = 0.0
            for c in range(2):
                low = table[iw, iv, c] * (1 - av) + table[iw, iv + 1, c] * av
                high = table[iw + 1, iv, c] * (1 - av) + table[iw + 1, iv + 1, c] * av
                part = low * (1 - aw) + high * aw
                total += part if c == 0 else part * path / max(through, 1e-3)
            out[m] = total * math.exp(-mu * path) / d2
        return out

    data: tuple[Any, ...] = (
        model.pose.astype(np.float32),
        model.points.astype(np.float32),
        model.table.astype(np.float32),
        model.tissue.astype(np.float32),
        model.origin.astype(np.float32),
        model.scales.astype(np.float32),
    )
    return lambda: row(*data)
