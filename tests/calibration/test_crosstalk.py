"""Spill between the windows of two nuclides: factors with their covariance, correction, gates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.physics.crosstalk import (
    Measurement,
    calibrate_crosstalk,
    load_crosstalk,
    read_measurement,
)
from calibration.physics.nuclide import nuclide
from navigation.cli.main import run
from tracking.errors import GateRefusedError, InputError

TC, SEED = nuclide("Tc-99m"), nuclide("I-125")
# Rates in cps of the truth: background in both windows, each nuclide in its own, and the factors of spill.
ROOM, OWN, INTO_MAIN, INTO_OTHER = np.array([2.0, 5.0]), np.array([400.0, 300.0]), 0.02, 0.15
HEAD = "source,main_counts,other_counts,live_s\n"
GOOD = HEAD + "Tc-99m,40200,6500,100\nI-125,800,30500,100\nbackground,200,500,100\n"


def counted(rng: np.random.Generator, live_s: float = 100.0) -> Measurement:
    """The truth, counted: rows pure Tc-99m, pure I-125, background."""
    rate = np.array([ROOM + [OWN[0], INTO_OTHER * OWN[0]], ROOM + [INTO_MAIN * OWN[1], OWN[1]], ROOM])
    return Measurement(rng.poisson(rate * live_s).astype(float), np.full(3, live_s))


def saved(tmp_path: Path, content: dict[str, object]) -> Path:
    path = tmp_path / "crosstalk.json"
    path.write_text(json.dumps(content))
    return path


def test_factors_are_found_within_their_own_uncertainty() -> None:
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(400):
        content = calibrate_crosstalk(counted(rng), TC, SEED)
        found = np.array(list(content["factors"].values()))
        pulls.append((found - [INTO_MAIN, INTO_OTHER]) / content["standard_errors"])
    # 400 draws: the mean of a pull is known to 0.05, its standard deviation to 0.035.
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.2
    assert np.std(pulls, axis=0) == pytest.approx([1.0, 1.0], abs=0.12)


def test_the_shared_background_correlates_the_factors() -> None:
    """With much background and few counts both factors move together: the covariance follows the simulated one."""
    rng = np.random.default_rng(6)
    rate = np.array([[120.0, 110.0], [110.0, 120.0], [100.0, 100.0]])
    found, told = [], []
    for _ in range(1500):
        measured = Measurement(rng.poisson(rate * 400.0).astype(float), np.full(3, 400.0))
        content = calibrate_crosstalk(measured, TC, SEED)
        found.append(list(content["factors"].values()))
        told.append(content["covariance"])
    # A covariance of 1500 draws is known to 4 % on its diagonal.
    truth, mean = np.cov(np.array(found).T), np.mean(told, axis=0)
    assert mean == pytest.approx(truth, rel=0.25)
    assert truth[0, 1] < 0.0


def test_a_corrected_pair_has_the_true_rates_and_an_honest_uncertainty(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    path = saved(tmp_path, calibrate_crosstalk(counted(rng, 2000.0), TC, SEED))
    known = load_crosstalk(path)
    true = np.array([30.0, 80.0])
    expected = ROOM + [true[0] + INTO_MAIN * true[1], true[1] + INTO_OTHER * true[0]]
    counts = rng.poisson(expected, size=(4000, 2)).astype(float)
    corrected = known.correct(counts[:, 0], counts[:, 1], np.ones(4000))
    sd = np.sqrt(np.einsum("nii->ni", corrected.covariance))
    # 4000 readings: the mean is known to a 63rd of the standard deviation of one.
    assert np.abs((corrected.rates_cps.mean(axis=0) - true) / sd.mean(axis=0)).max() < 0.1
    assert corrected.rates_cps.std(axis=0) == pytest.approx(sd.mean(axis=0), rel=0.06)
    # Taking the spill away makes the two rates share noise.
    assert corrected.covariance[:, 0, 1].mean() < 0.0


def test_a_rate_below_zero_stays_and_is_counted(tmp_path: Path) -> None:
    known = load_crosstalk(saved(tmp_path, calibrate_crosstalk(counted(np.random.default_rng(8)), TC, SEED)))
    corrected = known.correct(np.array([0.0, 50.0]), np.array([100.0, 20.0]), np.ones(2))
    assert corrected.rates_cps[0, 0] < 0.0
    assert corrected.negative == 1


def test_the_spill_is_a_rate_with_its_deviation(tmp_path: Path) -> None:
    known = load_crosstalk(
        saved(tmp_path, calibrate_crosstalk(counted(np.random.default_rng(9), 5000.0), TC, SEED))
    )
    # 1000 cps of the seed alone beside no Tc-99m: 2 % of it, 20 cps, are counted in the window of Tc-99m.
    spill, sd = known.spill_cps(np.array([22.0, 2.0]), np.array([1005.0, 0.0]), np.ones(2))
    assert spill == pytest.approx([20.0, 0.0], abs=0.6)
    # Counting of the other window alone: 0.02 sqrt(1005) = 0.63 cps.
    assert sd[0] == pytest.approx(0.66, abs=0.06)
    assert sd[1] >= 0.0


def test_windows_that_see_the_same_are_refused(tmp_path: Path) -> None:
    # Both nuclides put 90 % as many counts into either window: condition (1 + 0.9) / (1 - 0.9) = 19.
    same = Measurement(np.array([[1e5, 9e4], [9e4, 1e5], [0.0, 0.0]]), np.full(3, 200.0))
    content = calibrate_crosstalk(same, TC, SEED)
    assert content["accepted"] is False
    assert content["condition"] == pytest.approx(19.0, rel=1e-6)
    assert "do not tell the two apart" in " ".join(content["reasons"])
    with pytest.raises(GateRefusedError, match=r"was refused: condition number 19\.0"):
        load_crosstalk(saved(tmp_path, content))


def test_gates_say_what_is_wrong() -> None:
    few = calibrate_crosstalk(
        Measurement(np.array([[900.0, 1], [3, 5e4], [0, 0]]), np.ones(3) * 100), TC, SEED
    )
    assert few["accepted"] is False and "Tc-99m: 900 net counts" in few["reasons"][0]
    # 500 counts in the main window with the seed and 1000 without any source.
    room = calibrate_crosstalk(
        Measurement(np.array([[5e4, 6e3], [500, 5e4], [1000, 100]]), np.ones(3) * 100), TC, SEED
    )
    assert room["accepted"] is False and "was the background the same" in " ".join(room["reasons"])
    fast = calibrate_crosstalk(
        Measurement(np.array([[5e5, 6e4], [500, 5e5], [10, 10]]), np.ones(3) * 100), TC, SEED
    )
    assert fast["accepted"] is True and "dead time" in " ".join(fast["reasons"])
    below = calibrate_crosstalk(
        Measurement(np.array([[5e4, 6e3], [95, 5e4], [100, 100]]), np.ones(3) * 100), TC, SEED
    )
    assert below["accepted"] is True and below["factors"]["other_into_main"] < 0.0
    assert "below zero by chance" in " ".join(below["reasons"])


def test_an_altered_or_foreign_file_is_refused(tmp_path: Path) -> None:
    content = calibrate_crosstalk(counted(np.random.default_rng(1)), TC, SEED)
    content["factors"]["other_into_main"] = 0.5
    with pytest.raises(GateRefusedError, match="altered"):
        load_crosstalk(saved(tmp_path, content))
    with pytest.raises(InputError, match="no crosstalk calibration"):
        load_crosstalk(saved(tmp_path, {"accepted": True}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source,counts\n", "row 1: columns must be source,main_counts,other_counts,live_s"),
        (HEAD + "Tc-99m,1,2\n", "row 2: 3 columns instead of 4"),
        (HEAD + "Xe-133,1,2,3\n", "row 2: unknown nuclide 'Xe-133'"),
        (HEAD + "In-111,1,2,3\n", "row 2: In-111 is neither Tc-99m nor I-125 nor background"),
        (HEAD + "Tc-99m,-1,2,3\n", "row 2: counts must be >= 0"),
        (HEAD + "Tc-99m,1,2,0\n", "live_s > 0"),
        (HEAD + "# a remark\nTc-99m,1,x,3\n", "row 3: could not convert"),
        (HEAD + "Tc-99m,1,2,3\nI-125,1,2,3\n", "no row of background"),
    ],
)
def test_a_bad_measurement_names_its_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pure.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_measurement(path, TC, SEED)


def test_rows_of_one_source_are_summed(tmp_path: Path) -> None:
    path = tmp_path / "pure.csv"
    path.write_text(GOOD + "99mTc,200,100,50\n")
    measured = read_measurement(path, TC, SEED)
    assert measured.counts[0].tolist() == [40400.0, 6600.0]
    assert measured.live_s.tolist() == [150.0, 100.0, 100.0]


def test_the_command_writes_once_and_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "pure.csv", tmp_path / "crosstalk.json"
    path.write_text(GOOD)
    words = ["calibrate", "crosstalk", str(path), "--nuclide", "99mTc", "--other", "I-125", "--out", str(out)]
    assert run(words) == 0
    # (800 - 200) / (30500 - 500) = 0.02 and (6500 - 500) / (40200 - 200) = 0.15.
    assert "I-125 into the window of Tc-99m: 0.0200" in capsys.readouterr().out
    assert json.loads(out.read_text())["factors"]["main_into_other"] == pytest.approx(0.15)
    assert run(words) == 2
    assert "exists" in capsys.readouterr().err
    path.write_text(HEAD + "Tc-99m,10,1,10\nI-125,1,10,10\nbackground,0,0,10\n")
    assert run([*words, "--force"]) == 3
    assert "crosstalk refused: Tc-99m: 10 net counts" in capsys.readouterr().err
    assert json.loads(out.read_text())["accepted"] is False
    assert run([*words[:-2], "--out", str(tmp_path / "b.json"), "--other", "Tc-99m"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
