"""Rows and volumes as files: `.npz` that numpy alone reads, `.nrrd` for any viewer."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from calibration.counter.deadtime import DeadTime
from navigation.io.nrrd import write_nrrd
from navigation.research.system import ROWS_AT_ONCE, Detection, System, row_store
from navigation.volume import VoxelGrid
from tracking.errors import InputError

FORMAT = "gammanav rows 1"


def save_system(system: System, path: str | Path) -> None:
    """Rows, grid and counts as an uncompressed .npz; which arrays it holds: docs/python.md. Raises OSError."""
    d, grid, store = system.detection, system.grid, system.store
    additive = np.zeros(len(store)) if d.additive_cps is None else d.additive_cps
    np.savez(
        Path(path),
        format=np.array(FORMAT),
        halves=store.packed[:, : store.width].view(np.float16),
        scales=store.scales,
        columns=system.columns,
        shell=np.array(system.shell),
        origin_mm=grid.origin_mm,
        spacing_mm=grid.spacing_mm,
        size=np.array(grid.size),
        direction=grid.direction,
        counts=d.counts,
        additive_cps=additive,
        live_s=d.live_s,
        t_s=d.t_s,
        dead_time_s=np.array(d.dead_time.tau_s),
        dead_time_model=np.array(d.dead_time.model),
        nuclide=np.array(d.nuclide),
        simulated=np.array(d.simulated),
    )


def load_system(path: str | Path) -> System:
    """What `save_system` wrote. Raises InputError for another file, or none."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: no .npz of a scan's rows")
    try:
        with np.load(Path(path), allow_pickle=False) as found:
            if str(found["format"]) != FORMAT:
                raise InputError(f"{path}: format {found['format']}, not {FORMAT!r}")
            return _system(found)
    except InputError:
        raise
    except (KeyError, ValueError, zipfile.BadZipFile) as fault:
        raise InputError(f"{path}: no rows of a scan: {fault}") from fault


def save_volume(path: str | Path, image: ArrayLike, grid: VoxelGrid, unit: str = "kBq/mL") -> None:
    """An image (nz, ny, nx) as NRRD in the Reference frame (LPS axes by convention). Raises InputError, OSError."""
    values = np.asarray(image)
    if values.shape != grid.shape:
        raise InputError(f"the image has shape {values.shape}, the grid (nz, ny, nx) {grid.shape}")
    write_nrrd(Path(path), values, grid, {"unit": unit, "research_use_only": "true"})


def _system(found: np.lib.npyio.NpzFile) -> System:
    nx, ny, nz = (int(n) for n in found["size"])
    grid = VoxelGrid(found["origin_mm"], found["spacing_mm"], (nx, ny, nz), found["direction"])
    halves, scales = found["halves"], found["scales"]
    columns, shell = found["columns"].astype(np.intp), bool(found["shell"])
    if halves.shape != (len(scales), len(columns) + int(shell)):
        raise InputError(f"rows of shape {halves.shape} do not fit {len(columns)} columns")
    store = row_store(halves.shape[1], len(halves))
    for low in range(0, len(halves), ROWS_AT_ONCE):
        part = slice(low, low + ROWS_AT_ONCE)
        store.append(halves[part].astype(np.float32) * scales[part, None])
    detection = Detection(
        found["counts"],
        found["live_s"],
        found["t_s"],
        DeadTime(float(found["dead_time_s"]), str(found["dead_time_model"])),
        found["additive_cps"] if found["additive_cps"].any() else None,
        str(found["nuclide"]),
        bool(found["simulated"]),
    )
    return System(grid, columns, store, detection, shell)
