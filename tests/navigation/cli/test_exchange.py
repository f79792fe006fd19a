"""`gammanav import` and `export` between records, sequences, MCAP and scan folders, as a user calls them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.main import run
from tests.tracking.recording.scene import record
from tests.tracking.recording.test_sequences import old_sequence
from tracking.recording import Record, Recorder, read_meta
from tracking.scanfolder import read_scan
from tracking.sequence import read_sequence


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    return printed


def same_folder(one: Path, two: Path) -> None:
    for file in ("poses.csv", "counts.csv", "scan.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


@pytest.mark.parametrize(("form", "name"), [("mha", "case.igs.mha"), ("nrrd", "case.seq.nrrd")])
def test_a_sequence_there_and_back(tmp_path: Path, form: str, name: str) -> None:
    first, file, second = record(tmp_path / "r.gnav"), tmp_path / "out" / name, tmp_path / "again.gnav"
    assert run(["export", str(first), "--to", form, "--out", str(file)]) == 0
    assert run(["import", str(file), "--out", str(second)]) == 0
    assert [p.name for p in file.parent.iterdir()] == [name]  # nothing half-written is left
    for source, folder in ((second, "b"), (file, "c")):
        assert run(["export", str(source), "--out", str(tmp_path / folder)]) == 0
    for scan in ("scan-1", "scan-2"):
        same_folder(tmp_path / "b" / scan, tmp_path / "c" / scan)
        assert (tmp_path / "b" / scan / "counts.csv").read_bytes().count(b"\n") > 9
    assert run(["verify", str(second)]) == 0


def test_one_scan_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"{record(tmp_path / 'r.gnav')}#scan-2"
    assert run(["export", source, "--out", str(tmp_path / "csv")]) == 0
    assert [p.name for p in (tmp_path / "csv").iterdir()] == ["scan-2"]
    assert run(["export", source, "--to", "mha", "--out", str(tmp_path / "x.mha")]) == 0
    # scan-2 begins at 3.0 s: intervals 31 to 39, each 10 + i % 7 counts.
    counts = [c["Counts"] for c in read_sequence(tmp_path / "x.mha").counts.values()]
    assert counts == [10.0 + i % 7 for i in range(31, 40)]
    capsys.readouterr()
    assert run(["export", f"{tmp_path / 'r.gnav'}#scan-9", "--out", str(tmp_path / "y")]) == 2
    assert "has no phase 'scan-9'; it holds scan-1, scan-2" in one_line(capsys)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("mha", ["scan-1.igs.mha", "scan-2.igs.mha"]),
        ("nrrd", ["scan-1.seq.nrrd", "scan-2.seq.nrrd"]),
        ("mcap", ["scan-1.mcap", "scan-2.mcap"]),
    ],
)
def test_into_a_folder_one_file_for_each_scan(tmp_path: Path, form: str, names: list[str]) -> None:
    source = str(record(tmp_path / "r.gnav"))
    assert run(["export", source, "--to", form, "--out", str(tmp_path / "files")]) == 0
    assert sorted(p.name for p in (tmp_path / "files").iterdir()) == names
    assert run(["export", source, "--to", form, "--out", str(tmp_path / "files")]) == 2
    assert run(["export", source, "--to", form, "--out", str(tmp_path / "files"), "--force"]) == 0


def test_existing_files_and_wrong_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(record(tmp_path / "r.gnav"))
    (tmp_path / "x.mha").write_text("mine")
    assert run(["export", source, "--to", "mha", "--out", str(tmp_path / "x.mha")]) == 2
    assert "already exists" in one_line(capsys)
    assert (tmp_path / "x.mha").read_text() == "mine"
    assert run(["export", source, "--to", "mha", "--out", str(tmp_path / "x.mcap")]) == 2
    assert "ends in .mha" in one_line(capsys)
    assert run(["export", source, "--to", "mha", "--out", str(tmp_path / "x.mha"), "--force"]) == 0
    assert len(read_sequence(tmp_path / "x.mha").times) == 200


@pytest.mark.parametrize("form", ["csv", "mha", "nrrd", "mcap"])
def test_a_damaged_record_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    path = record(tmp_path / "r.gnav")
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM event WHERE id = 111")
    database.close()
    suffix = "" if form == "csv" else f".{form}"
    assert run(["export", str(path), "--to", form, "--out", str(tmp_path / f"x{suffix}")]) == 2
    assert "r.gnav" in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["r.gnav"]


def test_a_record_without_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.tracking.recording.scene import messages
    from tracking.recording import Recorder

    with Recorder(tmp_path / "r.gnav", {"nuclide": "Tc-99m"}) as recorder:
        for source, arrival_s, raw in messages():
            recorder.append(source, arrival_s, "raw", raw)
    assert run(["export", str(tmp_path / "r.gnav"), "--out", str(tmp_path / "csv")]) == 2
    assert "holds no scan" in one_line(capsys)
    assert run(["export", str(tmp_path / "r.gnav"), "--to", "mha", "--out", str(tmp_path / "f")]) == 0
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["r.igs.mha"]
    with Recorder(tmp_path / "empty.gnav", {}):
        pass
    assert run(["export", str(tmp_path / "empty.gnav"), "--to", "mha", "--out", str(tmp_path / "e.mha")]) == 2
    assert "neither poses nor counts" in one_line(capsys)


def test_mcap_is_optional(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(record(tmp_path / "r.gnav"))
    assert run(["export", source, "--to", "mcap", "--out", str(tmp_path / "x.mcap")]) == 0
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    assert run(["export", source, "--to", "mcap", "--out", str(tmp_path / "y.mcap")]) == 2
    assert "needs the package mcap" in one_line(capsys)
    assert not (tmp_path / "y.mcap").exists()


def counts_csv(path: Path) -> Path:
    rows = [f"{0.1 * i:.3f},{i},0.1" for i in range(1, 24)]
    path.write_text("t_s,counts,window_s\n" + "\n".join(rows) + "\n")
    return path


def test_an_old_sequence_with_counts_from_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, counts = old_sequence(tmp_path / "old.igs.mha"), counts_csv(tmp_path / "counts.csv")
    tip = tmp_path / "tip.json"
    tip.write_text(json.dumps({"tip_offset_mm": [0.0, 0.0, 70.0], "axis": [0.0, 0.0, 1.0]}))
    out = str(tmp_path / "r.gnav")
    base = ["import", str(old), "--counts", str(counts), "--out", out, "--counts-offset-s", "345.0"]
    assert run(base) == 2
    assert "--nuclide" in one_line(capsys)
    assert not (tmp_path / "r.gnav").exists()
    assert run([*base, "--nuclide", "Tc-99m", "--tip", str(tip)]) == 0
    assert "ProbeToTracker: 1 INVALID of 50 frames not used" in capsys.readouterr().out
    assert run(["export", out, "--out", str(tmp_path / "csv")]) == 0
    scan = read_scan(tmp_path / "csv" / "old")
    assert scan.counts.counts.tolist() == [float(i) for i in range(1, 24)]
    assert scan.tip == {"tip_offset_mm": [0.0, 0.0, 70.0], "axis": [0.0, 0.0, 1.0]}
    assert np.flatnonzero(~scan.poses.visible).tolist() == [7]


def test_options_for_sequences_are_refused_with_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scan").mkdir()
    assert run(["import", str(tmp_path / "scan"), "--probe", "A", "--out", str(tmp_path / "r.gnav")]) == 2
    assert "a scan folder says itself" in one_line(capsys)
    assert run(["export", str(tmp_path / "scan"), "--out", str(tmp_path / "x")]) == 2
    assert "is a folder, not a record" in one_line(capsys)


@pytest.mark.parametrize(
    "content", [b"", b"NRRD0004\n\n", b"ObjectType = Image\nElementDataFile = LOCAL\n", b"\x89PNG"]
)
def test_what_is_no_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "x.mha").write_bytes(content)
    assert run(["import", str(tmp_path / "x.mha"), "--out", str(tmp_path / "r.gnav")]) == 2
    assert "x.mha" in one_line(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mha"]


def test_surface_and_tip_of_a_folder_survive_the_record(tmp_path: Path, test_data: Path) -> None:
    folder = test_data / "recordings" / "source_sweep"
    assert run(["import", str(folder), "--out", str(tmp_path / "r.gnav")]) == 0
    assert run(["export", str(tmp_path / "r.gnav"), "--out", str(tmp_path / "csv")]) == 0
    before, after = read_scan(folder), read_scan(tmp_path / "csv" / "source_sweep")
    assert after.pose_name == before.pose_name == "ProbeToReference"
    assert after.tip == before.tip
    assert np.array_equal(after.counts.counts, before.counts.counts)


def test_an_imported_scan_replays_to_a_map(tmp_path: Path, test_data: Path) -> None:
    """From the folder into a record, into a sequence, into a record that the engine maps."""
    data, probe = test_data / "recordings", tmp_path / "probe.json"
    grid = ["calibrate", "detector", str(data / "probe_grid_Tc-99m.csv"), "--nuclide", "Tc-99m"]
    water = ["--air-water", str(data / "probe_air_water_Tc-99m.json"), "--out", str(probe)]
    assert run([*grid, *water]) == 0
    first, sequence, second = tmp_path / "r.gnav", tmp_path / "occult_ideal.igs.mha", tmp_path / "s.gnav"
    assert run(["import", str(data / "occult_ideal"), "--out", str(first)]) == 0
    assert run(["replay", str(first)]) == 2  # nothing in it says how to map it
    assert run(["export", str(first), "--to", "mha", "--out", str(sequence)]) == 0
    assert run(["import", str(sequence), "--calibration", str(probe), "--out", str(second)]) == 0
    assert run(["replay", str(second), "--out", str(tmp_path / "replayed")]) == 0
    spots = json.loads((tmp_path / "replayed" / "occult_ideal" / "spots.json").read_text())["spots"]
    truth = json.loads((data / "truth" / "occult_ideal.json").read_text())["lesions"][0]["center_mm"]
    assert len(spots) == 1
    # A point fit that knows the background has 3.3 mm median error here; three times that is no chance hit.
    assert np.linalg.norm(np.subtract(spots[0]["position_mm"], truth)) < 10.0


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "..", "a\\x00b", "\\ud800"])
@pytest.mark.parametrize("form", ["csv", "mha"])
def test_a_scan_is_written_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, name: str
) -> None:
    path = tmp_path / "r.gnav"
    payload = f'{{"phase": "{name}", "action": "start"}}'.replace("\\x", "\\u00")
    with Recorder(path, {"nuclide": "Tc-99m"}) as recorder:
        recorder.append("engine", 0.0, "phase", payload.encode())
        for event in Record(record(tmp_path / "good.gnav")).events("raw"):
            recorder.append(event.source, event.arrival_s, event.kind, event.payload)
    before = sorted(tmp_path.rglob("*"))
    assert run(["export", str(path), "--to", form, "--out", str(tmp_path / "a" / "b")]) == 2
    assert "cannot be the name of a file" in one_line(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_import_leaves_nothing_of_the_record_it_overwrites(tmp_path: Path) -> None:
    file, out = tmp_path / "case.mha", tmp_path / "r.gnav"
    assert run(["export", str(record(tmp_path / "first.gnav")), "--to", "mha", "--out", str(file)]) == 0
    with Recorder(tmp_path / "open.gnav", {"nuclide": "F-18"}) as recorder:
        recorder.append("s", 1.0, "note", b"{}")
        while recorder.waiting:
            time.sleep(0.001)
        for ending in ("", "-wal"):  # as a crash would leave them
            shutil.copyfile(f"{tmp_path / 'open.gnav'}{ending}", f"{out}{ending}")
    assert read_meta(out)["nuclide"] == "F-18"
    assert run(["import", str(file), "--out", str(out), "--force"]) == 0
    assert read_meta(out)["nuclide"] == "Tc-99m"
    assert [e.kind for e in Record(out).events("raw", "note")].count("note") == 0
    assert [p.name for p in tmp_path.glob("r.gnav*")] == ["r.gnav"]


def test_a_record_that_is_being_written_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "case.mha", tmp_path / "r.gnav"
    assert run(["export", str(record(tmp_path / "first.gnav")), "--to", "mha", "--out", str(file)]) == 0
    with Recorder(out, {"nuclide": "F-18"}) as recorder:
        assert run(["import", str(file), "--out", str(out), "--force"]) == 2
        assert "recording into it" in one_line(capsys)
        assert recorder.append("s", 1.0, "note", b"{}")
    assert [e.kind for e in Record(out).events()] == ["note"]


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.mha")
    assert run(["export", str(record(tmp_path / "r.gnav")), "--to", "mha", "--out", str(file)]) == 0
    out = tmp_path / os.fsdecode(b"caf\xe9.gnav")
    assert run(["import", str(file), "--out", str(out)]) == 0
    assert read_meta(out)["imported_from"] == "caf?.mha"
    assert run(["export", str(out), "--to", "mcap", "--out", str(tmp_path / "m")]) == 0


def test_nothing_takes_the_place_of_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "case.mha"
    assert run(["export", str(record(tmp_path / "r.gnav")), "--to", "mha", "--out", str(file)]) == 0
    before = file.read_bytes()
    capsys.readouterr()
    (tmp_path / "link.gnav").symlink_to(file)
    for words in (["import"], ["export", "--to", "mha"]):
        assert run([*words, str(file), "--out", str(file), "--force"]) == 2
        assert "the source itself" in one_line(capsys)
    assert run(["import", str(file), "--out", str(tmp_path / "link.gnav"), "--force"]) == 2
    assert "the source itself" in one_line(capsys)
    assert run(["import", str(file), "--out", str(tmp_path / "new.nrrd")]) == 2
    assert "taken for a sequence" in one_line(capsys)
    assert file.read_bytes() == before
    assert not (tmp_path / "new.nrrd").exists()
