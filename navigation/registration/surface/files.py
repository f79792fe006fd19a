"""Surfaces and touched points from files: meshes, clouds, imported studies, point lists and probe traces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navigation.anatomy.skin import Mesh, skin_surface
from navigation.io.points import read_points
from navigation.io.study import load_study
from navigation.registration.surface.shape import FixedSurface
from navigation.surface import Surface
from tracking.errors import InputError, PoseError
from tracking.jsonfile import read_json
from tracking.recording.export import open_scan
from tracking.scanfolder import Scan, read_surface_csv, tip_poses
from tracking.transform import RigidTransform

Array = NDArray[np.float64]

MESHES, POINTS = (".ply", ".stl"), (".csv", ".json", ".fcsv")
SURFACE_HEADER = "x_mm"
# What `write_ply` of a study's skin says of its frame.
LPS_REMARK = b"comment LPS mm"
LARGEST_PLY_HEADER = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Touched:
    """Points (n, 3) in mm of MOVING, with outward normals (n, 3) where poses tell them."""

    points_mm: Array
    normals: Array | None = None
    simulated: bool = False


def read_fixed(path: Path) -> FixedSurface:
    """The surface in a mesh, a cloud, or the CT of an imported study. Raises InputError that names the file."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    try:
        if path.is_dir() or path.name == "study.json":
            return _skin(path)
        if path.suffix.lower() in MESHES:
            return _read_mesh(path)
        if path.suffix.lower() == ".csv":
            return FixedSurface.from_points(_point_file(path))
    except InputError as fault:
        raise InputError(str(fault) if str(path) in str(fault) else f"{path}: {fault}") from None
    raise InputError(f"{path}: a surface is .ply, .stl, .csv or an imported study")


def _skin(path: Path) -> FixedSurface:
    study = load_study(path)
    found = [s for s in study.series if s.modality == "CT" and s.usable]
    if not found:
        raise InputError(f"{path}: no usable CT in this study to take the skin from")
    surface = FixedSurface.from_mesh(skin_surface(found[0].volume(), found[0].grid), lps=True)
    return replace(surface, simulated=study.simulated or found[0].simulated)


def _read_mesh(path: Path) -> FixedSurface:
    import open3d

    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    with path.open("rb") as file:
        lps = LPS_REMARK in file.read(LARGEST_PLY_HEADER)
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        mesh = open3d.io.read_triangle_mesh(str(path))
        if len(mesh.triangles) == 0 and path.suffix.lower() == ".ply":
            cloud = open3d.io.read_point_cloud(str(path))
            points = np.asarray(cloud.points, dtype=np.float64)
            if len(points) == 0:
                raise InputError(f"{path}: neither triangles nor points in it")
            normals = np.asarray(cloud.normals, dtype=np.float64) if cloud.has_normals() else None
            return FixedSurface.from_points(points, normals, lps)
    return FixedSurface.from_mesh(
        Mesh(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.triangles, dtype=np.int64)), lps
    )


def read_moving(path: Path) -> Touched:
    """Touched points of a surface.csv, a point file, a cloud, or the trace of a scan: a folder or a record.

    A scan's surface.csv is taken with the side its probe was on; without one the lowest passes of the probe's face
    stand in for the skin. Raises InputError that names the file and the row.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (".ply", *POINTS):
        return _trace(open_scan(path), path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return Touched(_cloud(path) if suffix == ".ply" else _point_file(path))


def _point_file(path: Path) -> Array:
    """Points of a surface.csv or any list of points."""
    if path.suffix.lower() == ".csv":
        with path.open("rb") as file:
            head = file.readline(1024).decode("utf-8-sig", errors="replace")
        if SURFACE_HEADER in head:
            return read_surface_csv(path)
    return read_points(path).points_mm


def _cloud(path: Path) -> Array:
    import open3d

    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        points = np.asarray(open3d.io.read_point_cloud(str(path)).points, dtype=np.float64)
    if len(points) == 0:
        raise InputError(f"{path}: no points in it")
    if not np.isfinite(points).all():
        raise InputError(f"{path}: a coordinate is not finite")
    return points


def _trace(scan: Scan, path: Path) -> Touched:
    track = tip_poses(scan)
    matrices, seen = track.sample(track.frame_times())
    poses = matrices[seen]
    if len(poses) == 0:
        raise InputError(f"{path}: the probe is never visible")
    surface = (
        Surface.from_path(poses) if scan.surface_mm is None else Surface.from_points(scan.surface_mm, poses)
    )
    return Touched(surface.points_mm, surface.normals, scan.simulated)


def read_initial(path: Path) -> Array:
    """The transform (4, 4) of a reg.json as a start, whether it was accepted or not. Raises InputError."""
    try:
        matrix = np.array(read_json(path).get("T_target_source"), dtype=np.float64)
        return RigidTransform("FIXED", "MOVING", matrix).matrix
    except (TypeError, ValueError, PoseError) as fault:
        raise InputError(f"{path}, T_target_source: {fault}") from None


def read_pairs(fixed: Path, moving: Path) -> tuple[Array, Array]:
    """Landmarks (k, 3) of both frames, by label where both files have them. Raises InputError."""
    from navigation.registration.pairs import match_points

    try:
        pairs = match_points(read_points(fixed), read_points(moving))
    except InputError as fault:
        words = str(fault)
        raise InputError(
            words if str(fixed) in words or str(moving) in words else f"{fixed}, {moving}: {fault}"
        ) from None
    return pairs.fixed_mm, pairs.moving_mm
