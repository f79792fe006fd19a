"""The rows of a scan as a PyTomography system matrix: its algorithms and priors on our physics.

Object tensors are (nx, ny, nz) in kBq/mL, as PyTomography orders axes; projections are (n,) counts. PyTomography
(Polson et al. 2025, DOI 10.1016/j.softx.2024.102020) and torch are imported here only.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.research.operator import Exposure, Rows
from navigation.research.system import System
from tracking.errors import SurroundingsError

Array32 = NDArray[np.float32]


def system_matrix(system: System) -> Any:
    """A `pytomography.projectors.SystemMatrix` over the voxels of a system.

    It has `forward`, `backward`, `compute_normalization_factor` and subsets (readings k, k + subsets, ...). Counts
    lost in dead time shorten each reading's live time, to first order: a Poisson likelihood is linear. Raises
    SurroundingsError where PyTomography or torch is not installed.
    """
    return _matrix_class()(system)


def projections(system: System) -> Any:
    """(n,) tensor of the counts; a saturated reading tells nothing here and has neither counts nor live time."""
    return _tensor(Exposure.of(system).counts)


def shell_term(system: System, shell_kbq_per_ml: float) -> Any:
    """(n,) tensor for `additive_term`: counts of a level outside the voxels, and of the known rate of the scan."""
    exposure = Exposure.of(system)
    rate = system.shell_cps().astype(np.float64) * shell_kbq_per_ml
    return _tensor((system.detection.total_cps(rate) * exposure.seconds).astype(np.float32))


def image_of(tensor: Any) -> Array32:
    """(nz, ny, nx) array of an object tensor (nx, ny, nz)."""
    return np.ascontiguousarray(_array(tensor).transpose(2, 1, 0))


def tensor_of(image: NDArray[Any]) -> Any:
    """Object tensor (nx, ny, nz) of an array (nz, ny, nx), on PyTomography's device."""
    return _tensor(np.asarray(image, dtype=np.float32).transpose(2, 1, 0))


def _needed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as fault:
        raise SurroundingsError(
            f"{fault.name or name} is not installed: pip install torch pytomography"
        ) from fault


def _tensor(values: NDArray[Any]) -> Any:
    torch, tomography = _needed("torch"), _needed("pytomography")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(tomography.device)


def _array(tensor: Any) -> Array32:
    result: Array32 = tensor.detach().to("cpu").numpy().astype(np.float32, copy=False)
    return result


@cache
def _matrix_class() -> Any:
    """The class, made once PyTomography is there to inherit from."""
    torch, tomography = _needed("torch"), _needed("pytomography")
    base: Any = _needed("pytomography.projectors").SystemMatrix
    metadata = _needed("pytomography.metadata")

    class RowsSystemMatrix(base):  # type: ignore[misc]  # what it inherits from is known at run time only
        """Rows in half precision behind PyTomography's interface."""

        def __init__(self, system: System) -> None:
            self.system, self._rows = system, Rows(system)
            nx, ny, nz = system.grid.size
            object_meta = metadata.ObjectMeta(tuple(float(s) for s in system.grid.spacing_mm), (nx, ny, nz))
            proj_meta = metadata.ProjMeta(list(range(len(system))))
            proj_meta.shape = (len(system),)
            super().__init__(object_meta=object_meta, proj_meta=proj_meta)
            self.set_n_subsets(1)

        def forward(self, object: Any, subset_idx: int | None = None) -> Any:
            """(n of the subset,) expected counts of an object."""
            return _tensor(self._rows.forward(image_of(object), subset_idx))

        def backward(self, proj: Any, subset_idx: int | None = None) -> Any:
            """(nx, ny, nz): the adjoint of `forward`."""
            return tensor_of(self._rows.backward(_array(proj), subset_idx))

        def compute_normalization_factor(self, subset_idx: int | None = None) -> Any:
            """(nx, ny, nz): the back-projection of ones."""
            return tensor_of(self._rows.normalization(subset_idx))

        def set_n_subsets(self, n_subsets: int) -> None:
            """Share the readings out: k, k + n_subsets, ... are subset k."""
            self._rows.split(n_subsets)
            indices = torch.arange(len(self.system), device=tomography.device)
            self.subset_indices_array = [indices[k::n_subsets] for k in range(n_subsets)]

        def get_subset_splits(self, n_subsets: int) -> list[Any]:
            """Index arrays of the subsets."""
            return [np.arange(len(self.system))[k::n_subsets] for k in range(n_subsets)]

        def get_projection_subset(self, projections: Any, subset_idx: int) -> Any:
            """The readings of one subset, of projections (..., n)."""
            return projections[..., self.subset_indices_array[subset_idx]]

        def get_weighting_subset(self, subset_idx: int | None) -> float:
            """Share of the readings that a subset holds."""
            if subset_idx is None:
                return 1.0
            return len(self.subset_indices_array[subset_idx]) / len(self.system)

        def _get_object_initial(self, device: Any = None) -> Any:
            """Ones where activity may be."""
            ones = tensor_of(self._rows.mask())
            return ones if device is None else ones.to(device)

        def _get_prior_FOV_scale(self) -> Any:
            """A prior acts where activity may be."""
            return tensor_of(self._rows.mask())

    return RowsSystemMatrix
