"""Poses and counts of a running tracker and probe, in order, as a guide takes them."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from navigation.engine.settings import SourceRole
from navigation.engine.sources import device_for
from tracking.buffer import TransformBuffer
from tracking.counts import CountInterval, CountStream
from tracking.device import DeviceState
from tracking.errors import SurroundingsError, WireError
from tracking.hub import Hub
from tracking.igtl.codec import Message, decode
from tracking.igtl.counts import counts_from_message, is_counts
from tracking.igtl.poses import poses_from_message
from tracking.inputs import ClockKind, Inputs, frame_number, within

Array = NDArray[np.float64]

# Metadata by which a simulated instrument owns up to being one, whatever its value but these.
SIMULATION, NOT_SIMULATED = "Simulation", ("", "0", "FALSE")


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What has come since the last poll: poses (None where the tool was not seen) and counting windows."""

    poses: tuple[tuple[float, Array | None], ...]
    counts: tuple[CountInterval, ...]


class Feed:
    """Of one tool, in the tracker's frame or in Reference. Use as a context; `poll` from one thread only."""

    def __init__(self, roles: Mapping[str, SourceRole], tool: str, in_reference: bool) -> None:
        self.tool, self.in_reference = tool, in_reference
        self.simulated = False
        self._roles = roles
        # Clocks have to be laid on one another only where they differ.
        own = any(role.clock is ClockKind.OWN for role in roles.values())
        self._hub = Hub({name: role.inputs for name, role in roles.items()}) if own else None
        self._buffer = TransformBuffer() if self._hub is None else self._hub.buffer
        self._counts = CountStream()
        self._raw: queue.SimpleQueue[tuple[str, float, bytes]] = queue.SimpleQueue()
        self._told_s = -np.inf
        self._devices = {
            name: device_for(role, name, self._take, None, time.monotonic) for name, role in roles.items()
        }

    def _take(self, source: str, arrival_s: float, raw: bytes) -> None:
        self._raw.put((source, arrival_s, raw))

    def __enter__(self) -> Feed:
        for device in self._devices.values():
            device.start()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self._devices.values():
            device.stop()

    def wait(self, timeout_s: float) -> None:
        """Block until all sources are connected. Raises SurroundingsError naming the one that is not."""
        deadline = time.monotonic() + timeout_s
        for name, device in self._devices.items():
            left = max(deadline - time.monotonic(), 0.0)
            if not device.wait_for(DeviceState.CONNECTED, timeout_s=left):
                where = self._roles[name].where
                raise SurroundingsError(f"{name} at {where}: no connection within {timeout_s:g} s")

    @property
    def lost(self) -> tuple[str, ...]:
        """Sources that are not connected now."""
        return tuple(n for n, d in self._devices.items() if d.state is not DeviceState.CONNECTED)

    def poll(self) -> News:
        """Everything that has settled since the last call."""
        counts: list[CountInterval] = []
        while not self._raw.empty():
            source, arrival_s, raw = self._raw.get()
            counts += self._decoded(source, arrival_s, raw)
        return News(tuple(self._poses()), tuple(counts))

    def _decoded(self, source: str, arrival_s: float, raw: bytes) -> tuple[CountInterval, ...]:
        try:
            message = decode(raw)
            stamp = message.metadata.get(SIMULATION, "")
            self.simulated = self.simulated or stamp.upper() not in NOT_SIMULATED
            if self._hub is not None:
                return self._hub.take(source, arrival_s, message)
            return self._as_stamped(self._roles[source].inputs, arrival_s, message)
        except WireError:
            return ()

    def _as_stamped(self, allowed: Inputs, arrival_s: float, message: Message) -> tuple[CountInterval, ...]:
        """Samples of sources that share a clock, at the times they say."""
        if is_counts(message):
            return self._counts.add(counts_from_message(message), arrival_s) if allowed.counts else ()
        frame = frame_number(message.metadata)
        for pose in poses_from_message(message) if allowed.poses else ():
            if allowed.allows(pose.name):
                self._buffer.add(within(replace(pose, frame=frame), allowed.volume))
        return ()

    def _poses(self) -> list[tuple[float, Array | None]]:
        """New frames of the tool, once the reference's frame of that time has come too."""
        buffer = self._buffer
        if self.in_reference:
            tool, reference = buffer.chain(self.tool)
            tracks = [t for t in (tool, reference) if t is not None]
        else:
            tool = buffer.track(f"{self.tool}ToTracker")
            tracks = [tool]
        newest = [t.newest_frame_t_s for t in tracks]
        known = [t for t in newest if t is not None]
        if len(known) < len(tracks):
            return []
        until = min(known)
        times = tool.frame_times(self._told_s, until)
        times = times[times > self._told_s]
        if not len(times):
            return []
        self._told_s = float(times[-1])
        if self.in_reference:
            matrices, seen = buffer.tool_in_reference(self.tool, times)
        else:
            matrices, seen = tool.sample(times)
        return [(float(t), m if ok else None) for t, m, ok in zip(times, matrices, seen, strict=True)]
