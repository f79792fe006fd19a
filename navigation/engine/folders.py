"""A scan of the live case as a neutral scan folder, so that offline commands read what the engine saw."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from navigation.engine.scans import ScanState
from navigation.engine.session import Session
from tracking.errors import InputError
from tracking.scanfolder import STATED_KEYS, TIP_POSES, CountTable, PoseTable, Scan


def reference_time_text(epoch_s: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().replace("+00:00", "Z")


def scan_of(session: Session, name: str) -> Scan:
    """The scan with its poses of the tip in Reference, its counts as stamped, and its surface.

    Raises InputError if there is no such scan or it holds no counts.
    """
    state = session.scan(name)
    if not state.intervals:
        raise InputError(f"{name}: no counts arrived during the scan")
    calibration, stated = session.calibration or {}, session.settings.dead_time_s
    return Scan(
        nuclide=session.settings.nuclide,
        reference_time=reference_time_text(state.epoch_s),
        pose_name=TIP_POSES,
        poses=_poses(session, state),
        counts=_counts(state),
        dead_time_s=calibration.get("dead_time_s") if stated is None else stated,
        count_latency_s=state.latency_s,
        surface_mm=state.surface_mm,
        tip=None,
        source=Path(name),
        simulated=session.settings.simulated,
        stated={key: value for key, value in session.stated.items() if key in STATED_KEYS},
    )


def _poses(session: Session, state: ScanState) -> PoseTable:
    stamps, matrices = state.walked(session.tools)
    return PoseTable(stamps - state.epoch_s, matrices)


def _counts(state: ScanState) -> CountTable:
    rows = np.array([(i.t_end_s - state.epoch_s, i.counts, i.window_s) for i in state.intervals])
    return CountTable(rows[:, 0], rows[:, 1], rows[:, 2])
