"""The bed's surface cell by cell as the engine tells it, without Qt: squares that face whoever looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.ui.state import ViewState

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Middles (n, 3) in Reference, side in mm, and of each "covered", "short", "seen" or "unseen"."""

    places_mm: Array
    size_mm: float
    seen: tuple[str, ...]

    def squares(self, right: Array, down: Array) -> Array:
        """Corners (n, 4, 3) in Reference of squares along two unit directions (3,)."""
        half = 0.5 * self.size_mm
        corners = np.stack([half * (x * right + y * down) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        return self.places_mm[:, None, :] + corners


def cells_of(state: ViewState) -> Cells | None:
    """Those of a state; None without an outlined bed or while the engine is silent: nothing old is shown."""
    told = (state.bed.get("coverage") or {}).get("cells") or {}
    places = np.array(told.get("places_mm") or [], dtype=np.float64).reshape(-1, 3)
    seen = tuple(str(word) for word in told.get("seen") or ())
    if not len(places) or len(seen) != len(places) or not state.engine_alive:
        return None
    return Cells(places, float(told.get("size_mm") or 0.0), seen)
