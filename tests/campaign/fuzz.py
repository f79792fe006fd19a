"""Damaged OpenIGTLink messages and streams by the million: `python -m tests.campaign.fuzz --n 1000000`.

Whatever comes, the decoder answers with a message or a WireError, within a second and within its memory; what
it accepts it writes again bit by bit, and behind any stream the next good message arrives.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.mutate import Mutator
from tracking.errors import WireError
from tracking.igtl import StreamSplitter, decode, encode, poses_from_message, string_message
from tracking.igtl.header import ARRAY_LARGEST_BYTES, HEADER_BYTES, Header, largest_body_bytes

HANG_S = 1.0
# One input in so many is a whole stream.
_STREAM_EVERY = 32
_STREAM_LENGTH = 8
# Headers of one stream that may lie about their size, one behind the other; each costs its receiver a wait.
_MOST_LIES = 2 * _STREAM_LENGTH
_END = encode(string_message("End", "of the stream", 1.0))
# The bit that a signalling NaN loses when it is read.
_QUIET = {0, 0x40}
# What the interpreter and its allocator may keep for themselves.
_SLACK_BYTES = 16 << 20
_KEPT_EXAMPLES = 10


@dataclass
class Findings:
    """What a run has seen; a fault is told with the input that shows it."""

    inputs: int = 0
    accepted: int = 0
    hangs: int = 0
    faults: int = 0
    slowest_s: float = 0.0
    grown_bytes: int = 0
    elapsed_s: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing uncaught, nothing hung, memory within twice the largest body."""
        return (
            not self.faults and not self.hangs and self.grown_bytes <= 2 * ARRAY_LARGEST_BYTES + _SLACK_BYTES
        )

    def fault(self, what: str, pieces: list[bytes]) -> None:
        self.faults += 1
        self.show(what, pieces)

    def show(self, what: str, pieces: list[bytes]) -> None:
        if len(self.examples) < _KEPT_EXAMPLES:
            self.examples.append(f"{what}: {' '.join(piece.hex() for piece in pieces)}")

    def __str__(self) -> str:
        rate = self.inputs / max(self.elapsed_s, 1e-9)
        lines = [
            f"{self.inputs} inputs, {rate:.0f}/s, {self.accepted} accepted, {self.faults} faults, {self.hangs} hangs,"
            f" slowest {1e3 * self.slowest_s:.1f} ms, {self.grown_bytes / (1 << 20):.1f} MiB grown",
            *self.examples,
        ]
        return "\n".join(lines)


def run(n: int, seed: int) -> Findings:
    """n inputs; the same seed gives the same ones."""
    findings = Findings()
    mutator = Mutator(seed)
    start_s, before = time.perf_counter(), _peak_bytes()
    while findings.inputs < n:
        if findings.inputs % _STREAM_EVERY == 0:
            _timed(findings, try_stream, mutator.stream(_STREAM_LENGTH))
        else:
            _timed(findings, try_message, [mutator.message()])
    findings.grown_bytes = _peak_bytes() - before
    findings.elapsed_s = time.perf_counter() - start_s
    return findings


def _timed(findings: Findings, attempt: Callable[[Findings, list[bytes]], None], pieces: list[bytes]) -> None:
    findings.inputs += 1
    # of this thread: what else the machine does is not the input's fault
    start_s = time.thread_time()
    try:
        attempt(findings, pieces)
    except Exception as error:  # noqa: BLE001 - to count them is what this is for
        findings.fault(f"{type(error).__name__} {error}", pieces)
    spent_s = time.thread_time() - start_s
    findings.slowest_s = max(findings.slowest_s, spent_s)
    if spent_s > HANG_S:
        findings.hangs += 1
        findings.show(f"{spent_s:.1f} s", pieces)


def try_message(findings: Findings, pieces: list[bytes]) -> None:
    """Refused, or read and written again to the same bytes."""
    (raw,) = pieces
    try:
        message = decode(raw)
    except WireError:
        return
    findings.accepted += 1
    again = encode(message)
    if again != raw and not _only_quieted(raw, again):
        findings.fault("comes back different", pieces)
    poses_from_message(message)
    try:
        encode(message, 3 - message.version)
    except WireError:
        return


def _only_quieted(raw: bytes, again: bytes) -> bool:
    changed = {a ^ b for a, b in zip(raw[HEADER_BYTES:], again[HEADER_BYTES:], strict=True)}
    return changed <= _QUIET and raw[:50] == again[:50]


def try_stream(findings: Findings, pieces: list[bytes]) -> None:
    """Nothing but intact messages come out, and the one behind it all does."""
    splitter = StreamSplitter()
    received = [raw for piece in pieces for raw in splitter.feed(piece)]
    for _ in range(_MOST_LIES):
        received += splitter.feed(_END)
        if received[-1:] == [_END]:
            break
        splitter.distrust()
    if received[-1:] != [_END]:
        findings.fault("the next good message is lost", pieces)
    for raw in received[:-1]:
        try_message(findings, [raw])


def largest(kind: str) -> int:
    """Bytes by which the memory grows while the largest message of a type is received and read."""
    size = largest_body_bytes(kind, 1)
    before = _peak_bytes()
    splitter = StreamSplitter()
    # a body of zeros has a CRC of zero
    received = splitter.feed(Header(1, kind, "x", 0, size, 0).pack())
    for start in range(0, size, 1 << 16):
        received += splitter.feed(bytes(min(1 << 16, size - start)))
    assert [len(raw) for raw in received] == [HEADER_BYTES + size]
    with contextlib.suppress(WireError):
        decode(received[0])
    return _peak_bytes() - before


def _peak_bytes() -> int:
    """The most this program has held. (`getrusage` would count what the process held before it became this one.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="inputs to try")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--step", type=int, default=1_000_000, help="inputs between two lines of report")
    arguments = parser.parse_args()
    clean = True
    for done in range(0, arguments.n, arguments.step):
        findings = run(min(arguments.step, arguments.n - done), arguments.seed + done)
        print(f"from {done}: {findings}", flush=True)
        clean = clean and findings.clean
    cap, grown = largest_body_bytes("IMAGE", 1), largest("IMAGE")
    print(f"an image of {cap >> 20} MiB takes {grown >> 20} MiB more")
    return 0 if clean and grown <= 2 * cap + _SLACK_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
