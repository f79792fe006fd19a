"""Picture of a surface registration: the touched points on the surface from three sides, and their distances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.plots.sheet import BLUE, QUIET, quiet_grid, sheet

if TYPE_CHECKING:
    from navigation.registration.surface import SurfaceRegistration, SurfaceTask

Array = NDArray[np.float64]

# Colours end here: beyond it a point does not lie on the surface at all.
LARGEST_SHOWN_MM = 3.0
# Samples of the surface that a picture can show.
MOST_DOTS = 6000
# What the three views look along: axis, the axes of the page, and their names in a patient's frame and in any other.
_VIEWS: tuple[tuple[int, int, int], ...] = ((1, 0, 2), (0, 1, 2), (2, 0, 1))
_LPS, _AXES = ("x (to the patient's left)", "y (to the back)", "z (to the head)"), ("x", "y", "z")


def draw_surface_fit(
    path: Path, task: SurfaceTask, result: SurfaceRegistration, content: Mapping[str, Any]
) -> list[Path]:
    """Draw `path`, stamped as `content` (reg.json) says; returns it in a list, as every picture of a result."""
    points = np.asarray(task.points_mm) @ result.matrix[:3, :3].T + result.matrix[:3, 3]
    with sheet(
        path, content, "Surface registration: touched points on the surface", _figures(result)
    ) as page:
        places = page.add_gridspec(2, 2)
        for place, view in zip(((0, 0), (0, 1), (1, 0)), _VIEWS, strict=True):
            drawn = _draw_view(page.add_subplot(places[place]), task, points, result, view)
        page.colorbar(drawn, ax=page.axes, label="outside (+) or inside (-) of the surface, mm", shrink=0.5)
        _draw_residuals(page.add_subplot(places[1, 1]), result.signed_mm[~result.beyond])
    return [path]


def _figures(result: SurfaceRegistration) -> str:
    words = f"{result.inlier_share:.0%} of {(~result.beyond).sum()} points within {result.rms_mm:.2f} mm RMS"
    if result.beyond.any():
        words += f", {result.beyond.sum()} beyond the edge (hollow)"
    loosest = f"loosest direction {result.coverage['sd_mm'][0]:.1f} mm (SD)"
    if not len(result.target_bound_mm):
        return f"{words}; {loosest}"
    return f"{words}; {loosest}; targets within {result.target_bound_mm.max():.1f} mm in 95 of 100 cases"


def _draw_view(
    axes: Any, task: SurfaceTask, points: Array, result: SurfaceRegistration, view: tuple[int, int, int]
) -> Any:
    """One parallel projection along an axis of the surface's frame, the touched points above the surface."""
    _, right, up = view
    names = _LPS if task.surface.lps else _AXES
    samples = task.surface.points_mm[:: max(1, len(task.surface.points_mm) // MOST_DOTS)]
    axes.scatter(samples[:, right], samples[:, up], s=1.0, color=QUIET, alpha=0.25, linewidths=0)
    beyond, on = points[result.beyond], points[~result.beyond]
    axes.scatter(beyond[:, right], beyond[:, up], s=9.0, facecolors="none", edgecolors=QUIET)
    drawn = axes.scatter(
        on[:, right],
        on[:, up],
        s=9.0,
        c=np.clip(result.signed_mm[~result.beyond], -LARGEST_SHOWN_MM, LARGEST_SHOWN_MM),
        cmap="coolwarm",
        vmin=-LARGEST_SHOWN_MM,
        vmax=LARGEST_SHOWN_MM,
    )
    axes.set_aspect("equal", adjustable="datalim")
    if task.surface.lps and up == 1:
        axes.invert_yaxis()
    axes.set_xlabel(f"{names[right]}, mm")
    axes.set_ylabel(f"{names[up]}, mm")
    quiet_grid(axes)
    return drawn


def _draw_residuals(axes: Any, signed: Array) -> None:
    edge = 2.0 * LARGEST_SHOWN_MM
    axes.hist(np.clip(signed, -edge, edge), bins=np.linspace(-edge, edge, 49), color=BLUE)
    axes.set_xlabel("distance from the surface, mm (+: outside)")
    axes.set_ylabel("touched points")
    quiet_grid(axes)
