"""Whose results an object says it holds: by default nobody's, on request those of the imported study's patient.

De-identified objects carry a pseudonym of the case; name, number and dates stand in them nowhere (hazard H41).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navigation.dicomresults.uids import derived_uid
from navigation.io.dicom_identity import REPEATED, Redactor, identity_hash
from navigation.io.pacssettings import is_uid
from navigation.report.results import CaseReport
from tracking.errors import InputError
from tracking.jsonfile import read_json

# Sixteen of the digits of the hash: no two of a million cases share them.
PSEUDONYM_DIGITS = 16
PSEUDONYM = "GN-"


@dataclass(frozen=True, slots=True)
class Identity:
    """Patient and study of the objects; dates are DICOM's (YYYYMMDD), empty where not told, `study` by keyword.

    `key` tells the case from all others, `redactor` strikes out of a text what must not stand in it: nothing in an
    identified object.
    """

    key: str
    patient_id: str
    patient_name: str
    birth_date: str
    study_uid: str
    study_date: str
    deidentified: bool
    redactor: Redactor
    study: tuple[tuple[str, str], ...] = ()

    def text(self, text: str) -> str:
        """A text as it may leave."""
        return self.redactor.text(text)


def case_key(case: CaseReport) -> str:
    """What tells this case from all others, known to nobody who does not hold its files: digest of id and counts."""
    about = _about(case)
    of_scan = [s.folder / name for s in case.scans[:1] for name in ("counts.csv", "spots.json")]
    held = next(p for p in (*of_scan, case.folder / "timed_counts.json") if p.is_file())
    salt = hashlib.sha256(held.read_bytes()).hexdigest()
    return identity_hash(str(about.get("case") or "") + " of these counts", salt) or salt


def deidentified(case: CaseReport, study: Path | None) -> Identity:
    """A pseudonym made of the case's id and counts, which nobody can try through who lacks the counts."""
    key = case_key(case)
    name = PSEUDONYM + key[:PSEUDONYM_DIGITS].upper()
    patient = {} if study is None else _patient(study)
    return Identity(key, name, f"{name}^", "", derived_uid("study", key), "", True, Redactor(_words(patient)))


def identified(case: CaseReport, study: Path | None) -> Identity:
    """The patient and the study that the imported study names in plain text.

    Raises InputError when there is none, when it was imported without its identity, when it is not the case's, and
    for a simulation in a patient's study.
    """
    if study is None:
        raise InputError("identified objects need the imported study of the case: name it with --study")
    file = study / "study.json"
    patient = _patient(study)
    if patient.get("identified") is not True:
        raise InputError(f"{file}: was imported without its identity; import it with --keep-identity")
    _check_same(case, study)
    content = read_json(file)
    if case.simulated and content.get("simulated") is not True:
        raise InputError(f"{study}: is a patient's study, and this case is a simulation")
    named = content["series"][0].get("study_uid")
    uid = (patient.get("uids") or {}).get(named, named)
    if not isinstance(uid, str) or not is_uid(uid):
        raise InputError(f"{file}, patient.uids: does not hold the study's UID")
    return Identity(
        case_key(case),
        _fitting("PatientID", patient.get("id")),
        _fitting("PatientName", patient.get("name")),
        _date(patient.get("birth_date")),
        uid,
        _date(patient.get("study_date")),
        False,
        Redactor(()),
        tuple((name, _fitting(name, (patient.get("study") or {}).get(name))) for name in REPEATED),
    )


def _fitting(keyword: str, value: Any) -> str:
    """A text as an element of that name may hold it; empty where a file held what it may not."""
    from pydicom import config
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    text = str(value or "")
    try:
        validate_value(dictionary_VR(keyword), text, config.RAISE)
    except ValueError:
        return ""
    return "" if "\\" in text else text  # one value, not two


def _check_same(case: CaseReport, study: Path) -> None:
    """InputError when the case says that it was done with another study, or with none."""
    from navigation.studymodel import StudyModel

    about = _about(case)
    if not about:
        return
    known = about.get("study_id")
    if known is None or StudyModel.of_folder(study).id != known:
        raise InputError(f"{study}: nothing shows that this case was done with this study")


def _about(case: CaseReport) -> dict[str, Any]:
    path = case.folder / "case.json"
    return read_json(path) if path.is_file() else {}


def _patient(study: Path) -> dict[str, Any]:
    patient = read_json(study / "study.json").get("patient")
    return patient if isinstance(patient, dict) else {}


def _date(value: Any) -> str:
    text = str(value or "")
    return text if re.fullmatch(r"[0-9]{8}", text) else ""


def _words(patient: dict[str, Any]) -> frozenset[str]:
    """What no text may hold, of a study that tells it in plain text; hashes can stand in no text."""
    if patient.get("identified") is not True:
        return frozenset()
    names = [w for w in re.split(r"[\^=,\s]+", str(patient.get("name") or "")) if len(w) > 1]
    dates = [d for key in ("birth_date", "study_date") if (d := _date(patient.get(key)))]
    spelled = [f"{d[:4]}{s}{d[4:6]}{s}{d[6:]}" for d in dates for s in "-./"]
    number = str(patient.get("id") or "").strip()
    return frozenset((*names, *dates, *spelled, *([number] if len(number) > 1 else ())))
