"""One focus in a SPECT or PET: a Gaussian on a sloping background, with what the noise lets it be known to.

A focus smaller than the resolution shows the camera's point response: the integral of the fitted Gaussian is its
activity whatever the resolution, where the hottest voxel or a threshold loses a part (Soret et al. 2007,
DOI 10.2967/jnumed.106.035774).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.volume import VoxelGrid

Array = NDArray[np.float64]

FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
# The window of a fit reaches this many widths (FWHM) round the maximum: the focus, and as much background again.
WINDOW_FWHM = 1.8
# A source does not leave its maximum by more than this share of the width.
LARGEST_SHIFT = 0.75
FEWEST_VOXELS = 20
# Noise of neighbouring voxels is correlated by the reconstruction's filter, but not over more than a window.
MOST_CORRELATED = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """A fitted focus: place (3,) in mm, FWHM in mm, integral in value x mL; noise is in `covariance` and `integral_sd`.

    `peak` and `background` are values of the image at the place: the Gaussian's height and what lies under it.
    """

    position_mm: Array
    covariance_mm2: Array
    fwhm_mm: float
    peak: float
    background: float
    integral: float
    integral_sd: float

    @property
    def sigma_mm(self) -> float:
        """Standard deviation of the Gaussian."""
        return self.fwhm_mm / FWHM_PER_SIGMA

    def at(self, points_mm: Array) -> Array:
        """(n,): the Gaussian's value at points (n, 3)."""
        away = ((points_mm - self.position_mm) ** 2).sum(axis=1)
        return np.asarray(self.peak * np.exp(-0.5 * away / self.sigma_mm**2))


def fit_focus(
    image: Array,
    known: NDArray[np.bool_],
    grid: VoxelGrid,
    start_mm: Array,
    widths_mm: tuple[float, float, float],
) -> Focus | None:
    """The focus at a maximum of an image (nz, ny, nx), over the voxels that are `known`; None where none fits.

    `widths_mm` are the least, usual and largest FWHM.
    """
    from scipy.optimize import least_squares

    least, usual, most = widths_mm
    flat = _window(known, grid, start_mm, WINDOW_FWHM * usual)
    if len(flat) < FEWEST_VOXELS:
        return None
    points = _points(flat, grid)
    values = image.ravel()[flat]
    model = _Model(points - start_mm, values)
    reach = LARGEST_SHIFT * usual
    bounds = ([-reach] * 3 + [np.log(least)], [reach] * 3 + [np.log(most)])
    found = least_squares(
        model.residuals, [0.0, 0.0, 0.0, np.log(usual)], bounds=bounds, x_scale=[1, 1, 1, 0.2]
    )
    linear = model.linear(found.x)
    if linear[0] <= 0.0:
        return None
    covariance = model.covariance(found.x, linear, _correlated(flat, found.fun, grid))
    fwhm = float(np.exp(found.x[3]))
    volume = _volume_ml(fwhm)
    grow = np.array([volume, 3.0 * volume * linear[0]])
    sd = float(np.sqrt(max(grow @ covariance[3:5, 3:5] @ grow, 0.0)))
    background = float(linear[1] + linear[2:] @ found.x[:3])
    place = start_mm + found.x[:3]
    return Focus(place, covariance[:3, :3], fwhm, float(linear[0]), background, float(linear[0] * volume), sd)


def _volume_ml(fwhm_mm: float) -> float:
    """Integral of a Gaussian of height 1, in mL."""
    return float((2.0 * np.pi) ** 1.5 * (fwhm_mm / FWHM_PER_SIGMA) ** 3 / 1000.0)


def _window(
    known: NDArray[np.bool_], grid: VoxelGrid, centre_mm: Array, reach_mm: float
) -> NDArray[np.int64]:
    """Flat indices of the known voxels within a ball."""
    centre = grid.index_of(centre_mm[None])[0]
    reach = reach_mm / grid.spacing_mm
    low = np.clip(np.ceil(centre - reach), 0, None).astype(np.int64)
    high = np.clip(np.floor(centre + reach) + 1, 0, np.array(grid.size)).astype(np.int64)
    i, j, k = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    nx, ny, _ = grid.size
    flat = np.asarray((k[:, None, None] * ny + j[:, None]) * nx + i).ravel()
    flat = flat[known.ravel()[flat]]
    return np.asarray(flat[np.linalg.norm(_points(flat, grid) - centre_mm, axis=1) <= reach_mm])


def _points(flat: NDArray[np.int64], grid: VoxelGrid) -> Array:
    nx, ny, _ = grid.size
    index = np.stack([flat % nx, flat // nx % ny, flat // (nx * ny)], axis=1)
    return np.asarray(index @ grid.matrix[:3, :3].T + grid.origin_mm)


class _Model:
    """Height, constant and slope are solved for at each place and width (variable projection)."""

    def __init__(self, offsets_mm: Array, values: Array) -> None:
        self.offsets, self.values = offsets_mm, values
        self.flat = np.concatenate([np.ones((len(values), 1)), offsets_mm], axis=1)

    def shape(self, x: Array) -> Array:
        away = ((self.offsets - x[:3]) ** 2).sum(axis=1)
        return np.asarray(np.exp(-0.5 * away / (np.exp(x[3]) / FWHM_PER_SIGMA) ** 2))

    def linear(self, x: Array) -> Array:
        design = np.concatenate([self.shape(x)[:, None], self.flat], axis=1)
        return np.asarray(np.linalg.lstsq(design, self.values, rcond=None)[0])

    def residuals(self, x: Array) -> Array:
        design = np.concatenate([self.shape(x)[:, None], self.flat], axis=1)
        return np.asarray(design @ np.linalg.lstsq(design, self.values, rcond=None)[0] - self.values)

    def covariance(self, x: Array, linear: Array, correlated: float) -> Array:
        """(5, 5) of place, height and log width; the background's share is worked in."""
        shape, sigma2 = self.shape(x), (np.exp(x[3]) / FWHM_PER_SIGMA) ** 2
        away = self.offsets - x[:3]
        place = linear[0] * shape[:, None] * away / sigma2
        width = linear[0] * shape * (away**2).sum(axis=1) / sigma2
        jacobian = np.concatenate([place, shape[:, None], width[:, None], self.flat], axis=1)
        residuals = self.residuals(x)
        share = len(residuals) / max(len(residuals) - jacobian.shape[1], 1)
        # Counting noise: the variance of a voxel goes with its value, and the fit weighs all alike.
        model = np.maximum(self.values + residuals, 1e-6 * float(np.abs(self.values).max()))
        variance = model * float(residuals @ residuals) / float(model.sum()) * share * correlated
        bread = np.linalg.pinv(jacobian.T @ jacobian)
        return np.asarray((bread @ (jacobian.T * variance) @ jacobian @ bread)[:5, :5])


def _correlated(flat: NDArray[np.int64], residuals: Array, grid: VoxelGrid) -> float:
    """Voxels that share their noise, from the correlation of residuals of neighbours along each axis.

    A Gaussian filter of width s correlates neighbours at distance d by exp(-d^2 / 4 s^2) and ties sqrt(4 pi) s / d.
    """
    nx, ny, _ = grid.size
    by_voxel = dict(zip(flat.tolist(), residuals.tolist(), strict=True))
    power = float(residuals @ residuals) / len(residuals)
    total = 1.0
    for step in (1, nx, nx * ny):
        pairs = [r * by_voxel[v + step] for v, r in by_voxel.items() if v + step in by_voxel]
        share = float(np.mean(pairs)) / power if pairs and power > 0.0 else 0.0
        if share > 0.0:
            total *= max(np.sqrt(np.pi / -np.log(min(share, 0.95))), 1.0)
    return float(min(total, MOST_CORRELATED * len(flat)))
