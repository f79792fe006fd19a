"""Pixels of a slice from the map and the CT, with numpy alone: colour is activity, hatching is not examined.

Colours run from dark violet to pale yellow with evenly rising lightness (OKLab, Ottosson 2020); green and
traffic-light meanings do not occur.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.reslice import Plane, linear, nearest
from navigation.ui.state import MapVolumes, ViewState
from navigation.volume import NO_LIMIT_KBQ, VoxelGrid
from navigation.windowsettings import LEAST_OPACITY

CT_BRIGHTEST = 170.0
AIR_HU = -1000.0
# Pixels along a slice's longer side: finer than the voxels, coarse enough for ten frames a second.
SLICE_PIXELS = 132
# Activity becomes opaque at this share of the scale; below it the CT shines through.
OPAQUE_AT = 0.35
OPACITY_STEP = 0.1
HATCH_PERIOD, HATCH_WIDTH = 9, 2


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """A CT in the study's LPS millimetres."""

    grid: VoxelGrid
    values: NDArray[np.float32]


def _between(stops: tuple[tuple[float, tuple[int, int, int]], ...]) -> NDArray[np.uint8]:
    """(256, 3) sRGB, linear between the stops."""
    at = [share for share, _ in stops]
    t = np.linspace(0.0, 1.0, 256)
    channels = [np.interp(t, at, [colour[k] for _, colour in stops]) for k in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


def palette() -> NDArray[np.uint8]:
    """(256, 3) sRGB, lightness rising evenly."""
    t = np.linspace(0.0, 1.0, 256)
    light = 0.12 + 0.84 * t
    hue = np.deg2rad(300.0 + 165.0 * t)
    chroma = 0.17 * np.sin(np.pi * np.clip(0.12 + 0.8 * t, 0.0, 1.0))
    lab = np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    to_lms = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    rgb = np.clip(((lab @ to_lms.T) ** 3) @ to_rgb.T, 0.0, 1.0)
    encoded = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255.0 * encoded), dtype=np.uint8)


PALETTE = palette()
# Lightness rises through all of them alike, so that none hides what another shows. "grey" is what film was.
PALETTES = {
    "violet": PALETTE,
    "grey": np.repeat(np.linspace(30, 255, 256).astype(np.uint8)[:, None], 3, axis=1),
    "contrast": _between(
        ((0.0, (0, 0, 60)), (0.35, (120, 0, 140)), (0.7, (255, 120, 20)), (1.0, (255, 255, 255)))
    ),
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a slice is shown: which colours, how opaque the most active is, which HU the CT's grey spans."""

    colours: str = "violet"
    opacity: float = 0.92
    ct_hu: tuple[float, float] = (-160.0, 240.0)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """(256, 3) sRGB."""
        return PALETTES[self.colours]

    def next_colours(self) -> Look:
        """The next of the palettes, round and round."""
        names = list(PALETTES)
        return replace(self, colours=names[(names.index(self.colours) + 1) % len(names)])

    def more_opaque(self, steps: int) -> Look:
        """So many steps more opaque, within what keeps both map and CT to be seen."""
        return replace(self, opacity=float(np.clip(self.opacity + OPACITY_STEP * steps, LEAST_OPACITY, 1.0)))


LOOK = Look()


def slice_pixels(
    state: ViewState,
    plane: Plane,
    half_mm: tuple[float, float],
    backdrop: Backdrop | None,
    look: Look = LOOK,
) -> NDArray[np.uint8]:
    """RGB (rows, columns, 3) of one plane of Reference, grey where the state is not live."""
    scale = SLICE_PIXELS / (2.0 * max(half_mm))
    shape = (max(2, round(2 * half_mm[1] * scale)), max(2, round(2 * half_mm[0] * scale)))
    points = plane.points(half_mm, shape)
    if state.maps is None:
        base = np.broadcast_to(_ct(points, state, backdrop, look)[..., None], (*shape, 3)).copy()
        return np.asarray(_hatched(base, np.ones(shape, dtype=bool)), dtype=np.uint8)
    picture = _map_pixels(state.maps, state, points, backdrop, look)
    if not state.live:
        picture = np.repeat(0.55 * picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.asarray(picture, dtype=np.uint8)


def _map_pixels(
    maps: MapVolumes, state: ViewState, points: NDArray[np.float64], backdrop: Backdrop | None, look: Look
) -> NDArray[np.float32]:
    mda = nearest(np.where(maps.examined, maps.mda_kbq, np.inf), maps.grid, points, np.inf)
    seen, limited = np.isfinite(mda), mda < NO_LIMIT_KBQ
    if backdrop is not None and state.T_ras_reference is not None:
        grey = _ct(points, state, backdrop, look)
    else:
        grey = _coverage_grey(mda)
    share = np.clip(linear(maps.activity, maps.grid, points, 0.0) / max(state.ceiling, 1e-9), 0.0, 1.0)
    colour = look.palette[np.asarray(255 * share, dtype=np.uint8)].astype(np.float32)
    opacity = (np.clip(share / OPAQUE_AT, 0.0, look.opacity) * seen)[..., None]
    base = np.repeat(grey[..., None], 3, axis=-1)
    blended = base * (1.0 - opacity) + colour * opacity
    return np.where(limited[..., None], blended, _hatched(blended, ~limited))


def _coverage_grey(mda: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey that is lighter where weaker sources would have been seen: 1 kBq light, 100 kBq dark."""
    decades = np.log10(np.clip(np.where(np.isfinite(mda), mda, 100.0), 1.0, 100.0))
    return np.asarray(78.0 - 26.0 * decades, dtype=np.float32)


def _ct(
    points: NDArray[np.float64], state: ViewState, backdrop: Backdrop | None, look: Look
) -> NDArray[np.float32]:
    """Grey of the CT at points of Reference; dark without one."""
    if backdrop is None or state.T_ras_reference is None:
        return np.full(points.shape[:-1], 24.0, dtype=np.float32)
    T = np.diag([-1.0, -1.0, 1.0, 1.0]) @ state.T_ras_reference
    lps = points @ T[:3, :3].T + T[:3, 3]
    hu = nearest(backdrop.values, backdrop.grid, lps, AIR_HU)
    window = np.clip((hu - look.ct_hu[0]) / (look.ct_hu[1] - look.ct_hu[0]), 0.0, 1.0)
    return np.asarray(CT_BRIGHTEST * window, dtype=np.float32)


def _hatched(base: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Diagonal lines over what was not examined or is not assessable; colour shows through."""
    rows, columns = where.shape
    line = (np.arange(rows)[:, None] + np.arange(columns)[None, :]) % HATCH_PERIOD < HATCH_WIDTH
    dimmed = 0.75 * base + 6.0
    return np.where((where & line)[..., None], 0.6 * base + 52.0, np.where(where[..., None], dimmed, base))
