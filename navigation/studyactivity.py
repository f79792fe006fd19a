"""From the stored values of a functional series to activity at the operation, as far as its header supports it.

Only physical decay is applied: what the tracer did between the study and the operation is not known from the study.
Units are DICOM's (PS3.3 C.8.9.1): BQML, GML as SUV by body weight, CNTS only with the maker's own scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from calibration.physics.nuclide import nuclide
from navigation.io.study import StudySeries
from tracking.errors import InputError

BQ_PER_KBQ = 1000.0
GRAMS_PER_KG = 1000.0
BQ_PER_MBQ = 1e6
# Slices acquired over a longer share of a half-life than this are not described by one moment.
LONGEST_SPREAD = 0.05
# A header's half-life is that of its nuclide to this fraction, or one of them is wrong.
HALF_LIFE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ActivityScale:
    """`kbq_per_ml` of one stored unit at the asked moment, None where it is not known; `reasons` say why, or what of.

    A series whose zone is not stated is taken to keep this computer's: that is a reason too.
    """

    kbq_per_ml: float | None
    reasons: tuple[str, ...] = ()


def activity_scale(series: StudySeries, surgery_time_utc: float) -> float | None:
    """kBq/mL of one stored unit at a moment (s since 1970, UTC); None where the header does not support it."""
    return activity_scale_of(series, surgery_time_utc).kbq_per_ml


def activity_scale_of(series: StudySeries, surgery_time_utc: float) -> ActivityScale:
    """As `activity_scale`, with the reasons."""
    half_life_s, doubt = _half_life(series)
    if half_life_s is None:
        return ActivityScale(None, (doubt or "the half-life is unknown",))
    if series.units == "GML":
        return _from_suv(series, surgery_time_utc, half_life_s)
    per_unit = _bqml_per_unit(series)
    if per_unit is None:
        return ActivityScale(None, (f"values in {series.units} have no scale to activity",))
    clock = series.clock
    if clock.decay_reference_s is None:
        stated = series.facts.get("decay_correction")
        return ActivityScale(None, (f"decay correction {stated or 'unstated'}: to which moment is unknown",))
    undecayed = series.facts.get("decay_correction") == "NONE"
    if undecayed and clock.spread_s > LONGEST_SPREAD * half_life_s:
        return ActivityScale(None, ("not decay corrected, and its slices are too far apart in time",))
    return _decayed(series, per_unit, clock.decay_reference_s, surgery_time_utc, half_life_s)


def _decayed(
    series: StudySeries, bqml: float, from_clock_s: float, surgery_time_utc: float, half_life_s: float
) -> ActivityScale:
    """`bqml` at a reading of the scanner's clock, brought to the operation."""
    clock = series.clock
    acquired_s = clock.acquired_s if clock.acquired_s is not None else from_clock_s
    if surgery_time_utc < clock.utc_s(acquired_s):
        return ActivityScale(None, ("the operation would be before the study",))
    elapsed_s = surgery_time_utc - clock.utc_s(from_clock_s)
    zone = () if clock.utc_offset_s is not None else ("the study's time zone is taken to be this computer's",)
    return ActivityScale(bqml / BQ_PER_KBQ * math.exp(-math.log(2.0) * elapsed_s / half_life_s), zone)


def _from_suv(series: StudySeries, surgery_time_utc: float, half_life_s: float) -> ActivityScale:
    """SUV by body weight is concentration over administered activity per gram, both at one moment."""
    kind = series.facts.get("suv_type") or "BW"
    if kind != "BW":
        return ActivityScale(None, (f"SUV by {kind} needs more than the header holds",))
    if series.facts.get("decay_correction") == "NONE":
        # activity of the acquisition over a dose that may be either moment's
        return ActivityScale(None, ("SUV without decay correction: to which moment is unknown",))
    tracer = series.facts.get("radiopharmaceutical") or {}
    dose_mbq, weight_kg = tracer.get("injected_mbq"), series.facts.get("weight_kg")
    if dose_mbq is None or weight_kg is None or series.clock.injected_s is None:
        return ActivityScale(None, ("SUV without administered activity, its time or the weight",))
    per_suv = float(dose_mbq) * BQ_PER_MBQ / (float(weight_kg) * GRAMS_PER_KG)
    return _decayed(series, per_suv, series.clock.injected_s, surgery_time_utc, half_life_s)


def _bqml_per_unit(series: StudySeries) -> float | None:
    """Bq/mL of one stored unit at the moment to which the series is corrected."""
    if series.units == "BQML":
        return 1.0
    scale = series.facts.get("bqml_per_count")
    return float(scale) if series.units == "CNTS" and scale is not None else None


def _half_life(series: StudySeries) -> tuple[float | None, str | None]:
    """Of the nuclide the header names, else as it states; None, with the reason, where the two contradict."""
    tracer = series.facts.get("radiopharmaceutical") or {}
    stated, name = tracer.get("half_life_s"), tracer.get("nuclide")
    try:
        known = nuclide(str(name)).half_life_s if name else None
    except InputError:
        known = None
    if known is None:
        return (float(stated) if stated is not None else None), None
    if stated is not None and abs(float(stated) / known - 1.0) > HALF_LIFE_TOLERANCE:
        return None, f"the half-life of {float(stated):.0f} s is not that of {name}"
    return known, None
