"""Does what was touched lie on the skin of the registered study: a registration that is off shows without landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.ctmap import OUTSIDE, StudyTissue
from navigation.engine.registrations import BOUND_OVER_RMS, UNPREDICTED_MM

Array = NDArray[np.float64]

# The skin gives way under a stylus and between table and scanner, and its voxels are some millimetres: so much of the
# median is no error of the registration.
SKIN_MM = 5.0
# Fewer points are no surface.
FEWEST_POINTS = 12


class SkinWatch:
    """Compares touched points with the border of a study's tissue; asks anew only when something has changed."""

    def __init__(self, tissue: StudyTissue) -> None:
        self._tree = cKDTree(border_mm(tissue))
        self._key: tuple[bytes, str] | None = None
        self._words: str | None = None

    def words(
        self, touched_mm: Array | None, T_study_reference: Array | None, name: str, tre_mm: float | None
    ) -> str | None:
        """What is odd of points (k, 3) in Reference under the registration `name`; None where nothing is."""
        if touched_mm is None or T_study_reference is None or len(touched_mm) < FEWEST_POINTS:
            return None
        # As many points as before may lie elsewhere: after a move of the reference all are touched anew.
        key = (touched_mm.tobytes(), name)
        if key != self._key:
            self._key = key
            self._words = self._compared(touched_mm, T_study_reference, tre_mm)
        return self._words

    def _compared(self, touched_mm: Array, T: Array, tre_mm: float | None) -> str | None:
        distance = np.asarray(self._tree.query(touched_mm @ T[:3, :3].T + T[:3, 3])[0])
        off = float(np.median(distance))
        predicted = UNPREDICTED_MM if tre_mm is None else BOUND_OVER_RMS * tre_mm
        if off <= float(np.hypot(SKIN_MM, predicted)):
            return None
        return f"the touched surface lies {off:.0f} mm from the skin of the study: check the registration"


def border_mm(tissue: StudyTissue) -> Array:
    """(n, 3) LPS mm: where the patient ends, half-way between voxels inside and outside; not where the field ends."""
    inside = tissue.codes != OUTSIDE
    found = []
    for axis in range(3):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        index = np.argwhere(inside[tuple(low)] != inside[tuple(high)]).astype(np.float64)
        index[:, axis] += 0.5
        found.append(index[:, ::-1])
    grid = tissue.grid
    return np.asarray(np.concatenate(found) @ grid.matrix[:3, :3].T + grid.origin_mm)
