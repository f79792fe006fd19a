from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from navigation.engine.guidancestate import Navigation
from navigation.ui.state import COUNTS_SILENT_S, ENGINE_SILENT_S, MAP_EXPIRY_S, POSE_EXPIRY_S, STATUS_SILENT_S
from navigation.ui.topbar import stamp
from tests.navigation.ui.scene import FOCUS_MM, activity_map, messages, model_of, snapshot, spot
from tracking.igtl import StringContent


def test_fresh_scene_is_live_and_says_what_the_engine_said() -> None:
    state = model_of(snapshot()).state(0.1)
    assert state.live
    assert state.banners == ()
    assert (state.rate_cps, state.simulated, state.scan) == (137.0, True, "scan-1")
    assert state.snapshot_id == 41
    assert state.maps is not None
    assert not state.maps.examined.all()
    assert state.T_ras_reference is not None


def test_distance_is_from_the_tip_with_the_spots_own_sd() -> None:
    # The focus lies 22 mm ahead and 4 mm aside: sqrt(22^2 + 4^2) = 22.36; worst SD 1.5 mm.
    target = model_of(snapshot()).state(0.1).target
    assert target is not None
    assert target.distance_mm == pytest.approx(22.36, abs=0.01)
    assert target.text == "22 ± 2 mm"
    assert target.offset_mm is not None
    assert target.offset_mm[2] == pytest.approx(22.0)


def test_right_of_the_probe_is_the_patients_left_when_registered() -> None:
    # Reference +X is the patient's left here, and the focus lies 4 mm along it.
    target = model_of(snapshot()).state(0.1).target
    assert target is not None
    assert target.offset_mm is not None
    assert target.offset_mm[:2] == pytest.approx([4.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(("sd_mm", "text"), [(9.9, "22 ± 10 mm"), (10.1, "--")])
def test_distance_worse_than_ten_millimetres_is_not_shown(sd_mm: float, text: str) -> None:
    target = model_of(snapshot(spots=(spot(sd_mm=sd_mm),))).state(0.1).target
    assert target is not None
    assert target.text == text


def test_pose_expires_and_takes_distance_and_colour_with_it() -> None:
    # The engine stated an age of 20 ms on arrival.
    model = model_of(snapshot())
    assert model.state(POSE_EXPIRY_S - 0.03).live
    state = model.state(POSE_EXPIRY_S)
    assert not state.live
    assert state.T_reference_probe is None
    assert state.last_T_reference_probe is not None
    assert "PROBE NOT SEEN" in state.banners
    assert state.target is not None
    assert state.target.text == "--"


def test_invalid_pose_is_never_shown_but_the_last_place_is_remembered() -> None:
    model = model_of(snapshot())
    lost = replace(snapshot().tools["Probe"], valid=False, status="OUT_OF_VIEW")
    for message in messages(snapshot(tools={"Probe": lost})):
        model.receive(message, 0.1)
    state = model.state(0.1)
    assert state.T_reference_probe is None
    assert state.last_T_reference_probe is not None
    assert state.lamps[0].state == "stale"


def test_counts_map_and_engine_expire() -> None:
    model = model_of(snapshot())
    assert model.state(COUNTS_SILENT_S + 0.01).rate_cps is None
    # Any word is a sign of life: poses come more often than the state.
    model.receive(messages(snapshot())[0], MAP_EXPIRY_S - 0.5)
    # The map was 0.3 s old when it was announced.
    assert model.state(MAP_EXPIRY_S - 0.31).map_fresh
    assert not model.state(MAP_EXPIRY_S - 0.29).map_fresh
    assert model.state(MAP_EXPIRY_S - 0.29).engine_alive
    # A state that is not renewed counts for little, whatever else comes.
    model.receive(messages(snapshot())[0], STATUS_SILENT_S)
    assert not model.state(STATUS_SILENT_S + 0.01).engine_alive
    silent = model_of(snapshot()).state(ENGINE_SILENT_S + 0.01)
    assert not silent.live
    assert "ENGINE SILENT" in silent.banners[0]
    assert silent.T_ras_reference is None
    assert silent.bed == {}
    model.engine_gone = True
    assert not model.state(0.01).engine_alive


def test_heartbeat_moves_only_with_the_engine() -> None:
    model = model_of(snapshot())
    before = model.state(0.1).ticks
    assert model.state(0.3).ticks == before
    for message in messages(snapshot(id=42)):
        model.receive(message, 0.3)
    assert model.state(0.3).ticks == before + 1


def test_activity_and_coverage_of_two_versions_are_never_paired() -> None:
    model = model_of(snapshot())
    newer = messages(snapshot(map=activity_map(version=4)))
    for message in newer:
        if message.device == "Activity_Reference":
            model.receive(message, 0.1)
    maps = model.state(0.1).maps
    assert maps is not None
    assert maps.version == "3"


def test_map_of_an_earlier_scan_is_called_so() -> None:
    state = model_of(snapshot(scan="scan-2", map_final=True)).state(0.1)
    assert state.map_of_other_scan
    assert state.banners == ("MAP OF SCAN-1, NOT OF THIS SCAN",)


def test_selection_follows_a_focus_through_renumbering_and_goes_round() -> None:
    far = spot(2, FOCUS_MM + [30.0, 0.0, 0.0])
    model = model_of(snapshot(spots=(spot(1), far)))
    model.select_next()
    chosen = model.state(0.1).target
    assert chosen is not None
    assert chosen.spot.id == 2
    for message in messages(snapshot(spots=(spot(1, FOCUS_MM + [31.0, 1.0, 0.0]), spot(2)))):
        model.receive(message, 0.1)
    chosen = model.state(0.1).target
    assert chosen is not None
    assert chosen.spot.id == 1
    model.select_next()
    chosen = model.state(0.1).target
    assert chosen is not None
    assert chosen.spot.id == 2


def test_chosen_focus_that_is_gone_is_not_replaced_by_another() -> None:
    model = model_of(snapshot())
    model.select(1)
    for message in messages(snapshot(spots=(spot(1, FOCUS_MM + [40.0, 0.0, 0.0]),))):
        model.receive(message, 0.1)
    assert model.state(0.1).target is None


def test_unregistered_case_has_no_patient_axes() -> None:
    unregistered = replace(snapshot().registration, id="none", matrix=np.eye(4))
    assert model_of(snapshot(registration=unregistered)).state(0.1).T_ras_reference is None


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"spots": [{"id": 1}]})])
def test_malformed_spots_show_none(text: str) -> None:
    model = model_of(snapshot())
    message = next(m for m in messages(snapshot()) if m.device == "Spots")
    model.receive(replace(message, body=StringContent(text)), 0.1)
    spots = model.state(0.1).spots
    assert len(spots) == (0 if "spots" in text else 1)


def test_what_is_known_of_the_tip_is_always_told() -> None:
    from navigation.engine.tipstate import WRONG, TipState

    assert model_of(snapshot()).state(0.1).tip == "not checked in this case"
    wrong = TipState(WRONG, 0.81, 2.3, 0.1, 5.0, 200, "the tip lies 2.30 mm off")
    assert model_of(replace(snapshot(), tip_check=wrong)).state(0.1).tip == "WRONG, 3D RMS 0.81 mm"


def test_a_rehearsal_says_so_before_anything_else() -> None:
    state = model_of(snapshot(rehearsal="a record of 2026-01-02, not live", simulated=False)).state(0.1)
    assert stamp(state) == "REHEARSAL: a record of 2026-01-02, not live  ·  RESEARCH USE ONLY"
    both = model_of(snapshot(rehearsal="a record", simulated=True)).state(0.1)
    assert stamp(both).startswith("SIMULATION  ·  REHEARSAL: a record")
    assert stamp(model_of(snapshot(simulated=False)).state(0.1)) == "RESEARCH USE ONLY"
    assert all(m.metadata.get("Rehearsal") == "REHEARSAL" for m in messages(snapshot(rehearsal="a record")))
    assert not any("Rehearsal" in m.metadata for m in messages(snapshot()))


def test_a_window_that_begins_anew_shows_what_the_case_goes_for() -> None:
    spots = (spot(1), spot(2, FOCUS_MM + [25.0, 0.0, 5.0]))
    way = Navigation("focus 2", "focus", 2.0, 30.0, 28.0, 10.0, 19.0)
    model = model_of(snapshot(spots=spots, navigation=way))
    state = model.state(0.1)
    assert state.target is not None and state.target.spot.id == 2  # the first is the more significant one
    assert state.way.startswith("focus 2: 30 mm away (SD 2 mm)")
    # A choice in this window holds from then on.
    model.select(1)
    again = model.state(0.2)
    assert again.target is not None and again.target.spot.id == 1
    assert model.next_id() == 2
    assert model.state(2.0).way == ""
