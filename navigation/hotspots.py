"""Foci of activity in a preoperative SPECT or PET, proposed as targets: found by contrast and noise, measured by a fit.

A focus stands out of the shell round it by more than the noise of that shell would in the whole image once in twenty
studies, has at least half its background on top, and is no narrower than the camera resolves. What is larger is
extended uptake and no target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.basins import summits
from navigation.hotfit import FWHM_PER_SIGMA, Focus, fit_focus
from navigation.organs import BODY_SHARE, hot_regions
from navigation.volume import VoxelGrid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Resolution (FWHM in mm, least and usual) of reconstructed images: SPECT 7 to 14, PET 4 to 8 after filtering.
RESOLUTION_MM = {"NM": (5.0, 10.0), "PT": (3.5, 6.5)}
# A Gaussian whose outline at 40 % holds the 8 mL of an organ: what is wider is extended.
EXTENDED_FWHM_MM = 21.6
# The background of a maximum is told by a shell this far from it, in widths.
SHELL_FWHM = (1.5, 3.5)
# Maxima by chance alone in a whole study.
FALSE_PER_STUDY = 0.05
# The focus has this share of its background on top of it: the classical 1.5 to 1.
LEAST_CONTRAST = 0.5
# One that the edge cuts, this many times its background: the noise of a PET's last slices reaches three.
CUT_CONTRAST = 4.0
# An integral is told when it is so many of its standard deviations.
LEAST_INTEGRAL_SD = 3.0
MOST_CANDIDATES, MOST_FOCI = 200, 40
MAD_PER_SD = 0.6745
# Fewer voxels tell no noise; halvings that find a saddle to a thousandth of the height.
FEWEST_IN_SHELL, SADDLE_STEPS = 20, 10
# Error along each axis between the two halves of a hybrid scanner, as its quality control allows, with breathing.
SPECT_CT_SD_MM = 2.0
# Share of the width by which an uneven source or uncorrected scatter moves the centroid.
SHAPE_SD = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class HotSpot:
    """A focus with its significance (in SD of the shell's noise), and whether the field's edge cuts it.

    `covariance_mm2` is all of it: noise, shape and SPECT to CT.
    """

    focus: Focus
    significance: float
    at_edge: bool

    @property
    def covariance_mm2(self) -> Array:
        """(3, 3): of the place in the study."""
        shape = SHAPE_SD * self.focus.fwhm_mm
        return np.asarray(self.focus.covariance_mm2 + (shape**2 + SPECT_CT_SD_MM**2) * np.eye(3))

    @property
    def contrast(self) -> float | None:
        """Focus and background over background at the peak; None without background."""
        below = self.focus.background
        return 1.0 + self.focus.peak / below if below > 0.0 else None


@dataclass(frozen=True, slots=True, eq=False)
class Extended:
    """Uptake over 8 mL or more at 40 % of its maximum: an organ, or a large tumour; never a target by itself."""

    centre_mm: Array
    peak_mm: Array
    volume_ml: float
    mean: float
    mask: Mask
    at_edge: bool


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A maximum at the edge of the field that is no whole focus there: where it belongs to is not in the image."""

    position_mm: Array
    value: float
    significance: float


@dataclass(frozen=True, slots=True, eq=False)
class Uptakes:
    """What an image of activity shows: foci, the strongest first, extended uptake, the hottest first, what is cut."""

    foci: tuple[HotSpot, ...]
    extended: tuple[Extended, ...]
    cut: tuple[Cut, ...]
    least_significance: float


def find_hot_spots(volume: NDArray[np.floating], grid: VoxelGrid, modality: str) -> Uptakes:
    """Foci and extended uptake of an image (nz, ny, nx) of activity ("NM" or "PT"), deterministic."""
    image = np.where(np.isfinite(volume), volume, 0.0).astype(np.float64)
    search = _Search(image, grid, *RESOLUTION_MM["PT" if modality == "PT" else "NM"])
    extended = tuple(_extended(search, r.points_mm, r.weights, r.mask) for r in hot_regions(volume, grid))
    free = ~np.logical_or.reduce([np.zeros(image.shape, dtype=np.bool_), *(e.mask for e in extended)])
    candidates = search.candidates(free)
    foci = search.foci(candidates, free)
    return Uptakes(tuple(foci), extended, search.cut(candidates, foci), search.least_significance)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A maximum: its voxel (flat index), and how it stands out of its shell."""

    voxel: int
    significance: float
    level: float


def _extended(search: _Search, points: Array, weights: Array, mask: Mask) -> Extended:
    peak = int(np.argmax(np.where(mask, search.image, -np.inf)))
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = True
    volume = float(np.count_nonzero(mask) * search.grid.voxel_ml)
    mean = float(search.image[mask].mean())
    edge = bool((mask & ~inner).any())
    return Extended(weights @ points, search.place(peak), volume, mean, mask, edge)


class _Search:
    """Filtered copies of an image in which maxima are looked for."""

    def __init__(self, image: Array, grid: VoxelGrid, least_mm: float, usual_mm: float) -> None:
        from scipy.stats import norm

        self.image, self.grid = image, grid
        self.usual_mm = max(usual_mm, 1.5 * float(grid.spacing_mm.max()))
        self.least_mm = max(least_mm, 0.8 * float(grid.spacing_mm.max()))
        self.filtered = self._smooth(image, 0.5 * self.usual_mm)
        self.sharp = self.filtered - self._smooth(image, 3.0 * self.usual_mm)
        self.body = image > BODY_SHARE * float(np.quantile(image, 0.999))
        places = max(np.count_nonzero(self.body) * grid.voxel_ml / (self.usual_mm / 10.0) ** 3, 1.0)
        self.least_significance = float(norm.isf(min(FALSE_PER_STUDY / places, 0.5)))
        self.noise_per_root = self._noise_per_root()

    def _smooth(self, image: Array, fwhm_mm: float) -> Array:
        from scipy.ndimage import gaussian_filter

        sigma = fwhm_mm / FWHM_PER_SIGMA / self.grid.spacing_mm[::-1]
        return np.asarray(gaussian_filter(image, sigma, mode="nearest"))

    def _noise_per_root(self) -> float:
        """Noise of the filtered image over the root of its mean: counting noise, told by the quiet body."""
        mean = (self.filtered - self.sharp)[self.body]
        if not len(mean) or mean.max() <= 0.0:
            return 0.0
        noise = self.sharp[self.body][mean > 0.0] / np.sqrt(mean[mean > 0.0])
        return float(np.median(np.abs(noise - np.median(noise))) / MAD_PER_SD)

    def place(self, flat: int) -> Array:
        """(3,): the centre of a voxel."""
        k, j, i = np.unravel_index(flat, self.image.shape)
        return np.asarray(
            self.grid.matrix[:3, :3] @ np.array([i, j, k], dtype=np.float64) + self.grid.origin_mm
        )

    def foci(self, candidates: list[_Candidate], free: Mask) -> list[HotSpot]:
        """Accepted foci, the strongest first; each is fitted with the others taken out of the image."""
        found: list[HotSpot] = []
        for candidate in candidates:
            if len(found) == MOST_FOCI:
                break
            focus = self._fit(self.place(candidate.voxel), free, found)
            if focus is not None and self._apart(focus.position_mm, found):
                at_edge = self._at_edge(focus.position_mm, focus.fwhm_mm)
                found.append(HotSpot(focus, candidate.significance, at_edge))
        again = [self._again(n, spot, free, found) for n, spot in enumerate(found)]
        kept = [spot for spot in again if self._stands(spot.focus)]
        return sorted(kept, key=lambda s: -s.focus.integral)

    def _again(self, number: int, spot: HotSpot, free: Mask, found: list[HotSpot]) -> HotSpot:
        others = found[:number] + found[number + 1 :]
        focus = self._fit(spot.focus.position_mm, free, others)
        return spot if focus is None else replace(spot, focus=focus)

    def _fit(self, start: Array, free: Mask, others: list[HotSpot]) -> Focus | None:
        image = self.image
        near = [o for o in others if np.linalg.norm(o.focus.position_mm - start) < 6.0 * self.usual_mm]
        if near:
            points = self.grid.points()
            shine = np.sum([o.focus.at(points) for o in near], axis=0)
            image = image - shine.reshape(image.shape)
        widths = (self.least_mm, self.usual_mm, EXTENDED_FWHM_MM)
        focus = fit_focus(image, free & self._own(start), self.grid, start, widths)
        return focus if focus is not None and self._stands(focus) else None

    def _own(self, start: Array) -> Mask:
        """Voxels round a place from which the steepest way up does not lead to a higher maximum than its own."""
        shape = np.array(self.image.shape)
        centre = np.clip(np.rint(self.grid.index_of(start[None])[0][::-1]).astype(int), 0, shape - 1)
        reach = np.ceil(SHELL_FWHM[1] * self.usual_mm / self.grid.spacing_mm[::-1]).astype(int)
        part = tuple(slice(max(c - r, 0), c + r + 1) for c, r in zip(centre, reach, strict=True))
        box = self.filtered[part]
        summit = summits(box)
        at = tuple(c - s.start for c, s in zip(centre, part, strict=True))
        own = np.zeros(self.image.shape, dtype=np.bool_)
        own[part] = summit <= summit[at]
        return own

    def _stands(self, focus: Focus) -> bool:
        """Whether a fit is a focus: told by its integral, over its background, neither a spike nor extended."""
        told = focus.integral >= LEAST_INTEGRAL_SD * focus.integral_sd
        over = focus.peak >= LEAST_CONTRAST * max(focus.background, 0.0)
        return told and over and 1.01 * self.least_mm < focus.fwhm_mm < 0.99 * EXTENDED_FWHM_MM

    def cut(self, candidates: list[_Candidate], foci: list[HotSpot]) -> tuple[Cut, ...]:
        """Maxima beside the field's edge that are no foci, with as much contrast as one must have."""
        cut = []
        for c in candidates:
            place, value = self.place(c.voxel), float(self.image.ravel()[c.voxel])
            over = float(self.filtered.ravel()[c.voxel]) >= CUT_CONTRAST * c.level
            if over and self._at_edge(place, self.least_mm) and self._apart(place, foci):
                cut.append(Cut(place, value, c.significance))
        return tuple(cut)

    def _apart(self, place: Array, found: list[HotSpot]) -> bool:
        """Whether no focus is nearer than the image resolves."""
        return all(np.linalg.norm(o.focus.position_mm - place) > 0.8 * self.usual_mm for o in found)

    def _at_edge(self, place: Array, fwhm_mm: float) -> bool:
        """Whether the field ends within a width of a place."""
        index = self.grid.index_of(place[None])[0]
        room = np.minimum(index + 0.5, np.array(self.grid.size) - 0.5 - index) * self.grid.spacing_mm
        return bool(room.min() < fwhm_mm)

    def candidates(self, free: Mask) -> list[_Candidate]:
        """Maxima that stand out of their shells, the most significant first."""
        from scipy.ndimage import maximum_filter, minimum_filter

        size = [max(2 * int(0.5 * self.usual_mm / s) + 1, 3) for s in self.grid.spacing_mm[::-1]]
        top = (maximum_filter(self.filtered, size=size) == self.filtered) & free & self.body
        peaks = np.flatnonzero(top & (self.filtered > 0.0))
        round_it = [2 * n + 1 for n in size]
        rise = (self.filtered - minimum_filter(self.filtered, size=round_it)).ravel()[peaks]
        likely = rise / np.sqrt(self.filtered.ravel()[peaks])
        peaks = peaks[np.argsort(-likely, kind="stable")][:MOST_CANDIDATES]
        told = [_Candidate(int(p), *self._significance(int(p), free)) for p in peaks]
        out = [c for c in told if c.significance >= self.least_significance]
        return sorted(out, key=lambda c: (-c.significance, c.voxel))

    def _significance(self, peak: int, free: Mask) -> tuple[float, float]:
        """How far a maximum stands out of its shell, in SD of the noise there or of counting, and the shell's level."""
        inner, outer = (f * self.usual_mm for f in SHELL_FWHM)
        shell, distance = self._shell(peak, outer)
        top = float(self.filtered.ravel()[peak])
        rim = (distance >= inner) & free.ravel()[shell]
        # What is hotter than the maximum is another source and its flank, not the background.
        values = self.filtered.ravel()[shell[rim]]
        values = values[values <= top]
        if len(values) < FEWEST_IN_SHELL:
            return 0.0, 0.0
        level = float(np.median(values))
        noise = float(np.median(np.abs(values - level))) / MAD_PER_SD
        noise = max(noise, self.noise_per_root * np.sqrt(max(level, 0.0)), 1e-12 * float(self.image.max()))
        saddle = self._saddle(peak, outer)
        ripple = max(self.noise_per_root * np.sqrt(max(saddle, 0.0)), 1e-12 * float(self.image.max()))
        return float(min((top - level) / noise, (top - saddle) / ripple)), level

    def _saddle(self, peak: int, reach_mm: float) -> float:
        """The level at which a maximum meets a higher one within reach: noise on a flank hardly rises above it."""
        from scipy.ndimage import label

        centre = np.array(np.unravel_index(peak, self.image.shape))
        reach = np.floor(reach_mm / self.grid.spacing_mm[::-1]).astype(int)
        low = np.maximum(centre - reach, 0)
        box = self.filtered[tuple(slice(a, c + r + 1) for a, c, r in zip(low, centre, reach, strict=True))]
        at = tuple(centre - low)
        bottom, top = float(box.min()), float(box[at])
        if box.max() <= top:
            return bottom
        for _ in range(SADDLE_STEPS):
            middle = 0.5 * (bottom + top)
            labels = label(box >= middle)[0]
            joined = box[labels == labels[at]].max() > box[at]
            bottom, top = (middle, top) if joined else (bottom, middle)
        return top

    def _shell(self, peak: int, outer: float) -> tuple[NDArray[np.int64], Array]:
        """Flat indices of the voxels within `outer` mm of one, and their distances."""
        nz, ny, nx = self.image.shape
        centre = np.array(np.unravel_index(peak, self.image.shape))
        reach = np.floor(outer / self.grid.spacing_mm[::-1]).astype(int)
        axes = [
            np.arange(max(c - r, 0), min(c + r + 1, n))
            for c, r, n in zip(centre, reach, (nz, ny, nx), strict=True)
        ]
        k, j, i = np.meshgrid(*axes, indexing="ij")
        steps = [(a - c) * s for a, c, s in zip((k, j, i), centre, self.grid.spacing_mm[::-1], strict=True)]
        distance = np.sqrt(steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2).ravel()
        flat = ((k * ny + j) * nx + i).ravel()
        within = distance <= outer
        return flat[within], distance[within]
