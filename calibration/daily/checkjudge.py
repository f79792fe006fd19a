"""The figures of a daily check, each judged: place, sensitivity, view, shielding, background, latency, tip frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.counter.counttest import Z95, Counted, compare, dispersion, overdispersed_p
from calibration.daily.checkfigures import FAIL, NOT_MEASURED, PASS, WARNING, Figure, judged, told, unmeasured
from calibration.daily.checkfit import SHIFT_SD_MM, TILT_SD_RAD, CheckData, CheckFit, Known
from calibration.daily.nema import (
    DISTANCES_MM,
    Leak,
    Measured,
    Profile,
    angular_view,
    calibrated_width,
    lateral_view,
    leaks,
    sensitivities,
)
from calibration.gates import CheckGates
from calibration.probe.response import DetectorResponse

Array = NDArray[np.float64]

# A hand at rest: the source stays within this in the tip frame, for at least so many windows.
REST_MM, REST_WINDOWS = 2.0, 10
# Counts of one window below which its scatter says nothing.
LEAST_PER_WINDOW = 2.0
# A push of the source is told where its place is known to this, and one in 5,000 steady checks would show as much.
MOVED_SD_MM, MOVED_CHI2 = 1.5, 20.0
# Posterior over prior error above which the counts have said nothing of the tip frame.
LEARNT = 0.6
NOT_THIS_MOUNTING = "bent probe, or a tip calibration of another mounting"
NOMINAL_IS_OFF = "the tip frame in use is nominal: calibrate detector-scan finds it by counts"
# Angle off the axis within which the calibration is trusted to foretell counts, degrees.
FRONT_DEG = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the figures are judged on; `declared_kbq` at the reference time, its error relative."""

    data: CheckData
    fit: CheckFit
    response: DetectorResponse
    known: Known
    tip_by_counts: bool
    declared_kbq: float | None
    activity_relative_sd: float
    background: Counted | None
    limits: CheckGates


def judge(evidence: Evidence) -> tuple[list[Figure], dict[str, Profile]]:
    """All figures in their order, and the views that the pictures draw."""
    e = evidence
    views: dict[str, Profile] = {}
    leak = leaks(e.data, e.fit, e.response)
    figures = [
        *_place(e),
        *_sensitivity(e),
        *_view(e, views),
        *_shielding(leak, e.limits),
        _background(leak, e.background, e.limits),
        _stability(e),
        _latency(e),
        *_alignment(e),
        _dead_time(e.data, e.limits),
    ]
    return figures, views


def _place(e: Evidence) -> list[Figure]:
    """Whether the source lies where it was said to, and stayed there."""
    figures = []
    if e.known.place_mm is not None:
        off = float(np.linalg.norm(e.fit.place_mm - np.array(e.known.place_mm)))
        words = "another place, or a wrong tip"
        band = (0.0, e.limits.place_mm)
        figures.append(told("place", "source from its place", "mm", off, off <= band[1], words, band))
    label = "source moved while it was looked at"
    sharp = [move for move in e.fit.moves if move.sd_mm <= MOVED_SD_MM]
    if not sharp:
        return [*figures, unmeasured("moved", label, "mm", "its place is not told before and after")]
    most = max(sharp, key=lambda move: move.significance)
    size = float(np.linalg.norm(most.shift_mm))
    pushed = most.significance > MOVED_CHI2 and size > e.limits.moved_mm
    words = "source or reference was pushed, or the view is another"
    figure = told("moved", label, "mm", size, not pushed, words, (0.0, e.limits.moved_mm))
    interval = (max(size - Z95 * most.sd_mm, 0.0), size + Z95 * most.sd_mm)
    return [*figures, replace(figure, ci95=interval)]


def _sensitivity(e: Evidence) -> list[Figure]:
    declared, limits = e.declared_kbq, e.limits
    on_axis = {d: 1000.0 * float(e.response.in_air(np.zeros(1), np.array([d]))[0]) for d in DISTANCES_MM}
    found = sensitivities(e.data, e.fit, e.response)
    figures = [_constancy(e)]
    for distance, expected in on_axis.items():
        name, label = f"sensitivity_{distance:g}mm", f"sensitivity at {distance:g} mm"
        if declared is None:
            figures.append(unmeasured(name, label, "cps/MBq", "no activity is stated"))
            continue
        measured = found[distance]
        scaled = (
            None
            if measured is None
            else _scaled(measured, e.fit.strength_kbq / declared, e.activity_relative_sd)
        )
        band = (expected * (1 - limits.sensitivity), expected * (1 + limits.sensitivity))
        figures.append(judged(name, label, "cps/MBq", scaled, band))
    return [*figures, *_shape(found, on_axis, limits)]


def _scaled(measured: Measured, factor: float, relative_sd: float) -> Measured:
    """The same times a factor that is known to `relative_sd`."""
    log_sd = float(np.hypot(_log_sd(measured), relative_sd))
    value, spread = measured.value * factor, float(np.exp(Z95 * log_sd))
    return Measured(value, (value / spread, value * spread), measured.seconds)


def _log_sd(measured: Measured) -> float:
    return float(np.log(measured.ci95[1] / measured.ci95[0])) / (2.0 * Z95)


def _shape(
    found: Mapping[float, Measured | None], on_axis: Mapping[float, float], limits: CheckGates
) -> list[Figure]:
    """How the response falls with distance, which needs no activity."""
    figures = []
    for near, far in ((10.0, 30.0), (30.0, 50.0)):
        one, other = found[near], found[far]
        name = f"fall_{near:g}_{far:g}mm"
        label = f"fall from {near:g} to {far:g} mm, of calibrated"
        ratio = None
        if one is not None and other is not None:
            value = one.value / other.value * on_axis[far] / on_axis[near]
            spread = float(np.exp(Z95 * np.hypot(_log_sd(one), _log_sd(other))))
            ratio = Measured(value, (value / spread, value * spread))
        figures.append(judged(name, label, "", ratio, (1 - limits.shape, 1 + limits.shape)))
    return figures


def _constancy(e: Evidence) -> Figure:
    """Counts of the source over those that calibration and activity foretell."""
    label = "counts of the source over those foretold"
    if e.declared_kbq is None:
        return unmeasured("constancy", label, "", "no activity is stated")
    fit, gain = e.fit, e.fit.strength_kbq / e.declared_kbq
    scale_sd = np.hypot(e.response.scale_relative_sd, e.activity_relative_sd)
    sd = float(np.hypot(fit.strength_relative_sd, scale_sd))
    spread = float(np.exp(Z95 * sd))
    front = fit.angle_rad < np.radians(FRONT_DEG)
    expected = e.data.counted(fit.source_cps / gain + fit.room_cps)[front].sum()
    p = overdispersed_p(float(e.data.counts[front].sum()), float(expected), sd)
    band = (1 - e.limits.sensitivity, 1 + e.limits.sensitivity)
    figure = judged("constancy", label, "", Measured(gain, (gain / spread, gain * spread)), band)
    note = f"p = {p:.2g} for no change"
    if figure.status == FAIL:
        note += "; gain or window moved, or not this activity"
    return replace(figure, note=figure.note or note)


def _view(e: Evidence, views: dict[str, Profile]) -> list[Figure]:
    figures = []
    for name, unit, view, angular in (
        ("lateral", "mm", lateral_view(e.data, e.fit, e.response), False),
        ("angular", "degrees", angular_view(e.data, e.fit, e.response), True),
    ):
        if view is not None:
            views[name] = view[0]
        for level, key, limit in ((0.5, "fwhm", e.limits.width), (0.1, "fwtm", e.limits.tail_width)):
            label = f"{name} {key.upper()} at 30 mm"
            should = calibrated_width(e.response, level, angular)
            if should is None:
                why = "the calibrated view is wider than is looked at"
                figures.append(unmeasured(f"{name}_{key}", label, unit, why))
                continue
            measured = None if view is None else view[1][level]
            band = (should * (1 - limit), should * (1 + limit))
            figures.append(judged(f"{name}_{key}", label, unit, measured, band))
    return figures


def _shielding(leak: Leak, limits: CheckGates) -> list[Figure]:
    figures = []
    for name, measured, limit in (
        ("side", leak.side, limits.side_leak_percent),
        ("back", leak.back, limits.back_leak_percent),
    ):
        most = max(limit, limits.leak_factor * leak.calibrated_percent)
        note = "" if measured is None else f"{100 - measured.value:.3f} % blocked, {measured.seconds:.0f} s"
        label = f"leak from the {name}, of the front"
        figures.append(judged(f"{name}_leak", label, "%", measured, (0.0, most), note=note))
    return figures


def _background(leak: Leak, background: Counted | None, limits: CheckGates) -> Figure:
    """Counts that no direction explains, against what was counted without the source, or at all."""
    label, room = "background", leak.room
    if background is None:
        note = "counts wherever the probe looks: another source, or a contaminated tip or drape"
        return _noted_if_failed(judged("background", label, "cps", room, (0.0, limits.room_cps), note=note))
    half = max((room.ci95[1] - room.ci95[0]) / (2 * Z95), 1e-3)
    # Plain counting for this long would tell the rate as well.
    seconds = max(room.value, 0.1) / half**2
    risen = compare(background, Counted(room.value * seconds, seconds))
    high = background.rate_cps + max(limits.rise_cps, limits.rise_sigma * half)
    fine = risen.sigma < limits.rise_sigma or room.value <= background.rate_cps + limits.rise_cps
    words = f"{risen.sigma:.1f} sigma over {background.rate_cps:.2f} cps: contaminated tip or drape?"
    figure = told("background", label, "cps", room.value, fine, words, (0.0, high))
    return replace(figure, ci95=room.ci95)


def _noted_if_failed(figure: Figure) -> Figure:
    return replace(figure, note="") if figure.status == PASS else figure


def _stability(e: Evidence) -> Figure:
    """Repeated counts of a probe at rest: do they scatter as counts must?"""
    from scipy.stats import chi2

    label = "scatter of repeated counts, chi2/dof"
    runs = rests(e.fit.r_mm, e.fit.z_mm)
    seen = [e.data.counts[low:high] for low, high in runs]
    mean = [
        e.fit.expected[low:high] * run.sum() / e.fit.expected[low:high].sum()
        for (low, high), run in zip(runs, seen, strict=True)
    ]
    if not runs or np.concatenate(mean).mean() < LEAST_PER_WINDOW:
        return unmeasured("stability", label, "", "the probe was not held still with the source in view")
    every = np.concatenate(seen)
    dof = len(every) - len(runs)
    value, upper = dispersion(every, np.concatenate(mean), len(runs))
    tail = e.limits.stability_p / 2
    low, high = (float(chi2.ppf(p, dof)) / dof for p in (tail, 1 - tail))
    note = "the counter is unsteady" if value > 1 else "the counts scatter less than counts can"
    words = f"{note}, p = {min(upper, 1 - upper):.1g}"
    return told("stability", label, "", value, low <= value <= high, words, (low, high))


def rests(r_mm: Array, z_mm: Array) -> list[tuple[int, int]]:
    """Runs [low, high) of windows in which the source stays where it is and in view."""
    runs, low = [], 0
    for i in range(1, len(r_mm) + 1):
        if i < len(r_mm) and max(np.ptp(r_mm[low : i + 1]), np.ptp(z_mm[low : i + 1])) <= REST_MM:
            continue
        if i - low >= REST_WINDOWS and z_mm[low] > 0.0 and r_mm[low] <= z_mm[low]:
            runs.append((low, i))
        low = i
    return runs


def _latency(e: Evidence) -> Figure:
    """How late the counter stamps, against what is known of it (H06)."""
    half = Z95 * float(e.fit.sd[0])
    low, high = (1000.0 * (e.fit.latency_s + k * half) for k in (-1, 1))
    told_ms = e.known.latency_s
    plain = Figure(
        "latency", "count latency", "ms", 1000.0 * e.fit.latency_s, (low, high), None, NOT_MEASURED, ""
    )
    if half > 2 * e.limits.latency_s:
        return replace(plain, note="sweep across the source to tell")
    if told_ms is None:
        return replace(plain, note="none is calibrated to compare it with")
    least, most = (1000.0 * (told_ms + k * e.limits.latency_s) for k in (-1, 1))
    status = FAIL if high < least or low > most else PASS
    return replace(plain, tolerance=(least, most), status=status, note=f"known: {1000.0 * told_ms:.0f} ms")


def _alignment(e: Evidence) -> list[Figure]:
    """Detector axis and centre against the tip frame in use (H46); a nominal frame that is off is no fault."""
    fit, limits, figures = e.fit, e.limits, []
    tilt, shift = float(np.degrees(np.hypot(*fit.theta[1:3]))), float(np.hypot(*fit.theta[3:5]))
    tilt_sd, shift_sd = float(np.degrees(fit.sd[1:3].max())), float(fit.sd[3:5].max())
    for name, label, unit, value, sd, prior, limit in (
        (
            "axis",
            "axis from the tip frame",
            "degrees",
            tilt,
            tilt_sd,
            np.degrees(TILT_SD_RAD),
            limits.axis_deg,
        ),
        ("centre", "centre from the tip frame", "mm", shift, shift_sd, SHIFT_SD_MM, limits.centre_mm),
    ):
        if sd > LEARNT * prior:
            figures.append(unmeasured(name, label, unit, "turn the probe about the source to tell"))
            continue
        interval = (max(value - Z95 * sd, 0.0), value + Z95 * sd)
        note = NOT_THIS_MOUNTING if e.tip_by_counts else NOMINAL_IS_OFF
        figures.append(judged(name, label, unit, Measured(value, interval), (0.0, limit), note=note))
    told_off = [_noted_if_failed(figure) for figure in figures]
    if e.tip_by_counts:
        return told_off
    return [replace(f, status=WARNING) if f.status == FAIL else f for f in told_off]


def _dead_time(data: CheckData, limits: CheckGates) -> Figure:
    lost = float(data.dead_time.loss_recorded(data.counts / data.window_s).max())
    words = "saturated, the figures are lower bounds: take a weaker source"
    band = (0.0, 100.0 * limits.saturated)
    return told(
        "dead_time", "largest loss to dead time", "%", 100.0 * lost, lost <= limits.saturated, words, band
    )
