"""What is done at a PACS, in a child process with bounded memory: ask who is there, find, get whole series, store.

The job comes as JSON on stdin and its outcome goes to stdout; files go to a folder as they come.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import _config

from navigation.io import pacscontexts
from navigation.io.pacssend import store
from navigation.io.pacssettings import is_uid, peer_from_json
from navigation.io.pacsstore import Intake
from navigation.io.pacswatch import Watch
from navigation.io.pacswire import Conversation, Refusal, status_of

# Packages, their address space and that of their threads; files go to the disk as they come.
MEMORY_LIMIT_BYTES = 2 << 30
# Answers to a question are short; more than this is no list of studies.
MOST_ANSWER_BYTES = 64 << 20
_WARNING = 0xB000


def echo(talk: Conversation, _job: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the peer answers, and what it offers."""
    storage = list(pacscontexts.storage_contexts())
    talk.open([pacscontexts.VERIFICATION, pacscontexts.FIND, pacscontexts.GET], storage)
    if not talk.offers(pacscontexts.VERIFICATION):
        raise Refusal("offers no C-ECHO")
    code = talk.echo()
    if code != 0:
        raise Refusal("gives no answer to a C-ECHO" if code is None else f"answers {code:04X} to a C-ECHO")
    stores = talk.stores()
    return {
        "find": talk.offers(pacscontexts.FIND),
        "get": talk.offers(pacscontexts.GET),
        "modalities": [name for name, uids in pacscontexts.CLASSES.items() if stores & set(uids)],
    }


def find(talk: Conversation, job: Mapping[str, Any]) -> dict[str, Any]:
    """Answers to one question."""
    talk.watch.most_bytes = MOST_ANSWER_BYTES
    talk.open([pacscontexts.FIND])
    found, complete = talk.find(job["keys"], job["most"])
    return {"found": found, "complete": complete}


def get(talk: Conversation, job: Mapping[str, Any]) -> dict[str, Any]:
    """Every file of the wanted series of a study into a folder. Raises Refusal unless all have come."""
    intake = Intake(Path(job["folder"]), job["study"])
    intake.incoming.mkdir()
    tempfile.tempdir = str(intake.incoming)
    _config.STORE_RECV_CHUNKED_DATASET = True
    talk.intake, talk.watch.files = intake, lambda: intake.files
    talk.open([pacscontexts.FIND, pacscontexts.GET], list(pacscontexts.storage_contexts()))
    wanted, others = _wanted(talk, job)
    if not talk.offers(pacscontexts.GET):
        raise Refusal("offers no C-GET in the study root model: export the study to files instead")
    _check_storage(talk, wanted)
    counts = [_count(entry) for entry in wanted]
    talk.watch.say(expected=None if None in counts else sum(c or 0 for c in counts))
    series = [_get_series(talk, intake, entry) for entry in wanted]
    intake.finish()
    return {"series": series, "others": others, "kept_out": dict(sorted(intake.kept_out.items()))}


def _wanted(talk: Conversation, job: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Series to get, and how many of which other modality are left at the peer. Raises Refusal."""
    found, complete = talk.find(job["keys"], job["most"])
    if not complete:
        raise Refusal(f"names more than {job['most']} series in this study")
    here = [e for e in found if is_uid(e["SeriesInstanceUID"]) and e["StudyInstanceUID"] == job["study"]]
    wanted = [
        entry
        for entry in here
        if entry["Modality"] in job["modalities"]
        and (not job["series"] or entry["SeriesInstanceUID"] in job["series"])
    ]
    absent = set(job["series"]) - {e["SeriesInstanceUID"] for e in wanted}
    others = Counter(e["Modality"] or "?" for e in here if e not in wanted)
    if not here:
        raise Refusal("has no such study")
    if absent or not wanted:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(others.items()))
        what = (
            f"{len(absent)} of the series asked for" if absent else f"series of {'/'.join(job['modalities'])}"
        )
        raise Refusal(f"does not have {what} in this study (others: {kinds or 'none'})")
    wanted.sort(key=lambda e: e["SeriesInstanceUID"])
    return wanted, dict(sorted(others.items()))


def _check_storage(talk: Conversation, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Refusal when the peer will send none of the classes of a wanted series."""
    stores = talk.stores()
    for name in sorted({e["Modality"] for e in wanted}):
        if not stores & set(pacscontexts.CLASSES[name]):
            raise Refusal(f"will not send {name} to us over a C-GET (no storage role granted)")


def _count(entry: Mapping[str, Any]) -> int | None:
    text = entry["NumberOfSeriesRelatedInstances"]
    return int(text) if text.isascii() and text.isdigit() else None


def _get_series(talk: Conversation, intake: Intake, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One series, whole. Raises Refusal."""
    before = intake.foreign
    intake.begin(entry["SeriesInstanceUID"])
    last = talk.get(intake.study, intake.series)
    _check_whole(last, intake, entry, intake.foreign - before)
    return {
        "series_uid": intake.series,
        "modality": entry["Modality"],
        "number": entry["SeriesNumber"],
        "files": intake.taken,
    }


def _check_whole(last: Dataset, intake: Intake, entry: Mapping[str, Any], foreign: int) -> None:
    """Compare what has come with what the peer counts itself, and with what it said before.

    The peer counts a file that we keep out as one that failed.
    """
    done, failed, warned = (
        int(last.get(f"NumberOf{which}Suboperations") or 0) for which in ("Completed", "Failed", "Warning")
    )
    code = status_of(last)
    expected = max(done + failed + warned - foreign, _count(entry) or 0, 1)
    what = f"series {entry['SeriesNumber'] or '?'} ({entry['Modality']})"
    if code not in (0, _WARNING):
        raise Refusal(f"ends the C-GET of {what} with status {code or 0:04X}: nothing is kept")
    if intake.taken < expected:
        kept_out = sum(intake.kept_out.values())
        parts = [f"{failed} failed"] if failed else []
        parts += [f"{warned} with a warning"] if warned else []
        parts += [f"{kept_out} kept out"] if kept_out else []
        more = f" ({', '.join(parts)})" if parts else ""
        raise Refusal(f"{intake.taken} of {expected} files of {what} have come{more}: nothing is kept")


JOBS = {"echo": echo, "find": find, "get": get, "store": store}


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Entry point of the child: the job as a JSON line on stdin, JSON lines on stdout, the last the outcome."""
    _limit_memory()
    job = json.loads(sys.stdin.readline())
    peer = peer_from_json(job["peer"])
    watch = Watch(peer, Path(job["folder"]) if "folder" in job else None)
    talk = Conversation(peer, watch)
    watch.begin()
    try:
        watch.done(**JOBS[job["job"]](talk, job))
        talk.close()
        os._exit(0)  # not waiting for threads that a peer may hold
    except Refusal as refusal:
        watch.stop(f"{peer.where} {refusal}")
    except Exception as fault:  # noqa: BLE001 - the last door of a process that reads foreign data
        watch.fault(fault)
