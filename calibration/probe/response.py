"""The detector response of one probe for one nuclide and window: cps per kBq of a point, in air and in tissue.

Tip frame: origin at the centre of the face, +Z out of it; r is the distance from the axis, z along it, in mm. In
tissue `s(r, z) = (primary + scatter * path share) * exp(-mu path) / d^2`, d the distance to the crystal's centre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import DeadTime
from calibration.physics.nuclide import Nuclide
from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.records.binding import Identity
from calibration.records.record import DETECTOR, RecordStamp, expires_soon, require_usable
from calibration.records.store import read_record
from tracking.errors import GateRefusedError, InputError
from tracking.seal import checksum

__all__ = ["DetectorResponse", "bilinear", "checksum", "load_response", "response_of", "table_nodes"]

Array = NDArray[np.float64]

# Table of primary and scatter: rows over w = c / (z + c), columns over v = r / (r + z + recess).
N_W, N_V = 96, 256
# Half the rows of the table lie within this distance of the face, where the response bends most.
DEPTH_SCALE_MM = 10.0
# Least relative standard error of the response where physics continues it beyond the measured points.
RELATIVE_SD_EXTRAPOLATED = 0.10
# Share of the counts of a source 30 mm deep that were scattered: what an error of the scatter is worth.
TYPICAL_SCATTER_SHARE = 0.12
UNNAMED = RecordStamp("unnamed", DETECTOR, "draft")


@dataclass(frozen=True, slots=True, eq=False)
class DetectorResponse:
    """A usable calibration. `table` (N_W, N_V, 2) float32: primary and scatter times d^2, cps/kBq mm^2."""

    nuclide: Nuclide
    window_kev: tuple[float, float]
    table: NDArray[np.float32]
    recess_mm: float
    leak: float  # cps/kBq mm^2 sr: what is left behind the face and far off axis
    mu_per_mm: float
    measured_r_mm: float
    measured_z_mm: tuple[float, float]
    scale_relative_sd: float
    scatter_scale_sd: float
    extrapolated_relative_sd: float = RELATIVE_SD_EXTRAPOLATED
    dead_time: DeadTime | None = None
    count_latency_s: float | None = None
    count_latency_ci95_s: tuple[float, float] | None = None
    T_probe_probetip: NDArray[np.float64] | None = None
    stamp: RecordStamp = UNNAMED
    probe_serial: str | None = None
    collimator: str | None = None
    expires_soon: str | None = None
    simulated: bool = False
    reasons: tuple[str, ...] = field(default=())
    sheath_relative_sd: float = 0.0  # what of the scale's uncertainty is a sterile sheath's

    def in_air(self, r_mm: Array, z_mm: Array) -> Array:
        """Sensitivity in air (n,), cps/kBq; behind the face only the leak."""
        return self.in_tissue(r_mm, z_mm, np.zeros_like(r_mm))

    def in_tissue(self, r_mm: Array, z_mm: Array, path_mm: Array) -> Array:
        """Sensitivity (n,) in cps/kBq with `path_mm` of tissue on the ray to the crystal: the native kernel's twin."""
        height = z_mm + self.recess_mm
        d2 = np.maximum(r_mm**2 + height**2, 1.0)
        front = z_mm > 0.0
        safe_height = np.where(front, height, 1.0)
        through = np.sqrt(d2) * np.where(front, z_mm, 0.0) / safe_height
        primary, scatter = self._look_up(r_mm, np.maximum(z_mm, 0.0))
        share = path_mm / np.maximum(through, 1e-3)
        seen = (primary + scatter * share) * np.exp(-self.mu_per_mm * path_mm) / d2
        return np.where(front, seen, self.leak / (4 * np.pi * d2))

    @property
    def identity(self) -> Identity:
        """What a scan, case or probe must agree with."""
        return Identity(self.nuclide.name, self.window_kev, self.probe_serial, self.collimator)

    @property
    def probe_id(self) -> str:
        """The record's id."""
        return self.stamp.id

    @property
    def state(self) -> str:
        """Draft or approved."""
        return self.stamp.state

    @property
    def dead_time_s(self) -> float | None:
        """Dead time in s; None where the calibration states none."""
        return None if self.dead_time is None else self.dead_time.tau_s

    @property
    def systematic_relative_sd(self) -> float:
        """Relative uncertainty of any activity from the calibration itself: its scale, and the scatter in tissue."""
        return float(np.hypot(self.scale_relative_sd, TYPICAL_SCATTER_SHARE * self.scatter_scale_sd))

    def collimation(self, r_mm: Array, z_mm: Array) -> Array:
        """Primary response (n,) over that on the axis at the same depth: 1 in the view, 0 behind the face."""
        front = np.maximum(z_mm, 0.5)
        primary, _ = self._look_up(r_mm, front)
        on_axis, _ = self._look_up(np.zeros_like(r_mm), front)
        return np.where(z_mm > 0.0, primary / on_axis, 0.0)

    def extrapolated(self, r_mm: Array, z_mm: Array) -> NDArray[np.bool_]:
        """Where the response rests on physics and not on a measured point."""
        low, high = self.measured_z_mm
        result: NDArray[np.bool_] = (r_mm > self.measured_r_mm) | (z_mm < low) | (z_mm > high)
        return result

    def _look_up(self, r_mm: Array, z_mm: Array) -> tuple[Array, Array]:
        w = DEPTH_SCALE_MM / (z_mm + DEPTH_SCALE_MM) * (self.table.shape[0] - 1)
        v = r_mm / (r_mm + z_mm + self.recess_mm) * (self.table.shape[1] - 1)
        both = bilinear(self.table.astype(np.float64), w, v)
        return both[..., 0], both[..., 1]


def bilinear(table: Array, w: Array, v: Array) -> Array:
    """Values of `table` (a, b, ...) at continuous rows w and columns v."""
    iw = np.clip(w.astype(np.int64), 0, table.shape[0] - 2)
    iv = np.clip(v.astype(np.int64), 0, table.shape[1] - 2)
    aw, av = (w - iw)[..., None], (v - iv)[..., None]
    low = table[iw, iv] * (1 - av) + table[iw, iv + 1] * av
    high = table[iw + 1, iv] * (1 - av) + table[iw + 1, iv + 1] * av
    result: Array = low * (1 - aw) + high * aw
    return result


def table_nodes(recess_mm: float, n_w: int, n_v: int) -> tuple[Array, Array]:
    """(r, z) of the nodes of a table (n_w, n_v); the last row and column stand in for infinity."""
    w = np.maximum(np.linspace(0.0, 1.0, n_w), 0.5 / (n_w - 1))
    v = np.minimum(np.linspace(0.0, 1.0, n_v), 1.0 - 0.25 / (n_v - 1))
    z = DEPTH_SCALE_MM / w - DEPTH_SCALE_MM
    ww, vv = np.meshgrid(z, v, indexing="ij")
    return vv / (1 - vv) * (ww + recess_mm), ww


def load_response(path: Path, stated: Identity | None = None, day: date | None = None) -> DetectorResponse:
    """The calibration in probe.json, or the active one of a store for what is `stated`.

    Raises InputError when it is no such file, GateRefusedError when it was altered, refused or is expired on `day`
    (default: today).
    """
    return response_of(*read_record(path, DETECTOR, stated), day)


def response_of(content: Mapping[str, Any], path: Path | str, day: date | None = None) -> DetectorResponse:
    """The calibration whose content was read from `path`; raises as `load_response`."""
    if "checksum" not in content or "accepted" not in content:
        raise InputError(f"{path}: no detector calibration: key 'checksum' or 'accepted' is missing")
    require_usable(content, path, day)
    if content["accepted"] is not True:
        raise GateRefusedError(f"{path}: the calibration was refused: accepted is {content['accepted']!r}")
    try:
        return _from_content(content, nuclide_by_name(str(content["nuclide"])), path, day)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as fault:
        if isinstance(fault, InputError):
            raise
        raise InputError(f"{path}: the calibration is malformed ({fault!r})") from fault


def _from_content(
    content: Mapping[str, Any], nuclide: Nuclide, path: Path | str, day: date | None
) -> DetectorResponse:
    r = content["response"]
    tip, latency = (content.get(k) for k in ("T_probe_probetip", "count_latency_s"))
    table = np.array([r["primary_mm2"], r["scatter_mm2"]], dtype=np.float32)
    shaped = table.ndim == 3 and min(table.shape[1:]) > 1
    if not shaped or not np.isfinite(table).all() or not table[0].max() > 0:
        raise InputError(f"{path}: the response is not two finite tables of one size")
    known = Identity.of(content, path)
    return DetectorResponse(
        nuclide=nuclide,
        window_kev=(float(content["window_kev"][0]), float(content["window_kev"][1])),
        table=np.ascontiguousarray(np.moveaxis(table, 0, -1)),
        recess_mm=float(r["recess_mm"]),
        leak=float(r["leak"]),
        mu_per_mm=float(content["attenuation"]["mu_per_mm"]),
        measured_r_mm=float(r["measured_range"]["r_mm"][1]),
        measured_z_mm=(float(r["measured_range"]["z_mm"][0]), float(r["measured_range"]["z_mm"][1])),
        scale_relative_sd=float(r["scale_relative_sd"]),
        scatter_scale_sd=float(content["attenuation"]["scatter_scale_sd"]),
        extrapolated_relative_sd=float(r.get("extrapolated_relative_sd", RELATIVE_SD_EXTRAPOLATED)),
        dead_time=DeadTime.of(content),
        count_latency_s=None if latency is None else float(latency),
        count_latency_ci95_s=_interval(content.get("count_latency_ci95_s")),
        T_probe_probetip=None if tip is None else np.array(tip, dtype=np.float64).reshape(4, 4),
        stamp=RecordStamp.of(content, path),
        probe_serial=known.probe_serial,
        collimator=known.collimator,
        simulated=bool(content.get("simulated", False)),
        expires_soon=expires_soon(content, path, day),
        reasons=tuple(str(reason) for reason in content.get("reasons", ())),
    )


def _interval(value: Any) -> tuple[float, float] | None:
    """Two numbers that do not fall, None where there are none. Raises ValueError."""
    if value is None:
        return None
    low, high = (float(v) for v in value)
    if not 0.0 <= low <= high < np.inf:
        raise ValueError("count_latency_ci95_s must rise from 0 or more")
    return low, high
