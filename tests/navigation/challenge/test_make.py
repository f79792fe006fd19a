"""The set: complete, the same again from its seed, and telling nothing beside the scans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from navigation.challenge.make import cases_of, make_set
from navigation.cli.main import run
from tracking.scanfolder import read_scan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge") / "set"
    make_set(folder, 2, 7)
    return folder


def test_every_kind_of_case_is_there_in_an_order_that_tells_nothing() -> None:
    cases = cases_of(60, 3)
    assert [c.name for c in cases] == [f"case-{n:03d}" for n in range(1, 61)]
    kinds = [(c.scene, c.phase) for c in cases]
    assert all(kinds.count(kind) == 10 for kind in set(kinds)) and len(set(kinds)) == 6
    assert kinds != [*kinds[:6]] * 10
    assert len({c.seed for c in cases}) == 60
    assert cases == cases_of(60, 3) and cases != cases_of(60, 4)


def test_the_set_holds_scans_bench_data_licence_and_truth_apart(made: Path) -> None:
    for case in cases_of(2, 7):
        folder = made / "cases" / case.name
        assert read_scan(folder).simulated
        assert (folder / "bed.json").is_file() is (case.phase == "scan-2")
        truth = json.loads((made / "truth" / f"{case.name}.json").read_text())
        assert truth["scene"] == case.scene and isinstance(truth["lesions"], list)
        told = " ".join(p.read_text() for p in folder.iterdir())
        assert case.scene not in told and str(case.seed) not in json.dumps(
            json.loads((folder / "scan.json").read_text())
        )
    assert (made / "setup" / "probe_grid.csv").is_file()
    assert "CC BY 4.0" in (made / "LICENSE").read_text()


def test_the_truth_as_an_answer_gets_full_marks(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (made / "truth").glob("*.json"):
        truth = json.loads(file.read_text())
        spots = [
            {"position_mm": s["position_mm"], "activity_kbq": s["activity_kbq"]} for s in truth["lesions"]
        ]
        place = tmp_path / "answers" / truth["case"]
        place.mkdir(parents=True)
        (place / "spots.json").write_text(json.dumps({"spots": spots}))
    words = ["score", str(tmp_path / "answers"), "--set", str(made), "--out", str(tmp_path / "scores")]
    assert run(["challenge", *words]) == 0
    assert "SIMULATION" in capsys.readouterr().out
    figures = json.loads((tmp_path / "scores" / "scores.json").read_text())["summary"]["all"]
    assert figures["answered"] == 2 and figures["false_per_scan"] == 0.0
    share = figures["found"]
    assert share is None or share["share"] == 1.0
