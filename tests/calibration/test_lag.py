"""The delay of one sampled signal behind another: size, sign, honest interval, and when nothing can be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.timing.lag import DETERMINED_HALF_WIDTH_S, Lag, estimate_lag
from tracking.errors import InputError
from tracking.sequence import read_sequence

SECONDS = 30.0
Series = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def movement(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """A hand's: twelve waves of 0.05 to 1.2 Hz, slow ones the largest."""
    frequency, phase = rng.uniform(0.05, 1.2, 12), rng.uniform(0, 2 * np.pi, 12)
    size = 1.0 / (1.0 + (frequency / 0.6) ** 2)
    return (size * np.sin(2 * np.pi * np.outer(t, frequency) + phase)).sum(axis=1)


def stamps(rng: np.random.Generator, rate_hz: float, jitter_s: float = 0.003) -> np.ndarray:
    """Unevenly spaced times over SECONDS that start anywhere."""
    even = rng.uniform(0.0, 0.1) + np.arange(0.0, SECONDS, 1.0 / rate_hz)
    return np.sort(even + rng.normal(0.0, jitter_s, len(even)))


def pair(seed: int, lag_s: float, rates_hz: tuple[float, float] = (20.0, 10.0), noise: float = 0.1) -> Series:
    """Two series of one movement; the second late, turned over, in another unit, its noise correlated."""
    rng = np.random.default_rng(seed)
    t_a, t_b = stamps(rng, rates_hz[0]), stamps(rng, rates_hz[1])
    both = movement(rng, np.concatenate([t_a, t_b - lag_s]))
    white = rng.normal(size=len(t_b))
    slow = np.array(
        [np.sum(white[max(i - 8, 0) : i + 1] * 0.7 ** np.arange(min(i, 8), -1, -1)) for i in range(len(t_b))]
    )
    a = both[: len(t_a)] + 0.05 * rng.normal(size=len(t_a))
    return t_a, a, t_b, 40.0 - 3.0 * (both[len(t_a) :] + noise * slow)


def test_delays_are_recovered_with_honest_intervals() -> None:
    inside, errors = 0, []
    for seed in range(40):
        true = float(np.random.default_rng(1000 + seed).uniform(-0.3, 0.35))
        found = estimate_lag(*pair(seed, true))
        assert found.determined, found.reasons
        assert found.lag_s is not None
        assert found.ci95_s is not None
        assert found.correlation < -0.9
        inside += found.ci95_s[0] <= true <= found.ci95_s[1]
        errors.append(found.lag_s - true)
    # 40 intervals of 95 %: fewer than 33 inside has a chance of 1e-3; a few ms is what the noise leaves.
    assert inside >= 33
    assert float(np.sqrt(np.mean(np.square(errors)))) < 0.006
    assert abs(float(np.mean(errors))) < 0.003


@pytest.mark.parametrize("rates_hz", [(1000.0, 10.0), (10.0, 1000.0), (50.0, 50.0), (25.0, 4.0)])
def test_any_rates(rates_hz: tuple[float, float]) -> None:
    found = estimate_lag(*pair(3, 0.08, rates_hz, noise=0.03))
    assert found.determined
    assert found.lag_s == pytest.approx(0.08, abs=0.008)


def test_how_the_streams_start_is_no_measurement() -> None:
    t_a, a, t_b, b = pair(4, 0.1)
    whole = estimate_lag(t_a, a, t_b, b)
    late = estimate_lag(t_a[t_a > 5.0], a[t_a > 5.0], t_b[t_b < 27.0], b[t_b < 27.0])
    assert whole.lag_s is not None
    assert late.lag_s == pytest.approx(whole.lag_s, abs=0.006)


def test_gaps_are_not_bridged() -> None:
    t_a, a, t_b, b = pair(5, 0.12)
    seen = (np.abs(t_a - 8.0) > 1.2) & (np.abs(t_a - 19.0) > 0.7)
    found = estimate_lag(t_a[seen], a[seen], t_b, b)
    assert found.determined
    assert found.lag_s == pytest.approx(0.12, abs=0.008)


def test_the_later_one_has_the_positive_delay() -> None:
    t_a, a, t_b, b = pair(6, 0.2)
    forth, back = estimate_lag(t_a, a, t_b, b), estimate_lag(t_b, b, t_a, a)
    assert forth.lag_s == pytest.approx(0.2, abs=0.01)
    assert back.lag_s == pytest.approx(-0.2, abs=0.01)


def test_a_known_sign_is_kept_to() -> None:
    t_a, a, t_b, b = pair(7, 0.1)
    assert estimate_lag(t_a, a, t_b, b, sign=-1).lag_s == pytest.approx(0.1, abs=0.01)
    assert not estimate_lag(t_a, a, t_b, b, sign=1).determined


def refused(found: Lag, words: str) -> None:
    assert not found.determined
    assert words in " ".join(found.reasons)


def test_signals_of_different_movements_say_nothing() -> None:
    # 1 in 1000 by chance would be many: of 40 none may pass.
    for seed in range(40):
        t_a, a, _, _ = pair(seed, 0.0)
        _, _, t_b, b = pair(seed + 500, 0.0)
        assert not estimate_lag(t_a, a, t_b, b).determined


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_periodic_movement_has_several_delays(noise: float) -> None:
    rng = np.random.default_rng(8)
    t_a, t_b = stamps(rng, 30.0), stamps(rng, 20.0)
    a = np.sin(2 * np.pi * 2.2 * t_a) + noise * rng.normal(size=len(t_a))
    refused(estimate_lag(t_a, a, t_b, np.sin(2 * np.pi * 2.2 * (t_b - 0.1))), "several delays")


def test_signals_that_do_not_move_say_nothing() -> None:
    t_a, a, t_b, b = pair(9, 0.1)
    found = estimate_lag(t_a, np.full(len(a), 3.0), t_b, b)
    refused(found, "does not change")
    assert found.lag_s is None
    assert found.ci95_s is None
    rng = np.random.default_rng(9)
    refused(estimate_lag(t_a, rng.normal(size=len(a)), t_b, rng.normal(size=len(b))), "hardly resemble")


def test_a_delay_beyond_the_range_is_not_given() -> None:
    found = estimate_lag(*pair(10, 0.3), search_s=(-0.1, 0.1))
    assert not found.determined


def test_much_noise_leaves_it_open_by_more_than_a_millimetre() -> None:
    found = estimate_lag(*pair(11, 0.1, noise=1.5))
    assert not found.determined
    if found.ci95_s is not None:
        assert (found.ci95_s[1] - found.ci95_s[0]) / 2 > DETERMINED_HALF_WIDTH_S or found.reasons


def test_series_apart_in_time_say_nothing() -> None:
    t_a, a, t_b, b = pair(12, 0.1)
    refused(estimate_lag(t_a, a, t_b + 500.0, b), "do not overlap")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, x: (t, x[:-1]), "times and"),
        (lambda t, x: (t[:5], x[:5]), "finite samples"),
        (lambda t, x: (np.full(len(t), 1.0), x), "two samples at one time"),
        (lambda t, x: (t, np.full(len(x), np.nan)), "finite samples"),
    ],
)
def test_what_is_no_series_is_refused(change, words: str) -> None:  # type: ignore[no-untyped-def]
    t_a, a, t_b, b = pair(13, 0.1)
    with pytest.raises(InputError, match=words):
        estimate_lag(t_a, a, *change(t_b, b))
    with pytest.raises(InputError, match="no range"):
        estimate_lag(t_a, a, t_b, b, search_s=(0.1, 0.1))


@pytest.mark.parametrize("true_s", [-0.2, -0.05, 0.0, 0.03, 0.13, 0.35])
def test_a_real_movement_told_by_two_series(test_data: Path, true_s: float) -> None:
    """A probe on a breathing patient, 10 s at 50 Hz: odd frames against even ones, which share no sample."""
    track = read_sequence(test_data / "plus_timing" / "TransformInterpolationTest.igs.mha")
    probe = track.transforms["ProbeToTracker"]
    t = np.array([track.times[frame] for frame in probe.frame])
    good = np.flatnonzero([word == "OK" for word in probe.words])
    even, odd = good[::2], good[1::2]
    noise = np.random.default_rng(14).normal(0.0, 0.05, len(odd))
    moved = -2.0 * (probe.matrices[odd, 1, 3] + noise) + 5.0
    found = estimate_lag(t[even], probe.matrices[even, 1, 3], t[odd] + true_s, moved)
    assert found.determined, found.reasons
    assert found.lag_s == pytest.approx(true_s, abs=0.005)
    assert found.ci95_s is not None
    assert found.ci95_s[0] - 0.001 <= true_s <= found.ci95_s[1] + 0.001
    # Across the bed the probe hardly moves: its noise tells nothing.
    still = estimate_lag(t[even], probe.matrices[even, 0, 3], t[odd] + true_s, probe.matrices[odd, 0, 3])
    assert not still.determined
