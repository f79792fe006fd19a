"""Calibration records: the seal, the second person, who they belong to, and until when."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from calibration.records.binding import Identity, conflicts, require_match, unverified
from calibration.records.record import (
    RecordStamp,
    approved,
    checksum,
    draft_of,
    expires_soon,
    kind_of,
    new_head,
    replacing,
    require_usable,
    sealed,
    stamped,
    state_of,
)
from tracking.errors import GateRefusedError, InputError
from tracking.tip import read_tip

TIP = {"tip_offset_mm": [1.0, 2.0, 100.0], "axis": [0.0, 0.0, 1.0], "accepted": True, "reasons": []}
PROBE = Identity("Tc-99m", (126.5, 154.5), "SN 7", "open")


def draft(**head: Any) -> dict[str, Any]:
    return stamped(TIP, "tip", **({"operator": "Ada Klein", "probe_serial": "SN 7"} | head))


def test_ids_are_unique_whatever_the_content_and_sort_by_time() -> None:
    made = [new_head("tip", now=datetime(2026, 5, day, tzinfo=UTC))["id"] for day in (1, 1, 2)]
    assert len(set(made)) == 3
    assert max(made[:2]) < made[2]
    assert made[0].startswith("20260501T000000Z-tip-")


def test_a_record_says_who_when_for_what_and_until_when() -> None:
    record = draft(now=datetime(2026, 5, 1, 12, tzinfo=UTC))
    assert record["operator"] == "Ada Klein"
    assert record["date"] == "2026-05-01T12:00:00Z"
    assert record["expiry"] == "2027-05-01"  # 365 days on
    assert record["state"] == state_of(record) == "draft"
    assert record["tip_offset_mm"] == TIP["tip_offset_mm"]
    assert record["checksum"] == checksum(json.loads(json.dumps(record)))


def test_any_change_after_the_seal_is_found() -> None:
    record = draft()
    require_usable(record, "tip.json")
    for key in record:
        if key != "checksum":
            with pytest.raises(GateRefusedError, match=r"tip\.json: .*altered"):
                require_usable(record | {key: "changed"}, "tip.json")


def test_a_second_named_person_approves_and_nothing_else_changes() -> None:
    record = draft()
    signed = approved(record, " Ben  Ruiz ", "tip.json")
    assert state_of(signed) == "approved"
    assert signed["approved_by"] == "Ben Ruiz"
    assert signed["id"] == record["id"]
    assert signed["draft_checksum"] == record["checksum"] != signed["checksum"]
    assert sealed(draft_of(signed)) == record
    require_usable(signed, "tip.json")


@pytest.mark.parametrize(
    ("content", "by", "words"),
    [
        (draft(), "ada  KLEIN", "second person"),
        (draft(), "AdaKlein", "second person"),
        (draft(), "  ", "names nobody"),
        (draft(operator=None), "Ben", "no operator"),
        (draft(operator=" "), "Ben", "no operator"),
        (approved(draft(), "Cara", "tip.json"), "Ben", "approved already, by Cara"),
        (dict(TIP), "Ben", "no id"),
        ({**TIP, "id": "mine"}, "Ben", "no checksum"),
        (sealed({**TIP, "id": "mine", "operator": "Ada"}), "Ben", "no draft as"),
    ],
)
def test_what_is_no_draft_or_no_second_person_is_told(content: dict[str, Any], by: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        approved(content, by, "tip.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (draft() | {"tip_offset_mm": [0.0, 0.0, 0.0]}, "altered"),
        (sealed(draft() | {"accepted": False, "reasons": ["bent"]}), "refused: bent"),
        (sealed(draft() | {"expiry": "2001-01-01"}), "expired on 2001-01-01"),
    ],
)
def test_what_may_not_be_used_cannot_be_approved(content: dict[str, Any], words: str) -> None:
    with pytest.raises(GateRefusedError, match=words):
        approved(content, "Ben", "tip.json")


def test_an_approval_of_another_draft_is_refused_though_it_is_sealed() -> None:
    signed = approved(draft(), "Ben", "tip.json")
    forged = sealed(signed | {"tip_offset_mm": [9.0, 9.0, 9.0]})
    with pytest.raises(GateRefusedError, match="not the draft that Ben approved"):
        require_usable(forged, "tip.json")


def test_a_state_that_nobody_proves_is_a_draft() -> None:
    said = sealed(draft() | {"state": "approved", "approved_by": "Ben"})
    alone = sealed(approved(draft(), "Ben", "f") | {"approved_by": "Ada Klein"})
    assert state_of(said) == state_of(alone) == "draft"


def test_records_of_before_are_known_by_what_they_hold() -> None:
    assert kind_of({"response": {}, "T_probe_probetip": []}) == "detector"
    assert kind_of({"tip_offset_mm": [1, 2, 3]}) == "tip"
    assert kind_of({"axis": [0, 0, 1]}) == "axis"
    assert kind_of({"count_latency_s": 0.1}) == "latency"
    assert kind_of({}) == "unknown"


def test_the_stamp_names_an_unsealed_file_as_such() -> None:
    assert RecordStamp.of(TIP, "somewhere/tip.json").words == "tip.json (unsealed)"
    record = draft()
    assert RecordStamp.of(record).words == f"{record['id']} (draft)"
    assert RecordStamp.of(approved(record, "Ben", "f")).to_json()["approved_by"] == "Ben"


def test_it_expires_after_its_last_day_and_warns_a_fortnight_before() -> None:
    record = sealed(draft() | {"expiry": "2026-06-30"})
    require_usable(record, "tip.json", date(2026, 6, 30))
    with pytest.raises(GateRefusedError, match="expired on 2026-06-30"):
        require_usable(record, "tip.json", date(2026, 7, 1))
    assert expires_soon(record, "tip.json", date(2026, 6, 15)) is None  # 15 days before
    assert "2026-06-30" in str(expires_soon(record, "tip.json", date(2026, 6, 16)))
    with pytest.raises(InputError, match=r"tip\.json, expiry"):
        require_usable(sealed(draft() | {"expiry": "soon"}), "tip.json")


def test_what_is_written_over_a_record_names_it(tmp_path: Path) -> None:
    path = tmp_path / "tip.json"
    first = draft(replaces=path)
    assert first["previous"] is None
    path.write_text(json.dumps(first))
    second = replacing(draft(), path)
    assert second["previous"] == first["id"]
    require_usable(second, path)
    path.write_text("no JSON")
    assert draft(replaces=path)["previous"] is None


def test_a_tip_is_refused_once_altered_or_expired_and_free_when_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "tip.json"
    for content, words in (
        (draft() | {"tip_offset_mm": [1.0, 2.0, 101.0]}, "altered"),
        (sealed(draft() | {"expiry": "2001-01-01"}), "expired"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(GateRefusedError, match=words):
            read_tip([path])
    for content in (draft(), TIP):
        path.write_text(json.dumps(content))
        assert read_tip([path])["tip_offset_mm"] == [1.0, 2.0, 100.0]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Identity("In-111"), "the calibration is for Tc-99m, the scan is In-111"),
        (
            Identity(window_kev=(120.0, 154.5)),
            "energy window 126.5 to 154.5 keV, the scan is 120 to 154.5 keV",
        ),
        (Identity(probe_serial="SN 8"), "probe serial SN 7, the scan is SN 8"),
        (Identity(collimator="pinhole"), "collimator open, the scan is pinhole"),
    ],
)
def test_a_mismatch_is_refused_by_name(other: Identity, words: str) -> None:
    with pytest.raises(GateRefusedError, match=words):
        require_match(PROBE, other, "the scan")


def test_the_same_said_otherwise_is_no_mismatch() -> None:
    # Whole keV, case and spaces: written by hand, read from a label.
    assert conflicts(PROBE, Identity("Tc-99m", (126.0, 154.0), "sn7", "Open"), "the scan") == ()
    assert unverified(PROBE, Identity("Tc-99m", (126.0, 154.0), "sn7", "Open")) is None


def test_what_is_not_stated_is_unverified_and_no_mismatch() -> None:
    silent = Identity("Tc-99m")
    require_match(PROBE, silent, "the scan")
    assert (
        unverified(PROBE, silent) == "unverified, because not stated: energy window, probe serial, collimator"
    )
    assert unverified(Identity("Tc-99m", (1.0, 2.0)), PROBE) == (
        "unverified, because not stated: probe serial, collimator"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"window_kev": [1]}, "window_kev"),
        ({"window_kev": [154, 126]}, "window_kev"),
        ({"window_kev": "wide"}, "window_kev"),
        ({"probe_serial": ["x"]}, "probe_serial"),
        ({"collimator": " "}, "collimator"),
        ({"nuclide": "Xx-1"}, "unknown nuclide"),
    ],
)
def test_a_statement_that_is_none_is_named(content: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Identity.of(content, "scan.json")


def test_an_approval_of_another_draft_is_refused_wherever_a_tip_is_read(tmp_path: Path) -> None:
    # Changed after the approval and sealed anew: only the draft's checksum tells.
    signed = approved(draft(), "Ben Ruiz", "tip.json")
    path = tmp_path / "tip.json"
    path.write_text(json.dumps(signed))
    assert read_tip([path])["tip_offset_mm"] == signed["tip_offset_mm"]
    path.write_text(json.dumps(sealed(signed | {"tip_offset_mm": [0.0, 0.0, 99.0]})))
    with pytest.raises(GateRefusedError, match="not the draft that Ben Ruiz approved"):
        read_tip([path])
