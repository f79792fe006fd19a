"""A case without a tracker on the simulated probe: pedal, console, record, table and report, over real sockets."""

from __future__ import annotations

import csv
import json
import re
import threading
import time
from html import unescape
from pathlib import Path

import pytest

from navigation.case import read_case
from navigation.cli.main import run
from navigation.engine.assembly import RECORD_NAME, LiveCase
from navigation.engine.console import Console
from navigation.engine.results import write_results
from navigation.simulate.scenes import build_scene
from navigation.simulate.stage import Stage
from tests.navigation.engine.fakes import build
from tests.navigation.engine.test_live import DEADLINE_S, Listener
from tests.navigation.engine.test_pedal import told
from tracking.igtl.codec import decode, encode
from tracking.igtl.counts import counts_from_message
from tracking.igtl.messages import string_message
from tracking.recording import Record
from tracking.sample import CountSample

CASE = """
name = "counts only"
nuclide = "Tc-99m"
simulated = true
dead_time_s = 1e-5
count_seconds = 3
[probe]
port = {port}
[pedal]
clients = ["127.0.0.1"]
press = "count specimen 2 hilum"
"""

BEFORE_THE_PEDAL = (
    *("scan", "bed", "divot"),
    *("count background", "count target node 2", "count specimen 1", "counts"),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a case of five counts, and what the console said."""
    folder, said = tmp_path_factory.mktemp("counts"), []
    stage = Stage(build_scene("node", 0), 0, speed=8.0, counts="string")
    _, port = stage.start()
    player = threading.Thread(target=stage.play, daemon=True)
    player.start()
    try:
        (folder / "case.toml").write_text(CASE.format(port=port))
        with LiveCase(read_case(folder / "case.toml"), folder / RECORD_NAME, 0, build) as case:
            assert case.engine.wait_connected(DEADLINE_S) is None
            console = Console(case, said.append)
            for line in (
                "scan",
                "bed",
                "divot",
                "count background",
                "count target node 2",
                "count specimen 1",
                "counts",
            ):
                console.obey(line)
            pedal = Listener(case.publisher.server.port)
            pedal.wait(lambda heard: any(m.device == "EngineStatus" for m in heard))
            assert pedal.client.send(encode(string_message("Pedal", "press", time.time())))
            pedal.wait(told(lambda words: len(words["counts"]) == 4))
            pedal.client.stop()
            for line in ("count bed 40", "count cancel", "count bed", "counts", "count void 3 wrong node"):
                console.obey(line)
        write_results(case.session, case.engine.outcomes, folder)
    finally:
        stage.stop.set()
        player.join()
        stage.close()
    return folder, said


def samples(record: Path) -> list[CountSample]:
    """What the counter sent, read from the record without the engine."""
    return [counts_from_message(decode(e.payload)) for e in Record(record).events("raw")]


def test_what_needs_a_place_is_refused_and_counts_are_taken(played: tuple[Path, list[str]]) -> None:
    _, said = played
    assert all("the case has no tracker" in line for line in said[:3])
    assert "1 background: " in said[6]


def test_every_count_is_the_difference_of_the_counters_own_totals(played: tuple[Path, list[str]]) -> None:
    folder, _ = played
    content = json.loads((folder / "timed_counts.json").read_text())
    sent = samples(folder / RECORD_NAME)
    labels = [c["label"] for c in content["counts"]]
    assert labels == ["background", "target node", "specimen 1", "specimen 2 hilum", "bed"]
    for count in content["counts"]:
        within = [
            s
            for s in sent
            if count["start_s"] < s.t_s - 0.5 * s.interval_s and s.t_s <= count["end_s"] + 1e-6
        ]
        first, last = within[0], within[-1]
        assert count["counts"] == last.counts_total - first.counts_total + first.counts
        assert count["window_s"] == pytest.approx(last.live_time_s - first.live_time_s + first.interval_s)
        assert count["window_s"] == pytest.approx(2.0 if count["kind"] == "target" else 3.0)
        assert count["failed"] is None
    assert content["simulated"]


def test_the_record_alone_gives_the_same_table(played: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = played
    record = str(folder / RECORD_NAME)
    assert run(["counts", record, "--out", str(tmp_path / "out")]) == 0
    for name in ("timed_counts.json", "timed_counts.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert run(["counts", record, "--out", str(tmp_path / "out")]) == 2
    assert run(["counts", record, "--out", str(tmp_path / "out"), "--force"]) == 0
    assert run(["counts", str(tmp_path / "nothing.gnav")]) == 2
    rows = list(csv.DictReader((folder / "timed_counts.csv").read_text().splitlines()))
    assert rows[2]["void"] == "wrong node"
    assert rows[2]["ratio"] == ""


def test_the_report_has_the_table_and_no_scan(played: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = played
    assert run(["report", str(folder), "--out", str(tmp_path / "report"), "--no-dicom"]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    said = " ".join(
        unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))).split()
    )
    assert "Timed counts" in said
    assert "specimen 2 hilum" in said
    assert "VOID: wrong node" in said
    assert "10 % rule" in said
    assert "SIMULATION" in said
    assert not re.search(r"\b(clear|clean|safe|positive|negative)\b", said.lower())
