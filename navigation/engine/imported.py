"""An imported scan as a case: settings and commands, so that a replay maps it as a live case would have been."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.probe.response import response_of
from calibration.records.binding import Identity, require_match
from calibration.records.record import DETECTOR
from calibration.records.store import read_record
from navigation.engine import events
from navigation.engine.assembly import SETTINGS_KEY
from navigation.engine.session import SCAN, SURFACE
from navigation.engine.settings import Settings, SourceRole
from navigation.engine.snapshot import LatencyState
from navigation.engine.tools import Tips
from tracking.errors import InputError
from tracking.recording.reader import Event
from tracking.tip import tip_matrix

USER = "import"


def as_case(
    head: Mapping[str, Any], recorded: Iterable[Event], source: str, calibration: Path
) -> tuple[dict[str, Any], Iterator[Event]]:
    """A record's head and events with what the engine needs: every phase becomes a scan.

    `source` is the name that sends. Raises InputError when the tip of the probe or the nuclide is not known,
    and as `response_of`.
    """
    stated = Identity.of(
        {"nuclide": head.get("nuclide"), **head.get("stated", {})}, str(head["imported_from"])
    )
    content, where = read_record(calibration, DETECTOR, stated)
    response = response_of(content, where)
    require_match(response.identity, stated, "the scan", where)
    tip = response.T_probe_probetip
    if not isinstance(head.get("nuclide"), str):
        raise InputError(f"{calibration}: there are no counts to map")
    settings = Settings(
        case_id=str(head["imported_from"]),
        nuclide=str(head["nuclide"]),
        epoch_s=float(head["epoch_s"]),
        tips=Tips(_tip_of(head, calibration) if tip is None or "T_probe_probetip" in head else tip),
        sources={source: SourceRole("", 0, poses=True, counts=True)},
        calibration=content,
        latency=_latency(head, content),
        dead_time_s=head.get("dead_time_s"),
        simulated=bool(head.get("simulated")),
        stated=stated.to_json(),
    )
    return {**head, SETTINGS_KEY: settings.to_json()}, _commanded(recorded)


def _tip_of(head: Mapping[str, Any], calibration: Path) -> NDArray[np.float64]:
    if head.get("T_probe_probetip") is not None:
        return np.array(head["T_probe_probetip"], dtype=np.float64)
    if not head.get("tip"):
        raise InputError(f"{calibration}: does not say where the probe's tip is on its marker: --tip does")
    return tip_matrix(head["tip"])


def _latency(head: Mapping[str, Any], content: Mapping[str, Any]) -> LatencyState:
    for values in (head, content):
        if values.get("count_latency_s") is not None:
            return LatencyState(float(values["count_latency_s"]), None, True)
    return LatencyState(0.0, None, False)


def _commanded(recorded: Iterable[Event]) -> Iterator[Event]:
    """The events, and after the mark of each phase the commands that go with it."""
    arrival_s, running = 0.0, False
    for event in recorded:
        yield event
        arrival_s = event.arrival_s
        if event.kind == events.PHASE:
            mark = event.content()
            if mark["action"] == "discard":
                yield _command(arrival_s, {"do": "discard", "from_s": mark["from_s"], "to_s": mark["t_s"]})
                continue
            running = mark["action"] == "start"
            if running and mark.get("surface_mm") is not None:
                points = {"do": "points", "what": SURFACE, "points_mm": mark["surface_mm"]}
                yield _command(arrival_s, points)
            command = {"do": "start", "mode": SCAN, "name": mark["phase"]} if running else {"do": "stop"}
            yield _command(arrival_s, command)
    if running:
        yield _command(arrival_s, {"do": "stop"})


def _command(arrival_s: float, content: Mapping[str, Any]) -> Event:
    return Event(0, arrival_s, USER, events.COMMAND, json.dumps(content).encode())
