"""Response rows as a user of numba would write them: one fused loop over poses and points, in parallel."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from calibration.probe.response import DEPTH_SCALE_MM, DetectorResponse
from tracking.sample import Readings


def numba_rows(points: np.ndarray, readings: Readings, detector: DetectorResponse) -> np.ndarray:
    """(n, m) float32 in full tissue, without the path through a tissue map."""
    out = np.empty((len(readings), len(points)), dtype=np.float32)
    r = detector
    _kernel()(points.astype(np.float32), readings.poses, r.table, r.recess_mm, r.leak, r.mu_per_mm, out)
    return out


@cache
def _kernel() -> Any:
    import numba

    @numba.njit(parallel=True, fastmath=True)
    def rows(points, poses, table, recess, leak, mu, out):  # type: ignore[no-untyped-def]
        last_w, last_v = table.shape[0] - 1, table.shape[1] - 1
        for i in numba.prange(out.shape[0]):
            pose = poses[i].astype(np.float32)
            for j in range(out.shape[1]):
                ex, ey, ez = (
                    points[j, 0] - pose[0, 3],
                    points[j, 1] - pose[1, 3],
                    points[j, 2] - pose[2, 3],
                )
                px = pose[0, 0] * ex + pose[1, 0] * ey + pose[2, 0] * ez
                py = pose[0, 1] * ex + pose[1, 1] * ey + pose[2, 1] * ez
                z = pose[0, 2] * ex + pose[1, 2] * ey + pose[2, 2] * ez
                r2, height = px * px + py * py, z + np.float32(recess)
                d2 = max(r2 + height * height, np.float32(1.0))
                if z <= 0:
                    out[i, j] = leak / (4 * np.pi * d2)
                    continue
                r = np.sqrt(r2)
                path = np.sqrt(d2) * z / height
                w = np.float32(DEPTH_SCALE_MM) / (z + np.float32(DEPTH_SCALE_MM)) * np.float32(last_w)
                v = r / (r + height) * np.float32(last_v)
                iw, iv = min(int(w), last_w - 1), min(int(v), last_v - 1)
                aw, av = w - np.float32(iw), v - np.float32(iv)
                total = np.float32(0.0)
                for part in range(2):
                    low = table[iw, iv, part] + av * (table[iw, iv + 1, part] - table[iw, iv, part])
                    high = table[iw + 1, iv, part] + av * (
                        table[iw + 1, iv + 1, part] - table[iw + 1, iv, part]
                    )
                    total += low + aw * (high - low)
                out[i, j] = total * np.exp(-np.float32(mu) * path) / d2

    return rows
