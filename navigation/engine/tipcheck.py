"""The tip's check in a live case: the tool rests in a divot and is tilted; its poses are judged when that is over.

A tip that lies elsewhere than its calibration says shifts the whole map (H46): until a later check is in order
nothing is said to be absent. State follows from the events alone, so a replay has it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gates import TrackerGates
from calibration.tip.acceptance import DivotCheck, check_divot
from navigation.engine.tipstate import CHECKING, IN_ORDER, UNPROVEN, WRONG, TipState
from navigation.engine.tools import PROBE, STYLUS, Floats, Tips, ToolDesk
from tracking.errors import InputError

# A minute of a fast tracker; a hand is done in ten seconds.
MOST_POSES = 6000
BLOCKED = (
    "the probe's tip is not where its calibration says: check it in the divot again or calibrate it anew"
)
STYLUS_BLOCKED = (
    "the stylus's tip is not where its calibration says, and surface and bed are outlined with it:"
    " check it in the divot again or calibrate it anew, then outline anew"
)


@dataclass(slots=True)
class _UnderWay:
    tool: str
    known_mm: NDArray[np.float64] | None
    poses: list[Floats]
    newest_t_s: float | None


class TipWatch:
    """Takes the poses of one check after the other; `checks` holds the newest of each tool, in its words."""

    def __init__(self, tips: Tips, gates: TrackerGates) -> None:
        self._tips = {PROBE: tips.probe, STYLUS: tips.stylus}
        self._gates = gates
        self.checks: dict[str, DivotCheck] = {}
        self.newest: DivotCheck | None = None  # whatever it proved
        self._checked_s: dict[str, float] = {}
        self._under_way: _UnderWay | None = None

    @property
    def blocked(self) -> str | None:
        """Why nothing may be said to be absent: with the probe it is sought, with the stylus its bed is outlined."""
        words = {PROBE: BLOCKED, STYLUS: STYLUS_BLOCKED}
        wrong = [said for tool, said in words.items() if tool in self.checks and self.checks[tool].wrong]
        return "; ".join(wrong) or None

    def require(self, content: Mapping[str, Any]) -> tuple[str, NDArray[np.float64] | None]:
        """Tool, the probe by default, and known place of a check. Raises InputError for a tool without a tip."""
        tool = str(content.get("tool", PROBE))
        if self._tips.get(tool) is None:
            known = " or ".join(name for name, tip in self._tips.items() if tip is not None)
            raise InputError(f"{tool!r} has no tip to check; {known} has")
        point = content.get("point_mm")
        known_mm = None if point is None else np.array(point, dtype=np.float64)
        if known_mm is not None and (known_mm.shape != (3,) or not np.isfinite(known_mm).all()):
            raise InputError("the divot's place is three numbers, mm in Reference")
        return tool, known_mm

    def begin(self, content: Mapping[str, Any], desk: ToolDesk) -> None:
        """Start a check as `require` takes it."""
        tool, known_mm = self.require(content)
        self._under_way = _UnderWay(tool, known_mm, [], desk.newest_t_s(tool))

    def take(self, desk: ToolDesk) -> None:
        """After each message: the tool's newest pose in Reference, if there is one that was not there before."""
        check = self._under_way
        if check is None or len(check.poses) >= MOST_POSES:
            return
        newest = desk.newest_t_s(check.tool)
        if newest is None or newest == check.newest_t_s:
            return
        check.newest_t_s = newest
        pose = desk.newest(check.tool)
        if pose is not None:
            check.poses.append(pose)

    def end(self, now_s: float) -> str | None:
        """Judge the check under way; the words of an alarm when the tip is wrong. A check that proves nothing
        leaves what an earlier one has found.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return None
        tip = self._tips[under_way.tool]
        assert tip is not None
        poses = np.stack(under_way.poses) if under_way.poses else np.zeros((0, 4, 4))
        self.newest = check = check_divot(poses, tip[:3, 3], under_way.known_mm, self._gates)
        before = self.checks.get(under_way.tool)
        if check.accepted or check.wrong or before is None or not (before.accepted or before.wrong):
            self.checks[under_way.tool] = check
            self._checked_s[under_way.tool] = now_s
        return f"{under_way.tool.lower()} tip: {check.reasons[0]}" if check.wrong else None

    def faults(self) -> list[str]:
        """What must be shown as long as it holds."""
        wrong = [(tool, check) for tool, check in self.checks.items() if check.wrong]
        return [f"{tool.upper()} TIP WRONG: {check.reasons[0]}" for tool, check in wrong]

    def state(self, tool: str = PROBE) -> TipState:
        """For a snapshot."""
        if self._under_way is not None and self._under_way.tool == tool:
            return TipState(CHECKING, poses=len(self._under_way.poses))
        check = self.checks.get(tool)
        if check is None:
            return TipState()
        word = WRONG if check.wrong else IN_ORDER if check.accepted else UNPROVEN
        return TipState(
            word,
            check.rms_mm,
            check.tip_shift_length_mm,
            check.tip_shift_sd_mm,
            self._checked_s[tool],
            check.poses,
            check.reasons[0] if check.reasons else None,
        )
