"""Picture of a count latency from an ordinary scan: estimate, interval, and the profile where the result holds one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from navigation.plots.sheet import BLUE, QUIET, SKY, VERMILLION, quiet_grid, sheet
from navigation.plots.write import picture_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Twice the drop of the log-likelihood at the ends of a 95 % interval, and the half width of that interval in SDs.
CHI2_95, SD_95 = 3.84, 1.96
# Without a profile the parabola of the interval is drawn this many half widths to either side.
REACH = 2.0
# An interval of no width still needs an axis.
LEAST_HALF_S = 0.001


def latency_plots(out: Path, content: Mapping[str, Any]) -> list[Path]:
    """`<out>-profile.png` of latency.json's content; a `profile` of `latency_s` and `drop` is drawn if it is there."""
    path = picture_path(out, "profile")
    with sheet(path, content, "Count latency of a scan", figures_of(content), (13.5, 7.0)) as page:
        axes = page.subplots()
        _draw(axes, content)
    return [path]


def figures_of(content: Mapping[str, Any]) -> str:
    """The figures one signs, in one line."""
    word = "determined" if content.get("determined") else "NOT DETERMINED: carried into position and MDA"
    value, interval = content.get("count_latency_s"), content.get("ci95_s")
    known = "unknown" if value is None else f"{1000 * value:.1f} ms"
    between = (
        "" if interval is None else f", 95 % interval {1000 * interval[0]:.1f} to {1000 * interval[1]:.1f} ms"
    )
    return f"latency {known}{between}; {word}"


def _draw(axes: Axes, content: Mapping[str, Any]) -> None:
    value, interval = content.get("count_latency_s"), content.get("ci95_s")
    profile = content.get("profile")
    if profile is not None:
        x, y = np.array(profile["latency_s"], dtype=np.float64), np.array(profile["drop"], dtype=np.float64)
        axes.plot(1000.0 * x, y, color=BLUE, lw=2.2, label="profile of the likelihood")
    elif value is not None and interval is not None:
        half = max(0.5 * (interval[1] - interval[0]), LEAST_HALF_S)
        x = value + np.linspace(-REACH * half, REACH * half, 200)
        y = ((x - value) / half * SD_95) ** 2
        axes.plot(1000.0 * x, y, color=BLUE, lw=2.2, ls="--", label="parabola of the stated interval")
    if interval is not None:
        axes.axvspan(
            1000.0 * interval[0], 1000.0 * interval[1], color=SKY, alpha=0.35, lw=0.0, label="95 % interval"
        )
    if value is not None:
        axes.axvline(1000.0 * value, color=VERMILLION, lw=2.2, label=f"estimate {1000 * value:.1f} ms")
    axes.axhline(CHI2_95, color=QUIET, ls=":", lw=2, label="95 % (chi2 of 1)")
    axes.set_ylim(0.0, 4.0 * CHI2_95)
    axes.set_xlabel("count latency, ms")
    axes.set_ylabel("twice the drop of the log-likelihood")
    axes.legend(loc="upper right")
    quiet_grid(axes)
