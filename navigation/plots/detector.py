"""Pictures of a detector calibration from a grid: response beside its measurements, residuals, attenuation.

What lies beyond the measured points is hatched in every picture: there physics speaks, not a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.probe.gridfit import Grid, deviance_residuals
from calibration.probe.response import RELATIVE_SD_EXTRAPOLATED, DetectorResponse, response_of
from calibration.records.record import sealed
from navigation.plots.sheet import (
    BLACK,
    BLUE,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    VERMILLION,
    quiet_grid,
    sheet,
)
from navigation.plots.write import picture_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

# A picture shows this much beyond the farthest measured point, so that the continuation is seen.
BEYOND = 1.35
# Distances whose lateral profiles are drawn, at most.
PROFILES = 4
PROFILE_LOOKS = ((BLUE, "o"), (VERMILLION, "s"), (PURPLE, "^"), (BLACK, "D"))
# Residuals beyond this many standard deviations have the darkest colour.
LARGEST_SIGMAS = 4.0
PER_MBQ = 1000.0
MAP_POINTS = (160, 180)
# Below this, in cps/MBq, only the leak is left, and lines say nothing.
LEAST_LINE = 1.0
# Share of the response on the axis at the same distance: what a surgeon calls the view.
VIEW_SHARES = (0.1, 0.5)
LABELLED_SIGMAS = 3.0


def detector_plots(out: Path, grid: Grid, content: Mapping[str, Any]) -> list[Path]:
    """`<out>-response.png`, `-residuals.png`, `-attenuation.png` of probe.json's content and its grid."""
    response = known_response(content, out)
    names = ("response", "residuals", "attenuation") if response is not None else ("response",)
    paths = [picture_path(out, name) for name in names]
    line = figures_of(content)
    if response is None:
        with sheet(paths[0], content, "Detector calibration: the measurement", line) as page:
            _draw_raw(page.subplots(), grid)
        return paths
    with sheet(paths[0], content, "Detector calibration: measured and fitted response", line) as page:
        top, bottom = page.subplots(2, 2)
        _draw_axis(top[0], top[1], grid, response)
        _draw_profiles(bottom[0], grid, response)
        _draw_map(bottom[1], grid, response)
    with sheet(paths[1], content, "Detector calibration: standardised residuals", line) as page:
        places, bars = page.subplots(1, 2, width_ratios=[2.0, 1.0])
        _draw_residual_map(places, grid, response)
        _draw_residual_bars(bars, grid, response)
    with sheet(paths[2], content, "Detector calibration: attenuation in water", line) as page:
        _draw_attenuation(page.subplots(1, 2), content, response)
    return paths


def figures_of(content: Mapping[str, Any]) -> str:
    """The figures one signs, in one line."""
    low, high = content["window_kev"]
    line = f"{content['nuclide']}, {low:g} to {high:g} keV"
    block = content.get("response")
    if block is None:
        return line
    axis = block["on_axis_cps_per_mbq"]
    values = ", ".join(f"{axis[k]:.0f}" for k in ("10mm", "30mm", "50mm"))
    held_out = content.get("held_out_chi2_per_dof")
    misfit = "" if held_out is None else f", held out {held_out:.2f}"
    scale = 100.0 * float(block["scale_relative_sd"])
    return (
        f"{line}; {values} cps/MBq on the axis at 10, 30, 50 mm; chi2/dof {content['chi2_per_dof']:.2f}{misfit}; "
        f"scale known to {scale:.1f} %"
    )


def known_response(content: Mapping[str, Any], path: Path) -> DetectorResponse | None:
    """The response in the content, of a refused calibration too (for pictures only); None where it has none."""
    if content.get("response") is None:
        return None
    without_seal = {k: v for k, v in content.items() if k != "checksum"}
    return response_of(sealed(without_seal | {"accepted": True}), path)


def standardised(grid: Grid, response: DetectorResponse) -> Array:
    """Deviance residuals (n,) of the grid's points, the model-error floor taken into account."""
    return deviance_residuals(grid.counts, response.in_air(grid.r_mm, grid.z_mm) * grid.exposure)


def _rates(grid: Grid) -> tuple[Array, Array]:
    """Measured sensitivity (n,) in cps/MBq and its Poisson standard error."""
    per = PER_MBQ / grid.exposure
    return grid.counts * per, np.sqrt(np.maximum(grid.counts, 1.0)) * per


def _draw_raw(axes: Axes, grid: Grid) -> None:
    rate, error = _rates(grid)
    shown = axes.scatter(grid.z_mm, rate, c=grid.r_mm, cmap="cividis", zorder=3)
    axes.errorbar(grid.z_mm, rate, yerr=error, fmt="none", ecolor=QUIET)
    axes.figure.colorbar(shown, ax=axes, label="r, mm")
    if (rate > 0.0).any():
        axes.set_yscale("log")
    axes.set_xlabel("z, mm in front of the face")
    axes.set_ylabel("cps/MBq as measured")
    quiet_grid(axes)


def _near_axis(grid: Grid) -> NDArray[np.bool_]:
    return np.asarray(grid.r_mm <= float(grid.r_mm.min()) + 1e-6)


def _draw_axis(upper: Axes, ratio: Axes, grid: Grid, response: DetectorResponse) -> None:
    """Sensitivity over the distance, and measured over fitted below its error bars."""
    on = _near_axis(grid)
    rate, error = _rates(grid)
    low, high = response.measured_z_mm
    z = np.geomspace(max(low, 0.5) / BEYOND, high * BEYOND, 300)
    r = np.full_like(z, float(grid.r_mm[on].min()))
    fitted = PER_MBQ * response.in_air(r, z)
    for axes in (upper, ratio):
        for start, stop in ((z[0], low), (high, z[-1])):
            axes.axvspan(start, stop, facecolor="none", edgecolor=QUIET, hatch="//", alpha=0.35, lw=0.0)
        axes.set_xscale("log")
        axes.set_xlim(z[0], z[-1])
        axes.set_xlabel("z, mm in front of the face (hatched: extrapolated)")
        quiet_grid(axes)
    upper.plot(z, fitted, color=BLUE, lw=2, label="fitted")
    upper.errorbar(
        grid.z_mm[on], rate[on], yerr=error[on], fmt="o", color=VERMILLION, ms=6, label="measured on the axis"
    )
    upper.set_yscale("log")
    upper.set_ylabel("cps/MBq")
    upper.legend(loc="lower left")
    upper.set_title("On the axis")
    there = PER_MBQ * response.in_air(grid.r_mm[on], grid.z_mm[on])
    ratio.errorbar(
        grid.z_mm[on],
        100.0 * (rate[on] / there - 1.0),
        yerr=100.0 * error[on] / there,
        fmt="o",
        color=VERMILLION,
    )
    inside = (z >= low) & (z <= high)
    band = 100.0 * np.where(inside, response.scale_relative_sd, RELATIVE_SD_EXTRAPOLATED)
    ratio.fill_between(
        z, -band, band, color=SKY, alpha=0.4, lw=0.0, step="mid", label="standard error stated"
    )
    ratio.axhline(0.0, color=BLUE, lw=2)
    ratio.set_ylabel("measured - fitted, %")
    ratio.set_title("Deviation on the axis")
    ratio.legend(loc="upper left")


def profile_distances(grid: Grid) -> list[float]:
    """The distances with the most points off the axis, up to PROFILES of them, spread over the range."""
    z, counts = np.unique(np.round(grid.z_mm, 3), return_counts=True)
    rich = z[(counts >= 3) & (z > 0.0)]
    if len(rich) <= PROFILES:
        return [float(v) for v in rich]
    places = np.unique(np.linspace(0, len(rich) - 1, PROFILES).round().astype(int))
    return [float(v) for v in rich[places]]


def _draw_profiles(axes: Axes, grid: Grid, response: DetectorResponse) -> None:
    rate, error = _rates(grid)
    reach = response.measured_r_mm * BEYOND
    r = np.linspace(0.0, reach, 300)
    for z, (colour, mark) in zip(profile_distances(grid), PROFILE_LOOKS, strict=False):
        here = np.abs(grid.z_mm - z) < 1e-3
        axes.plot(r, PER_MBQ * response.in_air(r, np.full_like(r, z)), color=colour, lw=1.8)
        axes.errorbar(
            grid.r_mm[here], rate[here], yerr=error[here], fmt=mark, color=colour, ms=5, label=f"z = {z:g} mm"
        )
    axes.axvspan(
        response.measured_r_mm, reach, facecolor="none", edgecolor=QUIET, hatch="//", alpha=0.35, lw=0.0
    )
    axes.set_xlim(0.0, reach)
    axes.set_yscale("log")
    axes.set_xlabel("r, mm from the axis (hatched: extrapolated)")
    axes.set_ylabel("cps/MBq")
    axes.set_title("Across the axis")
    axes.legend(loc="upper right", fontsize=12)
    quiet_grid(axes)


def _draw_map(axes: Axes, grid: Grid, response: DetectorResponse) -> None:
    """Lines of equal sensitivity in front of the face, and the view at 10 and 50 %."""
    from matplotlib.ticker import LogLocator

    r = np.linspace(0.0, response.measured_r_mm * BEYOND, MAP_POINTS[0])
    z = np.linspace(0.5, response.measured_z_mm[1] * BEYOND, MAP_POINTS[1])
    rr, zz = np.meshgrid(r, z)
    seen = PER_MBQ * response.in_air(rr.ravel(), zz.ravel()).reshape(rr.shape)
    levels = LogLocator(subs=(1.0, 3.0)).tick_values(max(float(seen.min()), LEAST_LINE), float(seen.max()))
    levels = [v for v in levels if v >= LEAST_LINE]
    lines = axes.contour(rr, zz, seen, levels=levels, colors=[BLUE], linewidths=1.4)
    axes.clabel(lines, fmt=lambda v: f"{v:g}", fontsize=10)
    share = response.collimation(rr.ravel(), zz.ravel()).reshape(rr.shape)
    edge = axes.contour(
        rr, zz, share, levels=VIEW_SHARES, colors=[VERMILLION], linewidths=2.2, linestyles="--"
    )
    axes.clabel(edge, fmt=lambda v: f"{100 * v:.0f} %", fontsize=11)
    outside = response.extrapolated(rr.ravel(), zz.ravel()).reshape(rr.shape).astype(np.float64)
    if outside.any():
        hatched = axes.contourf(rr, zz, outside, levels=[0.5, 1.5], colors=["none"], hatches=["//"])
        hatched.set_edgecolor("#a0a4ac")
    axes.plot(grid.r_mm, grid.z_mm, ".", color=BLACK, ms=3)
    axes.set_xlabel("r, mm from the axis")
    axes.set_ylabel("z, mm in front of the face")
    axes.set_title("Equal sensitivity in cps/MBq; dashed: share of the axis")
    axes.set_facecolor("white")


def _draw_residual_map(axes: Axes, grid: Grid, response: DetectorResponse) -> None:
    residuals = standardised(grid, response)
    size = 60.0 + 60.0 * np.minimum(np.abs(residuals), LARGEST_SIGMAS)
    shown = axes.scatter(
        grid.r_mm,
        grid.z_mm,
        c=residuals,
        s=size,
        cmap="PuOr",
        vmin=-LARGEST_SIGMAS,
        vmax=LARGEST_SIGMAS,
        edgecolors=BLACK,
        linewidths=0.8,
    )
    axes.figure.colorbar(shown, ax=axes, label="(measured - fitted) / standard deviation", extend="both")
    for i in np.flatnonzero(np.abs(residuals) > LABELLED_SIGMAS):
        axes.annotate(
            f"{residuals[i]:+.1f}",
            (grid.r_mm[i], grid.z_mm[i]),
            xytext=(7, 7),
            textcoords="offset points",
            fontsize=11,
        )
    axes.set_xlabel("r, mm from the axis")
    axes.set_ylabel("z, mm in front of the face")
    axes.set_title("By place; numbered beyond three standard deviations")
    quiet_grid(axes)


def _draw_residual_bars(axes: Axes, grid: Grid, response: DetectorResponse) -> None:
    residuals = standardised(grid, response)
    reach = max(LARGEST_SIGMAS, float(np.abs(residuals).max()) * 1.05)
    edges = np.linspace(-reach, reach, 33)
    axes.hist(residuals, bins=list(edges), color=SKY, edgecolor="white", orientation="horizontal")
    x = np.linspace(-reach, reach, 300)
    normal = np.exp(-(x**2) / 2.0) / np.sqrt(2.0 * np.pi) * len(residuals) * (edges[1] - edges[0])
    axes.plot(normal, x, color=BLACK, lw=2, label="counting noise alone")
    axes.set_ylabel("standard deviations")
    axes.set_xlabel("points")
    axes.set_title(f"{len(grid)} points, RMS {float(np.sqrt((residuals**2).mean())):.2f}")
    axes.legend(loc="upper right", fontsize=11)
    quiet_grid(axes)


def _on_axis_ratio(response: DetectorResponse, z: Array) -> Array:
    """Water over air on the axis, face on the water."""
    r = np.zeros_like(z)
    result: Array = response.in_tissue(r, z, z) / response.in_air(r, z)
    return result


def _draw_attenuation(pair: NDArray[Any], content: Mapping[str, Any], response: DetectorResponse) -> None:
    ratio_axes, difference_axes = pair
    block = content["attenuation"]
    z = np.linspace(1.0, max(70.0, response.measured_z_mm[1]), 200)
    scale = float(block.get("scatter_scale") or 1.0)
    tabulated = _with_scatter(response, 1.0 / scale)
    narrow = np.exp(-response.mu_per_mm * z)
    curves = [
        ("used by this calibration", _on_axis_ratio(response, z), BLUE, "-"),
        ("tabulated physics with scatter", _on_axis_ratio(tabulated, z), ORANGE, "--"),
        (f"narrow beam, {10 * response.mu_per_mm:.3f}/cm", narrow, QUIET, ":"),
    ]
    for name, values, colour, style in curves:
        ratio_axes.plot(z, values, style, color=colour, lw=2.2, label=name)
        difference_axes.plot(z, 100.0 * (values / curves[1][1] - 1.0), style, color=colour, lw=2.2)
    if block.get("measured_ratio") is not None:
        at, measured = np.array(block["distance_mm"]), np.array(block["measured_ratio"])
        ratio_axes.plot(at, measured, "o", color=VERMILLION, ms=10, label="measured, water over air")
        physics = _on_axis_ratio(tabulated, at)
        difference_axes.plot(at, 100.0 * (measured / physics - 1.0), "o", color=VERMILLION, ms=10)
        for x, value, mu in zip(at, measured, -np.log(measured) / at * 10.0, strict=True):
            ratio_axes.annotate(
                f"  effective {mu:.3f}/cm", (x, value), fontsize=11, va="bottom", color=VERMILLION
            )
    else:
        ratio_axes.text(0.5, 0.93, "no air/water measurement", transform=ratio_axes.transAxes, ha="center")
    ratio_axes.set_ylim(0.0, 1.03)
    ratio_axes.set_ylabel("counts in water over counts in air")
    ratio_axes.set_title(f"Source: {block['source']}")
    ratio_axes.legend(loc="lower left", fontsize=12)
    difference_axes.set_ylabel("difference from tabulated physics, %")
    difference_axes.set_title(f"Scatter {scale:.2f} times the tabulated one")
    for axes in (ratio_axes, difference_axes):
        axes.set_xlabel("depth on the axis, mm")
        quiet_grid(axes)


def _with_scatter(response: DetectorResponse, factor: float) -> DetectorResponse:
    table = response.table.copy()
    table[..., 1] *= factor
    return replace(response, table=table)
