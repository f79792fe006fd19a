"""The study of a case file: compared with what the case says of its patient before anything rests on it.

What the case says of the patient is compared and forgotten: neither settings nor record hold it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from navigation.io.study import load_study
from navigation.studycheck import MAX_AGE_DAYS, check_study, expected_from, override_from
from navigation.studymodel import StudyModel
from tracking.errors import GateRefusedError, InputError

# What [patient] may hold beside the patient.
MAX_AGE, OVERRIDE = "max_age_days", "override"


@dataclass(frozen=True, slots=True, eq=False)
class CaseStudy:
    """The study, and how it compared with the case: content of study_check.json, without a patient's data."""

    model: StudyModel
    check: dict[str, Any]


def case_study(folder: Path, patient: object, nuclide: str, where: str) -> CaseStudy:
    """The study in `folder` for a case whose table [patient] is `patient`, None where it has none.

    Raises GateRefusedError for a study that is not the case's and that no two persons have taken upon them, InputError
    for a table or a study that cannot be read.
    """
    if patient is not None and not isinstance(patient, Mapping):
        raise InputError(f"{where}: [patient] is no table")
    said = dict(patient or {})
    override = said.pop(OVERRIDE, None)
    age = said.pop(MAX_AGE, MAX_AGE_DAYS)
    if isinstance(age, bool) or not isinstance(age, int | float) or not age > 0.0:
        raise InputError(f"{where}, {MAX_AGE}: {age!r} is no number of days")
    confirmed = None if override is None else override_from(override, f"{where}, {OVERRIDE}")
    model = StudyModel.of_folder(folder)
    targets = tuple(
        (float(x), float(y), float(z)) for x, y, z in (t.position_mm for t in model.targets.targets)
    )
    expected = replace(
        expected_from(said, where), nuclide=nuclide, max_age_days=float(age), targets_mm=targets
    )
    check = check_study(load_study(folder), expected, time.time())
    if not check.allows(confirmed):
        raise GateRefusedError(f"{folder}: not the study of this case: {'; '.join(map(str, check.blocking))}")
    return CaseStudy(model, check.to_json(confirmed))
