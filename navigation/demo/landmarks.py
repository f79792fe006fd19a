"""Registration to the preoperative study: the landmarks of the CT, each touched with the stylus until it rests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from navigation.engine.session import Session
from navigation.engine.tools import STYLUS
from navigation.registration.study import predicted_mm, register_study, study_registration, touched_point
from tracking.errors import GateRefusedError
from tracking.jsonfile import read_json, write_json


def register_touches(
    session: Session,
    events: Iterable[dict[str, Any]],
    setup: Path,
    work: Path,
    targets_lps_mm: list[list[float]],
) -> dict[str, Any] | None:
    """Fit what was touched between "dwell-start" and "dwell-stop" to the landmarks of the study.

    Writes reg.json with the error predicted at the targets (k, 3) of the study; returns the content of the engine's
    registration command, None when a gate refused it.
    """
    marked = {m["name"]: m["position_mm"] for m in read_json(setup / "landmarks.json")["landmarks"]}
    try:
        touched = {name: _touch(session, *span) for name, span in _rests(events).items() if name in marked}
        labels = tuple(touched)
        places = [marked[n] for n in labels], [touched[n] for n in labels]
        result = register_study(*places, labels, targets_lps_mm)
        write_json(work / "reg.json", {**result.as_json(), "simulated": True})
        found = study_registration(result)
    except GateRefusedError as error:
        if not (work / "reg.json").exists():
            write_json(work / "reg.json", {"accepted": False, "reasons": [str(error)], "simulated": True})
        return None
    return {
        "id": found.id,
        "matrix": found.T_ras_reference.tolist(),
        "tre_mm": predicted_mm(result),
        "method": "landmarks",
    }


def _rests(events: Iterable[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """From when to when (Unix s) the stylus rested on each landmark, as the user's pedal said."""
    begun: dict[str, float] = {}
    rests: dict[str, tuple[float, float]] = {}
    for event in events:
        if event.get("action") == "dwell-start":
            begun[event["name"]] = event["t_s"]
        elif event.get("action") == "dwell-stop" and event["name"] in begun:
            rests[event["name"]] = (begun[event["name"]], event["t_s"])
    return rests


def _touch(session: Session, start_s: float, stop_s: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    stamps = session.tools.buffer.chain(STYLUS)[0].frame_times(start_s, stop_s)
    poses, _ = session.tools.buffer.tool_in_reference(STYLUS, stamps, session.settings.tips.stylus)
    return touched_point(poses)
