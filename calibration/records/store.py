"""A hospital's store of calibrations: immutable records, and a journal of who put which of them to use and when.

Every entry of the journal carries the hash of the one before, and a second file the newest of them. A file is
complete or not there, and writers take turns: two at once or a crash between two files leave a store that holds.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calibration.records.binding import Identity, conflicts, plain_name
from calibration.records.journal import (
    ACTIVATE,
    BEGINNING,
    UNDO,
    WITHDRAW,
    Entry,
    Slot,
    chained,
    require_whole,
)
from calibration.records.record import TIME_FORM, draft_of, id_of, kind_of, require_usable, state_of
from tracking.errors import GateRefusedError, InputError
from tracking.jsonfile import read_json, to_json, write_text
from tracking.seal import CHECKSUM, checksum

JOURNAL, HEAD, LOCK, RECORDS = "journal.jsonl", "head.json", ".lock", "records"
# Nobody writes a record again; who has to, must first say so to the file system.
READ_ONLY = 0o444
# Enough of a checksum to tell the states of one record apart in its file's name.
NAME_DIGITS = 12


@dataclass(slots=True)
class _Use:
    """What one slot held, the newest last; and whether that is in use."""

    past: list[Entry] = field(default_factory=list)
    withdrawn: bool = False

    @property
    def active(self) -> Entry | None:
        return self.past[-1] if self.past and not self.withdrawn else None

    def take(self, entry: Entry) -> None:
        if entry.action == ACTIVATE:
            self.past.append(entry)
        elif entry.action == UNDO:
            self.past.pop()
        self.withdrawn = entry.action == WITHDRAW


@dataclass(frozen=True, slots=True)
class Row:
    """One record of the store as a table shows it; `fault` says why it may not be used."""

    entry: Entry
    content: Mapping[str, Any]
    active: bool
    fault: str | None


def read_record(path: Path, kind: str, stated: Identity | None = None) -> tuple[dict[str, Any], Path]:
    """The content of a record file, or of the active record of `kind` in a store; and where it lies.

    `stated` tells which of a store's active records is meant. Raises as `read_json` and `Store.active`.
    """
    if path.is_dir():
        return Store(path).active(kind, stated or Identity())
    return read_json(path), path


class Store:
    """The store in `folder`, which its first activation makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> tuple[Entry, ...]:
        """The journal, every hash checked.

        Raises InputError when there is no store, GateRefusedError naming file and row when it was altered.
        """
        head, path = self.folder / HEAD, self.folder / JOURNAL
        known = read_json(head) if head.is_file() else None
        if not path.is_file():
            if known is not None:
                raise GateRefusedError(f"{path}: is missing: the store is damaged")
            raise InputError(f"{self.folder}: is no store of calibrations (it holds no {JOURNAL})")
        found = tuple(chained(path))
        require_whole(found, known, head)
        return found

    def activate(self, content: Mapping[str, Any], by: str, path: Path) -> Entry:
        """Put a record read from `path` to use. Raises as `_require_fit`, and InputError when it is in use already."""
        _require_fit(content, path)
        slot = _slot(content, path)
        with self._writing() as entries:
            use = _uses(entries).get(_key(slot), _Use())
            if use.active is not None and use.active.checksum == content[CHECKSUM]:
                raise InputError(f"{path}: {use.active.id} is in use already")
            self._require_one_record(content, entries, path)
            file = _file_name(content, path)
            self._keep(file, content)
            record = (id_of(content, path), file, str(content[CHECKSUM]), state_of(content))
            return self._append(entries, by, ACTIVATE, slot, record)

    def undo(
        self, by: str, kind: str | None, stated: Identity, withdraw: bool = False
    ) -> tuple[Entry, Entry | None]:
        """Back to the record before the active one; or, with `withdraw`, to none. Returns what was and what is.

        Raises InputError when it is not clear which is meant or there is none before it, GateRefusedError when
        the one before may no longer be used.
        """
        self.entries()  # an undo makes no store
        with self._writing() as entries:
            was, use = self._one(entries, kind, stated)
            previous = use.past[-2] if len(use.past) > 1 and not withdraw else None
            if previous is None and not withdraw:
                raise InputError(
                    f"{self.folder}: there is none before {was.id}; --withdraw takes it out of use"
                )
            if previous is not None:
                where = self.folder / RECORDS / previous.file
                require_usable(self._content(previous), where)
            self._append(entries, by, WITHDRAW if withdraw else UNDO, was.slot, was.record)
            return was, previous

    def active(self, kind: str, stated: Identity) -> tuple[dict[str, Any], Path]:
        """The record of `kind` in use for what is stated, and its file.

        Raises InputError when there is none or more than one, GateRefusedError when those in use are of another
        nuclide, window, probe or collimator, or were altered.
        """
        entry, _ = self._one(self.entries(), kind, stated)
        return self._content(entry), self.folder / RECORDS / entry.file

    def rows(self) -> list[Row]:
        """Every record that was ever in use, the oldest first."""
        entries = self.entries()
        active = {use.active.file for use in _uses(entries).values() if use.active is not None}
        latest = {e.file: e for e in reversed(entries) if e.action == ACTIVATE}
        return [
            self._row(entry, entry.file in active)
            for entry in sorted(latest.values(), key=lambda e: e.number)
        ]

    def _row(self, entry: Entry, active: bool) -> Row:
        content: dict[str, Any] = {}
        try:
            content = self._content(entry)
            require_usable(content, entry.file)
        except (GateRefusedError, InputError) as fault:
            return Row(entry, content, active, str(fault))
        return Row(entry, content, active, None)

    def _one(self, entries: Sequence[Entry], kind: str | None, stated: Identity) -> tuple[Entry, _Use]:
        """The one entry in use that is meant, and what its slot held before."""
        used = [(u.active, u) for u in _uses(entries).values() if u.active is not None]
        used = [(entry, use) for entry, use in used if kind in (None, entry.slot[0])]
        what = f"{kind} calibration" if kind else "calibration"
        if not used:
            raise InputError(f"{self.folder}: no {what} is in use")
        against = [conflicts(_identity(entry.slot), stated, "what is asked for") for entry, _ in used]
        fitting = [pair for pair, words in zip(used, against, strict=True) if not words]
        if not fitting:
            told = [f"{e.id}: {', '.join(words)}" for (e, _), words in zip(used, against, strict=True)]
            raise GateRefusedError(f"{self.folder}: no {what} in use fits: {'; '.join(told)}")
        if len(fitting) > 1:
            names = ", ".join(f"{entry.id} ({_slot_words(entry.slot)})" for entry, _ in fitting)
            raise InputError(f"{self.folder}: {len(fitting)} calibrations in use could be meant: {names}")
        return fitting[0]

    def _content(self, entry: Entry) -> dict[str, Any]:
        path = self.folder / RECORDS / entry.file
        if not path.is_file():
            raise GateRefusedError(f"{path}: is missing from the store")
        content = read_json(path)
        if content.get(CHECKSUM) != entry.checksum or checksum(content) != entry.checksum:
            raise GateRefusedError(f"{path}: was altered after it was put into the store")
        return content

    def _require_one_record(self, content: Mapping[str, Any], entries: Sequence[Entry], path: Path) -> None:
        """One id is one record: the same one, its draft or its approval."""
        for entry in entries:
            if entry.id != content["id"] or entry.checksum == content[CHECKSUM]:
                continue
            other = self._content(entry)
            if checksum(draft_of(other)) != checksum(draft_of(content)):
                raise GateRefusedError(f"{path}: the store holds another record with the id {entry.id}")

    def _keep(self, file: str, content: Mapping[str, Any]) -> None:
        place = self.folder / RECORDS / file
        if place.is_file() and checksum(read_json(place)) != content[CHECKSUM]:
            raise GateRefusedError(f"{place}: was altered after it was put into the store")
        if not place.is_file():
            place.parent.mkdir(exist_ok=True)
            write_text(place, to_json(content) + "\n", READ_ONLY, lasting=True)

    def _append(
        self, entries: Sequence[Entry], by: str, action: str, slot: Slot, record: tuple[str, str, str, str]
    ) -> Entry:
        if not by.strip():
            raise InputError("--by: names nobody")
        before = entries[-1].hash if entries else BEGINNING
        now = datetime.now(UTC).strftime(TIME_FORM)
        bare = Entry(len(entries) + 1, now, " ".join(by.split()), action, slot, *record, before)
        entry = replace(bare, hash=bare.digest())
        lines = [json.dumps(e.to_json() | {"hash": e.hash}) + "\n" for e in (*entries, entry)]
        write_text(self.folder / JOURNAL, "".join(lines), lasting=True)
        newest = to_json({"entries": entry.number, "hash": entry.hash}) + "\n"
        write_text(self.folder / HEAD, newest, lasting=True)
        return entry

    @contextmanager
    def _writing(self) -> Iterator[tuple[Entry, ...]]:
        """The journal, while nobody else writes."""
        strange = [] if not self.folder.is_dir() else [p for p in self.folder.iterdir() if not _ours(p.name)]
        if strange and not self._begun():
            raise InputError(f"{self.folder}: holds other things than a store of calibrations")
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.entries() if self._begun() else ()

    def _begun(self) -> bool:
        return (self.folder / JOURNAL).is_file() or (self.folder / HEAD).is_file()


def _ours(name: str) -> bool:
    """Whether a store has such a file, or leaves one behind when a write of it is cut off."""
    return name in (LOCK, RECORDS, JOURNAL, HEAD) or name.startswith((f".{JOURNAL}.", f".{HEAD}."))


def _require_fit(content: Mapping[str, Any], path: Path) -> None:
    """Raise InputError for what is no sealed record, GateRefusedError for one that may not be used."""
    id_of(content, path)
    if CHECKSUM not in content:
        raise InputError(f"{path}: has no checksum: a store takes only records that were sealed when written")
    require_usable(content, path)
    if kind_of(content) == "unknown":
        raise InputError(f"{path}: is no calibration of a known kind")


def _uses(entries: Sequence[Entry]) -> dict[Slot, _Use]:
    uses: dict[Slot, _Use] = {}
    for entry in entries:
        uses.setdefault(_key(entry.slot), _Use()).take(entry)
    return uses


def _key(slot: Slot) -> Slot:
    return tuple(plain_name(word) for word in slot)


def _slot(content: Mapping[str, Any], path: Path) -> Slot:
    """What only one record at a time is in use for."""
    known = Identity.of(content, path)
    window = "" if known.window_kev is None else ",".join(f"{v:g}" for v in known.window_kev)
    return kind_of(content), known.probe_serial or "", known.nuclide or "", window, known.collimator or ""


def _identity(slot: Slot) -> Identity:
    _, serial, nuclide, window, collimator = slot
    low_high = tuple(float(v) for v in window.split(",")) if window else None
    return Identity(
        nuclide or None,
        None if low_high is None else (low_high[0], low_high[1]),
        serial or None,
        collimator or None,
    )


def _slot_words(slot: Slot) -> str:
    kind, serial, nuclide, window, collimator = slot
    bounds = f"{window.replace(',', ' to ')} keV" if window else ""
    return " ".join(
        word for word in (kind, serial and f"probe {serial}", nuclide, bounds, collimator) if word
    )


def _file_name(content: Mapping[str, Any], path: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", id_of(content, path)).lstrip(".")
    return f"{name}-{state_of(content)}-{str(content[CHECKSUM])[:NAME_DIGITS]}.json"
