"""Going on with a record after a crash: nothing good is dropped, and what was lost is written into it.

A whole record goes on in the same file, also where only its log was torn; the log is then kept. From a damaged
one, or one of version 1, the good rows are copied into a new file with the same ids, and the old one stays.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.errors import InputError, SurroundingsError
from tracking.recording.ballast import ballast_of
from tracking.recording.reader import DamagedRecordError, Record
from tracking.recording.store import INDEX, LOG, Row, Store, WriteLock, beside, recorder_row

# Rows at the end that are always checked: 50 s of 200 messages a second. All that a power cut can reach, the
# log of some 4 MiB, is shorter; what lies before was forced to the disk.
TAIL_ROWS = 10_000
# ... or this much, where rows are large; at 2 GiB/s of hashing and 1 GiB/s of reading well below 0.2 s.
TAIL_BYTES = 64 << 20
# Rows are copied in commits of this many bytes.
COPY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Reopened:
    """A store ready for more; `unchecked` rows at its beginning were not looked at; arrival of the last row."""

    store: Store
    unchecked: int
    arrival_s: float


def reopen(path: Path, key: bytes | None, whole: bool) -> Reopened:
    """Go on with the record at `path`: check it (all of it, or its tail), save what is good, note the resumption.

    Raises InputError when it is no record, has lost its head, or is sealed with another key; SurroundingsError
    when another process records into it or the disk does not take it.
    """
    saved = beside(path, ".salvaged")
    if saved.exists() and not path.exists():
        for ending in (LOG, INDEX):  # of the old file, which has them under its new name
            beside(path, ending).unlink(missing_ok=True)
        os.replace(saved, path)  # the copy was complete when the crash came
    if not path.is_file():
        raise InputError(f"{path}: no such record")
    try:
        lock = WriteLock(path)
        try:
            return _reopen(path, key, whole, lock)
        except BaseException:
            lock.release()
            raise
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, SurroundingsError):
            raise
        raise SurroundingsError(f"{path}: cannot go on recording ({error})") from error


def _reopen(path: Path, key: bytes | None, whole: bool, lock: WriteLock) -> Reopened:
    ballast_of(path).unlink(missing_ok=True)  # a crashed recorder's: the disk may be full
    record = Record(path)
    if key is not None and record.seal is not None and not record.seal.signed_with(key):
        raise InputError(f"{path}, seal: not signed with this key, or changed")
    damage, unchecked = _damage(record, whole)
    kept: Path | None = None
    if damage is not None and damage.where == "log":
        kept = _free_name(path, f".damaged{LOG}")
        shutil.copyfile(beside(path, LOG), kept)
    elif damage is not None or not record.chained:
        kept, damage = _salvage(record, lock)
        unchecked = 0
    good = Record(path)
    newest = good.last_row
    arrival_s = good.last_arrival_s if newest else time.time()
    store = Store(path, lock, newest, good.link_of(newest))
    store.go_on(recorder_row(arrival_s, "resumed", **_content(record, damage, newest, arrival_s, kept)))
    return Reopened(store, unchecked, arrival_s)


def _content(
    record: Record, damage: DamagedRecordError | None, newest: int, arrival_s: float, kept: Path | None
) -> dict[str, Any]:
    seal = record.seal
    return {
        "t_s": time.time(),
        "last_row": newest,
        "last_arrival_s": arrival_s,
        "version": record.version,
        "damage": None if damage is None else damage.what,
        "kept_as": None if kept is None else kept.name,
        "seal": None
        if seal is None
        else {
            "rows": seal.rows,
            "chain": seal.chain.hex(),
            "closed_s": seal.closed_s,
            "signature": None if seal.signature is None else seal.signature.hex(),
        },
    }


def _damage(record: Record, whole: bool) -> tuple[DamagedRecordError | None, int]:
    """What is wrong with the record (with its tail, unless `whole`), and how many rows were not checked."""
    first = 1
    try:
        first = 1 if whole else record.tail(TAIL_ROWS, TAIL_BYTES)
        for _ in record.walk(first):
            pass
    except DamagedRecordError as error:
        return error, first - 1
    return None, first - 1


def _salvage(record: Record, lock: WriteLock) -> tuple[Path, DamagedRecordError | None]:
    """The good rows in a new file at the record's path, which `lock` then holds.

    Returns where the old file is now, and what is wrong with it.

    A crash at any point leaves the old record at its path, or a complete copy that `reopen` finds.
    """
    path = record.path
    saved = beside(path, ".salvaged")
    for ending in ("", LOG, INDEX):
        beside(saved, ending).unlink(missing_ok=True)
    damage = _copy(record, saved)
    kept = _free_name(path, ".damaged" if record.chained else ".v1")
    for ending in ("", LOG):
        if beside(path, ending).exists():
            os.link(beside(path, ending), beside(kept, ending))
    path.unlink()
    for ending in (LOG, INDEX):
        beside(path, ending).unlink(missing_ok=True)
    os.replace(saved, path)
    lock.take(path)
    return kept, damage


def _copy(record: Record, target: Path) -> DamagedRecordError | None:
    """Copy the rows up to the first bad one; what is wrong with that."""
    store = Store.create(target, record.meta_text)
    rows: list[Row] = []
    size = 0
    try:
        for event, _ in record.walk():
            rows.append((event.arrival_s, event.source, event.kind, event.payload))
            size += len(event.payload)
            if size >= COPY_BYTES:
                store.commit(rows)
                rows, size = [], 0
    except DamagedRecordError as error:
        return error  # what lies beyond stays in the old file
    else:
        return None
    finally:
        store.commit(rows)
        store.close()


def _free_name(path: Path, ending: str) -> Path:
    candidate, n = beside(path, ending), 1
    while candidate.exists():
        n += 1
        candidate = beside(path, f"{ending}-{n}")
    return candidate
