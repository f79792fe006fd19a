"""Where tracer gathers by nature: outlined regions of a study whose spots are possible physiological uptake.

Kidneys, spleen and accessory spleens, adrenals and the uncinate process mislead most often; any name is allowed. A
region is a sphere, or voxels out of a contour or a hot region of the SPECT or PET. LPS millimetres of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.volume import VoxelGrid
from tracking.errors import InputError
from tracking.jsonfile import read_json, write_json

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FILE_NAME = "regions.json"
FORMAT = 1
USUAL = (
    "kidney L",
    "kidney R",
    "spleen",
    "accessory spleen",
    "adrenal L",
    "adrenal R",
    "uncinate process",
)
LABEL = "possible physiological uptake"
# A spot this far outside a region may still be of it: registration and breathing move organs by so much.
MARGIN_MM = 5.0
MOST_NAME = 64
# A file that claims more voxels than any study has is wrong.
MOST_VOXELS = 10**8


@dataclass(frozen=True, slots=True, eq=False)
class Sphere:
    """A round region."""

    name: str
    centre_mm: Array  # (3,)
    radius_mm: float

    def __post_init__(self) -> None:
        _check_name(self.name)
        centre = np.array(self.centre_mm, dtype=np.float64)
        if centre.shape != (3,) or not np.isfinite(centre).all():
            raise InputError(f"region {self.name}: its centre is no position")
        if not (np.isfinite(self.radius_mm) and self.radius_mm > 0.0):
            raise InputError(f"region {self.name}: its radius is not above 0")
        centre.setflags(write=False)
        object.__setattr__(self, "centre_mm", centre)

    def depth_of(self, position_mm: ArrayLike) -> float:
        """How far inside a position (3,) lies, in mm; negative outside."""
        away = np.linalg.norm(np.asarray(position_mm, dtype=np.float64) - self.centre_mm)
        return float(self.radius_mm - away)

    @property
    def volume_ml(self) -> float:
        """Volume in mL."""
        return float(4.0 / 3.0 * np.pi * self.radius_mm**3 / 1000.0)

    def as_json(self) -> dict[str, Any]:
        """As in regions.json."""
        shape = {"centre_mm": self.centre_mm.tolist(), "radius_mm": self.radius_mm}
        return {"name": self.name, "shape": "sphere", **shape, "volume_ml": self.volume_ml}


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """A region of any shape: a mask (nz, ny, nx) on a grid that just holds it."""

    name: str
    grid: VoxelGrid
    mask: Mask

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.mask.shape != self.grid.shape or not self.mask.any():
            raise InputError(f"region {self.name}: it is empty")

    @staticmethod
    def of(name: str, mask: NDArray[Any], grid: VoxelGrid) -> Voxels:
        """Of a mask on any grid, cut to the part that holds it. Raises InputError for an empty one."""
        inside = np.asarray(mask) > 0
        if not inside.any():
            raise InputError(f"region {name}: it is empty")
        index = np.argwhere(inside)
        low, high = index.min(axis=0), index.max(axis=0) + 1
        part = inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        origin = grid.origin_mm + grid.matrix[:3, :3] @ low[::-1]
        size = (int(part.shape[2]), int(part.shape[1]), int(part.shape[0]))
        return Voxels(name, VoxelGrid(origin, grid.spacing_mm, size, grid.direction), part)

    @property
    def points_mm(self) -> Array:
        """(k, 3): centres of its voxels."""
        return np.asarray(self.grid.points()[self.mask.ravel()])

    @property
    def centre_mm(self) -> Array:
        """(3,): centroid."""
        return np.asarray(self.points_mm.mean(axis=0))

    @property
    def volume_ml(self) -> float:
        """Volume in mL."""
        return float(np.count_nonzero(self.mask) * self.grid.voxel_ml)

    def depth_of(self, position_mm: ArrayLike) -> float:
        """How far inside a position (3,) lies, in mm, to about half a voxel; negative outside."""
        position = np.asarray(position_mm, dtype=np.float64)
        half = 0.5 * float(self.grid.spacing_mm.min())
        i, j, k = np.rint(self.grid.index_of(position[None])[0]).astype(int)
        padded = np.pad(self.mask, 1)
        size = np.array(self.grid.size)
        inside = bool(((np.array([i, j, k]) >= 0) & (np.array([i, j, k]) < size)).all()) and bool(
            self.mask[k, j, i]
        )
        index = np.argwhere(~padded if inside else padded)[:, ::-1] - 1
        points = index @ self.grid.matrix[:3, :3].T + self.grid.origin_mm
        away = float(np.linalg.norm(points - position, axis=1).min()) - half
        return max(away, 0.0) if inside else -max(away, 0.0)

    def as_json(self) -> dict[str, Any]:
        """As in regions.json: lengths of the runs of the flattened mask, beginning with voxels outside."""
        flat = self.mask.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
        runs = np.diff(np.concatenate([[0], edges]))
        geometry = {
            "origin_mm": self.grid.origin_mm.tolist(),
            "spacing_mm": self.grid.spacing_mm.tolist(),
            "size": list(self.grid.size),
            "direction": self.grid.direction.tolist(),
        }
        return {
            "name": self.name,
            "shape": "voxels",
            "geometry": geometry,
            "runs": runs.tolist(),
            "centre_mm": self.centre_mm.tolist(),
            "volume_ml": self.volume_ml,
        }


UptakeRegion = Sphere | Voxels


@dataclass(frozen=True, slots=True, eq=False)
class Uptake:
    """The regions of a study in a fixed order."""

    regions: tuple[UptakeRegion, ...] = ()

    def __post_init__(self) -> None:
        names = [r.name for r in self.regions]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"the region {name!r} occurs more than once")

    def region_of(self, position_mm: ArrayLike, margin_mm: float = MARGIN_MM) -> str | None:
        """Name of the region that a position (3,) lies deepest in, at most `margin_mm` outside; None without one."""
        depths = [(r.depth_of(position_mm), r.name) for r in self.regions]
        deepest = max(depths, default=(-np.inf, ""), key=lambda d: d[0])
        return deepest[1] if deepest[0] >= -margin_mm else None

    def label_of(self, position_mm: ArrayLike, margin_mm: float = MARGIN_MM) -> str | None:
        """What is to be said of a spot at a position (3,) in LPS mm; None where no region is outlined."""
        name = self.region_of(position_mm, margin_mm)
        return None if name is None else f"{LABEL} ({name})"

    def added(self, *regions: UptakeRegion) -> Uptake:
        """With more regions. Raises InputError for a name that is there."""
        return Uptake((*self.regions, *regions))

    def without(self, name: str) -> Uptake:
        """Without one. Raises InputError if there is none of that name."""
        if name not in [r.name for r in self.regions]:
            known = ", ".join(r.name for r in self.regions) or "none"
            raise InputError(f"no region {name!r}; there are: {known}")
        return Uptake(tuple(r for r in self.regions if r.name != name))

    def as_json(self) -> dict[str, Any]:
        """As in regions.json."""
        return {"format": FORMAT, "frame": "LPS", "regions": [r.as_json() for r in self.regions]}


def regions_path(study: Path) -> Path:
    """Where a study folder keeps its regions; a file is taken as it is."""
    return study / FILE_NAME if study.is_dir() else study


def load_regions(study: Path) -> Uptake:
    """The regions of a study folder, or of a regions.json; none where a folder has no such file. Raises InputError."""
    path = regions_path(study)
    return regions_of(read_json(path), path) if path.exists() or not study.is_dir() else Uptake()


def save_regions(study: Path, uptake: Uptake) -> Path:
    """Write the regions into a study folder, whole or not at all; returns the file."""
    path = regions_path(study)
    write_json(path, uptake.as_json())
    return path


def regions_of(content: dict[str, Any], path: Path) -> Uptake:
    """The regions that a regions.json holds. Raises InputError that names file and entry."""
    entries = content.get("regions")
    if content.get("format") != FORMAT or content.get("frame") != "LPS" or not isinstance(entries, list):
        raise InputError(f"{path}: no list of regions of format {FORMAT} in LPS")
    regions = []
    for number, entry in enumerate(entries, start=1):
        try:
            regions.append(_region(entry))
        except InputError as fault:
            raise InputError(f"{path}, region {number}: {fault}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise InputError(f"{path}, region {number}: {fault} is missing or wrong") from None
    try:
        return Uptake(tuple(regions))
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from None


def _region(entry: Any) -> UptakeRegion:
    name = str(entry["name"])
    if entry["shape"] == "sphere":
        return Sphere(name, np.asarray(entry["centre_mm"], dtype=np.float64), float(entry["radius_mm"]))
    if entry["shape"] != "voxels":
        raise InputError(f"shape {entry['shape']!r} is neither sphere nor voxels")
    g = entry["geometry"]
    nx, ny, nz = (int(n) for n in g["size"])
    runs = np.asarray(entry["runs"], dtype=np.int64)
    fits = 0 < nx * ny * nz <= MOST_VOXELS and runs.ndim == 1 and not (runs < 0).any()
    if not fits or min(nx, ny, nz) < 1 or int(runs.sum()) != nx * ny * nz:
        raise InputError(f"region {name}: its runs do not fill its grid")
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(nz, ny, nx)
    origin, spacing, direction = (
        np.asarray(g[key], dtype=np.float64).reshape(shape)
        for key, shape in (("origin_mm", (3,)), ("spacing_mm", (3,)), ("direction", (3, 3)))
    )
    if not np.isfinite(np.concatenate([origin, spacing, direction.ravel()])).all() or (spacing <= 0).any():
        raise InputError(f"region {name}: its geometry is none")
    return Voxels(name, VoxelGrid(origin, spacing, (nx, ny, nz), direction), mask)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
        raise InputError(f"region {name!r}: a name has 1 to {MOST_NAME} printable characters")


def sphere_of(text: str) -> Sphere:
    """The region written as "kidney L,x,y,z,r" in mm. Raises InputError."""
    cells = [c.strip() for c in text.rsplit(",", 4)]
    try:
        x, y, z, radius = (float(c) for c in cells[1:])
    except ValueError:
        raise InputError(f"region {text!r}: NAME,x,y,z,r_mm expected") from None
    return Sphere(cells[0], np.array([x, y, z]), radius)


def hot_region(name: str, volume: NDArray[np.float32], grid: VoxelGrid, number: int) -> Voxels:
    """The hot region `number` (1 is the hottest) of an image of activity as a region of uptake. Raises InputError."""
    masks = hot_masks(volume, grid)
    if not 1 <= number <= len(masks):
        raise InputError(f"region {name}: the image has {len(masks)} hot regions, there is none of {number}")
    return Voxels.of(name, masks[number - 1], grid)


def hot_masks(volume: NDArray[np.float32], grid: VoxelGrid) -> Sequence[Mask]:
    """Masks (nz, ny, nx) of the extended hot regions of an image, the hottest first."""
    from navigation.organs import hot_regions

    return [r.mask for r in hot_regions(volume, grid)]
