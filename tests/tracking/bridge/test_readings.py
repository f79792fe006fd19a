"""What a line says and what it adds up to; garbage never becomes a count."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.bridge import SHIPPED, LineFormat, read_format, shipped_format
from tracking.bridge.readings import Ledger, LineReader, Reading, spread
from tracking.errors import InputError
from tracking.sample import CountSample

INTERVAL, RATE, CUMULATIVE = (shipped_format(name) for name in SHIPPED)


def with_checksum(text: str) -> bytes:
    value = 0
    for byte in text.encode():
        value ^= byte
    return f"{text}*{value:02X}".encode()


def taken(form: LineFormat, *lines: tuple[float, bytes]) -> tuple[list[CountSample], Ledger, LineReader]:
    """Samples of (arrival, line) pairs, with the clock that nobody sets equal to the arrival."""
    reader, ledger = LineReader(form), Ledger(form)
    samples = []
    for at_s, line in lines:
        reading = reader.read(line)
        sample = None if reading is None else ledger.take(reading, at_s, at_s)
        samples += [] if sample is None else [sample]
    return samples, ledger, reader


def numbers(samples: list[CountSample]) -> list[tuple[float, ...]]:
    return [(s.seq, s.counts, s.interval_s, s.counts_total, round(s.live_time_s, 9)) for s in samples]


def test_interval_counts_add_up() -> None:
    samples, _, reader = taken(INTERVAL, (10.0, b"CNT 17"), (10.1, b"3"), (10.2, b"C=0"))
    assert numbers(samples) == [(1, 17, 0.1, 17, 0.1), (2, 3, 0.1, 20, 0.2), (3, 0, 0.1, 20, 0.3)]
    assert [s.t_s for s in samples] == [10.0, 10.1, 10.2]
    assert not reader.garbage


def test_rate_times_interval_is_counts() -> None:
    lines = [with_checksum("120 cps;0.100 s"), with_checksum("80.5 cps;0.200 s")]
    samples, _, reader = taken(RATE, (1.0, lines[0]), (1.2, lines[1]))
    # 120/s for 0.1 s are 12; 80.5/s for 0.2 s are 16.1.
    assert [(s.counts, s.interval_s) for s in samples] == [
        (pytest.approx(12.0), 0.1),
        (pytest.approx(16.1), 0.2),
    ]
    assert samples[-1].counts_total == pytest.approx(28.1)
    assert not reader.garbage


def test_cumulative_counts_are_differences_and_a_lost_line_loses_nothing() -> None:
    lines = [(0.0, b"seq,ms,total"), (0.0, b"7,1000,500"), (0.1, b"8,1100,510"), (0.4, b"11,1400,540")]
    samples, ledger, _ = taken(CUMULATIVE, *lines)
    assert [(s.counts, round(s.interval_s, 9)) for s in samples] == [(10, 0.1), (30, 0.3)]
    assert ledger.lost == 2  # readings 9 and 10, whose counts are in the 30
    assert [s.seq for s in samples] == [1, 2]


def test_a_restart_of_a_cumulative_counter_is_no_negative_count() -> None:
    lines = [(0.0, b"1,100,500"), (0.1, b"2,200,510"), (5.0, b"1,100,3"), (5.1, b"2,200,9")]
    samples, ledger, _ = taken(CUMULATIVE, *lines)
    assert numbers(samples) == [(1, 10, 0.1, 10, 0.1), (2, 6, 0.1, 16, 0.2)]
    assert ledger.restarts == 1


def test_a_restart_that_has_already_counted_further_is_known_by_its_time() -> None:
    # 300 s passed here, 149.9 s by the probe's own clock: it has restarted and its counts are another story.
    samples, ledger, _ = taken(CUMULATIVE, (0.0, b"1,100,500"), (300.0, b"1500,150000,9000"))
    assert (samples, ledger.restarts) == ([], 1)


def test_a_cumulative_counter_without_time_begins_anew_when_the_line_was_broken() -> None:
    made = LineFormat("t", "cumulative", CUMULATIVE.pattern, interval_s=0.1)
    ledger = Ledger(made)
    assert ledger.take(Reading(100, 0.1, None, None), 0.0, 0.0) is None
    ledger.interrupted()
    assert ledger.take(Reading(900, 0.1, None, None), 0.1, 0.1) is None  # baseline again, not 800 counts
    later = ledger.take(Reading(907, 0.1, None, None), 0.4, 0.4)
    assert later is not None
    assert (later.counts, round(later.interval_s, 9)) == (7, 0.3)  # three intervals passed since


def test_the_stamp_is_the_end_of_the_interval() -> None:
    made = LineFormat("t", "interval", INTERVAL.pattern, interval_s=0.1, delay_s=0.05)
    sample = Ledger(made).take(Reading(1, 0.1, None, None), 100.0, 0.0)
    assert sample is not None
    assert sample.t_s == pytest.approx(99.95)


def test_lines_that_came_in_one_piece_are_stamped_apart() -> None:
    readings = [Reading(1, 0.1, None, None), Reading(2, 0.1, None, None), Reading(3, 0.2, None, None)]
    # The last came now; the one before it 0.2 s earlier, the first another 0.1 s.
    assert spread(readings, 50.0) == pytest.approx([49.7, 49.8, 50.0])
    timed = [Reading(1, None, 3.0, 1), Reading(2, None, 3.5, 2)]
    assert spread(timed, 50.0) == pytest.approx([49.5, 50.0])
    assert spread([], 50.0) == []


def test_a_line_sent_twice_counts_once() -> None:
    lines = [(0.0, b"1,100,500"), (0.1, b"2,200,510"), (0.1, b"2,200,510"), (0.2, b"3,300,511")]
    samples, ledger, _ = taken(CUMULATIVE, *lines)
    assert [s.counts for s in samples] == [10, 1]
    assert ledger.repeats == 1


@pytest.mark.parametrize(
    ("form", "line", "why"),
    [
        (INTERVAL, b"CNT -17", "not of the format"),
        (INTERVAL, b"CNT 1\x007", "not of the format"),
        (INTERVAL, b"CNT 17 CNT 18", "not of the format"),
        (INTERVAL, b"\xff\xfe17", "not of the format"),
        (INTERVAL, b"9" * 600, "too long"),
        (INTERVAL, b"99999999", "rate beyond any probe"),
        (RATE, b"120 cps;0.100 s", "checksum wrong or missing"),
        (RATE, with_checksum("120 cps;0.100 s").replace(b"120", b"720"), "checksum wrong or missing"),
        (RATE, with_checksum("120 cps;0.000 s"), "no interval"),
        (CUMULATIVE, b"1,100", "not of the format"),
        (CUMULATIVE, b"1,100,nan", "negative or not finite"),
        (CUMULATIVE, b"1,100,1e400", "negative or not finite"),
        (CUMULATIVE, b"1,100,12.5", "counts are not whole"),
        (CUMULATIVE, b"1,100,x", "not a number"),
        (CUMULATIVE, b"1,-100,5", "negative or not finite"),
    ],
)
def test_garbage_is_counted_by_reason_and_is_no_count(form: LineFormat, line: bytes, why: str) -> None:
    samples, _, reader = taken(form, (0.0, line))
    assert samples == []
    assert reader.garbage == {why: 1}


@pytest.mark.parametrize("line", [b"", b"   ", b"# comment", b"seq,ms,counts"])
def test_headers_and_empty_lines_are_neither_counts_nor_garbage(line: bytes) -> None:
    samples, _, reader = taken(CUMULATIVE, (0.0, line))
    assert (samples, reader.garbage) == ([], {})


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40), max_size=30))
def test_whatever_comes_totals_rise_and_add_up(lines: list[bytes]) -> None:
    for form in (INTERVAL, RATE, CUMULATIVE):
        samples, _, _ = taken(form, *((0.1 * i, line) for i, line in enumerate(lines)))
        assert [s.seq for s in samples] == list(range(1, len(samples) + 1))
        assert all(s.counts >= 0 and s.interval_s > 0 for s in samples)
        total = 0.0
        for sample in samples:
            total += sample.counts
            assert sample.counts_total == total


def minimal(**changes: str) -> str:
    keys = {"kind": '"interval"', "pattern": "'(?P<counts>\\d+)'", "interval_s": "0.1", **changes}
    return "[message]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v)


def test_a_minimal_format_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "probe.toml"
    file.write_text(minimal())
    form = read_format(file)
    assert (form.baud, form.parity, form.terminator, form.poll) == (9600, "none", b"\r\n", None)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (minimal(kind='"counts"'), "message.kind"),
        (minimal(pattern="'(?P<counts>'"), "message.pattern"),
        (minimal(pattern="'(?P<cuonts>\\d+)'"), "'cuonts'"),
        (minimal(pattern="'(?P<time_s>\\d+)'"), "must give counts"),
        (minimal(interval_s=""), "message.interval_s"),
        (minimal(interval_s="-1"), "message.interval_s"),
        (minimal(interval_s='"0.1"'), "message.interval_s"),
        (minimal(checksum='"crc"'), "message.checksum"),
        (minimal(fields='["counts"]'), "either pattern or fields"),
        (minimal(speed="3"), "'message.speed'"),
        (minimal() + "[line]\nbaud = 0\n", "line.baud"),
        (minimal() + "[line]\nbaud = true\n", "line.baud"),
        (minimal() + "[line]\nbaud = 99999999999999999999\n", "line.baud"),
        (minimal() + '[line]\nparity = "mark"\n', "line.parity"),
        (minimal() + '[line]\nterminator = ""\n', "line.terminator"),
        (minimal() + '[poll]\nsend = "?"\n', "poll"),
        (minimal() + "[counts]\ndelay_s = -0.1\n", "counts.delay_s"),
        (minimal() + "[counts]\nwindow_kev = [154, 126]\n", "counts.window_kev"),
        (minimal() + "[counts]\nwindow_kev = [0, inf]\n", "counts.window_kev"),
        (minimal() + "[probe]\n", "'probe'"),
        ("kind = ", "not TOML"),
    ],
)
def test_a_bad_format_names_file_and_key(text: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "probe.toml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_format(file)
    assert str(file) in str(caught.value)
    assert key in str(caught.value)
