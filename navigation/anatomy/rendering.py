"""Shaded pictures of meshes without a screen: parallel rays cast by open3d, blended by depth.

A picture for the report, not for measuring: the light is at the viewer, each mesh shows its nearest side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.skin import Mesh
from navigation.reslice import Plane

Array = NDArray[np.float64]

# Rays begin this far before the picture's plane: no patient is thicker.
BEFORE_MM = 600.0
# What is seen edge-on is not black: the rest is the share of light that comes from the viewer.
AMBIENT = 0.35
# Rings and sectors of a ball: smooth at the size of a focus in the report.
RINGS, SECTORS = 12, 24


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A mesh and its colours: one RGB (3,), or one per triangle (m, 3), 0 to 1; `opacity` 1 hides what is behind."""

    mesh: Mesh
    colour: Array
    opacity: float = 1.0


def ball(centre_mm: Array, axes_mm: Array) -> Mesh:
    """An ellipsoid: the unit ball mapped by `axes_mm` (3, 3; columns are half axes) about its centre (3,)."""
    theta = np.linspace(0.0, np.pi, RINGS + 1)
    phi = np.arange(SECTORS) * 2.0 * np.pi / SECTORS
    unit = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.repeat(np.cos(theta)[:, None], SECTORS, axis=1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    row, column = (a.ravel() for a in np.meshgrid(np.arange(RINGS), np.arange(SECTORS), indexing="ij"))
    here, there = row * SECTORS + column, row * SECTORS + (column + 1) % SECTORS
    triangles = np.concatenate(
        [np.stack([here, here + SECTORS, there], 1), np.stack([there, here + SECTORS, there + SECTORS], 1)]
    )
    return Mesh(unit @ axes_mm.T + centre_mm, triangles.astype(np.int64))


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """All of them as one."""
    offsets = np.cumsum([0, *(len(m.points_mm) for m in meshes)])
    triangles = [m.triangles + offset for m, offset in zip(meshes, offsets, strict=False)]
    return Mesh(np.concatenate([m.points_mm for m in meshes]), np.concatenate(triangles))


def render(
    shapes: Sequence[Shape],
    plane: Plane,
    half_mm: tuple[float, float],
    shape: tuple[int, int],
    ground: tuple[float, float, float],
) -> Array:
    """RGB (rows, columns, 3), 0 to 1, of what lies in the plane's view, looking along its normal."""
    picture = np.broadcast_to(np.asarray(ground, dtype=np.float64), (*shape, 3)).copy()
    layers = [_layer(s, plane, half_mm, shape) for s in shapes if len(s.mesh.triangles)]
    if not layers:
        return picture
    depth = np.stack([d for d, _, _ in layers])
    order = np.argsort(-depth, axis=0, kind="stable")
    rows, columns = np.indices(shape)
    colours = np.stack([c for _, c, _ in layers])
    opacity = np.stack([np.where(np.isfinite(d), o, 0.0) for d, _, o in layers])
    for nth in order:
        alpha = opacity[nth, rows, columns][..., None]
        picture = (1.0 - alpha) * picture + alpha * colours[nth, rows, columns]
    return np.asarray(np.clip(picture, 0.0, 1.0))


def _layer(
    what: Shape, plane: Plane, half_mm: tuple[float, float], shape: tuple[int, int]
) -> tuple[Array, Array, float]:
    """Depth (rows, columns; inf where nothing is hit) and colour (rows, columns, 3) of one mesh, and its opacity."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor(np.ascontiguousarray(what.mesh.points_mm, dtype=np.float32)),
        o3d.core.Tensor(np.ascontiguousarray(what.mesh.triangles, dtype=np.uint32)),
    )
    start = plane.points(half_mm, shape) - BEFORE_MM * plane.normal
    rays = np.concatenate([start, np.broadcast_to(plane.normal, start.shape)], axis=-1).astype(np.float32)
    found = scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
    depth = found["t_hit"].numpy().astype(np.float64)
    facing = np.abs(found["primitive_normals"].numpy() @ plane.normal)
    light = AMBIENT + (1.0 - AMBIENT) * facing
    hit = np.isfinite(depth)
    colour = np.zeros((*shape, 3))
    own = np.atleast_2d(what.colour)
    triangle = (
        found["primitive_ids"].numpy()[hit].astype(np.int64)
        if len(own) > 1
        else np.zeros(int(hit.sum()), int)
    )
    colour[hit] = own[triangle] * light[hit][:, None]
    return depth, colour, what.opacity
