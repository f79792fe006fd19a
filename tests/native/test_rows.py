"""Response rows: every path of the row build against a numpy twin, and the same bits from every instruction set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.probe.response import DetectorResponse
from navigation.projector import Projector
from navigation.surface import Surface, TissueMap
from tests.native.stored import INSTRUCTION_SETS, instruction_set
from tests.navigation.scan_model import flat_surface, raster, response
from tracking.sample import Readings

# Places are held in single precision: 2^-24 of 300 mm is 2e-5 mm, at a slope of the response of at most 30 %/mm next
# to the face; the exponential adds 3e-7.
SINGLE_RELATIVE = 2e-5
RAY_STEP_MM, MOST_STEPS = 4.0, 96


@pytest.fixture(scope="module")
def tissue() -> TissueMap:
    surface = Surface.from_points(flat_surface(), raster(20).mid_poses)
    return surface.tissue(np.array([-60.0, -60, -80]), np.array([60.0, 60, 40]))


def tilted(readings: Readings, n_poses: int = 1) -> Readings:
    """The readings looking aslant, each over `n_poses` poses 0.4 mm apart."""
    rng = np.random.default_rng(8)
    poses = np.repeat(readings.poses, n_poses, axis=0)
    for pose in poses:
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        angle = rng.uniform(0.1, 0.6)
        pose[:3, :3] = (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ pose[
            :3, :3
        ]
        pose[:3, 3] += rng.normal(0, 0.4, 3)
    weights = np.tile(np.linspace(1, 2, n_poses) / np.linspace(1, 2, n_poses).sum(), len(readings))
    first = np.arange(len(readings) + 1) * n_poses
    return replace(readings, poses=poses, weights=weights, first=first)


def seen_from(points: np.ndarray, pose: np.ndarray, detector: DetectorResponse) -> tuple[np.ndarray, ...]:
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    r, z = np.hypot(local[:, 0], local[:, 1]), local[:, 2]
    height = z + detector.recess_mm
    through = np.where(z > 0, np.hypot(r, height) * z / np.where(z > 0, height, 1.0), 0.0)
    return r, z, through


def marched(
    points: np.ndarray, pose: np.ndarray, detector: DetectorResponse, tissue: TissueMap
) -> np.ndarray:
    """Tissue on the ray from the plane of the face to each point, by midpoints some 4 mm apart."""
    _, z, through = seen_from(points, pose, detector)
    crystal = pose[:3, 3] - detector.recess_mm * pose[:3, 2]
    share = np.where(z > 0, z / np.where(z > 0, z + detector.recess_mm, 1.0), 0.0)
    start = points - share[:, None] * (points - crystal)
    path = np.zeros(len(points))
    for i, point in enumerate(points):
        steps = int(np.clip(int(through[i] / RAY_STEP_MM) + 1, 2, MOST_STEPS))
        at = start[i] + (np.arange(steps) + 0.5)[:, None] / steps * (point - start[i])
        path[i] = tissue.at(at).mean() * through[i]
    return path


def twin(
    points: np.ndarray, readings: Readings, detector: DetectorResponse, tissue: TissueMap | None
) -> np.ndarray:
    rows = np.zeros((len(readings), len(points)))
    for i in range(len(readings)):
        for k in range(readings.first[i], readings.first[i + 1]):
            pose = readings.poses[k]
            r, z, through = seen_from(points, pose, detector)
            path = through if tissue is None else marched(points, pose, detector, tissue)
            rows[i] += readings.weights[k] * detector.in_tissue(r, z, path)
    return rows


# Fewer points than 64 share vectors among poses; 5 and 203 do not fill whole vectors.
@pytest.mark.parametrize("n_points", [1, 5, 63, 64, 203])
@pytest.mark.parametrize("n_poses", [1, 3])
@pytest.mark.parametrize("in_tissue", [False, True])
def test_rows_of_few_points_equal_the_numpy_twin(
    n_points: int, n_poses: int, in_tissue: bool, tissue: TissueMap
) -> None:
    points = np.random.default_rng(n_points).uniform([-40, -40, -60], [40, 40, 15], (n_points, 3))
    points = points.astype(np.float32).astype(float)
    readings = tilted(raster(7), n_poses)
    known = tissue if in_tissue else None
    rows = Projector(response(), known).rows(points, readings)
    expected = twin(points, readings, response(), known)
    # A ray of a whole number of steps may be cut into one more in single precision: its path moves by some 1 %.
    close = np.isclose(rows, expected, rtol=SINGLE_RELATIVE, atol=0.0)
    assert close.mean() > 0.98
    assert rows == pytest.approx(expected, rel=0.02)


def test_rows_of_a_grid_equal_the_twin_without_tissue_map() -> None:
    points = np.random.default_rng(3).uniform([-60, -60, -90], [60, 60, 20], (9001, 3)).astype(np.float32)
    readings = tilted(raster(20), 2)
    rows = Projector(response(), None).rows(points, readings)
    expected = twin(points.astype(float), readings, response(), None)
    # Next to the plane of the face the response changes from the leak to the full view within a rounding.
    assert np.isclose(rows, expected, rtol=SINGLE_RELATIVE, atol=0.0).mean() > 0.9999
    bright = expected > 1e-4 * expected.max()
    assert rows[bright] == pytest.approx(expected[bright], rel=1e-3)


@pytest.mark.parametrize("readings", [1, 3, 20])
def test_rows_do_not_depend_on_what_else_is_asked(readings: int, tissue: TissueMap) -> None:
    # One reading shares its points among the threads, many readings are shared out whole.
    points = np.random.default_rng(4).uniform([-40, -40, -60], [40, 40, 15], (20_001, 3))
    asked = tilted(raster(20), 2)
    projector = Projector(response(), tissue)
    whole = projector.rows(points, asked)[:readings]
    assert projector.rows(points, asked.select(slice(0, readings))).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("n_points", [7, 300, 3000])
def test_rows_have_the_same_bits_with_every_instruction_set(
    name: str, n_points: int, tissue: TissueMap
) -> None:
    points = np.random.default_rng(5).uniform([-50, -50, -90], [50, 50, 20], (n_points, 3))
    projector, readings = Projector(response(), tissue), tilted(raster(9), 2)
    with instruction_set("portable"):
        expected = projector.rows(points, readings)
    with instruction_set(name) as there:
        if not there:
            pytest.skip(f"this machine has no {name}")
        assert projector.rows(points, readings).tobytes() == expected.tobytes()


def test_attenuation_is_exponential_to_single_precision() -> None:
    # A table of ones, no scatter: on the axis the response is exp(-mu z) / d^2, here down to exp(-60).
    even = replace(response(), table=np.ones((2, 2, 2), dtype=np.float32) * np.float32([1, 0]), mu_per_mm=0.5)
    z = np.linspace(0.5, 120.0, 4001).astype(np.float32)
    pose = np.eye(4)[None]
    one = Readings(np.zeros(1), np.zeros(1), np.ones(1), pose, np.ones(1), np.array([0, 1]))
    row = Projector(even, None).rows(np.stack([0 * z, 0 * z, z], axis=1), one)[0]
    exact = np.exp(-0.5 * z.astype(float)) / (z.astype(float) + even.recess_mm) ** 2
    # The rounding of the exponent itself, 60 x 2^-23, dominates the polynomial's 3e-7.
    assert row == pytest.approx(exact, rel=60 * 2.0**-22 + 3e-7)
    shallow = z < 4.0
    assert row[shallow] == pytest.approx(exact[shallow], rel=1.5e-6)
