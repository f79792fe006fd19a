"""A bed check from a record says no more of absence than the case could: what blocked it there blocks it here (H46)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.physics.nuclide import nuclide
from calibration.probe.detector import calibrate
from navigation.cli.main import run
from navigation.engine.afterwards import (
    blocked_at,
    reference_fault,
    require_one_reference,
    require_own_counts,
)
from navigation.engine.assembly import head_of
from navigation.engine.events import RAW, EngineEvent
from navigation.engine.session import Session
from navigation.engine.tipcheck import BLOCKED
from navigation.offline import ScanOptions, reconstruct_scan
from tests.navigation.engine.fakes import EPOCH_S, counts_event, pose_event, settings
from tests.navigation.engine.test_tipcheck import START_S, TIP_MM, command, moved_on, rested
from tests.navigation.scan_model import PROBE, filled, flat_surface, grid_of, raster
from tests.tracking.recording.scene import record as plain_record
from tracking.errors import GateRefusedError, InputError
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_string_message
from tracking.recording import Recorder
from tracking.sample import CountSample

SCAN_S = EPOCH_S + 100.0
BENT_MM = TIP_MM + np.array([2.0, 0.0, 0.0])


def tip_check(tip_mm: np.ndarray, later_s: float = 0.0) -> list[EngineEvent]:
    rows = [command("start", START_S, mode="divot"), *rested(tip_mm), command("stop")]
    if not later_s:
        return rows
    return [
        replace(moved_on(row) if row.kind == "raw" else row, arrival_s=row.arrival_s + later_s)
        for row in rows
    ]


def quiet_scan() -> list[EngineEvent]:
    """The probe over an empty bed, from 100 s after the epoch."""
    readings, rows, total = filled(raster(600), [], 0.2, seed=3), [], 0.0
    for i, (t_s, counts) in enumerate(zip(readings.t_s, readings.counts, strict=True)):
        total += counts
        rows.append(pose_event("ProbeTipToReference", SCAN_S + t_s, readings.poses[i]))
        rows.append(counts_event(i + 1, SCAN_S + t_s + 0.05, float(counts), total))
    return rows


def recorded(path: Path, rows: Iterable[EngineEvent], **changes: Any) -> Path:
    """A record of a case with one phase, scan-1."""
    mark = {"phase": "scan-1", "action": "start", "t_s": SCAN_S - 1.0, "count_latency_s": 0.0}
    mark["surface_mm"] = flat_surface().tolist()
    with Recorder(path, head_of(replace(settings(), **changes))) as recorder:
        recorder.append("engine", SCAN_S - 1.0, "phase", json.dumps(mark).encode())
        for row in rows:
            recorder.append(row.source, row.arrival_s, row.kind, row.payload)
    return path


def checked_bed(folder: Path, rows: Iterable[EngineEvent]) -> dict[str, object]:
    path = recorded(folder / "r.gnav", rows)
    axis = np.arange(-14.0, 15.0, 5.0)
    points = [[x, y, 0.0] for x in axis for y in axis]
    (folder / "bed.json").write_text(json.dumps({"points_mm": points, "depth_mm": 6.0}))
    (folder / "probe.json").write_text(json.dumps(calibrate(grid_of(PROBE), nuclide("Tc-99m"))))
    options = ["--probe", str(folder / "probe.json"), "--bed", str(folder / "bed.json")]
    out = folder / "out"
    arguments = ["bed-check", f"{path}#scan-1", *options, "--threshold-kbq", "10", "--out", str(out)]
    assert run(arguments) == 0
    content: dict[str, object] = json.loads((out / "bed_check.json").read_text())
    return content


def test_a_quiet_bed_is_none_above_only_where_the_case_had_nothing_against_it(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bent").mkdir()
    good = checked_bed(tmp_path / "good", [*tip_check(TIP_MM), *quiet_scan()])
    assert good["finding"] == "none-above"
    bent = checked_bed(tmp_path / "bent", [*tip_check(BENT_MM), *quiet_scan()])
    assert bent["finding"] == "not-assessed"
    assert str(bent["statement"]).startswith(f"Not assessed: {BLOCKED}")


def test_what_a_later_check_put_in_order_blocks_no_more(tmp_path: Path) -> None:
    again = recorded(tmp_path / "a.gnav", [*tip_check(BENT_MM), *tip_check(TIP_MM, 30.0)])
    assert blocked_at(again) is None
    assert blocked_at(recorded(tmp_path / "b.gnav", tip_check(BENT_MM))) == BLOCKED


@pytest.mark.parametrize("explained", [True, False])
def test_a_risen_background_blocks_until_it_is_explained(tmp_path: Path, explained: bool) -> None:
    rows, seq, total = [], 0, 0.0
    for check, counts in enumerate((1.0, 9.0)):
        begin_s = START_S + 20.0 * check
        rows.append(command("background", begin_s, seconds=10.0))
        for i in range(110):
            seq, total = seq + 1, total + counts + i % 2
            rows.append(counts_event(seq, begin_s + 0.1 * (i + 1), counts + i % 2, total))
    rows += [command("explain_background", START_S + 60.0, reason="the drape")] if explained else []
    words = blocked_at(recorded(tmp_path / "r.gnav", rows))
    assert words is None if explained else "background" in str(words)


def test_a_record_of_no_live_case_and_a_folder_block_nothing(tmp_path: Path) -> None:
    assert blocked_at(plain_record(tmp_path / "r.record")) is None
    assert blocked_at(tmp_path) is None


def test_a_scan_in_which_another_counter_took_over_is_refused_afterwards(tmp_path: Path) -> None:
    rows = [command("start", SCAN_S - 1.0, mode="scan", name="scan-1"), *quiet_scan()[:400]]
    begins_s = SCAN_S + 20.0
    for i in range(10):
        t_s = begins_s + 0.1 * i
        said = CountSample(t_s, i + 1, 7.0, 0.1, 7.0 * (i + 1), 0.1 * (i + 1), nuclide="In-111")
        rows.append(EngineEvent("probe", t_s, RAW, encode(counts_string_message(said))))
    path = recorded(tmp_path / "r.gnav", rows, stated={"nuclide": "Tc-99m"})
    (tmp_path / "probe.json").write_text(json.dumps(calibrate(grid_of(PROBE), nuclide("Tc-99m"))))
    with pytest.raises(GateRefusedError, match="10 counting intervals of scan-1 are another counter's"):
        reconstruct_scan(Path(f"{path}#scan-1"), tmp_path / "probe.json", ScanOptions())
    require_own_counts(recorded(tmp_path / "own.gnav", rows[:400]))


def test_scans_from_either_side_of_a_moved_reference_are_not_compared(tmp_path: Path) -> None:
    session = Session(settings())
    for name in ("scan-1", "scan-2", "scan-3"):
        session.handle(command("start", SCAN_S, mode="scan", name=name))
        session.handle(command("stop", SCAN_S + 1.0))
        if name == "scan-2":
            session.leave_frame()
    assert reference_fault(session, "scan-1", session, "scan-2") is None
    assert "was moved between them" in str(reference_fault(session, "scan-1", session, "scan-3"))
    other = Session(replace(settings(), case_id="another"))
    assert "two cases" in str(reference_fault(other, "scan-1", session, "scan-1"))
    first, second = (
        recorded(tmp_path / f"{case}.gnav", tip_check(TIP_MM), case_id=case) for case in ("a", "b")
    )
    require_one_reference(first, first)
    with pytest.raises(InputError, match="two cases"):
        require_one_reference(first, second)
    require_one_reference(tmp_path, second)
