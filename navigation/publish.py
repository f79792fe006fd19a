"""The OpenIGTLink server of the engine: every snapshot in the words of the publishing table.

All of one round belongs to one snapshot, whose id is in the metadata of every message. Images go out when
the map has changed, poses with every snapshot, the rest four times a second as a heartbeat.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from navigation.engine.snapshot import Snapshot, ToolState
from navigation.engine.timedstate import TimedState
from navigation.engine.words import bed_check_words, spots_words, status_words, timed_words
from navigation.nothingtold import unexamined
from navigation.volume import NOT_EXAMINED, ActivityMap, Spot
from tracking.igtl import names
from tracking.igtl.codec import Message, encode
from tracking.igtl.content import Point, StatusContent
from tracking.igtl.messages import (
    image_message,
    point_message,
    status_message,
    string_message,
    transform_message,
)
from tracking.igtl.server import OnMessage, Server
from tracking.jsonfile import to_json

logger = logging.getLogger(__name__)

DEFAULT_PORT = 18944
LOOPBACK = "127.0.0.1"
HEARTBEAT_S = 0.25
# Least time between two maps on the wire: as smooth as an eye asks of colours that change slowly.
MAP_S = 0.2
# STATUS code of a fault that is none of the standard's special ones ("not OK, see the message").
DEVICE_FAULT = 2
# Colour by confidence, read from 2 m away; never green.
COLOURS = {"ok": (255, 140, 0, 255), "limited": (255, 215, 90, 255), "unusable": (150, 150, 150, 255)}
# Targets are what the study asks for, not what the counts show: another colour than any focus.
TARGET_COLOUR = (80, 200, 255, 255)
# A mark is what a person said, no measurement.
MARK_COLOUR = (200, 200, 200, 255)


class Publisher:
    """Publishes the newest snapshot on a thread of its own; the engine never waits for it.

    `host` is one of this computer's addresses; any but loopback lets other machines in. What clients send goes to
    `on_message`, without it nowhere. Raises
    SurroundingsError from `start` when the port is in use or the address is not this computer's.
    """

    def __init__(
        self, port: int = DEFAULT_PORT, host: str = LOOPBACK, on_message: OnMessage | None = None
    ) -> None:
        self.server = Server(port, host, allow_remote=host != LOOPBACK, on_message=on_message)
        self._news = threading.Condition()
        self._newest: Snapshot | None = None
        self._stopping = False
        self._map: ActivityMap | None = None
        self._map_s = float("-inf")
        self._heartbeat_s = -np.inf
        self._timed = TimedState()
        self._counted: tuple[object, ...] = ()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Listen and publish."""
        self.server.start()
        self._thread.start()

    def stop(self) -> None:
        """Publish what is there, then close; harmless when repeated."""
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join()
        self.server.stop()

    def push(self, messages: Iterable[Message]) -> None:
        """Send messages that belong to no snapshot, such as the study; who connects later gets them, too."""
        for message in messages:
            self._send(message)

    def show(self, snapshot: Snapshot) -> None:
        """Hand in a snapshot; one that was not published yet is forgotten."""
        with self._news:
            self._newest = snapshot
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._newest is not None or self._stopping)
                snapshot, self._newest = self._newest, None
                if snapshot is None:
                    return
            try:
                self._publish(snapshot)
            except Exception:
                logger.exception("snapshot %d was not published", snapshot.id)

    def _publish(self, snapshot: Snapshot) -> None:
        for tool in snapshot.tools.values():
            self._send(tool_message(tool, snapshot), v1=tool.valid)
        self._publish_rate(snapshot)
        due = snapshot.map_final or snapshot.t_s - self._map_s >= MAP_S
        if snapshot.map is not None and snapshot.map is not self._map and due:
            self._map, self._map_s = snapshot.map, snapshot.t_s
            for message in [*spot_messages(snapshot), *map_messages(snapshot.map, snapshot)]:
                self._send(message)
        hidden = snapshot.recomputing is not None or snapshot.map_locked is not None
        if hidden and self._map is not None:
            # What viewers hold rests on something else by now: nothing of it stays examined.
            for message in [*spot_messages(snapshot), *map_messages(unexamined(self._map), snapshot)]:
                self._send(message)
            self._map = None
        if snapshot.t_s - self._heartbeat_s >= HEARTBEAT_S:
            self._heartbeat_s = snapshot.t_s
            for message in heartbeat_messages(snapshot):
                self._send(message)
            if snapshot.timed != self._timed:
                self._timed = snapshot.timed
                self._send(timed_message(snapshot))

    def _publish_rate(self, snapshot: Snapshot) -> None:
        """The count rate as soon as it changes, and with every heartbeat: what is heard must not wait for one."""
        counts = snapshot.counts
        told = (counts.seq, counts.fresh, counts.saturated, int(snapshot.t_s / HEARTBEAT_S))
        if told != self._counted:
            self._counted = told
            self._send(rate_message(snapshot))

    def _send(self, message: Message, v1: bool = True) -> None:
        """Queue a message in both header versions; without `v1` clients of version 1 hear nothing."""
        first = encode(message.with_version(1)) if v1 else None
        self.server.publish(first, encode(message.with_version(2)), (message.type, message.device), True)


def common(snapshot: Snapshot) -> dict[str, str]:
    """Metadata of every message."""
    found = {
        "Timestamp": f"{snapshot.t_s:.6f}",
        "SnapshotId": str(snapshot.id),
        "CalibrationId": snapshot.calibration_id,
        "CalibrationState": snapshot.calibration_state,
        "RegistrationId": snapshot.registration.id,
    }
    if snapshot.rehearsal is not None:
        found["Rehearsal"] = "REHEARSAL"
    return {**found, "Simulation": "SIMULATION"} if snapshot.simulated else found


def of_map(snapshot: Snapshot) -> dict[str, str]:
    """Metadata of what belongs to the map: with the calibration that it rests on."""
    found = common(snapshot)
    if snapshot.map_calibration is not None:
        found["CalibrationId"], found["CalibrationState"] = snapshot.map_calibration
    return found


def tool_message(tool: ToolState, snapshot: Snapshot) -> Message:
    """TRANSFORM of a tool with its validity; an unknown pose goes out as the identity, marked invalid."""
    metadata = {
        **common(snapshot),
        "TransformValid": "1" if tool.valid else "0",
        "TransformStatus": tool.status,
        "Seq": str(tool.seq),
    }
    if tool.status == "UNKNOWN":
        del metadata["TransformStatus"]
    if tool.age_s is not None:
        metadata["AgeMs"] = f"{1000 * tool.age_s:.0f}"
    matrix = np.eye(4) if tool.matrix is None else tool.matrix
    return transform_message(tool.name, matrix, tool.t_s or snapshot.t_s, metadata)


def map_messages(found: ActivityMap, snapshot: Snapshot) -> list[Message]:
    """The three images of a map: kBq/mL, relative standard deviation, kBq detectable."""
    volumes: tuple[tuple[str, NDArray[np.float32], str], ...] = (
        (names.ACTIVITY, found.activity, "kBq/mL"),
        (names.RELATIVE_SD, found.relative_sd, "1"),
        (names.COVERAGE, found.mda_kbq, "kBq"),
    )
    return [_image(name, array, unit, found, snapshot) for name, array, unit in volumes]


def _image(
    name: str, array: NDArray[np.float32], unit: str, found: ActivityMap, snapshot: Snapshot
) -> Message:
    clean = np.where(np.isfinite(array), array, np.float32(NOT_EXAMINED)).astype(np.float32)
    metadata = {
        **of_map(snapshot),
        "Unit": unit,
        "MapVersion": str(found.version),
        "Readings": str(_readings_of(name, found)),
        "NotExamined": "0" if name == names.ACTIVITY else f"{NOT_EXAMINED:g}",
        "RangeMin": f"{clean.min():.6g}",
        "RangeMax": f"{clean.max():.6g}",
    }
    return image_message(name, clean, found.grid, snapshot.t_s, metadata)


def _readings_of(name: str, found: ActivityMap) -> int:
    """How many readings an image of the map is of: limits are refreshed less often than the activity."""
    limits = found.limits_readings
    return found.n_readings if name == names.ACTIVITY or limits is None else limits


def spot_messages(snapshot: Snapshot) -> list[Message]:
    """The foci as POINT and with all their figures as STRING."""
    points = [_point(spot) for spot in snapshot.spots]
    text = to_json(spots_words(snapshot), indent=None)
    return [
        point_message(names.HOT_SPOTS, points, snapshot.t_s, of_map(snapshot)),
        string_message(names.SPOTS, text, snapshot.t_s, of_map(snapshot)),
    ]


def _point(spot: Spot) -> Point:
    x, y, z = (float(v) for v in spot.position_mm)
    label = f"focus {spot.id}: {spot.activity_kbq:.0f} kBq"
    return Point(label, (x, y, z), spot.quality, COLOURS[spot.quality], 2.0 * spot.sd_mm, names.ACTIVITY)


def heartbeat_messages(snapshot: Snapshot) -> list[Message]:
    """Registration, state of the engine, what is known of the bed."""
    registration = snapshot.registration
    bridge = {**common(snapshot), "RegistrationState": registration.state}
    if snapshot.registration_age_s is not None:
        bridge["RegistrationAgeS"] = f"{snapshot.registration_age_s:.0f}"
    if registration.tre_mm is not None:
        bridge["PredictedTreMm"] = f"{registration.tre_mm:.2f}"
    words = {
        names.ENGINE_STATUS: status_words(snapshot),
        names.BED_CHECK: bed_check_words(snapshot),
    }
    texts = [
        string_message(name, to_json(found, indent=None), snapshot.t_s, common(snapshot))
        for name, found in words.items()
    ]
    return [
        transform_message(names.REFERENCE_TO_RAS, registration.matrix, snapshot.t_s, bridge),
        *_targets(snapshot),
        *_scan_next(snapshot),
        *_removals(snapshot),
        *texts,
        _engine_status(snapshot),
    ]


def rate_message(snapshot: Snapshot) -> Message:
    """The count rate alone; null when it has expired."""
    counts = snapshot.counts
    rate = None if counts.rate_cps is None else round(counts.rate_cps, 3)
    found = {"rate_cps": rate, "saturated": counts.saturated, "seq": counts.seq}
    return string_message(names.COUNT_RATE, to_json(found, indent=None), snapshot.t_s, common(snapshot))


def timed_message(snapshot: Snapshot) -> Message:
    """The timed counts; sent as they change, since a table of a day is no heartbeat."""
    text = to_json(timed_words(snapshot), indent=None)
    return string_message(names.TIMED_COUNTS, text, snapshot.t_s, common(snapshot))


def _targets(snapshot: Snapshot) -> list[Message]:
    """The target list as points in Reference; those that nothing places are left out."""
    points = []
    for target in snapshot.targets:
        if target.position_mm is None or target.covariance_mm2 is None:
            continue
        x, y, z = (float(v) for v in target.position_mm)
        label = target.name if target.end is None else f"{target.name} ({target.end.outcome})"
        diameter = 2.0 * float(np.sqrt(np.linalg.eigvalsh(target.covariance_mm2)[-1]))
        points.append(Point(label, (x, y, z), target.origin, TARGET_COLOUR, diameter, ""))
    return [point_message(names.TARGETS, points, snapshot.t_s, common(snapshot))] if snapshot.targets else []


def _removals(snapshot: Snapshot) -> list[Message]:
    """Where somebody said that something was taken out, in Reference."""
    points = []
    for number, mark in enumerate(snapshot.removals, start=1):
        x, y, z = (float(v) for v in mark.place_mm)
        points.append(Point(f"removed here {number}", (x, y, z), "mark", MARK_COLOUR, 0.0, ""))
    return [point_message(names.REMOVED_HERE, points, snapshot.t_s, common(snapshot))] if points else []


def _scan_next(snapshot: Snapshot) -> list[Message]:
    """The pose to go to next, as a tool that stands still; marked invalid once there is none."""
    coverage = snapshot.coverage
    if coverage is None:
        return []
    look = coverage.scan_next
    metadata = {**common(snapshot), "TransformValid": "0", "TransformStatus": "MISSING"}
    if look is None:
        return [transform_message(names.SCAN_NEXT, np.eye(4), snapshot.t_s, metadata)]
    metadata |= {
        "TransformValid": "1",
        "TransformStatus": "OK",
        "Of": look.of,
        "SecondsThere": f"{look.seconds:.1f}",
    }
    return [transform_message(names.SCAN_NEXT, look.pose, snapshot.t_s, metadata)]


def _engine_status(snapshot: Snapshot) -> Message:
    text = "; ".join(snapshot.faults)
    code = DEVICE_FAULT if snapshot.faults else StatusContent.OK
    return status_message(names.ENGINE, snapshot.t_s, code, text, metadata=common(snapshot))
