"""Is this the study of the case? Identity, side, frame of reference, nuclide and age are compared before any use.

What disagrees, or cannot be told where it has to be, blocks (hazards H23, H24); two persons may override it, with a
reason. No sentence here holds a name, a number or a date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.physics.nuclide import nuclide
from navigation.io.dicom_identity import identity_hash, name_words
from navigation.io.study import Study, StudySeries
from tracking.errors import InputError

FUNCTIONAL = ("NM", "PT")
# Within a month little grows or is treated; the user's own limit may be stricter.
MAX_AGE_DAYS = 30.0
DAY_S = 86400.0
# A study from the future is a wrong clock or a wrong study; time zones differ by less than a day.
FUTURE_DAYS = 1.0
# A target this near to the midline says nothing of a side.
MIDLINE_MM = 15.0
# Where tissue begins in a CT, and the least width of a body: a smaller piece says nothing of where its middle is.
TISSUE_HU, LEAST_BODY_MM = -300.0, 100.0
SIDES = {"l": "L", "left": "L", "r": "R", "right": "R", "both": "B", "b": "B", "bilateral": "B"}
SIDES |= {"none": "", "midline": "", "u": ""}
_KEYS = {"id", "name", "birth_date", "laterality"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the case says of its patient; None where it says nothing.

    `laterality` is L, R, B or "" (not paired); `frame_of_reference` that of the registration, if one names it;
    `targets_mm` are places (3,) in LPS that have to lie on the side operated on.
    """

    id: str | None = None
    name: str | None = None
    birth_date: str | None = None
    laterality: str | None = None
    frame_of_reference: str | None = None
    nuclide: str | None = None
    max_age_days: float = MAX_AGE_DAYS
    targets_mm: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that disagrees or is unknown: a fixed `code` and a sentence."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class Override:
    """Two persons who take a mismatch upon them, and why."""

    by: tuple[str, str]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The record that goes into the case's log."""
        return {"by": list(self.by), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class StudyCheck:
    """What blocks the use of a study, what has to be told, and what was found to agree."""

    blocking: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    agreed: tuple[str, ...]
    age_days: float | None

    def allows(self, override: Override | None = None) -> bool:
        """Whether the study may be used: nothing blocks, or two persons have said so."""
        return not self.blocking or override is not None

    def to_json(self, override: Override | None = None) -> dict[str, Any]:
        """For the record and the report; holds nothing that tells of a person but the two names."""
        return {
            "accepted": self.allows(override),
            "blocking": [{"code": f.code, "text": f.text} for f in self.blocking],
            "warnings": [{"code": f.code, "text": f.text} for f in self.warnings],
            "agreed": list(self.agreed),
            "age_days": self.age_days,
            "override": None if override is None else override.to_json(),
        }


class _Findings:
    """Findings as they come."""

    def __init__(self) -> None:
        self.blocking: list[Finding] = []
        self.warnings: list[Finding] = []
        self.agreed: list[str] = []

    def block(self, code: str, text: str) -> None:
        self.blocking.append(Finding(code, text))

    def warn(self, code: str, text: str) -> None:
        self.warnings.append(Finding(code, text))


def check_study(study: Study, expected: Expected, now: float) -> StudyCheck:
    """Compare a study with its case at the time `now` (s since 1970, UTC)."""
    found = _Findings()
    _identity(study.patient, expected, found)
    _laterality(study, expected, found)
    _frames(study, expected, found)
    _nuclide(study, expected, found)
    age_days = _age(study, expected, now, found)
    return StudyCheck(tuple(found.blocking), tuple(found.warnings), tuple(found.agreed), age_days)


def _identity(patient: Mapping[str, Any], expected: Expected, found: _Findings) -> None:
    if expected.id is None and expected.name is None and expected.birth_date is None:
        found.warn("IDENTITY_NOT_COMPARED", "the case does not say whose it is")
        return
    salt = str(patient.get("id") or "") if patient.get("identified") else (expected.id or "")
    answers = {
        "number": _agrees(patient, "id", expected.id, salt),
        "name": _name_agrees(patient, expected.name, salt),
        "birth date": _agrees(patient, "birth_date", _digits(expected.birth_date), salt),
    }
    stated = {"number": expected.id, "name": expected.name, "birth date": expected.birth_date}
    for what, given in stated.items():
        if given is None:
            continue
        code = f"PATIENT_{what.upper().replace(' ', '_')}"
        if answers[what] is False:
            found.block(code, f"the patient's {what} in the study is not that of the case")
        elif answers[what] is None:
            found.block(code, f"the patient's {what} cannot be confirmed from the study")
        else:
            found.agreed.append(what)


def _agrees(patient: Mapping[str, Any], key: str, given: str | None, salt: str) -> bool | None:
    """Whether one value agrees; None where the study does not hold it, or not in a form that can be compared."""
    held = patient.get(key)
    if given is None or not isinstance(held, str) or not held:
        return None
    if patient.get("identified"):
        return identity_hash(held, "") == identity_hash(given, "")
    if not salt:
        return None
    return identity_hash(given, salt) == held


def _name_agrees(patient: Mapping[str, Any], given: str | None, salt: str) -> bool | None:
    """Names agree as spelled, or by their family and given names in whatever order."""
    if given is None:
        return None
    as_spelled = _agrees(patient, "name", given, salt)
    if as_spelled:
        return True
    if patient.get("identified"):
        return None if as_spelled is None else name_words(str(patient["name"])) == name_words(given)
    held, own_salt = patient.get("name_words"), patient.get("name_salt")
    if not held or not own_salt:
        return as_spelled
    return bool(identity_hash(name_words(given), str(own_salt)) == held)


def _digits(text: str | None) -> str | None:
    return None if text is None else re.sub(r"\D", "", text)


def _laterality(study: Study, expected: Expected, found: _Findings) -> None:
    """The side of the case beside what the headers say, and beside where the targets lie."""
    side = expected.laterality
    stated = {str(s.facts["laterality"]) for s in study.series if s.facts.get("laterality") in ("L", "R")}
    if side not in ("L", "R"):
        if side == "" and stated:
            found.warn("LATERALITY", "the study names a side, the case none")
        return
    other = "R" if side == "L" else "L"
    if other in stated:
        found.block("LATERALITY", "the study is of the other side than the case")
    elif stated:
        found.agreed.append("side")
    else:
        found.warn("LATERALITY_UNSTATED", "the study does not say which side it shows")
    if expected.targets_mm:
        _targets(study, side, expected.targets_mm, found)


def _targets(study: Study, side: str, targets_mm: ArrayLike, found: _Findings) -> None:
    middle = None if study.ct is None else midline_mm(study.ct)
    if middle is None:
        found.warn("MIDLINE_UNKNOWN", "where the midline is cannot be told from the CT")
        return
    left = np.asarray(targets_mm, dtype=np.float64).reshape(-1, 3)[:, 0] - middle
    towards = left if side == "L" else -left
    wrong, near = int((towards < -MIDLINE_MM).sum()), int((np.abs(left) <= MIDLINE_MM).sum())
    if wrong:
        found.block("TARGET_SIDE", f"{wrong} of {len(left)} targets lie on the other side of the midline")
    if near:
        found.warn("TARGET_MIDLINE", f"{near} targets lie within {MIDLINE_MM:.0f} mm of the midline")
    if not wrong and near < len(left):
        found.agreed.append("side of the targets")


def midline_mm(ct: StudySeries) -> float | None:
    """Where along L the body's middle lies; None where the field of view cuts it on a side.

    The patient's left and right edges are taken slice by slice; half of the slices have to show both.
    """
    axis = int(np.argmax(np.abs(ct.grid.direction[0])))
    tissue = np.moveaxis(ct.volume() > TISSUE_HU, 2 - axis, 2)
    columns = tissue.mean(axis=1) > 0.0
    first, last = columns.argmax(axis=1), columns.shape[1] - 1 - columns[:, ::-1].argmax(axis=1)
    whole = columns.any(axis=1) & (first > 0) & (last < columns.shape[1] - 1)
    whole &= (last - first) * float(ct.grid.spacing_mm[axis]) >= LEAST_BODY_MM
    if 2 * int(whole.sum()) < len(whole):
        return None
    index: NDArray[np.float64] = (np.array(ct.grid.size, dtype=np.float64) - 1.0) / 2.0
    index[axis] = float(np.median(0.5 * (first + last)[whole]))
    return float((ct.grid.matrix[:3] @ [*index, 1.0])[0])


def _frames(study: Study, expected: Expected, found: _Findings) -> None:
    usable = [s for s in study.series if s.usable]
    if not usable:
        found.block("FRAME_OF_REFERENCE", "no series of the study has a frame of reference that can be used")
    for series in study.series:
        if not series.usable:
            found.warn(
                "SERIES_NOT_USABLE", f"the {series.modality} series has to be registered before it is used"
            )
    if expected.frame_of_reference is None:
        return
    if any(s.frame_of_reference == expected.frame_of_reference for s in usable):
        found.agreed.append("frame of reference")
    else:
        found.block("FRAME_OF_REFERENCE", "the registration is of another frame of reference than the study")


def _nuclide(study: Study, expected: Expected, found: _Findings) -> None:
    """A SPECT of another nuclide is of another examination; a PET may be of a tracer that goes to the same place."""
    if expected.nuclide is None:
        return
    wanted = nuclide(expected.nuclide).name
    for series in (s for s in study.series if s.modality in FUNCTIONAL):
        name = (series.facts.get("radiopharmaceutical") or {}).get("nuclide")
        known = _known(name)
        if known is None:
            found.warn("NUCLIDE_UNSTATED", f"the {series.modality} series names no known nuclide")
        elif known == wanted:
            found.agreed.append("nuclide")
        elif series.modality == "NM":
            found.block("NUCLIDE", f"the NM series is of {known}, the case is of {wanted}")
        else:
            found.warn("NUCLIDE", f"the {series.modality} series is of {known}, the case is of {wanted}")


def _known(name: object) -> str | None:
    try:
        return nuclide(str(name)).name if name else None
    except InputError:
        return None


def _age(study: Study, expected: Expected, now: float, found: _Findings) -> float | None:
    """Days since the oldest of its series that are used."""
    clocks = [s.clock for s in study.series if s.usable or len(study.series) == 1]
    taken = [c.utc_s(c.acquired_s) for c in clocks if c.acquired_s is not None]
    if not taken:
        found.warn("AGE_UNKNOWN", "when the study was acquired is not known")
        return None
    age_days = (now - min(taken)) / DAY_S
    if (now - max(taken)) / DAY_S < -FUTURE_DAYS:
        found.block("STUDY_IN_FUTURE", "the study was acquired after today: a wrong clock or a wrong study")
    elif age_days > expected.max_age_days:
        limit = f"{expected.max_age_days:g} days"
        found.warn(
            "STUDY_OLD", f"the study is {age_days:.0f} days old, more than {limit}: targets may have moved"
        )
    return age_days


def expected_from(table: object, where: str, **more: Any) -> Expected:
    """The `[patient]` table of a case file, all keys optional; `more` are the other fields of Expected.

    Raises InputError that names the key and not its value.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: is no table")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}")
    given: dict[str, Any] = {key: _text(table[key], f"{where}, {key}") for key in table}
    born = given.get("birth_date")
    if born is not None and not re.fullmatch(r"\d{8}", _digits(born) or ""):
        raise InputError(f"{where}, birth_date: is no date as 1970-01-31")
    side = given.get("laterality")
    if side is not None:
        if side.lower() not in SIDES:
            raise InputError(f"{where}, laterality: is none of left, right, both, none")
        given["laterality"] = SIDES[side.lower()]
    return Expected(**given, **more)


def _text(value: object, where: str) -> str:
    if isinstance(value, date):
        return f"{value:%Y%m%d}"
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise InputError(f"{where}: is no text")
    return str(value).strip()


def override_from(record: object, where: Path | str) -> Override:
    """`{"by": [a, b], "reason": text}`: two different persons and why. Raises InputError."""
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: an override is an object with by and reason")
    by, reason = record.get("by"), record.get("reason")
    names = [" ".join(str(n).split()) for n in by] if isinstance(by, list | tuple) else []
    if len(names) != 2 or not all(names) or names[0].casefold() == names[1].casefold():
        raise InputError(f"{where}, by: two different persons have to confirm")
    if not isinstance(reason, str) or not reason.strip():
        raise InputError(f"{where}, reason: is missing")
    return Override((names[0], names[1]), reason.strip())
