"""Damaged files give no wrong row, the rows before the damage, and its place; resuming keeps all of it (H34)."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.campaign.torn import LEAST_PART, PAGE, Subject, campaign, subjects
from tracking.errors import InputError
from tracking.recording import DamagedRecordError, Record, Recorder, verify
from tracking.recording.store import LOG, beside

VARIANTS = 99


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    return subjects(tmp_path_factory.mktemp("whole"))


def test_no_wrong_row_comes_back_and_the_damage_is_named(torn: list[Subject], tmp_path: Path) -> None:
    found = campaign(tmp_path, VARIANTS, random.Random(11), torn)
    assert found.variants == VARIANTS
    assert found.wrong == 0
    assert found.before > 30_000
    assert found.back >= LEAST_PART * found.before
    assert found.silent == []
    # only a log that was cut looks like one that was never longer: one variant in nine
    assert found.shorter <= VARIANTS // 9
    assert found.named + found.unharmed + found.shorter == VARIANTS


def laid_out(subject: Subject, folder: Path) -> Path:
    path = folder / "r.gnav"
    for ending, data in subject.files.items():
        beside(path, ending).write_bytes(data)
    return path


def test_a_torn_tail_is_salvaged_and_the_original_stays(torn: list[Subject], tmp_path: Path) -> None:
    path = laid_out(torn[0], tmp_path)
    data = path.read_bytes()
    half = len(data) // 2 // PAGE * PAGE
    path.write_bytes(data[:half] + bytes(len(data) - half))
    damaged = path.read_bytes()
    with pytest.raises(DamagedRecordError) as error:
        verify(path)
    good = error.value.row - 1
    assert good > 500
    with Recorder.resume(path) as recorder:
        assert recorder.append("s", 1e9, "raw", b"after")
    events = list(Record(path).events())
    assert events[:good] == torn[0].rows[:good]
    assert [e.kind for e in events[good:]] == ["recorder", "raw"]
    note = events[good].content()
    assert (note["event"], note["last_row"], note["kept_as"]) == ("resumed", good, "r.gnav.damaged")
    assert note["damage"].startswith(f"row {good + 1}: ")
    assert note["seal"]["rows"] == len(torn[0].rows)
    assert (tmp_path / "r.gnav.damaged").read_bytes() == damaged
    assert verify(path).seal is not None


def test_a_flipped_bit_in_the_log_is_named_and_recording_goes_on(torn: list[Subject], tmp_path: Path) -> None:
    path = laid_out(torn[1], tmp_path)
    log = bytearray(beside(path, LOG).read_bytes())
    log[len(log) // 2] ^= 4
    beside(path, LOG).write_bytes(log)
    with pytest.raises(DamagedRecordError, match="log: damaged in frame") as error:
        verify(path)
    good = error.value.row - 1
    assert len(torn[1].rows) // 2 < good < len(torn[1].rows)
    Recorder.resume(path).close()
    events = list(Record(path).events())
    assert events[:good] == torn[1].rows[:good]
    note = events[good].content()
    assert note["kept_as"] == "r.gnav.damaged-wal"
    assert "log: damaged in frame" in note["damage"]
    assert (tmp_path / "r.gnav.damaged-wal").read_bytes() == log
    assert verify(path).rows == good + 1


def test_damage_far_from_the_tail_is_found_in_the_background(
    torn: list[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracking.recording.resume.TAIL_ROWS", 100)
    path = laid_out(torn[0], tmp_path)
    data = bytearray(path.read_bytes())
    data[data.find(torn[0].rows[500].payload)] ^= 1
    path.write_bytes(data)
    heard: list[tuple[str, str]] = []
    recorder = Recorder.resume(path, on_alarm=lambda kind, text: heard.append((kind, text)))
    for thread in recorder._threads:
        if thread.name == "recorder-check":
            thread.join()
    recorder.close()
    assert [kind for kind, _ in heard] == ["damage"]
    assert "row 501: changed" in heard[0][1]
    (note,) = [e.content() for e in Record(path).picked("recorder") if e.content()["event"] == "damage"]
    assert "row 501" in note["damage"]
    shutil.copy(path, tmp_path / "again.gnav")
    with Recorder.resume(path, whole=True):  # now all rows are looked at first
        pass
    assert (tmp_path / "r.gnav.damaged").read_bytes() == (tmp_path / "again.gnav").read_bytes()
    assert verify(path).rows == 501


def test_a_crash_between_the_renames_is_made_good(torn: list[Subject], tmp_path: Path) -> None:
    """The old file has gone to its new name, the copy has not yet come to its place; an old log lies about."""
    path = laid_out(torn[0], tmp_path)
    path.rename(tmp_path / "r.gnav.salvaged")
    beside(path, LOG).write_bytes(torn[1].files[LOG])
    Recorder.resume(path).close()
    assert list(Record(path).events())[: len(torn[0].rows)] == torn[0].rows


def test_without_a_head_nothing_goes_on(torn: list[Subject], tmp_path: Path) -> None:
    path = laid_out(torn[0], tmp_path)
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    for attempt in (Record, Recorder.resume):
        with pytest.raises(InputError, match="not a record"):
            attempt(path)
    with pytest.raises(InputError, match="no such record"):
        Recorder.resume(tmp_path / "none.gnav")
