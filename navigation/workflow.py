"""The steps of a case in the operating room: what each still lacks, and which of them may be begun.

A gate refuses with its reason and nothing else; what is open in one step never hides another. Pure: one snapshot in,
nine steps out, the same for the window, for Slicer and for whoever reads the record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from navigation.engine.snapshot import Snapshot
from navigation.engine.tipstate import IN_ORDER, WRONG
from navigation.workflowsteps import (
    CALIBRATION,
    CHECK_BED,
    DEVICES,
    NAVIGATE,
    REGISTRATION,
    REPORT,
    RESECT,
    SCAN,
    STUDY,
    TITLES,
)
from tracking.igtl import names

# A step is done, can be done now with or without something open, or is refused.
DONE, READY, REFUSED = "done", "ready", "refused"
SCANNING = "scan"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `refused` says why it cannot be begun, `open` what it lacks without being refused for it."""

    key: str
    done: bool
    refused: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """In a word: what is refused is never done."""
        return REFUSED if self.refused else DONE if self.done else READY

    def to_json(self) -> dict[str, Any]:
        """As viewers read it."""
        return {
            "key": self.key,
            "title": TITLES[self.key],
            "state": self.state,
            "refused": list(self.refused),
            "open": list(self.open),
        }


def steps(snapshot: Snapshot) -> tuple[Step, ...]:
    """All steps in their order."""
    makers: tuple[Callable[[Snapshot], Step], ...] = (
        _study,
        _devices,
        _calibration,
        _registration,
        _scan,
        _navigate,
        _resect,
        _check_bed,
        _report,
    )
    return tuple(make(snapshot) for make in makers)


def current(found: tuple[Step, ...]) -> str:
    """Where the case is: the first step that is neither done nor refused, else the last one that is done."""
    ready = [s.key for s in found if s.state == READY and s.key != STUDY]
    done = [s.key for s in found if s.done]
    return ready[0] if ready else done[-1] if done else STUDY


def _study(now: Snapshot) -> Step:
    if now.study_id == "none":
        return Step(STUDY, False, open=("no study: the map is shown without anatomy",))
    lacking = () if now.targets else ("no target on the list",)
    return Step(STUDY, True, open=lacking)


def _devices(now: Snapshot) -> Step:
    lost = [name for name, s in now.sources.items() if not s.connected]
    found = [f"{name} is not connected" for name in lost]
    if not lost and not now.counts.fresh:
        found.append("no counts come")
    if not now.tracked:
        found.append("no tracker: timed counts only")
    elif not any(t.valid for t in now.tools.values() if t.name == names.PROBE_TIP_TO_REFERENCE):
        found.append("the probe is not seen")
    return Step(DEVICES, not found, open=tuple(found))


def _calibration(now: Snapshot) -> Step:
    if now.calibration_id == "none":
        return Step(CALIBRATION, False, open=("no detector calibration: counts have no place and no kBq",))
    found = []
    if now.calibration_state == "draft":
        found.append("the calibration is a draft: nobody has approved it")
    if now.tip_check.state != IN_ORDER:
        found.append(f"the probe's tip is {now.tip_check.words}")
    if now.background.rate_cps is None:
        found.append("the background was not counted")
    if not now.latency.determined:
        found.append("the latency of the counts is not determined")
    bad = now.tip_check.state == WRONG or now.background.risen
    return Step(CALIBRATION, not bad and now.tip_check.state == IN_ORDER, open=tuple(found))


def _registration(now: Snapshot) -> Step:
    registration = now.registration
    if now.study_id == "none":
        return Step(
            REGISTRATION, registration.id != "none", open=("no study: there is nothing to register to",)
        )
    if registration.id == "none":
        return Step(REGISTRATION, False, open=_landmarks_open(now))
    if registration.doubt is not None or registration.unverified:
        return Step(REGISTRATION, False, open=(f"the registration is {registration.state}",))
    lacking = () if registration.verified else ("no known point was touched since: check three",)
    return Step(REGISTRATION, True, open=lacking)


def _landmarks_open(now: Snapshot) -> tuple[str, ...]:
    if not now.landmarks:
        return ("the patient is not registered, and the case names no landmark",)
    left = [mark.name for mark in now.landmarks if not mark.touched]
    if left:
        return (
            f"touch {left[0]}: {len(now.landmarks) - len(left)} of {len(now.landmarks)} landmarks touched",
        )
    return ("all landmarks are touched: register",)


def _needed_to_scan(now: Snapshot) -> tuple[str, ...]:
    """Without these a scan is a waste of time: nothing of it could be placed."""
    found = []
    if not now.tracked:
        found.append("no tracker: timed counts only")
    if now.calibration_id == "none":
        found.append("no detector calibration")
    if now.tip_check.state == WRONG:
        found.append("the probe's tip is WRONG: calibrate it")
    return tuple(found)


def _scan(now: Snapshot) -> Step:
    found = []
    if not now.surface_points:
        found.append("no surface was touched: it is guessed from the probe's path")
    if now.registration.id == "none":
        found.append("not registered: the map stands without the study")
    return Step(SCAN, now.map is not None and now.map_final, _needed_to_scan(now), tuple(found))


def _no_map(now: Snapshot) -> tuple[str, ...]:
    if now.map is not None:
        return ()
    return (now.map_locked or now.recomputing or "there is no map: scan first",)


def _navigate(now: Snapshot) -> Step:
    refused = () if any(t.position_mm is not None for t in now.targets) else _no_map(now)
    lacking = () if now.navigation is not None else ("nothing is selected",)
    return Step(NAVIGATE, bool(now.removals), refused, lacking)


def _resect(now: Snapshot) -> Step:
    found = [f"{t.name} has no end" for t in now.targets if t.open]
    if not now.removals:
        found.append("nothing is marked as removed")
    return Step(RESECT, bool(now.removals) and len(found) == 0, open=tuple(found))


def _check_bed(now: Snapshot) -> Step:
    found = [] if now.bed_points else ["the bed is not outlined"]
    if now.coverage is not None and not now.coverage.reached:
        found.append("the bed is not covered yet")
    refused = (*_needed_to_scan(now), *(() if now.mode == SCANNING else _no_map(now)))
    return Step(CHECK_BED, now.bed_check is not None, refused, tuple(found))


def _report(now: Snapshot) -> Step:
    counted = bool(now.timed.counts)
    found = []
    if now.map is None and not counted:
        found.append("nothing was scanned or counted yet")
    if now.mode == SCANNING:
        found.append("a scan goes on: stop it first")
    open_ends = [t.name for t in now.targets if t.open]
    if open_ends:
        found.append(f"without an end: {', '.join(open_ends)}")
    if now.recorder.fault is not None or now.recorder.lost:
        found.append("the record is not whole")
    return Step(REPORT, False, open=tuple(found))
