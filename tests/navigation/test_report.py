from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from navigation.cli.report import command
from navigation.report import write_report
from navigation.report.geometry import depth_below_surface_mm, depth_frame
from navigation.report.maps import ceiling_kbq_per_ml
from navigation.report.results import read_case
from navigation.report.wording import doubts, found_sentences, percent
from tests.navigation.case_folder import FOCUS_DEPTH_MM, STATEMENT, dump, tilted_scene, write_case
from tracking.errors import InputError


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case") / "out"
    write_case(folder)
    write_report(folder)
    return folder


def text_of(folder: Path) -> str:
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"data:image/png;base64,[^\"]*", "", page)
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S))


def test_report_says_what_was_found_and_what_is_open(reported: Path) -> None:
    text = text_of(reported)
    assert "SIMULATION" in text
    assert "RESEARCH USE ONLY" in text
    assert STATEMENT in text
    assert "One focus of activity found" in text
    assert "92 kBq (95 % interval 71 to 118 kBq)" in text
    assert f"{FOCUS_DEPTH_MM:.0f} mm below the touched surface" in text
    assert "BED ONLY PARTLY ASSESSED" in text
    assert "DRAFT" in text
    assert "position depends on a latency known to 9 ms" in text
    assert "Removed between the scans: 89 kBq" in text


def test_report_never_promises(reported: Path) -> None:
    text = text_of(reported).lower()
    for word in ("lesion", "all clear", "is clear", "clean", "tumour-free", "r0"):
        assert word not in text
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert "green" not in page.lower()


def test_html_needs_no_other_file_and_shows_every_picture(reported: Path) -> None:
    page = (reported / "report.html").read_text(encoding="utf-8")
    embedded = {base64.b64decode(d) for d in re.findall(r'src="data:image/png;base64,([^"]*)"', page)}
    pictures = {p.read_bytes() for p in (reported / "pictures").glob("*.png")}
    assert embedded <= pictures
    assert len(embedded) > 4
    assert 'src="http' not in page
    assert "href=" not in page


def test_pdf_has_pages_and_its_own_fonts(reported: Path) -> None:
    content = (reported / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", content)) >= 4
    assert b"DejaVuSans" in content


def test_a_real_case_carries_no_simulation_stamp(tmp_path: Path) -> None:
    write_case(tmp_path / "out", simulated=False, second=False)
    write_report(tmp_path / "out")
    assert "SIMULATION" not in text_of(tmp_path / "out")


def test_one_simulated_source_stamps_the_whole_case(tmp_path: Path) -> None:
    write_case(tmp_path / "out", simulated=False)
    content = json.loads((tmp_path / "out/scan-2/spots.json").read_text())
    dump(tmp_path / "out/scan-2/spots.json", content | {"simulated": True})
    assert read_case(tmp_path / "out").simulated


def test_nothing_found_is_a_limit(tmp_path: Path) -> None:
    write_case(tmp_path / "out")
    (words,) = found_sentences(read_case(tmp_path / "out").scans[1])
    assert words.startswith("No focus of activity was detected.")
    assert "kBq would have been seen with 95 % probability" in words


def test_an_unusable_spot_is_listed_but_not_found(tmp_path: Path) -> None:
    write_case(tmp_path / "out", second=False)
    path = tmp_path / "out/scan-1/spots.json"
    content = json.loads(path.read_text())
    content["spots"][0]["quality"] = "unusable"
    dump(path, content)
    scan = read_case(tmp_path / "out").scans[0]
    assert (len(scan.spots), len(scan.accepted_spots)) == (1, 0)
    assert found_sentences(scan)[0].startswith("No focus")


def test_doubts_name_their_origin_once(tmp_path: Path) -> None:
    write_case(tmp_path / "out")
    found = doubts(read_case(tmp_path / "out"))
    assert "Scan 2, bed check: an edge of the bed was not examined" in found
    assert any(d.startswith("Probe calibration: the grid ends") for d in found)
    assert len(found) == len(set(found))


def test_quiet_scan_shares_the_scale_of_the_focus(tmp_path: Path) -> None:
    # The peak is 9.15 kBq/mL; its mean over a cube of 4 mm half side is some 60 % of it, far above 0.15.
    write_case(tmp_path / "out")
    assert 4.0 < ceiling_kbq_per_ml(read_case(tmp_path / "out")) < 9.2


@pytest.mark.parametrize(
    ("fraction", "words"), [(0.997, "99.7 %"), (0.9999, "99.9 %"), (1.0, "100 %"), (None, "unknown")]
)
def test_a_share_is_never_rounded_up_to_the_whole(fraction: float | None, words: str) -> None:
    assert percent(fraction) == words


def test_depth_is_measured_across_the_tilted_skin(tmp_path: Path) -> None:
    scene = write_case(tmp_path / "out")
    surface = read_case(tmp_path / "out").scans[0].surface_mm
    for depth in (3.0, 18.0, 40.0):
        # The skin is a plane with 0.3 mm noise.
        assert depth_below_surface_mm(scene.place([5.0, 6.0, depth]), surface) == pytest.approx(
            depth, abs=1.0
        )
    assert depth_below_surface_mm([0, 0, 0], None) is None


def test_depth_frame_is_right_handed_and_puts_the_patients_left_at_the_right() -> None:
    scene = tilted_scene()
    x, y = np.meshgrid(np.arange(-21.0, 22.0, 7.0), np.arange(-21.0, 22.0, 7.0))
    skin = scene.place(np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1))
    ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    frame = depth_frame(scene.place([0, 0, 20.0]), skin, scene.T[:3, 2], ras)
    assert frame.into == pytest.approx(scene.T[:3, 2])
    # Seen from outside: right x up points at the viewer.
    assert np.cross(frame.right, frame.up) == pytest.approx(-frame.into)
    assert float((ras[:3, :3] @ frame.right)[0]) < -0.5
    assert frame.coordinates(scene.place([0, 0, 20.0]))[0] == pytest.approx([0, 0, 20.0], abs=1e-6)


def test_without_results_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results"):
        write_report(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("scan-1/spots.json", "{", "spots.json"),
        ("scan-1/spots.json", '{"spots": [{"id": 1}]}', "spots.json, spot 1"),
        ("scan-1/mda.nrrd", "no volume", "mda.nrrd"),
        ("scan-2/bed_map.csv", "x\n1,2\n", "bed_map.csv"),
        ("probe.json", "[", "probe.json"),
    ],
)
def test_a_broken_result_is_named(tmp_path: Path, file: str, content: str, named: str) -> None:
    write_case(tmp_path / "out")
    (tmp_path / "out" / file).write_text(content)
    with pytest.raises(InputError, match=re.escape(named)):
        write_report(tmp_path / "report", tmp_path / "out")
    assert not (tmp_path / "report").exists()


def test_command_refuses_to_overwrite(reported: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = CliRunner().invoke(command, [str(reported), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert (out / "report.pdf").is_file()
    again = CliRunner().invoke(command, [str(reported), "--out", str(out)])
    assert isinstance(again.exception, InputError)
