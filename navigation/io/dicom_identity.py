"""Whose study it is: hashed by default, kept in one table of study.json, and struck out of every other text.

UIDs of study and series name an examination as surely as a number does, so that they leave as other words; a frame
of reference stays what it is, because studies and registrations are compared by it, unless it spells a date.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Work per hash: slow enough that a list of numbers or birthdays is not tried through in passing.
HASH_ROUNDS = 100_000
_HASH_SALT = b"gammanav study"
STRUCK_OUT = "[removed]"
# Shorter names occur inside ordinary words: they are struck out only where they stand alone.
_SHORT = 4
# Fields that say who, where and under which number; dates are asked for by their representation.
_NAMES = (
    *(
        "PatientName",
        "OtherPatientNames",
        "PatientBirthName",
        "PatientMotherBirthName",
        "ReferringPhysicianName",
    ),
    *("PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy"),
    *("RequestingPhysician", "ConsultingPhysicianName", "ResponsiblePerson", "ReviewerName"),
)
_NUMBERS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "MedicalRecordLocator",
    "IssuerOfPatientID",
)
_PLACES = (
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "PatientAddress",
    "StationName",
)
# Patient and study, beyond number, name and dates, as every object of one study has them (PS3.3 C.7.1.1, C.7.2.1).
REPEATED = (
    *("PatientSex", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
    "TimezoneOffsetFromUTC",  # holds for every time of an object, the study's among them
)
_DATES = (
    "PatientBirthDate",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "InstanceCreationDate",
)
# One patient is not spelled in more ways.
_MOST_SPELLINGS = 50
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CONSONANTS = str.maketrans("0123456789abcdef", "bcdfghjkmnpqrstv")
# The values of these are ours, or codes that DICOM defines: nothing of a patient can stand in them.
_OURS = frozenset(
    ("defects", "decay_correction", "file", "format", "frame", "id", "modality", "remedies", "series")
    + ("source", "units", "laterality", "frame_of_reference", "series_uid", "study_uid")
)


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """Identity as the header spells it, empty where it says nothing; `words` is what no other text may hold.

    `study` is what else of patient and study a new object of the same study has to repeat, by DICOM keyword.
    """

    id: str
    name: str
    birth_date: str
    study_date: str
    words: frozenset[str] = field(default=frozenset(), compare=False)
    study: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def as_json(self, identified: bool, study_uid: str) -> dict[str, Any]:
        """Plain, or as hashes by which a case can still be compared with its study."""
        plain = {"id": self.id, "name": self.name, "birth_date": self.birth_date}
        if identified:
            return {"identified": True} | plain | {"study_date": self.study_date, "study": dict(self.study)}
        hashed = {key: identity_hash(value, self.id) for key, value in plain.items()}
        salt = hashlib.sha256(study_uid.encode()).hexdigest()[:16]
        words = identity_hash(name_words(self.name), salt)
        return {"identified": False} | hashed | {"name_salt": salt, "name_words": words}


def identity_hash(value: str, salt: str) -> str | None:
    """A slow hash of one identifying value, spelling and case levelled; None for an empty one.

    `salt` is the patient's number, so that it has to be known too; a name's own words have one of the study.
    """
    level = " ".join(unicodedata.normalize("NFKC", value).replace("^", " ").casefold().split())
    if not level:
        return None
    salted = _HASH_SALT + salt.strip().casefold().encode()
    return hashlib.pbkdf2_hmac("sha256", level.encode(), salted, HASH_ROUNDS).hex()[:32]


def name_words(name: str) -> str:
    """Family and given names in one order whatever the spelling: `DOE, Jané` and `Doe^Jane^^Dr` are one name."""
    family_and_given = " ".join(name.split("=")[0].split("^")[:2])
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", family_and_given) if not unicodedata.combining(c)
    )
    return " ".join(sorted(re.findall(r"\w+", plain.casefold())))


def same_patient(one: PatientFacts, other: PatientFacts) -> bool:
    """Whether nothing speaks against it; spellings of a name count where number and birth date are not both stated."""
    numbers = bool(one.id and other.id)
    born = bool(one.birth_date and other.birth_date)
    if (numbers and one.id != other.id) or (born and one.birth_date != other.birth_date):
        return False
    names = name_words(one.name), name_words(other.name)
    return (numbers and born) or not all(names) or names[0] == names[1]


def strangers(patients: Iterable[PatientFacts]) -> set[str]:
    """Empty, or two words where not all of them can be one patient."""
    distinct = list(dict.fromkeys(patients))
    many = len(distinct) > _MOST_SPELLINGS
    differ = many or any(not same_patient(a, b) for a, b in combinations(distinct, 2))
    return {"one", "another"} if differ else set()


def patient_of(ds: Dataset) -> PatientFacts:
    """Identity of a file."""

    def text(name: str) -> str:
        return str(ds.get(name, "") or "").strip()

    words = frozenset(_words(ds))
    study = tuple((name, text(name)) for name in REPEATED)
    return PatientFacts(
        text("PatientID"), text("PatientName"), text("PatientBirthDate"), text("StudyDate"), words, study
    )


def owner_of(path: Path) -> PatientFacts | None:
    """Identity of a DICOM file that holds no image, however large it is; None where it cannot be read."""
    import pydicom

    from navigation.io.dicom_headers import PARSER_FAULTS

    tags = [*_NAMES, *_NUMBERS, *_PLACES, *_DATES]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return patient_of(
                pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(tags))
            )
    except PARSER_FAULTS:
        return None


def _words(ds: Dataset) -> Iterable[str]:
    """Everything in a header that tells who or when; names word by word."""
    for name in _NAMES:
        yield from (w for w in re.split(r"[\^=,\s\\]+", _joined(ds, name)) if len(w) > 1)
    for name in (*_NUMBERS, *_PLACES):
        yield from (w.strip() for w in _joined(ds, name).split("\\") if len(w.strip()) > 1)
    for name in _PLACES:
        yield from (w for w in re.split(r"[\s,;\\]+", _joined(ds, name)) if len(w) >= _SHORT)
    for name in _DATES:
        date = _joined(ds, name)
        if len(date) == 8 and date.isdigit():
            yield date
            yield from (f"{date[:4]}{s}{date[4:6]}{s}{date[6:]}" for s in "-./")
            yield from (f"{date[6:]}{s}{date[4:6]}{s}{date[:4]}" for s in "-./")


def _joined(ds: Dataset, name: str) -> str:
    value = ds.get(name)
    if value is None or isinstance(value, str | bytes):
        return str(value or "").strip()
    if hasattr(value, "__iter__") and type(value).__name__ == "MultiValue":
        return "\\".join(str(v) for v in value)
    return str(value).strip()


class Redactor:
    """Strikes a patient's words out of texts."""

    def __init__(self, words: Iterable[str]) -> None:
        """`words` in any spelling; longer ones are struck out first."""
        distinct = sorted({w.casefold() for w in words}, key=lambda w: (-len(w), w))
        parts = [re.escape(w) if len(w) >= _SHORT else rf"(?<!\w){re.escape(w)}(?!\w)" for w in distinct]
        self._pattern = re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def text(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(STRUCK_OUT, text)

    def tree(self, value: Any) -> Any:
        """JSON with every free text struck through; our codes and file names stay, words counted as kinds do not."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {k: self._field(k, v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(v) for v in value]
        return value

    def _field(self, key: str, value: Any) -> Any:
        if key == "kinds":
            return {self.text(kind): count for kind, count in value.items()}
        if key in _OURS and (isinstance(value, str) or key == "defects"):
            return value
        return self.tree(value)

    def frame(self, uid: str) -> str:
        """A frame of reference as it is, unless it is no UID or spells the patient's number or a date."""
        if _UID.fullmatch(uid) and len(uid) <= 64 and self.text(uid) == uid:
            return uid
        return alias(uid)


def alias(uid: str) -> str:
    """A word that stands for a UID, the same whenever it occurs: consonants alone, so that no name or date is in it."""
    digest = hashlib.sha256(b"gammanav uid" + uid.encode()).hexdigest()[:24]
    return "uid-" + digest.translate(_CONSONANTS)
