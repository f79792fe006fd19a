"""Files of a retrieval on their way to disk: named by a hash, kept only if they are what was asked for.

Nothing that the peer sends becomes part of a path (hazard H26).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom.filereader
from pydicom.tag import BaseTag

from navigation.io.dicom_headers import PARSER_FAULTS
from navigation.io.pacssettings import is_uid

# Statuses of C-STORE (DICOM PS3.4 table B.2-1).
TAKEN = 0x0000
OUT_OF_RESOURCES = 0xA700
NOT_WHAT_IT_SAYS = 0xA900
CANNOT_UNDERSTAND = 0xC000
# Series Instance UID: what lies behind it in a file is not needed here.
_LAST_TAG = 0x0020000E
_HASHED = 32
# Why a file is none of those asked for; every other fault is one of a file that may have been.
OTHER_STUDY, OTHER_SERIES, TWICE = "of another study", "of another series", "sent twice"
# Folder of what is still on its way.
INCOMING = "incoming"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file says that it is; '' where it does not."""

    sop_class: str
    instance: str
    study: str
    series: str


def identity(path: Path) -> Identity:
    """The four UIDs of a file, read no further than needed. Raises one of PARSER_FAULTS."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.filereader.read_partial(file, stop_when=_behind)
        names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        return Identity(*(str(ds.get(name, "")).strip() for name in names))


def _behind(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _LAST_TAG


@dataclass(slots=True)
class Intake:
    """Takes the files of one series at a time into `folder`; counts what it keeps out and why."""

    folder: Path
    study: str
    series: str = ""
    taken: int = 0
    files: int = 0
    kept_out: Counter[str] = field(default_factory=Counter)

    def begin(self, series: str) -> None:
        """The files of another series come now."""
        self.series, self.taken = series, 0

    @property
    def foreign(self) -> int:
        """How many files were kept out because nobody asked for them."""
        return sum(self.kept_out[why] for why in (OTHER_STUDY, OTHER_SERIES, TWICE))

    @property
    def incoming(self) -> Path:
        """Where files grow."""
        return self.folder / INCOMING

    def take(self, path: Path, sop_class: str, instance: str) -> int:
        """Move a complete file to its name, or remove it; the C-STORE status for the peer. Raises OSError."""
        fault = self._fault(path, sop_class, instance)
        place = self.folder / f"{hashlib.sha256(instance.encode()).hexdigest()[:_HASHED]}.dcm"
        if fault is None and place.exists():
            fault = (TWICE, NOT_WHAT_IT_SAYS)
        if fault is not None:
            path.unlink()
            self.kept_out[fault[0]] += 1
            return fault[1]
        os.replace(path, place)
        self.taken += 1
        self.files += 1
        return TAKEN

    def _fault(self, path: Path, sop_class: str, instance: str) -> tuple[str, int] | None:
        try:
            found = identity(path)
        except PARSER_FAULTS:
            return "unreadable", CANNOT_UNDERSTAND
        if (found.sop_class, found.instance) != (sop_class, instance) or not is_uid(instance):
            return "not what the peer said", NOT_WHAT_IT_SAYS
        if found.study != self.study:
            return OTHER_STUDY, NOT_WHAT_IT_SAYS
        if found.series != self.series:
            return OTHER_SERIES, NOT_WHAT_IT_SAYS
        return None

    def finish(self) -> None:
        """Remove the folder of files on their way. Raises OSError."""
        shutil.rmtree(self.incoming)
