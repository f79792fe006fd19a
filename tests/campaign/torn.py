"""Records that are cut, zeroed from some place on, or have one bit flipped: no wrong row comes back.

A sealed record, and one of a killed recorder with its log. Rows before the damage are those whose pages lie
before it; every variant must give at least 98 % of them, all of them as written, and must be named as damaged
unless nothing is missing or the log of an open record merely ends earlier, which nobody can tell.
Run: python -m tests.campaign.torn --n 1000
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.kill import payload
from tracking.errors import InputError
from tracking.recording import Event, Record, Recorder
from tracking.recording.store import INDEX, LOG, beside

ROWS, LARGE_EVERY, LARGE_BYTES = 2000, 200, 100_000
PAGE = 4096
# The rows of a record lie in order but for this much, which a large payload takes.
NEAR = 2 * LARGE_BYTES
LOG_HEAD, FRAME_HEAD = 32, 24
LEAST_PART = 0.98


@dataclass(frozen=True, slots=True)
class Subject:
    """A record as its files, its rows, and for each file the first and last page that each row needs."""

    name: str
    files: dict[str, bytes]
    rows: list[Event]
    pages: dict[str, list[tuple[int, int] | None]]
    sealed: bool


@dataclass(slots=True)
class Found:
    """Counts over all variants; `worst` is the least part of the rows before the damage that came back."""

    variants: int = 0
    wrong: int = 0
    before: int = 0
    back: int = 0
    worst: float = 1.0
    named: int = 0
    unharmed: int = 0
    shorter: int = 0
    silent: list[str] = field(default_factory=list)
    poor: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        part = self.back / max(self.before, 1)
        return (
            f"{self.variants} variants: {self.wrong} wrong rows; {100 * part:.2f} % of {self.before} rows before the "
            f"damage came back (worst variant {100 * self.worst:.1f} %); {self.named} named, {self.unharmed} "
            f"unharmed, {self.shorter} open records that end earlier, {len(self.silent)} damaged in silence"
        )


def subjects(folder: Path) -> list[Subject]:
    """A record that was closed and one that a dead recorder left with a long log."""
    sealed, crashed = folder / "sealed.gnav", folder / "live.gnav"
    with Recorder(sealed, {"case": "torn"}) as recorder:
        _feed(recorder)
    left = folder / "crashed.gnav"
    with Recorder(crashed, {"case": "torn"}) as recorder:
        recorder._store.log_bytes = 1 << 40  # nothing moves but what is moved here
        _feed(recorder, move=True)
        for ending in ("", LOG):
            shutil.copy(beside(crashed, ending), beside(left, ending))
    return [_subject(sealed, ("",), True), _subject(left, ("", LOG), False)]


def _feed(recorder: Recorder, move: bool = False) -> None:
    """Rows in commits of five, as they come in a live case; `move`: half of them leave the log."""
    for i in range(ROWS):
        large = i % LARGE_EVERY == LARGE_EVERY - 1
        recorder.append("s", float(i), "map" if large else "raw", payload(i, LARGE_BYTES if large else 128))
        if i % 5 == 0 or i == ROWS // 2:
            _commit(recorder)
        if move and i == ROWS // 2:
            recorder._store.fold()
    _commit(recorder)


def _commit(recorder: Recorder) -> None:
    while recorder.waiting:
        time.sleep(0.0002)


def _subject(path: Path, endings: tuple[str, ...], sealed: bool) -> Subject:
    files = {ending: beside(path, ending).read_bytes() for ending in endings}
    rows = list(Record(path).events())
    beside(path, INDEX).unlink(missing_ok=True)
    pages = {ending: _all_pages(data, ending, rows) for ending, data in files.items()}
    return Subject(path.stem, files, rows, pages, sealed)


def _all_pages(data: bytes, ending: str, rows: list[Event]) -> list[tuple[int, int] | None]:
    """First and last page (of a log: frame) with each row's bytes; None where the file does not hold it."""
    found: list[tuple[int, int] | None] = []
    near = 0
    for row in rows:
        block = row.payload[8:72]  # found in no other row; a large payload repeats it over pages of its own
        start = data.find(block, max(0, near - NEAR))
        if start < 0:
            found.append(None)
            continue
        near = start
        # In a log the page with a row comes again and again: the first time counts.
        end = data.rfind(block, start, start + len(row.payload) + NEAR) + len(block) - 1
        found.append((_page_of(start, ending), _page_of(end, ending)))
    return found


def _page_of(offset: int, ending: str) -> int:
    return offset // PAGE if ending == "" else (offset - LOG_HEAD) // (PAGE + FRAME_HEAD)


def _before(subject: Subject, ending: str, damaged: range) -> int:
    """Number of rows at the start of the record that need no damaged page, and none behind it in this file."""
    for row, pages in enumerate(subject.pages[ending]):
        if pages is not None and pages[1] >= damaged.start:
            only = len(damaged) == 1 and ending == ""
            if not only or pages[0] <= damaged.start <= pages[1]:
                return row
    held_elsewhere = ending != ""
    return len(subject.rows) if held_elsewhere or len(damaged) == 1 else 0


def damage(data: bytes, how: str, rng: random.Random) -> tuple[bytes, int]:
    """The damaged file and where the damage begins."""
    at = rng.randrange(len(data))
    if how == "cut":
        return data[:at], at
    if how == "zeros":
        return data[:at] + bytes(len(data) - at), at
    changed = bytearray(data)
    changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed), at


def variant(subject: Subject, ending: str, how: str, rng: random.Random, folder: Path, found: Found) -> None:
    """Damage one file, read the record back, and count."""
    path = folder / "torn.gnav"
    changed, at = damage(subject.files[ending], how, rng)
    for each, data in subject.files.items():
        beside(path, each).write_bytes(changed if each == ending else data)
    for each in {LOG, INDEX} - subject.files.keys():
        beside(path, each).unlink(missing_ok=True)
    got, named = read(path)
    found.variants += 1
    found.wrong += sum(event != row for event, row in zip(got, subject.rows, strict=False))
    found.wrong += max(0, len(got) - len(subject.rows))
    first = max(0, _page_of(at, ending))
    before = _before(subject, ending, range(first, first + 1 if how == "flip" else sys.maxsize))
    found.before += before
    found.back += min(len(got), before)
    part = min(len(got), before) / before if before else 1.0
    found.worst = min(found.worst, part)
    label = f"{subject.name}{ending} {how} at {at} (page {first}): {len(got)} of {len(subject.rows)} rows"
    if part < LEAST_PART:
        found.poor[f"{label}, {before} before"] += 1
    if named is not None:
        found.named += 1
    elif len(got) == len(subject.rows):
        found.unharmed += 1
    elif not subject.sealed and ending == LOG and how == "cut":
        found.shorter += 1
    else:
        found.silent.append(label)


def read(path: Path) -> tuple[list[Event], str | None]:
    """The rows that come back, and what is said to be wrong."""
    got: list[Event] = []
    try:
        for event in Record(path).events():
            got.append(event)
    except InputError as error:
        return got, str(error)
    return got, None


def campaign(folder: Path, variants: int, rng: random.Random, whole: list[Subject]) -> Found:
    """`variants` damages of any kind to any file."""
    found = Found()
    cases = [(s, ending, how) for s in whole for ending in s.files for how in ("cut", "zeros", "flip")]
    for n in range(variants):
        variant(*cases[n % len(cases)], rng, folder, found)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="variants")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), options.n, random.Random(options.seed), subjects(Path(folder)))
    print(found, *found.silent, *found.poor, sep="\n")
    sys.exit(bool(found.wrong or found.back < LEAST_PART * found.before or found.silent))


if __name__ == "__main__":
    main()
