"""The body surface from touched points, and which part of space behind it is tissue.

Touched points carry no normals; outside is the side the probe was on. Behind the surface lies soft tissue, and
beyond its extent the surface continues: an implicit moving least squares surface (Kolluri 2008,
DOI 10.1145/1361192.1361195) handles a cavity with steep walls as well as a flat skin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import ConvexHull, QhullError, cKDTree

from tracking.errors import InputError

Array = NDArray[np.float64]

# Neighbours of the plane fit at a touched point: a patch of some 15 mm at 7 mm point spacing.
NORMAL_NEIGHBOURS = 10
# Neighbours blended into the implicit function at a place.
BLEND_NEIGHBOURS = 8
# This far behind the face, along the shaft, the probe was certainly in air.
SHAFT_BACK_MM = 20.0
# Probe poses that vote on the outside of a touched point.
VOTING_POSES = 12
# How far from a touched point the probe still tells its outside well.
VOTE_REACH_MM = 30.0
# Neighbouring planes that differ by more than some 55 degrees belong to different patches.
SMOOTH_COSINE = 0.57
# Spacing of the tissue grid, and how far it reaches beyond the field.
TISSUE_SPACING_MM, TISSUE_MARGIN_MM = 4.0, 12.0
# Far from the surface only its side matters: the distance is taken on every COARSE-th node and interpolated.
COARSE, NEAR_MM = 3, 16.0
FEWEST_POINTS = 12
LEAST_SPREAD_MM = 2.0
# Where no surface was touched, the face is taken to have been this far above the skin at its closest.
PATH_CLEARANCE_MM = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TissueMap:
    """Attenuation relative to soft tissue (0 = air, 1 = tissue) on a Reference-aligned grid, k-j-i float32."""

    values: NDArray[np.float32]
    origin_mm: Array  # (3,) centre of voxel (0, 0, 0)
    spacing_mm: float
    source: str  # "touched" | "path" | "ct"

    def at(self, points_mm: Array) -> Array:
        """Trilinear value at points (n, 3); clamped at the border: the surface continues."""
        index = (points_mm - self.origin_mm) / self.spacing_mm
        top = np.array(self.values.shape[::-1]) - 1
        index = np.clip(index, 0.0, top - 1e-6)
        low = index.astype(np.int64)
        f = index - low
        result = np.zeros(len(points_mm))
        for corner in range(8):
            step = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            weight = np.prod(np.where(step, f, 1.0 - f), axis=1)
            i, j, k = (low + step).T
            result += weight * self.values[k, j, i]
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Oriented touched points: (k, 3) positions and outward unit normals in Reference, mm."""

    points_mm: Array
    normals: Array
    source: str = "touched"

    @staticmethod
    def from_points(points_mm: Array, tip_poses: Array) -> Surface:
        """Orient touched points by the side the probe was on; tip_poses (p, 4, 4) `T_reference_probetip`."""
        points = np.asarray(points_mm, dtype=np.float64)
        if len(points) < FEWEST_POINTS:
            raise InputError(f"{len(points)} surface points; at least {FEWEST_POINTS} are needed")
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) / np.sqrt(len(points))
        if spread[1] < LEAST_SPREAD_MM or len(np.unique(points, axis=0)) < FEWEST_POINTS:
            raise InputError("the touched surface is a point or a line")
        return Surface(points, _oriented_normals(points, tip_poses))

    @staticmethod
    def from_path(tip_poses: Array) -> Surface:
        """Without touched points: the face's lowest passes stand in for the skin, marked `path`."""
        tips, axes = tip_poses[:, :3, 3], tip_poses[:, :3, 2]
        inward = axes.mean(axis=0)
        inward /= np.linalg.norm(inward)
        lowest = _lowest_passes(tips, inward)
        points = tips[lowest] + PATH_CLEARANCE_MM * inward
        return Surface(points, np.broadcast_to(-inward, points.shape).copy(), "path")

    def signed_distance(self, points_mm: Array) -> Array:
        """Approximate distance (n,) in mm, positive outside; blended tangent planes of the nearest points."""
        tree = cKDTree(self.points_mm)
        k = min(BLEND_NEIGHBOURS, len(self.points_mm))
        distance, index = (np.reshape(found, (-1, k)) for found in tree.query(points_mm, k=k))
        spacing = float(np.median(np.asarray(tree.query(self.points_mm, k=2)[0])[:, -1])) if k > 1 else 5.0
        # The blend widens with the distance from the surface so that far regions follow no single point.
        width2 = (1.5 * spacing) ** 2 + (0.5 * distance[:, :1]) ** 2
        weight = np.exp(-(distance**2 - distance[:, :1] ** 2) / width2)
        plane = np.einsum("nkd,nkd->nk", points_mm[:, None] - self.points_mm[index], self.normals[index])
        result: Array = (weight * plane).sum(axis=1) / weight.sum(axis=1)
        return result

    def tissue(self, low_mm: Array, high_mm: Array) -> TissueMap:
        """The half of the box [low, high] behind the surface, with a soft border of one voxel."""
        size = (
            np.ceil((high_mm - low_mm + 2 * TISSUE_MARGIN_MM) / TISSUE_SPACING_MM / COARSE).astype(int)
            * COARSE
            + 1
        )
        origin = low_mm - TISSUE_MARGIN_MM
        distance = self._distance_grid(origin, size)
        inside = np.clip(0.5 - distance / TISSUE_SPACING_MM, 0.0, 1.0)
        return TissueMap(inside.astype(np.float32), origin, TISSUE_SPACING_MM, self.source)

    def _distance_grid(self, origin: Array, size: NDArray[np.intp]) -> Array:
        """Signed distance (nz, ny, nx): interpolated from a coarse grid, exact near the surface."""
        from scipy.ndimage import zoom

        axes = [origin[a] + TISSUE_SPACING_MM * np.arange(size[a]) for a in range(3)]
        coarse = self.signed_distance(_nodes([a[::COARSE] for a in axes])).reshape(
            [len(a[::COARSE]) for a in axes[::-1]]
        )
        shape = tuple(int(n) for n in size[::-1])
        factors = [n / c for n, c in zip(shape, coarse.shape, strict=True)]
        fine: Array = zoom(coarse, factors, order=1, grid_mode=False)
        near = np.flatnonzero(np.abs(fine) < NEAR_MM)
        fine.reshape(-1)[near] = self.signed_distance(_nodes(axes)[near])
        return fine


def _nodes(axes: list[Array]) -> Array:
    """(n, 3) nodes of a grid with these axes, x fastest."""
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)


def read_surface(path: Path) -> Array:
    """Points (k, 3) in mm of a .csv (x_mm,y_mm,z_mm), .ply or .stl file."""
    if path.suffix.lower() == ".csv":
        from tracking.scanfolder import read_surface_csv

        return read_surface_csv(path)
    if path.suffix.lower() not in (".ply", ".stl"):
        raise InputError(f"{path}: a surface is .csv, .ply or .stl")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _mesh_points(path)


def surface_after_resection(skin_mm: Array, bed_mm: Array, inward: Array) -> Array:
    """Skin points (k, 3) that still exist plus the touched bed: skin over the cavity's mouth is gone.

    The mouth is the bed's outline seen along `inward`, the unit direction from the probe into the patient.
    """
    u = np.cross(inward, np.eye(3)[np.argmin(np.abs(inward))])
    u /= np.linalg.norm(u)
    plane = np.stack([u, np.cross(inward, u)], axis=1)
    try:
        mouth = ConvexHull(bed_mm @ plane)
    except QhullError as fault:
        raise InputError("the touched bed is a line or a point, not a surface") from fault
    inside = (skin_mm @ plane @ mouth.equations[:, :2].T + mouth.equations[:, 2]).max(axis=1) < 0.0
    return np.concatenate([skin_mm[~inside], bed_mm])


def _mesh_points(path: Path) -> Array:
    import open3d

    mesh = open3d.io.read_triangle_mesh(str(path))
    points = np.asarray(mesh.vertices, dtype=np.float64)
    if len(mesh.triangles) > 0 and len(points) > 0:
        area = mesh.get_surface_area()
        # One point per 16 mm2: as dense as a careful hand would touch.
        count = int(np.clip(area / 16.0, FEWEST_POINTS, 20000))
        open3d.utility.random.seed(0)
        points = np.asarray(mesh.sample_points_uniformly(count).points, dtype=np.float64)
    elif len(points) == 0:
        points = np.asarray(open3d.io.read_point_cloud(str(path)).points, dtype=np.float64)
    if len(points) == 0 or not np.isfinite(points).all():
        raise InputError(f"{path}: no surface in it")
    return points


def _oriented_normals(points: Array, tip_poses: Array) -> Array:
    """Outward unit normals: planes of the neighbours, consistent within smooth patches, outside by the probe's vote.

    Signs spread over the minimum spanning tree of each patch (Hoppe et al. 1992, DOI 10.1145/133994.134011); edges
    across a sharp rim do not count, so wall and skin each ask the probe.
    """
    tree = cKDTree(points)
    index = np.asarray(tree.query(points, k=min(NORMAL_NEIGHBOURS, len(points)))[1])
    patch = points[index]
    centred = patch - patch.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", centred, centred))
    normals = np.ascontiguousarray(vectors[:, :, 0])
    signs, patches = _patch_signs(normals, index)
    normals *= signs[:, None]
    votes = np.bincount(patches, _probe_votes(points, normals, tip_poses))
    normals *= np.where(votes < 0, -1.0, 1.0)[patches][:, None]
    return normals


def _patch_signs(normals: Array, index: NDArray[np.intp]) -> tuple[Array, NDArray[np.int32]]:
    """Sign (n,) that makes neighbours agree within a smooth patch, and the patch (n,) of each point."""
    n, k = index.shape
    rows, columns = np.repeat(np.arange(n), k - 1), index[:, 1:].ravel()
    agree = np.einsum("nd,nd->n", normals[rows], normals[columns])
    smooth = np.abs(agree) > SMOOTH_COSINE
    weights = csr_matrix((1.001 - np.abs(agree[smooth]), (rows[smooth], columns[smooth])), shape=(n, n))
    tree = minimum_spanning_tree(weights)
    count, patches = connected_components(tree, directed=False)
    signs = np.ones(n)
    for start in np.unique(patches, return_index=True)[1] if count else ():
        order, before = breadth_first_order(tree, start, directed=False)
        for node in order[1:]:
            parent = before[node]
            signs[node] = signs[parent] * (1.0 if normals[node] @ normals[parent] >= 0 else -1.0)
    return signs, patches


def _probe_votes(points: Array, normals: Array, tip_poses: Array) -> Array:
    """Vote (n,) of the probe poses nearest to each point: positive when the normal points to their shafts."""
    if len(tip_poses) == 0:
        raise InputError("no probe pose tells on which side of the surface the outside is")
    shafts = tip_poses[:, :3, 3] - SHAFT_BACK_MM * tip_poses[:, :3, 2]
    found = cKDTree(tip_poses[:, :3, 3]).query(points, k=min(VOTING_POSES, len(shafts)))
    distance, nearest = (np.reshape(each, (len(points), -1)) for each in found)
    towards = shafts[nearest].mean(axis=1) - points
    cosine = np.einsum("nd,nd->n", normals, towards) / np.maximum(np.linalg.norm(towards, axis=1), 1e-6)
    near = np.exp(-((distance[:, 0] / VOTE_REACH_MM) ** 2))
    result: Array = cosine * (near + 1e-6)
    return result


def _lowest_passes(tips: Array, inward: Array) -> NDArray[np.intp]:
    """Of the poses in each 10 mm column along `inward`, the deepest one."""
    u = np.cross(inward, np.eye(3)[np.argmin(np.abs(inward))])
    u /= np.linalg.norm(u)
    cell = np.floor(np.stack([tips @ u, tips @ np.cross(inward, u)], axis=1) / 10.0).astype(np.int64)
    depth = tips @ inward
    order = np.lexsort((-depth, cell[:, 1], cell[:, 0]))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(cell[order], axis=0) != 0).any(axis=1)
    lowest: NDArray[np.intp] = order[first]
    return lowest
