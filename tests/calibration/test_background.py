"""Counts of a background and of a sheath: exact intervals, a rise that is told, and refusals with their reason."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from calibration.counter.counttest import (
    Counted,
    compare,
    counted,
    cusum,
    dispersion,
    overdispersed_p,
    rate_interval,
)
from calibration.daily.background import PATIENT, ROOM, Background, rise, standing
from calibration.probe.sheath import Sheath, measure
from navigation.cli.main import run
from tracking.errors import InputError


def test_the_interval_of_a_rate_is_garwoods() -> None:
    # Tabulated for 10 counts: 4.795 to 18.39; for none: 0 to 3.689 (-ln 0.025).
    assert rate_interval(10.0, 1.0) == pytest.approx((4.795, 18.39), abs=0.005)
    assert rate_interval(0.0, 2.0) == pytest.approx((0.0, -math.log(0.025) / 2.0))


def test_two_rates_are_compared_by_the_binomial() -> None:
    found = compare(Counted(3.0, 10.0), Counted(9.0, 10.0))
    # P(X >= 9 | n = 12, 1/2) = (220 + 66 + 12 + 1) / 4096.
    assert found.p_rise == pytest.approx(299 / 4096)
    assert found.ratio == pytest.approx(3.0)
    assert compare(Counted(30.0, 10.0), Counted(90.0, 30.0)).sigma == pytest.approx(0.0, abs=0.2)
    # Half is expected to be left: 100 after 100 is a rise, 50 is none.
    assert compare(Counted(100.0, 10.0), Counted(100.0, 10.0), 0.5).sigma > 3.0
    assert compare(Counted(100.0, 10.0), Counted(50.0, 10.0), 0.5).sigma < 1.0


def test_a_false_rise_is_as_rare_as_its_sigma_says() -> None:
    rng = np.random.default_rng(1)
    pairs = rng.poisson(40.0, (4000, 2)).astype(float)
    false = np.mean([compare(Counted(a, 10.0), Counted(b, 10.0)).sigma > 2.0 for a, b in pairs])
    # One-sided 2 sigma is 2.3 %; the exact test is at most that, and not useless.
    assert 0.010 < false <= 0.0228 + 3 * math.sqrt(0.0228 / 4000)


def test_counts_that_scatter_too_much_are_taken_as_fewer() -> None:
    rng = np.random.default_rng(2)
    steady = counted(rng.poisson(20.0, 100), np.full(100, 0.1))
    assert steady.dispersion == 1.0
    wild = counted(rng.poisson(20.0 * rng.gamma(4.0, 0.25, 100)), np.full(100, 0.1))
    # Variance 20 + 400 / 4 = 120 over a mean of 20: six.
    assert 4.0 < wild.dispersion < 9.0
    assert wild.ci95_cps[1] - wild.ci95_cps[0] > 2 * (steady.ci95_cps[1] - steady.ci95_cps[0])


def test_an_expectation_that_is_uncertain_makes_a_deviation_less_surprising() -> None:
    plain, vague = overdispersed_p(1100.0, 1000.0, 0.0), overdispersed_p(1100.0, 1000.0, 0.05)
    assert plain < 0.01
    # 10 % against 5 % and the counts' 3.2 %: 1.7 sigma, two-sided 9 %.
    assert vague == pytest.approx(0.09, abs=0.03)


def test_dispersion_of_repeated_counts() -> None:
    value, p = dispersion([10.0, 10.0, 10.0], [10.0, 10.0, 10.0])
    assert value == 0.0
    assert p == 1.0
    assert dispersion([5.0], [5.0]) == (1.0, 1.0)


def test_a_slow_rise_is_summed_up() -> None:
    _, _, never = cusum([0.3, -0.2, 0.4, -0.5] * 20)
    assert never is None
    up, _, first = cusum([1.5] * 10)
    # One a check above the slack: beyond five at the sixth.
    assert up[5] == pytest.approx(6.0)
    assert first == 5


def background(counts: float, seconds: float = 10.0, kind: str = ROOM) -> Background:
    return Background(kind, Counted(counts, seconds), "Tc-99m")


def test_a_rise_needs_sigma_and_counts() -> None:
    assert rise(background(30.0), background(70.0)).risen
    assert not rise(background(30.0), background(45.0)).risen
    assert not rise(background(0.0), background(6.0)).risen  # six counts in all tell nothing
    with pytest.raises(InputError, match="patient"):
        rise(background(30.0), background(30.0, kind=PATIENT))
    with pytest.raises(InputError, match="In-111"):
        rise(background(30.0), Background(ROOM, Counted(30.0, 10.0), "In-111"))


def test_a_background_that_creeps_up_is_told_before_it_jumps() -> None:
    series = [background(100.0 + 8.0 * k) for k in range(9)]
    assert not any(rise(series[0], each).risen for each in series[:5])
    stands = [slow(series[: k + 1]) for k in range(len(series))]
    assert stands.index(True) <= 5
    assert not slow([background(100.0 + d) for d in (0, 5, -6, 3, -2, 8, -9, 1)])


def slow(series: list[Background]) -> bool:
    found = standing(series)
    return found is not None and found.slowly


def checks(*rates_cps: float) -> list[Background]:
    return [background(10.0 * rate) for rate in rates_cps]


def test_a_slow_rise_stands_until_a_check_is_within_the_slack() -> None:
    # 345 after 300 counts: 45 / sqrt(645) = 1.8 sigma, 1.2 above the slack: beyond five at the fifth check.
    crept = [30.0, 34.0, *[34.5] * 4]
    assert not slow(checks(*crept[:-1]))
    for more in range(4):
        assert slow(checks(*crept, *[34.5] * more))
    # 310 after 300: 10 / sqrt(610) = 0.4 sigma is within the slack of half a sigma, 315 with 0.6 is not.
    assert slow(checks(*crept, 31.5))
    assert not slow(checks(*crept, 31.0))
    # The sum begins anew: one small rise is no drift, four of 1.2 are none, six are.
    assert not slow(checks(*crept, 30.0, 34.5))
    assert slow(checks(*crept, 30.0, *[34.5] * 6))


def test_a_rise_that_was_cleaned_up_is_no_drift_and_hides_none() -> None:
    cleaned = [30.0, 60.0, 30.0, 30.0]
    assert not slow(checks(*cleaned))
    assert not slow(checks(30.0, 60.0, 31.5))
    told = [slow(checks(*cleaned, *[34.5] * k)) for k in range(11)]
    assert not any(told[:4])
    assert all(told[6:])


def test_a_reference_alone_stands_against_nothing() -> None:
    assert standing([background(30.0)]) is None
    found = standing(checks(30.0, 60.0))
    assert found is not None
    assert found.risen
    assert not found.slowly


def folder(path: Path, per_window: float, seconds: float, seed: int = 0, **head: object) -> Path:
    """A scan folder without poses: windows of 0.5 s."""
    path.mkdir()
    counts = np.random.default_rng(seed).poisson(per_window, round(2 * seconds))
    rows = [f"{0.5 * (i + 1):.3f},{n},0.5" for i, n in enumerate(counts)]
    (path / "counts.csv").write_text("\n".join(["t_s,counts,window_s", *rows]) + "\n")
    (path / "scan.json").write_text(json.dumps({"nuclide": "Tc-99m", **head}))
    return path


def command(scan: Path, out: Path, *more: str) -> int:
    return run(["calibrate", "background", str(scan), "--out", str(out), *more])


def test_a_background_is_counted_without_poses_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, later = tmp_path / "first.json", tmp_path / "later.json"
    assert command(folder(tmp_path / "monday", 2.0, 60.0), first) == 0
    found = json.loads(first.read_text())
    assert found["rate_cps"] == pytest.approx(4.0, abs=3 * math.sqrt(4.0 / 60.0))
    assert found["ci95_cps"][0] < found["rate_cps"] < found["ci95_cps"][1]
    assert found["accepted"] is True
    assert command(folder(tmp_path / "tuesday", 2.0, 60.0, 1), later, f"--reference={first}") == 0
    worse = tmp_path / "worse.json"
    assert command(folder(tmp_path / "contaminated", 4.0, 60.0, 2), worse, f"--reference={first}") == 3
    assert "contaminated tip or drape" in capsys.readouterr().err
    assert json.loads(worse.read_text())["accepted"] is False


def fixed(path: Path, rate_cps: float) -> Path:
    """Ten seconds of one window: exactly the counts of `rate_cps`."""
    path.mkdir()
    (path / "counts.csv").write_text(f"t_s,counts,window_s\n10.0,{10.0 * rate_cps:.0f},10.0\n")
    (path / "scan.json").write_text(json.dumps({"nuclide": "Tc-99m"}))
    return path


def judged(where: Path, *rates_cps: float) -> int:
    """Exit code for the last rate, the earlier ones being its references."""
    where.mkdir()
    given: list[str] = []
    for k, rate in enumerate(rates_cps[:-1]):
        command(fixed(where / f"day-{k}", rate), where / f"{k}.json")
        given.append(f"--reference={where / f'{k}.json'}")
    return command(fixed(where / "today", rates_cps[-1]), where / "today.json", *given)


def test_a_clean_count_passes_whatever_rose_before_it(tmp_path: Path) -> None:
    assert judged(tmp_path / "cleaned", 30.0, 60.0, 30.0) == 0
    assert judged(tmp_path / "crept", 30.0, 34.0, *[34.5] * 4, 30.0) == 0
    assert judged(tmp_path / "risen", 30.0, 60.0, 60.0) == 3


def test_a_count_that_creeps_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(tmp_path / "creeping", 30.0, 60.0, 30.0, *[34.5] * 6) == 3
    assert "rises slowly" in capsys.readouterr().err


def test_a_source_that_passed_by_is_no_background(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = folder(tmp_path / "scan", 2.0, 30.0)
    rows = (scan / "counts.csv").read_text().splitlines()
    rows[20:40] = [row.split(",")[0] + ",60,0.5" for row in rows[20:40]]
    (scan / "counts.csv").write_text("\n".join(rows))
    assert command(scan, tmp_path / "out.json") == 3
    assert "rise and fall" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere"),
        (["short"], "at least 2 s"),
        (["counts.csv"], "--nuclide"),
        (["long", "--nuclide=Xx-1"], "unknown nuclide"),
        (["long", "--reference=scan.json"], "no background"),
        (["long", "--kind=sky"], "kind"),
    ],
)
def test_bad_background_input_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "short", 2.0, 1.0)
    folder(tmp_path / "long", 2.0, 10.0)
    (tmp_path / "counts.csv").write_bytes((tmp_path / "long" / "counts.csv").read_bytes())
    (tmp_path / "scan.json").write_text("{}")
    assert command(Path(words[0]), tmp_path / "out.json", *words[1:]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_a_sheath_is_the_ratio_with_its_exact_interval() -> None:
    found = measure(Counted(9700.0, 10.0), Counted(10000.0, 10.0))
    assert found.transmission == pytest.approx(0.97)
    # Relative variance 1/9700 + 1/10000: SD 1.43 %.
    assert found.sd == pytest.approx(0.97 * math.sqrt(1 / 9700 + 1 / 10000), rel=0.02)
    assert found.reasons == ()


def test_room_decay_and_dead_time_are_undone() -> None:
    # True rates 1000 and 950 cps, the source at 98 % of itself, 50 cps of room, 10 us of dead time.
    bare, covered = 1000.0 + 50.0, 0.95 * 0.98 * 1000.0 + 50.0
    seen = [1000.0 * rate / (1.0 + 1e-5 * rate) for rate in (covered, bare)]
    found = measure(Counted(seen[0], 1000.0), Counted(seen[1], 1000.0), Counted(5000.0, 100.0), 0.98, 1e-5)
    assert found.transmission == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize(
    ("covered", "bare", "said"),
    [(12000.0, 10000.0, "more than all"), (3000.0, 10000.0, "no sheath"), (97.0, 100.0, "count longer")],
)
def test_what_is_no_sheath_is_refused(covered: float, bare: float, said: str) -> None:
    assert said in "; ".join(measure(Counted(covered, 10.0), Counted(bare, 10.0)).reasons)


@pytest.mark.parametrize("content", [{}, {"sheath_transmission": 1.2}, {"sheath_transmission": "thin"}])
def test_a_sheath_file_that_is_none_is_named(content: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"sheath\.json"):
        Sheath.of(content, "sheath.json")


def test_the_sheath_command_writes_what_a_case_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, covered = folder(tmp_path / "bare", 500.0, 60.0), folder(tmp_path / "covered", 480.0, 60.0, 1)
    out = tmp_path / "sheath.json"
    words = ["calibrate", "sheath", str(covered), str(bare), "--out", str(out)]
    assert run(words) == 0
    assert "passes 0.9" in capsys.readouterr().out
    sheath = Sheath.of(json.loads(out.read_text()), str(out))
    assert sheath.transmission == pytest.approx(0.96, abs=4 * sheath.sd)
    assert run(words) == 2
    assert "--force" in capsys.readouterr().err
    assert (
        run([*words[:2], str(covered), str(folder(tmp_path / "weak", 100.0, 60.0, 2)), *words[4:], "--force"])
        == 3
    )
    assert "more than all" in capsys.readouterr().err
