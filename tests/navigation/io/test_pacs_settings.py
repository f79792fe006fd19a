"""Which PACS, what is asked and what may come: everything that needs no peer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from navigation.cli.main import run
from navigation.cli.pacs import table
from navigation.io.pacs import SERIES_KEYS, STUDY_KEYS, Query
from navigation.io.pacscontexts import COMPRESSED, MODALITIES, MOST_CONTEXTS, storage_contexts
from navigation.io.pacssettings import Limits, Peer, Tls, is_uid, peer_from_json, read_peer
from navigation.io.pacsstore import INCOMING, Intake
from tests.navigation.io.dicom_maker import CT_STORAGE
from tests.navigation.io.pacs_peer import OTHER, SERIES, STUDY, image
from tracking.errors import InputError

WHOLE = """
host = "192.0.2.7"
port = 104
called_aet = "ARCHIVE"
calling_aet = "ROOM 4"
timeout_s = 12.5
most_files = 500
most_gib = 0.5
[tls]
ca = "ca.pem"
"""


def written(folder: Path, text: str) -> Path:
    (folder / "ca.pem").touch()
    file = folder / "pacs.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_settings_are_read_and_single_values_given_over_them(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    peer = read_peer(file, {"port": None, "host": "192.0.2.8"})
    tls = Tls(str(tmp_path / "ca.pem"))
    limits = Limits(most_files=500, most_bytes=1 << 29)
    assert peer == Peer("192.0.2.8", 104, "ARCHIVE", "ROOM 4", 12.5, limits, tls)
    assert peer_from_json(json.loads(json.dumps(peer.as_json()))) == peer
    assert peer.where == "ARCHIVE at 192.0.2.8:104"


WRONG = {
    "unknown key": (f"{WHOLE.replace('[tls]', '[tsl]')}", "tsl: unknown key"),
    "port as text": (WHOLE.replace("104", '"104"'), "port: '104' is not a whole number"),
    "port too large": (WHOLE.replace("104", "65536"), "port: 65536 is not within 1 to 65535"),
    "yes as a time": (WHOLE.replace("12.5", "true"), "timeout_s: True is not a number"),
    "no time at all": (WHOLE.replace("12.5", "inf"), "timeout_s: inf is not finite"),
    "no time": (WHOLE.replace("12.5", "0"), "timeout_s: 0 is not above 0"),
    "long title": (WHOLE.replace("ARCHIVE", "A" * 17), f"called_aet: {'A' * 17!r} is no application"),
    "backslash": (WHOLE.replace("ROOM 4", "ROOM\\\\4"), "calling_aet: 'ROOM\\\\4' is no application"),
    "no file of trust": (WHOLE.replace("ca.pem", "cb.pem"), "tls.ca: 'cb.pem' is no file"),
    "half a key": (f'{WHOLE}key = "ca.pem"\n', "tls: `certificate` and `key` go together"),
    "nothing allowed": (WHOLE.replace("0.5", "0"), "most_files, most_gib: must be above 0"),
}


@pytest.mark.parametrize(("text", "fault"), WRONG.values(), ids=WRONG.keys())
def test_wrong_settings_are_named(tmp_path: Path, text: str, fault: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError) as told:
        read_peer(file, {})
    assert str(told.value).startswith(f"{file}, {fault}")


def test_a_pacs_that_is_not_named_is_asked_for() -> None:
    with pytest.raises(
        InputError, match=r"^host, called_aet of the PACS: give them or a file with --settings"
    ):
        read_peer(None, {"port": 104})


def found(**values: str) -> dict[str, str]:
    usual = {
        "PatientID": "12",
        "StudyDate": "20261105",
        "ModalitiesInStudy": "CT\\NM",
        "AccessionNumber": "A1",
    }
    return dict.fromkeys(STUDY_KEYS, "") | usual | values


FITS: dict[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "number": ({"patient_id": "12"}, {}, True),
    "another number": ({"patient_id": "12"}, {"PatientID": "123"}, False),
    "number absent": ({"patient_id": "12"}, {"PatientID": ""}, False),
    "wildcards": ({"patient_id": "1?"}, {}, True),
    "a bracket is no wildcard": ({"patient_id": "[1]2"}, {}, False),
    "another accession": ({"accession": "A2"}, {}, False),
    "first day": ({"since": "20261105"}, {}, True),
    "too early": ({"since": "20261106"}, {}, False),
    "last day": ({"until": "20261105"}, {}, True),
    "too late": ({"until": "20261104"}, {}, False),
    "day absent": ({"until": "20261104"}, {"StudyDate": ""}, False),
    "modality": ({"since": "20260101", "modalities": ("PT", "NM")}, {}, True),
    "another modality": ({"since": "20260101", "modalities": ("PT",)}, {}, False),
    "modalities untold": ({"since": "20260101", "modalities": ("PT",)}, {"ModalitiesInStudy": ""}, True),
    "another study": ({"study_uid": STUDY}, {"StudyInstanceUID": OTHER}, False),
}


@pytest.mark.parametrize(("asked", "values", "fits"), FITS.values(), ids=FITS.keys())
def test_an_answer_is_compared_with_the_question(
    asked: dict[str, Any], values: dict[str, str], fits: bool
) -> None:
    assert Query(**asked).fits(found(**values)) is fits


def test_the_question_in_dicom() -> None:
    keys = Query(name="Doe*", since="20261101", until="20261130", modalities=("NM",)).keys()
    asked = {k: v for k, v in keys.items() if v}
    assert asked == {
        "QueryRetrieveLevel": "STUDY",
        "PatientName": "Doe*",
        "StudyDate": "20261101-20261130",
        "ModalitiesInStudy": "NM",
    }
    # Not every peer matches a list: of several modalities we choose ourselves.
    assert Query(patient_id="1", modalities=("CT", "NM")).keys()["ModalitiesInStudy"] == ""
    # One day is a single value, an open end a range without that end (DICOM PS3.4 C.2.2.2.5).
    assert Query(since="20261101", until="20261101").keys()["StudyDate"] == "20261101"
    assert Query(until="20261101").keys()["StudyDate"] == "-20261101"
    assert {"StudyInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"} <= set(SERIES_KEYS)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "what to look for"),
        ({"patient_id": "*", "modalities": ("CT",)}, "what to look for"),
        ({"patient_id": "1\\2"}, "backslash"),
        ({"name": "a\nb"}, "control character"),
        ({"since": "20261102", "until": "20261101"}, "is after"),
        ({"study_uid": "1.2.x"}, "no DICOM UID"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Query(**asked)


def test_contexts_fit_into_one_association() -> None:
    contexts = list(storage_contexts())
    # Three services beside them: verification, find, get.
    assert len(contexts) + 3 <= MOST_CONTEXTS
    assert len(set(contexts)) == len(contexts)
    for name in MODALITIES:
        of_one = list(storage_contexts((name,)))
        assert set(of_one) <= set(contexts)
        assert (name == "RTSTRUCT") != ((of_one[0][0], (COMPRESSED[0],)) in of_one)


def intake_with(folder: Path, **values: str) -> tuple[Intake, Path]:
    intake = Intake(folder, STUDY)
    intake.begin(SERIES)
    intake.incoming.mkdir()
    file = intake.incoming / "tmp1.dcm"
    ds = image("1.2.3.1.1", **values)
    ds.file_meta.MediaStorageSOPClassUID = CT_STORAGE
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.1.1"
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return intake, file


def test_a_file_is_what_the_peer_called_it(tmp_path: Path) -> None:
    intake, file = intake_with(tmp_path)
    assert intake.take(file, CT_STORAGE, "1.2.3.1.2") == 0xA900
    assert (dict(intake.kept_out), intake.foreign, intake.taken) == ({"not what the peer said": 1}, 0, 0)
    # Ten thousand sequences, each in an item of the one before, explicit VR without lengths.
    level = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    file.write_bytes(b"\0" * 128 + b"DICM" + 10_000 * level)
    assert intake.take(file, CT_STORAGE, "1.2.3.1.1") == 0xC000
    assert intake.kept_out["unreadable"] == 1
    assert [p.name for p in tmp_path.rglob("*")] == [INCOMING]


def test_a_file_is_named_by_a_hash(tmp_path: Path) -> None:
    intake, file = intake_with(tmp_path)
    assert intake.take(file, CT_STORAGE, "1.2.3.1.1") == 0
    intake.finish()
    # First 32 digits of SHA-256 of "1.2.3.1.1", by sha256sum.
    assert [p.name for p in tmp_path.iterdir()] == ["9128aa0b6465022dac51a4735127ef7d.dcm"]
    assert (intake.taken, intake.files) == (1, 1)


@pytest.mark.parametrize("text", ["", ".1", "1.", "1..2", "../1", "1" * 65, "1.2\n", "١.٢"])
def test_what_is_no_uid(text: str) -> None:
    assert not is_uid(text)


def test_table_is_aligned() -> None:
    rows = [{"A": "1", "B": "CT\\NM", "C": "x"}, {"A": "22", "B": "", "C": "y"}]
    lines = list(table(rows, {"a": "A", "kind": "B", "c": "C"}))
    assert lines == ["a   kind   c", "1   CT/NM  x", "22         y"]


@pytest.mark.parametrize("words", [["--study", "out"], ["--out", "out"]])
def test_what_is_there_already_is_not_overwritten(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.json").write_text("{}", encoding="utf-8")
    # Port 1 is not asked: the refusal comes first.
    where = ["--host", "127.0.0.1", "--port", "1", "--called-aet", "ANY"]
    assert run(["pacs", "get", STUDY, *where, *words]) == 2
    assert capsys.readouterr().err.startswith("gammanav: out")
    assert (tmp_path / "out" / "study.json").read_text(encoding="utf-8") == "{}"
