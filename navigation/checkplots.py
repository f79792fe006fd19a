"""Pictures of a daily check for the physicist: what was measured against the calibration, and the days before."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.pictures import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from calibration.daily.check import CheckResult
    from calibration.daily.checkfit import CheckData
    from calibration.daily.checkhistory import Trend
    from calibration.daily.nema import Profile
    from calibration.probe.response import DetectorResponse

CHECK_INCH, TREND_WIDTH_INCH, PANEL_INCH = (19.0, 12.6), 12.0, 2.75
MEASURED, CALIBRATED, WARN, ACT, QUIET = "#1f4e99", "#555555", "#c98a00", "#b3261e", "#8a8a8a"
STATUS_COLOURS = {"pass": MEASURED, "fail": ACT, "warning": WARN, "not measured": QUIET}
STATUS_MARKS = {"pass": "o", "fail": "X", "warning": "s", "not measured": "o"}
# Distances over which the fall on the axis is drawn, mm.
SHOWN_MM = np.linspace(3.0, 70.0, 120)
LONGEST_LABEL = 46


def check_picture(
    result: CheckResult, response: DetectorResponse, content: Mapping[str, Any], path: Path
) -> None:
    """check.png: the figures as a table, sensitivity, both views, counts against the fit, and where was looked."""
    with figure(CHECK_INCH, path, bool(content["simulated"])) as drawing:
        verdict = "passed" if content["accepted"] else "FAILED"
        who = content["probe_serial"] or "probe of no stated serial number"
        drawing.suptitle(
            f"Check {verdict}: {who}, {content['nuclide']}, {content['time'][:16].replace('T', ' ')} UTC",
            color="black" if content["accepted"] else ACT,
            fontsize=18,
        )
        spots = drawing.add_gridspec(3, 3, width_ratios=(1.75, 1.0, 1.0), height_ratios=(1.0, 1.0, 0.8))
        _table(drawing.add_subplot(spots[:2, 0]), content["figures"])
        _reasons(drawing.add_subplot(spots[2, 0]), content)
        axes = [drawing.add_subplot(spots[k // 2, 1 + k % 2]) for k in range(6)]
        if result.fit is None or result.data is None or content.get("strength_kbq") is None:
            for empty in axes[1:] if result.data is not None else axes:
                empty.set_axis_off()
            if result.data is not None:
                _rate(axes[0], result.data, None)
            return
        _sensitivity(axes[0], content["figures"], response)
        _coverage(axes[1], result)
        for place, key, unit in ((axes[2], "lateral", "mm"), (axes[3], "angular", "degrees")):
            _view(place, result.views.get(key), key, unit, content["figures"])
        _rate(axes[4], result.data, result.fit.expected)
        _residuals(axes[5], result)


def _table(axes: Axes, figures: Mapping[str, Mapping[str, Any]]) -> None:
    axes.set_axis_off()
    rows = [
        [textwrap.shorten(f["label"], LONGEST_LABEL), value_words(f), tolerance_words(f), f["status"]]
        for f in figures.values()
    ]
    table = axes.table(
        cellText=rows,
        colLabels=["figure", "measured (95 %)", "tolerance", "verdict"],
        colWidths=[0.4, 0.29, 0.165, 0.145],
        cellLoc="left",
        loc="upper center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    table.scale(1.0, 1.55)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#dddddd")
        if row == 0:
            cell.set_text_props(weight="bold")
        elif column == 3:
            cell.set_text_props(color=STATUS_COLOURS[rows[row - 1][3]], weight="bold")


def value_words(found: Mapping[str, Any]) -> str:
    """`2089 (1949 to 2239) cps/MBq`; a dash where nothing was measured."""
    if found["value"] is None:
        return "–"
    unit = {"degrees": "°", "": ""}.get(found["unit"], f" {found['unit']}")
    interval = "" if found["ci95"] is None else " ({} to {})".format(*(number(v) for v in found["ci95"]))
    return f"{number(found['value'])}{unit}{interval}"


def tolerance_words(found: Mapping[str, Any]) -> str:
    """`at most 2` or `0.9 to 1.1`."""
    band = found["tolerance"]
    if band is None:
        return "–"
    return f"at most {number(band[1])}" if band[0] <= 0.0 else f"{number(band[0])} to {number(band[1])}"


def number(value: float | None) -> str:
    """Three significant digits, four of what is above a thousand, without an exponent."""
    if value is None:
        return "∞"
    if abs(value) >= 100.0:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 1.0 else f"{value:.3g}"


def _reasons(axes: Axes, content: Mapping[str, Any]) -> None:
    axes.set_axis_off()
    lines = [("Why it failed", content["reasons"], ACT), ("Warnings", content["warnings"], WARN)]
    notes = [
        f"{f['label']}: {f['note']}" for f in content["figures"].values() if f["status"] == "not measured"
    ]
    at = 1.0
    for title, found, colour in [*lines, ("Not measured", notes, QUIET)]:
        if not found:
            continue
        text = "\n".join(
            [title, *(textwrap.fill(f"• {words}", 74, subsequent_indent="   ") for words in found)]
        )
        axes.text(0.0, at, text, color=colour, fontsize=9.5, va="top", transform=axes.transAxes)
        at -= 0.085 * (text.count("\n") + 2)


def _sensitivity(axes: Axes, figures: Mapping[str, Mapping[str, Any]], response: DetectorResponse) -> None:
    calibrated = 1000.0 * response.in_air(np.zeros(len(SHOWN_MM)), SHOWN_MM)
    axes.plot(SHOWN_MM, calibrated, color=CALIBRATED, label="calibrated")
    band = figures.get("sensitivity_30mm", {}).get("tolerance")
    if band is not None:
        share = (band[1] - band[0]) / (band[1] + band[0])
        axes.fill_between(
            SHOWN_MM, calibrated * (1 - share), calibrated * (1 + share), color=CALIBRATED, alpha=0.15, lw=0
        )
    for distance in (10.0, 30.0, 50.0):
        found = figures.get(f"sensitivity_{distance:g}mm")
        if found is None or found["value"] is None:
            continue
        low, high = found["ci95"]
        axes.errorbar(
            distance,
            found["value"],
            yerr=[[found["value"] - low], [high - found["value"]]],
            fmt=STATUS_MARKS[found["status"]],
            color=STATUS_COLOURS[found["status"]],
            ms=8,
            capsize=4,
        )
    axes.set_yscale("log")
    axes.set_xlabel("distance from the face, mm")
    axes.set_ylabel("cps/MBq on the axis")
    stated = figures.get("constancy", {}).get("value") is not None
    axes.set_title("Sensitivity" if stated else "Sensitivity: no activity is stated", fontsize=13)
    axes.legend(fontsize=10)


def _coverage(axes: Axes, result: CheckResult) -> None:
    """Where in the tip frame the source was seen."""
    fit = result.fit
    assert fit is not None
    near = np.hypot(fit.r_mm, fit.z_mm) < 120.0
    axes.plot(fit.r_mm[near], fit.z_mm[near], ".", color=MEASURED, ms=3, alpha=0.6)
    for distance in (10.0, 30.0, 50.0):
        axes.axhline(distance, color=QUIET, lw=0.7, ls=":")
    axes.axhline(0.0, color=CALIBRATED, lw=1.0)
    axes.text(0.98, 0.03, "behind the face", fontsize=10, color=QUIET, ha="right", transform=axes.transAxes)
    axes.set_xlabel("off the axis, mm")
    axes.set_ylabel("in front of the face, mm")
    axes.set_title("Where the source was held", fontsize=13)


def _view(axes: Axes, view: Profile | None, name: str, unit: str, figures: Mapping[str, Any]) -> None:
    axes.set_title(f"{name.capitalize()} view at 30 mm", fontsize=13)
    axes.set_xlabel("off the axis, mm" if unit == "mm" else "off the axis, degrees")
    if view is None:
        axes.text(0.5, 0.5, "not measured", ha="center", color=QUIET, transform=axes.transAxes)
        return
    spread = np.exp(1.96 * view.log_sd)
    known = view.log_sd < 0.35
    axes.plot(view.at, view.calibrated, color=CALIBRATED, label="calibrated")
    axes.plot(view.at[known], view.measured[known], color=MEASURED, label="measured (95 %)")
    axes.fill_between(
        view.at[known],
        (view.measured / spread)[known],
        (view.measured * spread)[known],
        color=MEASURED,
        alpha=0.2,
        lw=0,
    )
    for key, level in (("fwhm", 0.5), ("fwtm", 0.1)):
        found = figures.get(f"{name}_{key}")
        if found is not None and found["value"] is not None:
            axes.plot([0.0, found["value"] / 2], [level, level], color=MEASURED, lw=1.0, ls="--")
            mark = "°" if unit == "degrees" else " mm"
            axes.text(
                0.6, level + 0.02, f"{key.upper()} {found['value']:.1f}{mark}", fontsize=10, color=MEASURED
            )
    axes.set_ylim(0.0, 1.15)
    axes.set_ylabel("relative to the axis")
    axes.legend(fontsize=10)


def _rate(axes: Axes, data: CheckData, expected: NDArray[np.float64] | None) -> None:
    t = data.end_s - data.end_s[0]
    axes.plot(t, data.counts / data.window_s, ".", color=MEASURED, ms=3, label="counted")
    if expected is not None:
        axes.plot(t, expected / data.window_s, color="black", lw=0.9, label="fitted")
    axes.set_yscale("symlog", linthresh=20.0)
    axes.set_xlabel("s")
    axes.set_ylabel("cps")
    axes.set_title("Counts", fontsize=13)
    axes.legend(fontsize=10)


def _residuals(axes: Axes, result: CheckResult) -> None:
    fit, data = result.fit, result.data
    assert fit is not None
    assert data is not None
    angle = np.degrees(fit.angle_rad)
    left = (data.counts - fit.expected) / np.sqrt(np.maximum(fit.expected, 0.5))
    axes.plot(angle, left, ".", color=MEASURED, ms=3, alpha=0.6)
    axes.axhspan(-2.0, 2.0, color=CALIBRATED, alpha=0.12, lw=0)
    axes.set_xlabel("angle off the axis, degrees")
    axes.set_ylabel("(counted - fitted) / √fitted")
    axes.set_title(f"Residuals, chi2/dof {fit.chi2_per_dof:.2f}", fontsize=13)


def trend_picture(trends: Sequence[Trend], content: Mapping[str, Any], path: Path) -> None:
    """trend.png: each figure over the days with what is expected, warning and action limits, and drifts."""
    n = max(len(trends), 1)
    size = (TREND_WIDTH_INCH, 1.4 + PANEL_INCH * n)
    with figure(size, path, bool(content["simulated"])) as drawing:
        who = content["probe_serial"] or "probe of no stated serial number"
        drawing.suptitle(f"Checks of {who}, {content['nuclide']}", fontsize=17)
        panels = drawing.subplots(n, 1, sharex=True, squeeze=False)[:, 0]
        if not trends:
            panels[0].set_axis_off()
            panels[0].text(0.5, 0.5, "A trend needs two checks that measured.", ha="center", color=QUIET)
            return
        for axes, trend in zip(panels, trends, strict=True):
            _trend(axes, trend)
        panels[-1].tick_params(axis="x", rotation=20)
        handles, labels = panels[0].get_legend_handles_labels()
        for status, colour in STATUS_COLOURS.items():
            if status == "warning":
                continue  # no figure over the days has it
            handles += panels[0].plot([], [], STATUS_MARKS[status], color=colour, ms=7)
            labels.append(status)
        drawing.legend(handles, labels, loc="outside lower center", ncols=7, fontsize=11)


def _trend(axes: Axes, trend: Trend) -> None:
    times, values = list(trend.times), np.array(trend.values)
    axes.axhline(trend.target, color=CALIBRATED, lw=1.2, label="expected")
    for k, (warning, action) in enumerate(zip(trend.warning, trend.action, strict=True)):
        axes.axhline(warning, color=WARN, lw=1.0, ls="--", label="warning" if k == 0 else None)
        axes.axhline(action, color=ACT, lw=1.2, label="action" if k == 0 else None)
    axes.plot(times, values, color=MEASURED, lw=0.8, alpha=0.6)  # type: ignore[arg-type]  # dates are numbers to it
    for status in STATUS_COLOURS:
        chosen = [i for i, found in enumerate(trend.statuses) if found == status]
        if not chosen:
            continue
        axes.errorbar(
            [times[i] for i in chosen],  # type: ignore[arg-type]
            values[chosen],
            yerr=1.96 * np.array(trend.sds)[chosen],
            fmt=STATUS_MARKS[status],
            color=STATUS_COLOURS[status],
            ms=7,
            capsize=3,
            lw=1.0,
        )
    unit = f", {trend.unit}" if trend.unit else ""
    axes.set_title(f"{trend.label}{unit}", fontsize=13, loc="left")
    if trend.drift is not None:
        axes.axvspan(times[trend.drift], times[-1], color=WARN, alpha=0.18, lw=0)  # type: ignore[arg-type]
        axes.set_title(
            f"DRIFT since {times[trend.drift].date().isoformat()}", fontsize=13, loc="right", color=ACT
        )
    _limits(axes, trend, values)


def _limits(axes: Axes, trend: Trend, values: np.ndarray) -> None:
    """Room for the limits and all values, but not for an interval of a check that told nothing."""
    spread = 1.96 * np.array(trend.sds)
    told = spread <= trend.action[1] - trend.action[0]
    low = min(trend.action[0], values.min(), *(values - spread)[told])
    high = max(trend.action[1], values.max(), *(values + spread)[told])
    margin = 0.12 * max(high - low, 1e-9)
    axes.set_ylim(low - margin, high + margin)
    axes.grid(axis="x", color="#e4e4e4")
