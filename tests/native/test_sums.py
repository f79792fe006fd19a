"""Passes that make many sums of one read: against numpy, against the single passes, and with every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from navigation import _core
from navigation.reconstruction.rowstore import RowStore
from tests.native.stored import INSTRUCTION_SETS, instruction_set, store, widened

# Single precision within 256 rows (a bound of 256 x 2^-24) or 256 columns a lane, double beyond; typical is far less.
SUM_RELATIVE = 256 * 2.0**-24


def rows(n: int = 301, m: int = 4500) -> np.ndarray:
    return np.random.default_rng(21).gamma(0.4, 1.0, (n, m)).astype(np.float32)


def filled(values: np.ndarray) -> RowStore:
    result = RowStore(values.shape[1])
    result.append(values)
    return result


@pytest.mark.parametrize("q", [0, 1, 7, 40])  # 40 sums need a second read
def test_score_sums_equal_their_numpy_twin(q: int) -> None:
    kept = filled(rows())
    rng = np.random.default_rng(q)
    score, design = rng.normal(size=301), rng.uniform(0, 3, (301, q))
    information, third = rng.uniform(0, 2, 301), rng.normal(size=301)
    sums = kept.score_sums(score, information, design, third)
    a = widened(kept.packed, kept.scales, kept.width)
    assert sums.plain == pytest.approx(information @ a**2, rel=SUM_RELATIVE)
    assert sums.cross.shape == (q, 4500)
    assert sums.cross == pytest.approx((information[:, None] * design).T @ a, rel=SUM_RELATIVE)
    # Sums of both signs: the bound is relative to the sum of magnitudes.
    assert (np.abs(sums.raw - score @ a) <= SUM_RELATIVE * (np.abs(score) @ a)).all()
    assert (np.abs(sums.skew - third @ a**3) <= SUM_RELATIVE * (np.abs(third) @ a**3)).all()


def test_many_images_are_projected_as_each_alone() -> None:
    kept = filled(rows(70))
    images = np.random.default_rng(1).uniform(0, 1, (7, kept.stride)).astype(np.float32)
    together = kept.project_many(images)
    alone = np.stack([kept.project(image) for image in images], axis=1)
    assert together.tobytes() == alone.tobytes()


def test_many_weightings_equal_their_numpy_twin() -> None:
    kept = filled(rows(70, 900))
    weights = np.random.default_rng(2).poisson(1.0, (70, 50)).astype(float)
    a = widened(kept.packed, kept.scales, kept.width)
    assert kept.back_project_many(weights) == pytest.approx(weights.T @ a, rel=SUM_RELATIVE)


def test_many_projections_are_the_adjoint_of_many_weightings() -> None:
    kept = filled(rows(70, 900))
    rng = np.random.default_rng(3)
    images = rng.uniform(0, 1, (3, kept.stride)).astype(np.float32)
    images[:, 900:] = 0.0
    weights = rng.uniform(0, 1, (70, 3))
    forward = np.einsum("nb,nb->b", kept.project_many(images).astype(float), weights)
    backward = np.einsum("bm,bm->b", kept.back_project_many(weights), images[:, :900].astype(float))
    assert forward == pytest.approx(backward, rel=1e-5)


def all_sums(threads: int = 2) -> bytes:
    packed, scales = store(rows(77))
    rng = np.random.default_rng(4)
    linear, powers = rng.normal(size=(77, 37)).astype(np.float32), rng.normal(size=(2, 77)).astype(np.float32)
    images = rng.uniform(0, 1, (5, packed.shape[1])).astype(np.float32)
    score, many = np.empty((39, packed.shape[1])), np.empty((77, 5), dtype=np.float32)
    _core.score_pass(packed, scales, linear, powers[0], powers[1], score, threads)
    _core.project_many(packed, scales, images, many, threads)
    return score.tobytes() + many.tobytes()


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_sums_have_the_same_bits_with_every_instruction_set(name: str) -> None:
    with instruction_set("portable"):
        expected = all_sums()
    with instruction_set(name) as there:
        if not there:
            pytest.skip(f"this machine has no {name}")
        assert all_sums() == expected


@pytest.mark.parametrize("threads", [1, 5])
def test_sums_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    assert all_sums(threads) == all_sums()


def test_wrong_shapes_of_sums_are_refused() -> None:
    packed, scales = store(rows(5, 40))
    with pytest.raises(ValueError, match="sums \\+ 2"):
        _core.score_pass(
            packed, scales, np.zeros((5, 3), np.float32), scales, scales, np.zeros((4, packed.shape[1]))
        )
