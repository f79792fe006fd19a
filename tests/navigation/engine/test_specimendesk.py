"""The specimen in a live case: told once, brought to the case's reference time, taken along by the next bed check."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from navigation.engine.events import json_event
from navigation.engine.jobs import BedJob
from navigation.engine.session import Session
from navigation.engine.specimendesk import answer_of, content_of
from tests.navigation.engine.fakes import EPOCH_S, settings
from tests.navigation.engine.test_recompute import bed_job, scanning
from tracking.errors import InputError

HALF_LIFE_S = 6.007 * 3600.0
TOLD = {"name": "S1", "activity_kbq": 30.0, "ci95_kbq": [27.0, 33.0], "volume_ml": 2.0}


def told(session: Session, content: dict[str, Any]) -> None:
    session.handle(json_event("engine", EPOCH_S + 40.0, "command", {"do": "specimen", **content}))


def test_the_next_bed_check_takes_it_along_at_the_case_s_reference_time() -> None:
    session, _ = scanning()
    assert bed_job(session).specimen is None
    told(session, TOLD | {"counted_s": EPOCH_S + HALF_LIFE_S})
    job = bed_job(session)
    assert isinstance(job, BedJob) and job.specimen is not None
    # Counted a half-life after the reference time: twice as much at it, and a higher uptake.
    assert job.specimen.activity_kbq == pytest.approx(60.0, rel=1e-3)
    assert job.specimen.uptake_kbq_per_ml == pytest.approx(30.0, rel=1e-3)


@pytest.mark.parametrize("wrong", [{"activity_kbq": -1.0}, {"ci95_kbq": [40.0, 50.0]}, {"volume_ml": 0.0}])
def test_a_specimen_that_is_none_changes_nothing(wrong: dict[str, Any]) -> None:
    session = Session(settings())
    with pytest.raises(InputError):
        told(session, TOLD | {"counted_s": EPOCH_S} | wrong)
    assert session.specimens.newest is None


def test_the_word_carries_the_file_s_content_into_the_record(tmp_path: Path) -> None:
    path = tmp_path / "specimen.json"
    when = datetime.fromtimestamp(EPOCH_S + 60.0, UTC).isoformat()
    path.write_text(json.dumps(TOLD | {"nuclide": "Tc-99m", "reference_time": when}), encoding="utf-8")
    content = content_of([str(path)], "Tc-99m")
    assert content["counted_s"] == pytest.approx(EPOCH_S + 60.0)
    assert answer_of(content) == "S1: 30.0 kBq (27.0 to 33.0) when it was counted, 15 kBq/mL"
    with pytest.raises(InputError, match="In-111"):
        content_of([str(path)], "In-111")
    with pytest.raises(InputError, match=r"specimen FILE"):
        content_of([], "Tc-99m")
