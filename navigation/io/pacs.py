"""A PACS as this program uses it: is it there, which studies has it, bring one, take our results.

Talking to it is done in a child process, because what a peer sends comes from anywhere (hazard H26); what it
answers is compared with what was asked.
"""

from __future__ import annotations

import fnmatch
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from navigation.io.pacssettings import Peer, is_uid
from tracking.errors import InputError, SurroundingsError

STUDY_KEYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "StudyInstanceUID",
)
SERIES_KEYS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "NumberOfSeriesRelatedInstances",
)
# A surgeon looks for one study; a list longer than this is a question put too widely.
MOST_STUDIES = 200
MOST_SERIES = 2000
# The child says something every second; one that is silent for so long hangs.
_CHILD_SILENT_S = 60.0
# What it needs to leave the peer and to remove what has come.
_CHILD_LEAVES_S = 6.0
_CHILD = "from navigation.io.pacsjobs import main; main()"


@dataclass(frozen=True, slots=True)
class Query:
    """What is known of a study; dates are DICOM's, YYYYMMDD. Raises InputError if it would match everything."""

    patient_id: str = ""
    name: str = ""
    accession: str = ""
    since: str = ""
    until: str = ""
    modalities: tuple[str, ...] = ()
    study_uid: str = ""

    def __post_init__(self) -> None:
        texts = (self.patient_id, self.name, self.accession)
        if any("\\" in text or not text.isprintable() for text in texts):
            raise InputError("a backslash or a control character cannot be searched for")
        if self.study_uid:
            check_uid(self.study_uid)
        if self.since and self.until and self.since > self.until:
            raise InputError(f"--since {self.since} is after --until {self.until}")
        if not (self.since or self.until or self.study_uid or any(t.strip("*? ") for t in texts)):
            raise InputError("what to look for: give a patient, an accession number, a date or a study")

    def keys(self) -> dict[str, str]:
        """Matching and return keys of a C-FIND at study level (DICOM PS3.4 C.6.2.1.2).

        A peer need not match a list of modalities: of several, `fits` alone decides.
        """
        dates = "-".join((self.since, self.until)) if self.since != self.until else self.since
        given = {
            "PatientID": self.patient_id,
            "PatientName": self.name,
            "AccessionNumber": self.accession,
            "StudyDate": dates,
            "ModalitiesInStudy": self.modalities[0] if len(self.modalities) == 1 else "",
            "StudyInstanceUID": self.study_uid,
        }
        return {"QueryRetrieveLevel": "STUDY", **dict.fromkeys(STUDY_KEYS, ""), **given}

    def fits(self, found: Mapping[str, str]) -> bool:
        """Whether an answer is one to this question; a peer may pass over keys that it does not know.

        Names are left to the peer, which may know several spellings. Modalities are compared where given.
        """
        exact = (
            (self.patient_id, found["PatientID"]),
            (self.accession, found["AccessionNumber"]),
            (self.study_uid, found["StudyInstanceUID"]),
        )
        if any(asked and not _matches(asked, value) for asked, value in exact):
            return False
        if (self.since and found["StudyDate"] < self.since) or (
            self.until and not "0" <= found["StudyDate"] <= self.until
        ):
            return False
        here = {m for m in found["ModalitiesInStudy"].split("\\") if m}
        return not (self.modalities and here) or bool(here & set(self.modalities))


def _matches(asked: str, value: str) -> bool:
    """Wildcard matching (DICOM PS3.4 C.2.2.2.4): * and ? only."""
    return fnmatch.fnmatchcase(value, asked.strip().replace("[", "[[]"))


def check_uid(uid: str) -> None:
    """InputError unless it has the form of a DICOM UID."""
    if not is_uid(uid):
        raise InputError(f"{uid!r} is no DICOM UID: digits and dots, at most 64")


@dataclass(frozen=True, slots=True)
class Answers:
    """Studies or series that fit; how many answers did not; whether there are more."""

    found: tuple[dict[str, str], ...]
    unfit: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What has come, by series (series_uid, modality, number, files); what stayed; what was kept out and why."""

    series: tuple[dict[str, Any], ...]
    others: dict[str, int]
    kept_out: dict[str, int]

    @property
    def files(self) -> int:
        """Files of all series."""
        return sum(int(s["files"]) for s in self.series)


@dataclass(frozen=True, slots=True)
class Stored:
    """What went out; `listed` is whether the peer lists all of it, None where it cannot be asked."""

    sent: int
    warned: int
    listed: bool | None
    kinds: dict[str, int]
    simulated: bool
    identified: bool


def echo(peer: Peer) -> dict[str, Any]:
    """What the PACS offers: find, get, modalities. Raises SurroundingsError when it does not answer."""
    return _asked(peer, {"job": "echo"})


def find_studies(peer: Peer, query: Query, most: int = MOST_STUDIES) -> Answers:
    """Studies, the newest first. Raises SurroundingsError."""
    answer = _asked(peer, {"job": "find", "keys": query.keys(), "most": most})
    fit = [_without(e) for e in answer["found"] if query.fits(e) and is_uid(e["StudyInstanceUID"])]
    fit.sort(key=lambda e: (e["StudyDate"], e["StudyTime"], e["StudyInstanceUID"]), reverse=True)
    return Answers(tuple(fit), len(answer["found"]) - len(fit), answer["complete"])


def find_series(peer: Peer, study_uid: str) -> Answers:
    """Series of one study, by number. Raises SurroundingsError, InputError on a UID that is none."""
    check_uid(study_uid)
    answer = _asked(peer, {"job": "find", "keys": _series_keys(study_uid), "most": MOST_SERIES})
    fit = [_without(e) for e in answer["found"] if e["StudyInstanceUID"] == study_uid]
    fit.sort(key=lambda e: (e["SeriesNumber"].zfill(12), e["SeriesInstanceUID"]))
    return Answers(tuple(fit), len(answer["found"]) - len(fit), answer["complete"])


def retrieve(
    peer: Peer,
    study_uid: str,
    folder: Path,
    *,
    series: Sequence[str] = (),
    modalities: Sequence[str],
    on_progress: Callable[[int, int | None, int], None] = lambda files, expected, size: None,
) -> Retrieved:
    """Get the series of a study into `folder`, which exists and is empty; it is gone after a failure.

    `on_progress` is told files, the files expected (None: unknown) and bytes. Raises SurroundingsError unless
    every file of every wanted series has come.
    """
    for uid in (study_uid, *series):
        check_uid(uid)
    job = {
        "job": "get",
        "study": study_uid,
        "series": list(series),
        "modalities": list(modalities),
        "keys": _series_keys(study_uid),
        "most": MOST_SERIES,
        "folder": str(folder.absolute()),
    }
    expected: int | None = None

    def told(line: Mapping[str, Any]) -> None:
        nonlocal expected
        expected = line.get("expected", expected)
        if "files" in line:
            on_progress(line["files"], expected, line["beat"])

    result = _asked(peer, job, told)
    return Retrieved(tuple(result["series"]), result["others"], result["kept_out"])


def store(peer: Peer, files: Sequence[Path], *, identified: bool) -> Stored:
    """Send our results, all of them with the patient's identity or all without it.

    Raises InputError when one of the files may not go out, SurroundingsError when the peer does not take them all or
    does not list them afterwards.
    """
    job = {"job": "store", "files": [str(f.absolute()) for f in files], "identified": identified}
    result = _asked(peer, job)
    if "unfit" in result:
        raise InputError(str(result["unfit"]))
    stored = Stored(**result, identified=identified)
    if stored.listed is False:
        raise SurroundingsError(f"{peer.where} took {stored.sent} objects and does not list them all")
    return stored


def _series_keys(study_uid: str) -> dict[str, str]:
    keys = dict.fromkeys(SERIES_KEYS, "")
    return {"QueryRetrieveLevel": "SERIES", **keys, "StudyInstanceUID": study_uid}


def _without(entry: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in entry.items() if k != "QueryRetrieveLevel"}


def _asked(
    peer: Peer, job: Mapping[str, Any], told: Callable[[Mapping[str, Any]], None] = lambda line: None
) -> dict[str, Any]:
    """The result of a job in a child process; whatever ends this call ends the child and its association."""
    paths = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is ours; the child stops when its stdin ends
    ) as child:
        try:
            for line in _lines(child, json.dumps({**job, "peer": peer.as_json()})):
                if "result" in line:
                    result: dict[str, Any] = line["result"]
                    return result
                if "surroundings" in line:
                    raise SurroundingsError(str(line["surroundings"]))
                told(line)
            raise SurroundingsError(f"{peer.where}: the process that talks to it ended (code {child.wait()})")
        finally:
            _end(child)


def _lines(child: subprocess.Popen[str], request: str) -> Iterator[dict[str, Any]]:
    """JSON lines of the child, to its end. Raises SurroundingsError when it hangs."""
    stdin, stdout = child.stdin, child.stdout
    if stdin is None or stdout is None:
        raise RuntimeError("the child has no pipes")
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(stdout, said), daemon=True).start()
    stdin.write(request + "\n")
    stdin.flush()
    while True:
        try:
            line = said.get(timeout=_CHILD_SILENT_S)
        except queue.Empty:
            raise SurroundingsError(
                f"no sign of the connection's process for {_CHILD_SILENT_S:g} s"
            ) from None
        if not line:
            return
        yield json.loads(line)


def _read(stdout: IO[str], said: queue.Queue[str]) -> None:
    for line in stdout:
        said.put(line)
    said.put("")


def _end(child: subprocess.Popen[str]) -> None:
    """Let the child leave the peer; kill one that does not."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(_CHILD_LEAVES_S)
    except subprocess.TimeoutExpired:
        child.kill()
