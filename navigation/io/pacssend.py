"""Sends our own results to a PACS (C-STORE) and asks it afterwards what it holds.

Only objects of this program go out, all of one study, all with the patient's identity or all without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from navigation.io import pacscontexts
from navigation.io.dicom_headers import PARSER_FAULTS
from navigation.io.pacswire import Conversation, Refusal

MAKER = "gammanav"
SIMULATION = "SIMULATION"
# A case has some ten objects of a few megabytes.
MOST_OBJECTS = 200
# Statuses under which the peer has the object (DICOM PS3.4 table B.2-1): taken, and taken with a warning.
TAKEN = 0x0000
WARNED = (0xB000, 0xB006, 0xB007)


class UnfitError(Exception):
    """The files may not be sent as was asked; the words name the file."""


def store(talk: Conversation, job: Mapping[str, Any]) -> dict[str, Any]:
    """Send every file, or none that does not fit; how many went, with what remark, and whether the peer lists them."""
    try:
        objects = checked([Path(name) for name in job["files"]], job["identified"])
    except UnfitError as fault:
        return {"unfit": str(fault)}
    classes = sorted({str(ds.SOPClassUID) for ds in objects})
    talk.open([pacscontexts.FIND], sent=classes)
    refused = [uid for uid in classes if not talk.offers(uid)]
    if refused:
        names = ", ".join(pydicom.uid.UID(uid).name for uid in refused)
        raise Refusal(f"does not take {names}: nothing was sent")
    sent = 0
    talk.watch.files = lambda: sent
    talk.watch.say(expected=len(objects))
    warned = 0
    for ds in objects:
        code = talk.send(ds)
        if code != TAKEN and code not in WARNED:
            raise Refusal(
                f"refuses {ds.SOPClassUID.name} (status {code:04X}); {sent} of {len(objects)} are there"
            )
        sent += 1
        warned += code in WARNED
    return {
        "sent": sent,
        "warned": warned,
        "listed": _listed(talk, objects),
        "kinds": dict(sorted(Counter(str(ds.Modality) for ds in objects).items())),
        "simulated": any(SIMULATION in str(ds.get("Manufacturer", "")) for ds in objects),
    }


def checked(files: Sequence[Path], identified: bool) -> list[Dataset]:
    """The files read and held against each other and against what was said of them. Raises UnfitError."""
    if len(files) > MOST_OBJECTS:
        raise UnfitError(f"{files[0].parent}: more than {MOST_OBJECTS} files")
    objects = []
    for path in files:
        ds = _ours(path)
        if (ds.get("PatientIdentityRemoved") == "YES") == identified:
            holds = "has no patient's identity" if identified else "holds a patient's identity"
            raise UnfitError(f"{path}: {holds}, which --{'' if identified else 'de'}identified forbids")
        objects.append(ds)
    if len({str(ds.StudyInstanceUID) for ds in objects}) > 1:
        raise UnfitError(f"{files[0].parent}: objects of more than one study")
    return objects


def _ours(path: Path) -> Dataset:
    try:
        ds = pydicom.dcmread(path)
        words = str(ds.get("Manufacturer", "")).split()
        complete = all(ds.get(k) for k in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID"))
    except (OSError, *PARSER_FAULTS) as fault:
        raise UnfitError(f"{path}: cannot be read as DICOM ({type(fault).__name__})") from None
    if not words or words[0] != MAKER or not complete:
        raise UnfitError(f"{path}: is no result of this program; only those are sent")
    return ds


def _listed(talk: Conversation, objects: Sequence[Dataset]) -> bool | None:
    """Whether the peer lists every one of them; None where it cannot be asked."""
    if not talk.offers(pacscontexts.FIND):
        return None
    found = set()
    for study, series in sorted({(str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)) for ds in objects}):
        keys = {
            "QueryRetrieveLevel": "IMAGE",
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "SOPInstanceUID": "",
        }
        answers, _ = talk.find(keys, MOST_OBJECTS)
        found |= {answer["SOPInstanceUID"] for answer in answers}
    return found >= {str(ds.SOPInstanceUID) for ds in objects}
