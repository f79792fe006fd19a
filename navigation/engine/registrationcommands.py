"""Commands of a live case about its registration: what the session does for each of them.

A touch comes with its place: a record that is played from the middle need not hold the poses that led to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from navigation.engine.jobs import Job
from navigation.engine.snapshot import Registration
from tracking.errors import GateRefusedError, InputError
from tracking.hub import Alarm
from tracking.steady import Moved

if TYPE_CHECKING:
    from navigation.engine.session import Session

Content = dict[str, Any]


class RegistrationCommands:
    """The handlers; the state is the session's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._touched_after: Moved | None = (
            None  # the move of the reference after which landmarks were touched
        )
        self.words: dict[str, Callable[[Content], list[Job]]] = {
            "registration": self._use,
            "undo_registration": self._undo,
            "mark_landmark": self._mark,
            "landmark": self._touch,
            "register_landmarks": self._register,
            "check_point": self._check,
            "accept_shift": self._accept_shift,
            "verify_registration": self._verify,
            "confirm_registration": self._confirm,
        }

    def _use(self, content: Content) -> list[Job]:
        matrix = np.array(content["matrix"], dtype=np.float64)
        found = Registration(str(content["id"]), matrix, content.get("tre_mm"))
        method, by = str(content.get("method", "given")), str(content.get("by", ""))
        self._session.registrations.use(found, method, by, self._session.asked_s)
        return self._taken()

    def _taken(self) -> list[Job]:
        """A new registration holds: where the reference had moved, everything before lies in another frame."""
        session, moved = self._session, self._session.hub.check.moved
        if moved is not None:
            session.leave_frame()
            session.registrations.reference_moved(moved.last_s)
        session.hub.accept_reference()
        return [] if moved is not None else self._changed()

    def _changed(self) -> list[Job]:
        """The scan is begun anew under the registration that holds now; without a study none of it rests on one."""
        session = self._session
        # A scan keeps its registration once the reference has moved.
        if session.study is None or session.hub.check.moved is not None:
            return []
        return session.renew("the registration has changed", registration=session.registration)

    def _undo(self, content: Content) -> list[Job]:
        """An older registration knows nothing of where a reference that has moved is: the bump stays."""
        self._session.registrations.undo(str(content.get("by", "")), self._session.asked_s)
        return self._changed()

    def _mark(self, content: Content) -> list[Job]:
        if self._session.study is None:
            raise InputError("there is no study to mark landmarks in")
        self._session.registrations.mark(content)
        return []

    def _touch(self, content: Content) -> list[Job]:
        self._require_still()
        self._session.registrations.touch(content)
        return []

    def _register(self, content: Content) -> list[Job]:
        self._require_still()
        session = self._session
        targets = [t.position_mm for t in session.target_desk.of_study]
        session.registrations.register(content, session.asked_s, targets)
        return self._taken()

    def _require_still(self) -> None:
        """Landmarks touched before and after a move of the reference fit nothing."""
        desk, moved = self._session.registrations, self._session.hub.check.moved
        if desk.landmarks and self._touched_after is not moved:
            desk.landmarks = {}
            raise GateRefusedError("the reference moved between the landmarks: touch all of them again")
        self._touched_after = moved

    def _check(self, content: Content) -> list[Job]:
        session, moved = self._session, self._session.hub.check.moved
        if moved is not None:
            session.registrations.forget_checks(moved.last_s)
        found = session.registrations.check(content, self._target_places(), session.asked_s)
        if not found.good:
            text = f"{found.name} lies {found.error_mm:.1f} mm from where the registration puts it"
            session.hub.alarms.append(Alarm(session.asked_s, "registration", text))
        return []

    def _target_places(self) -> list[NDArray[np.float64]]:
        """Of the targets that are placed, in Reference."""
        session = self._session
        states = session.target_desk.states(session.registration.T_study_reference, session.frame)
        return [t.position_mm for t in states if t.position_mm is not None]

    def _accept_shift(self, content: Content) -> list[Job]:
        session, scan = self._session, self._session.scans.get(str(content.get("scan")))
        if session.hub.check.moved is not None or (scan is not None and scan.outdated):
            raise GateRefusedError("the shift was found before the reference moved: scan again")
        session.registrations.accept_shift(content, session.asked_s)
        return self._changed()

    def _verify(self, _content: Content) -> list[Job]:
        """As `confirm_registration`, where enough points have been checked for it."""
        session = self._session
        moved = session.hub.check.moved
        if moved is not None:
            session.registrations.forget_checks(moved.last_s)
        if session.registration.id != "none":
            lacking = session.registrations.missing(self._target_places())
            if lacking is not None:
                raise GateRefusedError(f"the registration is not verified: {lacking}")
        return self._hold(verified=session.registration.id != "none")

    def _confirm(self, _content: Content) -> list[Job]:
        return self._hold(verified=False)

    def _hold(self, verified: bool) -> list[Job]:
        """What holds is taken on, whatever has happened; landmarks from before a move of the reference are not."""
        session, moved = self._session, self._session.hub.check.moved
        desk = session.registrations
        if moved is not None:
            desk.reference_moved(moved.last_s)
            session.outdate_scans()
            if self._touched_after is not moved:
                desk.landmarks = {}
        desk.confirm(session.asked_s, verified)
        session.hub.accept_reference()
        self._touched_after = None
        return []
