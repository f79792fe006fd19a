"""From a point-source grid (and an air/water measurement) to probe.json: read, fit, tabulate, judge.

The grid is measured in air; what tissue does is narrow-beam attenuation plus single scatter, and an air/water
measurement, where there is one, scales the scatter. The difference of both is reported, not hidden.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import DetectorGates, gates_content
from calibration.physics.attenuation import TISSUE, WATER, Mixture, effective_mu_per_cm, mu_per_cm
from calibration.physics.nuclide import Nuclide
from calibration.physics.scalebudget import NOT_STATED, TYPICAL_DEPTH_MM, with_budget
from calibration.physics.source import SourceStatement
from calibration.probe.gridcheck import copies, disagreeing_activities, refusals
from calibration.probe.gridfit import FittedResponse, Grid, fit_grid
from calibration.probe.response import (
    DEPTH_SCALE_MM,
    N_V,
    N_W,
    RELATIVE_SD_EXTRAPOLATED,
    bilinear,
    table_nodes,
)
from calibration.probe.scatter import acceptance, single_scatter
from calibration.records.record import DETECTOR, new_head, sealed
from tracking.errors import InputError
from tracking.jsonfile import read_json

Array = NDArray[np.float64]

GRID_COLUMNS = ("r_mm", "z_mm", "counts", "live_s", "activity_kbq")
FARTHEST_MM = 1000.0
# Another source and day change a sensitivity by some percent; by this factor it is another probe or unit.
LARGEST_AIR_FACTOR = 2.0
# Window below which the photons of a line no longer count as seen.
LEAST_ACCEPTANCE = 0.2
# Points off the axis that tell the shape of the view.
OFF_AXIS_MM = 5.0
# Coarse nodes of the scatter integral, interpolated to the table: scatter is smooth.
SCATTER_W, SCATTER_V = 14, 18
# Beyond exp(-20) nothing is counted; keeps the inverse attenuation inside float32.
LARGEST_EXPONENT = 20.0
# A line with less emitted than this per counted photon adds nothing to the scatter worth its integral.
LEAST_EMITTED = 2e-3
# Relative standard error of the scatter where nobody measured it, and where the model lacks what matters.
TABULATED_SCATTER_SD, TABULATED_SCATTER_SD_LOW_KEV = 0.25, 0.6
# What stays of it after a measurement: another depth and shape than the water's; and the error of a measured ratio.
SCATTER_MODEL_SD, RATIO_SD = 0.1, 0.015
# Where the prediction is told when there is no air/water measurement.
PREDICTED_AT_MM = np.array([10.0, 30.0, 50.0])
# Bounds of the factor on single scatter: multiple scatter adds, a narrow window takes away.
SCATTER_SCALE_RANGE = (0.2, 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class AirWater:
    """Sensitivities on the axis at distances (n,) mm from the face, in air and with water up to the source."""

    distance_mm: Array
    air: Array
    water: Array


def read_grid(path: Path) -> Grid:
    """The grid CSV of the contract; any bad cell raises InputError with file and row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise InputError(f"{path}: cannot be read ({fault})") from fault
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")]
    if not rows or tuple(c.strip() for c in rows[0]) != GRID_COLUMNS:
        raise InputError(f"{path}, row 1: columns must be {','.join(GRID_COLUMNS)}")
    values = np.array([_grid_row(path, i + 2, row) for i, row in enumerate(rows[1:])]).reshape(-1, 5)
    if len(values) == 0:
        raise InputError(f"{path}: no measured points")
    grid = Grid(*(np.ascontiguousarray(values[:, k]) for k in range(5)))
    twice = copies(grid)
    if twice is not None:
        raise InputError(
            f"{path}, row {twice[1] + 2}: repeats row {twice[0] + 2} in every value; of a point measured twice"
            " give the sum of its counts and times once"
        )
    return grid


def _grid_row(path: Path, number: int, row: list[str]) -> list[float]:
    if len(row) != len(GRID_COLUMNS):
        raise InputError(f"{path}, row {number}: {len(row)} columns instead of {len(GRID_COLUMNS)}")
    try:
        values = [float(cell) for cell in row]
    except ValueError as fault:
        raise InputError(f"{path}, row {number}: {fault}") from fault
    r, z, counts, live, activity = values
    if not all(math.isfinite(v) for v in values):
        raise InputError(f"{path}, row {number}: not a finite number")
    if max(r, z) > FARTHEST_MM:
        raise InputError(f"{path}, row {number}: r_mm and z_mm are millimetres, at most {FARTHEST_MM:g}")
    if r < 0 or z < 0 or counts < 0 or live <= 0 or activity <= 0:
        raise InputError(
            f"{path}, row {number}: r_mm, z_mm, counts must be >= 0, live_s and activity_kbq > 0"
        )
    return values


def read_air_water(path: Path) -> AirWater:
    """The air/water JSON of the contract: {"unit": "cps/MBq", "air": {"10mm": ..}, "water": {..}}."""
    content = read_json(path)
    try:
        air, water = content["air"], content["water"]
        keys = sorted(set(air) & set(water), key=lambda k: float(k.removesuffix("mm")))
        table = np.array([[float(k.removesuffix("mm")), float(air[k]), float(water[k])] for k in keys])
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise InputError(f"{path}: no air/water measurement ({fault})") from fault
    if content.get("unit", "cps/MBq") != "cps/MBq":
        raise InputError(f"{path}: unit {content['unit']!r} is not cps/MBq")
    if len(table) == 0 or not np.isfinite(table).all() or (table <= 0).any():
        raise InputError(f"{path}: air and water need positive values at the same distances")
    return AirWater(table[:, 0], table[:, 1], table[:, 2])


def calibrate(
    grid: Grid,
    nuclide: Nuclide,
    window_kev: tuple[float, float] | None = None,
    air_water: AirWater | None = None,
    simulated: bool = False,
    extra: dict[str, Any] | None = None,
    source: SourceStatement = NOT_STATED,
    gates: DetectorGates | None = None,
) -> dict[str, Any]:
    """The content of probe.json, gate included; `extra` overrides keys of its head (serial, operator, dead time).

    `source` tells how well the grid's activity is known, and brings it from its assay to the measurement.
    """
    window = window_kev or nuclide.window_kev
    grid = replace(grid, activity_kbq=grid.activity_kbq * source.decay_factor(nuclide))
    _require_line(nuclide, window)
    gates = gates or DetectorGates()
    content = new_header(nuclide, window, simulated) | (extra or {}) | gates_content(gates)
    refused = refusals(grid, nuclide.photons_per_decay, gates) + _refuse_water(air_water)
    if refused:
        return sealed(content | {"accepted": False, "reasons": refused})
    fitted = fit_grid(grid)
    refused = disagreeing_activities(grid, fitted.in_air(grid.r_mm, grid.z_mm) * grid.exposure)
    wrong_unit, other_air = _other_air(air_water, fitted)
    described = describe(fitted, grid, nuclide, window, air_water)
    misfit = fitted.held_out_chi2_per_dof
    reasons = list(described["attenuation"].pop("reasons")) + other_air
    if grid.r_mm.max() < OFF_AXIS_MM:
        reasons.append("measured on the axis only: the view to the side is physics, not measurement")
    if misfit > gates.doubtful_misfit:
        reasons.append(
            f"held-out misfit chi2/dof {misfit:.1f} is above {gates.doubtful_misfit:g}{_alone(fitted)}"
        )
    described = with_budget(
        described,
        1.0 / math.sqrt(grid.counts.sum()),
        TYPICAL_DEPTH_MM + described["response"]["recess_mm"],
        nuclide,
        source,
    )
    if misfit > gates.max_misfit:
        refused.append("the points are not the response of a probe")
    refused += wrong_unit
    content |= described | {
        "chi2_per_dof": digits(fitted.chi2_per_dof),
        "held_out_chi2_per_dof": digits(misfit),
        "accepted": not refused,
        "reasons": refused + reasons,
    }
    return sealed(content)


def _alone(fitted: FittedResponse) -> str:
    if fitted.alone_mm is None:
        return ""
    r, z = fitted.alone_mm
    return f", most of it at r {r:g}, z {z:g} mm: measure that point again and others beside it"


def describe(
    fitted: FittedResponse,
    grid: Grid,
    nuclide: Nuclide,
    window_kev: tuple[float, float],
    air_water: AirWater | None = None,
) -> dict[str, Any]:
    """The keys `response` and `attenuation` of probe.json; the latter's `reasons` are the caller's to move."""
    tables = Tables.of(fitted, nuclide, window_kev)
    scale, attenuation = _attenuation(tables, air_water)
    return {"response": _response_block(fitted, grid, tables, scale), "attenuation": attenuation}


def _require_line(nuclide: Nuclide, window_kev: tuple[float, float]) -> None:
    """Raise InputError for a window that holds no line of the nuclide."""
    seen = acceptance(np.array([energy for energy, _ in nuclide.lines_kev]), window_kev)
    if seen.max() < LEAST_ACCEPTANCE:
        lines = ", ".join(f"{energy:g}" for energy, _ in nuclide.lines_kev)
        low, high = window_kev
        raise InputError(f"window {low:g} to {high:g} keV holds no line of {nuclide.name} ({lines} keV)")


def _refuse_water(air_water: AirWater | None) -> list[str]:
    if air_water is None or (air_water.water < air_water.air).all():
        return []
    return ["more counts through water than in air: the two measurements are not of one source and probe"]


def _other_air(air_water: AirWater | None, fitted: FittedResponse) -> tuple[list[str], list[str]]:
    """Why the air/water measurement is in another unit than the grid, and whether it fits it at all."""
    if air_water is None:
        return [], []
    on_axis = 1000.0 * fitted.in_air(np.zeros_like(air_water.distance_mm), air_water.distance_mm)
    factor = float(np.median(air_water.air / on_axis))
    words = f"air/water has {factor:.2g} times the grid's sensitivity in air"
    for unit, name in ((1e-3, "cps/kBq"), (1e3, "cps/GBq")):
        if 1.0 / LARGEST_AIR_FACTOR <= factor / unit <= LARGEST_AIR_FACTOR:
            return [f"{words}: is it in {name}?"], []
    if 1.0 / LARGEST_AIR_FACTOR <= factor <= LARGEST_AIR_FACTOR:
        return [], []
    return [], [f"{words}: only the ratio of water to air is used"]


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Primary and single-scatter sensitivity times d^2 on the table's nodes, and on the axis.

    `hardened` is what several lines in the window leave beyond exp(-mean mu path): it goes with the scatter.
    """

    recess_mm: float
    primary: Array  # (N_W, N_V)
    scatter: Array
    hardened: Array
    mixture: Mixture

    @staticmethod
    def of(fitted: FittedResponse, nuclide: Nuclide, window_kev: tuple[float, float]) -> Tables:
        """Tabulate the fit; the scatter integral runs on coarse nodes over the tabulated primary."""
        recess = max(fitted.collimator.recess_mm, 1.0)
        r, z = table_nodes(recess, N_W, N_V)
        d2 = r**2 + (z + recess) ** 2
        primary = (fitted.in_air(r.ravel(), z.ravel())).reshape(r.shape) * d2

        def air(rr: Array, zz: Array) -> Array:
            w, v = _position(rr, zz, recess, N_W, N_V)
            return bilinear(primary[..., None], w, v)[..., 0] / (rr**2 + (zz + recess) ** 2)

        rs, zs = table_nodes(recess, SCATTER_W, SCATTER_V)
        mixture = Mixture.of(nuclide, window_kev)
        mu = mixture.mu_per_cm() / 10.0
        coarse = np.zeros(rs.shape)
        for energy, emitted in _lines(nuclide, window_kev):
            own = float(mu_per_cm(energy)) / 10.0
            seen = single_scatter(rs.ravel(), zs.ravel(), air, recess, own, energy, window_kev, emitted)
            coarse += seen.reshape(rs.shape)
        ds2 = rs**2 + (zs + recess) ** 2
        coarse *= ds2 * np.exp(np.minimum(mu * np.sqrt(ds2) * zs / (zs + recess), LARGEST_EXPONENT))
        w, v = np.meshgrid(
            np.linspace(0, SCATTER_W - 1, N_W), np.linspace(0, SCATTER_V - 1, N_V), indexing="ij"
        )
        through = np.minimum(np.sqrt(d2) * z / (z + recess), LARGEST_EXPONENT / mu)
        scatter = bilinear(coarse[..., None], w, v)[..., 0]
        return Tables(recess, primary, scatter, primary * mixture.hardening(through), mixture)

    def on_axis(self, z_mm: Array, scale: Array | float, material: str = WATER) -> Array:
        """Predicted ratio of the counts through `z_mm` of a material to those in air, on the axis, face on it."""
        w, v = _position(np.zeros_like(z_mm), z_mm, self.recess_mm, N_W, N_V)
        both = bilinear(np.stack([self.primary, self.scatter], axis=-1), w, v)
        mean = np.exp(-self.mixture.mu_per_cm(material) / 10.0 * z_mm)
        result: Array = self.mixture.transmission(z_mm, material) + mean * scale * both[..., 1] / both[..., 0]
        return result


def _position(r: Array, z: Array, recess: float, n_w: int, n_v: int) -> tuple[Array, Array]:
    w = DEPTH_SCALE_MM / (z + DEPTH_SCALE_MM) * (n_w - 1)
    return w, r / (r + z + recess) * (n_v - 1)


def _lines(nuclide: Nuclide, window_kev: tuple[float, float]) -> list[tuple[float, float]]:
    """(energy, photons emitted per photon the window counts in air) of the lines that can scatter into it."""
    counted = nuclide.photons_in(window_kev)
    able = [(e, share / counted) for e, share in nuclide.lines_kev if e >= window_kev[0]]
    return [(e, emitted) for e, emitted in able if emitted > LEAST_EMITTED]


def _attenuation(tables: Tables, air_water: AirWater | None) -> tuple[float, dict[str, Any]]:
    """Scale on the scatter and the record of where it comes from."""
    mixture = tables.mixture
    doubts = list(mixture.doubts())
    block: dict[str, Any] = {
        "mu_per_mm": mixture.mu_per_cm(TISSUE) / 10.0,
        "lines": [{"energy_kev": e, "share": digits(share)} for e, share in mixture.lines],
        "source": "tabulated physics",
        "reasons": doubts,
    }
    if air_water is None:
        block |= _compared(tables, PREDICTED_AT_MM, None)
        block |= {
            "scatter_scale": 1.0,
            "scatter_scale_sd": TABULATED_SCATTER_SD_LOW_KEV if doubts else TABULATED_SCATTER_SD,
        }
        block["reasons"] = ["no air/water measurement: attenuation from tabulated physics", *doubts]
        return 1.0, block
    z, ratio = air_water.distance_mm, air_water.water / air_water.air
    plain, unit = tables.on_axis(z, 0.0), tables.on_axis(z, 1.0)
    gain = unit - plain
    scale = float(gain @ (ratio - plain) / (gain @ gain))
    clipped = float(np.clip(scale, *SCATTER_SCALE_RANGE))
    left = ratio / tables.on_axis(z, clipped) - 1.0
    if clipped != scale:
        block["reasons"] = [
            *doubts,
            f"air/water asks for {scale:.2f} times the scatter physics predicts; limited",
        ]
    block |= _compared(tables, z, ratio)
    block |= {
        "source": "air/water measurement",
        "scatter_scale": digits(clipped),
        "scatter_scale_sd": digits(_scatter_scale_sd(left, gain, abs(scale - clipped))),
        "largest_misfit": digits(float(np.abs(left).max())),
    }
    return clipped, block


def _scatter_scale_sd(left: Array, gain: Array, clipped_off: float) -> float:
    """Standard error of the scatter's factor: relative misfits `left` (n,) of the ratio, `gain` (n,) per factor.

    A ratio measured near the face tells little of the scatter; what a bound took away is not known any better.
    """
    ratio_sd = max(RATIO_SD, float(np.sqrt(np.mean(left**2))))
    return float(np.sqrt(SCATTER_MODEL_SD**2 + (ratio_sd / np.linalg.norm(gain)) ** 2 + clipped_off**2))


def _compared(tables: Tables, z_mm: Array, ratio: Array | None) -> dict[str, Any]:
    """What tabulated physics predicts in water at these distances, what was measured, and the difference."""
    unit = tables.on_axis(z_mm, 1.0)
    predicted = effective_mu_per_cm(unit, z_mm)
    found: dict[str, Any] = {
        "distance_mm": [float(v) for v in z_mm],
        "tabulated_ratio": [digits(v) for v in unit],
        "narrow_beam_mu_water_per_cm": digits(tables.mixture.mu_per_cm(WATER)),
        "predicted_effective_mu_per_cm": [digits(v) for v in predicted],
    }
    if ratio is not None:
        measured = effective_mu_per_cm(ratio, z_mm)
        found |= {
            "measured_ratio": [digits(v) for v in ratio],
            "effective_mu_per_cm": [digits(v) for v in measured],
            "effective_mu_difference_per_cm": [digits(v) for v in measured - predicted],
        }
    return found


def _response_block(fitted: FittedResponse, grid: Grid, tables: Tables, scale: float) -> dict[str, Any]:
    c = fitted.collimator
    return {
        "coordinates": "rows w = 10 / (z + 10), columns v = r / (r + z + recess); values times d^2, cps/kBq mm^2",
        "primary_mm2": [[digits(v) for v in row] for row in tables.primary],
        "scatter_mm2": [[digits(v) for v in row] for row in tables.scatter * scale + tables.hardened],
        "recess_mm": tables.recess_mm,
        "leak": c.leak_behind,
        "extrapolated_relative_sd": digits(
            float(np.hypot(RELATIVE_SD_EXTRAPOLATED, fitted.tail_relative_sd))
        ),
        "measured_range": {
            "r_mm": [float(grid.r_mm.min()), float(grid.r_mm.max())],
            "z_mm": [float(grid.z_mm.min()), float(grid.z_mm.max())],
        },
        "scale_relative_sd": fitted.scale_relative_sd,
        "collimator": {k: getattr(c, k) for k in c.__dataclass_fields__},
        "correction_sd": fitted.correction_sd,
        "on_axis_cps_per_mbq": {
            f"{z:g}mm": digits(1000.0 * float(fitted.in_air(np.zeros(1), np.array([z]))[0]))
            for z in (10.0, 30.0, 50.0)
        },
    }


def new_header(nuclide: Nuclide, window_kev: tuple[float, float], simulated: bool) -> dict[str, Any]:
    """The head of a new draft, dated now and valid for a year."""
    head = new_head(DETECTOR, nuclide=nuclide.name, window_kev=window_kev, simulated=simulated)
    return head | {"dead_time_s": None}


def digits(value: float) -> float:
    """Six significant digits: beyond the measurement, and a smaller file."""
    return float(f"{value:.6g}")
