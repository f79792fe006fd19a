"""Words of a live case about its registration: landmarks, checks, undo, a shift that is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from navigation.engine.snapshot import Registration
from navigation.engine.tools import STYLUS
from navigation.registration.study import touched_point
from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from navigation.engine.assembly import LiveCase
    from navigation.engine.jobs import Outcome
    from navigation.engine.session import Session

# A touch is where the stylus rested for so long.
REST_S = 0.6
# Where it was longer ago is not where it is: twice the age at which a pose expires on screen.
LATEST_S = 0.5
Do = Callable[..., "Outcome | None"]


class RegistrationWords:
    """Turns words into the engine's commands and says what came of them."""

    def __init__(self, case: LiveCase, do: Do) -> None:
        self.case = case
        self.do = do
        self.words: dict[str, Callable[[list[str]], str]] = {
            "mark": self._mark,
            "unmark": self._unmark,
            "landmark": self._landmark,
            "register": self._register,
            "check-point": self._check_point,
            "undo": self._undo,
            "accept-shift": self._accept_shift,
            "confirm": self._confirm,
        }

    @property
    def _marked(self) -> Mapping[str, Sequence[float]]:
        return {n: [float(v) for v in p] for n, p in self.case.session.registrations.marked.items()}

    def _mark(self, rest: list[str]) -> str:
        """A landmark of the study, for this case: its name and its place in LPS mm."""
        try:
            place = [float(word) for word in rest[-3:]]
        except ValueError:
            place = []
        name = " ".join(rest[:-3])
        if len(place) != 3 or not name or not np.isfinite(place).all():
            raise InputError("expected `mark NAME X Y Z`, the place in the study's LPS mm")
        self.do("mark_landmark", name=name, position_mm=place)
        return f"{name} is marked; {len(self._marked)} landmarks"

    def _unmark(self, rest: list[str]) -> str:
        self.do("mark_landmark", name=" ".join(rest), position_mm=None)
        return f"{' '.join(rest)} is no landmark any more"

    def _landmark(self, rest: list[str]) -> str:
        name = " ".join(rest)
        if name not in self._marked:
            known = ", ".join(self._marked) or "the case names none"
            raise InputError(f"there is no landmark {name!r}; {known}")
        self.do("landmark", name=name, touched_mm=self._touched())
        done = self.case.session.registrations.landmarks
        left = [n for n in self._marked if n not in done]
        return f"{name} touched; {f'next: {left[0]}' if left else 'all touched: `register`'}"

    def _register(self, rest: list[str]) -> str:
        marked = {name: list(place) for name, place in self._marked.items()}
        self.do("register_landmarks", landmarks=marked, by=" ".join(rest))
        return self._state()

    def _check_point(self, rest: list[str]) -> str:
        name, place = self._place_of(rest)
        self.do("check_point", name=name, expected_mm=place, touched_mm=self._touched())
        checks = {c.name: c for c in self.case.session.registrations.checks}
        found = checks[name]
        told = "as predicted" if found.good else "OFF"
        return f"{name}: {found.error_mm:.1f} mm ({told}, {found.bound_mm:.1f} mm allowed); {self._state()}"

    def _place_of(self, rest: list[str]) -> tuple[str, list[float]]:
        """A landmark, a target, or a place of the study in LPS mm."""
        name = " ".join(rest)
        if name in self._marked:
            return name, list(self._marked[name])
        for target in self.case.session.target_desk.targets.targets:
            if target.name == name:
                return name, [float(v) for v in target.position_mm]
        try:
            x, y, z = (float(word) for word in rest)
        except ValueError:
            raise InputError("expected `check-point LANDMARK`, or X Y Z of the study in LPS mm") from None
        return name, [x, y, z]

    def _undo(self, rest: list[str]) -> str:
        self.do("undo_registration", by=" ".join(rest))
        return self._state()

    def _accept_shift(self, rest: list[str]) -> str:
        snapshot, by = self.case.newest, " ".join(rest)
        shift = None if snapshot is None else snapshot.shift
        if shift is None or shift.length_mm is None:
            raise InputError("no shift is proposed")
        T = shift.T_seen_believed.tolist()
        self.do("accept_shift", T_seen_believed=T, registration=shift.registration, scan=shift.scan, by=by)
        return f"corrected by {shift.length_mm:.1f} mm; {self._state()}"

    def _confirm(self, _rest: list[str]) -> str:
        self.do("verify_registration")
        return self._state()

    def _state(self) -> str:
        registration = self.case.session.registration
        return f"registration {registration.id}: {registration.state}"

    def _touched(self) -> list[float]:
        return [float(v) for v in touched_now(self.case.session, self.case.engine.clock())]


def touched_now(session: Session, now_s: float) -> NDArray[np.float64]:
    """The place (3,) in Reference on which the stylus has just rested; `now_s` is Unix time.

    Raises GateRefusedError when it moved, was hardly seen or is not seen any more, InputError without a calibrated
    stylus.
    """
    tip, newest = session.settings.tips.stylus, session.tools.newest_t_s(STYLUS)
    if tip is None:
        raise InputError("the case has no stylus")
    state = session.tools.states(now_s).get("StylusTipToReference")
    age_s = None if state is None else state.age_s
    # After a bump no tool is valid, yet what is touched then says whether the registration still holds.
    if newest is None or age_s is None or age_s > LATEST_S:
        raise GateRefusedError("the stylus is not seen: nothing was touched")
    stamps = session.tools.buffer.chain(STYLUS)[0].frame_times(newest - REST_S, newest)
    poses, _ = session.tools.buffer.tool_in_reference(STYLUS, stamps, tip)
    return touched_point(poses)


def registration_hint(state: Registration, age_s: float | None, minutes: float) -> str | None:
    """What is asked of whoever works with a registration that nobody has checked for long."""
    if state.id == "none" or age_s is None or minutes <= 0.0 or age_s < 60.0 * minutes:
        return None
    return f"the registration was last checked {age_s / 60.0:.0f} min ago: touch known points (`check-point`)"
