"""`gammanav calibrate check`: exit codes, a history that loses and doubles nothing, and what it tells over days."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from calibration.daily.checkhistory import linearity, read_history, trends_of, with_check, write_history
from navigation.checkplots import trend_picture, value_words
from navigation.cli.main import run
from tests.calibration.check_scene import (
    ACROSS,
    ON_AXIS,
    SERIAL,
    Check,
    calibration,
    less_sensitive,
    write_check,
    write_probe,
)
from tracking.errors import InputError

# The shortest check that measures: at rest at 30 mm, and across.
BRIEF = (*ON_AXIS[2:4], *ACROSS)


def words(scan: Path, folder: Path, *more: str) -> list[str]:
    probe = folder / "probe.json"
    return ["calibrate", "check", str(scan), "--probe", str(probe), "--out", str(folder / "qc"), *more]


def history(folder: Path) -> list[dict[str, Any]]:
    return read_history(folder / "qc" / "history.jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_probe(tmp_path)
    return tmp_path


def test_two_days_make_a_history_and_its_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in (1, 0):  # the older one is judged later: the history is in order of the scans
        scan = write_check(folder / f"day-{day}", Check(way=BRIEF, day=day, seed=day))
        assert run(words(scan, folder, "--activity-kbq=300", "--operator=A. Physicist")) == 0
    assert "SIMULATION" in capsys.readouterr().out
    rows = history(folder)
    assert [row["time"][:10] for row in rows] == ["2026-01-05", "2026-01-06"]
    newest = json.loads((folder / "qc" / "check.json").read_text())
    assert newest["accepted"] is True
    assert newest["probe_serial"] == SERIAL
    assert newest["probe_id"] == calibration()["id"]
    assert newest["operator"] == "A. Physicist"
    for picture in ("check.png", "trend.png"):
        assert (folder / "qc" / picture).read_bytes().startswith(b"\x89PNG")
    assert len(list((folder / "qc" / "checks").iterdir())) == 2


def test_a_run_that_is_cut_off_may_simply_be_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = write_check(folder / "scan", Check(way=BRIEF))
    with monkeypatch.context() as cut:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        cut.setattr("calibration.daily.checkhistory.write_history", full)
        assert run(words(scan, folder, "--activity-kbq=300")) == 2
    assert not (folder / "qc" / "history.jsonl").exists()
    assert run(words(scan, folder, "--activity-kbq=300")) == 0
    assert len(history(folder)) == 1


def test_a_scan_is_judged_once_unless_asked_and_never_twice_in_the_history(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_check(folder / "scan", Check(way=BRIEF, head=less_sensitive(0.2)))
    assert run(words(scan, folder, "--activity-kbq=300")) == 3
    assert "check failed" in capsys.readouterr().err
    assert run(words(scan, folder, "--activity-kbq=240")) == 2
    assert "--force" in capsys.readouterr().err
    # A case that allows 30 % finds the same scan in order, and says which gate it moved.
    case = folder / "case.toml"
    case.write_text("[gates.check]\nsensitivity = 0.3\nshape = 0.3\n")
    assert run(words(scan, folder, "--activity-kbq=300", "--force", f"--case={case}")) == 0
    newest = json.loads((folder / "qc" / "check.json").read_text())
    assert newest["gates_overridden"] == ["sensitivity 0.3 instead of 0.1", "shape 0.3 instead of 0.08"]
    assert run(words(scan, folder, "--activity-kbq=240", "--force")) == 0
    (row,) = history(folder)
    assert row["accepted"] is True
    # The verdicts it had before are not forgotten.
    assert [before["accepted"] for before in row["earlier"]] == [False, True]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--activity-time=2026-01-05T07:00:00Z"], "--activity-kbq"),
        (["--activity-kbq=300", "--activity-time=soon"], "ISO 8601"),
        (["--source=1,2"], "--source"),
        (["--source=1,2,nan"], "finite"),
        (["--activity-kbq=nan"], "finite"),
        (["--activity-kbq=-3"], "activity"),
        (["--background=nowhere"], "nowhere"),
        (["--tip=nowhere.json"], "nowhere.json"),
    ],
)
def test_bad_input_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    scan = write_check(folder / "scan", Check(way=BRIEF))
    assert run(words(scan, folder, *more)) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "qc").exists()


def test_another_nuclide_is_refused_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_check(folder / "scan", Check(way=BRIEF, nuclide="In-111"))
    assert run(words(scan, folder)) == 3
    assert "In-111" in capsys.readouterr().err
    assert history(folder)[0]["accepted"] is False


def test_the_folder_is_that_of_one_probe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("a", 0, 1.0) | {"probe_serial": "OTHER"}]
    (folder / "qc").mkdir()
    write_history(folder / "qc" / "history.jsonl", rows)
    scan = write_check(folder / "scan", Check(way=BRIEF))
    assert run(words(scan, folder)) == 2
    assert "OTHER" in capsys.readouterr().err
    assert history(folder) == rows


def test_a_damaged_history_is_named_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = write_check(folder / "scan", Check(way=BRIEF))
    (folder / "qc").mkdir()
    path = folder / "qc" / "history.jsonl"
    path.write_text(json.dumps(row("a", 0, 1.0)) + '\n{"id": "b"\n')
    before = path.read_bytes()
    assert run(words(scan, folder)) == 2
    assert "row 2" in capsys.readouterr().err
    assert path.read_bytes() == before


def row(name: str, day: float, constancy: float, **more: Any) -> dict[str, Any]:
    """A check with one figure, known to 1 %."""
    figure = {
        "value": constancy,
        "ci95": [constancy - 0.0196, constancy + 0.0196],
        "tolerance": [0.9, 1.1],
        "status": "pass",
    }
    when = datetime(2026, 1, 5, 7, tzinfo=UTC) + timedelta(days=day)
    return {
        "id": name,
        "time": when.isoformat(),
        "checked": when.isoformat(),
        "accepted": True,
        "reasons": [],
        "nuclide": "Tc-99m",
        "figures": {"constancy": figure},
        **more,
    }


def add_rows(path: Path, first: int) -> None:
    from calibration.daily.checkhistory import locked

    for i in range(first, first + 10):
        with locked(path.parent):
            write_history(path, with_check(read_history(path), row(f"scan-{i}", i, 1.0)))


def test_writers_at_one_time_lose_no_check(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    writers = [
        multiprocessing.get_context("fork").Process(target=add_rows, args=(path, k)) for k in (0, 10, 20)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30.0)
        assert writer.exitcode == 0
    assert [found["id"] for found in read_history(path)] == [f"scan-{i}" for i in range(30)]


def test_a_slow_drift_is_told_before_a_limit_is_crossed(tmp_path: Path) -> None:
    # 1 % a day after a quiet week: on the sixth day of it 6 %, well inside the 10 %.
    rows = [row(f"{d}", d, 1.0 - 0.01 * max(d - 6, 0)) for d in range(13)]
    (trend,) = trends_of(rows)
    assert trend.drift is not None
    assert trend.words is not None
    assert "drifts" in trend.words
    assert trend.times[trend.drift].day >= 5 + 6
    quiet = [row(f"{d}", d, 1.0 + 0.02 * (-1) ** d) for d in range(40)]
    assert trends_of(quiet)[0].drift is None
    trend_picture([trend], {"simulated": True, "probe_serial": None, "nuclide": "Tc-99m"}, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 20_000


def test_a_sealed_source_is_expected_to_decay() -> None:
    rows = [
        row("a", 0, 1.0, strength_kbq=500.0, strength_relative_sd=0.01) | {"nuclide": "Lu-177"},
        row("b", 6.65, 1.0, strength_kbq=250.0, strength_relative_sd=0.01) | {"nuclide": "Lu-177"},
    ]
    strength = next(trend for trend in trends_of(rows) if trend.name == "strength")
    # Lu-177: 6.65 days are one half-life.
    assert strength.values[1] == pytest.approx(1.0, abs=0.01)


def test_linearity_needs_activities_that_differ() -> None:
    def rows(power: float, activities: tuple[float, ...]) -> list[dict[str, Any]]:
        return [row(f"{a}", i, 1.0, declared_kbq=a, strength_kbq=a**power) for i, a in enumerate(activities)]

    assert linearity(rows(1.0, (100.0, 110.0, 120.0))) is None
    straight, bent = (linearity(rows(p, (100.0, 300.0, 1000.0))) for p in (1.0, 0.9))
    assert straight is not None
    assert bent is not None
    assert straight["status"] == "pass"
    assert bent["status"] == "fail"
    assert bent["slope_less_1"] == pytest.approx(-0.1, abs=1e-4)


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("[]\n")
    with pytest.raises(InputError, match="row 1"):
        read_history(path)


def test_figures_are_written_whole() -> None:
    found = {"value": 2089.4, "ci95": [1949.2, 2239.1], "unit": "cps/MBq"}
    assert value_words(found) == "2089 cps/MBq (1949 to 2239)"
    assert value_words({"value": None, "ci95": None, "unit": "mm"}) == "–"
