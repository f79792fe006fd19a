"""From a dead-time measurement to deadtime.json: fit, judge, refuse; and from deadtime.json into a calibration.

A refusal has its reason: too few readings, too little loss to tell, counts that contradict each other, a background
above a source, a half-life that is another nuclide's, a misfit that neither kind of counter explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calibration.counter.deadtime import SATURATED_LOSS, DeadTime
from calibration.counter.deadtimedata import DECAYING, TWO_SOURCE, Measurement, rate_data, read_measurement
from calibration.counter.deadtimefit import DeadTimeFit, KindFit, fit_dead_time
from calibration.physics.nuclide import Nuclide
from calibration.probe.gridfit import Grid, fit_grid
from calibration.probe.response import DetectorResponse
from calibration.records.record import new_head, require_usable, sealed
from tracking.errors import InputError
from tracking.jsonfile import read_json

KIND = "dead-time"
# Readings of the source that a curve of three unknowns needs, with one to spare each for doubt and kind.
FEWEST_READINGS = 5
# A dead time must stand out of its error by this much, or the measurement says how long it may be at most only.
TELLING_SD = 3.0
# A largest loss below this leaves too little to measure; above it the rates are what is not known.
LITTLE_LOSS = 0.10
# Sums that contradict each other by more than chance: one in 700 one-sided.
CONTRADICTION_SD = 3.0
# Misfit per degree of freedom that is reported, and that neither kind of counter explains.
POOR_MISFIT, IMPOSSIBLE_MISFIT = 2.0, 10.0
# A free half-life must gain this much misfit and differ by this share to be another nuclide's.
HALF_LIFE_GAIN, HALF_LIFE_SHARE = 16.0, 0.02
# What correction at SATURATED_LOSS is meant to hold, as a 95 % half width.
MEANT_WITHIN = 0.02
# A grid tells whether it holds its losses when these are as large, from as many points, by as much misfit.
TELLING_LOSS, TELLING_POINTS, TELLING_RATIO = 0.02, 100, 2.0
Z95 = 1.96


def measure_dead_time(
    path: Path,
    method: str,
    nuclide: Nuclide | None = None,
    response: DetectorResponse | None = None,
    extra: Mapping[str, Any] | None = None,
    stated: str | None = None,
) -> dict[str, Any]:
    """Content of deadtime.json of the table at `path`, gate included; `extra` overrides keys of its head.

    `stated`: the kind of counter its maker says it is, which some readings cannot tell.

    Raises InputError for a table that is none of the method's.
    """
    measured = read_measurement(path, method)
    content = _head(measured, nuclide) | dict(extra or {})
    refused = refuse(measured)
    if refused:
        return sealed(content | {"accepted": False, "reasons": refused})
    data = rate_data(measured, nuclide, response)
    try:
        fit = fit_dead_time(data, stated)
    except np.linalg.LinAlgError:
        return sealed(content | {"accepted": False, "reasons": ["the readings leave the rates open"]})
    refused, doubts = judge(fit)
    if method == DECAYING and nuclide is not None:
        refused = _other_half_life(measured, nuclide, fit) or refused
    if not measured.of_background.any():
        taken = "taken for none" if method == TWO_SOURCE else "fitted along"
        doubts.append(f"no background was measured: it is {taken}")
    content |= _found(fit, refused)
    return sealed(content | {"accepted": not refused, "reasons": refused + doubts})


def refuse(measured: Measurement) -> list[str]:
    """Why these readings cannot tell a dead time, before any fit; empty if they can."""
    reasons: list[str] = []
    if measured.method == TWO_SOURCE:
        missing = [name for name in ("S1", "S2", "S12") if not (measured.label == name).any()]
        if missing:
            return [f"no reading of {' and '.join(missing)}"]
        reasons += _contradictions(measured)
    else:
        there = int((~measured.of_background).sum())
        if there < FEWEST_READINGS:
            return [f"{there} readings of the source; at least {FEWEST_READINGS} are needed"]
        across = measured.t_s if measured.method == DECAYING else measured.z_mm
        if len(np.unique(across[~measured.of_background])) < FEWEST_READINGS:
            what = "times" if measured.method == DECAYING else "distances"
            return [f"fewer than {FEWEST_READINGS} different {what}: the rate has no reason to change"]
    return reasons + _high_background(measured)


def _contradictions(measured: Measurement) -> list[str]:
    (first, sd1), (second, sd2), (both, sd12), (room, sd_room) = (
        measured.rate(name) for name in ("S1", "S2", "S12", "background")
    )
    gained = both - (first + second - room)
    if gained > CONTRADICTION_SD * float(np.sqrt(sd1**2 + sd2**2 + sd12**2 + sd_room**2)):
        return [
            f"both sources together give {both:.0f} cps, more than {first + second - room:.0f} cps of the two alone:"
            " a source was moved, or a dead time was corrected already"
        ]
    return []


def _high_background(measured: Measurement) -> list[str]:
    room, sd_room = measured.rate("background")
    if not measured.of_background.any():
        return []
    names = ("S1", "S2", "S12") if measured.method == TWO_SOURCE else ("source",)
    for name in names:
        rate, sd = measured.rate(name)
        if room >= rate - CONTRADICTION_SD * float(np.hypot(sd, sd_room)):
            return [f"the background of {room:.0f} cps is not below the {rate:.0f} cps of {name}"]
    return []


def judge(fit: DeadTimeFit) -> tuple[list[str], list[str]]:
    """Reasons to refuse the fit, and reasons to doubt it."""
    best, dead = fit.best, fit.dead_time
    refused: list[str] = []
    doubts: list[str] = []
    if best.tau_s < -TELLING_SD * best.sd_s:
        refused.append("the counter tells more than its share the more arrives: no dead time does that")
    elif best.tau_s < TELLING_SD * best.sd_s:
        told = f"the dead time is {_time(max(best.tau_s, 0.0))} +- {_time(best.sd_s)}, below {_time(best.ci95_s[1])}"
        loss = _share(best.highest_loss)
        little = best.highest_loss < LITTLE_LOSS
        what = "too little loss to tell" if little else "the rates are not known well enough to tell"
        refused.append(f"{what}: {loss} at most; {told} (95 %)")
    misfit = best.chi2_per_dof
    if misfit is not None and misfit > IMPOSSIBLE_MISFIT:
        refused.append(f"chi2/dof {misfit:.0f}: neither kind of counter gives these counts")
    elif misfit is not None and misfit > POOR_MISFIT:
        doubts.append(f"misfit chi2/dof {misfit:.1f} is above {POOR_MISFIT:g}; the error is widened by it")
    if fit.stated is not None and fit.distinguished and fit.likelier.model != fit.stated:
        refused.append(
            f"the readings are those of a {fit.likelier.model} counter, not of a {fit.stated} one as stated"
        )
    elif fit.stated is not None and not fit.distinguished:
        doubts.append(f"that the counter is {fit.stated} is stated, not measured")
    elif not fit.distinguished:
        doubts.append("the readings do not tell which kind of counter it is; the error covers both")
    within = Z95 * float(dead.relative_sd(dead.saturated_rate_cps)) if dead.tau_s > 0.0 else 0.0
    if not refused and within > MEANT_WITHIN:
        doubts.append(
            f"rates at {_share(SATURATED_LOSS)} loss are corrected to {_share(within)} (95 %) only, meant are"
            f" {_share(MEANT_WITHIN)}"
        )
    return refused, doubts


def _other_half_life(measured: Measurement, nuclide: Nuclide, fit: DeadTimeFit) -> list[str]:
    free = fit_dead_time(rate_data(measured, nuclide, None, free=True))
    best, plain = free.likelier, fit.likelier
    gain = (plain.chi2 - best.chi2) / max(best.chi2_per_dof or 1.0, 1.0)
    factor = float(np.exp(best.shape[0]))
    if gain < HALF_LIFE_GAIN or abs(factor - 1.0) < HALF_LIFE_SHARE:
        return []
    told, known = factor * nuclide.half_life_s / 3600.0, nuclide.half_life_s / 3600.0
    return [
        f"the rates fall with a half-life of {told:.3g} h, {nuclide.name} has {known:.3g} h: another nuclide?"
    ]


def _found(fit: DeadTimeFit, refused: list[str]) -> dict[str, Any]:
    best, dead = fit.best, fit.dead_time
    low, high = max(dead.tau_s - Z95 * dead.sd_s, 0.0), dead.tau_s + Z95 * dead.sd_s
    found: dict[str, Any] = {
        "ci95_s": [_digits(low), _digits(high)],
        "distinguished": fit.distinguished,
        "stated_model": fit.stated,
        "highest_loss": _digits(best.highest_loss),
        "models": {k.model: _kind(k) for k in fit.kinds},
    }
    if refused:
        return found | {"dead_time_s": None, "dead_time_sd_s": None, "dead_time_model": None}
    within = Z95 * float(dead.relative_sd(dead.saturated_rate_cps))
    return (
        found
        | dead.content()
        | {
            "dead_time_s": _digits(dead.tau_s),
            "dead_time_sd_s": _digits(dead.sd_s),
            "saturated_above_cps": _digits(dead.saturated_recorded_cps),
            "correction_at_saturation_ci95": _digits(within),
        }
    )


def _kind(fit: KindFit) -> dict[str, Any]:
    misfit = fit.chi2_per_dof
    return {
        "dead_time_s": _digits(fit.tau_s),
        "sd_s": _digits(fit.sd_s),
        "ci95_s": [_digits(v) for v in fit.ci95_s],
        "chi2_per_dof": None if misfit is None else _digits(misfit),
        "deviance": round(fit.deviance, 3),
        "highest_loss": _digits(fit.highest_loss),
    }


def _head(measured: Measurement, nuclide: Nuclide | None) -> dict[str, Any]:
    return new_head(KIND, nuclide=None if nuclide is None else nuclide.name) | {
        "method": measured.method,
        "dead_time_s": None,
        "readings": len(measured.counts),
        "counts": float(measured.counts.sum()),
    }


def read_dead_time(path: Path) -> tuple[DeadTime, dict[str, Any]]:
    """The dead time in deadtime.json, and the file's content.

    Raises InputError when it is no such file, GateRefusedError when it was refused, altered or has expired.
    """
    content = read_json(path)
    if "method" not in content or "accepted" not in content or "checksum" not in content:
        raise InputError(f"{path}: no dead time: key 'method', 'accepted' or 'checksum' is missing")
    require_usable(content, path)
    try:
        dead = DeadTime.of(content)
    except (TypeError, ValueError) as fault:
        raise InputError(f"{path}: the dead time is malformed ({fault})") from fault
    if dead is None:
        raise InputError(f"{path}: dead_time_s is missing")
    return dead, content


def corrected_grid(grid: Grid, dead_time: DeadTime) -> tuple[Grid, list[str]]:
    """A point-source grid as a counter without dead time would have given it, and what was left out.

    Windows shrink to the time for which the counter was ready; saturated points say nothing and go.
    """
    if dead_time.tau_s == 0.0:
        return grid, []
    recorded = grid.counts / grid.live_s
    kept = ~dead_time.saturated(recorded)
    live_s = np.where(kept, dead_time.live_s(grid.counts, grid.live_s), grid.live_s)
    shrunk = Grid(grid.r_mm, grid.z_mm, grid.counts, live_s, grid.activity_kbq).take(kept)
    gone = int((~kept).sum())
    told = (
        f"{gone} saturated points were left out: {_share(SATURATED_LOSS)} or more of their counts were lost"
    )
    return shrunk, [told] if gone else []


def doubt_of_grid(grid: Grid, dead_time: DeadTime, clock: bool) -> list[str]:
    """Whether a grid looks as if its live_s were the other kind of time than it is said to be: words, or none."""
    lost = float(dead_time.loss_recorded(grid.counts / grid.live_s).max(initial=0.0))
    kept = corrected_grid(grid, dead_time)[0]
    if lost < TELLING_LOSS or len(kept) < TELLING_POINTS:
        return []
    as_clock, as_live = (fit_grid(g).held_out_chi2_per_dof for g in (kept, grid))
    said, other = (as_clock, as_live) if clock else (as_live, as_clock)
    if said < TELLING_RATIO * other:
        return []
    names = ("live", "clock")
    return [
        f"the grid fits better with live_s as {names[not clock]} time (held-out chi2/dof {other:.1f} against"
        f" {said:.1f}): --grid-time {names[not clock]}?"
    ]


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _share(value: float) -> str:
    return f"{100 * value:.2g} %"


def _time(value_s: float) -> str:
    return f"{1e6 * value_s:.3g} us"
