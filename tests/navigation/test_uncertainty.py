"""Minimum detectable activity, limits and thresholds against simulation of what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from navigation.likelihood import Counts, fit_linear
from navigation.uncertainty import Nuisance, field_thresholds, score_map

N, LEVEL = 300, 20.0


def scan(activity: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Nuisance]:
    """Counts of a bell-shaped pass over one source in a flat background; the background is refitted each time."""
    row = 0.5 * np.exp(-0.5 * ((np.arange(N) - 150) / 25.0) ** 2)
    live = np.full(N, 0.1)
    counts = rng.poisson(live * (LEVEL + activity * row)).astype(float)
    data = Counts(counts, live)
    design = np.ones((N, 1))
    fit = fit_linear(data, design, np.zeros(1), np.array([LEVEL]))
    return row, counts, Nuisance(data, design, np.zeros(1), fit.rate_cps)


def test_mda_is_detected_nineteen_times_in_twenty_at_five_percent_false_positives() -> None:
    rng = np.random.default_rng(7)
    row, _, nuisance = scan(0.0, rng)
    mda = float(score_map(row[:, None].astype(np.float32), nuisance).mda_kbq[0])

    def positive(activity: float) -> float:
        hits = 0
        for _ in range(800):
            r, _, null = scan(activity, rng)
            hits += float(score_map(r[:, None].astype(np.float32), null).significance[0]) > norm.ppf(0.95)
        return hits / 800

    # Binomial standard deviation of 800 draws at 5 % is 0.8 %; three of them are allowed.
    assert positive(0.0) == pytest.approx(0.05, abs=0.025)
    assert positive(mda) == pytest.approx(0.95, abs=0.025)


def test_upper_limit_holds_in_at_least_its_share_of_scans() -> None:
    rng = np.random.default_rng(8)
    true = 15.0
    above = 0
    for _ in range(600):
        row, _, nuisance = scan(true, rng)
        limit = score_map(row[:, None].astype(np.float32), nuisance).upper_limit_kbq(norm.ppf(0.95))[0]
        above += limit >= true
    # 95 % less three binomial standard deviations (0.9 %).
    assert above / 600 > 0.923


def test_field_threshold_is_exceeded_by_as_many_quiet_scans_as_it_says() -> None:
    rng = np.random.default_rng(9)
    centres = np.linspace(20, 280, 40)
    rows = 0.5 * np.exp(-0.5 * ((np.arange(N)[:, None] - centres) / 12.0) ** 2).astype(np.float32)
    _, _, nuisance = scan(0.0, rng)
    five, one = field_thresholds(rows, nuisance, (0.05, 0.01))
    assert norm.ppf(0.95) < five < one
    largest = []
    for _ in range(600):
        _, _, null = scan(0.0, rng)
        largest.append(float(score_map(rows, null).significance.max()))
    assert float(np.mean(np.array(largest) > five)) == pytest.approx(0.05, abs=0.03)


def test_a_place_without_response_is_not_seen() -> None:
    _, _, nuisance = scan(0.0, np.random.default_rng(10))
    scores = score_map(np.zeros((N, 1), dtype=np.float32), nuisance)
    assert np.isinf(scores.mda_kbq[0])
    assert np.isinf(scores.upper_limit_kbq(1.64)[0])
    assert scores.significance[0] == -np.inf


def test_moments_are_those_of_what_the_background_cannot_make() -> None:
    # Column by column in double precision, over more columns than one block holds.
    rng = np.random.default_rng(11)
    rows = rng.uniform(0.0, 0.5, (120, 300)).astype(np.float32)
    design = np.column_stack([np.ones(120), np.linspace(-1.0, 1.0, 120)])
    precision, rate = np.array([0.0, 3.0]), rng.uniform(10.0, 40.0, 120)
    data = Counts(rng.poisson(0.1 * rate).astype(float), np.full(120, 0.1))
    scores = score_map(rows, Nuisance(data, design, precision, rate))
    weight = 0.1 / rate  # live time over rate: information per cps^2
    curvature = design.T @ (weight[:, None] * design) + np.diag(precision)
    moved = np.linalg.solve(curvature, design.T @ (weight[:, None] * rows))
    rest = rows - design @ moved
    assert scores.information == pytest.approx(weight @ rest**2 + precision @ moved**2, rel=1e-4)
    # Third cumulant of sum_i (rest_i / rate_i) y_i with Poisson y_i of mean 0.1 rate_i.
    third = (0.1 / rate**2) @ rest**3
    assert scores.third == pytest.approx(np.maximum(third, 0.0), rel=1e-3, abs=1e-9)
    absorbed = (0.1 / rate**2) @ (rest**2 * (design @ moved))
    assert scores.absorbed == pytest.approx(np.maximum(absorbed, 0.0), rel=1e-3, abs=1e-9)


def test_thresholds_hold_where_most_readings_have_no_count() -> None:
    # A count in three readings: the plain score would exceed its own normal threshold far more often.
    rng = np.random.default_rng(12)
    centres = np.linspace(10, 290, 60)
    rows = 0.5 * np.exp(-0.5 * ((np.arange(N)[:, None] - centres) / 6.0) ** 2).astype(np.float32)
    live, design = np.full(N, 0.1), np.ones((N, 1))

    def null() -> Nuisance:
        data = Counts(rng.poisson(0.3, N).astype(float), live)
        return Nuisance(
            data, design, np.zeros(1), fit_linear(data, design, np.zeros(1), np.array([3.0])).rate_cps
        )

    five, one = field_thresholds(rows, null(), (0.05, 0.01))
    largest, plain = [], []
    for _ in range(1500):
        scores = score_map(rows, null())
        largest.append(float(scores.significance.max()))
        plain.append(float((scores.score / np.sqrt(scores.information)).max()))
    # Three binomial standard deviations of 1500 draws are 1.7 % and 0.8 %.
    assert float(np.mean(np.array(largest) > five)) == pytest.approx(0.05, abs=0.02)
    assert float(np.mean(np.array(largest) > one)) == pytest.approx(0.01, abs=0.009)
    assert float(np.mean(np.array(plain) > one)) > 0.03


def test_thresholds_follow_the_rate_smoothly() -> None:
    rng = np.random.default_rng(13)
    rows = 0.5 * np.exp(-0.5 * ((np.arange(N)[:, None] - np.linspace(20, 280, 40)) / 12.0) ** 2)
    _, _, nuisance = scan(0.0, rng)
    bases = [
        field_thresholds(rows.astype(np.float32), replace(nuisance, rate_cps=nuisance.rate_cps * f), (0.01,))[
            0
        ]
        for f in (1.0, 1.001)
    ]
    assert bases[0] != bases[1]
    assert abs(bases[1] - bases[0]) < 0.005
