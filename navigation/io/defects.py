"""What can be wrong with a preoperative series: fixed codes, and whether the series may still be imported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Names that scripts rely on."""

    GANTRY_TILT = "GANTRY_TILT"
    MISSING_SLICE = "MISSING_SLICE"
    DUPLICATE_POSITION = "DUPLICATE_POSITION"
    UNEQUAL_SPACING = "UNEQUAL_SPACING"
    MIXED_ORIENTATION = "MIXED_ORIENTATION"
    MIXED_SERIES = "MIXED_SERIES"
    MIXED_PATIENTS = "MIXED_PATIENTS"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    NOT_A_VOLUME = "NOT_A_VOLUME"
    UNSUPPORTED_UNITS = "UNSUPPORTED_UNITS"
    UNREADABLE = "UNREADABLE"
    NEGATIVE_SPACING = "NEGATIVE_SPACING"
    NO_PATIENT_POSITION = "NO_PATIENT_POSITION"
    NO_FRAME_OF_REFERENCE = "NO_FRAME_OF_REFERENCE"
    FRAME_MISMATCH = "FRAME_MISMATCH"

    @property
    def fatal(self) -> bool:
        """Whether the series must not be imported."""
        return self not in _RECORDED

    @property
    def needs_registration(self) -> bool:
        """Whether the series cannot be used until it is registered."""
        return self in (Code.NO_FRAME_OF_REFERENCE, Code.FRAME_MISMATCH)


_RECORDED = (
    Code.NEGATIVE_SPACING,
    Code.NO_PATIENT_POSITION,
    Code.NO_FRAME_OF_REFERENCE,
    Code.FRAME_MISMATCH,
)


@dataclass(frozen=True, slots=True)
class Defect:
    """One finding in words that name no patient."""

    code: Code
    detail: str

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
