"""Words of a live case about its targets: what a console takes, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navigation.engine.snapshot import Snapshot
from navigation.engine.targetdesk import TargetState
from navigation.targets import OUTCOMES
from tracking.errors import InputError

USAGE = 'target [add SPOT NAME | end NAME found|"not found"|removed|left BY REASON...]'


def target_command(words: Sequence[str], snapshot: Snapshot | None) -> tuple[str, dict[str, Any]]:
    """The command of the engine and its content. Raises InputError for words that are none."""
    if len(words) >= 3 and words[0] == "add":
        return "target_add", _of_spot(words[1], " ".join(words[2:]), snapshot)
    if len(words) >= 5 and words[0] == "end":
        name, outcome, by, *reason = words[1:]
        if outcome not in OUTCOMES:
            raise InputError(f"{outcome!r} is none of {', '.join(OUTCOMES)}")
        return "target_end", {"target": name, "outcome": outcome, "by": by, "reason": " ".join(reason)}
    raise InputError(f"expected `{USAGE}`")


def _of_spot(number: str, name: str, snapshot: Snapshot | None) -> dict[str, Any]:
    spots = () if snapshot is None else snapshot.spots
    spot = next((s for s in spots if str(s.id) == number), None)
    if spot is None:
        known = ", ".join(str(s.id) for s in spots) or "none"
        raise InputError(f"there is no focus {number!r} on the map; there are: {known}")
    return {
        "name": name,
        "position_mm": spot.position_mm.tolist(),
        "covariance_mm2": spot.covariance_mm2.tolist(),
        "activity_kbq": spot.activity_kbq,
    }


def targets_words(snapshot: Snapshot | None) -> str:
    """The list, one line a target."""
    if snapshot is None or not snapshot.targets:
        return "no target is on the list"
    return "\n".join(_line(t) for t in snapshot.targets)


def _line(target: TargetState) -> str:
    place = "not placed"
    if target.position_mm is not None:
        x, y, z = target.position_mm
        place = f"({x:.1f}, {y:.1f}, {z:.1f}) mm in Reference"
    label = "" if target.label is None else f", {target.label}"
    note = f", {target.note}" if target.note else ""
    return f"  {target.name}: {place}{label}{note}; {target.words}"
