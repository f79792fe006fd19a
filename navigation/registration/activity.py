"""Does the activity lie where the study says: the targets as one body against the counts of a scan.

What comes out is a proposal: the shift of the targets with its uncertainty, and an alarm where it is more than the
registration's own error and chance explain. Nothing is moved by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.pointlayer import Source
from navigation.reconstruction import ScanState
from navigation.registration.shiftsearch import Explained, explanations
from navigation.registration.tied import OWN_SD_MM, Pose, TiedFit
from navigation.volume import Spot

Array = NDArray[np.float64]

# Standard deviation along each axis of what a sound registration leaves at a target: 1.7 mm in space, as six skin
# fiducials give. The caller's own figure takes its place.
REGISTRATION_SD_MM = 1.0
# Beyond the fit, per axis: tip calibration and touched surface, as with every focus.
SYSTEMATIC_MM = 0.25
# A shift is told beyond the 98 % quantile of chi2(3): two fifths of the allowed false alarms, the rest for what nobody
# modelled. A region of 95 % is within 7.815.
CHI2_ALARM, CHI2_95 = 9.837, 7.815
# A target is seen when leaving it out costs so many standard deviations: its place is no search.
SEEN = 3.0
# A lone focus farther than this from where its target should be may as well be another focus.
LONE_MM = 20.0
# A shift up to so much more than nothing has to be excluded before it is said that there is none.
EXCLUDED_MM = 6.0
# A proposal that is less certain than this along any axis proposes nothing.
MOST_SD_MM = 5.0
# A focus this far from where its target was put, in standard deviations squared, did not move with the others.
CHI2_APART = 13.9
# Log-likelihood within which another explanation is as good.
AS_GOOD = 2.0
Z95 = 1.96


@dataclass(frozen=True, slots=True, eq=False)
class TargetSeen:
    """One target: believed and proposed place (3,) in Reference, whether the counts show it, and its own focus.

    `residual_mm` is how far the focus that was found by itself lies from the proposed place; None without one.
    """

    name: str
    believed_mm: Array
    place_mm: Array
    covariance_mm2: Array
    significance: float
    activity_kbq: float
    spot: Spot | None
    residual_mm: float | None

    @property
    def seen(self) -> bool:
        """Whether the counts need it."""
        return self.significance >= SEEN


@dataclass(frozen=True, slots=True, eq=False)
class ActivityRegistration:
    """The proposal. `shift_mm` (3,) of the targets' centroid with covariance (3, 3), registration error left out.

    `chi2` tells the shift from the registration's error; `reasons` refuse the proposal, `warnings` do not.
    """

    targets: tuple[TargetSeen, ...]
    pose: Pose
    covariance_mm2: Array
    chi2: float
    alarm: bool
    unexpected: tuple[Spot, ...]
    registration_sd_mm: float
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def determined(self) -> bool:
        """Whether there is anything to propose."""
        return not self.reasons

    @property
    def believed_mm(self) -> Array:
        """(k, 3) in Reference."""
        return np.array([t.believed_mm for t in self.targets])

    @property
    def T_seen_believed(self) -> Array:
        """(4, 4): moves believed places to where the scan sees them; identity where nothing is determined."""
        return self.pose.matrix(self.believed_mm.mean(axis=0)) if self.determined else np.eye(4)

    @property
    def length_mm(self) -> float:
        """Of the shift."""
        return float(np.linalg.norm(self.pose.shift_mm))

    @property
    def length_ci95_mm(self) -> tuple[float, float]:
        """Of the shift; from 0 where the scan does not exclude that there is none."""
        length = self.length_mm
        along = self.pose.shift_mm / max(length, 1e-9)
        half = Z95 * float(np.sqrt(along @ self.covariance_mm2 @ along))
        own = float(self.pose.shift_mm @ np.linalg.solve(self.covariance_mm2, self.pose.shift_mm))
        return (max(length - half, 0.0) if own > CHI2_95 else 0.0), length + half


def register_activity(
    state: ScanState,
    believed_mm: Array,
    names: Sequence[str] | None = None,
    registration_sd_mm: float = REGISTRATION_SD_MM,
) -> ActivityRegistration:
    """Compare target places (k, 3) in Reference, as believed, with a reconstructed scan.

    A function of its arguments alone. Raises ValueError without a target.
    """
    believed = np.asarray(believed_mm, dtype=np.float64).reshape(-1, 3)
    if not len(believed):
        raise ValueError("no target")
    told = tuple(names) if names is not None else tuple(f"target {i + 1}" for i in range(len(believed)))
    found = explanations(state, believed)
    best = found[0]
    tied = best.tied
    significance = _significance(best, tied)
    targets = _targets(state, best, tied, told, significance)
    covariance = tied.covariance[:3, :3] + SYSTEMATIC_MM**2 * np.eye(3)
    shift = tied.pose.shift_mm
    chi2 = float(shift @ np.linalg.solve(covariance + registration_sd_mm**2 * np.eye(3), shift))
    reasons = _reasons(state, targets, covariance)
    others = [_others_words(best, other) for other in found[1:] if best.value - other.value < AS_GOOD]
    excluded = all(
        _excludes(other, registration_sd_mm) for other in found[1:] if best.value - other.value < AS_GOOD
    )
    result = ActivityRegistration(
        targets,
        tied.pose,
        covariance,
        chi2,
        bool(not reasons and excluded and chi2 > CHI2_ALARM),
        _unexpected(state, best),
        registration_sd_mm,
        reasons,
        (*_apart(targets), *([] if reasons else others), *_goodness(state)),
    )
    return result if not reasons else replace(result, pose=Pose.shifted(np.zeros(3)), chi2=0.0)


def _significance(best: Explained, tied: TiedFit) -> list[float]:
    """Of each target: what the model loses without it, the places as they are."""
    activity, told = tied.activity_kbq, []
    for i in range(len(activity)):
        without = np.array(activity)
        without[i] = 0.0
        gone = best.model.at(tied.pose, without)
        told.append(float(np.sqrt(max(2 * (tied.fit.objective - gone.fit.objective), 0.0))))
    return told


def _targets(
    state: ScanState, best: Explained, tied: TiedFit, names: tuple[str, ...], significance: list[float]
) -> tuple[TargetSeen, ...]:
    spots = _spots_by_source(state)
    told = []
    for i, (name, place) in enumerate(zip(names, tied.places_mm, strict=True)):
        spot = spots.get(best.own[i]) if best.own[i] is not None else None
        residual = None if spot is None else float(np.linalg.norm(spot.position_mm - place))
        own = tied.covariance_at(i) + SYSTEMATIC_MM**2 * np.eye(3)
        activity = tied.fit.sources[i].activity_kbq
        told.append(
            TargetSeen(name, tied.believed_mm[i], place, own, significance[i], activity, spot, residual)
        )
    return tuple(told)


def _spots_by_source(state: ScanState) -> dict[int | None, Spot]:
    """Reported spots by the number of their source in the scan's own fit."""
    sources: tuple[Source, ...] = state.found.fit.sources
    found: dict[int | None, Spot] = {}
    for i, source in enumerate(sources):
        near = [s for s in state.result.spots if np.allclose(s.position_mm, source.position_mm)]
        if near:
            found[i] = near[0]
    return found


def _unexpected(state: ScanState, best: Explained) -> tuple[Spot, ...]:
    """Foci that the software stands by and that are none of the targets."""
    spots = _spots_by_source(state)
    own = {i for i in best.own if i is not None}
    return tuple(s for i, s in spots.items() if i not in own and s.quality != "unusable")


def _reasons(state: ScanState, targets: tuple[TargetSeen, ...], covariance: Array) -> tuple[str, ...]:
    # The shift was sought: only a focus that the software stands by can be a target.
    own = [t for t in targets if t.spot is not None and t.spot.quality != "unusable"]
    if not own or max(t.significance for t in targets) < state.found.thresholds.model:
        return ("no target is seen in this scan: it does not tell where they are",)
    away = float(np.linalg.norm(own[0].place_mm - own[0].believed_mm))
    if len(own) == 1 and away > LONE_MM:
        name = own[0].name
        return (
            f"a single focus lies {away:.0f} mm from {name}: it may be another, so nothing is said of a shift",
        )
    sd = float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
    if sd > MOST_SD_MM:
        return (f"the shift is open by {sd:.0f} mm: scan longer",)
    return ()


def _apart(targets: tuple[TargetSeen, ...]) -> list[str]:
    """Targets whose own focus lies elsewhere than the common shift puts them."""
    told = []
    for t in targets:
        if t.spot is None or len(targets) < 2:
            continue
        away = t.spot.position_mm - t.place_mm
        give = t.spot.covariance_mm2 + OWN_SD_MM**2 * np.eye(3)
        if float(away @ np.linalg.solve(give, away)) > CHI2_APART:
            told.append(
                f"{t.name} did not move with the others: its focus lies {np.linalg.norm(away):.0f} mm away"
            )
    unseen = [t.name for t in targets if not t.seen]
    return told + ([f"not seen in this scan: {', '.join(unseen)}"] if unseen else [])


def _others_words(best: Explained, other: Explained) -> str:
    x, y, z = other.tied.pose.shift_mm
    return (
        f"a shift by ({x:.0f}, {y:.0f}, {z:.0f}) mm explains the counts as well: which focus is which target?"
    )


def _excludes(other: Explained, registration_sd_mm: float) -> bool:
    """Whether an explanation that is as good is a shift, too."""
    shift = other.tied.pose.shift_mm
    covariance = other.tied.covariance[:3, :3] + (SYSTEMATIC_MM**2 + registration_sd_mm**2) * np.eye(3)
    return bool(float(shift @ np.linalg.solve(covariance, shift)) > CHI2_ALARM)


def _goodness(state: ScanState) -> tuple[str, ...]:
    goodness = state.result.goodness
    return goodness.reasons if goodness is not None and goodness.flagged else ()
