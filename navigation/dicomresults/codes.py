"""Coded concepts of the objects: DICOM's and SNOMED's where they have one, else our own, defined here.

None of them says what tissue it is: a focus of activity is no diagnosis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

SCHEME = "99GAMMANAV"
UCUM = "UCUM"
# A code value is an SH of 16 characters (PS3.3 table 8.8-1); what is longer would go where few programs look.
LONGEST_VALUE = 16
# Code values of our own scheme with their meanings; a value once given keeps its meaning for good.
OWN = {
    "activity-concentration": "Activity concentration",
    "mda": "Minimum detectable activity of a point source",
    "focus": "Focus of radionuclide uptake",
    "bed": "Resection bed as outlined",
    "bed-unassessed": "Part of the resection bed not assessed",
    "scan": "Freehand gamma probe scan",
    "list-mode-ml": "List-mode maximum likelihood",
    "outlined": "Tissue behind touched points",
    "activity": "Activity above background",
    "activity-low": "Activity, lower end of the 95 % interval",
    "activity-high": "Activity, upper end of the 95 % interval",
    "sd-x": "Standard deviation of the position along the first axis",
    "sd-y": "Standard deviation of the position along the second axis",
    "sd-z": "Standard deviation of the position along the third axis",
    "sd-worst": "Standard deviation of the position, worst direction",
    "significance": "Significance in standard deviations",
    "tbr": "Target to background ratio",
    "depth": "Depth below the surface",
    "extent": "Diameter",
    "quality": "Quality of the result",
    "background": "Background activity concentration",
    "threshold": "Threshold of the statement",
    "confidence": "Confidence of the statement",
    "covered": "Share of the bed assessed at the threshold",
    "uncovered-width": "Width of the widest part not covered",
    "bed-limit": "Highest upper limit on 99 % of the bed",
    "bed-mda": "Minimum detectable activity on 99 % of the bed",
    "removed": "Activity removed between the scans",
    "removed-low": "Activity removed, lower end of the 95 % interval",
    "removed-high": "Activity removed, upper end of the 95 % interval",
    "reach": "Least threshold that could be stated",
    "specimen": "Activity of the specimen",
    "specimen-low": "Activity of the specimen, lower end of the 95 % interval",
    "specimen-high": "Activity of the specimen, upper end of the 95 % interval",
    "missing": "Activity removed that the specimen does not hold",
    "missing-low": "Activity missing, lower end of the 95 % interval",
    "missing-high": "Activity missing, upper end of the 95 % interval",
    "equivalent": "Diameter that the threshold stands for at the specimen's uptake",
    "equivalent-low": "Equivalent diameter, lower end of the 95 % interval",
    "equivalent-high": "Equivalent diameter, upper end of the 95 % interval",
    "timed-count": "Timed count with a gamma probe",
    "counts": "Counts",
    "live-time": "Live time",
    "ready-time": "Time for which the counter was ready",
    "decay": "Activity during the count over that at the reference time",
    "rate": "Count rate at the reference time",
    "rate-low": "Count rate, lower end of the 95 % interval",
    "rate-high": "Count rate, upper end of the 95 % interval",
    "bed-finding": "Finding of the bed check",
    "residual-suspected": "Residual activity suspected",
    "none-above": "No activity above the threshold detected",
    "partly-assessed": "Bed only partly assessed",
    "not-assessed": "Bed not assessed",
    "residual": "Residual focus of radionuclide uptake",
    "ok": "ok",
    "limited": "limited",
    "unusable": "unusable, for the record only",
}


def own(value: str) -> CodedConcept:
    """A concept of our own scheme."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value[:LONGEST_VALUE], SCHEME, OWN[value])


def dcm(value: str, meaning: str) -> CodedConcept:
    """A concept of DICOM's dictionary (PS3.16 annex D)."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value, "DCM", meaning)


def sct(value: str, meaning: str) -> CodedConcept:
    """A concept of SNOMED CT."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value, "SCT", meaning)


def unit(ucum: str, meaning: str | None = None) -> CodedConcept:
    """A unit of measurement in UCUM."""
    from highdicom.sr import CodedConcept

    return CodedConcept(ucum, UCUM, meaning or ucum)


def scheme_items() -> list[Dataset]:
    """Coding Scheme Identification Sequence: whose scheme ours is."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "gammanav results"
    item.CodingSchemeResponsibleOrganization = "gammanav"
    return [item]
