"""The researchers' interface: its arithmetic against plain numpy, its promises, its documentation."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.counter.deadtime import DeadTime
from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from navigation.offline import ScanOptions, reconstruct_scan
from navigation.research import (
    OpenScan,
    System,
    VoxelGrid,
    load_system,
    mlem,
    open_scan,
    osem,
    save_system,
    save_volume,
)
from navigation.research import pytomography as adapter
from navigation.research.operator import Exposure, Rows
from tests.conftest import REPOSITORY
from tests.navigation.scan_model import PROBE, filled, flat_surface, grid_of, raster
from tracking.errors import InputError, SurroundingsError
from tracking.scanfolder import CountTable, PoseTable, Scan, write_scan

FOCUS_MM = (6.0, -4.0, -18.0)
# Entries of float16 rows are off by half a unit of the last of 11 bits.
HALF_STEP = 2.0**-11
# Sums of some thousand single-precision products.
SINGLE = 2e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scan-1/ and probe.json: a focus of 80 kBq at 18 mm in 0.4 kBq/mL, latency told."""
    out = tmp_path_factory.mktemp("research")
    readings = filled(raster(160), [(FOCUS_MM, 80.0)], 0.4, seed=1)
    scan = Scan(
        "Tc-99m",
        None,
        "ProbeTipToReference",
        PoseTable(readings.t_s, readings.poses),
        CountTable(readings.t_s + 0.05, readings.counts, readings.live_s),
        count_latency_s=0.0,
        surface_mm=flat_surface(),
    )
    write_scan(scan, out / "scan-1")
    (out / "probe.json").write_text(json.dumps(calibrate(grid_of(PROBE), nuclide("Tc-99m"))))
    return out


@pytest.fixture(scope="module")
def scan(folder: Path) -> OpenScan:
    return open_scan(folder / "scan-1", folder / "probe.json")


@pytest.fixture(scope="module")
def grid(scan: OpenScan) -> VoxelGrid:
    """A turned grid of 9 x 8 x 7 voxels round the focus."""
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    size = np.array([9, 8, 7])
    return VoxelGrid(np.array(FOCUS_MM) - turn @ (5.0 * (size - 1) / 2), np.full(3, 5.0), (9, 8, 7), turn)


@pytest.fixture(scope="module")
def system(scan: OpenScan, grid: VoxelGrid) -> System:
    return scan.system(grid)


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the code on the researchers' page defines, run from top to bottom beside scan-1 and probe.json."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "python.md").read_text(), re.DOTALL)
    plain = [b for b in blocks if "pytomography" not in b]
    assert len(plain) >= 5 and len(blocks) > len(plain)
    there, printed, space = tmp_path_factory.mktemp("page"), io.StringIO(), {}
    for name in ("scan-1", "probe.json"):
        (there / name).symlink_to(folder / name)
    with contextlib.chdir(there), contextlib.redirect_stdout(printed):
        for block in plain:
            exec(compile(block, "docs/python.md", "exec"), space)
    return space | {"printed": printed.getvalue(), "written": {p.name for p in there.iterdir()}}


def dense_of(system: System) -> np.ndarray:
    """(n, m) float64 in cps per kBq/mL, as stored, the shell last."""
    rows = system.rows().astype(np.float64) * system.grid.voxel_ml
    return np.column_stack([rows, system.shell_cps()]) if system.shell else rows


def numpy_em(system: System, iterations: int, subsets: int) -> np.ndarray:
    """(m,) kBq/mL of EM in double precision from ones, without dead time."""
    rows, counts, live = dense_of(system), system.detection.counts, system.detection.live_s
    x = np.ones(rows.shape[1])
    for _ in range(iterations):
        for k in range(subsets):
            a, y, t = rows[k::subsets], counts[k::subsets], live[k::subsets]
            x = x * (a.T @ (y / (a @ x))) / (a.T @ t)
    return x


def with_counter(system: System, tau_s: float) -> System:
    """The same counts of a counter with dead time."""
    return replace(system, detection=replace(system.detection, dead_time=DeadTime(tau_s)))


def test_columns_of_a_grid_are_its_flattened_voxels_in_the_stated_order(
    scan: OpenScan, grid: VoxelGrid
) -> None:
    rows = scan.rows(grid)
    assert rows.shape == (len(scan), 9 * 8 * 7) and rows.dtype == np.float32
    i, j, k = 7, 2, 5
    place = grid.origin_mm + grid.direction @ (grid.spacing_mm * np.array([i, j, k]))
    alone = scan.rows(place[None])[:, 0]
    assert np.array_equal(rows.reshape(-1, 7, 8, 9)[:, k, j, i], alone)
    assert alone.max() > 0


def test_the_grid_of_another_side_covers_the_same_field(scan: OpenScan) -> None:
    own, other = scan.geometry.field.grid, scan.grid(2.0)
    for grid in (own, other):
        low = grid.origin_mm - grid.spacing_mm / 2
        assert low == pytest.approx(own.origin_mm - own.spacing_mm / 2)
        # The box snaps to steps that both sides divide, to half a voxel where they do not.
        assert (
            np.abs(
                low + grid.spacing_mm * np.array(grid.size) - low - own.spacing_mm * np.array(own.size)
            ).max()
            <= 1.0
        )
    with pytest.raises(InputError, match="voxel_mm"):
        scan.grid(0.0)


def test_half_precision_is_as_good_as_stated(scan: OpenScan, system: System) -> None:
    exact = scan.rows(system.grid)[:, system.columns]
    error = np.abs(system.rows() - exact)
    # Where halves turn subnormal the step is 2^-24 of a scale that puts the largest at the top of the range, 2^15.
    floor = exact.max(axis=1, keepdims=True) * 1e-7
    assert (error <= HALF_STEP * exact + floor).all()


def test_voxels_outside_the_tissue_hold_nothing(scan: OpenScan) -> None:
    grid = VoxelGrid.aligned((-10.0, -10.0, -20.0), 5.0, (5, 5, 9))  # z from -20 to 20, the skin at 0
    system = scan.system(grid)
    inside = system.image(np.ones(len(system.columns), dtype=np.float32)) > 0
    z = grid.points()[:, 2].reshape(grid.shape)
    assert inside[z < -4.0].all() and not inside[z > 4.0].any()
    assert not system.sensitivity()[~inside].any()
    with pytest.raises(InputError, match="same frame"):
        scan.system(VoxelGrid.aligned((0.0, 0.0, 500.0), 5.0, (3, 3, 3)))


def test_projection_and_back_projection_are_adjoint(system: System) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(0.0, 2.0, system.grid.shape)
    y = rng.uniform(0.0, 2.0, len(system))
    assert float(system.project(x) @ y) == pytest.approx(
        float((x * system.back_project(y)).sum()), rel=SINGLE
    )
    # In double precision the same numbers.
    expected = dense_of(system)[:, :-1] @ x.reshape(-1)[system.columns]
    assert np.allclose(system.project(x), expected, rtol=SINGLE)


@pytest.mark.parametrize("subset", [None, 0, 2])
def test_the_operator_and_its_adjoint_agree_on_every_subset(system: System, subset: int | None) -> None:
    rows = Rows(system)
    rows.split(3)
    rng = np.random.default_rng(4)
    x = rng.uniform(0.0, 2.0, system.grid.shape).astype(np.float32)
    chosen = slice(None) if subset is None else slice(subset, None, 3)
    expected = (dense_of(system)[:, :-1] @ x.reshape(-1)[system.columns] * system.detection.live_s)[chosen]
    forward = rows.forward(x, subset)
    assert np.allclose(forward, expected, rtol=SINGLE)
    y = rng.uniform(0.0, 2.0, len(forward)).astype(np.float32)
    back = rows.backward(y, subset)
    assert float(forward.astype(np.float64) @ y) == pytest.approx(
        float((back * x).sum(dtype=np.float64)), rel=SINGLE
    )
    norm = rows.normalization(subset)
    assert np.allclose(norm, rows.backward(np.ones(len(forward), dtype=np.float32), subset))


def test_sensitivity_is_the_counts_of_the_scan_per_kbq(scan: OpenScan, system: System) -> None:
    rows, live = scan.rows(system.grid), scan.readings.live_s
    expected = (live @ rows).reshape(system.grid.shape)
    inside = system.sensitivity() > 0
    assert inside.any()
    assert np.allclose(system.sensitivity()[inside], expected[inside], rtol=HALF_STEP)


@pytest.mark.parametrize(("iterations", "subsets"), [(6, 1), (2, 4)])
def test_em_is_that_of_numpy(system: System, iterations: int, subsets: int) -> None:
    ours = osem(system, iterations, subsets)
    expected = numpy_em(system, iterations, subsets)
    assert np.allclose(ours.activity.reshape(-1)[system.columns], expected[:-1], rtol=1e-3, atol=1e-5)
    assert ours.shell_kbq_per_ml == pytest.approx(expected[-1], rel=1e-3)


def test_the_likelihood_of_em_never_falls(system: System) -> None:
    course: list[float] = []
    last = mlem(
        system, 12, seen=lambda e: course.append(system.log_likelihood(e.activity, e.shell_kbq_per_ml))
    )
    assert len(course) == last.iterations == 12
    # Rounding of a sum of some thousand terms.
    assert (np.diff(course) >= -1e-6 * abs(course[-1])).all() and course[-1] > course[0] + 1.0


@pytest.mark.parametrize("tau_s", [0.0, 2e-4])
def test_a_known_rate_of_nothing_changes_nothing(system: System, tau_s: float) -> None:
    plain = with_counter(system, tau_s)
    beside = replace(plain, detection=replace(plain.detection, additive_cps=np.zeros(len(plain))))
    one, other = mlem(plain, 5), mlem(beside, 5)
    assert np.allclose(one.activity, other.activity, rtol=1e-3, atol=1e-5)


def test_a_known_rate_is_not_given_to_the_voxels(system: System) -> None:
    beside = replace(system, detection=replace(system.detection, additive_cps=np.full(len(system), 5.0)))
    with_rate, without = mlem(beside, 30), mlem(system, 30)
    live = system.detection.live_s
    total = [
        (live * s.project(e.activity, e.shell_kbq_per_ml)).sum()
        for s, e in ((beside, with_rate), (system, without))
    ]
    # EM keeps the total: all counts without, and 5 cps less with it.
    assert total[1] == pytest.approx(system.detection.counts.sum(), rel=1e-3)
    assert total[0] == pytest.approx(total[1] - 5.0 * live.sum(), rel=0.02)
    with pytest.raises(InputError, match="mlem"):
        osem(beside, 1, 4)


def test_dead_time_shortens_the_exposure(system: System) -> None:
    detection = replace(
        system.detection,
        counts=np.array([10.0, 0.0, 60.0]),
        live_s=np.full(3, 0.1),
        t_s=np.arange(3.0),
        dead_time=DeadTime(1e-3),
    )
    exposure = Exposure.of(replace(system, detection=detection))
    # 100 cps recorded with 1 ms each: 0.9 of the time is live; 600 cps are a loss of 60 %, beyond saturation.
    assert exposure.seconds == pytest.approx([0.09, 0.1, 0.0])
    assert exposure.counts == pytest.approx([10.0, 0.0, 0.0])


def test_rows_on_file_are_the_same_bits_and_numpy_alone_reads_them(system: System, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    save_system(with_counter(system, 1e-5), path)
    again = load_system(path)
    assert np.array_equal(again.rows(), system.rows())
    assert np.array_equal(again.shell_cps(), system.shell_cps())
    assert again.detection.dead_time == DeadTime(1e-5) and again.detection.nuclide == "Tc-99m"
    assert np.array_equal(again.grid.points(), system.grid.points())
    with np.load(path) as f:
        assert np.array_equal(f["halves"].astype(np.float32)[:, :-1] * f["scales"][:, None], system.rows())


@pytest.mark.parametrize("content", [b"", b"PK nonsense", b"not numpy"])
def test_another_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"rows\.npz"):
        load_system(path)


def test_wrong_shapes_are_named(scan: OpenScan, system: System, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grid \(nz, ny, nx\)"):
        system.project(np.ones((9, 8, 7)))
    with pytest.raises(InputError, match="readings"):
        system.back_project(np.ones(3))
    with pytest.raises(InputError, match=r"\(m, 3\)"):
        scan.rows(np.ones(3))
    with pytest.raises(InputError, match="subsets"):
        osem(system, 1, 1000)
    with pytest.raises(InputError, match="start"):
        mlem(system, 1, start=-np.ones(system.grid.shape))
    with pytest.raises(InputError, match="shape"):
        save_volume(tmp_path / "a.nrrd", np.ones((2, 2, 2)), system.grid)
    with pytest.raises(InputError, match="latency_s"):
        open_scan("scan-1", "probe.json", latency_s=-1.0)


def test_the_answer_is_the_application_s(page: dict[str, Any], folder: Path) -> None:
    answer = page["answer"]
    state = reconstruct_scan(folder / "scan-1", folder / "probe.json", ScanOptions())
    assert [s.activity_kbq for s in answer.foci] == [s.activity_kbq for s in state.result.spots]
    assert np.array_equal(answer.map.activity, state.result.map.activity)
    below = np.array([[6.0, -4.0, -10.0], [6.0, -4.0, -40.0]])
    maps = answer.uncertainty(below)
    # Deeper is less certain; the MDA is above what counting alone leaves open.
    assert maps.sd_kbq[1] > maps.sd_kbq[0] > 0 and (maps.mda_kbq > 2 * maps.sd_kbq).all()
    assert (maps.upper_limit_kbq > 0).all()
    on_grid = answer.uncertainty(VoxelGrid.aligned(below[0], 5.0, (2, 3, 4)), 0.9)
    assert on_grid.mda_kbq.shape == (4, 3, 2)
    shown = answer.map
    seen = np.flatnonzero(shown.examined)[:: max(int(shown.examined.sum()) // 20, 1)]
    again = answer.uncertainty(shown.grid.points()[seen])
    # The map's own rows are in half precision, and what foci leave open far from them is that of a search point.
    assert again.mda_kbq == pytest.approx(shown.mda_kbq.ravel()[seen], rel=0.03)
    assert on_grid.mda_kbq[0, 0, 0] == pytest.approx(maps.mda_kbq[0], rel=1e-5)


def test_without_pytomography_one_line_says_what_to_install(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(adapter, "import_module", absent)
    adapter._matrix_class.cache_clear()
    with pytest.raises(SurroundingsError, match="torch is not installed: pip install torch pytomography"):
        adapter.system_matrix(system)


def test_the_page_for_researchers_runs_as_it_stands(page: dict[str, Any]) -> None:
    assert "kBq/mL" in page["printed"]
    assert {"activity.nrrd", "answer", "rows.npz"} <= page["written"]
    assert np.array_equal(page["again"].rows(), page["system"].rows())
    # Each EM step makes the total of the model that of the counts.
    total = float((page["system"].project(page["x"]) * page["live"]).sum())
    assert total == pytest.approx(page["scan"].readings.counts.sum(), rel=1e-3)
