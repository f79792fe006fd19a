"""A PACS that does not do as it should: what it sends is kept out, counted, bounded and never half kept."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from navigation.cli.main import run
from navigation.io.pacs import Query, Retrieved, find_studies, retrieve
from navigation.io.pacscontexts import MODALITIES
from navigation.io.pacssettings import Limits, Peer
from tests.campaign import pacs as campaign
from tests.conftest import missing
from tests.navigation.io.pacs_peer import (
    OTHER,
    PENDING,
    STUDY,
    TITLE,
    WAVEFORM,
    entry,
    finding,
    getting,
    image,
    series_entry,
    served,
)
from tracking.errors import SurroundingsError


def peer_at(port: int, timeout_s: float = 15.0, limits: Limits = Limits(keep_free_bytes=0)) -> Peer:  # noqa: B008
    return Peer("127.0.0.1", port, TITLE, timeout_s=timeout_s, limits=limits)


def got(peer: Peer, folder: Path) -> Retrieved:
    folder.mkdir()
    return retrieve(peer, STUDY, folder, modalities=MODALITIES)


def refused(peer: Peer, folder: Path) -> str:
    """What a retrieval that fails says behind the name of the peer; nothing may be left of it."""
    with pytest.raises(SurroundingsError) as told:
        got(peer, folder)
    assert not folder.exists()
    message = str(told.value)
    assert "\n" not in message and message.startswith(peer.where)
    return message.removeprefix(peer.where).lstrip(": ")


def test_what_was_not_asked_for_is_kept_out_and_counted(tmp_path: Path) -> None:
    sent = [
        image("1.2.3.1.1"),
        image("1.2.3.1.2"),
        image("1.2.3.1.1"),
        image("1.2.3.1.3", study=OTHER),
        image("1.2.3.1.4", series="1.2.3.2"),
        image("1.2.3.1.5", study="../../etc/passwd"),
    ]
    with served(finding(series_entry(2)), getting(sent)) as port:
        taken = got(peer_at(port), tmp_path / "a")
    assert taken.files == 2
    assert taken.kept_out == {"of another series": 1, "of another study": 2, "sent twice": 1}
    kept = sorted(pydicom.dcmread(p).SOPInstanceUID for p in (tmp_path / "a").iterdir())
    assert kept == ["1.2.3.1.1", "1.2.3.1.2"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_that_does_not_come_undoes_the_retrieval(tmp_path: Path) -> None:
    images = [image("1.2.3.1.1"), image("1.2.3.1.2"), image("1.2.3.1.3", sop_class=WAVEFORM)]
    with served(finding(series_entry(None)), getting(images)) as port:
        # Nobody agreed on the third one's class: the peer counts it as failed.
        assert refused(peer_at(port), tmp_path / "a") == (
            "2 of 3 files of series 7 (CT) have come (1 failed): nothing is kept"
        )
    with served(finding(series_entry(5)), getting(images[:2])) as port:
        # The peer is content with two; its own list says five.
        assert refused(peer_at(port), tmp_path / "b") == (
            "2 of 5 files of series 7 (CT) have come: nothing is kept"
        )


def flood(event: evt.Event) -> Iterator[Any]:
    yield 60_000
    for n in range(60_000):
        yield PENDING, image(f"1.2.3.1.{n + 1}")


FLOODS = {
    "bytes": (
        Limits(most_bytes=1 << 16, keep_free_bytes=0),
        "sends more than the 6.1e-05 GiB that are allowed",
    ),
    "disk": (Limits(keep_free_bytes=1 << 60), f"less than {1 << 40} MiB free at"),
}


@pytest.mark.parametrize(("limits", "words"), FLOODS.values(), ids=FLOODS.keys())
def test_endless_data_end_at_a_limit(tmp_path: Path, limits: Limits, words: str) -> None:
    with served(finding(series_entry(None)), (evt.EVT_C_GET, flood)) as port:
        assert refused(peer_at(port, limits=limits), tmp_path / "a").startswith(words)


def test_a_disk_that_takes_no_more_is_told(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = image("1.2.3.1.1")
    big.PixelData = bytes(4 << 20)
    with served(finding(series_entry(1)), getting([big])) as port:
        peer = peer_at(port)
        # The process that talks to the peer inherits what a file may hold.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            assert refused(peer, tmp_path / "a") == "cannot store what it sends: File too large"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_a_peer_that_hangs_is_left_after_the_time_allowed(tmp_path: Path) -> None:
    enough = threading.Event()

    def hang(event: evt.Event) -> Iterator[Any]:
        yield 2
        yield PENDING, image("1.2.3.1.1")
        enough.wait(20.0)

    with served(finding(series_entry(2)), (evt.EVT_C_GET, hang)) as port:
        try:
            assert refused(peer_at(port, timeout_s=0.7), tmp_path / "a") == "no answer within 0.7 s"
        finally:
            enough.set()


def test_a_peer_that_breaks_off_is_told(tmp_path: Path) -> None:
    def leave(event: evt.Event) -> Iterator[Any]:
        yield 2
        yield PENDING, image("1.2.3.1.1")
        event.assoc.abort()

    with served(finding(series_entry(2)), (evt.EVT_C_GET, leave)) as port:
        assert refused(peer_at(port), tmp_path / "a") == "ended the connection in the middle of a C-GET"


def test_a_peer_that_does_not_grant_the_role_is_told_so(tmp_path: Path) -> None:
    with served(finding(series_entry(1)), roles=False) as port:
        words = refused(peer_at(port), tmp_path / "a")
    assert words == "will not send CT to us over a C-GET (no storage role granted)"


@contextmanager
def raw_peer(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP port behind which no PACS is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20.0)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(20.0)


def test_a_peer_that_resets_before_its_word_is_read_is_asked_once_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rejection may be lost with the connection that carried it; the second one is told."""
    # A-ASSOCIATE-RJ: rejected permanent, by the service user, called AE title not recognised.
    rejected = b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07"
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for answer in (b"", rejected):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20.0)
                asked.append(connection.recv(1 << 16))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        where = ["--host", "127.0.0.1", "--port", str(port), "--called-aet", "ANY"]
        assert run(["pacs", "echo", *where]) == 2
        thread.join(20.0)
    assert "called ae title not recognised" in capsys.readouterr().err
    assert len(asked) == 2


def claim_4_gib(connection: socket.socket) -> None:
    """An A-ASSOCIATE-AC of that length, and the first 64 KiB of it."""
    connection.recv(1 << 16)
    with contextlib.suppress(OSError):
        connection.sendall(b"\x02\x00\xff\xff\xff\xff" + bytes(1 << 16))


def test_what_is_no_pacs_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    with raw_peer(claim_4_gib) as port:
        where = ["--host", "127.0.0.1", "--port", str(port), "--called-aet", "ANY"]
        assert run(["pacs", "echo", *where]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        f"gammanav: ANY at 127.0.0.1:{port} answers as no PACS does: sends more at once than was announced\n",
    )


def study_entry(**values: str) -> Dataset:
    usual = {"PatientID": "P1", "StudyDate": "20261101", "StudyInstanceUID": STUDY, "ModalitiesInStudy": "CT"}
    return entry(**(usual | values))


def test_answers_to_another_question_are_left_out() -> None:
    wrong = (
        study_entry(PatientID="P2", StudyInstanceUID=OTHER),
        study_entry(StudyDate="20261031", StudyInstanceUID="1.2.5"),
        study_entry(StudyDate="", StudyInstanceUID="1.2.6"),
        study_entry(ModalitiesInStudy="MR", StudyInstanceUID="1.2.7"),
        study_entry(StudyInstanceUID="x/../y"),
    )
    right = study_entry(PatientName="Doe\x1b[31m^Jane", ModalitiesInStudy=["CT", "NM"])
    query = Query(patient_id="P1", since="20261101", modalities=("CT",))
    with served(finding(*wrong, right)) as port:
        answers = find_studies(peer_at(port), query)
        few = find_studies(peer_at(port), Query(patient_id="P*"), most=2)
    (found,) = answers.found
    assert (answers.unfit, answers.complete) == (5, True)
    # No control character of a peer reaches a terminal.
    assert (found["PatientName"], found["ModalitiesInStudy"]) == ("Doe [31m^Jane", "CT\\NM")
    assert (len(few.found), few.complete) == (2, False)


def _interruptible() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_whoever_stops_a_retrieval_leaves_the_peer_and_the_disk(tmp_path: Path, sent: signal.Signals) -> None:
    begun, cancelled, left = threading.Event(), threading.Event(), threading.Event()

    def slow(event: evt.Event) -> Iterator[Any]:
        yield 100
        yield PENDING, image("1.2.3.1.1")
        begun.set()
        while not cancelled.is_set() and not left.wait(0.01):
            if event.is_cancelled:
                cancelled.set()
        yield 0xFE00, None

    over = (evt.EVT_CONN_CLOSE, lambda event: left.set())
    with served(finding(series_entry(100)), (evt.EVT_C_GET, slow), over) as port:
        where = ["--host", "127.0.0.1", "--port", str(port), "--called-aet", TITLE]
        command = [sys.executable, "-m", "navigation.cli.main", "pacs", "get", STUDY, *where]
        with subprocess.Popen(
            [*command, "--out", str(tmp_path / "a")],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_interruptible,
        ) as process:
            assert begun.wait(60.0)
            (partial,) = tmp_path.iterdir()
            process.send_signal(sent)
            _, words = process.communicate(timeout=60.0)
        assert left.wait(60.0) and cancelled.wait(60.0)
    if sent == signal.SIGINT:
        assert (process.returncode, words) == (130, "gammanav: interrupted\n")
    end = time.monotonic() + 10.0
    while partial.exists() and time.monotonic() < end:  # the orphan removes what it has written
        os.sched_yield()
    assert not list(tmp_path.iterdir())


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that it signs itself."""
    if shutil.which("openssl") is None:
        missing("no openssl to make a certificate: install openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *name, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return key, certificate


def test_a_secure_connection_needs_the_certificate_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, certificate = own_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = own_certificate(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    settings = tmp_path / "pacs.toml"
    with served(tls=context) as port:
        head = f'host = "127.0.0.1"\nport = {port}\ncalled_aet = "{TITLE}"\ntimeout_s = 10\n'
        settings.write_text(f'{head}[tls]\nca = "certificate.pem"\n', encoding="utf-8")
        assert run(["pacs", "echo", "--settings", str(settings)]) == 0
        settings.write_text(f'{head}[tls]\nca = "{other}"\n', encoding="utf-8")
        assert run(["pacs", "echo", "--settings", str(settings)]) == 2
    told = capsys.readouterr()
    assert told.out.endswith("answers; offers find, get; sends CT\n")
    assert told.err.endswith("no secure connection (certificate_verify_failed)\n")


def test_damaged_answers_end_in_time_with_a_line_or_whole() -> None:
    found = campaign.run(2, seed=1)
    assert not found.faults, str(found)
    assert sum(found.outcomes.values()) == 2 and found.outcomes["refused"] > 0
