"""The way from the probe to what is selected, for one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from navigation.engine.guidancestate import Navigation, Selected
from navigation.volume import Spot

if TYPE_CHECKING:
    from navigation.engine.session import Session

Array = NDArray[np.float64]

# A place that is known no better than this is not navigated to: its figures would be read as if it were.
WORST_SD_MM = 10.0
# A focus that is sought anew is the one selected when it lies this near, or within three of its standard deviations.
SAME_FOCUS_MM, SAME_FOCUS_SDS = 10.0, 3.0
PROBE_TIP = "ProbeTipToReference"


def navigation_of(session: Session, spots: Sequence[Spot], now_s: float) -> Navigation | None:
    """The way to what is selected; None where nothing is."""
    chosen = session.guidance.selected
    if chosen is None:
        return None
    removed = session.guidance.removed(chosen)
    place = _place(session, chosen, spots)
    tip = session.tools.states(now_s).get(PROBE_TIP)
    if place is None:
        return Navigation(chosen.name, chosen.kind, None, removed=removed)
    sd = float(np.sqrt(np.linalg.eigvalsh(place[1])[-1]))
    if sd > WORST_SD_MM or removed or tip is None or not tip.valid or tip.matrix is None:
        return Navigation(chosen.name, chosen.kind, sd, removed=removed)
    surface = session.scans[session.current].surface_mm if session.current in session.scans else None
    return way_to(chosen, place[0], sd, tip.matrix, surface)


def way_to(
    chosen: Selected, place_mm: Array, sd_mm: float, tip: Array, surface_mm: Array | None
) -> Navigation:
    """From a tip (4, 4) to a place (3,) in Reference, with the touched surface (k, 3)."""
    offset = tip[:3, :3].T @ (place_mm - tip[:3, 3])
    distance = float(np.linalg.norm(offset))
    depth = None if surface_mm is None else float(cKDTree(surface_mm).query(place_mm)[0])
    return Navigation(
        chosen.name,
        chosen.kind,
        sd_mm,
        distance,
        float(offset[2]),
        float(np.hypot(offset[0], offset[1])),
        depth,
        offset / distance if distance > 0.0 else None,
    )


def _place(session: Session, chosen: Selected, spots: Sequence[Spot]) -> tuple[Array, Array] | None:
    """Place (3,) and covariance (3, 3) in Reference of what is selected, with what a registration may err by."""
    if chosen.kind == "target":
        return _of_target(session, chosen.name)
    if chosen.place_mm is None or chosen.covariance_mm2 is None or chosen.frame != session.frame:
        return None
    near = [(float(np.linalg.norm(s.position_mm - chosen.place_mm)), i) for i, s in enumerate(spots)]
    sd = float(np.sqrt(np.linalg.eigvalsh(chosen.covariance_mm2)[-1]))
    reach = max(SAME_FOCUS_MM, SAME_FOCUS_SDS * sd)
    same = [i for away, i in sorted(near) if away <= reach]
    if not same:
        return chosen.place_mm, chosen.covariance_mm2
    return spots[same[0]].position_mm, spots[same[0]].covariance_mm2


def _of_target(session: Session, name: str) -> tuple[Array, Array] | None:
    registration = session.registration
    for target in session.target_desk.states(registration.T_study_reference, session.frame):
        if target.name == name and target.position_mm is not None and target.covariance_mm2 is not None:
            if registration.unverified or registration.doubt is not None:
                return None
            error = 0.0 if registration.tre_mm is None else registration.tre_mm**2 / 3.0
            return target.position_mm, target.covariance_mm2 + error * np.eye(3)
    return None
