"""What the record keeps of what was shown, and what may be said while nothing is recorded."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from navigation.bed import Bed
from navigation.engine.jobs import AnalyzeJob, BedJob, Outcome, ScanBasis
from navigation.engine.keeping import MAP, SHOWN, KeptRecorder
from navigation.engine.live import withheld
from navigation.engine.session import Session
from navigation.engine.snapshot import RecorderState
from navigation.engine.view import SHORT_OF_ROOM_MIN, Viewer
from tests.navigation.engine.fakes import EPOCH_S, SumImaging, settings
from tracking.recording import Record, Recorder

BASIS = ScanBasis("scan-1", {}, "Tc-99m", None, None, 0.0, None, None, True)


def checked(finding: str) -> Outcome:
    bed = Bed(np.zeros((3, 3)), 10.0)
    check = SumImaging(BASIS).check_bed(bed, 4.0, 0.95, None)
    return Outcome(BedJob(BASIS, bed, 4.0, 0.95, None), bed_check=replace(check, finding=finding))


@pytest.mark.parametrize("finding", ["none-above", "partly-assessed", "not-assessed"])
def test_without_a_record_nothing_is_called_assessed(finding: str) -> None:
    told = withheld(checked(finding), RecorderState("disk full", 12)).bed_check
    assert told is not None
    assert told.finding == "not-assessed"
    assert "recorder is down" in told.statement
    assert any("disk full" in reason for reason in told.reasons)


def test_a_record_with_a_hole_proves_nothing_either() -> None:
    told = withheld(checked("none-above"), RecorderState(None, 12)).bed_check
    assert told is not None
    assert (told.finding, told.statement) == (
        "not-assessed",
        "The bed is not assessed: the recorder has lost events.",
    )


def test_a_suspected_residual_is_told_with_or_without_a_record() -> None:
    outcome = checked("residual-suspected")
    assert withheld(outcome, RecorderState("disk full", 12)) is outcome
    assert withheld(checked("none-above"), RecorderState()).bed_check.finding == "none-above"  # type: ignore[union-attr]


def test_a_recorder_in_need_is_the_first_fault_shown() -> None:
    state = RecorderState("disk full", 12, SHORT_OF_ROOM_MIN - 1.0)
    faults = Viewer(Session(settings()), lambda: state).snapshot(EPOCH_S).faults
    assert faults[0] == "NOT RECORDED: disk full, 12 events lost"
    assert faults[1] == "the disk has room for 29 minutes of recording"
    assert not [f for f in Viewer(Session(settings())).snapshot(EPOCH_S).faults if "record" in f.lower()]


def test_what_was_shown_can_be_read_later(tmp_path: Path) -> None:
    path = tmp_path / "r"
    viewer = Viewer(Session(settings()))
    imaging = SumImaging(BASIS)
    imaging.n = 1
    found = imaging.finish()
    with Recorder(path, {}) as recorder:
        kept = KeptRecorder(recorder)
        for i in range(41):
            kept.show(viewer.snapshot(EPOCH_S + 0.05 * i))
        viewer.show(checked("partly-assessed"))
        kept.show(viewer.snapshot(EPOCH_S + 2.05))
        kept.keep(Outcome(AnalyzeJob(BASIS, 1), map=found.map, result=found), EPOCH_S + 3.0)
        assert kept.state == RecorderState(None, 0, None)
    words = [json.loads(e.payload) for e in Record(path).events(SHOWN)]
    # 2 s of snapshots: the state at 0, 1 and 2 s; the bed once it is known.
    assert [w["t_s"] - EPOCH_S for w in words if "mode" in w] == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)
    assert [w["finding"] for w in words if "finding" in w] == ["partly-assessed"]
    (raw,) = (e.payload for e in Record(path).events(MAP))
    with np.load(io.BytesIO(raw)) as arrays:
        np.testing.assert_array_equal(arrays["activity"], found.map.activity)
        np.testing.assert_array_equal(arrays["origin_mm"], found.map.grid.origin_mm)
