"""Whether a record can be believed: every row against its chain, the end against the seal, the seal against a key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracking.errors import InputError
from tracking.recording.chain import Seal
from tracking.recording.reader import DamagedRecordError, Event, Record


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a whole record holds: rows, rows by kind, the end of its chain (None in version 1), its seal.

    `signed`: the key fits (None: no key was given).
    """

    rows: int
    kinds: Mapping[str, int]
    chain: bytes | None
    seal: Seal | None
    signed: bool | None


def verify(
    path: Path, key: bytes | None = None, check: Callable[[Event], object] = lambda event: None
) -> Verdict:
    """Read a record from end to end; `check` looks at each event and raises what it does not like.

    Raises DamagedRecordError for the first row that is wrong, InputError for a head that is, and InputError
    when a key is given and the record is not sealed with it. A record of version 1, or one that was not
    closed, is not wrong for that.
    """
    record = Record(path)
    kinds: Counter[str] = Counter()
    newest, chain = 0, record.head
    for event, chain in record.walk():  # noqa: B007 - the last one is wanted
        check(event)
        newest = event.id
        kinds[event.kind] += 1
    signed = None if key is None else _signed(record, newest, key)
    return Verdict(newest, kinds, chain if record.chained else None, record.seal, signed)


def _signed(record: Record, newest: int, key: bytes) -> bool:
    if not record.chained:
        raise InputError(
            f"{record.path}: carries no hash chain (version {record.version}), so no key can fit"
        )
    if record.seal is None:
        raise InputError(f"{record.path}: not sealed, so the key shows nothing; its chain is whole")
    if not record.seal.signed_with(key):
        what = "not signed" if record.seal.signature is None else "not signed with this key, or changed"
        raise DamagedRecordError(record.path, newest + 1, what, "seal")
    return True
