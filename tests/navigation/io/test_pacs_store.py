"""Results that go to a PACS: only our own, all or none, identified or not as was said, over TLS where it is asked."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from navigation.cli.main import run
from navigation.dicomresults import write_dicom
from navigation.io import pacs
from navigation.io.pacscontexts import FIND
from navigation.io.pacssend import UnfitError, checked, store
from navigation.io.pacssettings import Peer
from navigation.io.pacswatch import Watch
from navigation.io.pacswire import Conversation, Refusal
from navigation.report.results import read_case
from tests.navigation.dicomresults.oblique import write_oblique
from tests.navigation.io.pacs_peer import TITLE, image
from tests.navigation.io.test_pacs import own_certificate
from tracking.errors import SurroundingsError

CLASSES = ("30", "66.4", "88.34", "104.1")
PENDING = 0xFF00


class Archive:
    """Keeps what comes; answers with `status`, lists what it has unless `forgets`."""

    def __init__(self, status: int = 0x0000, forgets: bool = False) -> None:
        self.status, self.forgets = status, forgets
        self.kept: list[Dataset] = []

    def take(self, event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        self.kept.append(ds)
        return self.status

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        for ds in self.kept[: -1 if self.forgets else None]:
            if ds.SeriesInstanceUID == event.identifier.SeriesInstanceUID:
                answer = Dataset()
                answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", ds.SOPInstanceUID
                yield PENDING, answer

    @contextmanager
    def served(
        self, *, finds: bool = True, classes: tuple[str, ...] = CLASSES, tls: Any = None
    ) -> Iterator[int]:
        entity = AE(ae_title=TITLE)
        for number in classes:
            entity.add_supported_context(f"1.2.840.10008.5.1.4.1.1.{number}")
        if finds:
            entity.add_supported_context(FIND)
        handlers: list[Any] = [(evt.EVT_C_STORE, self.take), (evt.EVT_C_FIND, self.find)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
        assert server is not None
        try:
            yield int(server.socket.getsockname()[1])
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dicom/ of a case without identity, identified/dicom/ of the same with it."""
    folder = tmp_path_factory.mktemp("results")
    write_oblique(folder / "case")
    write_dicom(read_case(folder / "case"), folder)
    write_dicom(read_case(folder / "case"), folder / "identified", with_identity=True)
    return folder


def send(port: int, folder: Path, *words: str) -> int:
    peer = ["--host", "127.0.0.1", "--port", str(port), "--called-aet", TITLE, "--timeout", "15"]
    return run(["pacs", "store", str(folder), *peer, *words])


def test_every_object_arrives_as_it_was_written(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Archive()
    with archive.served() as port:
        assert send(port, results / "dicom", "--deidentified") == 0
    assert capsys.readouterr().out == (
        "SIMULATION; 4 objects stored (OT 2, SEG 1, SR 1); de-identified; the PACS lists them\n"
    )
    written = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, (results / "dicom").glob("*.dcm"))}
    assert {ds.SOPInstanceUID for ds in archive.kept} == set(written)
    for ds in archive.kept:
        assert ds == written[ds.SOPInstanceUID]


def test_which_of_the_two_they_are_has_to_be_said_and_to_be_true(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive()
    with archive.served() as port:
        assert send(port, results / "dicom") == 2
        assert "say whether the objects go --identified or --deidentified" in capsys.readouterr().err
        assert send(port, results / "identified" / "dicom", "--deidentified") == 2
        told = capsys.readouterr().err.rstrip()
        assert told.endswith("holds a patient's identity, which --deidentified forbids")
    assert archive.kept == []
    with pytest.raises(UnfitError, match=r"has no patient's identity, which --identified forbids"):
        checked(sorted((results / "dicom").iterdir()), identified=True)


def test_nothing_but_our_results_is_sent(results: Path, tmp_path: Path) -> None:
    ours = sorted((results / "dicom").iterdir())
    assert len(checked(ours, identified=False)) == len(ours)
    strange = tmp_path / "zz.dcm"
    image("1.2.3.1.1").save_as(strange, enforce_file_format=True)
    with pytest.raises(UnfitError, match=r"zz\.dcm: is no result of this program"):
        checked([*ours, strange], identified=False)
    strange.write_bytes(b"no DICOM")
    with pytest.raises(UnfitError, match=r"zz\.dcm: cannot be read as DICOM"):
        checked([*ours, strange], identified=False)
    other = pydicom.dcmread(ours[0])
    other.StudyInstanceUID = "1.2.3"
    other.save_as(strange)
    with pytest.raises(UnfitError, match="objects of more than one study"):
        checked([*ours, strange], identified=False)


def asked(port: int, folder: Path) -> dict[str, Any]:
    """What the child does, without a child."""
    peer = Peer("127.0.0.1", port, TITLE, timeout_s=15.0)
    talk = Conversation(peer, Watch(peer, None))
    files = [str(p) for p in sorted(folder.iterdir())]
    try:
        return store(talk, {"files": files, "identified": False})
    finally:
        talk.close()


def test_a_peer_that_does_not_take_them_gets_none_or_is_told_how_many_it_has(results: Path) -> None:
    with (
        Archive().served(classes=("66.4",)) as port,
        pytest.raises(Refusal, match="Parametric Map Storage, Comprehensive 3D SR Storage: nothing was sent"),
    ):
        asked(port, results / "dicom")
    with Archive(0xA700).served() as port, pytest.raises(Refusal, match=r"\(status A700\); 0 of 4 are there"):
        asked(port, results / "dicom")


def test_a_peer_that_does_not_list_them_all_is_not_believed(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(forgets=True).served() as port:
        told = asked(port, results / "dicom")
    assert (told["sent"], told["listed"]) == (4, False)
    monkeypatch.setattr(pacs, "_asked", lambda peer, job: told)
    with pytest.raises(SurroundingsError, match="took 4 objects and does not list them all"):
        pacs.store(Peer("127.0.0.1", 104, TITLE), [Path("a.dcm")], identified=False)


def test_a_warning_and_a_peer_that_cannot_be_asked_are_told(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, certificate = own_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    archive = Archive(0xB000)
    with archive.served(finds=False, tls=context) as port:
        head = f'host = "127.0.0.1"\nport = {port}\ncalled_aet = "{TITLE}"\ntimeout_s = 15\n'
        settings = tmp_path / "pacs.toml"
        settings.write_text(f'{head}[tls]\nca = "certificate.pem"\n', encoding="utf-8")
        folder = str(results / "identified" / "dicom")
        assert run(["pacs", "store", folder, "--settings", str(settings), "--identified"]) == 0
    said = capsys.readouterr().out
    assert {ds.PatientID for ds in archive.kept} == {"PZ-4711-X"}
    assert "; identified; " in said
    assert said.endswith("4 with a warning; not confirmed: the PACS offers no C-FIND\n")


def test_an_empty_folder_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(104, tmp_path, "--deidentified") == 2
    assert "no DICOM objects here" in capsys.readouterr().err
