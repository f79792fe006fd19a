"""The registrations of a case: every one that was taken, what has been checked of it since, and how old that is.

Part of the session: its state follows from the commands alone. An entry is never changed; undoing one is an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navigation.engine.snapshot import RAS_FROM_LPS, Registration
from navigation.registration.activityfile import CORRECTED
from navigation.registration.landmarks import registration_id
from navigation.registration.study import predicted_mm, register_study, study_registration
from tracking.errors import GateRefusedError, InputError
from tracking.transform import invert_rigid

Array = NDArray[np.float64]

# A registration is as verified as navigation systems ask for: three checked points, off a line, one near the target.
FEWEST_CHECKS, NEAR_TARGET_MM = 3, 50.0
# Second over first spread of the checked points; below it the rotation about their line is unchecked.
LEAST_SPREAD_RATIO = 0.1
# Second spread itself: a touch errs by millimetres, and points closer together than that tell no turn.
LEAST_SPREAD_MM = 10.0
# The 95 % quantile of an error over its RMS in space, equal in all directions: sqrt(7.815 / 3).
BOUND_OVER_RMS = 1.614
# A touch on skin is right to this (95 %); it comes on top of what was predicted.
TOUCH_MM = 3.0
# What is allowed where no error was predicted: a landmark registration's gate on its residuals.
UNPREDICTED_MM = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class PointCheck:
    """A known place of the study that was touched: both in Reference, mm, the distance and what is allowed."""

    name: str
    expected_mm: Array
    touched_mm: Array
    error_mm: float
    bound_mm: float
    t_s: float

    @property
    def good(self) -> bool:
        """Within what the registration predicts."""
        return self.error_mm <= self.bound_mm


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One registration as it was taken, at `t_s` (Unix), and by which method."""

    number: int
    registration: Registration
    method: str
    by: str
    t_s: float | None  # None: before the case began
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """One entry of registrations.json."""
        T = self.registration.T_study_reference
        return {
            "number": self.number,
            "id": self.registration.id,
            "method": self.method,
            "by": self.by,
            "t_s": self.t_s,
            "note": self.note,
            "tre_mm": self.registration.tre_mm,
            "T_study_reference": None if T is None else T.tolist(),
        }


class RegistrationDesk:
    """Which registration holds, and what is known of it."""

    def __init__(
        self, first: Registration, marked: Mapping[str, tuple[float, float, float]] | None = None
    ) -> None:
        self.marked = {n: _point(p, n) for n, p in (marked or {}).items()}  # landmarks of the study, LPS mm
        self.entries: tuple[Entry, ...] = ()
        self.checks: tuple[PointCheck, ...] = ()  # since it was taken, restored or doubted
        self.landmarks: dict[str, Array] = {}  # touched, in Reference
        self.checked_s: float | None = None
        self._now = first
        self._doubt: str | None = None
        self._verified = False
        self._standing: set[str] = (
            set()
        )  # ids: neither a crash nor a bump came since, no checked point was off
        if first.id != "none":
            self.entries = (Entry(1, first, "file", "", None, "of the case file"),)
            self._standing.add(first.id)

    @property
    def current(self) -> Registration:
        """The one that holds, with what is known of it."""
        return replace(
            self._now,
            doubt=self._doubt,
            verified=self._verified,
            checked_s=self.checked_s,
            checks=len(self._good),
        )

    @property
    def _good(self) -> tuple[PointCheck, ...]:
        return tuple(c for c in self.checks if c.good)

    def use(self, registration: Registration, method: str, by: str, t_s: float, note: str = "") -> None:
        """Another registration holds from now on."""
        self.entries = (*self.entries, Entry(len(self.entries) + 1, registration, method, by, t_s, note))
        self._now, self.checked_s = registration, t_s
        if not registration.restored:
            self._standing.add(registration.id)
        self._anew()
        self.landmarks = {}

    def _anew(self) -> None:
        self.checks, self._doubt, self._verified = (), None, False

    def undo(self, by: str, t_s: float) -> None:
        """Back to the registration before the one that holds, as old as it is. Raises InputError where there was none.

        What was unverified or in doubt stays unverified: neither a crash nor a slipped reference is undone by a word.
        Nor does one come back as good that was left before a crash or before the reference moved.
        """
        held = [e for e in self.entries if e.registration.id == self._now.id]
        before = [e for e in self.entries if held and e.number < held[0].number]
        if not before:
            raise InputError("there was no registration before this one")
        last = before[-1]
        note = f"back to number {last.number}"
        doubtful = self._open or last.registration.id not in self._standing
        self.use(replace(last.registration, restored=doubtful), "undo", by, t_s, note)
        self.checked_s = last.t_s

    @property
    def _open(self) -> bool:
        """Whether points have yet to be touched before what holds is believed."""
        return self._now.restored or self._doubt is not None

    def restore(self) -> None:
        """After a crash nobody has seen whether the patient stayed where they were."""
        self._now = replace(self._now, restored=True)
        self.checks, self._verified, self.landmarks = (), False, {}
        self._standing.clear()

    def confirm(self, t_s: float, verified: bool = False) -> None:
        """Somebody takes it upon them that it still holds, or enough checked points say so."""
        self._now = replace(self._now, restored=False)
        self._doubt, self.checked_s = None, t_s
        self._verified = self._verified or verified
        self._standing.add(self._now.id)

    def forget_checks(self, until_s: float) -> None:
        """What was touched before the reference moved says nothing of where it is now."""
        self.checks = tuple(c for c in self.checks if c.t_s > until_s)

    def reference_moved(self, since_s: float) -> None:
        """The reference has another place from now on: only what holds now and was touched since says anything."""
        self.forget_checks(since_s)
        self._verified = False
        self._standing &= {self._now.id}

    def mark(self, content: dict[str, Any]) -> None:
        """A landmark of the study, `position_mm` in LPS; None takes it away. Raises InputError for one that is none."""
        name = str(content["name"]).strip()
        if not name:
            raise InputError("a landmark needs a name")
        if content["position_mm"] is not None:
            self.marked[name] = _point(content["position_mm"], name)
        elif self.marked.pop(name, None) is None:
            raise InputError(f"there is no landmark {name!r}")
        # What was touched was touched for the place as it was marked then.
        self.landmarks.pop(name, None)

    def touch(self, content: dict[str, Any]) -> None:
        """A landmark that the stylus rests on, `touched_mm` in Reference; a second touch replaces the first."""
        self.landmarks[str(content["name"])] = _point(content["touched_mm"], "touched_mm")

    def register(self, content: dict[str, Any], t_s: float, targets_lps_mm: list[Array]) -> None:
        """Fit what was touched to the `landmarks` of the study, names to places in LPS; the error is that at targets.

        Raises GateRefusedError when a gate refuses it; then the one before still holds.
        """
        marked = {str(n): _point(p, n) for n, p in dict(content["landmarks"]).items()}
        names = tuple(n for n in marked if n in self.landmarks)
        if not names:
            raise GateRefusedError("no landmark was touched")
        places = [marked[n] for n in names], [self.landmarks[n] for n in names]
        result = register_study(*places, names, targets_lps_mm)
        found = study_registration(result)
        registration = Registration(found.id, found.T_ras_reference, predicted_mm(result))
        self.use(registration, "landmarks", str(content.get("by", "")), t_s, f"{len(names)} landmarks")

    def accept_shift(self, content: dict[str, Any], t_s: float) -> None:
        """Correct the registration by a shift that the activity proposes; somebody has to say so.

        `T_seen_believed` (4, 4) moves places of Reference as believed to where they are seen; `registration` is the
        id under which it was found. What was unverified stays so. Raises InputError where another one holds.
        """
        T, by = self._now.T_study_reference, str(content.get("by", "")).strip()
        if T is None or content["registration"] != self._now.id:
            raise InputError("this shift was found under another registration")
        if not by:
            raise InputError("somebody has to confirm a shift: by is missing")
        shift = np.array(content["T_seen_believed"], dtype=np.float64)
        corrected = T @ invert_rigid(shift)
        tre = content.get("tre_mm")
        matrix = RAS_FROM_LPS @ corrected
        known = None if tre is None else float(tre)
        registration = Registration(registration_id(corrected), matrix, known, restored=self._open)
        self.use(registration, CORRECTED, by, t_s, f"was {self._now.id}")

    def check(self, content: dict[str, Any], targets_mm: list[Array], t_s: float) -> PointCheck:
        """Compare a place of the study, `expected_mm` in LPS, with where the stylus touched it in Reference.

        `targets_mm` lie in Reference. Enough good checks verify the registration, a bad one makes it doubtful. Raises
        InputError without a registration.
        """
        T = self._now.T_study_reference
        if T is None:
            raise InputError("there is no registration to be checked")
        back = invert_rigid(T)
        expected = back[:3, :3] @ _point(content["expected_mm"], "expected_mm") + back[:3, 3]
        touched = _point(content["touched_mm"], "touched_mm")
        error = float(np.linalg.norm(touched - expected))
        found = PointCheck(str(content["name"]), expected, touched, error, self.bound_mm, t_s)
        self.checks = (*(c for c in self.checks if c.name != found.name), found)
        if not found.good:
            allowed = f"{self.bound_mm:.1f} mm allowed"
            self._doubt = f"{found.name} lies {error:.1f} mm from where the study has it, {allowed}"
            self._verified = False
            self._standing.discard(self._now.id)
        else:
            self.checked_s = t_s
            if self.missing(targets_mm) is None:
                self._now, self._doubt, self._verified = replace(self._now, restored=False), None, True
                self._standing.add(self._now.id)
        return found

    @property
    def bound_mm(self) -> float:
        """What a check may be off (95 %): the predicted error and the touch together."""
        tre = self._now.tre_mm
        return float(np.hypot(UNPREDICTED_MM if tre is None else BOUND_OVER_RMS * tre, TOUCH_MM))

    def missing(self, targets_mm: list[Array]) -> str | None:
        """What a verification still lacks; None when nothing does. Targets (3,) lie in Reference."""
        bad = [c.name for c in self.checks if not c.good]
        if bad:
            return f"{', '.join(bad)} is off: touch it again, or register anew"
        good = self._good
        if len(good) < FEWEST_CHECKS:
            return f"{len(good)} of {FEWEST_CHECKS} points were checked"
        points = np.array([c.expected_mm for c in good])
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[1] < LEAST_SPREAD_RATIO * spread[0]:
            return "the checked points lie on a line: check one beside it"
        if spread[1] < LEAST_SPREAD_MM:
            return "the checked points lie too close together: check one further away"
        near = [np.linalg.norm(points - t, axis=1).min() for t in targets_mm]
        if near and min(near) > NEAR_TARGET_MM:
            return f"no checked point lies within {NEAR_TARGET_MM:.0f} mm of a target"
        return None

    def to_json(self) -> dict[str, Any]:
        """registrations.json."""
        return {
            "registrations": [e.as_json() for e in self.entries],
            "state": self.current.state,
            "checks": [
                {
                    "name": c.name,
                    "expected_mm": c.expected_mm.tolist(),
                    "touched_mm": c.touched_mm.tolist(),
                    "error_mm": c.error_mm,
                    "bound_mm": c.bound_mm,
                    "t_s": c.t_s,
                }
                for c in self.checks
            ],
        }


def _point(value: Any, name: str) -> Array:
    point = np.array(value, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise InputError(f"{name}: {value!r} is no place")
    return point
