"""What guides the hand in a live case: the bed and what is to be shown of it, what is gone for, what was taken back.

State follows from the events alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from navigation.bed import Bed
from navigation.coverage import Aim
from navigation.engine.guidancestate import Removal, Selected
from navigation.engine.jobs import Job
from navigation.engine.tools import PROBE, Floats
from navigation.targets import REMOVED
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.engine.session import Session

BED, TARGET, FOCUS = "bed", "target", "focus"
# What a hand takes back at once: a bump, a slip, a hot glove in front of the probe.
DISCARDED_S, MOST_DISCARDED_S = 10.0, 600.0
# The face touches what is taken out, or the hole it leaves: a node and half a centimetre round it.
REMOVED_WITHIN_MM = 15.0
# How deep behind the outlined surface the bed reaches, unless told, and how sure its limits are.
DEPTH_MM, CONFIDENCE = 10.0, 0.95
# Deeper than this no probe tells a remnant from the tissue round it.
DEEPEST_MM = 60.0


class GuidanceDesk:
    """The aim of a session; `words` are its commands."""

    def __init__(self, session: Session) -> None:
        self.words: dict[str, Callable[[dict[str, Any]], list[Job]]] = {
            "aim": self._aim,
            "discard": self._discard,
            "removed_here": self._removed_here,
            "select": self._select,
        }
        self.removals: tuple[Removal, ...] = ()
        self.selected: Selected | None = None
        self._discarded: list[tuple[str, float, float]] = []
        self._session = session
        self._asked = aim_content(session.settings.bed)
        self._made: Aim | None = None

    @property
    def aim(self) -> Aim | None:
        """The same object until the outline or what is asked of it changes; None without an outline."""
        points = self._session.touched[BED].points_mm
        if points is None:
            self._made = None
            return None
        made, asked = self._made, self._asked
        if made is None or made.to_json() != asked or not np.array_equal(made.bed.points_mm, points):
            bed = Bed(points, asked["depth_mm"])
            self._made = Aim(bed, asked["threshold_kbq"], asked["confidence"])
        return self._made

    def _aim(self, content: dict[str, Any]) -> list[Job]:
        self._asked = aim_content({**self._asked, **{k: v for k, v in content.items() if k in self._asked}})
        return []

    def newly_discarded(self) -> list[tuple[str, float, float]]:
        """Scan, and stamps from and to, of what was discarded since this was asked last: for the record."""
        found, self._discarded = self._discarded, []
        return found

    def _discard(self, content: dict[str, Any]) -> list[Job]:
        """The newest readings of the newest scan are used no more; the record keeps them."""
        session = self._session
        scan = session.scans.get(session.current or "")
        if scan is None:
            raise InputError("there is no scan to discard anything of")
        if scan.analyzed:
            raise InputError(f"{scan.name} is analysed already: nothing of it is discarded any more")
        if not scan.intervals:
            raise InputError(f"{scan.name} holds no counts to discard")
        newest = scan.intervals[-1].t_end_s
        to_s = float(content.get("to_s", newest))
        from_s = to_s - seconds_of(content) if content.get("from_s") is None else float(content["from_s"])
        from_s = max(from_s, scan.start_s)
        if not scan.discard(from_s, to_s):
            raise InputError(f"no counts of {scan.name} came in that time")
        self._discarded.append((scan.name, from_s, to_s))
        why = f"{to_s - from_s:.0f} s of it were discarded"
        if scan.scheduled:
            return session.renew(why)
        scan.renew(why)
        return []

    def _removed_here(self, content: dict[str, Any]) -> list[Job]:
        """A mark where the probe, or the stylus, is now; targets there end as removed."""
        session = self._session
        tool = str(content.get("tool", PROBE))
        state = session.tools.states(session.asked_s).get(f"{tool}TipToReference")
        if state is None or not state.valid or state.matrix is None:
            raise InputError(f"the {tool.lower()} is not seen: nothing says where")
        place = state.matrix[:3, 3].copy()
        by = str(content.get("by") or "pedal")
        states = session.target_desk.states(session.registration.T_study_reference, session.frame)
        ended = tuple(t.name for t in states if t.open and _within(place, t.position_mm))
        for name in ended:
            told = {"target": name, "outcome": REMOVED, "by": by, "reason": "marked as removed here"}
            session.target_desk.end(told, session.asked_s)
        self.removals = (*self.removals, Removal(place, session.asked_s, session.frame, ended))
        content["place_mm"] = place.tolist()  # for the journal
        return []

    def removed(self, chosen: Selected) -> bool:
        """Whether a mark says that what is selected was taken out."""
        here = [r for r in self.removals if r.frame == self._session.frame]
        if chosen.kind == TARGET:
            return any(chosen.name in r.ended for r in self.removals)
        return any(_within(r.place_mm, chosen.place_mm) for r in here)

    def marks(self) -> tuple[Removal, ...]:
        """Those whose place is where it was: the reference has not moved since."""
        return tuple(r for r in self.removals if r.frame == self._session.frame)

    def _select(self, content: dict[str, Any]) -> list[Job]:
        """What is gone for; without a kind nothing any more."""
        kind = content.get("kind")
        if kind is None:
            self.selected = None
        elif kind == TARGET:
            name = str(content["name"])
            self._session.target_desk.targets.target(name)
            self.selected = Selected(TARGET, name)
        elif kind == FOCUS:
            place = np.array(content["position_mm"], dtype=np.float64)
            covariance = np.array(content["covariance_mm2"], dtype=np.float64)
            if place.shape != (3,) or covariance.shape != (3, 3) or not np.isfinite(covariance).all():
                raise InputError("a focus has a place and a covariance")
            self.selected = Selected(FOCUS, str(content["name"]), place, covariance, self._session.frame)
        else:
            raise InputError(f"one goes for a {TARGET} or a {FOCUS}, not for {kind!r}")
        return []


def seconds_of(content: Mapping[str, Any]) -> float:
    """How much is discarded. Raises InputError."""
    seconds = content.get("seconds", DISCARDED_S)
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not 0.0 < seconds <= MOST_DISCARDED_S
    ):
        raise InputError(f"up to {MOST_DISCARDED_S:g} s can be discarded, not {seconds!r}")
    return float(seconds)


def _within(place_mm: Floats, other_mm: Floats | None) -> bool:
    return other_mm is not None and float(np.linalg.norm(place_mm - other_mm)) <= REMOVED_WITHIN_MM


def aim_content(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of a bed, checked. Raises InputError for what cannot be."""
    if unknown := sorted(set(found) - {"threshold_kbq", "depth_mm", "confidence"}):
        raise InputError(f"unknown key {unknown[0]!r}")
    told = found.get("threshold_kbq")
    threshold = None if told is None else float(told)
    depth, confidence = float(found.get("depth_mm", DEPTH_MM)), float(found.get("confidence", CONFIDENCE))
    if threshold is not None and not 0.0 < threshold < np.inf:
        raise InputError(f"a threshold is a positive activity in kBq, not {threshold:g}")
    if not 0.0 < depth <= DEEPEST_MM:
        raise InputError(f"a bed reaches 0 to {DEEPEST_MM:g} mm deep, not {depth:g}")
    if not 0.5 < confidence < 1.0:
        raise InputError(f"a confidence lies between 0.5 and 1, not {confidence:g}")
    return {"threshold_kbq": threshold, "depth_mm": depth, "confidence": confidence}
