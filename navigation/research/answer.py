"""The application's own answer of a scan, and its uncertainty on any grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from navigation.neighbours import guarded_significance
from navigation.reconstruction.live import ScanState
from navigation.results import write_scan_result
from navigation.spots import background_alone, nuisance_of
from navigation.uncertainty import score_map
from navigation.volume import ActivityMap, ScanResult, Spot, VoxelGrid
from tracking.errors import InputError

Array = NDArray[np.float64]

# Points whose rows are made at once: a thousand readings of them are 16 MB.
POINTS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class UncertaintyMaps:
    """Of a point source at each place beside the background and the foci of the answer; shapes as asked for.

    `significance`: standard deviations of more activity than these; `sd_kbq`: standard deviation of its activity;
    `mda_kbq`: detected with 95 % probability at a local 5 % false-positive level; `upper_limit_kbq`: one-sided. The
    last three are inf where the scan says nothing, or nothing beside a strong focus.
    """

    significance: Array
    sd_kbq: Array
    mda_kbq: Array
    upper_limit_kbq: Array
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the application says of the scan; `state` holds all behind it and is not stable."""

    state: ScanState

    @property
    def result(self) -> ScanResult:
        """Map, foci, background, latency, and the reasons for doubt."""
        return self.state.result

    @property
    def foci(self) -> tuple[Spot, ...]:
        """Foci of activity: position (3,) mm in Reference with covariance, kBq at the reference time, quality."""
        return self.result.spots

    @property
    def map(self) -> ActivityMap:
        """Activity in kBq/mL, relative standard deviation and MDA on the field of view, k-j-i."""
        return self.result.map

    def uncertainty(self, where: VoxelGrid | ArrayLike, confidence: float = 0.95) -> UncertaintyMaps:
        """Maps on a grid, (nz, ny, nx), or at points (m, 3) in mm, (m,)."""
        from navigation.research.scan import points_of

        if not 0.5 <= confidence < 1.0:
            raise InputError(f"a confidence of {confidence:g}: it must lie between 0.5 and 1")
        points = points_of(where)
        shape = where.shape if isinstance(where, VoxelGrid) else (len(points),)
        z = float(ndtri(confidence))
        parts = [
            self._figures(points[low : low + POINTS_AT_ONCE], z)
            for low in range(0, len(points), POINTS_AT_ONCE)
        ]
        significance, sd, mda, limit = (
            np.concatenate(column).reshape(shape) for column in zip(*parts, strict=True)
        )
        return UncertaintyMaps(significance, sd, mda, limit, confidence)

    def save(self, folder: str | Path) -> None:
        """spots.json and the volumes, as `gammanav reconstruct` writes them. Raises OSError."""
        write_scan_result(self.result, Path(folder))

    def _figures(self, points_mm: Array, z: float) -> tuple[Array, Array, Array, Array]:
        problem, found = self.state.problem, self.state.found
        rows = problem.rows(points_mm).astype(np.float32)
        more = score_map(rows, nuisance_of(problem, found.fit, found.precision))
        significance = guarded_significance(problem, more, found.fit, rows)
        share = self.state.beside.share(points_mm, rows)
        beside = score_map(rows, background_alone(problem, found)).dimmed(share)
        return significance, beside.sd_kbq, beside.mda_kbq, beside.upper_limit_kbq(z)
