"""What a calibration must reach to be accepted: every threshold in one place, to be set anew in a case file.

::

    [gates.pivot]
    max_rms_mm = 0.6

A gate that differs from the default is named in the result. Each has bounds beyond which it would be no gate
but a switch to turn it off; lengths mm, angles degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tracking.errors import InputError
from tracking.profile import read_with_profile

TABLE = "gates"


def gate(default: float, low: float, high: float) -> Any:
    """A threshold with its default and the bounds, both allowed, within which a case file may set it."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, slots=True)
class PivotGates:
    """Of a pivot calibration (`calibration.tip.pivot`)."""

    # The clinical bound on the 3D RMS of the residuals (hazard H46).
    max_rms_mm: float = gate(0.5, 0.01, 5.0)
    # Worst direction of the tip's standard error: as large as the residuals themselves would be no calibration.
    max_tip_sd_mm: float = gate(0.5, 0.01, 2.0)
    # Six unknowns need two poses; below ten a single slip of the tip is not seen in the residuals.
    min_poses: int = gate(10, 3, 10000)
    # Tilt of the shaft from its mean direction. At 10 degrees an error across the shaft is seen at one sixth.
    min_tilt_deg: float = gate(10.0, 3.0, 80.0)
    # RMS rotation seen by the worst-determined direction of the tip. Orientation noise of a static or hinged
    # tool reaches 0.5 degrees, a cone of 10 degrees gives 7.
    min_rotation_deg: float = gate(3.0, 1.0, 45.0)
    # From where an earlier calibration of the tool has its tip: a bent probe, a moved marker, another tool.
    max_shift_mm: float = gate(1.0, 0.1, 10.0)


@dataclass(frozen=True, slots=True)
class AxisGates:
    """Of a spin calibration (`calibration.tip.axis`)."""

    # Two unknowns need two poses; a hand's wobble averages out over some tens.
    min_poses: int = gate(20, 3, 10000)
    # Arc of the spin. At 60 degrees a slow drift of the shaft is still told from an oblique axis.
    min_spin_deg: float = gate(60.0, 20.0, 360.0)
    # RMS tilt of the axis itself. A hand that spins stays within 3 degrees; a cone of 10 degrees gives 7.
    max_wobble_deg: float = gate(5.0, 0.1, 15.0)
    # Worst direction of the standard error: at 50 mm one degree is 0.9 mm beside.
    max_axis_sd_deg: float = gate(1.0, 0.01, 5.0)


@dataclass(frozen=True, slots=True)
class TrackerGates:
    """Of the tracker's acceptance and of the tip's check at the start of a case (`calibration.tip.acceptance`)."""

    # 3D RMS of the tip about the divot it rests in (hazard H46).
    max_divot_rms_mm: float = gate(0.5, 0.01, 5.0)
    # Way of the tip's mean from the first third of a check to the last: a divot that moves or a warming camera.
    max_drift_mm: float = gate(0.5, 0.01, 5.0)
    # Fewer poses are no mean: half a second of a slow tracker.
    min_poses: int = gate(10, 3, 10000)
    # RMS rotation about the axis across which the tool turned least: 5 degrees are a tilt of some 10 to all
    # sides. Without it a wrong tip does not show, unless the place of the divot is known.
    min_rotation_deg: float = gate(5.0, 1.0, 45.0)
    # How far the tip may lie from where tip.json has it: a bent probe or a moved marker (hazard H46).
    max_tip_shift_mm: float = gate(1.0, 0.1, 10.0)
    # Touches of a phantom: RMS and largest error of its distances. Two points of 0.25 mm 3D RMS (what NDI
    # accepts of a Vicra for a single marker) differ by 0.2 mm along their line; a stylus doubles it.
    max_distance_rms_mm: float = gate(0.5, 0.01, 5.0)
    max_distance_error_mm: float = gate(1.0, 0.01, 10.0)
    # Three points span a plane, the fourth shows the third direction.
    min_points: int = gate(4, 2, 1000)


@dataclass(frozen=True, slots=True)
class DetectorGates:
    """Of a detector's response from a grid (`calibration.probe.detector`)."""

    # Fewer points, counts or distances leave the shape of the response open.
    min_points: int = gate(20, 12, 10000)
    min_counts: int = gate(2000, 500, 10**9)
    min_distances: int = gate(3, 2, 100)
    # A held-out chi2/dof above this is told; above the second the data are no probe's response.
    doubtful_misfit: float = gate(1.5, 1.0, 10.0)
    max_misfit: float = gate(200.0, 10.0, 1000.0)
    # Sensitivity at 30 mm on the axis of any probe, cps/MBq: sold ones have some hundred to some thousand.
    min_sensitivity: float = gate(10.0, 0.1, 1e3)
    max_sensitivity: float = gate(2e5, 1e3, 1e6)


@dataclass(frozen=True, slots=True)
class SweepGates:
    """Of a tracked sweep round a point source (`calibration.probe.detectorscan`)."""

    # Fewer windows or counts leave eight unknowns open.
    min_readings: int = gate(30, 10, 100000)
    min_counts: int = gate(500, 100, 10**9)
    # Standard errors beyond which the result says so: an axis of one degree is 0.9 mm at 50 mm.
    doubtful_axis_sd_deg: float = gate(1.0, 0.01, 10.0)
    doubtful_centre_sd_mm: float = gate(0.7, 0.01, 10.0)
    doubtful_latency_sd_s: float = gate(0.01, 1e-4, 0.1)
    # So many times as much is no result.
    refused_per_doubtful: float = gate(4.0, 1.0, 20.0)
    # A chi2/dof above this is told; above the second poses and counts do not belong together.
    doubtful_misfit: float = gate(2.0, 1.0, 10.0)
    max_misfit: float = gate(50.0, 2.0, 1000.0)
    # Share of the counts' variation that poses and counts of one sweep may leave unexplained.
    max_unexplained: float = gate(0.1, 0.01, 0.9)
    # Counts this many times what the response foretells are told; the second figure is another unit or probe.
    doubtful_factor: float = gate(1.1, 1.01, 3.0)
    max_factor: float = gate(5.0, 1.1, 100.0)


@dataclass(frozen=True, slots=True)
class CheckGates:
    """Tolerances of the daily check (`calibration.daily.check`); relative unless a unit is named."""

    # A tenth is what protocols of gamma probes allow between days, and twice the error of a dose calibrator.
    sensitivity: float = gate(0.10, 0.01, 0.5)
    # The ratios of 10 and 50 mm to 30 mm when no activity is stated: they need no dose calibrator.
    shape: float = gate(0.08, 0.01, 0.5)
    # Width of the view against the calibration's: a bent rim or another collimator changes it by more.
    width: float = gate(0.10, 0.01, 0.5)
    # The tenth of the maximum lies in the shadow of the rim, where few counts are.
    tail_width: float = gate(0.20, 0.02, 1)
    # Leak in percent of what the front would count at the same distance: > 99.9 % shielding is what
    # Wengenmair & Kopp (2005) demand; behind the handle more is blocked.
    side_leak_percent: float = gate(0.10, 0.001, 20)
    back_leak_percent: float = gate(0.05, 0.001, 20)
    # Hard photons pass any shield: this many times the calibrated leak is allowed where that is more.
    leak_factor: float = gate(2.0, 1, 10)
    # Counts of the room alone: more and a source lies about, or the tip is contaminated.
    room_cps: float = gate(20.0, 0.1, 1000)
    # A rise over the reference has to be as significant, and as large, to be told.
    rise_sigma: float = gate(3.0, 2, 6)
    rise_cps: float = gate(1.0, 0, 100)
    # Scatter of repeated counts: p of the dispersion test; a good counter fails once in a thousand checks.
    stability_p: float = gate(1e-3, 1e-06, 0.05)
    # What the latency may differ by: 0.6 mm at 30 mm/s (H06).
    latency_s: float = gate(0.02, 0.002, 0.1)
    # Detector axis against the tip frame, and its centre across the axis: beyond, the probe is bent or was
    # put on its marker anew (H46).
    axis_deg: float = gate(3.0, 0.1, 15)
    centre_mm: float = gate(2.5, 0.1, 15)
    # The source may not be pushed by more than this while it is looked at.
    moved_mm: float = gate(2.0, 0.1, 10)
    # A source that lies farther from where it was said to be is another one, or the tip is wrong.
    place_mm: float = gate(6.0, 0.5, 30)
    # Counts above the room's that a source needs to be there at all, and those from which figures can be had.
    fewest_counts: float = gate(500.0, 50, 1e06)
    # Nominal doubling of strength across a series of checks that tells linearity, and what it may deviate.
    linearity_span: float = gate(2.0, 1.1, 100)
    linearity: float = gate(0.05, 0.005, 0.5)
    # Loss of counts to dead time beyond which a figure is a lower bound only.
    saturated: float = gate(0.30, 0.05, 0.3)


DEFAULT_CHECK = CheckGates()


@dataclass(frozen=True, slots=True)
class Gates:
    """All of them, by the name of their table in a case file."""

    pivot: PivotGates = PivotGates()
    axis: AxisGates = AxisGates()
    tracker: TrackerGates = TrackerGates()
    detector: DetectorGates = DetectorGates()
    sweep: SweepGates = SweepGates()
    check: CheckGates = DEFAULT_CHECK


def read_gates(path: Path | None) -> Gates:
    """The gates of a TOML file with tables [gates.pivot], ...; the defaults without a file or such tables.

    Raises InputError naming file and key.
    """
    return Gates() if path is None else gates_of(read_with_profile(path).get(TABLE, {}), f"{path}, {TABLE}")


def gates_of(found: object, where: str) -> Gates:
    """The gates that the table `found` of a case sets. Raises InputError beginning with `where`."""
    gates = Gates()
    for group, values in _table(found, where).items():
        default = getattr(gates, group, None)
        if default is None:
            known = ", ".join(asdict(gates))
            raise InputError(f"{where}.{group}: is none of {known}")
        gates = replace(gates, **{group: _group(default, values, f"{where}.{group}")})
    return gates


def overridden(group: Any) -> list[str]:
    """In words, which gates of one group are not the default, such as "max_rms_mm 0.6 instead of 0.5"."""
    default = type(group)()
    return [
        f"{f.name} {getattr(group, f.name):g} instead of {getattr(default, f.name):g}"
        for f in fields(group)
        if getattr(group, f.name) != getattr(default, f.name)
    ]


def gates_content(group: Any) -> dict[str, Any]:
    """What a result tells of the gates it was judged by."""
    return {"gates": asdict(group), "gates_overridden": overridden(group)}


def _table(found: object, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise InputError(f"{where}: {found!r} is no table")
    return found


def _group(default: Any, found: object, where: str) -> Any:
    known = {f.name: f for f in fields(default)}
    values = {}
    for key, value in _table(found, where).items():
        if key not in known:
            raise InputError(f"{where}.{key}: unknown gate; there are {', '.join(known)}")
        values[key] = _value(value, known[key].default, known[key].metadata, f"{where}.{key}")
    return replace(default, **values)


def _value(value: object, default: object, bounds: Mapping[str, float], where: str) -> float:
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise InputError(f"{where}: {value!r} is no {'whole ' if whole else ''}number")
    if not (math.isfinite(value) and bounds["low"] <= value <= bounds["high"]):
        raise InputError(f"{where}: {value!r} is not from {bounds['low']:g} to {bounds['high']:g}")
    return value if whole else float(value)
