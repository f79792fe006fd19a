"""The journal of a store: who put which record to use and when, each entry with the hash of the one before.

A second file holds the number and hash of the newest entry, so that a journal cut short is found. No key is
involved: who can write both files can write them anew, but not so that a hash noted elsewhere still fits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.errors import GateRefusedError

ACTIVATE, UNDO, WITHDRAW = "activate", "undo", "withdraw"
# Hash before the first entry.
BEGINNING = "0" * 64

# Kind, serial number, nuclide, window, collimator: for these one record at a time is in use; "" is not stated.
Slot = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal: `action` of `by` at `at` (UTC) put record `id` in `file` to use, or out of it."""

    number: int
    at: str
    by: str
    action: str
    slot: Slot
    id: str
    file: str
    checksum: str
    state: str
    before: str  # hash of the entry before
    hash: str = ""

    @property
    def words(self) -> str:
        """The record's id with its state: the approval of a draft keeps its id."""
        return f"{self.id} ({self.state})"

    def to_json(self) -> dict[str, Any]:
        """Every field but the hash."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "hash"}
        return found | {"slot": list(self.slot)}

    @property
    def record(self) -> tuple[str, str, str, str]:
        """Which record it is about."""
        return self.id, self.file, self.checksum, self.state

    def digest(self) -> str:
        """SHA-256 over everything but the hash itself."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def chained(path: Path) -> Iterator[Entry]:
    """The entries in the file, every hash checked. Raises GateRefusedError naming file and row."""
    before = BEGINNING
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            found = json.loads(line)
            entry = Entry(**{**found, "slot": tuple(found["slot"])})
        except (ValueError, TypeError, KeyError) as fault:
            raise GateRefusedError(f"{path}, row {number}: is no entry of the journal ({fault})") from None
        if entry.before != before or entry.number != number or entry.digest() != entry.hash:
            raise GateRefusedError(
                f"{path}, row {number}: the journal was altered (its hash does not follow)"
            )
        before = entry.hash
        yield entry


def require_whole(found: Sequence[Entry], known: Mapping[str, Any] | None, head: Path) -> None:
    """Raise GateRefusedError when `known`, what the file `head` holds, is not of this journal.

    The newest entry is written last, so the journal may be ahead of its head by a crash, never behind it.
    """
    if known is None:
        if len(found) > 1:
            raise GateRefusedError(f"{head}: is missing: the end of the journal cannot be trusted")
        return
    number = known.get("entries")
    if (
        not isinstance(number, int)
        or not 0 < number <= len(found)
        or found[number - 1].hash != known.get("hash")
    ):
        raise GateRefusedError(f"{head}: the journal was cut short or replaced ({len(found)} entries left)")
