"""`gammanav pacs` with a real Orthanc: find, get, import; nothing lost, nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from navigation.dicomresults import write_dicom
from navigation.io.pacscontexts import COMPRESSED
from navigation.io.study import import_study, load_study
from navigation.report.results import read_case
from navigation.simulate import build_scene
from navigation.simulate.dicom import write_study
from navigation.simulate.folder import REFERENCE_UTC_S
from tests.conftest import REPOSITORY, missing
from tests.interop.room import AET, PORT
from tests.navigation.dicomresults.oblique import write_oblique

SLICES = 16
ROOM = ["unshare", "--user", "--map-root-user", "--net"]
SETTINGS = f'host = "127.0.0.1"\nport = {PORT}\ncalled_aet = "{AET}"\ntimeout_s = 20\n'


class Room:
    """An Orthanc in its own network namespace, and `gammanav` beside it."""

    def __init__(self, folder: Path, program: str) -> None:
        self.files = folder / "dicom"
        write_part(self.files)
        (folder / "orthanc").mkdir()
        self.settings = folder / "pacs.toml"
        self.settings.write_text(SETTINGS, encoding="utf-8")
        self.process = subprocess.Popen(
            [*ROOM, sys.executable, "-m", "tests.interop.room", program, str(folder / "orthanc")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert json.loads(self._line()) == {"listening": PORT}

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def order(self, **words: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def pacs(self, *words: str | Path) -> dict[str, Any]:
        command, *rest = map(str, words)
        return self.order(run=["pacs", command, "--settings", str(self.settings), *rest])

    def end(self) -> None:
        self.process.communicate(timeout=30)


def write_part(folder: Path) -> None:
    """The phantom's SPECT and the first slices of its CT: Orthanc takes some 30 ms to store a file."""
    write_study(build_scene("bed", 1, probe_seed=0), folder, REFERENCE_UTC_S)
    for extra in sorted((folder / "ct").iterdir())[SLICES:]:
        extra.unlink()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        missing("no Orthanc: install orthanc")
    if subprocess.run([*ROOM, "true"], capture_output=True, check=False).returncode != 0:
        missing("no network namespace of our own for Orthanc: unshare is not allowed here")
    room = Room(tmp_path_factory.mktemp("pacs"), str(program))
    try:
        assert room.order(store=str(room.files)) == {"stored": SLICES + 1}
        yield room
    finally:
        room.end()


def uid_of(files: Path, keyword: str = "StudyInstanceUID") -> str:
    return str(pydicom.dcmread(files / "nm" / "spect.dcm", stop_before_pixels=True)[keyword].value)


def test_orthanc_is_not_on_this_network(room: Room) -> None:
    # The port that its own namespace reaches (below) is closed in ours.
    assert f":{PORT:04X} " not in Path("/proc/self/net/tcp").read_text(encoding="utf-8")
    answer = room.pacs("echo")
    assert answer["code"] == 0
    assert answer["out"] == (
        f"{AET} at 127.0.0.1:{PORT} answers; offers find, get; sends CT, NM, PT, MR, RTSTRUCT, SEG\n"
    )


def test_what_is_found_is_got_and_imported_as_from_the_files(room: Room, tmp_path: Path) -> None:
    listed = tmp_path / "found.json"
    assert room.pacs("find", "--patient-id", "SIM-*", "--modality", "nm", "--json", listed)["code"] == 0
    assert listed.stat().st_mode & 0o777 == 0o600
    (found,) = json.loads(listed.read_text(encoding="utf-8"))["studies"]
    assert found["StudyInstanceUID"] == uid_of(room.files)
    assert found["ModalitiesInStudy"].split("\\") == ["CT", "NM"]

    kept = tmp_path / "dicom"
    answer = room.pacs("get", found["StudyInstanceUID"], "--out", kept)
    assert answer == {"code": 0, "out": f"{SLICES + 1} files in 2 series (CT {SLICES}, NM 1)\n", "err": ""}
    # Nothing of the wire in a name, nothing open to others, nothing half-done left.
    assert kept.stat().st_mode & 0o777 == 0o700
    assert all(len(p.stem) == 32 and p.suffix == ".dcm" for p in kept.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dicom", "found.json"]

    expected = import_study(room.files, tmp_path / "direct")
    assert import_study(kept, tmp_path / "study") == expected
    for entry in expected["series"]:
        ours, theirs = (tmp_path / name / entry["file"] for name in ("study", "direct"))
        assert ours.read_bytes() == theirs.read_bytes()
    voxels = load_study(tmp_path / "study").series[0].volume()
    assert voxels.shape[0] == SLICES and voxels.std() > 0.0


def test_one_series_is_got_and_its_files_are_gone_after_the_import(room: Room, tmp_path: Path) -> None:
    wanted = uid_of(room.files, "SeriesInstanceUID")
    answer = room.pacs("get", "--patient-id", "SIM-*", "--series", wanted, "--study", tmp_path / "study")
    assert answer["code"] == 0
    assert answer["out"].startswith("1 files in 1 series (NM 1); left at the PACS: 1 CT\n")
    assert sorted(p.name for p in (tmp_path / "study").iterdir()) == ["nm-1.nrrd", "study.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["study"]


REFUSED: dict[str, tuple[Callable[[str], list[str]], str]] = {
    "no such modality": (
        lambda uid: ["get", uid, "--modality", "PT", "--study", "x"],
        "does not have series of PT in this study (others: 1 CT, 1 NM)",
    ),
    "not on that day": (
        lambda uid: ["get", "--patient-id", "SIM-*", "--since", "2027-01-01", "--out", "x"],
        "no study fits; `gammanav pacs find` lists them, a UID names one",
    ),
}


@pytest.mark.parametrize(("words", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_there_ends_with_one_line(
    room: Room, tmp_path: Path, words: Callable[[str], list[str]], reason: str
) -> None:
    line = [str(tmp_path / w) if w == "x" else w for w in words(uid_of(room.files))]
    answer = room.pacs(*line)
    assert answer == {"code": 2, "out": "", "err": answer["err"]}
    assert answer["err"].count("\n") == 1 and answer["err"].endswith(f"{reason}\n")
    assert not list(tmp_path.iterdir())


def test_a_title_orthanc_does_not_know_is_refused(room: Room) -> None:
    answer = room.pacs("echo", "--called-aet", "ANOTHER")
    assert answer["code"] == 2
    assert answer["err"] == (
        f"gammanav: ANOTHER at 127.0.0.1:{PORT} refuses the association of GAMMANAV"
        " (called ae title not recognised)\n"
    )


def compressed_study(source: Path, folder: Path) -> dict[str, tuple[str, bytes]]:
    """One image in each of four compressed syntaxes, a series each; instance UID to syntax and pixel bytes."""
    folder.mkdir()
    stored = {}
    for number, kind in enumerate(("jpeg", "jpegls", "j2k", "rle"), start=1):
        ds = pydicom.dcmread(min((source / f"compressed_{kind}").rglob("*.dcm")))
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.9", f"1.2.9.{number}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{number}.1"
        ds.save_as(folder / f"{kind}.dcm")
        stored[str(ds.SOPInstanceUID)] = (str(ds.file_meta.TransferSyntaxUID), ds.PixelData)
    return stored


def test_compressed_images_travel_as_they_are_stored(room: Room, test_data: Path, tmp_path: Path) -> None:
    stored = compressed_study(test_data / "dcm_compressed", tmp_path / "in")
    assert room.order(store=str(tmp_path / "in")) == {"stored": 4}
    assert room.pacs("get", "1.2.9", "--out", tmp_path / "out")["code"] == 0
    got = [pydicom.dcmread(path) for path in (tmp_path / "out").iterdir()]
    assert {str(d.SOPInstanceUID): (str(d.file_meta.TransferSyntaxUID), d.PixelData) for d in got} == stored
    assert {syntax for syntax, _ in stored.values()} == set(COMPRESSED)


def test_results_are_stored_listed_and_stay_as_they_were(room: Room, tmp_path: Path) -> None:
    write_oblique(tmp_path / "case")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    write_dicom(read_case(tmp_path / "case"), tmp_path)
    answer = room.pacs("store", tmp_path / "dicom", "--deidentified")
    assert answer == {
        "code": 0,
        "out": "SIMULATION; 5 objects stored (DOC 1, OT 2, SEG 1, SR 1); de-identified; the PACS lists them\n",
        "err": "",
    }
    sent = {
        ds.SOPInstanceUID: ds for path in (tmp_path / "dicom").iterdir() for ds in [pydicom.dcmread(path)]
    }
    study = {str(ds.StudyInstanceUID) for ds in sent.values()}
    assert len(study) == 1
    assert room.pacs("get", study.pop(), "--modality", "SEG", "--out", tmp_path / "back")["code"] == 0
    (back,) = map(pydicom.dcmread, (tmp_path / "back").iterdir())
    went = sent[back.SOPInstanceUID]
    assert back.PixelData == went.PixelData
    del back.PixelData, went.PixelData  # on the wire it may be named OB or OW
    assert back == went
