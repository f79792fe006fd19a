"""From a tracked sweep round a point source in air to probe.json: the detector's place, axis and count latency.

The gates refuse what cannot be a calibration; roll about the axis cannot be seen in counts and stays as it was, and
without a response of the same probe so does the centre along the axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.counter.deadtime import reckoned
from calibration.gates import SweepGates, gates_content
from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.physics.scalebudget import NOT_STATED, with_budget
from calibration.physics.source import SourceStatement
from calibration.probe.detector import describe, digits, new_header
from calibration.probe.gridfit import MODEL_ERROR_FLOOR, FittedResponse, Grid
from calibration.probe.response import DetectorResponse, checksum, response_of
from calibration.probe.sweepfit import (
    HIGHEST_S,
    LOWEST_S,
    MOST_SHIFT_MM,
    MOST_TILT_RAD,
    SOURCE_SD_MM,
    Sweep,
    SweepFit,
    fit_sweep,
)
from calibration.records.binding import Identity, require_match
from calibration.records.record import sealed
from tracking.binning import binned
from tracking.errors import InputError
from tracking.scanfolder import MARKER_POSES, Scan, tip_poses
from tracking.tip import merge_tips, read_tip, tip_matrix

Array = NDArray[np.float64]

# Half angle in which a probe can see anything of a source, and the share of windows that must have it there.
VIEW_HALF_ANGLE_RAD, LEAST_SHARE_IN_VIEW = float(np.deg2rad(70.0)), 0.1
# Spread (SD) of the source across the tip frame: less tells neither axis nor centre.
LEAST_SPREAD_MM = 2.0
# Sensitivity on the axis at 30 mm of any probe, cps/MBq: sold ones have some hundred to some thousand.
SENSITIVITY_RANGE = (10.0, 2e5)
# Poses stamped later than counts by more than this, and by more than so many standard errors, are no rounding: the
# counter cannot be placed on a path whose stamps are late.
NEGLIGIBLE_LEAD_S, LEAD_SIGMA = 0.005, 3.0
# The source lies elsewhere than said when the counts move it by more than a careful touch ever errs.
FARTHEST_SOURCE_MM = 4.0 * SOURCE_SD_MM
# A parameter this near its bound (in shares of it) was stopped by it.
AT_BOUND = 0.98


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A point source in air: place (3,) in Reference, mm, and activity at the time of the sweep, kBq.

    `position_sd_mm` is how well its place is known along each axis; 0 takes it for exact.
    """

    position_mm: Array
    activity_kbq: float
    position_sd_mm: float = SOURCE_SD_MM
    statement: SourceStatement = NOT_STATED


def calibrate_sweep(
    scan: Scan,
    source: Source,
    tip_files: Sequence[Path] = (),
    given: tuple[Mapping[str, Any], Path] | None = None,
    extra: Mapping[str, Any] | None = None,
    gates: SweepGates | None = None,
) -> dict[str, Any]:
    """The content of probe.json; `given` is the probe.json of the same probe from a grid, and where it lies.

    `extra` overrides keys of the head. Raises InputError when poses are missing, GateRefusedError when `given` may
    not be used or is of another nuclide.
    """
    gates = gates or SweepGates()
    response = None if given is None else _usable(given, scan)
    nominal = _nominal(scan, tip_files, response)
    sweep = _sweep(scan, source, nominal, response)
    known = nuclide_by_name(scan.nuclide)
    window = known.window_kev if response is None else response.window_kev
    content = new_header(known, window, scan.simulated or (response is not None and response.simulated))
    if sweep.dead_time.tau_s > 0.0:
        content |= sweep.dead_time.content()
    if given is not None:
        content |= {key: given[0].get(key) for key in ("probe_serial", "collimator")}
    content |= {**(extra or {}), **gates_content(gates)}
    refusals = refuse_sweep(sweep, gates)
    if refusals:
        return sealed(content | {"accepted": False, "reasons": refusals})
    fit = fit_sweep(sweep, response)
    refusals, reasons = judge(fit, gates)
    content |= _described(fit, sweep, content, given[0] if given is not None else None)
    reasons += content["attenuation"].pop("reasons", [])
    content = with_budget(content, fit.scale_sd, None, known, source.statement)
    content |= _found(fit, nominal, scan.pose_name == MARKER_POSES) | _origin(fit, sweep)
    if fit.collimator is not None:
        reasons.append("centre along the axis is tip.json's: without --response the sweep does not tell it")
    return sealed(content | {"accepted": not refusals, "reasons": refusals + reasons})


def _usable(given: tuple[Mapping[str, Any], Path], scan: Scan) -> DetectorResponse:
    response = response_of(dict(given[0]), given[1])
    stated = Identity.of({"nuclide": scan.nuclide, **scan.stated}, scan.source)
    require_match(response.identity, stated, "the sweep", given[1])
    return response


def _nominal(scan: Scan, tip_files: Sequence[Path], response: DetectorResponse | None) -> Array:
    """(4, 4): the tip frame to be corrected, in the frame of the poses."""
    if scan.pose_name != MARKER_POSES:
        return np.eye(4)
    tips = [scan.tip] if scan.tip is not None else []
    tips += [read_tip([path], day=scan.measured_on) for path in tip_files]
    if tips:
        return tip_matrix(
            merge_tips(tips), " + ".join(str(p) for p in tip_files) or str(scan.source / "tip.json")
        )
    if response is not None and response.T_probe_probetip is not None:
        return response.T_probe_probetip
    raise InputError(
        f"{scan.source / 'tip.json'}: no such file, and {MARKER_POSES} poses need one (or --tip)"
    )


def _sweep(scan: Scan, source: Source, nominal: Array, response: DetectorResponse | None) -> Sweep:
    """The windows that have poses whatever the latency is. Raises InputError when none has."""
    track = tip_poses(scan, (), nominal)
    c = scan.counts
    end, counts, window, _ = binned(c.t_s, c.counts, c.window_s, c.window_s)
    kept = track.covers(end - window - HIGHEST_S, end - LOWEST_S)
    if not kept.any():
        raise InputError(
            f"{scan.source}: no counting window has the probe visible over {HIGHEST_S - LOWEST_S:g} s before it"
        )
    dead_time = reckoned(None if response is None else response.dead_time, scan.dead_time_s)
    # A saturated window is a lower bound, which a sweep with thousands of others can do without.
    kept &= ~dead_time.saturated(counts / window)
    return Sweep(
        end[kept],
        counts[kept],
        window[kept],
        track.sample,
        source.position_mm,
        source.activity_kbq,
        dead_time,
        source.position_sd_mm,
    )


def refuse_sweep(sweep: Sweep, gates: SweepGates) -> list[str]:
    """Why this sweep cannot be a calibration, before any fit; empty if it can."""
    reasons = []
    if len(sweep) < gates.min_readings:
        reasons.append(f"{len(sweep)} counting windows with poses; at least {gates.min_readings} are needed")
    if sweep.counts.sum() < gates.min_counts:
        reasons.append(f"{sweep.counts.sum():.0f} counts in all; at least {gates.min_counts} are needed")
    place = sweep.source_seen(0.0)[0].mean(axis=1)
    angle = np.arctan2(np.hypot(place[:, 0], place[:, 1]), place[:, 2])
    if np.mean(angle < VIEW_HALF_ANGLE_RAD) < LEAST_SHARE_IN_VIEW:
        reasons.append("the source is never in front of the probe: wrong source position, tip or poses")
    spread = np.linalg.eigvalsh(np.atleast_2d(np.cov(place[:, :2].T))) if len(sweep) > 1 else np.zeros(2)
    if not np.sqrt(max(float(spread[0]), 0.0)) >= LEAST_SPREAD_MM:
        reasons.append("the probe did not move round the source: sweep across it in two directions")
    return reasons


def judge(fit: SweepFit, gates: SweepGates) -> tuple[list[str], list[str]]:
    """Reasons to refuse the fit, and reasons to doubt it."""
    refused: list[str] = []
    doubts: list[str] = []
    tilt, shift = float(np.hypot(*fit.tilt_rad)), float(np.abs(fit.shift_mm).max())
    if tilt > AT_BOUND * MOST_TILT_RAD or shift > AT_BOUND * MOST_SHIFT_MM:
        refused.append(
            f"the tip frame would be {np.degrees(tilt):.0f} degrees and {shift:.0f} mm off: another probe"
        )
    words = _latency_fault(fit)
    if words:
        refused.append(words)
    elif fit.latency_s < 0.0:
        doubts.append(f"count latency {1000 * fit.latency_s:.1f} ms is taken for none")
    if _moved_source(fit):
        doubts.append(
            f"by the counts the source lies {float(np.linalg.norm(fit.source_shift_mm)):.1f} mm beside its place:"
            " check --source"
        )
    into_scale, words = _scale_fault(fit, gates)
    if words:
        (refused if into_scale else doubts).append(words)
    for name, unit, factor, sd in (
        ("axis", "degrees", gates.doubtful_axis_sd_deg, float(np.degrees(np.nanmax(fit.sd[1:3])))),
        ("centre", "mm", gates.doubtful_centre_sd_mm, float(np.nanmax(fit.sd[3:6]))),
        ("count latency", "s", gates.doubtful_latency_sd_s, float(fit.sd[0])),
    ):
        if sd > factor:
            into = refused if sd > gates.refused_per_doubtful * factor else doubts
            into.append(f"standard error of the {name} is {sd:.2g} {unit}: a longer or wider sweep is needed")
    if fit.unexplained > gates.max_unexplained:
        refused.append(
            f"the path leaves {100 * fit.unexplained:.0f} % of the counts' variation unexplained:"
            " counts and poses are not of one sweep"
        )
    if fit.chi2_per_dof > gates.max_misfit:
        refused.append(f"chi2/dof {fit.chi2_per_dof:.0f}: counts and poses are not of this source and probe")
    elif fit.chi2_per_dof > gates.doubtful_misfit:
        doubts.append(f"misfit chi2/dof {fit.chi2_per_dof:.1f} is above {gates.doubtful_misfit:g}")
    return refused, doubts


def _latency_fault(fit: SweepFit) -> str:
    """Why counts with this latency cannot be placed; empty if they can."""
    if not LOWEST_S + 1e-3 < fit.latency_s < AT_BOUND * HIGHEST_S:
        return f"no count latency between {LOWEST_S:g} and {HIGHEST_S:g} s explains the counts"
    if fit.latency_s >= -max(NEGLIGIBLE_LEAD_S, LEAD_SIGMA * float(fit.sd[0])):
        return ""
    lead = -1000 * fit.latency_s
    return (
        f"the poses are stamped {lead:.0f} ms later than the counts (SD {1000 * float(fit.sd[0]):.1f}):"
        f" take so much off the tracker's stamps (PLUS: LocalTimeOffsetSec) and sweep again"
    )


def _moved_source(fit: SweepFit) -> bool:
    """Whether the counts put the source where it was not said to be."""
    return float(np.linalg.norm(fit.source_shift_mm)) > FARTHEST_SOURCE_MM


def _scale_fault(fit: SweepFit, gates: SweepGates) -> tuple[bool, str]:
    """Whether the strength of the counts refuses the fit, and in what words; none if it is as it should be."""
    if fit.collimator is not None:
        at_30_mm = 1000.0 * float(fit.collimator.response(np.zeros(1), np.array([30.0]))[0])
        wrong = not SENSITIVITY_RANGE[0] <= at_30_mm <= SENSITIVITY_RANGE[1]
        return wrong, f"{at_30_mm:.3g} cps/MBq at 30 mm is no probe's: activity in kBq?" if wrong else ""
    factor = max(fit.scale, 1.0 / fit.scale)
    words = f"counts are {fit.scale:.3g} times what the response foretells: check the activity (kBq)"
    return factor > gates.max_factor, words if factor > gates.doubtful_factor else ""


def _described(
    fit: SweepFit, sweep: Sweep, head: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Response and attenuation: the given ones, scaled, or those of the fitted physics."""
    scale_sd = float(np.hypot(fit.scale_sd, MODEL_ERROR_FLOOR))
    if given is not None:
        return _scaled(given, fit.scale, scale_sd)
    assert fit.collimator is not None
    fitted = FittedResponse(fit.collimator, None, fit.chi2_per_dof, np.nan, scale_sd)
    seen = fit.z_mm > 0.0
    ones = np.ones(int(seen.sum()))
    grid = Grid(fit.r_mm[seen], fit.z_mm[seen], sweep.counts[seen], ones, ones)
    low, high = head["window_kev"]
    found = describe(fitted, grid, nuclide_by_name(str(head["nuclide"])), (low, high))
    return found | {"chi2_per_dof": digits(fit.chi2_per_dof)}


def _scaled(given: Mapping[str, Any], scale: float, scale_sd: float) -> dict[str, Any]:
    block = dict(given["response"])
    for key in ("primary_mm2", "scatter_mm2"):
        block[key] = [[digits(scale * float(v)) for v in row] for row in block[key]]
    block["leak"] = scale * float(block["leak"])
    if "collimator" in block:
        probe = dict(block["collimator"])
        block["collimator"] = probe | {k: scale * float(probe[k]) for k in ("efficiency", "leak")}
    if "on_axis_cps_per_mbq" in block:
        block["on_axis_cps_per_mbq"] = {k: digits(scale * v) for k, v in block["on_axis_cps_per_mbq"].items()}
    block["scale_relative_sd"] = scale_sd
    kept = {k: given[k] for k in ("chi2_per_dof", "held_out_chi2_per_dof", "expiry") if k in given}
    return kept | {
        "response": block,
        "attenuation": dict(given["attenuation"]),
        "response_of": {"id": given.get("id"), "checksum": checksum(dict(given)), "scale": digits(scale)},
    }


def _found(fit: SweepFit, nominal: Array, marker: bool) -> dict[str, Any]:
    """What the sweep adds to a detector calibration."""
    sd = float(fit.sd[0])
    interval = [fit.latency_s + k * sd for k in (-1.96, 1.96)]
    # A small lead is told as none, and what is unknown of it stays unknown.
    told = [max(interval[0], 0.0), max(fit.latency_s, 0.0) + 1.96 * sd]
    # A lead that is no rounding refuses the sweep, and is told as it was found.
    faulty = bool(_latency_fault(fit))
    along = fit.collimator is None
    frame = (nominal @ fit.T_nominal_tip).round(9).tolist()
    return {
        "T_probe_probetip" if marker else "T_nominaltip_probetip": frame,
        "count_latency_s": digits(fit.latency_s if faulty else max(fit.latency_s, 0.0)),
        "count_latency_ci95_s": None if faulty else [digits(end) for end in told],
        "count_lag_s": digits(fit.latency_s),
        "count_lag_ci95_s": [digits(end) for end in interval],
        "centre_along_axis": "by counts" if along else "from tip.json",
        "roll": "from tip.json",
        "standard_errors": {
            "count_latency_s": digits(sd),
            "axis_deg": [digits(float(v)) for v in np.degrees(fit.sd[1:3])],
            "centre_across_mm": [digits(float(v)) for v in fit.sd[3:5]],
            "centre_along_mm": digits(float(fit.sd[5])) if along else None,
            "scale_relative": digits(fit.scale_sd),
        },
        "correction": {
            "tilt_deg": digits(float(np.degrees(np.hypot(*fit.tilt_rad)))),
            "shift_mm": [digits(float(v)) for v in fit.shift_mm],
        },
    }


def _origin(fit: SweepFit, sweep: Sweep) -> dict[str, Any]:
    return {
        "sweep": {
            "windows": len(sweep),
            "counts": float(sweep.counts.sum()),
            "source_mm": [float(v) for v in sweep.source_mm],
            "source_sd_mm": sweep.source_sd_mm,
            "source_shift_mm": [digits(float(v)) for v in fit.source_shift_mm],
            "source_shift_sd_mm": [digits(float(v)) if np.isfinite(v) else None for v in fit.source_sd_mm],
            "activity_kbq": sweep.activity_kbq,
            "background_cps": digits(fit.background_cps),
            "chi2_per_dof": digits(fit.chi2_per_dof),
            "unexplained": digits(fit.unexplained),
        }
    }
