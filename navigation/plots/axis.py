"""Picture of a spin calibration: the angles turned through, and how the axis itself wobbled meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.guided.coverage import basis_about, flat
from navigation.plots.sheet import BLACK, BLUE, QUIET, SKY, VERMILLION, nothing_to_draw, quiet_grid, sheet
from navigation.plots.write import picture_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

# Sectors of the spin's rose.
SECTORS = 36


def axis_plots(out: Path, matrices: Array, content: Mapping[str, Any]) -> list[Path]:
    """`<out>-spin.png` of axis.json's content and the poses (n, 4, 4) it rests on."""
    path = picture_path(out, "spin")
    with sheet(path, content, "Spin calibration: axis of the probe", figures_of(content)) as page:
        if content.get("axis") is None:
            nothing_to_draw(page, "the tool did not turn: there is no axis")
            return [path]
        axis = np.array(content["axis"])
        places = page.add_gridspec(2, 2, height_ratios=[1.25, 1.0])
        rose = page.add_subplot(places[0, 0], projection="polar")
        wobble, over_time = page.add_subplot(places[0, 1]), page.add_subplot(places[1, :])
        angles = np.degrees(spin_angles_rad(matrices, axis))
        _draw_rose(rose, angles)
        directions = matrices[:, :3, :3] @ axis
        _draw_wobble(wobble, directions, content)
        _draw_over_time(over_time, angles, directions)
    return [path]


def figures_of(content: Mapping[str, Any]) -> str:
    """The figures one signs, in one line."""
    if content.get("axis") is None:
        return f"{content.get('poses', 0)} poses"
    sd = content.get("axis_sd_deg")
    error = "not determined" if sd is None else f"{sd:.2f} deg"
    axis = ", ".join(f"{v:.4f}" for v in content["axis"])
    return (
        f"axis ({axis}), standard error {error}; spun through {content['spin_deg']:.0f} deg; "
        f"wobble {content['wobble_deg']:.2f} deg RMS; {content['poses']} poses; face known from the "
        f"{content['sign_from']}"
    )


def spin_angles_rad(matrices: Array, axis: Array) -> Array:
    """Twist (n,) of poses (n, 4, 4) about `axis` (3,) against the first pose (swing-twist), unwrapped."""
    relative = matrices[0, :3, :3].T @ matrices[:, :3, :3]
    sines = np.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        axis=1,
    )
    along = np.einsum("a,nab,b->n", axis, relative, axis)
    result: Array = np.unwrap(np.arctan2(sines @ axis, np.einsum("nii->n", relative) - along))
    return result


def _draw_rose(axes: Any, angles_deg: Array) -> None:
    counts, edges = np.histogram(np.mod(angles_deg, 360.0), bins=SECTORS, range=(0.0, 360.0))
    turn = np.radians(edges)
    axes.bar(turn[:-1], counts, width=np.diff(turn), align="edge", color=SKY, edgecolor=BLUE)
    axes.set_title("Poses by angle about the axis", pad=18)
    axes.tick_params(labelsize=11)


def _draw_wobble(axes: Axes, directions: Array, content: Mapping[str, Any]) -> None:
    places = flat(directions, basis_about(directions.mean(axis=0)))
    axes.plot(*places.T, "-", color=SKY, lw=0.8)
    axes.plot(*places.T, ".", color=BLUE, ms=5, label="axis at each pose")
    turn = np.linspace(0.0, 2.0 * np.pi, 181)
    wobble = float(content["wobble_deg"])
    axes.plot(
        wobble * np.cos(turn),
        wobble * np.sin(turn),
        "--",
        color=VERMILLION,
        lw=2,
        label=f"RMS {wobble:.2f} deg",
    )
    reach = 1.3 * max(float(np.abs(places).max()), wobble, 0.05)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("tilt from the mean direction, deg")
    axes.set_ylabel("deg")
    axes.set_title("Wobble of the axis")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    quiet_grid(axes)


def _draw_over_time(axes: Axes, angles_deg: Array, directions: Array) -> None:
    mean = directions.mean(axis=0)
    tilt = np.degrees(np.arccos(np.clip(directions @ mean / np.linalg.norm(mean), -1.0, 1.0)))
    axes.plot(angles_deg, color=BLUE, lw=2)
    axes.set_xlabel("pose")
    axes.set_ylabel("angle about the axis, deg", color=BLUE)
    axes.set_title("Course of the spin")
    quiet_grid(axes)
    other = axes.twinx()
    other.plot(tilt, color=BLACK, lw=1, ls=":")
    other.set_ylabel("tilt of the axis, deg (dotted)", color=QUIET)
