"""The field as it lies in the patient: skin and bones of the CT, foci, bed with its coverage, the probe's way.

Two views: as the probe looked, and from the side. Without a CT the touched surface stands for the skin.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import chi2

from navigation.anatomy.rendering import Shape, ball, joined, render
from navigation.anatomy.skin import Mesh
from navigation.pictures import figure
from navigation.report.anatomy import Anatomy
from navigation.report.charts import ABOVE, BED_COLOURS, COVERED, NOT_LOOKED, UNSEEN_MDA_KBQ
from navigation.report.geometry import mean_probe_axis
from navigation.report.maps import patient_letter
from navigation.report.planes import telling_place
from navigation.report.results import CaseReport, ScanReport
from navigation.reslice import Plane, across, unit
from tracking.errors import InputError
from tracking.transform import invert_rigid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

Array = NDArray[np.float64]

HALF_MM = 95.0
PIXELS = 480
# The second view looks past the first by this much: from the side, but still from outside.
ASIDE_DEG = 60.0
GROUND = (0.10, 0.11, 0.13)
SKIN, BONE, FOCUS, WAY, TOUCHED = (
    np.array(c)
    for c in ([0.86, 0.74, 0.68], [0.93, 0.90, 0.82], [1.0, 0.55, 0.10], [0.50, 0.83, 1.0], [0.8, 0.8, 0.8])
)
SKIN_OPACITY = 0.35
# Bed places are drawn as cubes of their raster of 2 mm, so that the bed is closed.
BED_HALF_MM, DOT_MM, WAY_MM = 1.0, 1.5, 0.9
# The hatching of what was not examined: stripes of this width.
STRIPE_MM = 4.0
STRIPE = np.array([0.75, 0.77, 0.80])
# Triangles of the body: a picture of 480 pixels shows no more.
MOST_TRIANGLES = 60_000
# Samples of the probe's way that are drawn.
MOST_WAY = 400
# Where the probe was this far from what it examined it was coming or going.
FAR_MM = 60.0


def view3d_picture(case: CaseReport, anatomy: Anatomy | None, path: Path) -> bool:
    """Both views of the newest scan with a map, with the foci of the first; False without any surface."""
    scan = case.scans[-1]
    if anatomy is None and scan.surface_mm is None:
        return False
    shapes = [*_body(anatomy, scan), *_foci(case), *_bed(scan), *_way(scan)]
    middle = telling_place(case)
    axis = None if scan.scan is None else mean_probe_axis(scan.scan.poses.matrices)
    into = unit(axis) if axis is not None else np.array([0.0, 0.0, 1.0])
    hint = None if case.T_ras_reference is None else -case.T_ras_reference[0, :3]
    right = across(into, hint)
    with figure((13.6, 7.4), path, case.simulated) as drawing:
        axes = drawing.subplots(1, 2)
        for place, title, plane in (
            (axes[0], "As the probe looked", Plane(middle, right, np.cross(into, right))),
            (axes[1], "From the side", _aside(middle, right, into)),
        ):
            picture = render(shapes, plane, (HALF_MM, HALF_MM), (PIXELS, PIXELS), GROUND)
            place.imshow(picture, extent=(-HALF_MM, HALF_MM, HALF_MM, -HALF_MM))
            place.set_title(title)
            place.set_xticks([])
            place.set_yticks([])
            _letters(place, case, plane)
            _scale(place)
        drawing.legend(handles=_legend(case, scan, anatomy), loc="outside lower center", ncols=4, fontsize=12)
    return True


def _aside(middle: Array, right: Array, into: Array) -> Plane:
    """The view turned about the picture's vertical, so that depth is seen."""
    angle = np.radians(ASIDE_DEG)
    look = np.cos(angle) * into - np.sin(angle) * right
    across_it = np.cos(angle) * right + np.sin(angle) * into
    return Plane(middle, across_it, np.cross(look, across_it))


def _body(anatomy: Anatomy | None, scan: ScanReport) -> list[Shape]:
    """Skin and bones in Reference, else the touched points."""
    if anatomy is None:
        assert scan.surface_mm is not None
        return [Shape(_balls(scan.surface_mm, DOT_MM), TOUCHED)]
    from navigation.anatomy.bones import bone_surface, bones_of
    from navigation.anatomy.skin import skin_surface

    back = invert_rigid(anatomy.T_study_reference)
    found = []
    try:
        skin = skin_surface(anatomy.ct_hu, anatomy.grid, MOST_TRIANGLES)
        found.append(Shape(_moved(skin, back), SKIN, SKIN_OPACITY))
        bones = bone_surface(bones_of(anatomy.ct_hu, anatomy.grid), MOST_TRIANGLES)
        found.append(Shape(_moved(bones, back), BONE))
    except InputError:
        pass  # a field within the body shows no skin, and one of soft tissue no bone: the rest is drawn
    return found


def _moved(mesh: Mesh, T: Array) -> Mesh:
    return Mesh(mesh.points_mm @ T[:3, :3].T + T[:3, 3], mesh.triangles)


def _foci(case: CaseReport) -> list[Shape]:
    """The 95 % regions of the foci of every scan."""
    shapes = []
    radius = float(np.sqrt(chi2.ppf(0.95, 3)))
    for scan in case.scans:
        for spot in scan.accepted_spots:
            values, vectors = np.linalg.eigh(spot.covariance_mm2)
            axes = vectors * (radius * np.sqrt(np.maximum(values, 0.0)))
            shapes.append(Shape(ball(np.asarray(spot.position_mm, dtype=np.float64), axes), FOCUS))
    return shapes


def _bed(scan: ScanReport) -> list[Shape]:
    """The bed's outermost places in the colours of their coverage, striped where nobody looked."""
    from matplotlib.colors import to_rgb

    voxels = scan.bed_map
    if voxels is None or not len(voxels):
        return []
    looked = np.isfinite(voxels[:, 3]) & (voxels[:, 3] < UNSEEN_MDA_KBQ)
    state = np.where(voxels[:, 5] > 0.5, COVERED, np.where(looked, ABOVE, NOT_LOOKED))
    colours = np.array([to_rgb(c) for c in BED_COLOURS])[state]
    striped = (state == NOT_LOOKED) & (np.floor(voxels[:, :3].sum(axis=1) / STRIPE_MM) % 2 == 0)
    colours[striped] = STRIPE
    mesh = _cubes(voxels[:, :3], BED_HALF_MM)
    each = len(mesh.triangles) // len(voxels)
    return [Shape(mesh, np.repeat(colours, each, axis=0))]


def _way(scan: ScanReport) -> list[Shape]:
    """Where the probe's tip was over what it examined."""
    if scan.scan is None or scan.surface_mm is None:
        return []
    tips = scan.scan.poses.matrices[:, :3, 3]
    tips = tips[np.isfinite(tips).all(axis=1)]
    tips = tips[cKDTree(scan.surface_mm).query(tips)[0] <= FAR_MM] if len(tips) else tips
    if not len(tips):
        return []
    return [Shape(_cubes(tips[:: max(1, len(tips) // MOST_WAY)], WAY_MM), WAY)]


def _balls(points_mm: Array, radius_mm: float) -> Mesh:
    """A ball at every point (n, 3)."""
    return joined([ball(np.asarray(p, dtype=np.float64), radius_mm * np.eye(3)) for p in points_mm])


def _cubes(points_mm: Array, half_mm: float) -> Mesh:
    """A cube at every point (n, 3): the cheap shape where there are thousands."""
    corners = (np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)]) * 2.0 - 1.0) * half_mm
    squares = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))
    faces = np.array([t for a, b, c, d in squares for t in ((a, b, c), (a, c, d))])
    triangles = faces[None] + 8 * np.arange(len(points_mm))[:, None, None]
    return Mesh((points_mm[:, None] + corners[None]).reshape(-1, 3), triangles.reshape(-1, 3))


def _letters(axes: Axes, case: CaseReport, plane: Plane) -> None:
    """Sides of the patient at the edges, where a registration tells them."""
    if case.T_ras_reference is None:
        return
    rotation = case.T_ras_reference[:3, :3]
    for direction, x, y in (
        (-plane.right, 0.04, 0.5),
        (plane.right, 0.96, 0.5),
        (-plane.down, 0.5, 0.96),
        (plane.down, 0.5, 0.04),
    ):
        axes.text(
            x,
            y,
            patient_letter(rotation @ direction),
            transform=axes.transAxes,
            color="white",
            fontsize=20,
            weight="bold",
            ha="center",
            va="center",
        )


def _scale(axes: Axes) -> None:
    left, y = -0.92 * HALF_MM, 0.92 * HALF_MM
    axes.plot([left, left + 50.0], [y, y], color="white", lw=4, solid_capstyle="butt")
    axes.text(left, y - 4.0, "50 mm", color="white", fontsize=12, va="bottom")


def _legend(case: CaseReport, scan: ScanReport, anatomy: Anatomy | None) -> list[Patch]:
    from matplotlib.patches import Patch

    body = ("skin of the CT", SKIN) if anatomy is not None else ("touched surface", TOUCHED)
    names: list[tuple[str, object]] = [body]
    if any(s.accepted_spots for s in case.scans):
        names.append(("focus of activity, 95 % region", FOCUS))
    if scan.bed_map is not None and scan.bed_check is not None:
        limit = f"{float(scan.bed_check['threshold_kbq']):g} kBq"
        names += [
            (f"bed, no activity above {limit}", BED_COLOURS[COVERED]),
            (f"bed, {limit} not excluded", BED_COLOURS[ABOVE]),
        ]
    names.append(("way of the probe's tip", WAY))
    handles = [Patch(facecolor=colour, edgecolor="#303030", label=name) for name, colour in names]  # type: ignore[arg-type]
    if scan.bed_map is not None:
        handles.append(
            Patch(
                facecolor=BED_COLOURS[NOT_LOOKED], edgecolor="white", hatch="////", label="bed, NOT EXAMINED"
            )
        )
    return handles
