"""What a surface registration found, with everything that speaks for and against its use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.registration.landmarks import registration_id

Array = NDArray[np.float64]
INITIAL_FILE, INITIAL_LANDMARKS, INITIAL_NONE = "file", "landmarks", "none"


@dataclass(frozen=True, slots=True, eq=False)
class Loose:
    """A motion that the touched points leave open: in words, what would hold it, and as a twist of 1 mm."""

    words: str
    guidance: str
    sd_mm: float
    turn_rad: Array  # (3,) about `about_mm`, in FIXED
    shift_mm: Array  # (3,)
    about_mm: Array

    def as_json(self) -> dict[str, Any]:
        """As in reg.json."""
        return {
            "words": self.words,
            "guidance": self.guidance,
            "sd_mm": self.sd_mm,
            "turn_deg_per_mm": np.degrees(self.turn_rad).tolist(),
            "shift_per_mm": self.shift_mm.tolist(),
            "about_mm": self.about_mm.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """Another place that was found: how far the points lie from the best one (RMS), and how much less likely it is."""

    away_mm: float
    rms_mm: float
    log_likelihood: float  # that of the best less its own
    T: Array

    def as_json(self) -> dict[str, Any]:
        """As in reg.json."""
        return {
            "away_mm": self.away_mm,
            "rms_mm": self.rms_mm,
            "log_likelihood_less": self.log_likelihood,
            "T_target_source": self.T.tolist(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """How the place was sought."""

    tried: int
    reached: int  # of them ended in the best place
    initial: str  # INITIAL_FILE | INITIAL_LANDMARKS | INITIAL_NONE
    moved_mm: float | None  # from the initial place (RMS over the points)
    turned_deg: float | None
    rivals: tuple[Rival, ...]

    def as_json(self) -> dict[str, Any]:
        """As in reg.json."""
        return {"tried": self.tried, "reached": self.reached, "others": [r.as_json() for r in self.rivals]}


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceRegistration:
    """`matrix` (4, 4) maps the touched points into the surface's frame; `reasons` refuse it, `warnings` do not.

    `signed_mm` (n,): distance of each touched point from the surface, positive outside, `beyond` (n,) those beyond its
    edge, whose distance means nothing; `targets_mm` (k, 3) as given.
    """

    matrix: Array
    signed_mm: Array
    beyond: NDArray[np.bool_]
    scale_mm: float
    rms_mm: float
    inlier_share: float
    coverage: dict[str, Any]
    loose: tuple[Loose, ...]
    starts: Starts
    targets_mm: Array
    target_covariance_mm2: Array  # (k, 3, 3) in the frame of FIXED
    target_bound_mm: Array
    mirrored_rms_mm: float | None
    landmark_residuals_mm: Array
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """No gate refuses it."""
        return not self.reasons

    @property
    def target_rms_mm(self) -> Array:
        """(k,) predicted RMS error at the targets."""
        return np.asarray(np.sqrt(np.trace(self.target_covariance_mm2, axis1=1, axis2=2)))

    def as_json(self) -> dict[str, Any]:
        """The content of reg.json."""
        pairs = self.landmark_residuals_mm
        return {
            "method": "surface",
            "T_target_source": self.matrix.tolist(),
            "id": registration_id(self.matrix),
            "fre_mm": float(np.sqrt((pairs**2).mean())) if len(pairs) else None,
            "landmark_residuals_mm": pairs.tolist(),
            "rms_mm": self.rms_mm,
            "robust_sd_mm": self.scale_mm,
            "inlier_share": self.inlier_share,
            "residuals_mm": np.abs(self.signed_mm).tolist(),
            "signed_residuals_mm": self.signed_mm.tolist(),
            "beyond_edge": np.flatnonzero(self.beyond).tolist(),
            "tre_mm": {
                "targets": self.targets_mm.tolist(),
                "predicted": self.target_rms_mm.tolist(),
                "bound95": self.target_bound_mm.tolist(),
                "covariance_mm2": self.target_covariance_mm2.tolist(),
            },
            "coverage": self.coverage,
            "undetermined": [each.as_json() for each in self.loose],
            "starts": self.starts.as_json(),
            "initial": {
                "from": self.starts.initial,
                "moved_mm": self.starts.moved_mm,
                "turned_deg": self.starts.turned_deg,
            },
            "mirrored_rms_mm": self.mirrored_rms_mm,
            **self.more,
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }
