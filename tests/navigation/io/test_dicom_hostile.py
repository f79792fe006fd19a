"""Files that were made to do harm, and files that were damaged: refused in time, or read, and never more (T18)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from navigation.io import dicom_headers, dicom_identity
from navigation.io.dicom_import import Options, import_folder
from navigation.io.dicom_series import read_folder
from navigation.io.study import import_study, load_study
from tests.campaign import dicom as campaign
from tests.navigation.io import dicom_maker as maker
from tracking.errors import InputError


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_identity, "HASH_ROUNDS", 10)


def imported(folder: Path, out: Path) -> dict[str, object]:
    out.mkdir(exist_ok=True)
    return import_folder(Options(str(folder), str(out)))


def test_two_hundred_damaged_files(test_data: Path) -> None:
    findings = campaign.run(200, seed=11, data=test_data)
    assert findings.clean, str(findings)
    assert findings.inputs == 200
    assert findings.imported > 20
    assert findings.refused > 20


def test_a_bomb_of_deflate_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = maker.stack(maker.ramp())[0]
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = maker.save([ds], tmp_path / "d") / "s000.dcm"
    raw = path.read_bytes()
    # 64 MiB of zeros behind the meta information, in 64 KB
    monkeypatch.setattr(dicom_headers, "MOST_UNPACKED_BYTES", 32 << 20)
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packed.compress(b"\0" * (64 << 20)) + packed.flush()
    start = 132 + 12 + int.from_bytes(raw[140:144], "little")
    path.write_bytes(raw[:start] + bomb)
    with pytest.raises(InputError, match=r"UNREADABLE: s000\.dcm \(unpacks to more than"):
        imported(tmp_path / "d", tmp_path / "out")


def test_a_bomb_of_run_lengths_is_refused(tmp_path: Path) -> None:
    slices = maker.stack(maker.ramp())
    for ds in slices:
        ds.compress(RLELossless)
    # one segment of runs that fill far more than 7 x 6 pixels
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + b"\0" * 56
    item = header + b"\x81\x07" * 100_000
    fragment = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    slices[2].PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + fragment
    slices[2]["PixelData"].is_undefined_length = True
    maker.save(slices, tmp_path / "d")
    with pytest.raises(InputError, match="UNREADABLE"):
        imported(tmp_path / "d", tmp_path / "out")


@pytest.mark.parametrize("frames", [1 << 20, -3, 0x7FFFFFFF])
def test_frames_that_are_not_there(tmp_path: Path, frames: int) -> None:
    ds = maker.spect(maker.ramp((3, 2, 2)), 2.0)
    ds.NumberOfFrames = frames
    maker.save([ds], tmp_path / "d")
    with pytest.raises(InputError, match="UNREADABLE"):
        imported(tmp_path / "d", tmp_path / "out")


def test_a_directory_points_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "SECRET").write_bytes(b"\0" * 128 + b"DICM")
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["UP", "SECRET"]
    ds = maker.base("CT", "1.2.840.10008.1.3.10", "dir", 1)
    ds.DirectoryRecordSequence = Sequence([record])
    maker.save([ds, *maker.stack(maker.ramp())], tmp_path / "d")
    path = tmp_path / "d" / "s000.dcm"
    path.write_bytes(path.read_bytes().replace(b"UP\\SECRET", b"..\\SECRET"))
    contents = read_folder(tmp_path / "d")
    assert contents.skipped == {"DICOMDIR": 1}
    assert all(h.path.parent == tmp_path / "d" for h in contents.headers)


def test_pipes_devices_and_loops_are_passed_over(tmp_path: Path) -> None:
    folder = maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    os.mkfifo(folder / "pipe.dcm")
    (folder / "null.dcm").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.dcm").symlink_to(folder / "nothing")
    contents = read_folder(folder)
    assert len(contents.headers) == 5
    assert contents.unreadable == ()
    assert contents.skipped == {"no regular file": 3}


def test_many_small_files_are_counted(tmp_path: Path) -> None:
    folder = maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    for number in range(500):
        (folder / f"{number}.txt").write_bytes(b"x")
    assert read_folder(folder).skipped == {"not DICOM": 500}


@pytest.mark.parametrize("points", ["1\\2", "1\\2\\x", "nan\\0\\0", "1e9\\0\\0", ""])
def test_contours_that_are_none(tmp_path: Path, points: str) -> None:
    maker.save(maker.stack(maker.ramp()), tmp_path / "d")
    plan = maker.structure_set(["x"])
    maker.contours(plan, 1, [np.array([[11.5, -18.5, 32.0], [14.5, -18.5, 32.0], [14.5, -16.5, 32.0]])] * 2)
    maker.save([plan], tmp_path / "d", "rt")
    path = tmp_path / "d" / "rt000.dcm"
    first = b"11.5\\-18.5\\32\\14.5\\-18.5\\32\\14.5\\-16.5\\32"
    raw = path.read_bytes()
    assert first in raw
    path.write_bytes(raw.replace(first, points.encode().ljust(len(first)), 1))
    imported(tmp_path / "d", tmp_path / "out")
    structure = load_study(tmp_path / "out").structures[0]
    assert structure.notes[0] == "1 damaged contours left out"


PLANTED = {
    "PatientName": "Zwierzyna^Quirin",
    "OtherPatientNames": "Xaverl^Bomhard",
    "PatientID": "ID-77341",
    "OtherPatientIDs": "ALT-99812",
    "PatientBirthDate": "19231104",
    "StudyDate": "20311217",
    "SeriesDate": "20311217",
    "AcquisitionDate": "20311217",
    "ContentDate": "20311218",
    "StudyTime": "101112",
    "AccessionNumber": "ACC5521",
    "StudyID": "SID4711",
    "InstitutionName": "Kreiskrankenhaus Zwiesel",
    "InstitutionAddress": "Arberseestrasse 5",
    "StationName": "STATN77",
    "ReferringPhysicianName": "Holtzapfel^Vroni",
    "OperatorsName": "Gschwendtner",
    "PerformingPhysicianName": "Oberpriller",
    "StudyDescription": "Zwierzyna abdomen",
    "SeriesDescription": "for Quirin",
    "ProtocolName": "Zwierzyna",
    "PatientComments": "cousin of Bomhard",
    "ImageComments": "Quirin moved",
    "SUVType": "BW",
    "CorrectedImage": ["DECY", "ZWIERZYNA"],
}
SECRET = (
    *(
        "zwierzyna",
        "quirin",
        "xaverl",
        "bomhard",
        "77341",
        "99812",
        "19231104",
        "1923-11-04",
        "20311217",
        "2031-12-17",
    ),
    *(
        "20311218",
        "acc5521",
        "sid4711",
        "kreiskrankenhaus",
        "zwiesel",
        "arberseestrasse",
        "statn77",
        "holtzapfel",
    ),
    *("vroni", "gschwendtner", "oberpriller"),
)


def planted(folder: Path, identity_in_uids: bool) -> None:
    """A PET, a plan and a broken file that name their patient wherever something can be named."""
    pet = maker.stack(maker.ramp(), modality="PT", series="b")
    plan = maker.structure_set(["Zwierzyna lesion 17.12.2031", "kidney ID-77341"])
    square = np.array([[11.5, -18.5, 32.0], [14.5, -18.5, 32.0], [14.5, -16.5, 32.0], [11.5, -16.5, 32.0]])
    maker.contours(plan, 1, [square, square + [0.0, 0.0, 2.0]])
    for ds in (*pet, plan):
        for name, value in PLANTED.items():
            setattr(ds, name, value)
        if identity_in_uids:
            ds.SeriesInstanceUID, ds.StudyInstanceUID = "1.2.19231104.3", "1.2.20311217.4"
            ds.FrameOfReferenceUID = "1.2.20311217.5"
            if ds is plan:
                for item in ds.StructureSetROISequence:
                    item.ReferencedFrameOfReferenceUID = "1.2.20311217.5"
        code, tracer = Dataset(), Dataset()
        code.CodeMeaning, code.CodeValue, code.CodingSchemeDesignator = "Zwierzyna 18F", "X", "Y"
        tracer.RadionuclideCodeSequence = Sequence([code])
        tracer.RadiopharmaceuticalStartDateTime = "20311217090000"
        ds.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    maker.save([*pet, plan], folder, "Zwierzyna")


@pytest.mark.parametrize("identity_in_uids", [False, True])
def test_nothing_of_the_patient_leaves_the_reader(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], identity_in_uids: bool
) -> None:
    from navigation.cli.main import run

    planted(tmp_path / "d", identity_in_uids)
    assert run(["study", str(tmp_path / "d"), "--out", str(tmp_path / "out")]) == 0
    shown = capfd.readouterr()
    (tmp_path / "d" / "Zwierzyna-broken.dcm").write_bytes(b"Quirin")
    assert run(["study", str(tmp_path / "d"), "--out", str(tmp_path / "out"), "--force"]) == 2
    refused = capfd.readouterr()
    assert "UNREADABLE" in refused.err
    texts = [shown.out, shown.err, refused.out, refused.err]
    texts += [p.read_bytes().decode("latin-1") for p in (tmp_path / "out").iterdir()]
    texts += [p.name for p in (tmp_path / "out").iterdir()]
    for word in SECRET:
        assert all(word not in text.lower() for text in texts), word
    structures = load_study(tmp_path / "out").structures
    assert [s.name for s in structures] == ["[removed] lesion [removed]", "kidney [removed]"]
    assert structures[0].usable


def test_the_identity_stays_in_its_table(tmp_path: Path) -> None:
    import json

    planted(tmp_path / "d", identity_in_uids=True)
    content = import_study(tmp_path / "d", tmp_path / "out", identified=True)
    patient = content.pop("patient")
    assert patient["name"] == "Zwierzyna^Quirin"
    assert "1.2.20311217.5" in patient["uids"].values()
    text = json.dumps(content).lower()
    assert [word for word in SECRET if word in text] == []
