"""A case that goes on after a crash: the session and its maps come back from the record, nothing is asked twice.

Only what a later answer depends on is played: the scans and outlines with what led up to them, and the last
minute. The map is compared with the digest that the live engine wrote down; full analyses follow when idle.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from navigation.engine import events
from navigation.engine.comparison import NO_RESULT, Key, key_of
from navigation.engine.contamination import SILENT_S, background_s
from navigation.engine.events import EngineEvent
from navigation.engine.imaging import SPOT_READINGS, Imager
from navigation.engine.jobs import AnalyzeJob, BedJob, Job, Outcome, TickJob, result_content
from navigation.engine.session import Session
from navigation.engine.timeddesk import PATIENCE_S
from navigation.schedule import LAST_WORK
from navigation.timed.count import LONGEST_S, seconds_of
from tracking.errors import GammanavError, InputError
from tracking.recording import Event, Record
from tracking.sample import Readings

logger = logging.getLogger(__name__)

# What leads up to a scan: a tracker's interval is judged over 1024 frames, 51 s of a slow one.
LEAD_S = 60.0
# Messages of two sources may be recorded in another order than they arrived, by a few rows.
OVERTAKING_ROWS = 64
# Rows that are always played: all but the messages themselves, and what the engine keeps for others to read.
KEPT_KINDS = (events.LINK, events.COMMAND, events.TICK, events.RESULT, events.RESUME, events.NOTICE)
# Alarms of the inputs after which nothing is as before.
LASTING_ALARMS = ("clock", "bump")
# Messages of a scan that were still on their way when it was stopped.
TAIL_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """What came back: the newest scan's map, whether it is the recorded one (None: no digest to compare
    with), and the analyses that are to be done again when there is time.
    """

    events: int
    outcome: Outcome | None
    same: bool | None
    deferred: tuple[Job, ...]


@dataclass(slots=True)
class _Played:
    """Jobs in their order, and digests of the recorded results."""

    events: int = 0
    ticks: dict[str, list[TickJob]] = field(default_factory=dict)
    later: dict[tuple[str, str], Job] = field(default_factory=dict)
    recorded: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def take(self, job: Job) -> None:
        """Ticks rebuild a scan in order; of each analysis only the last matters."""
        scan = job.basis.scan
        if isinstance(job, TickJob):
            self.ticks.setdefault(scan, []).append(job)
        else:
            self.later[(type(job).__name__, scan)] = job


def restore(record: Record, session: Session, imager: Imager) -> Restored:
    """Bring a fresh session and its reconstructions to where the record ends.

    Raises InputError when the record is damaged or was not written by the engine.
    """
    played = _play(record, session)
    newest = session.current if session.current in played.ticks else None
    outcome, same = None, None
    for scan, ticks in played.ticks.items():
        if scan == newest:
            outcome, same = _rebuilt(ticks, imager, played.recorded)
        else:
            for tick in ticks:
                imager.load(tick)
    order = (AnalyzeJob, BedJob)
    deferred = sorted(played.later.values(), key=lambda job: order.index(type(job)))
    return Restored(played.events, outcome, same, tuple(deferred))


def _play(record: Record, session: Session) -> _Played:
    played = _Played()
    skipped = False
    stretches = [*stretches_of(record.picked(events.COMMAND)), *lasting(record.picked(events.ALARM))]
    for event in needed(record, stretches):
        if event is None:
            skipped = True
            continue
        if skipped and event.kind == events.RAW:
            session.rejoin()
            skipped = False
        played.events += 1
        if event.kind == events.RESULT:
            content = event.content()
            played.recorded[key_of(content)] = {k: v for k, v in content.items() if k not in NO_RESULT}
            continue
        try:
            jobs = session.handle(EngineEvent(event.source, event.arrival_s, event.kind, event.payload))
        except GammanavError:
            continue  # it was refused then, too
        for job in jobs:
            played.take(job)
    return played


def _rebuilt(
    ticks: list[TickJob], imager: Imager, recorded: dict[Key, dict[str, Any]]
) -> tuple[Outcome | None, bool | None]:
    """The newest map, or none where it cannot be made: the case goes on, and its next tick tells why."""
    try:
        return _rebuild(ticks, imager, recorded)
    except Exception:  # as live, where a tick that fails ends nothing
        logger.exception("the map of %s cannot be brought back", ticks[-1].basis.scan)
        return None, None


def _rebuild(
    ticks: list[TickJob], imager: Imager, recorded: dict[Key, dict[str, Any]]
) -> tuple[Outcome, bool | None]:
    """The map at the newest tick whose digest is known, then the readings that came after it."""
    if ticks[-1].work is not None:
        return _begun_anew(ticks, imager, recorded)
    known = [i for i, tick in enumerate(ticks) if ("TickJob", tick.basis.scan, tick.tick) in recorded]
    last = known[-1] if known else len(ticks) - 1
    foci = _sought_last(ticks[:last], recorded)
    for i, tick in enumerate(ticks[:last]):
        if i == foci:
            imager.run(tick)
        else:
            imager.load(tick)
    outcome = imager.run(ticks[last])
    same = outcome.digest == recorded[key_of(result_content(outcome))] if known else None
    for tick in ticks[last + 1 :]:
        imager.run(tick)  # their results were lost on the way to the record; a replay has them
    return outcome, same


def _begun_anew(
    ticks: list[TickJob], imager: Imager, recorded: dict[Key, dict[str, Any]]
) -> tuple[Outcome, bool | None]:
    """The map of all readings from scratch: what the hand waits for, instead of every tick of the scan once more.

    Readings are compared instead of maps, those of the newest tick whose digest is known. The session begins the scan
    anew in the same way, so that a replay of the record does so, too.
    """
    same = None
    for tick in ticks:
        imager.load(tick)
        known = recorded.get(("TickJob", tick.basis.scan, tick.tick))
        if known is not None:
            same = known.get("input") == imager.input_digest(tick.basis.scan)
    shown = replace(ticks[-1], batch=Readings.empty(), work=LAST_WORK)
    return imager.run(shown), same


def _sought_last(ticks: list[TickJob], recorded: dict[Key, dict[str, Any]]) -> int | None:
    """Which of the ticks was the last that sought foci: the next ones follow from its number of readings."""
    since, found = -SPOT_READINGS, None
    for i, tick in enumerate(ticks):
        digest = recorded.get(("TickJob", tick.basis.scan, tick.tick), {})
        if "map" in digest and digest["readings"] - since >= SPOT_READINGS:
            since, found = digest["readings"], i
    return found


def stretches_of(commands: Iterable[Event]) -> list[tuple[float, float]]:
    """Times of arrival [from, to] of the messages that scans, sweeps, outlines and counts depend on."""
    found: list[tuple[float, float]] = []
    began_s: float | None = None
    for event in commands:
        what = event.content().get("do")
        if what == "background":
            with suppress(InputError):  # it was refused then, too
                lasted_s = background_s(event.content()) + SILENT_S
                found.append((event.arrival_s - LEAD_S, event.arrival_s + lasted_s))
        if what == "count":
            with suppress(InputError):
                lasted_s = seconds_of(event.content(), LONGEST_S) + PATIENCE_S + TAIL_S
                found.append((event.arrival_s - LEAD_S, event.arrival_s + lasted_s))
        if what not in ("start", "stop"):
            continue
        if began_s is not None:
            found.append((began_s - LEAD_S, event.arrival_s + TAIL_S))
        began_s = event.arrival_s if what == "start" else None
    if began_s is not None:
        found.append((began_s - LEAD_S, float("inf")))
    return found


def lasting(alarms: Iterable[Event]) -> list[tuple[float, float]]:
    """Times of arrival round what changes all that follows: a source's clock set, the reference bumped."""
    return [
        (event.arrival_s - LEAD_S, event.arrival_s + TAIL_S)
        for event in alarms
        if event.content().get("alarm") in LASTING_ALARMS
    ]


def needed(record: Record, stretches: list[tuple[float, float]]) -> Iterator[Event | None]:
    """Every event but the messages outside the stretches and the last minute; None where some were left out.

    What is left out is not read either: a day's record is not gone through to bring back its last hour.
    """
    orders = deque(record.picked(*KEPT_KINDS))
    at = 1
    for first, last in rows_of(record, stretches):
        if first > at:
            yield None
        while orders and orders[0].id < first:
            yield orders.popleft()
        for event, _ in record.walk(first):
            if event.id > last:
                break
            yield event
        at = last + 1
        while orders and orders[0].id < at:
            orders.popleft()
    yield from orders


def rows_of(record: Record, stretches: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """The stretches and the last minute as rows [first, last] that do not overlap, in order."""
    end = record.last_row
    wanted = sorted([*stretches, (record.last_arrival_s - LEAD_S, float("inf"))])
    merged: list[tuple[int, int]] = []
    for low_s, high_s in wanted:
        first = max(1, record.row_at(low_s) - OVERTAKING_ROWS)
        last = min(end, record.row_at(high_s) + OVERTAKING_ROWS)
        if merged and first <= merged[-1][1] + 1:
            first, last = merged[-1][0], max(last, merged.pop()[1])
        if first <= last:
            merged.append((first, last))
    return merged
