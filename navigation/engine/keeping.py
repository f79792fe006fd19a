"""What the record keeps beside the sequence itself: what was shown, so that it can be proved later.

Words of the state once a second, foci and bed whenever they are new, and the whole map of every full
analysis; maps in between follow from the sequence bit for bit and only their digests are kept.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from calibration.records.record import RecordStamp
from navigation.bed import BedCheck
from navigation.engine.jobs import Outcome
from navigation.engine.snapshot import RecorderState, Snapshot
from navigation.engine.words import bed_check_words, spots_words, status_words
from navigation.volume import ActivityMap, Spot
from tracking.jsonfile import to_json
from tracking.recording import Recorder

# Kinds of rows that the engine writes and never reads back.
SHOWN, MAP = "shown", "map"
PUBLISHER = "publisher"
STATUS_EVERY_S = 1.0


class KeptRecorder:
    """A recorder as the engine sees it; `show` is called with every snapshot, on the engine's thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._status_s = float("-inf")
        self._spots: tuple[Spot, ...] | None = None
        self._bed: BedCheck | None = None

    def append(self, source: str, arrival_s: float, kind: str, payload: bytes) -> object:
        """Keep one event of the sequence."""
        return self._recorder.append(source, arrival_s, kind, payload)

    @property
    def state(self) -> RecorderState:
        """What is wrong with the recorder, if anything is."""
        health = self._recorder.health
        return RecorderState(health.fault, health.lost, health.minutes_left)

    def show(self, snapshot: Snapshot) -> None:
        """Keep what of the snapshot is new."""
        if snapshot.t_s - self._status_s >= STATUS_EVERY_S:
            self._status_s = snapshot.t_s
            self._keep(snapshot, status_words(snapshot))
        if snapshot.spots is not self._spots:
            self._spots = snapshot.spots
            self._keep(snapshot, spots_words(snapshot))
        if snapshot.bed_check is not self._bed:
            self._bed = snapshot.bed_check
            self._keep(snapshot, bed_check_words(snapshot))

    def keep(self, outcome: Outcome, now_s: float) -> None:
        """Keep the map of a full analysis; runs on the thread that made it."""
        if outcome.result is not None:
            self._recorder.append(
                PUBLISHER, now_s, MAP, packed_map(outcome.result.map, outcome.result.records)
            )

    def _keep(self, snapshot: Snapshot, words: dict[str, Any]) -> None:
        payload = to_json(words, indent=None).encode()
        self._recorder.append(PUBLISHER, snapshot.t_s, SHOWN, payload)


def packed_map(found: ActivityMap, records: tuple[RecordStamp, ...] = ()) -> bytes:
    """The map as a compressed npz: activity, relative_sd, mda_kbq, upper_limit_kbq, their grid, calibrations.

    `calibrations` (n, 2) are id and state of what it rests on, the detector's first.
    """
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        activity=found.activity,
        relative_sd=found.relative_sd,
        mda_kbq=found.mda_kbq,
        upper_limit_kbq=found.upper_limit_kbq,
        origin_mm=found.grid.origin_mm,
        spacing_mm=found.grid.spacing_mm,
        direction=found.grid.direction,
        calibrations=np.array([(stamp.id, stamp.state) for stamp in records], dtype=np.str_).reshape(-1, 2),
    )
    return stream.getvalue()
