"""Tails of Poisson scores against exact Poisson probabilities, and maxima against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2, norm, poisson

from navigation.tails import (
    activity_at,
    count_excess,
    detectable,
    largest_quantiles,
    normal_equivalent,
    quantile,
)


@pytest.mark.parametrize(("mean", "count"), [(4.0, 12), (20.0, 38), (4.0, 7), (60.0, 90)])
def test_an_excess_of_counts_is_as_improbable_as_it_is(mean: float, count: int) -> None:
    # P(N >= count), with the half count by which a continuous law meets a discrete one.
    excess = np.array([count - 0.5 - mean])
    told = float(norm.sf(normal_equivalent(excess, np.array([mean]), np.array([mean]))[0]))
    assert told == pytest.approx(float(poisson.sf(count - 1, mean)), rel=0.06)


def test_the_plain_score_is_far_off_where_counts_are_few() -> None:
    # Twelve counts where four are expected: 9.2e-4, and 8.8e-5 by the score.
    assert norm.sf(7.5 / 2.0) < 0.15 * poisson.sf(11, 4.0)


def test_the_equivalent_is_smooth_through_zero_and_keeps_the_sign_of_a_symmetric_score() -> None:
    z = np.linspace(-3.0, 3.0, 601)
    bent = normal_equivalent(z, np.ones_like(z), np.full_like(z, 0.2))
    assert (np.diff(bent) > 0.0).all()
    assert np.abs(np.diff(bent, 2)).max() < 1e-3
    assert normal_equivalent(z, np.ones_like(z), np.zeros_like(z)) == pytest.approx(z, abs=1e-3)
    # A score that leans to the left is the mirror image of one that leans to the right.
    mirrored = -normal_equivalent(-z, np.ones_like(z), np.full_like(z, -0.2))
    assert bent == pytest.approx(mirrored)


@pytest.mark.parametrize("z", [-1.6449, 1.6449, 2.3263])
def test_the_series_of_a_quantile_undoes_the_equivalent(z: float) -> None:
    skewness = np.array([0.05, 0.2, 0.4])
    back = normal_equivalent(quantile(z, skewness), np.ones(3), skewness)
    assert back == pytest.approx(z, abs=0.02)


@pytest.mark.parametrize("mean", [1.0, 3.0, 30.0])
def test_bent_draws_have_the_moments_of_counts(mean: float) -> None:
    # Gauss-Hermite: exact for these polynomials. Mean 0, variance and third cumulant the mean of the counts.
    node, weight = np.polynomial.hermite_e.hermegauss(24)
    weight = weight / weight.sum()
    excess = count_excess(node[:, None], np.array([mean]))[:, 0]
    assert weight @ excess == pytest.approx(0.0, abs=1e-12)
    assert weight @ excess**2 == pytest.approx(mean, rel=0.04)
    assert weight @ excess**3 == pytest.approx(mean, rel=0.1)


@pytest.mark.parametrize("observed", [12, 20, 45])
def test_an_upper_limit_is_that_of_an_exact_count(observed: int) -> None:
    # A single reading over a known background of 10, two counts per kBq: Garwood's limit, half a count aside.
    background, per_kbq = 10.0, 2.0
    information, third = np.array([per_kbq**2 / background]), np.array([per_kbq**3 / background**2])
    score = np.array([per_kbq * (observed - background) / background])
    limit = float(activity_at(score, -1.6449, information, third)[0])
    exact = (chi2.ppf(0.95, 2 * observed + 1) / 2.0 - background) / per_kbq
    assert limit == pytest.approx(float(exact), rel=0.03)


def test_what_is_detectable_is_detected_nineteen_times_in_twenty() -> None:
    background = 100.0
    information, third = np.array([1.0 / background]), np.array([1.0 / background**2])
    found = float(detectable(1.6449, 1.6449, information, third, np.zeros(1))[0])
    critical = background + 1.6449 * 10.0 + (1.6449**2 - 1.0) / 6.0
    # A discrete count is detected with at least this probability, less half a count's share (0.5 / 11.6 sd, 0.4 %).
    assert float(poisson.sf(critical - 0.5, background + found)) == pytest.approx(0.95, abs=0.006)
    # A background that swallows part of the source needs more of it.
    assert float(detectable(1.6449, 1.6449, information, third, information / 50.0)[0]) > 1.2 * found


def test_the_maximum_of_a_field_is_exceeded_as_often_as_told() -> None:
    rng = np.random.default_rng(3)
    field = gaussian_filter(rng.standard_normal((6000, 24, 24)), (0, 2.0, 2.0), mode="wrap")
    largest = (field / field.std()).reshape(6000, -1).max(axis=1)
    five, one = largest_quantiles(largest[:1000], (0.05, 0.01))
    # Five thousand others: three binomial standard deviations are 0.9 % and 0.4 %, the fit's own error as much.
    assert float(np.mean(largest[1000:] > five)) == pytest.approx(0.05, abs=0.015)
    assert float(np.mean(largest[1000:] > one)) == pytest.approx(0.01, abs=0.006)
