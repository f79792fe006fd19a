"""The native kernels against numpy: rows, float16 storage, projection pairs and the EM update."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.counter.deadtime import MODELS, DeadTime
from navigation import _core
from navigation.likelihood import Counts
from tests.native.stored import store, widened

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


def test_a_known_sensitivity_gives_the_same_step(rows: np.ndarray) -> None:
    packed, scales = store(rows)
    told = (
        np.full(37, 4, np.float32),
        np.full(37, 0.1, np.float32),
        np.zeros(37, np.uint8),
        0.0,
        False,
        np.inf,
    )
    prior, seen = np.ones(packed.shape[1], dtype=np.float32), np.empty(packed.shape[1], dtype=np.float32)
    first, again = prior.copy(), prior.copy()
    _core.em_subset(packed, scales, *told, 1, 2, prior, 0.2, first, seen)
    before = seen.copy()
    _core.em_subset(packed, scales, *told, 1, 2, prior, 0.2, again, seen, 2, True)
    assert again.tobytes() == first.tobytes()
    assert seen.tobytes() == before.tobytes()


# A float16 of a row scaled to 32,768: normal down to 2^-14, that is 2^-29 of the row's largest entry; below it the
# error is half of 2^-24, that is 2^-40 of the largest. One float32 product rounds the scaled entry before that and
# one the widened entry after it.
HALF_BOUND = 2.0**-11 + 3 * 2.0**-24
SUBNORMAL_SHARE = 2.0**-40 * (1 + 2.0**-20)
# Sums of positive products: single precision over at most 4,096 / 16 entries of a lane, and the tree over 16 lanes.
DOT_BOUND = (4096 / 16 + 4 + 2) * 2.0**-24
ADD_BOUND = (512 + 2) * 2.0**-24


def nasty_rows(n: int, m: int) -> np.ndarray:
    """Every binade from the largest entry of a row down to what becomes 0, mantissas at and beside the ties."""
    rng = np.random.default_rng(9)
    ties = (1.0 + (rng.integers(0, 1024, (n, m)) + 0.5) / 1024) * (
        1 + rng.choice([-1, 0, 1], (n, m)) * 2.0**-23
    )
    values = ties * 2.0 ** rng.integers(-45, 0, (n, m)).astype(float)
    values[:, 0] = 1.0
    values[::3, 1:40] = 0.0
    return (values * rng.uniform(1e-6, 1e4, (n, 1))).astype(np.float32)


def test_worst_case_of_rounding_to_half() -> None:
    values = nasty_rows(64, 4000)
    packed, scales = store(values)
    exact, top = values.astype(float), values.max(axis=1, keepdims=True).astype(float)
    error = np.abs(widened(packed, scales, 4000) - exact)
    assert (error <= np.maximum(HALF_BOUND * exact, SUBNORMAL_SHARE * top)).all()
    # The bound is sharp: ties come close to it.
    normal = exact > 2.0**-28 * top
    assert (error[normal] / exact[normal]).max() > 0.99 * 2.0**-11


def test_worst_case_of_projections_and_of_a_full_em_pass() -> None:
    # Against double precision over the unrounded rows: nothing negative is summed, so relative errors do not grow.
    values = nasty_rows(600, 1500)
    exact, top = values.astype(float), values.max(axis=1, keepdims=True).astype(float)
    packed, scales = store(values)
    rng = np.random.default_rng(10)
    x = np.zeros(packed.shape[1], dtype=np.float32)
    x[:1500] = rng.uniform(0.2, 5.0, 1500)
    u = rng.uniform(0.1, 3.0, 600).astype(np.float32)
    tiny = SUBNORMAL_SHARE * top
    rate, back = np.empty(600, dtype=np.float32), np.empty(packed.shape[1], dtype=np.float32)
    _core.project(packed, scales, x, rate)
    _core.back_project(packed, scales, u, back)
    true_rate, true_back = exact @ x[:1500].astype(float), exact.T @ u.astype(float)
    rate_bound = (HALF_BOUND + DOT_BOUND) * true_rate + tiny[:, 0] * x.sum()
    back_bound = (HALF_BOUND + ADD_BOUND) * true_back + float(tiny[:, 0] @ u)
    assert (np.abs(rate - true_rate) <= rate_bound).all()
    assert (np.abs(back[:1500] - true_back) <= back_bound).all()
    counts, live = np.round(3.0 * true_rate).astype(np.float32) + 1, np.full(600, 0.1, dtype=np.float32)
    told = (counts, live, np.zeros(600, dtype=np.uint8), 0.0, False, np.inf)
    image = x.copy()
    _core.em_subset(packed, scales, *told, 0, 1, np.zeros_like(x), 0.0, image, np.empty_like(x))
    gain, loss = exact.T @ (counts / true_rate), exact.T @ live.astype(float)
    true_image = x[:1500] * gain / loss
    # Gain (rate and row), loss (row) and the sums of each; entries far below a row's top add `tiny`.
    share = np.max(rate_bound / true_rate)
    extra = (tiny[:, 0] @ (counts / true_rate)) / gain + (tiny[:, 0] @ live) / loss
    bound = share + 2 * (HALF_BOUND + ADD_BOUND) + extra
    assert (np.abs(image[:1500] / true_image - 1.0) <= bound * (1 + bound)).all()
    assert np.median(bound) < 2.0e-3
