"""Timed counts of a live case: begun by a pedal or a word, ended by the counter's own live time, never by a clock.

State follows from the events alone, so a replay has every count with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from calibration.counter.deadtime import NO_DEAD_TIME
from calibration.physics.nuclide import nuclide
from navigation.engine.jobs import Job
from navigation.engine.saturated import SaturationWatch, dead_time_in
from navigation.engine.timedstate import RunningCount, TimedState
from navigation.engine.timedtaking import Taking
from navigation.timed.count import BACKGROUND, SPECIMEN, TimedCount, kind_of, seconds_of
from tracking.counts import CountInterval
from tracking.errors import GateRefusedError, InputError
from tracking.hub import Alarm

if TYPE_CHECKING:
    from navigation.engine.session import Session

# A count whose counter falls silent is given up so long after it should have ended: a counter that reports once a
# second needs two of its intervals more, and a pause of the link of some seconds is no end.
PATIENCE_S = 10.0
# So many half-lives from its reference time nothing is left that a rate could be stated of.
MOST_HALF_LIVES = 10.0
# A dead time of 10 us loses a hundredth of the events at this rate: from here on it matters that it is not known.
UNCORRECTED_CPS = 1000.0
# Longer names are no names.
LONGEST_NAME = 40
PROBE_TIP = "ProbeTipToReference"
ALARM = "count"


class TimedDesk:
    """The counts of a session; `words` are its commands."""

    def __init__(self, session: Session) -> None:
        self.counts: tuple[TimedCount, ...] = ()
        self.words: dict[str, Callable[[dict[str, Any]], list[Job]]] = {
            "count": self._begin,
            "cancel_count": self._cancel,
            "void_count": self._void,
            "count_against": self._choose,
        }
        self.reference_s = session.settings.epoch_s  # Unix: rates are those of this moment
        self._any_taken = False
        self._session = session
        self._saturation = SaturationWatch()
        self._taking: Taking | None = None
        self._live_before_s: float | None = None

    @property
    def counting(self) -> bool:
        """Whether a count is under way."""
        return self._taking is not None

    def require_idle(self) -> None:
        """Raise InputError while a count is under way: the probe can be held at one place only."""
        if self._taking is not None:
            raise InputError(f"{self._taking.count.label} is being counted: wait, or cancel it")

    def state(self) -> TimedState:
        """For a snapshot."""
        taking = self._taking
        if taking is None:
            return TimedState(self.counts)
        counts, wanted = sum(i.counts for i in taking.intervals), taking.count.wanted_s
        return TimedState(
            self.counts, RunningCount(taking.count.label, counts, min(taking.live_s, wanted), wanted)
        )

    def hints(self) -> list[str]:
        """The count under way, for whoever holds the probe."""
        running = self.state().running
        if running is None:
            return []
        so_far = f"{running.counted_s:.0f} of {running.wanted_s:.0f} s"
        return [f"counting {running.label}: {so_far}, hold the probe still"]

    def take(self, settled: Sequence[CountInterval], arrival_s: float) -> None:
        """Counting intervals as they settle; none with every other message."""
        before, last = self._live_before_s, self._session.counts.last
        self._live_before_s = None if last is None else last.live_time_s
        taking = self._taking
        if taking is None:
            return
        wrong = self._session.foreign or _broken(taking, arrival_s)
        if wrong is not None:
            self._end(taking, arrival_s, wrong)
        elif settled and taking.add(settled, before):
            self._look(taking, arrival_s)
            if taking.complete:
                self._end(taking, arrival_s)

    def interrupt(self, arrival_s: float) -> None:
        """The case went on after a crash: nobody knows what the counter saw meanwhile."""
        if self._taking is not None:
            self._end(self._taking, arrival_s, "the case was interrupted while it went on")

    def _look(self, taking: Taking, arrival_s: float) -> None:
        """At what is known beside the counts: saturation, and where the probe is."""
        session = self._session
        taking.saturated |= self._saturation.look(
            session.counts.last, session.calibration, session.settings.dead_time_s
        )
        tip = session.tools.states(arrival_s).get(PROBE_TIP)
        if tip is not None and tip.valid and tip.matrix is not None:
            taking.places.append(tip.matrix[:3, 3])

    def _end(self, taking: Taking, arrival_s: float, failed: str | None = None) -> None:
        """Keep the count, as it is."""
        self._taking = None
        settings = self._session.settings
        dead = dead_time_in(self._session.calibration, settings.dead_time_s)
        told = self._look_at_reference(taking)
        made = taking.finished(dead, settings.nuclide, self.reference_s, failed)
        if made.recorded_cps > UNCORRECTED_CPS and not (self._dead_time_known or taking.corrects_itself):
            told += ("no dead time is known: not corrected for it",)
        if self._session.background.blocked is not None:
            told += (self._session.background.blocked,)
        self.counts = (*self.counts, replace(made, marks=(*made.marks, *told)))
        if failed is not None:
            text = f"count {made.id} ({made.label}) is none: {failed}"
            self._session.hub.alarms.append(Alarm(arrival_s, ALARM, text))

    @property
    def _dead_time_known(self) -> bool:
        known = (self._session.calibration or {}).get("dead_time_s")
        return self._session.settings.dead_time_s is not None or known is not None

    def _look_at_reference(self, taking: Taking) -> tuple[str, ...]:
        """A reference time that is out of reach gives way to the first count; told with every count."""
        settings = self._session.settings
        if not taking.intervals:
            return ()
        start_s, half_life_s = taking.start_s, nuclide(settings.nuclide).half_life_s
        if not self._any_taken and abs(start_s - settings.epoch_s) > MOST_HALF_LIVES * half_life_s:
            self.reference_s = start_s
        self._any_taken = True
        if self.reference_s == settings.epoch_s:
            return ()
        away = abs(self.reference_s - settings.epoch_s) / half_life_s
        return (
            f"the case's reference time is {away:.0f} half-lives away: rates are those of the first count's",
        )

    def _begin(self, content: dict[str, Any]) -> list[Job]:
        session = self._session
        kind, seconds = kind_of(content["kind"]), seconds_of(content, session.settings.count_s)
        self.require_idle()
        if session.background.counting:
            raise InputError("a background check is under way, with the probe held away")
        if session.foreign is not None:
            raise GateRefusedError(session.foreign)
        asked_s = session.asked_s
        count = TimedCount(
            len(self.counts) + 1,
            kind,
            _name(content.get("name")),
            0.0,
            0.0,
            seconds,
            asked_s,
            asked_s,
            NO_DEAD_TIME,
            specimen=self._number(content.get("specimen"), kind),
            against=self._background(content.get("against"), kind),
        )
        self._taking = Taking(count, asked_s, session.counts, session.latency.count_latency_s)
        return []

    def _cancel(self, _content: dict[str, Any]) -> list[Job]:
        if self._taking is None:
            raise InputError("nothing is being counted")
        self._taking = None
        return []

    def _void(self, content: dict[str, Any]) -> list[Job]:
        found = self._one(content["id"])
        self._put(found.with_void(_words(content.get("reason")), _words(content.get("by"))))
        return []

    def _choose(self, content: dict[str, Any]) -> list[Job]:
        """Another background for a count; None: the rule decides again."""
        found = self._one(content["id"])
        self._put(replace(found, against=self._background(content.get("background"), found.kind)))
        return []

    def _background(self, value: object, kind: str) -> int | None:
        if value is None:
            return None
        found = self._one(value)
        if kind == BACKGROUND:
            raise InputError("a background is compared with none")
        if found.kind != BACKGROUND or not found.usable:
            raise InputError(f"count {found.id} ({found.label}) is no background that can be used")
        return found.id

    def _number(self, value: object, kind: str) -> int | None:
        """The specimen's number, by default the next. Raises InputError for none, or one of something else."""
        if kind != SPECIMEN:
            if value is not None:
                raise InputError(f"only a {SPECIMEN} has a number")
            return None
        if value is None:
            return 1 + max((c.specimen or 0 for c in self.counts), default=0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"a {SPECIMEN} has a number from 1 on, not {value!r}")
        return value

    def _one(self, value: object) -> TimedCount:
        for count in self.counts:
            if count.id == value and not isinstance(value, bool):
                return count
        raise InputError(f"there is no count {value!r}")

    def _put(self, count: TimedCount) -> None:
        self.counts = tuple(count if c.id == count.id else c for c in self.counts)


def _broken(taking: Taking, arrival_s: float) -> str | None:
    """Why the count can be no count any more."""
    wanted_s = taking.count.wanted_s
    if taking.restarted:
        return "the counter has restarted while it went on"
    if arrival_s - taking.asked_s > wanted_s + PATIENCE_S:
        return f"the counter was silent: {taking.live_s:.1f} of {wanted_s:g} s were counted in time"
    return None


def _words(value: object) -> str:
    return " ".join(str(value or "").split())


def _name(value: object) -> str:
    """Raises InputError for a name that cannot be shown."""
    name = _words(value)
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"a name has at most {LONGEST_NAME} letters")
    return name
