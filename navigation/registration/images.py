"""Rigid registration of two volumes: SPECT or PET onto CT by mutual information, CT onto CT by correlation.

SimpleITK's optimiser from many starts (Mattes et al. 2003, DOI 10.1109/TMI.2003.809072), then reasons to refuse what
it found, and the error to expect at each target. `T_target_source` maps physical LPS points of MOVING into FIXED; mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from navigation.registration.imagechecks import (
    Lead,
    Overlap,
    inner_agreement,
    lead,
    lead_over_displaced,
    outline_misfit,
    outline_share,
    overlap_of,
)
from navigation.registration.imagemetric import (
    CORRELATION,
    MUTUAL_INFORMATION,
    SEED,
    Agreement,
    Moving,
    draw,
    smoothed,
)
from navigation.registration.imagepeak import Peak, climb
from navigation.registration.imagesearch import (
    FINE_POINTS,
    End,
    Follower,
    Tick,
    apart_mm,
    best_starts,
    distinct,
    geometric_starts,
    mapped,
    search,
)
from navigation.registration.imagevolume import CT, ImageVolume
from navigation.registration.landmarks import registration_id
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

METHOD = "images"
# Patients are laid down again within this of any geometric start; more is another region or a wrong optimum.
MAX_SHIFT_MM = 120.0
MAX_TURN_DEG = 30.0
# Of the smaller body, this share must lie in the other's field, and this volume.
MIN_OVERLAP, MIN_OVERLAP_ML = 0.4, 200.0
# A rival this near, in standard deviations of the difference, could be the right one.
MIN_LEAD_SDS = 3.0
# The lead over displaced copies. Set after simulated studies: right pairs lead by 7 and more, other patients' by less
# than 4.7.
MIN_DISPLACED_SDS = 5.0
# An emission image that lags this far behind its mirror image is mirrored; one nearer leaves the side open, with words.
MIRROR_LEAD_SDS = 2.0
# A mirror image that lags by this much does not catch up on its last step.
FAR_LEAD_SDS = 6.0
# Half of the outline must show: fewer sides leave a direction to what foci happen to do.
MIN_OUTLINE = 0.5
# Outlines of one patient on two days; clothing and blur take as much of an emission image as one of its voxels.
MAX_MISFIT_MM = 5.0
# Inside one patient, CT numbers go together like this; those of two patients' hardly do.
MIN_INNER_CORRELATION = 0.5
# The predicted error at the worst target that is accepted: a hot spot then lies within its own size.
MAX_PREDICTED_MM = {CORRELATION: 3.0, MUTUAL_INFORMATION: 5.0}
# Parts of an emission image err together, since uptake is not anatomy: set after the PET/CT pair of the tests, where
# the scatter alone told half of the true error.
SCATTER_FACTOR = {CORRELATION: 1.0, MUTUAL_INFORMATION: 2.0}
# What interpolation leaves, in voxels of the coarser image.
VOXEL_SHARE = {CORRELATION: 0.1, MUTUAL_INFORMATION: 0.25}
# Corners of a box round a body lie in the air: these are about where its skin is.
CORNER_SHARE = 0.1
# There, this many times the error at a target is allowed. Set after simulated studies: right pairs have up to twice
# the limit of a target at their border, other patients' four times.
CORNER_FACTOR = 2.0
# Ticks of a registration whose starts are all followed, for a bar.
LONGEST_TICKS = 18


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user may choose; None is what the kind of metric suggests."""

    kind: str | None = None
    max_predicted_mm: float | None = None
    max_shift_mm: float = MAX_SHIFT_MM
    max_turn_deg: float = MAX_TURN_DEG

    def limit_mm(self, kind: str) -> float:
        """Largest accepted predicted error at a target."""
        return self.max_predicted_mm or MAX_PREDICTED_MM[kind]


@dataclass(frozen=True, slots=True, eq=False)
class ImageRegistration:
    """The transform (4, 4) with its doubts: `reasons` refuse it, `warnings` do not.

    `targets_mm` (k, 3) are in "moving" or "fixed" as `targets_in` says; `predicted_mm` (k,) is the RMS error
    expected there. `findings` hold the figures behind the reasons.
    """

    T_fixed_moving: Array
    kind: str
    score: float
    targets_mm: Array
    targets_in: str
    predicted_mm: Array
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    findings: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The content of reg.json; there are no pairs of points, hence no FRE."""
        return {
            "T_target_source": self.T_fixed_moving.tolist(),
            "id": registration_id(self.T_fixed_moving),
            "method": METHOD,
            "fre_mm": None,
            "residuals_mm": [],
            "tre_mm": {
                "targets": self.targets_mm.tolist(),
                "predicted": self.predicted_mm.tolist(),
                "frame": self.targets_in,
            },
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "metric": self.kind,
            "score": self.score,
            "seed": SEED,
            **self.findings,
        }


def metric_for(fixed: ImageVolume, moving: ImageVolume) -> str:
    """Correlation where CT numbers mean the same in both, else mutual information."""
    return CORRELATION if fixed.modality == moving.modality == CT else MUTUAL_INFORMATION


def register_images(
    fixed: ImageVolume,
    moving: ImageVolume,
    targets_mm: ArrayLike | None = None,
    settings: Settings | None = None,
    initial: Array | None = None,
    targets_in: str = "moving",
    tick: Tick = lambda _: None,
) -> ImageRegistration:
    """Register MOVING onto FIXED; targets (k, 3) by default the corners of what both show.

    `targets_in` says whether they are given in "moving" or "fixed"; `initial` (4, 4) maps MOVING into FIXED and is
    one start more. Raises InputError for a volume without a body.
    """
    wanted = settings or Settings()
    kind = wanted.kind or metric_for(fixed, moving)
    given = None if initial is None else invert_rigid(initial)
    ends, starts = search(fixed, moving, kind, given, tick)
    pair = Pair.of(fixed, moving, kind)
    best = _climbed(pair, ends)
    tick("checking")
    at = best.T_moving_fixed
    T_fixed_moving = invert_rigid(at)
    corners = overlap_corners(fixed, moving, T_fixed_moving)
    given_targets = corners if targets_mm is None else np.asarray(targets_mm, dtype=np.float64).reshape(-1, 3)
    in_fixed = targets_mm is not None and targets_in == "fixed"
    targets = mapped(at, given_targets) if in_fixed else given_targets
    predicted = pair.predicted(best, targets)
    found = _Findings.of(pair, best, ends, given, tick)
    checked = found.reasons(wanted)
    checked += _too_uncertain(best, predicted, pair.predicted(best, corners), wanted.limit_mm(kind))
    return ImageRegistration(
        T_fixed_moving,
        kind,
        best.score,
        given_targets,
        "fixed" if in_fixed else "moving",
        predicted,
        tuple(checked),
        tuple(found.warnings()),
        {"starts": starts, "fixed": fixed.facts(), "moving": moving.facts(), **found.as_json()},
    )


def _too_uncertain(best: Peak, at_targets: Array, at_corners: Array, most_mm: float) -> list[str]:
    """Reasons in the predicted errors (mm): a target in the middle must not hide a turn that is not determined."""
    if not best.determined:
        return ["the agreement does not fall in every direction: the transform is not determined"]
    found = []
    if at_targets.max(initial=0.0) > most_mm:
        found.append(f"predicted error up to {at_targets.max():.1f} mm, at most {most_mm:g} allowed")
    elif at_corners.max() > CORNER_FACTOR * most_mm:
        found.append(
            f"predicted error up to {at_corners.max():.1f} mm at the body's borders, "
            f"at most {CORNER_FACTOR * most_mm:g} allowed there"
        )
    return found


def overlap_corners(fixed: ImageVolume, moving: ImageVolume, T_fixed_moving: Array) -> Array:
    """(8, 3) corners, in MOVING, of a box in that part of its body which FIXED shows, CORNER_SHARE in from each end."""
    mask, grid = moving.body
    points = np.argwhere(mask)[:, ::-1] @ grid.matrix[:3, :3].T + grid.origin_mm
    index = fixed.grid.index_of(mapped(T_fixed_moving, points))
    inside = ((index >= -0.5) & (index <= np.array(fixed.grid.size) - 0.5)).all(axis=1)
    seen = points[inside] if inside.any() else points
    ends = np.quantile(seen, [CORNER_SHARE, 1.0 - CORNER_SHARE], axis=0)
    return np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a, b, c in np.ndindex(2, 2, 2)])


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two volumes with their agreement at full resolution."""

    fixed: ImageVolume
    moving: ImageVolume
    agreement: Agreement
    voxel_mm: float

    @staticmethod
    def of(fixed: ImageVolume, moving: ImageVolume, kind: str) -> Pair:
        """The agreement on many points, each image as fine as the coarser allows."""
        finest = (float(fixed.grid.spacing_mm.max()), float(moving.grid.spacing_mm.max()))
        sampling = draw(fixed, smoothed(fixed, finest[1]), FINE_POINTS)
        return Pair(fixed, moving, Agreement(sampling, smoothed(moving, finest[0]), kind), max(finest))

    @property
    def step_mm(self) -> float:
        """Distance at which the peak's shape is felt out: half a voxel, but above the noise of fine ones."""
        return max(1.0, 0.5 * self.voxel_mm)

    def against(self, other: ImageVolume) -> Agreement:
        """The agreement of another moving volume at the same points."""
        view: Moving = smoothed(other, float(self.fixed.grid.spacing_mm.max()))
        return Agreement(self.agreement.sampling, view, self.agreement.kind)

    def predicted(self, peak: Peak, targets_mm: Array) -> Array:
        """(k,) RMS error at targets (k, 3) in MOVING: scatter over halves of the body, and interpolation."""
        kind = self.agreement.kind
        moved = [mapped(invert_rigid(other), targets_mm) for other in peak.others]
        away = np.array(moved) - mapped(invert_rigid(peak.T_moving_fixed), targets_mm)
        scatter = SCATTER_FACTOR[kind] ** 2 * (away**2).sum(axis=2).mean(axis=0)
        return np.asarray(np.sqrt(scatter + (VOXEL_SHARE[kind] * self.voxel_mm) ** 2))


def _climbed(pair: Pair, ends: Sequence[End]) -> Peak:
    """The highest of the tops above the ends at full resolution."""
    first = max(ends, key=lambda e: pair.agreement.at(e.T_moving_fixed))
    return climb(pair.agreement, first.T_moving_fixed, pair.step_mm)


@dataclass(frozen=True, slots=True, eq=False)
class _Findings:
    """The figures on which the reasons rest."""

    kind: str
    overlap: Overlap
    shift_mm: float
    turn_deg: float
    displaced: Lead
    rivals: tuple[tuple[Lead, float], ...]
    mirror: Lead
    outline: float | None
    misfit_mm: float | None
    most_misfit_mm: float
    inner: float | None

    @staticmethod
    def of(pair: Pair, best: Peak, ends: Sequence[End], given: Array | None, tick: Tick) -> _Findings:
        fixed, moving, at = pair.fixed, pair.moving, best.T_moving_fixed
        statistics = pair.agreement.statistics(at)
        shift, turned = _moved(fixed, moving, at, given)
        displaced = lead_over_displaced(pair.agreement, at, statistics)
        tick("mirrored")
        return _Findings(
            pair.agreement.kind,
            overlap_of(fixed, moving, at),
            shift,
            turned,
            displaced,
            tuple(_rivals(pair, at, statistics, ends)),
            _mirror_lead(pair, statistics, tick),
            None if moving.modality == CT else outline_share(fixed, moving, at),
            outline_misfit(fixed, moving, at),
            MAX_MISFIT_MM if pair.agreement.kind == CORRELATION else max(MAX_MISFIT_MM, pair.voxel_mm),
            inner_agreement(fixed, pair.agreement, at) if pair.agreement.kind == CORRELATION else None,
        )

    def reasons(self, wanted: Settings) -> list[str]:
        """Why it may not be used, each a sentence with its figure."""
        return [*self._place(wanted), *self._leads(), *self._outlines()]

    def _place(self, wanted: Settings) -> list[str]:
        found = []
        if self.overlap.share < MIN_OVERLAP or self.overlap.volume_ml < MIN_OVERLAP_ML:
            found.append(
                f"too little overlap: {100 * self.overlap.share:.0f} % of the smaller body, "
                f"{self.overlap.volume_ml:.0f} mL"
            )
        if self.shift_mm > wanted.max_shift_mm:
            found.append(
                f"moved by {self.shift_mm:.0f} mm from every start, at most {wanted.max_shift_mm:g} plausible"
            )
        if self.turn_deg > wanted.max_turn_deg:
            found.append(f"turned by {self.turn_deg:.0f} degrees, at most {wanted.max_turn_deg:g} plausible")
        return found

    def _leads(self) -> list[str]:
        found = []
        if self.displaced.sds < MIN_DISPLACED_SDS:
            found.append("the images agree hardly better than when displaced on purpose")
        near = [mm for rival, mm in self.rivals if rival.sds < MIN_LEAD_SDS]
        if near:
            found.append(f"ambiguous: another transform, {near[0]:.0f} mm away, agrees as well")
        if self.mirror.sds < self._mirror_limit:
            found.append("the mirror image of MOVING agrees better: one of the two may be mirrored")
        return found

    @property
    def _mirror_limit(self) -> float:
        """A mirrored CT must agree worse; that of foci in a symmetric body may agree a little better by chance."""
        return 0.0 if self.kind == CORRELATION else -MIRROR_LEAD_SDS

    def _outlines(self) -> list[str]:
        found = []
        if self.outline is not None and self.outline < MIN_OUTLINE:
            found.append(
                f"MOVING shows the body's outline along {100 * self.outline:.0f} % only: "
                "foci alone do not tell the place"
            )
        if self.misfit_mm is None:
            found.append("no outline of the body within both fields")
        elif self.misfit_mm > self.most_misfit_mm:
            found.append(
                f"the outlines of the bodies lie {self.misfit_mm:.1f} mm apart (median), "
                f"at most {self.most_misfit_mm:.1f} allowed: another patient or posture?"
            )
        if self.inner is not None and self.inner < MIN_INNER_CORRELATION:
            found.append(
                f"inside the bodies the CT numbers hardly go together (correlation {self.inner:.2f}): another patient?"
            )
        return found

    def warnings(self) -> list[str]:
        """Doubts that do not refuse it."""
        found = ["rigid: breathing, bowel and bladder between the two images are not in the predicted error"]
        if self._mirror_limit <= self.mirror.sds < MIN_LEAD_SDS:
            found.append("left and right cannot be told apart by these images: check the side")
        return found

    def as_json(self) -> dict[str, Any]:
        """The figures, for the result."""
        return {
            "overlap": {"share": self.overlap.share, "volume_ml": self.overlap.volume_ml},
            "shift_mm": self.shift_mm,
            "turn_deg": self.turn_deg,
            "lead_over_displaced_sds": _finite(self.displaced.sds),
            "rivals": [{"apart_mm": mm, "lead_sds": _finite(rival.sds)} for rival, mm in self.rivals],
            "lead_over_mirror_sds": _finite(self.mirror.sds),
            "outline_share": self.outline,
            "outline_misfit_mm": self.misfit_mm,
            "inner_correlation": self.inner,
        }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _moved(fixed: ImageVolume, moving: ImageVolume, at: Array, given: Array | None) -> tuple[float, float]:
    """How far (mm) and how much (degrees) the body is moved from the nearest geometric or given start."""
    starts = [s.T_moving_fixed for s in geometric_starts(fixed, moving)]
    starts += [] if given is None else [given]
    centre = fixed.body_centre_mm[None]
    shift = min(apart_mm(at, start, centre) for start in starts)
    turns = [np.trace(at[:3, :3] @ start[:3, :3].T) for start in starts]
    return shift, float(np.degrees(np.arccos(np.clip((max(turns) - 1.0) / 2.0, -1.0, 1.0))))


def _rivals(pair: Pair, at: Array, statistics: Array, ends: Sequence[End]) -> list[tuple[Lead, float]]:
    """The lead over each other end of the search, and how far that lies away."""
    points = pair.fixed.spread_mm
    found = []
    for end in ends:
        away = apart_mm(at, end.T_moving_fixed, points)
        if away > 4.0 * pair.step_mm and pair.agreement.at(end.T_moving_fixed) > -1.0:
            rival = pair.agreement.statistics(end.T_moving_fixed)
            found.append((lead(pair.agreement, statistics, pair.agreement, rival), away))
    return found


def _mirror_lead(pair: Pair, statistics: Array, tick: Tick) -> Lead:
    """The lead over the best mirror image: mirrored along any axis, since turns of 180 degrees are not searched."""
    kind = pair.agreement.kind
    candidates = []
    for axis in range(3):
        image = pair.moving.mirrored(axis)
        follow = Follower(pair.fixed, image, kind)
        starts = best_starts(pair.fixed, image, kind, None)[:2]
        ends = distinct(pair.fixed, [follow(s.T_moving_fixed, s.name, 0) for s in starts])
        candidates.append((ends[0], image, follow))
        tick("mirrored")
    end, image, follow = max(candidates, key=lambda c: c[0].score)
    end = follow(end.T_moving_fixed, end.start, 1)
    rival = pair.against(image)
    first = lead(pair.agreement, statistics, rival, rival.statistics(end.T_moving_fixed))
    if first.sds > FAR_LEAD_SDS:
        return first
    top = climb(rival, end.T_moving_fixed, pair.step_mm)
    return lead(pair.agreement, statistics, rival, rival.statistics(top.T_moving_fixed))
