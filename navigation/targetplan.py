"""Targets out of a study: its contours, and the foci of its SPECT or PET, with the activity to expect at surgery.

Nothing here decides: contours come from whoever drew them, foci are proposals, and extended uptake is only named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.physics.nuclide import nuclide
from navigation.hotspots import RESOLUTION_MM, SPECT_CT_SD_MM, HotSpot, Uptakes, find_hot_spots
from navigation.io.study import Study, StudySeries, StudyStructure
from navigation.io.studyfile import OUR_RESULT
from navigation.studyactivity import activity_scale_of
from navigation.targets import CONTOUR, HOT_SPOT, Target
from navigation.uptake import Uptake
from tracking.errors import InputError

Array = NDArray[np.float64]

# Centroids of the same structure drawn by two hands differ by so much along each axis.
CONTOUR_SD_MM = 2.0
# Calibration of a camera in kBq, and what scatter and attenuation correction leave: one SD of an activity.
CALIBRATION_SD = 0.10
# An integral over a contour depends on where it ends, too.
CONTOUR_ACTIVITY_SD = 0.20
# The same structure drawn in CT and PET.
SAME_MM = 5.0
# No lymph node or small tumour takes up a hundredth of what was injected; an injection site or an organ does.
LARGEST_SHARE = 0.01
# The background of a contour is told in this shell round it, in widths of the camera's response.
SHELL_FWHM = (1.5, 2.5)


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Targets of a study, what of its uptake is none (one line each), and what stands in the way of activities."""

    targets: tuple[Target, ...]
    others: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    """kBq per stored unit and mL at surgery, None where unknown; kBq injected and still there then."""

    kbq: float | None
    given_kbq: float | None
    reasons: tuple[str, ...]


def propose(study: Study, uptake: Uptake, surgery_utc_s: float | None = None) -> Proposal:
    """Contours and foci of a study as targets, each labelled where uptake may be physiological.

    `surgery_utc_s` is Unix time; without it no activity is told. Raises InputError for a study that has neither
    contours nor a usable SPECT or PET.
    """
    series = study.functional
    usable = series if series is not None and series.usable else None
    drawn = [
        s
        for s in study.structures
        if s.usable
        and s.centroid_mm is not None
        and OUR_RESULT not in s.notes  # what was found then is no plan
    ]
    if usable is None and not drawn:
        raise InputError(f"{study.path}: neither contours nor a usable SPECT or PET to propose targets from")
    scale = _scale(usable, surgery_utc_s)
    image = None if usable is None else usable.volume().astype(np.float64)
    contours = _contours(study, drawn, usable, image, scale)
    found = Uptakes((), (), (), 0.0)
    if usable is not None and image is not None:
        found = find_hot_spots(image, usable.grid, usable.modality)
    foci, inside = _foci(found.foci, drawn, scale)
    targets = [replace(t, label=uptake.label_of(t.position_mm)) for t in (*contours, *foci)]
    unusable = [
        f"contour {s.name}: {_why_not(s)}" for s in study.structures if not any(s is d for d in drawn)
    ]
    return Proposal(tuple(targets), (*unusable, *inside, *_others(found, uptake)), scale.reasons)


def _why_not(structure: StudyStructure) -> str:
    """Why a contour cannot be a target."""
    return "; ".join(structure.notes) or "empty, or in a frame of reference that is not the study's"


def surgery_after_image_h(series: StudySeries | None, surgery_utc_s: float | None) -> float | None:
    """Hours from the image's acquisition to the surgery; None where either is unknown."""
    if series is None or surgery_utc_s is None or series.clock.acquired_s is None:
        return None
    return (surgery_utc_s - series.clock.utc_s(series.clock.acquired_s)) / 3600.0


def surgery_time(series: StudySeries | None, after_image_h: float) -> float:
    """Unix time so many hours after the image's acquisition. Raises InputError where that is unknown."""
    if series is None or series.clock.acquired_s is None:
        raise InputError("the study does not say when it was acquired: give the time of surgery itself")
    return series.clock.utc_s(series.clock.acquired_s) + 3600.0 * after_image_h


def _scale(series: StudySeries | None, surgery_utc_s: float | None) -> _Scale:
    if series is None:
        return _Scale(None, None, ())
    if surgery_utc_s is None:
        return _Scale(None, None, ("no time of surgery: activities are not told",))
    scale = activity_scale_of(series, surgery_utc_s)
    return _Scale(scale.kbq_per_ml, _still_there(series, surgery_utc_s), scale.reasons)


def _still_there(series: StudySeries, surgery_utc_s: float) -> float | None:
    """kBq of the injected activity at surgery, by physical decay alone; None where the header does not tell."""
    tracer = series.facts.get("radiopharmaceutical") or {}
    given, name = tracer.get("injected_mbq"), tracer.get("nuclide")
    if given is None or name is None or series.clock.injected_s is None:
        return None
    try:
        decay = nuclide(str(name)).decay_factor(surgery_utc_s - series.clock.utc_s(series.clock.injected_s))
    except InputError:
        return None
    return float(1000.0 * given * decay)


def _contours(
    study: Study,
    drawn: Sequence[StudyStructure],
    series: StudySeries | None,
    image: Array | None,
    scale: _Scale,
) -> list[Target]:
    """One target for each usable structure; one that was drawn in CT and PET alike is taken once."""
    on_ct = {s.id for s in study.series if s.modality == "CT"}
    ordered = sorted(enumerate(drawn), key=lambda n: (n[1].series not in on_ct, n[0]))
    targets: list[Target] = []
    for _, structure in ordered:
        place = np.asarray(structure.centroid_mm, dtype=np.float64)
        twin = next((t for t in targets if np.linalg.norm(t.position_mm - place) < SAME_MM), None)
        if twin is not None and twin.name == structure.name:
            continue
        name = _free_name(structure.name or structure.id, [t.name for t in targets])
        sd = np.hypot(CONTOUR_SD_MM, 0.0 if structure.series in on_ct else SPECT_CT_SD_MM)
        told = None if series is None or image is None else _contour_kbq(structure, series, image, scale.kbq)
        extent = None if structure.extent_mm is None else float(np.max(structure.extent_mm))
        said = [] if structure.volume_ml is None else [f"{structure.volume_ml:.1f} mL outlined"]
        said += [] if twin is None else [f"the same place as {twin.name}"]
        targets.append(
            Target(
                name,
                place,
                sd**2 * np.eye(3),
                told,
                CONTOUR,
                "; ".join(said),
                None if told is None else float(np.hypot(CALIBRATION_SD, CONTOUR_ACTIVITY_SD) * told),
                extent,
            )
        )
    return targets


def _free_name(name: str, taken: Sequence[str]) -> str:
    """A printable name that none has yet."""
    plain = "".join(c for c in name if c.isprintable()).strip()[:56] or "contour"
    numbered = (plain if n == 1 else f"{plain} ({n})" for n in range(1, len(taken) + 2))
    return next(n for n in numbered if n not in taken)


def _contour_kbq(
    structure: StudyStructure, series: StudySeries, image: Array, kbq_per_unit: float | None
) -> float | None:
    """Activity that belongs to a structure: over its background, with what the resolution spills out of it."""
    from scipy.spatial import cKDTree

    if kbq_per_unit is None or structure.grid is None or structure.file is None:
        return None
    inside = structure.grid.points()[structure.mask().ravel()]
    if not len(inside):
        return None
    width = RESOLUTION_MM["PT" if series.modality == "PT" else "NM"][1]
    tree, points = cKDTree(inside), series.grid.points()
    away = np.asarray(tree.query(points, distance_upper_bound=SHELL_FWHM[1] * width)[0])
    values = np.where(np.isfinite(image), image, 0.0).ravel()
    shell = values[(away > SHELL_FWHM[0] * width) & np.isfinite(away)]
    core = values[away <= width]
    if not len(core) or not len(shell):
        return None
    total = float((core - np.median(shell)).sum()) * series.grid.voxel_ml * kbq_per_unit
    return max(total, 0.0)


def _foci(
    spots: Sequence[HotSpot], drawn: Sequence[StudyStructure], scale: _Scale
) -> tuple[list[Target], list[str]]:
    """Targets of the foci outside every contour, and a line for each inside one."""
    targets: list[Target] = []
    inside: list[str] = []
    for spot in spots:
        holder = next((s for s in drawn if _holds(s, spot.focus.position_mm)), None)
        if holder is not None:
            inside.append(f"focus at {_place(spot.focus.position_mm)}: in the contour {holder.name}")
        else:
            targets.append(_focus(spot, f"H{len(targets) + 1}", scale))
    return targets, inside


def _holds(structure: StudyStructure, place: Array) -> bool:
    """Whether a position lies in the box of a structure, or hardly outside."""
    if structure.centroid_mm is None or structure.extent_mm is None:
        return False
    return bool((np.abs(place - structure.centroid_mm) <= 0.5 * structure.extent_mm + CONTOUR_SD_MM).all())


def _focus(spot: HotSpot, name: str, scale: _Scale) -> Target:
    focus = spot.focus
    kbq = None if scale.kbq is None else focus.integral * scale.kbq
    relative = float(np.hypot(focus.integral_sd / focus.integral, CALIBRATION_SD))
    return Target(
        name,
        focus.position_mm,
        spot.covariance_mm2,
        kbq,
        HOT_SPOT,
        "; ".join(_told(spot, kbq, scale.given_kbq)),
        None if kbq is None else kbq * relative,
    )


def _told(spot: HotSpot, kbq: float | None, given_kbq: float | None) -> list[str]:
    """What the surgeon should know of a proposed focus."""
    contrast = "no background" if spot.contrast is None else f"{spot.contrast:.3g} to 1"
    beyond = "over 100" if spot.significance > 100.0 else f"{spot.significance:.0f}"
    said = [f"{spot.focus.fwhm_mm:.0f} mm wide in the image, {contrast}, {beyond} SD"]
    if spot.at_edge:
        said.append("at the edge of the field of view: place and activity may be cut")
    if kbq is not None and given_kbq and kbq > LARGEST_SHARE * given_kbq:
        share = 100.0 * kbq / given_kbq
        said.append(f"{share:.1f} % of what was injected: possible injection site or organ")
    return said


def _others(found: Uptakes, uptake: Uptake) -> list[str]:
    """A line for each extended uptake and each maximum that the field's edge cuts."""
    lines = []
    for number, region in enumerate(found.extended, start=1):
        edge = ", cut by the edge of the field of view" if region.at_edge else ""
        label = uptake.label_of(region.centre_mm) or uptake.label_of(region.peak_mm)
        named = f", {label}" if label else ""
        where = _place(region.centre_mm)
        lines.append(f"extended uptake {number} at {where}: {region.volume_ml:.0f} mL{edge}{named}")
    for cut in found.cut:
        where = _place(cut.position_mm)
        lines.append(f"uptake at {where}: cut by the edge of the field of view, not measured")
    return lines


def _place(position: Array) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in position) + ") mm"
