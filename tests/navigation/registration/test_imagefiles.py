"""What `register images` reads and refuses to read, and the words of its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from navigation.cli.main import run
from navigation.io.dicom_identity import PatientFacts
from navigation.io.nrrd import write_nrrd
from navigation.registration.imagefiles import (
    OTHER_PATIENT,
    other_patient,
    read_fixed,
    read_initial,
    split_spec,
)
from navigation.registration.images import ImageRegistration
from navigation.registration.imagevolume import ImageVolume
from tests.navigation.registration import imagebench as bench
from tracking.errors import GateRefusedError, InputError


def write(path: Path, volume: ImageVolume, **keys: str) -> Path:
    write_nrrd(path, volume.array, volume.grid, {"modality": volume.modality} | keys)
    return path


def test_an_nrrd_brings_its_modality_and_its_stamp(tmp_path: Path) -> None:
    volume = read_fixed(str(write(tmp_path / "a.nrrd", bench.ct(), simulation="SIMULATION")))
    assert (volume.modality, volume.simulated, volume.name) == ("CT", True, "a.nrrd")
    np.testing.assert_allclose(volume.grid.matrix, bench.CT_GRID.matrix)


def test_a_series_stands_after_the_last_colon(tmp_path: Path) -> None:
    assert split_spec("study:series-2") == (Path("study"), "series-2")
    assert split_spec("study") == (Path("study"), None)
    odd = tmp_path / "a:b.nrrd"
    odd.touch()
    assert split_spec(str(odd)) == (odd, None)


def test_nothing_starts_from_a_refused_registration(tmp_path: Path) -> None:
    path = tmp_path / "reg.json"
    path.write_text(json.dumps({"T_target_source": np.eye(4).tolist(), "accepted": False}))
    with pytest.raises(GateRefusedError, match="not accepted"):
        read_initial(path)
    path.write_text(json.dumps({"T_target_source": np.eye(4).tolist(), "accepted": True}))
    np.testing.assert_array_equal(read_initial(path), np.eye(4))


def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct = str(write(tmp_path / "ct.nrrd", bench.ct()))
    out = tmp_path / "reg.json"
    for words, said in (
        ([ct, str(tmp_path / "none.nrrd"), "--out", str(out)], "none.nrrd"),
        ([ct, ct], "--out is needed"),
        ([ct], "MOVING is missing"),
        ([ct, f"{tmp_path}:series-9", "--out", str(out)], "study.json: no such file"),
    ):
        assert run(["register", "images", *words]) == 2
        complaint = capsys.readouterr().err
        assert said in complaint
        assert complaint.count("\n") == 1
    assert not out.exists()


def test_a_refused_one_is_written_and_ends_with_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = str(write(tmp_path / "ct.nrrd", bench.ct()))
    refused = ImageRegistration(
        np.eye(4), "correlation", 0.1, np.zeros((1, 3)), "moving", np.array([9.0]), ("too far",), ("a doubt",)
    )
    monkeypatch.setattr("navigation.cli.register_images.register_images", lambda *_: refused)
    out = tmp_path / "new" / "reg.json"
    assert run(["register", "images", ct, ct, "--out", str(out)]) == 3
    assert "registration refused: too far" in capsys.readouterr().err
    content = json.loads(out.read_text())
    assert (content["accepted"], content["reasons"]) == (False, ["too far"])
    assert content["residuals_mm"] == []
    assert run(["register", "images", ct, ct, "--out", str(out)]) == 2


def test_a_volume_of_one_slice_is_refused() -> None:
    with pytest.raises(InputError, match="single slice"):
        bench.cropped(bench.ct(), (0, 0, 5), (76, 56, 6))


def test_studies_whose_numbers_differ_are_not_one_patients(tmp_path: Path) -> None:
    def study(name: str, number: str | None, identified: bool = False) -> str:
        (tmp_path / name).mkdir()
        facts = PatientFacts(number or "", "", "", "")
        content = {
            "format": 1,
            "simulated": True,
            "patient": facts.as_json(identified, "1.2.3"),
            "series": [],
        }
        (tmp_path / name / "study.json").write_text(json.dumps(content))
        return str(tmp_path / name)

    one, same, open_, other = (
        study("one", "471"),
        study("same", " 471"),
        study("open", "471", True),
        study("other", "472"),
    )
    unknown, file = study("unknown", None), str(write(tmp_path / "a.nrrd", bench.ct()))
    assert other_patient(one, other) == other_patient(open_, f"{other}:series-1") == OTHER_PATIENT
    for moving in (same, open_, unknown, file):
        assert other_patient(one, moving) is None
