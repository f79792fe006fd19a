"""PyTomography's own algorithms on our rows: what they give is what our estimators give.

Skipped where PyTomography or torch is not installed: both are optional, and the operator behind the interface is
tested without them in test_research.py.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from navigation.research import OpenScan, System, VoxelGrid, mlem, open_scan, osem
from navigation.research.pytomography import image_of, projections, shell_term, system_matrix, tensor_of
from tests.conftest import REPOSITORY
from tests.navigation.research.test_research import FOCUS_MM, folder, with_counter

absent = [name for name in ("torch", "pytomography") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(absent), reason=f"{' and '.join(absent)} not installed; optional"),
    # Warnings of packages that are not ours.
    pytest.mark.filterwarnings("default"),
]
__all__ = ["folder"]
# Single precision on both sides, after twenty updates; 99.9 % of a run agree to 1e-5.
AFTER_EM = 2e-3


@pytest.fixture(scope="module")
def scan(folder: Path) -> OpenScan:
    return open_scan(folder / "scan-1", folder / "probe.json")


@pytest.fixture(scope="module")
def system(scan: OpenScan) -> System:
    grid = VoxelGrid.aligned(np.array(FOCUS_MM) - 20.0, 5.0, (9, 8, 7))
    return scan.system(grid, shell=False)


def likelihood_of(system: System, **more: Any) -> Any:
    kind = import_module("pytomography.likelihoods").PoissonLogLikelihood
    return kind(system_matrix(system), projections(system), **more)


@pytest.mark.parametrize(("iterations", "subsets"), [(20, 1), (4, 8)])
def test_its_osem_is_ours(system: System, iterations: int, subsets: int) -> None:
    algorithm = import_module("pytomography.algorithms").OSEM(likelihood_of(system))
    theirs = image_of(algorithm(n_iters=iterations, n_subsets=subsets))
    ours = osem(system, iterations, subsets).activity
    assert theirs.shape == system.grid.shape and ours.max() > 1.0
    assert np.allclose(theirs, ours, rtol=AFTER_EM, atol=AFTER_EM * 1e-3 * float(ours.max()))


def test_forward_and_backward_are_adjoint_and_the_norm_is_the_sensitivity(system: System) -> None:
    matrix = system_matrix(system)
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0, 2, system.grid.shape), rng.uniform(0, 2, len(system)).astype(np.float32)
    torch = import_module("torch")
    matrix.set_n_subsets(3)
    for subset in (None, 0, 2):
        values = torch.from_numpy(y)
        part = values if subset is None else matrix.get_projection_subset(values, subset)
        left = float((matrix.forward(tensor_of(x), subset).double() * part.double()).sum())
        right = float((matrix.backward(part, subset).double() * tensor_of(x).double()).sum())
        assert left == pytest.approx(right, rel=1e-5)
    norm = image_of(matrix.compute_normalization_factor())
    assert np.allclose(norm, system.sensitivity() * system.grid.voxel_ml, rtol=1e-5)
    assert matrix.get_weighting_subset(0) == pytest.approx(1 / 3, abs=0.01)


def test_dead_time_to_first_order_is_near_ours(system: System) -> None:
    slow = with_counter(system, 1e-4)
    likelihood = likelihood_of(slow)
    theirs = image_of(import_module("pytomography.algorithms").OSEM(likelihood)(n_iters=10, n_subsets=1))
    ours, ignored = mlem(slow, 10).activity, mlem(system, 10).activity
    rate, corrected, plain = (s.sum() for s in (ours, theirs, ignored))
    # At some 300 cps the loss is 3 %: the correction leaves less than a fifth of it open.
    assert abs(corrected / rate - 1.0) < 0.2 * abs(plain / rate - 1.0)


def test_a_prior_smooths_and_the_page_runs(scan: OpenScan, system: System) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "python.md").read_text(), re.DOTALL)
    block = next(b for b in blocks if "BSREM" in b)
    space: dict[str, Any] = {"system": scan.system(system.grid), "answer": scan.reconstruct()}
    exec(compile(block, "docs/python.md", "exec"), space)
    assert space["activity"].shape == space["smooth"].shape == system.grid.shape
    rough, smooth = (np.abs(np.diff(space[name], axis=0)).sum() for name in ("activity", "smooth"))
    assert 0.0 < smooth < rough
    assert np.isfinite(shell_term(space["system"], 1.0).numpy()).all()
