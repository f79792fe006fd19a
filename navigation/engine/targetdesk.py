"""The target list of a live case: what the study asks for, what the scan added, and how each one ended.

Part of the session: its state follows from the commands alone. Targets of the study lie in its LPS, a focus that the
scan showed lies in Reference until a registration brings it into the study.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.engine.jobs import AskedTargets
from navigation.registration.activity import REGISTRATION_SD_MM
from navigation.studymodel import StudyModel
from navigation.targets import UNEXPECTED, End, Target, TargetList
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

# Targets that are held against the counts of a scan: more would keep the analysis waiting.
MOST_COMPARED = 20


@dataclass(frozen=True, slots=True, eq=False)
class TargetState:
    """One target now: place (3,) and covariance (3, 3) in Reference, None while no registration says; its end."""

    name: str
    position_mm: Array | None
    covariance_mm2: Array | None
    expected_kbq: float | None
    origin: str
    note: str
    label: str | None
    end: End | None

    @property
    def open(self) -> bool:
        """Whether nobody has said how it ended."""
        return self.end is None

    @property
    def words(self) -> str:
        """How it ended, for a table."""
        return "open" if self.end is None else f"{self.end.outcome}: {self.end.reason} ({self.end.by})"


class TargetDesk:
    """The list; every change comes by a command of the case."""

    def __init__(self, study: StudyModel | None) -> None:
        self.targets = TargetList() if study is None else study.targets
        self._found: dict[
            str, int
        ] = {}  # added where no registration was: in Reference, with its frame's number

    def use(self, study: StudyModel) -> None:
        """The study has come: its targets stand before those that were added. Raises InputError for a name twice."""
        mine = [t for t in self.targets.targets if t.origin == UNEXPECTED]
        self.targets = replace(study.targets.added(*mine), ends=(*study.targets.ends, *self.targets.ends))

    def add(self, content: dict[str, Any], T_study_reference: Array | None, frame: int) -> None:
        """A focus of the scan, at `position_mm` in Reference with `covariance_mm2`, under a `name` of its own.

        Raises InputError for a name that is there and for values that are none.
        """
        position = np.array(content["position_mm"], dtype=np.float64)
        covariance = np.array(content["covariance_mm2"], dtype=np.float64)
        name, kbq = str(content["name"]), content.get("activity_kbq")
        if T_study_reference is not None:
            rotation = T_study_reference[:3, :3]
            position = rotation @ position + T_study_reference[:3, 3]
            covariance = rotation @ covariance @ rotation.T
        note = str(content.get("note", ""))
        target = Target(name, position, covariance, None if kbq is None else float(kbq), UNEXPECTED, note)
        self.targets = self.targets.unexpected(target)
        if T_study_reference is None:
            self._found[name] = frame

    def end(self, content: dict[str, Any], t_s: float) -> None:
        """How a target ended, why, and who says so. Raises InputError where that is incomplete."""
        name = str(content["target"])
        self.targets.target(name)
        outcome, reason, by = (str(content.get(key, "")) for key in ("outcome", "reason", "by"))
        self.targets = self.targets.ended(End(name, outcome, reason, by, t_s))

    def states(self, T_study_reference: Array | None, frame: int) -> tuple[TargetState, ...]:
        """All of them, as they lie in Reference now."""
        return tuple(self._state(t, T_study_reference, frame) for t in self.targets.targets)

    def _state(self, target: Target, T_study_reference: Array | None, frame: int) -> TargetState:
        place = self._place(target, T_study_reference, frame)
        position, covariance = (None, None) if place is None else place
        return TargetState(
            target.name,
            position,
            covariance,
            target.expected_kbq,
            target.origin,
            target.note,
            target.label,
            self.targets.outcome(target.name),
        )

    def _place(
        self, target: Target, T_study_reference: Array | None, frame: int
    ) -> tuple[Array, Array] | None:
        if target.name in self._found:
            # The reference has moved since: nobody knows where that place is now.
            same = self._found[target.name] == frame
            return (target.position_mm, target.covariance_mm2) if same else None
        if T_study_reference is None:
            return None
        T = invert_rigid(T_study_reference)
        rotation = T[:3, :3]
        return rotation @ target.position_mm + T[:3, 3], rotation @ target.covariance_mm2 @ rotation.T

    def asked(self, T_study_reference: Array | None, tre_mm: float | None) -> AskedTargets | None:
        """The study's open targets as believed in Reference; None without a registration or a target."""
        if T_study_reference is None:
            return None
        wanted = [t for t in self.targets.open if t.origin != UNEXPECTED][:MOST_COMPARED]
        if not wanted:
            return None
        T = invert_rigid(T_study_reference)
        places = np.array([t.position_mm for t in wanted]) @ T[:3, :3].T + T[:3, 3]
        # A predicted error is the RMS in space; the targets' own uncertainty in the study comes on top of it.
        own = float(np.mean([np.trace(t.covariance_mm2) / 3.0 for t in wanted])) / len(wanted)
        registered = REGISTRATION_SD_MM if tre_mm is None else max(tre_mm / np.sqrt(3.0), REGISTRATION_SD_MM)
        return AskedTargets(tuple(t.name for t in wanted), places, float(np.hypot(registered, np.sqrt(own))))

    @property
    def of_study(self) -> tuple[Target, ...]:
        """Those that lie in the study's LPS."""
        return tuple(t for t in self.targets.targets if t.name not in self._found)

    def frame_of(self, name: str) -> str:
        """In which frame the list has a target's place: LPS of the study, or Reference where none was registered."""
        return "Reference" if name in self._found else "LPS"
