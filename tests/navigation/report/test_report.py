"""The report of a case written by hand: what it must say, what it must never say, what it does without."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from navigation import pictures
from navigation.cli.main import run
from navigation.report import charts, html, pdf, wording, write_report
from navigation.report.content import document
from navigation.report.html import render_html
from navigation.report.results import read_case
from navigation.report.tables import tables_of
from tests.navigation.case_folder import STATEMENT, dump, write_case, write_scan_folder
from tracking.errors import InputError


def words(report: Path) -> str:
    """The page's text without its styles, pictures and tags, white space collapsed."""
    body = re.sub(r"<style>.*?</style>", "", report.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def is_green(colour: str) -> bool:
    """Green stands out over both others."""
    red, green, blue = to_rgb(colour)
    return green > red + 0.05 and green > blue + 0.05


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    write_case(folder)
    write_report(folder)
    return folder


def test_the_page_says_what_was_found_and_whose_data_these_are(case: Path) -> None:
    said = words(case / "report.html")
    assert STATEMENT in said
    assert "SIMULATION" in said
    assert "research use only" in said.lower()
    assert "92 kBq (95 % interval 71 to 118 kBq)" in said  # the one focus of scan 1
    assert "position depends on a latency known to 9 ms" in said
    assert "DRAFT, not approved by anyone" in said


def test_the_page_promises_nothing(case: Path) -> None:
    said = words(case / "report.html").lower()
    assert not re.search(r"\b(clear|clean|safe|negative margin)\b", said)
    assert "lesion" not in said


def test_nothing_is_green() -> None:
    fixed = [
        *charts.BED_COLOURS,
        pictures.NOT_EXAMINED_FACE,
        *(c for tone in pdf.TONES.values() for c in tone),
    ]
    styles = re.findall(r"#[0-9a-f]{6}\b|#[0-9a-f]{3}\b", html.STYLE)
    scale = matplotlib.colormaps[pictures.ACTIVITY_COLOURS](np.linspace(0.0, 1.0, 64))
    shown = [*fixed, *styles, *(matplotlib.colors.to_hex(c) for c in scale)]
    assert is_green("#00a000")
    assert not [c for c in shown if is_green(c)]


def test_the_pdf_has_pages_and_pictures(case: Path) -> None:
    content = (case / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", content)) >= 3
    assert content.count(b"/Subtype /Image") >= 5


def test_the_bed_is_drawn_as_the_bed_check_has_it(case: Path) -> None:
    report = read_case(case)
    scan = report.scans[1]
    assert scan.bed_map is not None
    assert scan.bed_check is not None
    state, _ = charts.bed_states(scan.bed_map, charts.bed_frame(report, scan, scan.bed_map[:, :3]))
    shown = float((state == charts.COVERED).sum() / np.isfinite(state).sum())
    # The bed's coverage is the same at every depth, so area and tissue agree but for cells cut at its edges.
    assert shown == pytest.approx(scan.bed_check["covered_fraction"], abs=0.04)
    assert (state == charts.NOT_LOOKED).any()


def test_the_bed_never_looks_better_than_its_worst_depth() -> None:
    frame = charts.depth_frame([0.0, 0.0, 0.0], None, np.array([0.0, 0.0, 1.0]))
    places = [[0.0, 0.0, 0.0], [0.0, 0.0, 4.0], [20.0, 0.0, 0.0], [-20.0, 0.0, 0.0], [-20.0, 0.0, 2.0]]
    rest = [[3, 3, 1], [9, 3, 0], [3, 3, 1], [3, 3, 1], [np.nan, np.nan, 0]]
    state, _ = charts.bed_states(np.hstack([places, rest]), frame)
    assert sorted(state[np.isfinite(state)]) == [charts.COVERED, charts.ABOVE, charts.NOT_LOOKED]


def test_recorded_data_are_not_called_simulation(tmp_path: Path) -> None:
    write_case(tmp_path, simulated=False, second=False)
    write_report(tmp_path)
    said = words(tmp_path / "report.html")
    assert "SIMULATION" not in said
    assert "RESEARCH USE ONLY" in said


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    write_case(tmp_path)
    optional = ("mda.nrrd", "activity.nrrd", "scan.json", "surface.csv", "bed.json", "bed_map.csv")
    for name in optional:
        (tmp_path / "scan-2" / name).unlink()
    for name in ("probe.json", "latency.json", "scan-1/surface.csv"):
        (tmp_path / name).unlink()
    write_report(tmp_path)
    said = words(tmp_path / "report.html")
    assert STATEMENT in said
    assert "Probe calibration not found" in said
    assert not list((tmp_path / "pictures").glob("scan-2-*"))


@pytest.mark.parametrize("change", [{"activity_ci95_kbq": "much"}, {"position_mm": [1.0, 2.0]}, {"id": None}])
def test_a_wrong_spot_is_named_with_its_file(tmp_path: Path, change: dict[str, object]) -> None:
    write_case(tmp_path, second=False)
    path = tmp_path / "scan-1" / "spots.json"
    content = json.loads(path.read_text())
    content["spots"][0].update(change)
    dump(path, content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        write_report(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_spots_that_are_no_json_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path, second=False)
    (tmp_path / "scan-1" / "spots.json").write_text('{"spots": [')
    with pytest.raises(InputError, match=r"spots\.json"):
        write_report(tmp_path / "out", tmp_path)


def test_the_command_overwrites_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "case", second=False)
    for heavy in ("activity.nrrd", "scan.json"):  # without them there are no pictures, and no wait for them
        (tmp_path / "case" / "scan-1" / heavy).unlink()
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    assert run(["report", str(tmp_path / "case"), "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "report.html").read_text() == "mine"
    assert run(["report", str(tmp_path / "case"), "--out", str(out), "--force"]) == 0
    assert "92 kBq (95 % interval 71 to 118 kBq)" in words(out / "report.html")


def test_the_command_refuses_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "none.gnav"), "--out", str(tmp_path / "out")]) == 2
    assert "none.gnav" in capsys.readouterr().err
    (tmp_path / "text.gnav").write_text("no record")
    assert run(["report", str(tmp_path / "text.gnav"), "--out", str(tmp_path / "out")]) == 2
    assert run(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_every_scan_of_the_case_is_told_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    scene = write_case(tmp_path, second=False)
    focus = scene.place([4.0, -3.0, 18.0])
    write_scan_folder(tmp_path / "groin left", scene, focus, True, seed=5)
    (tmp_path / "groin left").rename(tmp_path / "a later one")
    counts = tmp_path / "a later one" / "counts.csv"
    rows = [row.split(",") for row in counts.read_text().splitlines()]
    later = [rows[0], *([f"{float(t) + 100.0:g}", *rest] for t, *rest in rows[1:])]
    counts.write_text("\n".join(",".join(row) for row in later))
    assert [s.name for s in read_case(tmp_path).scans] == ["scan-1", "a later one"]
    first = render_html(document(read_case(tmp_path), {}))
    assert "Scan a later one" in first


def test_a_case_registered_in_the_theatre_has_its_places_while_the_registration_is_trusted(
    tmp_path: Path,
) -> None:
    write_case(tmp_path)
    T = np.eye(4)
    T[:3, 3] = [1.0, 2.0, 3.0]
    entry = {"id": "abc", "method": "landmarks", "tre_mm": 2.5, "T_study_reference": T.tolist()}
    for state, trusted in (("verified", True), ("doubtful: the reference has moved", False)):
        dump(tmp_path / "registrations.json", {"registrations": [entry], "state": state})
        case = read_case(tmp_path)
        assert (case.T_ras_reference is not None) is trusted
        if trusted:
            # LPS (1, 2, 3) is RAS (-1, -2, 3).
            assert case.T_ras_reference is not None
            assert case.T_ras_reference[:3, 3] == pytest.approx([-1.0, -2.0, 3.0])


def test_the_tables_hold_what_the_report_shows_with_places_in_the_study(tmp_path: Path) -> None:
    write_case(tmp_path, second=False)
    T = np.eye(4)
    T[:3, 3] = [100.0, 0.0, -50.0]
    dump(tmp_path / "reg.json", {"accepted": True, "T_target_source": T.tolist()})
    row, *more = csv.DictReader(tables_of(read_case(tmp_path))["spots.csv"].splitlines())
    assert not more and row["scan"] == "scan-1" and float(row["activity_kbq"]) == pytest.approx(92.0)
    for axis, shift in (("x", 100.0), ("y", 0.0), ("z", -50.0)):
        assert float(row[f"study_{axis}_mm"]) - float(row[f"{axis}_mm"]) == pytest.approx(shift)


def test_without_a_registration_a_focus_has_no_place_in_a_study(tmp_path: Path) -> None:
    write_case(tmp_path, second=False)
    row = next(csv.DictReader(tables_of(read_case(tmp_path))["spots.csv"].splitlines()))
    assert row["study_x_mm"] == "" and row["x_mm"] != ""


def test_a_bed_is_covered_by_the_same_share_in_every_sentence() -> None:
    # The statement rounds 89.6 % down; a table that said 90 beside it would contradict it.
    assert (
        wording.covered(0.896) == "89 %"
        and wording.covered(1.0) == "100 %"
        and wording.covered(0.999) == "99 %"
    )
    assert "89 % of the outlined bed" in wording.bed_figures(
        {"covered_fraction": 0.896, "threshold_kbq": 8.0}
    )
