"""The skin as a triangle mesh out of the CT, in LPS millimetres, with normals that point out of the body.

An isosurface of the smoothed CT numbers (Lorensen and Cline 1987, DOI 10.1145/37402.37422) at half-way between air
and water, open where the field of view cuts the patient: such a plane is no skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.body import AIR_HU, BORDER_HU, WATER_HU, Body, body_of
from navigation.volume import VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]
Triangles = NDArray[np.int64]

# Noise of the CT would roughen the normals; a skin of 100 mm radius moves by 0.02 mm under it.
SMOOTH_MM = 1.5
# What a registration needs, and what a viewer takes over the network at once: 2 MB.
MOST_TRIANGLES = 50_000
# With so many times the triangles the grid is thinned before: decimation alone takes seconds. Linear between voxels
# of this size a skin of 100 mm radius is right to 0.03 mm.
MANY_TIMES, COARSEST_MM = 2, 5.0
# A piece of surface smaller than this share of the largest is a speck.
LEAST_PIECE = 0.02
# Voxels next to the field's end or to what was not measured whose surface is not trusted.
RIM_VOXELS = 1
_BLOCK = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles (m, 3) of points (n, 3) in mm; counter-clockwise seen from outside."""

    points_mm: Array
    triangles: Triangles

    @property
    def triangle_normals(self) -> Array:
        """(m, 3) outward, as long as twice the triangle's area in mm2."""
        a, b, c = (self.points_mm[self.triangles[:, n]] for n in range(3))
        return np.asarray(np.cross(b - a, c - a))

    @property
    def normals(self) -> Array:
        """(n, 3) outward unit normals of the points, weighted by area; zero for a point of no triangle."""
        total = np.zeros_like(self.points_mm)
        across = self.triangle_normals
        for n in range(3):
            np.add.at(total, self.triangles[:, n], across)
        return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))

    @property
    def area_mm2(self) -> float:
        """Area of all triangles."""
        return float(0.5 * np.linalg.norm(self.triangle_normals, axis=1).sum())


def skin_surface(
    volume_hu: NDArray[np.floating], grid: VoxelGrid, most_triangles: int = MOST_TRIANGLES
) -> Mesh:
    """The skin in a CT (nz, ny, nx) in HU, in the frame of `grid` (LPS mm); the same input gives the same mesh.

    Raises InputError when there is no body in the CT, or no skin because the field lies within the body.
    """
    return skin_of(body_of(volume_hu, grid), most_triangles)


def skin_of(body: Body, most_triangles: int = MOST_TRIANGLES) -> Mesh:
    """The skin of a body that was found in a CT. Raises InputError when none of it lies in the field."""
    surface = _fine_enough(_field(body), body.grid, BORDER_HU, most_triangles)
    mesh = _largest_pieces(_cut_open(surface, body))
    if len(mesh.triangles) == 0:
        raise InputError("no skin in this CT: its field of view lies within the body")
    return _decimated(mesh, most_triangles)


def surface_of(
    field: NDArray[np.float32], grid: VoxelGrid, level: float, most_triangles: int = MOST_TRIANGLES
) -> Mesh:
    """The surface at which any smooth field (nz, ny, nx) falls through a level, normals to the lower side."""
    return _decimated(_fine_enough(field, grid, level, most_triangles), most_triangles)


def _fine_enough(field: NDArray[np.float32], grid: VoxelGrid, level: float, most: int) -> Mesh:
    """The isosurface, on a thinned grid where the full one gives many times the triangles that are wanted."""
    surface = _isosurface(field, grid, level)
    if len(surface.triangles) > MANY_TIMES * most:
        surface = _isosurface(*_thinned(field, grid), level)
    return surface


def _field(body: Body) -> NDArray[np.float32]:
    """CT numbers of the body alone: filled where its air is, air where something else lies, smoothed."""
    from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

    # The border between mask and air is the CT's own: only beyond a voxel from it the mask decides.
    near = binary_dilation(body.mask, _BLOCK)
    within = binary_erosion(body.mask, _BLOCK, border_value=1)
    hu = np.where(near, body.hu, AIR_HU)
    hu = np.where(within | (body.mask & (body.hu < BORDER_HU)), WATER_HU, hu)
    sigma = SMOOTH_MM / body.grid.spacing_mm[::-1]
    return np.asarray(gaussian_filter(hu, sigma, mode="nearest"), dtype=np.float32)


def _thinned(field: NDArray[np.float32], grid: VoxelGrid) -> tuple[NDArray[np.float32], VoxelGrid]:
    """Every second plane along the axes that stay fine enough for a smooth skin, and the grid of these."""
    step = np.where(2.0 * grid.spacing_mm <= COARSEST_MM, 2, 1)
    thin = field[:: step[2], :: step[1], :: step[0]]
    size = (int(thin.shape[2]), int(thin.shape[1]), int(thin.shape[0]))
    return thin, VoxelGrid(grid.origin_mm, grid.spacing_mm * step, size, grid.direction)


def _isosurface(field: NDArray[np.float32], grid: VoxelGrid, level: float) -> Mesh:
    """The surface of a level in the frame of the grid, wound so that the normals point to the lower side."""
    import open3d

    iso = open3d.t.geometry.TriangleMesh.create_isosurfaces(
        open3d.core.Tensor(np.ascontiguousarray(field)), [level]
    )
    index = iso.vertex.positions.numpy().astype(np.float64).reshape(-1, 3)
    triangles = iso.triangle.indices.numpy().astype(np.int64).reshape(-1, 3)
    mesh = Mesh(index @ grid.matrix[:3, :3].T + grid.origin_mm, triangles)
    if _outward(mesh, index, field, grid) < 0.0:
        mesh = Mesh(mesh.points_mm, triangles[:, ::-1].copy())
    return mesh


def _outward(mesh: Mesh, index: Array, field: NDArray[np.float32], grid: VoxelGrid) -> float:
    """Positive when the triangles' normals point down the CT numbers."""
    from scipy.ndimage import map_coordinates

    if len(mesh.triangles) == 0:
        return 1.0
    normals = mesh.triangle_normals
    length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    step = (normals / length) @ grid.direction / grid.spacing_mm
    middle = index[mesh.triangles].mean(axis=1)
    out, into = (map_coordinates(field, (middle + s * step)[:, ::-1].T, order=1) for s in (1.0, -1.0))
    return float((into - out) @ length[:, 0])


def _cut_open(mesh: Mesh, body: Body) -> Mesh:
    """The mesh without triangles next to what was not measured: there the field ends, not the patient."""
    from scipy.ndimage import binary_dilation

    unknown = binary_dilation(~body.measured, _BLOCK, iterations=RIM_VOXELS)
    index = np.rint(body.grid.index_of(mesh.points_mm)).astype(np.int64)
    i, j, k = np.clip(index, 0, np.array(body.grid.size) - 1).T
    return _kept(mesh, ~unknown[k, j, i][mesh.triangles].any(axis=1))


def _largest_pieces(mesh: Mesh) -> Mesh:
    """The mesh without its specks."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    if len(mesh.triangles) == 0:
        return mesh
    ends = np.concatenate([mesh.triangles[:, [0, 1]], mesh.triangles[:, [1, 2]]])
    n = len(mesh.points_mm)
    links = csr_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(n, n))
    piece = connected_components(links, directed=False)[1][mesh.triangles[:, 0]]
    area = np.bincount(piece, np.linalg.norm(mesh.triangle_normals, axis=1))
    return _kept(mesh, (area >= LEAST_PIECE * area.max())[piece])


def _kept(mesh: Mesh, chosen: NDArray[np.bool_]) -> Mesh:
    """The chosen triangles (m,) and the points they use."""
    triangles = mesh.triangles[chosen]
    used, renumbered = np.unique(triangles, return_inverse=True)
    return Mesh(mesh.points_mm[used], renumbered.reshape(-1, 3).astype(np.int64))


def _decimated(mesh: Mesh, most: int) -> Mesh:
    """At most `most` triangles, by quadric error metrics (Garland and Heckbert 1997, DOI 10.1145/258734.258849)."""
    import open3d

    if len(mesh.triangles) <= most:
        return mesh
    legacy = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(mesh.points_mm),
        open3d.utility.Vector3iVector(mesh.triangles.astype(np.int32)),
    )
    small = legacy.simplify_quadric_decimation(target_number_of_triangles=most)
    return _kept(
        Mesh(np.asarray(small.vertices, dtype=np.float64), np.asarray(small.triangles, dtype=np.int64)),
        np.ones(len(small.triangles), dtype=np.bool_),
    )


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a binary PLY with normals, whole or not at all. Raises OSError."""
    vertices = np.concatenate([mesh.points_mm, mesh.normals], axis=1).astype("<f4")
    faces = np.empty(len(mesh.triangles), dtype=[("n", "u1"), ("index", "<i4", 3)])
    faces["n"], faces["index"] = 3, mesh.triangles
    names = ("x", "y", "z", "nx", "ny", "nz")
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment LPS mm",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in names),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes("\n".join(header).encode() + vertices.tobytes() + faces.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
