"""`gammanav plan`: targets, regions, markers and skin of a study, from the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.cli import main
from navigation.io.points import read_points
from navigation.io.study import Study, import_study, load_study
from navigation.simulate.dicom import write_study
from navigation.simulate.scenes import Scene, build_scene
from navigation.targetplan import propose, surgery_time
from navigation.targets import End, load_targets, save_targets
from navigation.uptake import Uptake, load_regions

REFERENCE_UTC_S = 1.7e9


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene("node", 4)


@pytest.fixture(scope="module")
def imported(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
    write_study(scene, folder / "dicom", REFERENCE_UTC_S)
    import_study(folder / "dicom", folder / "study")
    return folder / "study"


@pytest.fixture
def study(imported: Path, tmp_path: Path) -> Path:
    shutil.copytree(imported, tmp_path / "study")
    return tmp_path / "study"


def run(*words: object) -> int:
    return main.run(["plan", *(str(w) for w in words)])


def in_study(scene: Scene, point: np.ndarray) -> np.ndarray:
    T = scene.patient.T_study_body
    return np.asarray(T[:3, :3] @ point + T[:3, 3])


def test_the_node_is_proposed_with_its_activity_at_surgery(
    scene: Scene, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The scene's activities are those at the reference time, two hours after the image.
    out = study.parent / "targets.mrk.json"
    assert run("targets", study, "--hours", 2, "--out", out) == 0
    targets = load_targets(study)
    node = scene.patient.lesions[0]
    place = in_study(scene, node.centre)
    nearest = min(targets.targets, key=lambda t: float(np.linalg.norm(t.position_mm - place)))
    assert np.linalg.norm(nearest.position_mm - place) < 1.0
    assert nearest.expected_kbq == pytest.approx(node.activity_kbq, rel=0.1)
    assert nearest.origin == "hot spot"
    assert nearest.sd_mm == pytest.approx(2.1, abs=0.2)
    assert targets.after_image_h == pytest.approx(2.0)
    assert targets.simulated
    said = capsys.readouterr().out
    assert "no target: extended uptake 1" in said
    assert "SIMULATION" in said
    assert read_points(out).labels == tuple(t.name for t in targets.targets)
    # Three half-lives of 6.007 h later an eighth is left.
    later = propose(load_study(study), Uptake(), surgery_time(load_study(study).functional, 2.0 + 18.021))
    assert later.targets[0].expected_kbq == pytest.approx((nearest.expected_kbq or 0.0) / 8.0, rel=1e-3)


def test_without_a_time_of_surgery_no_activity_is_told(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("targets", study) == 0
    assert [t.expected_kbq for t in load_targets(study).targets] == [None]
    assert "no time of surgery" in capsys.readouterr().out
    assert run("targets", study, "--surgery", "2023-11-14T22:13:20+00:00") == 0  # the reference time
    assert load_targets(study).after_image_h == pytest.approx(2.0)


def test_what_was_added_by_hand_stays_and_proposals_are_renewed(study: Path) -> None:
    assert run("targets", study, "--add", "node 2, left,12.5,-30,104") == 0
    assert run("targets", study) == 0
    assert run("targets", study, "--hours", 1) == 0
    assert [t.name for t in load_targets(study).targets] == ["node 2, left", "H1"]
    save_targets(study, load_targets(study).ended(End("H1", "removed", "specimen 1", "AB", 5.0)))
    assert run("targets", study) == 0
    assert load_targets(study).target("H1").expected_kbq is not None  # what has ended is not touched
    assert run("targets", study, "--remove", "node 2, left") == 0
    assert [t.name for t in load_targets(study).targets] == ["H1"]


def test_the_time_of_surgery_stays_and_writing_the_list_proposes_nothing(study: Path) -> None:
    assert run("targets", study, "--hours", 3) == 0
    first = load_targets(study)
    assert run("targets", study, "--add", "mine,12.5,-30,104") == 0
    assert run("targets", study, "--remove", "H1") == 0
    assert run("targets", study, "--out", study.parent / "list.csv") == 0
    kept = load_targets(study)
    assert [t.name for t in kept.targets] == ["mine"] and kept.after_image_h == pytest.approx(3.0)
    assert read_points(study.parent / "list.csv").labels == ("mine",)
    assert run("targets", study) == 0
    again = load_targets(study).target("H1")
    assert again.expected_kbq == pytest.approx(first.target("H1").expected_kbq)


def test_a_place_at_the_rim_of_the_image_is_a_target(study: Path) -> None:
    ct = load_study(study).ct
    assert ct is not None
    x, y, z = ct.grid.origin_mm - ct.grid.direction @ [0.0, 0.0, 15.0]
    assert run("targets", study, "--add", f"rim,{x},{y},{z}") == 0
    x, y, z = ct.grid.origin_mm - ct.grid.direction @ [0.0, 0.0, 300.0]
    assert run("targets", study, "--add", f"far,{x},{y},{z}") == 2
    assert [t.name for t in load_targets(study).targets] == ["rim"]


def test_regions_label_targets(scene: Scene, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y, z = in_study(scene, scene.patient.lesions[0].centre) + [4.0, 0.0, 0.0]
    assert run("regions", study, "--add", f"uncinate process,{x},{y},{z},6", "--hot", "1=spleen") == 0
    assert [r.name for r in load_regions(study).regions] == ["uncinate process", "spleen"]
    assert run("targets", study) == 0
    assert load_targets(study).targets[0].label == "possible physiological uptake (uncinate process)"
    assert "possible physiological uptake (spleen)" in capsys.readouterr().out  # the extended one
    assert run("regions", study, "--remove", "uncinate process") == 0
    assert run("targets", study) == 0
    assert load_targets(study).targets[0].label is None


def test_markers_and_skin_are_written(scene: Scene, study: Path, tmp_path: Path) -> None:
    from navigation.surface import read_surface

    assert run("fiducials", study, "--out", tmp_path / "f.csv") == 0
    points = read_points(tmp_path / "f.csv").points_mm
    truth = np.array([in_study(scene, p) for p in scene.patient.fiducials])
    assert np.linalg.norm(points[:, None] - truth, axis=2).min(axis=0).max() < 0.3
    assert run("skin", study, "--out", tmp_path / "skin.ply", "--triangles", 5000) == 0
    assert len(read_surface(tmp_path / "skin.ply")) > 1000
    assert run("bones", study, "--out", tmp_path / "bones.ply") == 0
    assert len(read_surface(tmp_path / "bones.ply")) > 1000


def test_contours_of_a_study_are_targets_once_each(thigh: Study, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(thigh.path, folder)
    assert run("targets", folder, "--hours", 2) == 0
    targets = load_targets(folder)
    first = targets.targets[0]
    assert first.origin == "contour"
    np.testing.assert_allclose(first.position_mm, [70.9, 11.5, -789.2], atol=2.5)
    # 365 mL of SUV 1 to 2.5 on average: 389 MBq in a body of some 70 kg, halved by 110 minutes 1.5 times.
    assert 500.0 < (first.expected_kbq or 0.0) < 4000.0
    assert all("the same place as" in t.note for t in targets.targets[1:])
    assert run("regions", folder, "--contour", f"{first.name}=tumour") == 0
    assert load_regions(folder).regions[0].volume_ml == pytest.approx(365.0, abs=5.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("targets", "STUDY", "--add", "a,1,2"), "NAME,x,y,z"),
        (("targets", "STUDY", "--add", "a,1,2,x"), "NAME,x,y,z"),
        (("targets", "STUDY", "--add", "a,1,2,nan"), "position"),
        (("targets", "STUDY", "--add", ",1,2,3"), "printable"),
        (("targets", "STUDY", "--remove", "a"), "no target 'a'"),
        (("targets", "STUDY", "--surgery", "tomorrow"), "--surgery"),
        (("targets", "STUDY", "--surgery", "2026-01-01T00:00Z", "--hours", "2"), "give one"),
        (("targets", "STUDY", "--surgery", "2026-01-01T00:00"), "zone"),
        (("targets", "STUDY", "--surgery", "2020-01-01T00:00Z"), "before the image was acquired"),
        (("targets", "STUDY", "--add", "a,4000,2,3"), "mm outside series-1, which reaches x"),
        (("targets", "STUDY", "--out", "t.txt"), "written as"),
        (("targets", "none"), "no such file"),
        (("regions", "STUDY", "--add", "a,1,2,3"), "r_mm expected"),
        (("regions", "STUDY", "--add", "a,1,2,3,0"), "radius"),
        (("regions", "STUDY", "--hot", "9=a"), "hot regions"),
        (("regions", "STUDY", "--hot", "a"), "N=NAME"),
        (("regions", "STUDY", "--contour", "Liver"), "no such contour"),
        (("regions", "STUDY", "--remove", "a"), "no region 'a'"),
        (("skin", "STUDY", "--out", "skin.stl"), ".ply"),
        (("bones", "STUDY", "--out", "bones.obj"), ".ply"),
        (("fiducials", "none", "--out", "f.csv"), "no such file"),
    ],
)
def test_wrong_input_is_one_line_and_changes_nothing(
    words: tuple[str, ...], said: str, imported: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = sorted(p.name for p in imported.iterdir())
    code = run(
        *(
            str(imported) if w == "STUDY" else str(tmp_path / w) if "." in w and w[0] in "tsfb" else w
            for w in words
        )
    )
    err = capsys.readouterr().err
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in imported.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_a_contour_of_another_frame_is_named_and_no_target(thigh: Study) -> None:
    other = tuple(replace(s, usable=False, notes=()) for s in thigh.structures)
    proposal = propose(replace(thigh, structures=other), Uptake())
    assert [t for t in proposal.targets if t.origin == "contour"] == []
    told = [line for line in proposal.others if "frame of reference that is not the study's" in line]
    assert len(told) == len(other) == 2


def test_no_file_holds_the_patient(study: Path) -> None:
    run("targets", study, "--hours", 2)
    run("regions", study, "--add", "spleen,0,0,0,30")
    for name in ("targets.json", "regions.json"):
        text = (study / name).read_text()
        assert "SIM-" not in text
        assert "2023-11" not in text and "202311" not in text
        assert json.loads(text)["format"] == 1
