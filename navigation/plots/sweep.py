"""Pictures of a sweep round a point source: where it was seen, counts beside the model, latency, correction of the tip.

Everything is computed anew from the scan and the result's own figures, so the picture checks what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.probe.response import DetectorResponse
from navigation.plots.detector import known_response
from navigation.plots.sheet import (
    BLACK,
    BLUE,
    ORANGE,
    QUIET,
    SKY,
    VERMILLION,
    nothing_to_draw,
    quiet_grid,
    sheet,
)
from navigation.plots.write import picture_path
from tracking.binning import binned
from tracking.scanfolder import MARKER_POSES, Scan, tip_poses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

# The profile over latency: at most this far to either side of the estimate and at least so far, in so many steps.
PROFILE_REACH_S, LEAST_REACH_S, PROFILE_STEPS = 0.06, 0.004, 31
# Standard errors to either side that it shows.
PROFILE_SDS = 4.0
# Path samples in a counting window.
SAMPLES = 5
# Half a unit of chi2(1) at 95 %.
PROFILE_DROP = 1.92
# Steps of the source's place for slopes, and the prior on them that keeps an unseen direction at rest.
SLOPE_MM, PRIOR_SD_MM = 0.2, 10.0
TILT_RAD, PRIOR_SD_RAD = 0.005, 0.2
# Counts in a window that no room falls below.
LEAST_EXPECTED = 0.02
# Seconds of the most varied stretch that is drawn large.
CLOSE_UP_S = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class SeenSweep:
    """Windows (n,) of a sweep with poses at all latencies of the profile, and the tip's path."""

    scan: Scan
    T_tip: Array
    end_s: Array
    counts: Array
    window_s: Array
    source_mm: Array
    latency_s: float

    def seen(self, latency_s: float) -> Array:
        """The source (n, SAMPLES, 3) in the corrected tip frame along each window."""
        track = tip_poses(self.scan, (), self.T_tip)
        share = (np.arange(SAMPLES) + 0.5) / SAMPLES
        times = self.end_s[:, None] - latency_s - self.window_s[:, None] * (1.0 - share)
        poses, _ = track.sample(times.ravel())
        offset = self.source_mm - poses[:, :3, 3]
        local: Array = np.einsum("nij,ni->nj", poses[:, :3, :3], offset)
        return local.reshape(len(self.end_s), SAMPLES, 3)


def sweep_plots(out: Path, scan: Scan, source_mm: Array, content: Mapping[str, Any]) -> list[Path]:
    """`<out>-sweep.png` and `<out>-latency.png` of a `detector-scan` result and its scan; `source_mm` (3,)."""
    response = known_response(content, out)
    sweep = seen_sweep(scan, source_mm, content) if response is not None else None
    paths = [picture_path(out, "sweep"), picture_path(out, "latency")]
    title = "Sweep round a point source"
    if sweep is None or response is None:
        with sheet(paths[0], content, title) as page:
            nothing_to_draw(page, "no detector was fitted to this sweep")
        return paths[:1]
    expected = model_counts(sweep, response, content, sweep.latency_s)
    line = figures_of(content)
    with sheet(paths[0], content, f"{title}: counts and model", line) as page:
        places = page.add_gridspec(2, 2, height_ratios=[1.0, 1.25])
        _draw_counts(page.add_subplot(places[0, :]), sweep, expected)
        _draw_places(page.add_subplot(places[1, 0]), page.add_subplot(places[1, 1]), sweep)
    with sheet(paths[1], content, f"{title}: latency and correction", line) as page:
        profile, correction, residuals = page.subplots(1, 3, width_ratios=[1.2, 1.0, 1.0])
        _draw_profile(profile, sweep, response, content)
        _draw_correction(correction, content)
        _draw_residuals(residuals, sweep, expected)
    return paths


def figures_of(content: Mapping[str, Any]) -> str:
    """The figures one signs, in one line."""
    sd, shift = content["standard_errors"], content["correction"]
    along = sd["centre_along_mm"]
    depth = "kept from tip.json" if along is None else f"{shift['shift_mm'][2]:.2f} mm (SD {along:.2f})"
    return (
        f"latency {1000 * content['count_latency_s']:.1f} ms (SD {1000 * sd['count_latency_s']:.1f}); axis moved "
        f"{shift['tilt_deg']:.2f} deg (SD {max(sd['axis_deg']):.2f}); centre moved "
        f"{np.hypot(*shift['shift_mm'][:2]):.2f} mm across (SD {max(sd['centre_across_mm']):.2f}), along: {depth}; "
        f"chi2/dof {content['sweep']['chi2_per_dof']:.2f}"
    )


def seen_sweep(scan: Scan, source_mm: Array, content: Mapping[str, Any]) -> SeenSweep | None:
    """The windows that can be drawn; None when there are none."""
    key = "T_probe_probetip" if scan.pose_name == MARKER_POSES else "T_nominaltip_probetip"
    if content.get(key) is None or content.get("count_latency_s") is None:
        return None
    frame = np.array(content[key], dtype=np.float64)
    scan = scan if scan.pose_name == MARKER_POSES else _with_tip(scan, frame)
    latency = float(content["count_latency_s"])
    c = scan.counts
    end, counts, window, _ = binned(c.t_s, c.counts, c.window_s, c.window_s)
    track = tip_poses(scan, (), frame)
    reach = PROFILE_REACH_S
    kept = track.covers(end - window - latency - reach, end - latency + reach)
    if not kept.any():
        return None
    return SeenSweep(scan, frame, end[kept], counts[kept], window[kept], np.asarray(source_mm), latency)


def _with_tip(scan: Scan, T_nominal_tip: Array) -> Scan:
    """Tip poses carried into the corrected tip frame."""
    from dataclasses import replace

    return replace(scan, poses=replace(scan.poses, matrices=scan.poses.matrices @ T_nominal_tip))


def model_counts(
    sweep: SeenSweep, response: DetectorResponse, content: Mapping[str, Any], latency_s: float
) -> Array:
    """Counts (n,) that the result foretells at a latency, dead time included."""
    return _expected(sweep, response, content, sweep.seen(latency_s))


def _expected(sweep: SeenSweep, response: DetectorResponse, content: Mapping[str, Any], seen: Array) -> Array:
    r, z = np.hypot(seen[..., 0], seen[..., 1]), seen[..., 2]
    sensitivity = response.in_air(r.ravel(), z.ravel()).reshape(r.shape).mean(axis=1)
    origin = content["sweep"]
    rate = float(origin["activity_kbq"]) * sensitivity + float(origin["background_cps"])
    dead_time = float(content.get("dead_time_s") or 0.0)
    result: Array = np.maximum(sweep.window_s * rate / (1.0 + dead_time * rate), 1e-9)
    return result


def latency_profile(
    sweep: SeenSweep, response: DetectorResponse, content: Mapping[str, Any]
) -> tuple[Array, Array]:
    """Latencies (k,) and twice the log-likelihood's drop below its maximum, the tip's frame fitted at each one.

    Scale, tilt and shift follow in one Gauss-Newton step from the result's own; the misfit widens the profile.
    """
    sd = float(content["standard_errors"]["count_latency_s"])
    reach = float(np.clip(PROFILE_SDS * sd, LEAST_REACH_S, PROFILE_REACH_S))
    latencies = sweep.latency_s + np.linspace(-reach, reach, PROFILE_STEPS)
    drops = []
    for latency in latencies:
        seen = sweep.seen(float(latency))
        expected = _expected(sweep, response, content, seen)
        moved = np.einsum("abc,nkc->ankb", _small_motions(), seen) + _small_shifts()[:, None, None, :]
        columns = [(_expected(sweep, response, content, m) - expected) for m in moved]
        design = np.stack([expected, np.ones_like(expected), *columns], axis=1)
        weight = 1.0 / expected
        prior = np.diag(
            [0.0, 1e-9, *[(TILT_RAD / PRIOR_SD_RAD) ** 2] * 2, *[(SLOPE_MM / PRIOR_SD_MM) ** 2] * 3]
        )
        normal = design.T @ (weight[:, None] * design) + prior
        step = np.linalg.solve(normal, design.T @ (weight * (sweep.counts - expected)))
        drops.append(_deviance(sweep.counts, expected + design @ step) + float(step @ prior @ step))
    misfit = np.array(drops)
    dispersion = max(float(misfit.min()) / max(len(sweep.counts) - 8, 1), 1.0)
    return latencies, (misfit - misfit.min()) / dispersion


def _deviance(counts: Array, expected: Array) -> float:
    """Poisson deviance, with a floor where a step of the fit went below zero."""
    floored = np.maximum(expected, LEAST_EXPECTED)
    log_term = np.where(counts > 0.0, counts * np.log(np.maximum(counts, 1.0) / floored), 0.0)
    return float(2.0 * (log_term - (counts - floored)).sum())


def _small_motions() -> Array:
    """(5, 3, 3): two small tilts about X and Y, then three times none."""
    tilt_x = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, TILT_RAD], [0.0, -TILT_RAD, 1.0]])
    tilt_y = np.array([[1.0, 0.0, -TILT_RAD], [0.0, 1.0, 0.0], [TILT_RAD, 0.0, 1.0]])
    return np.stack([tilt_x, tilt_y, np.eye(3), np.eye(3), np.eye(3)])


def _small_shifts() -> Array:
    return np.concatenate([np.zeros((2, 3)), -SLOPE_MM * np.eye(3)])


def _draw_counts(axes: Axes, sweep: SeenSweep, expected: Array) -> None:
    start = _close_up(sweep)
    here = (sweep.end_s >= start) & (sweep.end_s <= start + CLOSE_UP_S)
    t = sweep.end_s[here]
    axes.errorbar(
        t,
        sweep.counts[here],
        yerr=np.sqrt(np.maximum(sweep.counts[here], 1.0)),
        fmt="o",
        ms=4,
        color=VERMILLION,
        label="counted",
        lw=1,
    )
    axes.plot(t, expected[here], color=BLUE, lw=2, label="model at the latency found")
    axes.set_xlabel("time on the scan's clock, s")
    axes.set_ylabel("counts per window")
    axes.set_title(f"{CLOSE_UP_S:g} s with the most change, of {float(np.ptp(sweep.end_s)):.0f} s")
    axes.legend(loc="upper right", ncols=2)
    quiet_grid(axes)


def _close_up(sweep: SeenSweep) -> float:
    """Where the stretch with the most change of counts begins."""
    change = np.abs(np.diff(sweep.counts, prepend=sweep.counts[0]))
    total = np.concatenate([[0.0], np.cumsum(change)])
    stop = np.searchsorted(sweep.end_s, sweep.end_s + CLOSE_UP_S)
    return float(sweep.end_s[int(np.argmax(total[stop] - total[: len(stop)]))])


def _draw_places(front: Axes, side: Axes, sweep: SeenSweep) -> None:
    """The source as the probe saw it: from behind along the axis, and from the side."""
    seen = sweep.seen(sweep.latency_s).mean(axis=1)
    rate = sweep.counts / sweep.window_s
    order = np.argsort(rate)
    looks: dict[str, Any] = {"c": rate[order], "cmap": "cividis", "s": 16}
    front.scatter(seen[order, 0], seen[order, 1], **looks)
    front.set_aspect("equal", adjustable="datalim")
    front.set_xlabel("x, mm")
    front.set_ylabel("y, mm")
    front.set_title("Source in the tip frame, across the axis")
    shown = side.scatter(np.hypot(seen[order, 0], seen[order, 1]), seen[order, 2], **looks)
    side.set_xlabel("r, mm from the axis")
    side.set_ylabel("z, mm in front of the face")
    side.set_title("and along it")
    side.figure.colorbar(shown, ax=side, label="cps")
    for axes in (front, side):
        quiet_grid(axes)


def _draw_profile(
    axes: Axes, sweep: SeenSweep, response: DetectorResponse, content: Mapping[str, Any]
) -> None:
    latencies, drop = latency_profile(sweep, response, content)
    axes.plot(1000.0 * latencies, drop, color=BLUE, lw=2.2, label="profile")
    axes.axhline(2.0 * PROFILE_DROP, color=QUIET, ls=":", lw=2, label="95 % (chi2 of 1)")
    interval = content.get("count_latency_ci95_s")
    if interval is not None:
        low, high = (1000.0 * float(v) for v in interval)
        axes.axvspan(low, high, color=SKY, alpha=0.35, lw=0.0, label=f"{low:.1f} to {high:.1f} ms stated")
    axes.axvline(
        1000.0 * sweep.latency_s, color=VERMILLION, lw=2, label=f"{1000 * sweep.latency_s:.1f} ms found"
    )
    axes.set_ylim(0.0, 1.4 * max(PROFILE_SDS**2, 2.0 * PROFILE_DROP))
    axes.set_xlabel("count latency, ms")
    axes.set_ylabel("twice the drop of the log-likelihood")
    axes.set_title("Latency")
    axes.legend(loc="upper center", fontsize=11)
    quiet_grid(axes)


def _draw_correction(axes: Axes, content: Mapping[str, Any]) -> None:
    """Shift of the centre with its standard errors, and the tilt as words."""
    shift, sd = content["correction"]["shift_mm"], content["standard_errors"]
    errors = [*sd["centre_across_mm"], sd["centre_along_mm"] or 0.0]
    known = [0, 1] if sd["centre_along_mm"] is None else [0, 1, 2]
    axes.axhline(0.0, color=QUIET, lw=1)
    axes.errorbar(
        known,
        [shift[k] for k in known],
        yerr=[1.96 * errors[k] for k in known],
        fmt="o",
        color=BLUE,
        ms=9,
        capsize=6,
        lw=2,
    )
    if 2 not in known:
        axes.text(
            2.0, 0.0, "along:\nnot told\nby this sweep", ha="center", va="center", color=QUIET, fontsize=12
        )
    axes.set_xlim(-0.6, 2.6)
    axes.set_xticks([0, 1, 2], ["x", "y", "z (axis)"])
    axes.set_ylabel("shift of the centre, mm, with 95 % interval")
    tilt = content["correction"]["tilt_deg"]
    axes.set_title(f"Correction; tilt {tilt:.2f} deg")
    quiet_grid(axes)


def _draw_residuals(axes: Axes, sweep: SeenSweep, expected: Array) -> None:
    """Standardised residuals over the rate: dead time and a wrong response show here first."""
    left = (sweep.counts - expected) / np.sqrt(expected)
    rate = expected / sweep.window_s
    axes.plot(rate, left, ".", color=SKY, ms=5)
    edges = np.quantile(rate, np.linspace(0.0, 1.0, 11))
    bins = np.clip(np.searchsorted(edges, rate, side="right") - 1, 0, 9)
    for k in range(10):
        here = bins == k
        if here.sum() > 1:
            axes.errorbar(
                rate[here].mean(),
                left[here].mean(),
                yerr=here.sum() ** -0.5,
                fmt="D",
                color=BLACK,
                ms=5,
                lw=1.5,
            )
    axes.axhline(0.0, color=ORANGE, lw=2)
    axes.set_xscale("log")
    axes.set_xlabel("model, cps")
    axes.set_ylabel("(counted - model) / standard deviation")
    axes.set_title("Residuals and their means")
    quiet_grid(axes)
