"""The bridge between a pseudo-terminal and real sockets, in this process and as the command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from navigation.cli.main import run
from tests.tracking.bridge.serial_peer import PtyProbe
from tests.tracking.igtl.peers import PATIENCE_S, Collector, poll
from tracking.bridge import SHIPPED, Bridge, LineFormat, read_format, shipped_format
from tracking.bridge.bridge import ENDING, SILENT, STATUS_DEVICE, UNPLUGGED
from tracking.counts import CountStream
from tracking.errors import SurroundingsError
from tracking.igtl import Client, StatusContent, decode
from tracking.igtl.counts import counts_from_message, is_counts
from tracking.sample import CountSample

RATE = shipped_format("rate")


class Running:
    """A bridge at work and a client that listens to it."""

    def __init__(self, probe: PtyProbe, form: LineFormat, string: bool = False) -> None:
        self.states: list[tuple[int, str]] = []
        self.bridge = Bridge(
            str(probe.device), form, 0, string=string, on_state=lambda *state: self.states.append(state)
        )
        self.bridge.start()
        self.thread = threading.Thread(target=self.bridge.run, daemon=True)
        self.thread.start()
        self.heard = Collector()
        self.client = Client("127.0.0.1", self.bridge.port, "probe", self.heard.on_raw)
        self.client.start()
        assert self.client.wait_connected(PATIENCE_S)

    def samples(self) -> list[CountSample]:
        messages = [decode(raw) for raw in list(self.heard.raw)]
        return [counts_from_message(m) for m in messages if is_counts(m)]

    def wait_samples(self, n: int) -> list[CountSample]:
        assert self.heard.wait(lambda _: len(self.samples()) >= n)
        return self.samples()

    def statuses(self) -> list[StatusContent]:
        messages = [decode(raw) for raw in list(self.heard.raw)]
        return [m.body for m in messages if m.device == STATUS_DEVICE and isinstance(m.body, StatusContent)]

    def wait_status(self, code: int) -> StatusContent:
        assert self.heard.wait(lambda _: any(s.code == code for s in self.statuses())), self.states
        return next(s for s in self.statuses() if s.code == code)

    def stop(self) -> None:
        self.bridge.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.client.stop()


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[PtyProbe]:
    peer = PtyProbe(tmp_path)
    yield peer
    peer.close()


@pytest.fixture
def running(probe: PtyProbe) -> Iterator[Running]:
    bridge = Running(probe, shipped_format("interval"))
    yield bridge
    bridge.stop()


def test_lines_become_counts_that_add_up(probe: PtyProbe, running: Running) -> None:
    began_s = time.time()
    probe.write("8\r\nCNT 17\r\nCNT 3\r\n")  # the first line may have begun before the device was opened
    samples = running.wait_samples(2)
    assert [(s.seq, s.counts, s.counts_total) for s in samples] == [(1, 17, 17), (2, 3, 20)]
    assert began_s - 0.2 < samples[0].t_s < samples[1].t_s < time.time()
    assert running.wait_status(StatusContent.OK)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_in_pieces_is_one_line(cut: int, probe: PtyProbe, running: Running) -> None:
    probe.write("\r\n")
    text = "CNT 171\r\nC=5\r\n"
    probe.write(text[:cut])
    # The piece is at rest in the bridge's hands before the rest of it comes.
    assert poll(lambda: running.bridge._line._whole)
    probe.write(text[cut:])
    assert [s.counts for s in running.wait_samples(2)] == [171, 5]


def test_garbage_is_told_and_is_no_count(probe: PtyProbe, running: Running) -> None:
    probe.write("\r\n12\r\n1\xff2\r\n".encode("latin-1") + b"ERR 7 overflow\r\n" + b"5" * 5000 + b"\r\n4\r\n")
    samples = running.wait_samples(2)
    assert [(s.seq, s.counts, s.counts_total) for s in samples] == [(1, 12, 12), (2, 4, 16)]
    assert running.heard.wait(lambda _: any("not of the format" in s.message for s in running.statuses()))


def test_silence_is_told_and_nothing_is_repeated(probe: PtyProbe, running: Running) -> None:
    probe.write("\r\n12\r\n")
    running.wait_samples(1)
    assert "no reading for more than 0.5 s" in running.wait_status(SILENT).message
    probe.write("7\r\n")
    samples = running.wait_samples(2)
    assert [(s.seq, s.counts) for s in samples] == [(1, 12), (2, 7)]
    assert (
        samples[1].t_s - samples[0].t_s > 0.4
    )  # the pause is a hole in time, not an interval without counts
    assert running.states[-1][0] in (StatusContent.OK, SILENT)


def test_an_unplugged_probe_is_told_found_again_and_totals_go_on(probe: PtyProbe, running: Running) -> None:
    probe.write("\r\n12\r\n13\r\n")
    running.wait_samples(2)
    probe.unplug()
    assert str(probe.device) in running.wait_status(UNPLUGGED).message
    probe.plug()
    assert poll(lambda: running.bridge._line.is_open)
    probe.write("99\r\n5\r\n")  # the first may be the tail of 1299
    samples = running.wait_samples(3)
    assert [(s.seq, s.counts, s.counts_total) for s in samples] == [(1, 12, 12), (2, 13, 25), (3, 5, 30)]
    stream = CountStream()
    for sample in samples:
        stream.add(sample, sample.t_s)
    assert (stream.gaps, stream.restarts, stream.refused) == (0, 0, {})


def test_a_probe_that_speaks_when_asked_is_asked(probe: PtyProbe) -> None:
    running = Running(probe, RATE)
    asked = 0
    while asked < 6:
        question = probe.asked(PATIENCE_S)
        assert set(question) <= set(b"?\r")
        for _ in range(question.count(b"?")):
            asked += 1
            text = b"%d cps;0.100 s" % (100 * asked)
            check = 0
            for byte in text:
                check ^= byte
            probe.write(text + b"*%02X\r" % check)
    # The answer to the first question is dropped; 200 cps for 0.1 s are 20 counts.
    assert [s.counts for s in running.wait_samples(4)[:4]] == pytest.approx([20, 30, 40, 50])
    running.stop()


def test_the_string_form_tells_the_nuclide(probe: PtyProbe) -> None:
    pattern = shipped_format("interval").pattern
    form = LineFormat("t", "interval", pattern, interval_s=0.1, nuclide="Tc-99m", window_kev=(126.0, 154.0))
    running = Running(probe, form, string=True)
    probe.write("\r\n12\r\n")
    (sample,) = running.wait_samples(1)
    assert (sample.nuclide, sample.window_kev) == ("Tc-99m", (126.0, 154.0))
    running.stop()


def test_the_end_is_told(probe: PtyProbe) -> None:
    running = Running(probe, RATE)
    running.bridge.stop.set()
    assert running.wait_status(ENDING).message.startswith("the bridge ends")
    running.stop()


def test_two_bridges_never_share_a_probe(probe: PtyProbe, running: Running) -> None:
    with pytest.raises(SurroundingsError, match="cannot be opened"):
        Bridge(str(probe.device), RATE, 0).start()


def test_a_port_in_use_lets_go_of_the_probe(probe: PtyProbe, tmp_path: Path) -> None:
    running = Running(probe, RATE)
    (tmp_path / "other").mkdir()
    other = PtyProbe(tmp_path / "other")
    second = Bridge(str(other.device), RATE, running.bridge.port)
    with pytest.raises(SurroundingsError, match="port"):
        second.start()
    assert not second._line.is_open
    other.close()
    running.stop()


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "navigation.cli.main", "probe-bridge", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_ends_with_zero(number: int, probe: PtyProbe) -> None:
    process = started("--port-device", str(probe.device), "--format", "interval", "--port", "0")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready["ready"] is True
    heard = Collector()
    client = Client("127.0.0.1", ready["port"], "probe", heard.on_raw)
    client.start()
    assert client.wait_connected(PATIENCE_S)
    probe.write("\r\n12\r\n")
    assert heard.wait(lambda c: any(is_counts(decode(raw)) for raw in c.raw))
    began_s = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    assert time.monotonic() - began_s < 2.0  # the bound of the command's contract
    client.stop()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--port-device", "{tmp}/ttyNone", "--format", "interval"), "ttyNone"),
        (("--port-device", "{tmp}/ttyNone", "--config", "{tmp}/bad.toml"), "message.kind"),
        (("--port-device", "{tmp}/ttyNone", "--config", "{tmp}/none.toml"), "none.toml"),
        (("--port-device", "{tmp}/ttyNone"), "--config"),
        (("--format", "interval"), "--port-device"),
    ],
)
def test_bad_surroundings_are_one_line_and_two(words: tuple[str, ...], named: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[message]\nkind = 'counts'\n")
    process = started(*(word.format(tmp=tmp_path) for word in words))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert len(errors.strip().splitlines()) == 1
    assert named in errors


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_format_is_printed_to_begin_ones_own_from(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe-bridge", "--print-format", name]) == 0
    own = tmp_path / "own.toml"
    own.write_text(capsys.readouterr().out)
    assert read_format(own) == shipped_format(name)


def test_another_address_is_served_only_when_it_is_named(probe: PtyProbe) -> None:
    bridge = Bridge(str(probe.device), RATE, 0, host="127.0.0.2")
    bridge.start()
    with socket.create_connection(("127.0.0.2", bridge.port), PATIENCE_S):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", bridge.port), PATIENCE_S)
    bridge.stop.set()
    bridge.run()
