"""What the stored numbers of a series mean: the unit and the line that leads to it.

Terms are DICOM's own (PS3.3 C.8.9.1 Units, C.11.1.1.2 Rescale Type); nothing is guessed from the values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

# PET units that the project can use: activity concentration, SUV in g/mL, and plain counts.
PET_UNITS = ("BQML", "GML", "CNTS")
# Measurement units of a real-world value map (UCUM) and their PET terms.
UCUM_UNITS = {
    "bq/ml": "BQML",
    "g/ml": "GML",
    "{suvbw}g/ml": "GML",
    "{counts}": "CNTS",
    "{propcounts}": "CNTS",
}
UNSTATED = "unstated"


@dataclass(frozen=True, slots=True)
class Meaning:
    """`units` and value = slope * stored + intercept; `fault` says why the unit is not supported."""

    units: str
    slope: float = 1.0
    intercept: float = 0.0
    fault: str | None = None
    half: bool = False  # only one of slope and intercept is there, and it would change the values


def meaning_of(ds: Dataset, groups: list[Dataset]) -> Meaning:
    """Unit and rescale line of an image or of one frame, whose functional groups are searched first."""
    meaning = _stated_meaning(ds, groups)
    if meaning.fault is None and meaning.half:
        return replace(meaning, fault="a rescale slope without an intercept, or the other way round")
    line = (meaning.slope, meaning.intercept)
    if meaning.fault is None and not (all(math.isfinite(v) for v in line) and meaning.slope != 0.0):
        return replace(meaning, fault=f"a rescale slope of {line[0]:g} and intercept of {line[1]:g}")
    return meaning


def _stated_meaning(ds: Dataset, groups: list[Dataset]) -> Meaning:
    modality = str(ds.get("Modality", ""))
    line = _first(groups, "PixelValueTransformationSequence") or ds
    given = line.get("RescaleSlope"), line.get("RescaleIntercept")
    stated = None not in given
    half = not stated and any(
        v is not None and float(v) != idle for v, idle in zip(given, (1.0, 0.0), strict=True)
    )
    slope = float(line.RescaleSlope) if stated else 1.0
    intercept = float(line.RescaleIntercept) if stated else 0.0
    if modality == "CT":
        return Meaning("HU", slope, intercept, _ct_fault(ds, line, stated))
    if modality == "MR":
        return Meaning(UNSTATED, slope, intercept, half=half)
    found = _emission(ds, groups, slope, intercept, modality)
    # A real-world value map has a line of its own.
    mapped = not ds.get("Units") and _first([*groups, ds], "RealWorldValueMappingSequence") is not None
    return replace(found, half=half and not mapped)


def _first(groups: list[Dataset], name: str) -> Dataset | None:
    """First item of the named sequence in the first functional group that has it."""
    for group in groups:
        items = group.get(name)
        if items:
            item: Dataset = items[0]
            return item
    return None


def _ct_fault(ds: Dataset, line: Dataset, stated: bool) -> str | None:
    """Only Hounsfield units carry attenuation; a map derived from a CT is none."""
    kind = str(line.get("RescaleType", "") or "HU")
    if kind != "HU":
        return f"CT values of rescale type {kind} are not Hounsfield units"
    if not stated:
        return "CT without rescale slope and intercept"
    if "PERFUSION" in str(ds.get("ImageType", "")):
        return "a perfusion map is not in Hounsfield units"
    return None


def _emission(ds: Dataset, groups: list[Dataset], slope: float, intercept: float, modality: str) -> Meaning:
    """PET and NM: the Units field, else a real-world value map, else (NM only) counts."""
    units = str(ds.get("Units", "") or "")
    if units:
        fault = None if units in PET_UNITS else f"units {units}; known are {', '.join(PET_UNITS)}"
        return Meaning(units, slope, intercept, fault)
    mapping = _first([*groups, ds], "RealWorldValueMappingSequence")
    if mapping is not None:
        return _mapped(mapping)
    if modality == "NM":
        return Meaning("CNTS", slope, intercept)
    return Meaning(UNSTATED, slope, intercept, "PET without units")


def _mapped(mapping: Dataset) -> Meaning:
    codes = mapping.get("MeasurementUnitsCodeSequence")
    word = str(codes[0].get("CodeValue", "")) if codes else ""
    units = UCUM_UNITS.get(word.lower())
    slope, intercept = mapping.get("RealWorldValueSlope"), mapping.get("RealWorldValueIntercept")
    if units is None or slope is None or intercept is None:
        return Meaning(word or UNSTATED, fault=f"real-world values in '{word}' are not supported")
    return Meaning(units, float(slope), float(intercept))
