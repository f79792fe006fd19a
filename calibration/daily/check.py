"""The daily check of a probe: a tracked scan round a check source in air against its calibration.

NEMA NU 3 figures, constancy, shielding, view, background, latency and the tip frame, each with its interval and its
verdict. What the scan did not show is "not measured" and no fault; nothing shown at all is no pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from calibration.counter.counttest import Counted
from calibration.counter.deadtime import NO_DEAD_TIME, DeadTime
from calibration.daily.checkfigures import FAIL, PASS, Figure, rounded, told, unmeasured
from calibration.daily.checkfit import LEAST_GAIN, CheckData, CheckFit, Known, fit_check
from calibration.daily.checkjudge import Evidence, judge
from calibration.daily.nema import Profile
from calibration.gates import DEFAULT_CHECK, CheckGates
from calibration.physics.nuclide import nuclide as nuclide_by_name
from calibration.probe.response import DetectorResponse
from calibration.probe.sweepfit import HIGHEST_S, LOWEST_S
from calibration.records.binding import WINDOW_TOLERANCE_KEV, plain_name
from tracking.binning import binned
from tracking.errors import InputError
from tracking.scanfolder import MARKER_POSES, Scan, tip_poses

# Fewer windows leave the ten unknowns of the fit open.
FEWEST_WINDOWS = 40
# A calibrator's activity is known to this unless the user says better.
ACTIVITY_RELATIVE_SD = 0.03
# Standard deviations above the counter's highest rate at which a count cannot be chance.
IMPOSSIBLE_SD = 5.0
# Figures that make a check, with an activity and without: with none of them it says nothing of the probe.
TELLING = ("constancy", "sensitivity_30mm")
TELLING_OF_SHAPE = ("fall_10_30mm", "fall_30_50mm", "lateral_fwhm", "lateral_fwtm", "angular_fwhm")


@dataclass(frozen=True, slots=True)
class CheckSource:
    """What is said of the source: place (3,) in Reference, activity in kBq at `activity_time`, and its error."""

    place_mm: tuple[float, float, float] | None = None
    activity_kbq: float | None = None
    activity_time: datetime | None = None
    activity_relative_sd: float = ACTIVITY_RELATIVE_SD


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """What scan and calibration say of themselves; None where they say nothing."""

    scan_nuclide: str
    scan_window_kev: tuple[float, float] | None = None
    scan_serial: str | None = None
    probe_serial: str | None = None
    asked_serial: str | None = None
    scan_collimator: str | None = None
    probe_collimator: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CheckResult:
    """The verdict: figures in their order, reasons, and what the pictures draw."""

    figures: tuple[Figure, ...]
    reasons: tuple[str, ...]
    accepted: bool
    fit: CheckFit | None
    data: CheckData | None
    views: Mapping[str, Profile] = field(default_factory=dict)
    declared_kbq: float | None = None

    def figure(self, name: str) -> Figure | None:
        """The figure of that name."""
        return next((f for f in self.figures if f.name == name), None)


def run_check(
    scan: Scan,
    response: DetectorResponse,
    stated: Stated,
    source: CheckSource | None = None,
    known: Known | None = None,
    background: Counted | None = None,
    limits: CheckGates = DEFAULT_CHECK,
) -> CheckResult:
    """Judge a scan. `background` was counted without the source.

    Raises InputError when poses are missing, counts are impossible or times do not fit.
    """
    source, known = source or CheckSource(), known or Known()
    identity = identity_figures(response, stated)
    if any(figure.status == FAIL for figure in identity):
        return _verdict(identity)
    data = data_of(scan, response)
    if len(data) < FEWEST_WINDOWS:
        words = f"{len(data)} counting windows with poses; at least {FEWEST_WINDOWS} are needed"
        return _verdict([*identity, told("source", "source", "", None, False, words)])
    if source.place_mm is not None:
        known = replace(known, place_mm=source.place_mm)
    fit = fit_check(data, response, known)
    seen = _source_seen(fit, data, limits)
    if seen.status == FAIL:
        return _verdict([*identity, seen], fit, data)
    declared = declared_kbq(scan, source, response)
    by_counts = response.T_probe_probetip is not None and scan.pose_name == MARKER_POSES
    error = 0.0 if declared is None else source.activity_relative_sd
    figures, views = judge(
        Evidence(data, fit, response, known, by_counts, declared, error, background, limits)
    )
    return _verdict([*identity, seen, *figures], fit, data, views, declared)


def data_of(scan: Scan, response: DetectorResponse) -> CheckData:
    """The windows that have poses whatever the latency is. Raises InputError for counts that cannot be."""
    track = tip_poses(scan, (), response.T_probe_probetip)
    c = scan.counts
    end, counts, window, _ = binned(c.t_s, c.counts, c.window_s, c.window_s)
    kept = track.covers(end - window - HIGHEST_S, end - LOWEST_S)
    dead_time = _dead_time(scan, response)
    most = dead_time.highest_recorded_cps * window
    if (counts > most + IMPOSSIBLE_SD * np.sqrt(most)).any():
        row = int(np.argmax(counts - most))
        raise InputError(
            f"{scan.source}: {counts[row]:.0f} counts in {window[row]:g} s are impossible with a dead time of"
            f" {dead_time.tau_s:g} s"
        )
    decay = response.nuclide.decay_factor(end[kept])
    return CheckData(end[kept], counts[kept], window[kept], decay, track.sample, dead_time)


def _dead_time(scan: Scan, response: DetectorResponse) -> DeadTime:
    """The scan's own, of the kind that the calibration knows; else the calibration's."""
    known = response.dead_time or NO_DEAD_TIME
    return known if scan.dead_time_s is None else DeadTime(scan.dead_time_s, known.model, known.sd_s)


def identity_figures(response: DetectorResponse, stated: Stated) -> list[Figure]:
    """Nuclide, window, serial number and collimator of scan and calibration: the same, or unverified."""
    name = nuclide_by_name(stated.scan_nuclide).name
    figures = [
        told(
            "nuclide",
            "nuclide",
            "",
            None,
            name == response.nuclide.name,
            f"the scan is of {name}, the calibration for {response.nuclide.name}",
        )
    ]
    window = stated.scan_window_kev
    if window is None:
        figures.append(unmeasured("window", "energy window", "keV", "the scan does not state its window"))
    else:
        same = (
            max(abs(a - b) for a, b in zip(window, response.window_kev, strict=True)) <= WINDOW_TOLERANCE_KEV
        )
        words = f"{window[0]:g} to {window[1]:g} keV, calibrated at {response.window_kev[0]:g} to"
        figures.append(
            told("window", "energy window", "keV", None, same, f"{words} {response.window_kev[1]:g} keV")
        )
    said = (s for s in (stated.scan_serial, stated.probe_serial, stated.asked_serial) if s)
    serials = {plain_name(serial): serial for serial in said}
    if len(serials) > 1 or (stated.probe_serial and stated.scan_serial):
        words = f"scan, calibration and --serial name {', '.join(sorted(serials.values()))}"
        figures.append(told("serial", "probe", "", None, len(serials) <= 1, words))
    mine, theirs = stated.probe_collimator, stated.scan_collimator
    if mine and theirs:
        words = f"the scan is with collimator {theirs}, the calibration for {mine}"
        figures.append(
            told("collimator", "collimator", "", None, plain_name(mine) == plain_name(theirs), words)
        )
    return figures


def _source_seen(fit: CheckFit, data: CheckData, limits: CheckGates) -> Figure:
    """Whether there is a source at all, and enough of it."""
    counts = float((fit.source_cps * data.window_s).sum())
    enough = fit.gain >= LEAST_GAIN and counts >= limits.fewest_counts
    words = (
        "none is seen: the counts do not rise and fall as the probe passes one"
        if fit.gain < LEAST_GAIN
        else f"only {counts:.0f} counts of it; {limits.fewest_counts:.0f} are needed: stronger or longer"
    )
    return told("source", "source", "counts", counts, enough, words)


def declared_kbq(scan: Scan, source: CheckSource, response: DetectorResponse) -> float | None:
    """The declared activity at the scan's reference time. Raises InputError when its time cannot be compared."""
    if source.activity_kbq is None:
        return None
    if source.activity_time is None:
        return source.activity_kbq
    if scan.reference_time is None:
        raise InputError(
            f"{scan.source}: states no reference_time, so --activity-time cannot be compared with it"
        )
    passed = (_utc(datetime.fromisoformat(scan.reference_time)) - _utc(source.activity_time)).total_seconds()
    return source.activity_kbq * float(response.nuclide.decay_factor(passed))


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=when.tzinfo or UTC)


def _verdict(
    figures: list[Figure],
    fit: CheckFit | None = None,
    data: CheckData | None = None,
    views: Mapping[str, Profile] | None = None,
    declared: float | None = None,
) -> CheckResult:
    """Accepted when nothing fails and the sensitivity or the view was measured at all."""
    reasons = [f.words for f in figures if f.status == FAIL]
    telling = TELLING_OF_SHAPE if declared is None else TELLING
    if not reasons and not any(f.name in telling and f.status == PASS for f in figures):
        reasons.append(
            f"{'the view' if declared is None else 'the sensitivity'} was not measured: stay longer,"
            " or take a stronger source"
        )
    return CheckResult(tuple(figures), tuple(reasons), not reasons, fit, data, views or {}, declared)


def identity_of(scan: Scan) -> str:
    """A name of the scan made of all its numbers: the same scan is the same check, wherever it lies."""
    whole = hashlib.sha256(f"{scan.nuclide} {scan.reference_time} {scan.pose_name}".encode())
    for array in (
        scan.poses.t_s,
        scan.poses.matrices,
        scan.counts.t_s,
        scan.counts.counts,
        scan.counts.window_s,
    ):
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()[:16]


def time_of(scan: Scan, now: datetime) -> datetime:
    """When the scan was made: the middle of its counts; `now` where it does not say."""
    if scan.reference_time is None:
        return now
    middle = float(np.median(scan.counts.t_s))
    return _utc(datetime.fromisoformat(scan.reference_time)) + timedelta(seconds=middle)


def content_of(result: CheckResult) -> dict[str, Any]:
    """The check as JSON: verdict, figures, and what was fitted."""
    fit, data = result.fit, result.data
    content: dict[str, Any] = {
        "accepted": result.accepted,
        "reasons": list(result.reasons),
        "figures": {figure.name: figure.content() for figure in result.figures},
    }
    seen = result.figure("source")
    if fit is None or data is None or seen is None or seen.status == FAIL:
        return content
    return content | {
        "strength_kbq": rounded(fit.strength_kbq),
        "strength_relative_sd": rounded(fit.strength_relative_sd),
        "declared_kbq": rounded(result.declared_kbq),
        "source_mm": [rounded(float(v)) for v in fit.place_mm],
        "source_sd_mm": rounded(fit.place_sd_mm),
        "chi2_per_dof": rounded(fit.chi2_per_dof),
        "windows": len(data),
        "counts": float(data.counts.sum()),
        "live_s": rounded(float(data.window_s.sum())),
    }
