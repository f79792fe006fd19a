"""Counts on the wire in both forms, and everything that is no count."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.errors import WireError
from tracking.igtl import decode, encode, sensor_message, status_message, string_message
from tracking.igtl.counts import (
    counts_from_message,
    counts_sensor_message,
    counts_string_message,
    is_counts,
)
from tracking.sample import CountSample

SAMPLE = CountSample(1.8e9, 17, 41.0, 0.1, 5312.0, 1.70)
FULL = CountSample(1.8e9, 17, 41.0, 0.1, 5312.0, 1.70, "Tc-99m", (126.0, 154.0), "GP-7")


@pytest.mark.parametrize("version", [1, 2])
def test_sensor_form(version: int) -> None:
    message = decode(encode(counts_sensor_message(SAMPLE, version)))
    assert (message.type, message.device, message.version) == ("SENSOR", "GammaProbe", version)
    assert is_counts(message)
    assert counts_from_message(message) == SAMPLE


def test_sensor_values_are_in_the_agreed_order() -> None:
    raw = encode(counts_sensor_message(SAMPLE))
    assert raw[58:68] == bytes([5, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    body = decode(raw).body
    # sequence, cumulative counts, cumulative live time s, interval counts, interval s
    assert body.values == (17.0, 5312.0, 1.70, 41.0, 0.1)  # type: ignore[union-attr]


@pytest.mark.parametrize("sample", [SAMPLE, FULL])
def test_string_form(sample: CountSample) -> None:
    message = decode(encode(counts_string_message(sample)))
    assert (message.type, message.device) == ("STRING", "GammaProbe")
    assert is_counts(message)
    assert counts_from_message(message) == sample


def test_string_is_the_agreed_json() -> None:
    assert json.loads(counts_string_message(FULL).body.text) == {  # type: ignore[union-attr]
        "seq": 17,
        "counts_total": 5312,
        "live_time_s": 1.70,
        "counts": 41,
        "interval_s": 0.1,
        "nuclide": "Tc-99m",
        "window_kev": [126, 154],
        "probe_serial": "GP-7",
    }


finite = st.floats(0.0, 1e12)


@settings(deadline=None)
@given(
    t_s=st.integers(0, 2**20).map(lambda n: n / 1024),
    seq=st.integers(0, 2**53),
    counts=st.integers(0, 2**40),
    before=st.integers(0, 2**50),
    interval_s=st.floats(1e-3, 1e3),
    live_time_s=finite,
)
def test_both_forms_keep_every_number(
    t_s: float, seq: int, counts: int, before: int, interval_s: float, live_time_s: float
) -> None:
    sample = CountSample(t_s, seq, float(counts), interval_s, float(counts + before), live_time_s)
    for make in (counts_sensor_message, counts_string_message):
        assert counts_from_message(decode(encode(make(sample)))) == sample


GOOD = [17.0, 5312.0, 1.7, 41.0, 0.1]


@pytest.mark.parametrize(
    ("index", "value"),
    [
        *[(i, bad) for i in range(5) for bad in (float("nan"), float("inf"), -1.0)],
        (0, 1.5),
        (0, 2.0**54),
        (3, 5313.0),
        (4, 0.0),
    ],
)
def test_impossible_values_are_refused(index: int, value: float) -> None:
    values = list(GOOD)
    values[index] = value
    with pytest.raises(WireError, match="counts message"):
        counts_from_message(sensor_message("GammaProbe", values, 0.0))


@pytest.mark.parametrize("values", [[], GOOD[:4], [*GOOD, 0.0]])
def test_wrong_number_of_values_is_refused(values: list[float]) -> None:
    with pytest.raises(WireError, match="not 5"):
        counts_from_message(sensor_message("GammaProbe", values, 0.0))


def record(**changes: Any) -> str:
    fields = {"seq": 17, "counts_total": 5312, "live_time_s": 1.7, "counts": 41, "interval_s": 0.1}
    merged = {**fields, **changes}
    return json.dumps({key: value for key, value in merged.items() if value != "absent"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[1, 2]",
        "[" * 60000,
        record(seq="absent"),
        record(seq="17"),
        record(seq=True),
        record(counts=None),
        record(counts_total=float("nan")),
        record(counts_total=10**400),
        record(live_time_s=[1.0]),
        record(nuclide=99),
        record(probe_serial={}),
        record(window_kev=140),
        record(window_kev=[126]),
        record(window_kev=[154, 126]),
        record(window_kev=[126, "154"]),
    ],
)
def test_impossible_json_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="counts message"):
        counts_from_message(string_message("GammaProbe", text, 0.0))


def test_further_keys_are_welcome() -> None:
    assert counts_from_message(string_message("GammaProbe", record(battery=0.8), 1.8e9)) == SAMPLE


def test_other_messages_hold_no_counts() -> None:
    assert not is_counts(sensor_message("Force", GOOD, 0.0))
    assert not is_counts(status_message("GammaProbe", 0.0))
    with pytest.raises(WireError, match="no counts"):
        counts_from_message(status_message("GammaProbe", 0.0))
