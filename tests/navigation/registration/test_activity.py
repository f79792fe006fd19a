"""The targets of the study against the counts of a scan: arithmetic on the reconstruction's own model."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from navigation.cli.main import run
from navigation.reconstruction import ScanState, reconstruct
from navigation.registration.activity import ActivityRegistration, register_activity
from navigation.registration.activityfile import activity_content, activity_words
from navigation.registration.study import load_registration
from navigation.registration.tied import Pose, cross_matrix
from tests.navigation.scan_model import filled, raster, setup

A, B, C = (-12.0, -4.0, -18.0), (13.0, 6.0, -16.0), (2.0, -15.0, -12.0)
SHIFT = np.array([6.0, -6.0, 5.2])  # 9.9 mm


@cache
def scan(*sources: tuple[tuple[float, float, float], float]) -> ScanState:
    return reconstruct(setup(), filled(raster(250), list(sources), 0.3, 4))


def compared(state: ScanState, *believed: np.ndarray) -> ActivityRegistration:
    return register_activity(state, np.array(believed))


PAIR = ((A, 60.0), (B, 60.0))


def test_targets_in_their_place_are_no_alarm() -> None:
    found = compared(scan(*PAIR), np.array(A), np.array(B))
    assert not found.alarm and found.determined
    assert found.length_mm < 2.0 and found.length_ci95_mm[0] == 0.0
    assert all(t.seen for t in found.targets) and not found.unexpected


def test_a_shift_is_told_with_its_size_and_where_the_targets_are() -> None:
    found = compared(scan(*PAIR), np.array(A) - SHIFT, np.array(B) - SHIFT)
    assert found.alarm and "SHIFT ALARM" in activity_words(found)
    assert np.linalg.norm(found.pose.shift_mm - SHIFT) < 2.0
    low, high = found.length_ci95_mm
    assert low < np.linalg.norm(SHIFT) < high and high - low < 8.0
    T = found.T_seen_believed
    np.testing.assert_allclose(T[:3, :3] @ (np.array(A) - SHIFT) + T[:3, 3], found.targets[0].place_mm)


def test_one_shift_of_all_is_more_certain_than_that_of_one_target() -> None:
    both = compared(scan(*PAIR), np.array(A), np.array(B))
    alone = compared(scan(*PAIR), np.array(A))
    assert np.trace(both.covariance_mm2) < 0.8 * np.trace(alone.covariance_mm2)
    assert [s.position_mm for s in alone.unexpected] and np.linalg.norm(
        alone.unexpected[0].position_mm - B
    ) < 4.0


def test_a_target_that_is_gone_is_named_and_moves_nothing() -> None:
    found = compared(scan((A, 60.0)), np.array(A), np.array(B))
    assert [t.seen for t in found.targets] == [True, False]
    assert not found.alarm and "not seen in this scan: target 2" in found.warnings


def test_without_any_focus_nothing_is_stated() -> None:
    found = compared(scan(), np.array(A), np.array(B))
    assert not found.alarm and not found.determined
    assert "no target is seen" in found.reasons[0] and activity_words(found).startswith("no statement")
    content = activity_content(found)
    assert content["shift_mm"] is None and content["shift_alarm"] is False and content["accepted"] is False
    assert content["T_target_source"] == np.eye(4).tolist()


def test_a_hot_unexpected_focus_is_not_taken_for_a_target() -> None:
    # The hot one lies 18 mm from A: a shift of A onto it would leave both true places unexplained.
    hot = (-12.0, 14.0, -15.0)
    found = compared(scan(*PAIR, (hot, 400.0)), np.array(A), np.array(B))
    assert not found.alarm and found.length_mm < 2.5
    assert len(found.unexpected) == 1 and np.linalg.norm(found.unexpected[0].position_mm - hot) < 3.0


def test_one_focus_for_two_targets_is_said_to_be_ambiguous() -> None:
    # The only focus lies in the middle between the two places: either target may be it.
    middle = 0.5 * (np.array(A) + np.array(B))
    found = compared(scan(((0.5, 1.0, -17.0), 60.0)), np.array(A), np.array(B))
    assert np.linalg.norm(found.pose.shift_mm) == pytest.approx(np.linalg.norm(middle - A), abs=3.0)
    assert any("which focus is which target" in w for w in found.warnings)


def test_three_targets_tell_a_turn() -> None:
    places = np.array([A, B, C])
    turn = Pose(np.array([1.0, 2.0, -1.0]), np.array([0.0, 0.0, np.deg2rad(20.0)]))
    # Believed places turn into the true ones by the inverse of what the true ones would need.
    centre = places.mean(axis=0)
    back = np.linalg.inv(turn.matrix(centre))
    believed = places @ back[:3, :3].T + back[:3, 3]
    found = compared(scan(*((p, 150.0) for p in (A, B, C))), *believed)
    # A turn of 10 degrees is expected and 1.5 mm of each place by itself: 20 degrees are told as somewhat less.
    assert 14.0 < np.rad2deg(found.pose.turn_rad[2]) < 22.0
    assert not found.warnings
    T = found.T_seen_believed
    np.testing.assert_allclose(believed @ T[:3, :3].T + T[:3, 3], places, atol=2.5)


def test_the_same_scan_gives_the_same_answer() -> None:
    one = activity_content(compared(scan(*PAIR), np.array(A) - SHIFT, np.array(B) - SHIFT))
    other = activity_content(compared(scan(*PAIR), np.array(A) - SHIFT, np.array(B) - SHIFT))
    assert one == other


def test_places_move_with_the_pose_as_its_jacobian_says() -> None:
    believed = np.array([A, B, C])
    pose = Pose(np.array([1.0, -2.0, 3.0]), np.array([0.1, -0.2, 0.05]))
    jacobian = pose.jacobian(believed, turning=True)
    rng = np.random.default_rng(1)
    # A small rotation in front of the pose's own is what its columns are of.
    step = 1e-6 * rng.normal(size=6)
    moved = Pose(pose.shift_mm + step[:3], np.zeros(3)).shift_mm
    turned = (np.eye(3) + cross_matrix(step[3:])) @ pose.rotation
    centre = believed.mean(axis=0)
    places = (believed - centre) @ turned.T + centre + moved
    np.testing.assert_allclose(places - pose.places(believed), jacobian @ step, atol=1e-10)


def shifted_content() -> dict[str, Any]:
    return activity_content(compared(scan(*PAIR), np.array(A) - SHIFT, np.array(B) - SHIFT))


def registration() -> dict[str, Any]:
    T = np.eye(4)
    T[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    T[:3, 3] = [10.0, 20.0, 30.0]
    return {"T_target_source": T.tolist(), "id": "abc", "accepted": True, "reasons": []}


def accepted(folder: Path, registration: dict[str, Any], proposal: dict[str, Any]) -> int:
    (folder / "reg.json").write_text(json.dumps(registration))
    (folder / "shift.json").write_text(json.dumps(proposal))
    words = ["register", "accept", str(folder / "reg.json"), str(folder / "shift.json"), "--by", "A. Klein"]
    return run([*words, "--out", str(folder / "new.json")])


def test_a_person_takes_the_proposal_into_the_registration(tmp_path: Path) -> None:
    proposal = shifted_content()
    assert accepted(tmp_path, registration(), proposal) == 0
    new = json.loads((tmp_path / "new.json").read_text())
    assert new["confirmed_by"] == "A. Klein" and new["replaces"] == "abc" and new["id"] != "abc"
    # The study's place of a target is what the old registration made of where it was believed to be; the new one
    # finds it where the scan saw it.
    old = np.array(registration()["T_target_source"])
    believed = np.array(proposal["targets"][0]["believed_mm"])
    seen = np.array(proposal["targets"][0]["proposed_mm"])
    T = np.array(new["T_target_source"])
    np.testing.assert_allclose(T[:3, :3] @ seen + T[:3, 3], old[:3, :3] @ believed + old[:3, 3], atol=1e-9)
    assert load_registration(tmp_path / "new.json").id == new["id"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"accepted": False, "reasons": ["no target is seen"]}, 3),
        ({"method": "points"}, 2),
        ({"registration_id": "x"}, 2),
    ],
)
def test_what_is_no_proposal_of_this_registration_corrects_nothing(
    tmp_path: Path, change: dict[str, Any], code: int
) -> None:
    assert accepted(tmp_path, registration(), shifted_content() | change) == code
    assert not (tmp_path / "new.json").exists()


def test_a_refused_registration_is_not_made_a_good_one_by_a_shift(tmp_path: Path) -> None:
    refused = registration() | {"accepted": False, "reasons": ["two landmarks"]}
    assert accepted(tmp_path, refused, shifted_content()) == 3
    assert not (tmp_path / "new.json").exists()


def test_a_lone_focus_far_from_its_target_is_no_shift_of_it() -> None:
    # 26 mm from the only target: as likely a focus that nobody knew of.
    found = compared(scan((A, 60.0)), np.array(A) + [26.0, 0.0, 0.0])
    assert not found.alarm and not found.determined
    assert "may be another" in found.reasons[0]


@pytest.mark.parametrize(
    ("shift", "sd_mm", "words"),
    [
        ([0.5, 0.0, 0.0], 0.4, "no shift beyond"),
        ([0.5, 0.0, 0.0], 4.0, "one of up to 8 mm is not excluded"),
        ([4.0, 0.0, 0.0], 1.0, "a shift of 4.0 mm (95 % 2.0 to 6.0 mm) is seen"),
    ],
)
def test_what_is_not_excluded_is_not_denied(shift: list[float], sd_mm: float, words: str) -> None:
    found = compared(scan(*PAIR), np.array(A), np.array(B))
    told = replace(found, pose=Pose.shifted(np.array(shift)), covariance_mm2=sd_mm**2 * np.eye(3))
    assert words in activity_words(told)
