"""The specimen: the size of activities at its uptake, what it holds by counts, and whether the balance closes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from navigation.exvivo import Take, ball_radius_mm, measure
from navigation.report.wording import removed_sentence
from navigation.specimen import Specimen, balance, read_specimen
from tests.navigation.scan_model import response
from tracking.errors import InputError

TC = nuclide("Tc-99m")


def expected(distance_mm: float, volume_ml: float, kbq: float) -> float:
    """cps of a ball of water by brute force: points drawn at random in it, their way out found by small steps."""
    rng, radius = np.random.default_rng(7), ball_radius_mm(volume_ml)
    points = rng.uniform(-radius, radius, (6_000, 3))
    points = points[np.linalg.norm(points, axis=1) <= radius] + [0.0, 0.0, distance_mm]
    steps = np.linspace(0.0, 1.0, 200)[None, :, None]
    way = points[:, None] * (1.0 - steps[:, ::2])
    inside = np.linalg.norm(way - [0.0, 0.0, distance_mm], axis=2) <= radius
    path = inside.mean(axis=1) * np.linalg.norm(points, axis=1)
    return kbq * float(response().in_tissue(np.hypot(points[:, 0], points[:, 1]), points[:, 2], path).mean())


@pytest.mark.parametrize(("uptake", "size"), [(100.0, 3.42), (20.0, 5.85)])
def test_an_activity_has_the_size_of_a_ball_of_its_uptake(uptake: float, size: float) -> None:
    # 2.1 kBq at 100 kBq/mL are 21 mm3: the diameter is the cube root of 6 * 21 / pi.
    told = Specimen(2 * uptake, (2 * uptake, 2 * uptake), 2.0).ball_mm(2.1)
    assert told is not None
    assert told[0] == pytest.approx(size, abs=0.01)


def test_a_size_is_as_uncertain_as_the_cube_root_of_the_uptake() -> None:
    told = Specimen(80.0, (40.0, 160.0), 1.0).ball_mm(5.0)
    assert told is not None
    size, (low, high) = told
    assert high / size == pytest.approx(2.0 ** (1 / 3), rel=1e-6)
    assert size / low == pytest.approx(2.0 ** (1 / 3), rel=1e-6)
    assert Specimen(80.0, (40.0, 160.0)).ball_mm(5.0) is None


def test_a_balance_that_closes_warns_of_nothing() -> None:
    assert balance(60.0, (50.0, 70.0), Specimen(55.0, (48.0, 63.0))).warning is None


@pytest.mark.parametrize(
    ("held", "words"), [(30.0, "is the rest in the field"), (95.0, "more than the scans say")]
)
def test_a_balance_that_does_not_close_says_which_way(held: float, words: str) -> None:
    found = balance(60.0, (50.0, 70.0), Specimen(held, (0.9 * held, 1.1 * held)))
    assert not found.closes
    assert found.warning is not None and words in found.warning
    assert found.missing_kbq == pytest.approx(60.0 - held)


def test_a_specimen_is_brought_to_the_time_of_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "specimen.json"
    content = {"activity_kbq": 40.0, "ci95_kbq": [36.0, 44.0], "mass_g": 4.0, "nuclide": "Tc-99m"}
    path.write_text(json.dumps(content | {"reference_time": "2026-01-01T16:00:00+00:00"}), encoding="utf-8")
    found = read_specimen(path, TC, "2026-01-01T10:00:00Z")
    # Counted six hours after the reference time: it had twice as much then, half-life 6.0 h.
    assert found.activity_kbq == pytest.approx(80.0, rel=0.01)
    assert found.uptake_kbq_per_ml == pytest.approx(20.0, rel=0.01)


@pytest.mark.parametrize(
    "content",
    [
        {"ci95_kbq": [1, 2]},
        {"activity_kbq": 5, "ci95_kbq": [6, 7]},
        {"activity_kbq": 5, "ci95_kbq": [4]},
        {"activity_kbq": 5, "ci95_kbq": [4, 6], "volume_ml": 0},
        {"activity_kbq": 5, "ci95_kbq": [4, 6], "nuclide": "In-111"},
        {"activity_kbq": 5, "ci95_kbq": [4, 6], "accepted": False},
        {"activity_kbq": 5, "ci95_kbq": [4, 6], "reference_time": "noon"},
    ],
)
def test_a_malformed_specimen_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    path = tmp_path / "specimen.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError):
        read_specimen(path, TC, "2026-01-01T10:00:00Z")


@pytest.mark.parametrize("volume_ml", [0.5, 14.0])
def test_counts_at_two_distances_give_the_activity(volume_ml: float) -> None:
    takes = tuple(Take(20.0 * (expected(d, volume_ml, 60.0) + 2.0), 20.0, d) for d in (50.0, 80.0))
    found = measure(response(), takes, Take(60.0, 30.0, 50.0), volume_ml)
    assert found.activity_kbq == pytest.approx(60.0, rel=0.03)
    low, high = found.ci95_kbq
    assert low < 60.0 < high
    assert found.accepted
    assert not any("differ" in reason for reason in found.reasons)


def test_an_interval_holds_what_was_counted_nineteen_times_in_twenty() -> None:
    # Chance of the counts and of the ruler; the scale of the probe, which the interval has too, is exact here.
    rng, held = np.random.default_rng(5), 0
    rate = {d: expected(d, 2.0, 8.0) for d in (50.0, 51.0, 49.0, 80.0)}
    slope = (rate[51.0] - rate[49.0]) / 2
    for _ in range(200):
        near = rate[50.0] + slope * rng.normal()
        takes = (
            Take(float(rng.poisson(10 * (near + 2))), 10.0, 50.0),
            Take(float(rng.poisson(10 * (rate[80.0] + 2))), 10.0, 80.0),
        )
        low, high = measure(response(), takes, Take(float(rng.poisson(60)), 30.0, 50.0), 2.0).ci95_kbq
        held += low <= 8.0 <= high
    # 190 of 200 at 95 %; fewer than 183 has a chance of 1 %.
    assert held >= 183


def test_a_wrong_distance_shows_in_the_second_take() -> None:
    takes = tuple(Take(60.0 * expected(d - 15.0, 1.0, 60.0), 60.0, d) for d in (50.0, 100.0))
    assert any(
        "differ" in reason for reason in measure(response(), takes, Take(0.0, 60.0, 50.0), 1.0).reasons
    )


def test_it_says_what_to_count_next() -> None:
    one = Take(1000.0, 10.0, 50.0)
    assert "without the specimen" in str(measure(response(), (one,), None, 1.0).next)
    room = Take(20.0, 10.0, 50.0)
    assert "80 mm" in str(measure(response(), (one,), room, 1.0).next)
    weak = (Take(60.0, 10.0, 50.0), Take(35.0, 10.0, 80.0))
    assert "s more" in str(measure(response(), weak, room, 1.0).next)
    assert measure(response(), (one, replace(one, distance_mm=51.0)), room, 1.0).next is None


def test_nothing_above_the_room_is_no_measurement() -> None:
    found = measure(response(), (Take(20.0, 10.0, 50.0),), Take(21.0, 10.0, 50.0), 1.0)
    assert not found.accepted
    assert "hardly above" in " ".join(found.reasons)


def test_a_probe_within_the_specimen_is_refused() -> None:
    with pytest.raises(InputError, match="within a specimen"):
        measure(response(), (Take(20.0, 10.0, 10.0),), None, 14.0)


def test_the_report_says_whether_the_balance_closes() -> None:
    check = {"removed_kbq": 60.0, "removed_ci95_kbq": [50.0, 70.0]}
    found = [balance(60.0, (50.0, 70.0), Specimen(held, (0.9 * held, 1.1 * held))) for held in (58.0, 30.0)]
    closed, opened = (removed_sentence(check | {"specimen_balance": b.to_json()}) for b in found)
    assert closed is not None and closed.endswith("the balance closes within what both are known to.")
    assert opened is not None and "are missing. The balance does not close." in opened
    assert "would close the balance" in str(removed_sentence(check))
