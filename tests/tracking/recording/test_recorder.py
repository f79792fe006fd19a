"""What was acknowledged is kept: in order, bit for bit, through kills and full disks (H33, H34, H35)."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tracking.errors import InputError, SurroundingsError
from tracking.recording import Recorder, read_events, read_meta
from tracking.recording.backlog import MOST_WAITING, MOST_WAITING_BYTES
from tracking.recording.reader import Record
from tracking.recording.store import LOG_BYTES
from tracking.recording.writer import SYNC_CADENCE_S

DEADLINE_S = 60.0
ROOT = Path(__file__).resolve().parents[3]
SECOND = "import sys, pathlib, tracking.recording as r; r.Recorder.resume(pathlib.Path(sys.argv[1]))"


def until(done: Callable[[], bool], what: str) -> None:
    """Poll a condition; fail when it does not come about."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.005)


def test_events_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "case #1 %20.record"  # characters that mean something in a URI
    rows = [
        ("tracker", 1_700_000_000.123456789, "raw", bytes(range(256))),
        ("probe", 0.1 + 0.2, "raw", b""),
        ("engine", -math.pi, "tick", '{"größe": 1}'.encode()),
    ]
    with Recorder(path, {"nuclide": "Tc-99m", "nested": {"a": [1, 2.5]}}) as recorder:
        for row in rows:
            recorder.append(*row)
    assert [(e.source, e.arrival_s, e.kind, e.payload) for e in read_events(path)] == rows
    assert [e.id for e in read_events(path)] == [1, 2, 3]
    assert [e.kind for e in read_events(path, "tick")] == ["tick"]
    assert read_meta(path) == {"nuclide": "Tc-99m", "nested": {"a": [1, 2.5]}}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # closed: one file, no log beside it


def test_a_record_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    with Recorder(path, {}) as recorder:
        for i in range(500):
            recorder.append("s", float(i), "raw", b"x" * 100)
        until(lambda: recorder.committed == 500, "commit")
        assert len(list(read_events(path))) == 500
        until(lambda: recorder.durable == 500, "sync")


def test_many_threads_may_append(tmp_path: Path) -> None:
    path = tmp_path / "r.record"

    def feed(name: str) -> None:
        for i in range(300):
            recorder.append(name, float(i), "raw", b"")

    with Recorder(path, {}) as recorder:
        threads = [threading.Thread(target=feed, args=(f"s{k}",)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = list(read_events(path))
    assert len(events) == 1200
    for k in range(4):
        own = [e.arrival_s for e in events if e.source == f"s{k}"]
        assert own == sorted(own)  # nobody's events change their order


def test_append_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """Another connection holds the write lock: appending goes on, and everything arrives afterwards."""
    path = tmp_path / "r.record"
    with Recorder(path, {}) as recorder:
        blocker = sqlite3.connect(path)
        blocker.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for i in range(2000):
            recorder.append("s", float(i), "raw", b"x")
        assert time.monotonic() - began < 1.0  # SQLite itself would wait 5 s for the lock
        assert recorder.committed == 0
        blocker.rollback()
        blocker.close()
        until(lambda: recorder.committed == 2000, "commit after the lock was gone")
    assert len(list(read_events(path))) == 2000


def test_a_failing_disk_is_told_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    heard: list[tuple[str, str]] = []
    recorder = Recorder(path, {}, on_alarm=lambda kind, text: heard.append((kind, text)))
    recorder.append("s", 0.0, "raw", b"kept")
    until(lambda: recorder.committed == 1, "first commit")
    breaker = sqlite3.connect(path)
    breaker.execute("ALTER TABLE event RENAME TO elsewhere")
    breaker.close()
    assert recorder.append("s", 1.0, "raw", b"accepted, and lost when the recorder is closed")
    until(lambda: recorder.fault is not None, "fault")
    assert not recorder.append("s", 2.0, "raw", b"lost too")
    assert recorder.lost == 1
    assert recorder.health.waiting == 1
    # the two above, and the note on the gap that the second left
    with pytest.raises(SurroundingsError, match=r"r\.record: 3 events were not recorded \(no such table"):
        recorder.close()
    assert [kind for kind, _ in heard] == ["disk"]


def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_WAITING > 10_000
    monkeypatch.setattr("tracking.recording.backlog.MOST_WAITING", 10)
    path = tmp_path / "r.record"
    heard: list[str] = []
    with Recorder(path, {}, on_alarm=lambda kind, text: heard.append(kind)) as recorder:
        blocker = sqlite3.connect(path)
        blocker.execute("BEGIN IMMEDIATE")
        assert [recorder.append("s", float(i), "raw", b"") for i in range(50)] == [True] * 10 + [False] * 40
        assert recorder.waiting == 10
        assert recorder.lost == 40
        until(lambda: heard == ["behind"], "alarm")
        assert recorder.fault == "the disk does not keep up"
        blocker.rollback()
        blocker.close()
        until(lambda: recorder.waiting == 0, "commit")
        assert recorder.append("s", 50.0, "raw", b"")
        until(lambda: recorder.fault is None and heard == ["behind", "recovered"], "recovery")
    events = list(read_events(path))
    assert [e.arrival_s for e in events if e.kind == "raw"] == [*range(10), 50]
    gap = events[10].content()
    assert (gap["event"], gap["lost"], gap["from_s"], gap["to_s"]) == ("lost", 40, 10.0, 49.0)


def test_the_queue_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_WAITING_BYTES <= 64 << 20
    monkeypatch.setattr("tracking.recording.backlog.MOST_WAITING_BYTES", 10_000)
    with Recorder(tmp_path / "r.record", {}) as recorder:
        until(lambda: recorder._backlog.allowed_bytes == 10_000, "bound")
        blocker = sqlite3.connect(tmp_path / "r.record")
        blocker.execute("BEGIN IMMEDIATE")
        # 4000 bytes and some for the row itself: two fit into 10,000, a third does not
        assert [recorder.append("s", 0.0, "raw", bytes(4000)) for _ in range(3)] == [True, True, False]
        blocker.rollback()
        blocker.close()


@pytest.mark.parametrize("arrival_s", [math.nan, math.inf])
def test_what_no_record_can_hold_is_refused_at_once(tmp_path: Path, arrival_s: float) -> None:
    with Recorder(tmp_path / "r.record", {}) as recorder:
        with pytest.raises(ValueError, match="cannot arrive"):
            recorder.append("s", arrival_s, "raw", b"")
        with pytest.raises(ValueError, match="surrogates"):
            recorder.append("\ud800", 0.0, "raw", b"")
        assert recorder.append("s", -0.0, "raw", b"")
    assert [e.arrival_s for e in read_events(tmp_path / "r.record")] == [0.0]


def test_two_never_write_one_record(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    with Recorder(path, {}) as recorder:
        recorder.append("s", 0.0, "raw", b"")
        with pytest.raises(SurroundingsError, match="this process is recording into it already"):
            Recorder.resume(path)
        second = subprocess.run(
            [sys.executable, "-c", SECOND, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "another process is recording into it" in second.stderr
        assert recorder.append("s", 1.0, "raw", b"")
    assert len(list(read_events(path))) == 2


def test_an_alarm_that_nobody_takes_does_not_stop_the_recorder(tmp_path: Path) -> None:
    def broken(kind: str, text: str) -> None:
        raise RuntimeError(kind)

    path = tmp_path / "r.record"
    with Recorder(path, {}, on_alarm=broken) as recorder:
        recorder._alarm("full", "as if")
        recorder.append("s", 0.0, "raw", b"")
    assert len(list(read_events(path))) == 1


def test_a_failed_sync_is_told_and_nothing_counts_as_durable_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    recorder = Recorder(tmp_path / "r.record", {}, on_alarm=lambda kind, text: heard.append(kind))
    recorder.append("s", 0.0, "raw", b"")
    until(lambda: recorder.durable == 1, "sync")
    os.close(recorder._store._log)  # the descriptor fails as a broken disk would
    recorder._store._log = os.open("/dev/null", os.O_RDONLY)  # EINVAL: a device that cannot be synced
    assert recorder.append("s", 1.0, "raw", b"")
    until(lambda: heard == ["sync"], "alarm")
    assert recorder.append("s", 2.0, "raw", b"")
    until(lambda: recorder.committed == 3, "commit")
    assert recorder.durable == 1
    assert "power cut" in str(recorder.fault)
    with pytest.raises(SurroundingsError, match="0 events were not recorded"):
        recorder.close()
    assert len(list(read_events(tmp_path / "r.record"))) == 3


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    Recorder(path, {"first": True}).close()
    with pytest.raises(InputError, match="already exists"):
        Recorder(path, {})
    assert read_meta(path) == {"first": True}


def test_nowhere_to_record(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="cannot record there"):
        Recorder(tmp_path / "none" / "r.record", {})


def test_closing_twice_and_appending_after_is_harmless(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.record", {})
    recorder.close()
    recorder.close()
    recorder.append("s", 0.0, "raw", b"")
    assert recorder.lost == 1
    assert list(read_events(tmp_path / "r.record")) == []


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    foreign, other, newer = (tmp_path / name for name in ("text", "other.sqlite", "newer.record"))
    foreign.write_text("t_s,counts\n" * 200)
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE session (id INTEGER, meta TEXT)")
    database.close()
    Recorder(newer, {}).close()
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 99")
    database.close()
    for path, message in [
        (tmp_path / "none", "no such record"),
        (foreign, "not a record"),
        (other, "not a record"),
        (newer, "record of version 99"),
    ]:
        with pytest.raises(InputError, match=message):
            Record(path)


def test_a_damaged_record_gives_what_precedes_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    with Recorder(path, {}) as recorder:
        for i in range(2000):
            recorder.append("s", float(i), "raw", i.to_bytes(4, "big") * 50)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    got: list[float] = []
    with pytest.raises(InputError, match="good rows before it: "):
        for event in read_events(path):
            assert event.payload == int(event.arrival_s).to_bytes(4, "big") * 50
            got.append(event.arrival_s)
    assert got == [float(i) for i in range(len(got))]


VICTIM = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from tracking.recording import Recorder
recorder = Recorder(Path(sys.argv[1]), {"case": 1})
i = told = 0
while True:
    recorder.append("s", float(i), "raw", i.to_bytes(8, "big") * 16)
    i += 1
    time.sleep(0.0005)
    if recorder.committed > told:
        told = recorder.committed
        print(told, flush=True)
"""


def test_killed_in_the_middle_every_acknowledged_event_is_there(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert victim.stdout is not None
    acknowledged = [int(victim.stdout.readline()) for _ in range(20)]
    victim.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in victim.stdout.read().split(b"\n")[:-1]]
    victim.stdout.close()
    assert victim.wait(DEADLINE_S) == -signal.SIGKILL
    events = list(read_events(path))
    assert len(events) >= acknowledged[-1] > 0
    assert [e.arrival_s for e in events] == [float(i) for i in range(len(events))]
    assert all(e.payload == int(e.arrival_s).to_bytes(8, "big") * 16 for e in events)
    assert read_meta(path) == {"case": 1}


def test_the_log_reaches_the_disk_five_times_a_second(tmp_path: Path) -> None:
    assert SYNC_CADENCE_S <= 0.2
    with Recorder(tmp_path / "r.record", {}) as recorder:
        recorder.append("s", 0.0, "raw", b"")
        until(lambda: recorder.durable == 1, "sync")
    assert recorder.durable == 1


def test_the_log_stays_short(tmp_path: Path) -> None:
    """48 MiB at 2 MiB per look of the tidying thread: the log holds some of them, never all."""
    longest = 0
    with Recorder(tmp_path / "r.record", {}) as recorder:
        for _ in range(12):
            for _ in range(4):
                recorder.append("s", 0.0, "map", bytes(1 << 20))
            until(lambda: recorder.waiting == 0 and recorder._store._logged <= LOG_BYTES, "tidying")
            longest = max(longest, (tmp_path / "r.record-wal").stat().st_size)
    assert longest < 4 * LOG_BYTES


def test_a_disk_that_runs_short_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.recording.health.RATE_LEAST_S", 0.1)
    heard: list[str] = []
    with Recorder(tmp_path / "r.record", {}, on_alarm=lambda kind, text: heard.append(kind)) as recorder:
        until(lambda: recorder._forecast._seen != [], "a look")
        monkeypatch.setattr("tracking.recording.writer.free_bytes", lambda path: 1 << 30)
        deadline = time.monotonic() + DEADLINE_S
        while not heard and time.monotonic() < deadline:
            recorder.append("s", 0.0, "map", bytes(1 << 20))  # every 10 ms: 1 GiB would last 10 s
            time.sleep(0.01)
        assert heard[0] == "space"
        assert recorder.health.minutes_left is not None
        assert recorder.health.minutes_left < 30.0


def test_a_failing_end_leaves_an_open_record_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "r.record"
    recorder = Recorder(path, {})
    recorder.append("s", 0.0, "raw", b"kept")
    until(lambda: recorder.waiting == 0, "commit")
    breaker = sqlite3.connect(path)
    breaker.execute("ALTER TABLE seal RENAME TO elsewhere")
    with pytest.raises(SurroundingsError, match="no such table: seal"):
        recorder.close()
    breaker.execute("ALTER TABLE elsewhere RENAME TO seal")
    breaker.close()
    assert [e.payload for e in read_events(path)] == [b"kept"]
    assert Record(path).seal is None


def test_a_head_that_is_no_unicode_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Unicode"):
        Recorder(tmp_path / "r.gnav", {"name": "\udce9"})
    assert list(tmp_path.iterdir()) == []
    Recorder(tmp_path / "r.gnav", {"name": "e"}).close()


@pytest.mark.parametrize("how", ["removed", "replaced", "at the end"])
def test_a_record_that_is_taken_away_is_told(tmp_path: Path, how: str) -> None:
    path, alarms = tmp_path / "r.gnav", []
    recorder = Recorder(path, {}, on_alarm=lambda kind, text: alarms.append((kind, text)))
    recorder.append("s", 1.0, "note", b"{}")
    if how == "replaced":
        path.rename(tmp_path / "else.gnav")
        path.write_bytes(b"")
    elif how == "removed":
        path.unlink()
    deadline = time.monotonic() + 10.0
    while how != "at the end" and recorder.fault is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    if how == "at the end":
        path.unlink()
    with pytest.raises(SurroundingsError, match="removed or replaced"):
        recorder.close()
    assert [kind for kind, _ in alarms] == ["gone"]
    assert str(path) in alarms[0][1]
