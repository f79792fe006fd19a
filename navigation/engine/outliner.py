"""How surface and bed are outlined in a live case: touched by the stylus, painted by the probe, or round a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from navigation.bedplaces import BESIDE_MM
from navigation.engine.jobs import Job
from navigation.engine.tools import PROBE, STYLUS, Floats
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.engine.session import Session

SURFACE, BED = "surface", "bed"
# A tool farther than this from the touched surface is on its way and paints nothing.
PAINT_REACH_MM = 8.0
# A bed within a sphere needs as many points as a surface does.
FEWEST_POINTS = 12


class Outliner:
    """Part of a session; `words` are its commands."""

    def __init__(self, session: Session) -> None:
        self.tool = STYLUS
        self.words: dict[str, Callable[[dict[str, Any]], list[Job]]] = {
            "touch": self._touch_now,
            "bed_sphere": self._sphere,
        }
        self._session = session
        self._newest_t_s: float | None = None

    def begin(self, content: dict[str, Any]) -> None:
        """With which tool: the stylus unless `tool` says the probe. Raises InputError for any other."""
        tool = str(content.get("tool", STYLUS))
        if tool not in (STYLUS, PROBE):
            raise InputError(f"one outlines with the {STYLUS} or the {PROBE}, not with {tool!r}")
        self.tool = tool

    def moved(self) -> bool:
        """Whether a newer pose of the tool is known than when this was asked last."""
        before, self._newest_t_s = self._newest_t_s, self._session.tools.newest_t_s(self.tool)
        return before != self._newest_t_s

    def touch(self) -> None:
        """Take where the tool's tip is. Raises InputError while nothing is outlined."""
        session = self._session
        if session.mode not in (SURFACE, BED):
            raise InputError("nothing is being outlined")
        tips = session.settings.tips
        tip, pose = tips.probe if self.tool == PROBE else tips.stylus, session.tools.newest(self.tool)
        if tip is None or pose is None:
            return
        place = (pose @ tip)[:3, 3]
        surface = session.touched[SURFACE].points_mm
        if self.tool == PROBE and session.mode == BED and surface is not None:
            for point in painted(surface, place):
                session.touched[BED].add(point)
        else:
            session.touched[session.mode].add(place)

    def _touch_now(self, _content: dict[str, Any]) -> list[Job]:
        """A touch by command: where the tool was some time ago is not where it is."""
        session = self._session
        seen = session.tools.states(session.asked_s).get(f"{self.tool}TipToReference")
        if session.mode in (SURFACE, BED) and (seen is None or not seen.valid):
            raise InputError(f"the {self.tool.lower()} is not seen: nothing was touched")
        self.touch()
        return []

    def _sphere(self, content: dict[str, Any]) -> list[Job]:
        """The bed is what of the touched surface lies within a sphere, as round the focus that was excised."""
        session = self._session
        centre, radius = np.array(content["centre_mm"], dtype=np.float64), float(content["radius_mm"])
        surface = session.touched[SURFACE].points_mm
        if surface is None:
            raise InputError("no surface was touched: a sphere alone does not say where the bed is")
        if centre.shape != (3,) or not np.isfinite(centre).all() or not radius > 0.0:
            raise InputError("a sphere has a centre of three numbers and a positive radius, in mm")
        inside = surface[np.linalg.norm(surface - centre, axis=1) <= radius]
        if len(inside) < FEWEST_POINTS:
            raise InputError(
                f"{len(inside)} touched points lie within {radius:g} mm of there; {FEWEST_POINTS} are needed"
            )
        session.touched[BED].replace(inside)
        return []


def painted(surface_mm: Floats, place_mm: Floats) -> Floats:
    """Points (j, 3) of the touched surface under a tip at a place (3,); none where it is not on the surface."""
    away = float(cKDTree(surface_mm).query(place_mm)[0])
    if away > PAINT_REACH_MM:
        return np.zeros((0, 3))
    under: Floats = surface_mm[np.linalg.norm(surface_mm - place_mm, axis=1) <= np.hypot(away, BESIDE_MM)]
    return under
