"""The tracked tools: where probe, stylus and reference are, how old that is, and what was refused.

Poses go into the transform buffer only after the checks of the buffer itself; nothing is ever extrapolated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from navigation.engine.snapshot import POSE_EXPIRY_INTERVALS, POSE_EXPIRY_S, ToolState
from tracking.buffer import TransformBuffer
from tracking.sample import PoseSample, PoseStatus

PROBE, STYLUS = "Probe", "Stylus"


@dataclass(frozen=True, slots=True, eq=False)
class Tips:
    """`T_tool_tip` (4, 4) of the probe's face and of the stylus: tip frame into the marker's, mm."""

    probe: NDArray[np.float64]
    stylus: NDArray[np.float64] | None = None


class ToolDesk:
    """Newest and past poses of every tool in Reference; times are the tracker's stamps except `arrival_s`."""

    def __init__(self, tips: Tips) -> None:
        self.tips = tips
        self.buffer = TransformBuffer()
        self.refused: Counter[str] = Counter()
        self.stamps: dict[str, list[float]] = {}
        self._arrival: dict[str, float] = {}
        self._status: dict[str, PoseStatus] = {}
        self._count: Counter[str] = Counter()

    def add(self, sample: PoseSample, arrival_s: float) -> bool:
        """Take one pose; False when it was refused and only its stamp is kept."""
        self._status[sample.name] = sample.status
        stamps = self.stamps.setdefault(sample.name, [])
        if not stamps or sample.t_s > stamps[-1]:
            stamps.append(sample.t_s)
        if not self.buffer.add(sample):
            self.refused[sample.name] += 1
            return False
        self._arrival[sample.name] = arrival_s
        self._count[sample.name] += 1
        return True

    def newest_t_s(self, tool: str) -> float | None:
        """Stamp up to which the tool's pose in Reference is known; None before the first."""
        times = [track.newest_t_s for track in self.buffer.chain(tool) if track is not None]
        known = [t for t in times if t is not None]
        return min(known) if len(known) == len(times) else None

    def poses(
        self, tool: str, t_s: NDArray[np.float64], T_tool_tip: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(n, 4, 4) `T_reference_tip` at the stamps (n,), and which of them are valid."""
        return self.buffer.tool_in_reference(tool, t_s, T_tool_tip)

    def probe_path(self, t_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """`T_reference_probetip` at the stamps (n,): what counts are placed on."""
        return self.poses(PROBE, t_s, self.tips.probe)

    def interval_s(self, name: str) -> float:
        """Median interval of a track, 0 while unknown."""
        return self.buffer.track(name).interval_s or 0.0

    def states(self, now_s: float) -> dict[str, ToolState]:
        """Every tool as the publishing table names it."""
        states = {"ProbeToReference": self._state("ProbeToReference", PROBE, np.eye(4), now_s)}
        states["ProbeTipToReference"] = self._state("ProbeTipToReference", PROBE, self.tips.probe, now_s)
        if self.tips.stylus is not None:
            states["StylusTipToReference"] = self._state(
                "StylusTipToReference", STYLUS, self.tips.stylus, now_s
            )
        return states

    def _state(self, name: str, tool: str, T_tool_tip: NDArray[np.float64], now_s: float) -> ToolState:
        chain = [track.name for track in self.buffer.chain(tool) if track is not None]
        newest = self.newest_t_s(tool)
        if newest is None:
            return ToolState(name, None, False, None, None, PoseStatus.MISSING.value, 0)
        matrices, valid = self.poses(tool, np.array([newest]), T_tool_tip)
        age = max(now_s - self._arrival[n] for n in chain)
        expiry = max(POSE_EXPIRY_S, POSE_EXPIRY_INTERVALS * self.interval_s(chain[0]))
        usable = bool(valid[0]) and age <= expiry and all(self._status[n].usable for n in chain)
        status = self._word(chain, usable)
        return ToolState(
            name, matrices[0] if valid[0] else None, usable, newest, age, status, self._count[chain[0]]
        )

    def _word(self, chain: list[str], usable: bool) -> str:
        words = [self._status[n] for n in chain]
        lost = [word for word in words if not word.usable]
        if usable or lost:
            return (lost or words)[0].value
        return PoseStatus.MISSING.value
