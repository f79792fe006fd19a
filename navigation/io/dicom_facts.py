"""Facts of a DICOM image beside its geometry: corrections, tracer, and whose it is.

What identifies the patient stays in `PatientFacts` and leaves this package hashed, unless asked for.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset

# Work per hash: slow enough that a list of numbers or birthdays is not tried through in passing.
HASH_ROUNDS = 100_000
_HASH_SALT = b"gammanav study"
_SIMULATION = "SIMULATION"


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """Identity as the header spells it; empty where it says nothing."""

    id: str
    name: str
    birth_date: str
    study_date: str

    def as_json(self, identified: bool) -> dict[str, Any]:
        """Plain, or as hashes by which a case can still be compared with its study."""
        plain = {
            "id": self.id,
            "name": self.name,
            "birth_date": self.birth_date,
            "study_date": self.study_date,
        }
        if identified:
            return {"identified": True} | plain
        hashed = {key: identity_hash(value, self.id) for key, value in plain.items() if key != "study_date"}
        return {"identified": False} | hashed


def identity_hash(value: str, patient_id: str) -> str | None:
    """A slow hash of one identifying value, spelling and case levelled; None for an empty one."""
    level = " ".join(unicodedata.normalize("NFKC", value).replace("^", " ").casefold().split())
    if not level:
        return None
    salt = _HASH_SALT + patient_id.strip().casefold().encode()
    return hashlib.pbkdf2_hmac("sha256", level.encode(), salt, HASH_ROUNDS).hex()[:32]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader of the values has to know; None where the header does not say.

    `decay_correction` is DICOM's START, ADMIN or NONE; DECY where only the fact of a correction is stated.
    """

    decay_correction: str | None
    corrections: tuple[str, ...]
    suv_type: str | None
    nuclide: str | None
    injected_mbq: float | None
    injection_to_acquisition_s: float | None
    lossy: bool
    simulated: bool

    def as_json(self) -> dict[str, Any]:
        """Keys of a series in study.json."""
        return {
            "decay_correction": self.decay_correction,
            "corrections": list(self.corrections),
            "suv_type": self.suv_type,
            "radiopharmaceutical": {
                "nuclide": self.nuclide,
                "injected_mbq": self.injected_mbq,
                "injection_to_acquisition_s": self.injection_to_acquisition_s,
            },
            "lossy_compression": self.lossy,
            "simulated": self.simulated,
        }


def patient_of(ds: Dataset) -> PatientFacts:
    """Identity of a file."""

    def text(name: str) -> str:
        return str(ds.get(name, "") or "").strip()

    return PatientFacts(text("PatientID"), text("PatientName"), text("PatientBirthDate"), text("StudyDate"))


def facts_of(ds: Dataset) -> Facts:
    """Corrections and tracer of a file."""
    corrected = ds.get("CorrectedImage")
    corrections = (corrected,) if isinstance(corrected, str) else tuple(str(v) for v in corrected or ())
    decay = str(ds.get("DecayCorrection", "") or "") or ("DECY" if "DECY" in corrections else None)
    items = ds.get("RadiopharmaceuticalInformationSequence")
    tracer = items[0] if items else Dataset()
    codes = tracer.get("RadionuclideCodeSequence")
    makers = (str(ds.get(name, "") or "") for name in ("Manufacturer", "InstitutionName"))
    return Facts(
        decay_correction=decay,
        corrections=corrections,
        suv_type=str(ds.get("SUVType", "") or "") or None,
        nuclide=str(codes[0].get("CodeMeaning", "") or "") or None if codes else None,
        injected_mbq=_injected_mbq(ds, tracer),
        injection_to_acquisition_s=_uptake_s(ds, tracer),
        lossy=str(ds.get("LossyImageCompression", "") or "") == "01",
        simulated=any(_SIMULATION in text for text in makers),
    )


def _injected_mbq(ds: Dataset, tracer: Dataset) -> float | None:
    """PET states becquerel, NM megabecquerel; zero is how cameras write "not entered"."""
    dose = tracer.get("RadionuclideTotalDose")
    if dose is None or dose == "" or float(dose) <= 0.0:
        return None
    return float(dose) / 1e6 if str(ds.get("Modality")) == "PT" else float(dose)


def _uptake_s(ds: Dataset, tracer: Dataset) -> float | None:
    """Seconds from injection to acquisition."""
    acquired = _moment(ds, "Acquisition") or _moment(ds, "Series")
    stated = str(tracer.get("RadiopharmaceuticalStartDateTime", "") or "")
    injected = _parsed(stated)
    if injected is None and acquired is not None:
        clock = str(tracer.get("RadiopharmaceuticalStartTime", "") or "")
        injected = _parsed(f"{acquired:%Y%m%d}{clock}") if clock else None
    if acquired is None or injected is None:
        return None
    return (acquired - injected).total_seconds()


def _moment(ds: Dataset, what: str) -> datetime | None:
    date, time = str(ds.get(f"{what}Date", "") or ""), str(ds.get(f"{what}Time", "") or "")
    return _parsed(date + time) if date and time else None


def _parsed(text: str) -> datetime | None:
    """Date and time to the second, without zone or fraction: both ends come from one header."""
    try:
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None
