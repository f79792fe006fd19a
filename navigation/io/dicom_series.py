"""Files into series, and every defect of each: in a file, between files, in the geometry, between series."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from navigation.io.clock import Clock
from navigation.io.defects import Code, Defect
from navigation.io.dicom_geometry import Proof, SlicePlanes, prove
from navigation.io.dicom_headers import (
    MOST_VOXELS,
    FileHeader,
    UnreadableError,
    is_dicom,
    read_header,
)
from navigation.io.dicom_identity import strangers
from navigation.io.dicom_times import clock_of

# File names that claim to be DICOM: broken ones are named, not passed over.
_SUFFIXES = (".dcm", ".dicom", ".ima")
# Modalities whose files hold structures: no images, and not lost either.
OUTLINES = ("RTSTRUCT", "SEG")
# CT first: its frame of reference is the one the others are compared with.
_ORDER = ("CT", "PT", "NM", "MR")
# Pixel sizes of one series agree to this fraction: at 500 pixels a tenth of a millimetre.
_PIXEL_TOLERANCE = 2e-4
# Thicknesses of one series agree to this fraction: headers round them.
THICKNESS_TOLERANCE = 0.1
# What the labels of a file and of a frame tell apart, in their order.
_LABELLED = ("acquisitions", "times", "acquisitions", "times", "stacks", "kinds")
# Slices overlap at most so many times; more is a position in another unit, as cm for mm.
MOST_OVERLAP = 8.0


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds: image headers, other files by kind, and the unreadable ones with their fault."""

    headers: tuple[FileHeader, ...]
    skipped: Counter[str]
    unreadable: tuple[tuple[Path, str], ...]
    outlines: tuple[tuple[Path, str], ...] = ()  # RTSTRUCT and SEG files, with which of them they are


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """All images of one series UID, with the proof of its geometry if there is one."""

    headers: tuple[FileHeader, ...]
    proof: Proof | None
    defects: tuple[Defect, ...]

    @property
    def first(self) -> FileHeader:
        """The header that speaks for the series."""
        return self.headers[0]

    @property
    def slices(self) -> int:
        """Frames of all files."""
        return sum(h.frames for h in self.headers)

    @property
    def fatal(self) -> tuple[Defect, ...]:
        """Defects that forbid the import."""
        return tuple(d for d in self.defects if d.code.fatal)

    @property
    def clock(self) -> Clock:
        """When it was acquired and to which moment its values are corrected."""
        return clock_of([h.facts.times for h in self.headers], self.first.facts.decay_correction)

    def places(self) -> list[tuple[int, int]]:
        """(file, frame) of all frames, in the order in which the proof counts them."""
        return [(f, i) for f, h in enumerate(self.headers) for i in range(h.frames)]


def copies_of(headers: Sequence[FileHeader]) -> tuple[FileHeader, ...]:
    """Files that hold, byte by byte, the same image as one before them."""
    by_uid: dict[str, list[FileHeader]] = defaultdict(list)
    for header in headers:
        by_uid[header.sop_uid].append(header)
    copies: list[FileHeader] = []
    for uid, group in by_uid.items():
        seen: set[str] = set()
        for header in group if uid and len(group) > 1 else ():
            digest = hashlib.sha256(header.path.read_bytes()).hexdigest()
            if digest in seen:
                copies.append(header)
            seen.add(digest)
    return tuple(copies)


def read_folder(folder: Path) -> Contents:
    """Headers of all images below a folder (or of one file); symbolic links to folders are not followed."""
    headers: list[FileHeader] = []
    skipped: Counter[str] = Counter()
    unreadable: list[tuple[Path, str]] = []
    outlines: list[tuple[Path, str]] = []
    for path in _files(folder):
        try:
            if not path.is_file():
                found: FileHeader | str = "no regular file"
            elif is_dicom(path):
                found = read_header(path)
            elif path.suffix.lower() in _SUFFIXES:
                raise UnreadableError("not a DICOM file")
            else:
                found = "not DICOM"
        except (UnreadableError, OSError) as fault:
            unreadable.append((path, str(fault)))
            continue
        if isinstance(found, str):
            skipped[found] += 1
            if found in OUTLINES:
                outlines.append((path, found))
        else:
            headers.append(found)
    return Contents(tuple(headers), skipped, tuple(unreadable), tuple(outlines))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            yield path


def series_of(headers: Iterable[FileHeader]) -> list[Series]:
    """Checked series: CT first, then by number; each compared with the first one's frame of reference."""
    groups: dict[str, list[FileHeader]] = defaultdict(list)
    for header in headers:
        groups[header.series_uid].append(header)
    series = [check_series(tuple(group)) for group in groups.values()]
    series.sort(key=lambda s: (_ORDER.index(s.first.modality), s.first.series_number, s.first.series_uid))
    reference = next((s.first.frame_of_reference for s in series if s.first.frame_of_reference), None)
    return [_compared(s, reference) for s in series]


def check_series(headers: tuple[FileHeader, ...]) -> Series:
    """Every defect of one series by itself."""
    defects = [d for header in headers for d in header.problems]
    defects += _mixtures(headers)
    slices = sum(h.frames for h in headers)
    if slices < 2 and not any(d.code == Code.NOT_A_VOLUME for d in defects):
        defects.append(Defect(Code.TOO_FEW_SLICES, f"{slices} slice"))
    columns, rows = headers[0].size
    if slices * columns * rows > MOST_VOXELS:
        defects.append(Defect(Code.UNREADABLE, f"{slices} slices of {columns} x {rows} are too large"))
    planes = _planes(headers)
    proof = prove(planes) if planes is not None and slices > 1 else None
    defects += () if proof is None else [*proof.defects, *_along_the_stack(headers, proof)]
    return Series(headers, proof, _distinct([*defects, *_recorded(headers)]))


def _distinct(defects: Sequence[Defect]) -> tuple[Defect, ...]:
    """Each finding once, the fatal ones first."""
    return tuple(sorted(dict.fromkeys(defects), key=lambda d: not d.code.fatal))


def _mixtures(headers: tuple[FileHeader, ...]) -> list[Defect]:
    """Properties that all slices of a series share when they belong together."""
    differing = [
        name
        for name, values in (
            ("study", {h.study_uid for h in headers}),
            ("patient", {h.patient.id for h in headers} | strangers(h.patient for h in headers)),
            ("modality", {h.modality for h in headers}),
            ("kind of image", {h.kind for h in headers}),
            ("frame of reference", {h.frame_of_reference for h in headers}),
            ("patient position", {h.patient_position for h in headers}),
            ("rows and columns", {h.size for h in headers}),
            ("units", {m.units for h in headers for m in h.meanings}),
            ("decay correction", {h.facts.decay_correction for h in headers}),
            ("scale of counts", {h.facts.bqml_per_count for h in headers}),
            ("side", {h.facts.laterality for h in headers}),
        )
        if len(values) > 1
    ]
    pixels = np.array([h.pixel_mm for h in headers if h.pixel_mm is not None])
    if len(pixels) and (np.ptp(pixels, axis=0) > _PIXEL_TOLERANCE * pixels[0]).any():
        differing.append("pixel spacing")
    thick = np.array([h.thickness_mm for h in headers if h.thickness_mm is not None])
    if len(thick) and np.ptp(thick) > THICKNESS_TOLERANCE * np.abs(thick).max():
        differing.append("slice thickness")
    return [Defect(Code.MIXED_SERIES, f"slices differ in {', '.join(differing)}")] if differing else []


def _along_the_stack(headers: tuple[FileHeader, ...], proof: Proof) -> list[Defect]:
    """What only the order of the slices shows: two series dovetailed, and steps far below the slices' thickness."""
    if proof.grid is None:
        return []
    found = []
    every = [(*h.labels, *labels) for h in headers for labels in h.frame_labels]
    ranked = [every[int(n)] for n in proof.order]
    for number, name in enumerate(_LABELLED):
        labels = [one[number] for one in ranked]
        changes = sum(a != b for a, b in pairwise(labels))
        if changes >= len(set(labels)):
            found.append(Defect(Code.MIXED_SERIES, f"slices of {len(set(labels))} {name} alternate"))
    step, thick = float(proof.grid.spacing_mm[2]), headers[0].thickness_mm
    if thick is not None and thick > MOST_OVERLAP * step:
        detail = f"slices {thick:g} mm thick advance by {step:g} mm"
        found.append(Defect(Code.UNEQUAL_SPACING, detail))
    return found


def _planes(headers: tuple[FileHeader, ...]) -> SlicePlanes | None:
    positions = [h.positions_mm for h in headers if h.positions_mm is not None]
    orientations = [h.orientations for h in headers if h.orientations is not None]
    pixel = headers[0].pixel_mm
    if len(positions) < len(headers) or len(orientations) < len(headers) or pixel is None:
        return None
    tilt = max((h.tilt_deg for h in headers), key=abs)
    return SlicePlanes(
        np.concatenate(positions),
        np.concatenate(orientations),
        pixel,
        headers[0].size,
        tilt,
        ordered=len(headers) == 1,
    )


def _recorded(headers: tuple[FileHeader, ...]) -> list[Defect]:
    """What is written down and does not stop the import."""
    found = []
    negative = [h.slice_spacing_mm for h in headers if (h.slice_spacing_mm or 0.0) < 0.0]
    if negative:
        found.append(
            Defect(Code.NEGATIVE_SPACING, f"slice spacing {negative[0]:g} mm: axis from the geometry")
        )
    if any(h.patient_position is None for h in headers):
        found.append(Defect(Code.NO_PATIENT_POSITION, "the header does not say how the patient lay"))
    if all(h.frame_of_reference is None for h in headers):
        found.append(Defect(Code.NO_FRAME_OF_REFERENCE, "not usable until it is registered"))
    return found


def _compared(series: Series, reference: str | None) -> Series:
    frame = series.first.frame_of_reference
    if frame is None or frame == reference:
        return series
    detail = "another frame of reference than the first series: not usable until it is registered"
    mismatch = Defect(Code.FRAME_MISMATCH, detail)
    return replace(series, defects=_distinct([*series.defects, mismatch]))
