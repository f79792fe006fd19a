"""The surface that points are registered to: samples with normals for the search, triangles for the last step.

Samples some 3 mm apart with blended normals miss a skin of 100 mm radius by 0.01 mm, and a k-d tree finds them faster
than any triangle; what lies beyond an open edge is known as such. Lengths mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.skin import Mesh
from tracking.errors import InputError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Between samples; a body has some 0.3 m2 of skin in a CT, that is 30,000 of them.
SPACING_MM = 3.0
FEWEST_SAMPLES, MOST_SAMPLES = 2_000, 60_000
# Normals of the information are blended over this: roughness of a CT's skin is no hold for touched points.
BLEND_MM, BLEND_SAMPLES = 12.0, 40
# Neighbours of the plane through a point of a cloud.
PLANE_NEIGHBOURS = 12
# A body's surface is some 100 to 2000 mm across: a number below is in metres, one above in micrometres.
LEAST_EXTENT_MM, LARGEST_EXTENT_MM = 10.0, 10_000.0
# A closed surface whose inside is this share of its box's volume or more tells out from in by its sign.
TELLING_VOLUME = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Contact:
    """Of points (n, 3): distance (n,) along the normal, positive outside, the normal (n, 3), whether beyond the edge,
    and how far the nearest place of the surface is.
    """

    signed_mm: Array
    normals: Array
    beyond: Mask
    away_mm: Array


@dataclass(frozen=True, slots=True, eq=False)
class FixedSurface:
    """Samples (n, 3) with outward unit normals, their blend over BLEND_MM, and the samples along an open edge.

    `oriented` is False where nothing tells which side is outside; `lps` is True in a patient's frame.
    """

    points_mm: Array
    normals: Array
    blended: Array
    rim: Mask
    spacing_mm: float
    tree: cKDTree[None]
    mesh: Mesh | None
    oriented: bool
    lps: bool = False
    fault: str | None = None  # why its normals cannot be trusted
    simulated: bool = False
    _scene: list[Any] | None = None

    @staticmethod
    def from_mesh(mesh: Mesh, lps: bool = False) -> FixedSurface:
        """Of triangles wound counter-clockwise seen from outside. Raises InputError for what is no surface in mm."""
        whole = _welded(mesh)
        if len(whole.triangles) == 0:
            raise InputError("no triangles in it")
        check_extent(whole.points_mm)
        rng = np.random.default_rng(0)
        count = int(np.clip(whole.area_mm2 / SPACING_MM**2, FEWEST_SAMPLES, MOST_SAMPLES))
        points, normals = _sampled(whole, count, rng)
        spacing = float(np.sqrt(whole.area_mm2 / count))
        edge = _open_edge(whole)
        rim = _near(points, edge, 1.5 * spacing)
        fault = _inside_out(whole) if len(edge) == 0 else None
        return _surface(points, normals, rim, spacing, whole, True, lps, fault)

    @staticmethod
    def from_points(points_mm: Array, normals: Array | None = None, lps: bool = False) -> FixedSurface:
        """Of a cloud (n, 3); without normals they come from planes of neighbours, their side is a guess."""
        from scipy.spatial import cKDTree

        points = _thinned(np.asarray(points_mm, dtype=np.float64), normals)
        places = points[:, :3]
        if len(places) < PLANE_NEIGHBOURS:
            raise InputError(f"{len(places)} points; a surface needs at least {PLANE_NEIGHBOURS}")
        check_extent(places)
        found = cKDTree(places).query(places, k=PLANE_NEIGHBOURS)
        near, index = np.asarray(found[0]), np.asarray(found[1])
        offset = places[index] - places[:, None]
        spacing = float(np.median(near[:, 1:5].mean(axis=1)))
        # At an edge the neighbours lie on one side: a half disc's centre is 0.42 of its radius away.
        rim = np.linalg.norm(offset.mean(axis=1), axis=1) > 0.3 * near[:, -1]
        own = points[:, 3:] if normals is not None else _plane_normals(places, offset)
        return _surface(places, own, rim, spacing, None, normals is not None, lps, None)

    def thinned(self, step: int) -> FixedSurface:
        """Every `step`-th sample of it, without triangles: for a search that only has to come near."""
        from scipy.spatial import cKDTree

        points = self.points_mm[::step]
        return replace(
            self,
            points_mm=points,
            normals=self.normals[::step],
            blended=self.blended[::step],
            rim=self.rim[::step],
            spacing_mm=self.spacing_mm * float(np.sqrt(step)),
            tree=cKDTree(points),
            mesh=None,
            _scene=None,
        )

    def nearest(self, points_mm: Array) -> Contact:
        """Contact of points (n, 3) with the plane of the nearest sample."""
        away, index = self.tree.query(points_mm)
        offset = points_mm - self.points_mm[index]
        normals = self.normals[index]
        signed = np.einsum("nd,nd->n", offset, normals)
        aside = np.sqrt(np.maximum(away**2 - signed**2, 0.0))
        # What a sample is aside by chance is no distance from the surface; more of it is one, as over a rim.
        far = np.sqrt(np.maximum(away**2 - self.spacing_mm**2, signed**2))
        return Contact(signed, normals, self.rim[index] & (aside > self.spacing_mm), far)

    def exact(self, points_mm: Array) -> Contact:
        """Contact of points (n, 3) with the triangles, where there are any."""
        rough = self.nearest(points_mm)
        if self.mesh is None or self._scene is None:
            return rough
        import open3d

        if not self._scene:
            self._scene.append(_ray_scene(self.mesh))
        answer = self._scene[0].compute_closest_points(open3d.core.Tensor(points_mm.astype(np.float32)))
        offset = points_mm - answer["points"].numpy().astype(np.float64)
        signed = np.einsum("nd,nd->n", offset, rough.normals)
        return Contact(signed, rough.normals, rough.beyond, np.linalg.norm(offset, axis=1))

    def blended_normals(self, points_mm: Array) -> Array:
        """(n, 3): the blended normals of the samples nearest to points (n, 3)."""
        return np.asarray(self.blended[self.tree.query(points_mm)[1]])


def check_extent(points_mm: Array) -> None:
    """InputError for points (n, 3) that are not finite or cannot be millimetres."""
    if not np.isfinite(points_mm).all():
        raise InputError("a coordinate is not finite")
    extent = float(np.ptp(points_mm, axis=0).max())
    if extent < LEAST_EXTENT_MM:
        raise InputError(f"only {extent:.3g} across: millimetres are expected, not metres")
    if extent > LARGEST_EXTENT_MM:
        raise InputError(f"{extent:.3g} across: millimetres are expected")


def _surface(
    points: Array,
    normals: Array,
    rim: Mask,
    spacing: float,
    mesh: Mesh | None,
    oriented: bool,
    lps: bool,
    fault: str | None,
) -> FixedSurface:
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    near, index = tree.query(points, k=min(BLEND_SAMPLES, len(points)), distance_upper_bound=BLEND_MM)
    weight = np.where(np.isfinite(near), 1.0, 0.0)
    neighbours = normals[np.minimum(index, len(points) - 1)]
    # A thin part's other side does not count.
    weight *= np.einsum("nkd,nd->nk", neighbours, normals) > 0.0
    blended = np.einsum("nk,nkd->nd", weight, neighbours)
    blended /= np.maximum(np.linalg.norm(blended, axis=1, keepdims=True), 1e-12)
    scene: list[Any] | None = None if mesh is None else []
    return FixedSurface(
        points, normals, blended, rim, spacing, tree, mesh, oriented, lps, fault, _scene=scene
    )


def _welded(mesh: Mesh) -> Mesh:
    """The mesh with each place only once (an STL repeats them) and without triangles that are none."""
    if len(mesh.points_mm) == 0 or len(mesh.triangles) == 0:
        return Mesh(mesh.points_mm, np.zeros((0, 3), dtype=np.int64))
    if not np.isfinite(mesh.points_mm).all():
        raise InputError("a coordinate is not finite")
    places, index = np.unique(np.asarray(mesh.points_mm, dtype=np.float64), axis=0, return_inverse=True)
    triangles = index.reshape(-1)[mesh.triangles].astype(np.int64)
    whole = Mesh(places, triangles)
    return Mesh(places, triangles[np.linalg.norm(whole.triangle_normals, axis=1) > 0.0])


def _sampled(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """`count` places (n, 3) spread evenly over the area, with the normals blended between the corners."""
    area = np.cumsum(np.linalg.norm(mesh.triangle_normals, axis=1))
    chosen = np.searchsorted(area, (np.arange(count) + rng.random(count)) / count * area[-1])
    corners = mesh.triangles[np.minimum(chosen, len(mesh.triangles) - 1)]
    u, v = rng.random((2, count))
    over = u + v > 1.0
    u, v = np.where(over, 1.0 - u, u), np.where(over, 1.0 - v, v)
    share = np.stack([1.0 - u - v, u, v], axis=1)
    normals = np.einsum("nk,nkd->nd", share, mesh.normals[corners])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return np.einsum("nk,nkd->nd", share, mesh.points_mm[corners]), normals


def _open_edge(mesh: Mesh) -> Array:
    """Places (n, 3) along edges that only one triangle has, at most SPACING_MM apart."""
    edges = np.sort(
        np.concatenate([mesh.triangles[:, list(ends)] for ends in ((0, 1), (1, 2), (2, 0))]), axis=1
    )
    unique, count = np.unique(edges, axis=0, return_counts=True)
    a, b = (mesh.points_mm[unique[count == 1, n]] for n in range(2))
    if len(a) == 0:
        return np.zeros((0, 3))
    parts = int(np.ceil(np.linalg.norm(b - a, axis=1).max() / SPACING_MM)) + 1
    along = np.linspace(0.0, 1.0, min(parts, 50))
    return np.asarray((a[:, None] + along[:, None] * (b - a)[:, None]).reshape(-1, 3))


def _near(points: Array, places: Array, reach_mm: float) -> Mask:
    from scipy.spatial import cKDTree

    if len(places) == 0:
        return np.zeros(len(points), dtype=np.bool_)
    return np.isfinite(cKDTree(places).query(points, distance_upper_bound=reach_mm)[0])


def _inside_out(mesh: Mesh) -> str | None:
    """Why a closed surface's normals are wrong: its volume, by the divergence theorem, has the wrong sign."""
    middle = mesh.points_mm[mesh.triangles].mean(axis=1) - mesh.points_mm.mean(axis=0)
    volume = float(np.einsum("nd,nd->", middle, mesh.triangle_normals)) / 6.0
    if volume < -TELLING_VOLUME * float(np.prod(np.ptp(mesh.points_mm, axis=0))):
        return "the surface is inside out: its triangles are wound clockwise seen from outside"
    return None


def _ray_scene(mesh: Mesh) -> Any:
    import open3d

    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        open3d.core.Tensor(mesh.points_mm.astype(np.float32)),
        open3d.core.Tensor(mesh.triangles.astype(np.uint32)),
    )
    return scene


def _thinned(points: Array, normals: Array | None) -> Array:
    """Points (n, 3), with their normals (n, 6), at most one in a cell of SPACING_MM."""
    if not np.isfinite(points).all():
        raise InputError("a coordinate is not finite")
    cells = np.floor(points / SPACING_MM).astype(np.int64)
    first = (
        np.sort(np.unique(cells, axis=0, return_index=True)[1])
        if len(points) > MOST_SAMPLES // 10
        else slice(None)
    )
    return np.asarray(points if normals is None else np.concatenate([points, normals], axis=1))[first]


def _plane_normals(points: Array, offset: Array) -> Array:
    """(n, 3) unit normals of the neighbours' planes, away from the cloud's middle."""
    centred = offset - offset.mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", centred, centred))[1][:, :, 0]
    away = np.einsum("nd,nd->n", normals, points - points.mean(axis=0))
    return np.asarray(normals * np.where(away < 0.0, -1.0, 1.0)[:, None])
