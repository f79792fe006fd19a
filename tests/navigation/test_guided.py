"""Guided calibration end to end: from a bench's sockets over the words to the result of the step's own command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.guided.guidepoints import CountedPlace, PointsGuide
from calibration.tip.posefile import read_poses
from navigation.cli.main import run
from navigation.guided.feed import News
from navigation.guided.session import GONE_S, Outcome, Session, put_aside
from navigation.guided.steps import STEPS, Recorded, Wish, check_source, command_for, done_steps, guide_for
from navigation.guided.windowed import told_of
from tests.navigation.guided_bench import bench
from tracking.counts import CountInterval
from tracking.errors import InputError, SurroundingsError
from tracking.jsonfile import write_json
from tracking.scanfolder import read_scan


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_stylus_is_calibrated_by_words_over_real_sockets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cal"
    with bench("pivot", seed=1) as (stage, tracker, _):
        words = ["calibrate", "guide", "pivot", "--live", f"127.0.0.1:{tracker}", "--tool", "Stylus"]
        code = run([*words, "--headless", "--no-plots", "--longest-s", "60", "--out", str(out)])
        true = stage.scene.equipment.stylus_tip_mm
    said = lines_of(capsys)
    assert code == 0, (said, (out / "tip.json").read_text(encoding="utf-8"))
    assert "SIMULATION" in said
    assert any("tilt the stylus to your left" in line for line in said)
    result = json.loads((out / "tip.json").read_text(encoding="utf-8"))
    assert result["accepted"] is True
    assert result["simulated"] is True
    # The tracker of the bench errs by 0.08 mm and 0.09 degrees at 160 mm; some hundred poses average most of it.
    assert float(np.linalg.norm(np.array(result["tip_offset_mm"]) - true)) < 0.4
    poses = read_poses(out / "tip-poses.csv")
    assert poses.source == "StylusToTracker"
    assert len(poses.matrices) == result["poses"]
    assert done_steps(out) == ["pivot"]


def test_a_background_is_counted_over_real_sockets(tmp_path: Path) -> None:
    with bench("quiet", speed=50.0) as (_, _, probe):
        words = [
            "calibrate",
            "guide",
            "background",
            "--live",
            "127.0.0.1:1",
            "--counter",
            f"127.0.0.1:{probe}",
        ]
        code = run([*words, "--nuclide", "Tc-99m", "--headless", "--longest-s", "60", "--out", str(tmp_path)])
    assert code == 0
    result = json.loads((tmp_path / "background.json").read_text(encoding="utf-8"))
    # 2 cps for up to 60 s: five standard deviations of some 110 counts.
    assert result["rate_cps"] == pytest.approx(2.0, abs=1.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pivot"], "CASE.toml, or --live"),
        (["grid", "--live", "127.0.0.1:9"], "needs --nuclide"),
        (["check", "--live", "127.0.0.1:9", "--nuclide", "Tc-99m"], "needs --response"),
        (["grid", "--live", "127.0.0.1:9", "--nuclide", "Tc-99m"], "--check-source FILE"),
        (["pivot", "--live", "127.0.0.1:1", "--wait", "0.3"], "no connection within 0.3 s"),
        (["pivot", "--live", "nowhere"], "HOST:PORT"),
    ],
)
def test_what_is_missing_is_said_before_a_hand_moves(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calibrate", "guide", *words, "--headless", "--out", str(tmp_path / "cal")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "cal").exists()


def test_an_earlier_result_is_not_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "tip.json", {"accepted": True})
    words = ["calibrate", "guide", "pivot", "--live", "127.0.0.1:1", "--headless", "--out", str(tmp_path)]
    assert run(words) == 2
    assert "--force overwrites it" in capsys.readouterr().err


def wish(tmp_path: Path, step: str) -> Wish:
    tip = tmp_path / "nominal.json"
    write_json(tip, {"tip_offset_mm": [0.0, 0.0, 130.0], "axis": [0.0, 0.0, 1.0]})
    return Wish(
        step,
        tmp_path / "cal",
        nominal=tip,
        source_mm=np.array([1.0, 2.0, 3.0]),
        activity_kbq=300.0,
        nuclide="Tc-99m",
        dead_time_s=1e-5,
    )


def test_the_grids_live_time_is_without_the_dead_time_of_its_counts(tmp_path: Path) -> None:
    asked = wish(tmp_path, "grid")
    guide = guide_for(asked)
    assert isinstance(guide, PointsGuide)
    guide.done_places = [CountedPlace(0, 0.5, 10.0, 20_000.0, 5.0)]
    words = command_for(asked, guide, Recorded())
    assert words[:2] == ["calibrate", "detector"]
    assert words[words.index("--nuclide") + 1] == "Tc-99m"
    (row,) = csv.DictReader((tmp_path / "cal" / "grid.csv").read_text(encoding="utf-8").splitlines())
    # 20,000 counts each blind for 10 us take 0.2 s out of 5 s.
    assert float(row["live_s"]) == pytest.approx(4.8)
    assert float(row["activity_kbq"]) == 300.0


def test_a_sweep_is_written_as_the_scan_it_was(tmp_path: Path) -> None:
    asked = wish(tmp_path, "detector-scan")
    start = 1_800_000_000.25
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 3.0]
    recorded = Recorded(
        [(start, pose), (start + 0.05, None), (start + 0.1, pose)],
        [CountInterval(start + 0.2, 42.0, 0.1, 0.0, 0.1)],
        simulated=True,
    )
    words = command_for(asked, guide_for(asked), recorded)
    assert words[:2] == ["calibrate", "detector-scan"]
    assert "--source=1.0000,2.0000,3.0000" in words
    scan = read_scan(Path(words[2]))
    assert scan.simulated
    assert scan.reference_time == "2027-01-15T08:00:00Z"
    assert list(scan.poses.visible) == [True, False, True]
    assert scan.counts.t_s[0] == pytest.approx(0.45)
    assert scan.tip is not None
    assert scan.tip["tip_offset_mm"] == [0.0, 0.0, 130.0]


def test_the_source_has_decayed_since_it_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "source.json"
    known = {
        "position_mm": [1, 2, 3],
        "activity_kbq": 300.0,
        "nuclide": "Tc-99m",
        "reference_time": "2026-01-01T00:00:00Z",
    }
    write_json(file, known)
    # 2026-01-01 is 1767225600; six hours and a little are the half-life of Tc-99m: 6.0067 h.
    place, activity, name = check_source(file, 1767225600.0 + 6.0067 * 3600.0)
    assert activity == pytest.approx(150.0, rel=1e-3)
    assert list(place) == [1.0, 2.0, 3.0]
    assert name == "Tc-99m"
    write_json(file, {"activity_kbq": 300.0})
    with pytest.raises(InputError, match="no place and activity"):
        check_source(file, 0.0)


def test_a_step_needs_the_tip_it_rests_on(tmp_path: Path) -> None:
    asked = replace(wish(tmp_path, "detector-scan"), nominal=None)
    with pytest.raises(InputError, match="steps pivot and axis first"):
        guide_for(asked)
    # The tip alone is not enough for a sweep, with the axis it is.
    asked.out.mkdir()
    write_json(asked.out / "tip.json", {"tip_offset_mm": [0.0, 0.0, 130.0], "accepted": True})
    with pytest.raises(InputError, match="steps pivot and axis first"):
        guide_for(asked)
    write_json(asked.out / "axis.json", {"axis": [0.0, 0.0, 1.0], "accepted": True})
    assert guide_for(asked).step == "detector-scan"


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_its_guide_and_its_command(step: str, tmp_path: Path) -> None:
    from navigation.cli.guide import NAMES
    from navigation.cli.main import CALIBRATE

    assert step in NAMES
    assert {"grid": "detector"}.get(step, step) in CALIBRATE
    told = guide_for(wish(tmp_path, step)).guidance()
    assert told.step == step
    assert told.progress == 0.0
    assert "waiting" in told.hint


def test_a_result_its_operator_refuses_is_kept_where_nothing_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "tip.json"
    write_json(path, {"accepted": True})
    outcome = Outcome(0, path, {"accepted": True, "reasons": ["a doubt"]}, ())
    assert outcome.accepted
    assert told_of(outcome)["reasons"] == ["a doubt"]
    aside = put_aside(outcome)
    assert aside == tmp_path / "tip-refused-by-operator.json"
    assert json.loads(aside.read_text(encoding="utf-8")) == {"accepted": True}
    assert done_steps(tmp_path) == []
    assert put_aside(outcome) is None


@pytest.mark.parametrize(("code", "content"), [(3, {"accepted": False}), (2, None), (0, {"accepted": False})])
def test_what_the_command_refused_is_not_accepted(code: int, content: dict[str, bool] | None) -> None:
    assert not Outcome(code, Path("tip.json"), content, ()).accepted


def test_a_tracker_that_is_gone_ends_the_step(tmp_path: Path) -> None:
    class Gone:
        lost = ("tracker",)
        simulated = False

        def poll(self) -> News:
            return News((), ())

    clock = iter([0.0, 1.0, 10.0, GONE_S + 2.0, GONE_S + 3.0])
    session = Session(Wish("pivot", tmp_path), Gone(), lambda: next(clock))  # type: ignore[arg-type]
    assert session.state(session.look())["lost"] == ["tracker"]
    with pytest.raises(SurroundingsError, match="tracker: no connection for 15 s"):
        session.look()
        session.look()
