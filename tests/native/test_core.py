"""The native kernels against numpy: rows, float16 storage, projection pairs and the EM update."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.counter.deadtime import MODELS, DeadTime
from navigation import _core
from navigation.likelihood import Counts
from tests.native.stored import store

# Half a unit in the last place of a float16 mantissa of 10 bits, plus float32 rounding.
HALF_RELATIVE = 2.0**-11 * 1.01


@pytest.fixture
def rows() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.gamma(0.3, 1.0, size=(37, 151)).astype(np.float32)


def test_packing_rounds_to_the_nearest_half(rows: np.ndarray) -> None:
    packed, scales = store(rows)
    back = packed[:, :151].view(np.float16).astype(np.float64) * scales[:, None]
    top = rows.max(axis=1, keepdims=True)
    # Above the smallest normal half of the scaled row the error is relative, below it absolute.
    bound = np.maximum(HALF_RELATIVE * rows, top * 2.0**-24 / 32768 * 0.51)
    assert (np.abs(back - rows) <= bound).all()
    assert (packed[:, 151:] == 0).all()


def test_a_row_of_zeros_stays_zero() -> None:
    packed, scales = store(np.zeros((2, 40), dtype=np.float32))
    assert not packed.any()
    assert not scales.any()


def test_projection_is_the_adjoint_of_back_projection(rows: np.ndarray) -> None:
    packed, scales = store(rows)
    rng = np.random.default_rng(4)
    x = np.zeros(packed.shape[1], dtype=np.float32)
    x[:151] = rng.uniform(0, 1, 151)
    u = rng.uniform(-1, 1, 37).astype(np.float32)
    ax, atu = np.empty(37, dtype=np.float32), np.empty(packed.shape[1], dtype=np.float32)
    _core.project(packed, scales, x, ax)
    _core.back_project(packed, scales, u, atu)
    left, right = float(ax.astype(float) @ u), float(x.astype(float) @ atu)
    assert left == pytest.approx(right, rel=1e-4, abs=1e-4)


def test_sums_do_not_depend_on_the_number_of_threads(rows: np.ndarray) -> None:
    packed, scales = store(rows)
    u = np.linspace(-1, 1, 37).astype(np.float32)
    one, many = (np.empty(packed.shape[1], dtype=np.float32) for _ in range(2))
    _core.back_project(packed, scales, u, one, threads=1)
    _core.back_project(packed, scales, u, many, threads=5)
    assert (one == many).all()


def em_twin(
    rows: np.ndarray,
    counts: np.ndarray,
    live: np.ndarray,
    saturated: np.ndarray,
    dead: DeadTime,
    prior: np.ndarray,
    strength: float,
    x: np.ndarray,
) -> np.ndarray:
    rate = rows @ x
    data = Counts(counts, live, dead, saturated)
    expected, slope = data.expected(rate), data.slope(rate)
    # A saturated row is satisfied by any model above its bound.
    told = np.where(saturated, np.maximum(data.lowest, expected), counts)
    gain = rows.T @ (told * slope / expected)
    loss = rows.T @ slope
    return (x * gain + strength * prior) / (loss + strength)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tau", [0.0, 1e-3, 6e-3])
def test_em_subset_equals_its_numpy_twin(rows: np.ndarray, tau: float, model: str) -> None:
    packed, scales = store(rows)
    halves = packed[:, :151].view(np.float16).astype(np.float64) * scales[:, None]
    rng = np.random.default_rng(5)
    live = np.full(37, 0.1, dtype=np.float32)
    x = np.zeros(packed.shape[1], dtype=np.float32)
    x[:151] = rng.uniform(0.5, 2.0, 151)
    dead = DeadTime(tau, model)
    # At tau = 6 ms every other of the rates, 75 to 90 cps, is beyond saturation at 71 or 59 cps.
    counts = rng.poisson(0.1 * dead.expected(np.maximum(halves @ x[:151].astype(float), 0.3)))
    saturated = (np.arange(37) % 3 == 1) if tau > 0 else np.zeros(37, dtype=bool)
    prior, data = x.copy(), Counts(counts.astype(float), live.astype(float), dead, saturated)
    subset = slice(1, None, 2)
    expected = em_twin(
        halves[subset],
        counts[subset].astype(float),
        live[subset].astype(float),
        saturated[subset],
        dead,
        prior[:151].astype(float),
        0.2,
        x[:151].astype(float),
    )
    told = (data.lowest.astype(np.float32), live, saturated.astype(np.uint8))
    counter = (tau, dead.paralysable, dead.saturated_rate_cps)
    _core.em_subset(packed, scales, *told, *counter, 1, 2, prior, 0.2, x, np.empty_like(x))
    assert x[:151] == pytest.approx(expected, rel=2e-4)


def test_em_keeps_the_total_counts_without_dead_time_and_prior(rows: np.ndarray) -> None:
    # Shepp & Vardi: after every full update the expected counts sum to the observed ones.
    packed, scales = store(rows)
    counts = np.random.default_rng(6).poisson(8, 37).astype(np.float32)
    live = np.ones(37, dtype=np.float32)
    x = np.zeros(packed.shape[1], dtype=np.float32)
    x[:151] = 1.0
    plain = (np.zeros(37, dtype=np.uint8), 0.0, False, np.inf)
    _core.em_subset(packed, scales, counts, live, *plain, 0, 1, np.zeros_like(x), 0.0, x, np.empty_like(x))
    rate = np.empty(37, dtype=np.float32)
    _core.project(packed, scales, x, rate)
    assert float(rate.sum()) == pytest.approx(float(counts.sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "match"),
    [((37, 40), "multiple of 32"), ((36, 160), "too small")],
)
def test_wrong_shapes_are_refused(rows: np.ndarray, shape: tuple[int, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        _core.pack_rows(rows, np.zeros(shape, dtype=np.uint16), np.zeros(37, dtype=np.float32))
