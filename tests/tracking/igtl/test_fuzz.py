"""A hundred thousand damaged messages and streams, and that the hunt would notice what it hunts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.campaign import fuzz
from tests.conftest import REPOSITORY
from tracking.igtl import OpaqueContent, StreamSplitter, codec
from tracking.igtl.header import IMAGE_LARGEST_BYTES


def test_a_hundred_thousand_damaged_messages() -> None:
    findings = fuzz.run(100_000, seed=20261122)
    assert findings.clean, str(findings)
    assert findings.inputs == 100_000
    # headers that fit again let a good part through: the contents have been reached
    assert findings.accepted > 20_000


def test_the_largest_message_takes_twice_its_size() -> None:
    """Once in the buffer and once as the message; in a process that has held nothing as large before."""
    code = "from tests.campaign.fuzz import largest; print(largest('IMAGE'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=True)
    assert IMAGE_LARGEST_BYTES < int(done.stdout) <= 2 * IMAGE_LARGEST_BYTES + (16 << 20)


def test_an_uncaught_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec._UNPACK, "SENSOR", lambda raw: OpaqueContent(raw[raw.index(b"never") :]))
    findings = fuzz.run(3000, seed=1)
    assert not findings.clean
    assert findings.examples[0].startswith("ValueError")


def test_bytes_that_come_back_different_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec._UNPACK, "STATUS", lambda raw: OpaqueContent(bytes(len(raw))))
    findings = fuzz.run(2000, seed=1)
    assert any(example.startswith("comes back different") for example in findings.examples)


def test_a_lost_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamSplitter, "distrust", lambda self: None)
    findings = fuzz.run(10_000, seed=1)
    assert any(example.startswith("the next good message is lost") for example in findings.examples)


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "HANG_S", 0.0)
    assert fuzz.run(10, seed=1).hangs == 10
