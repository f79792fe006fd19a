"""What a recorded case knew that its counts and poses alone do not tell: why nothing may be said to be absent.

The session is played from the record without any reconstruction, so a risen background, a wrong tip or another
counter forbids a statement afterwards in the same words as in the case itself.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from navigation.engine import events
from navigation.engine.assembly import SETTINGS_KEY, settings_of
from navigation.engine.events import EngineEvent
from navigation.engine.session import Session
from tracking.errors import GammanavError, GateRefusedError, InputError
from tracking.recording import Record
from tracking.recording.export import open_source

# A tick only asks for a map: what forbids a statement follows from the others.
PLAYED = (events.RAW, events.LINK, events.COMMAND, events.RESUME)


def blocked_at(where: Path) -> str | None:
    """Why, when the record in `where` (as in `RECORD#scan-2`) ended, nothing might be said to be absent.

    What somebody explained, or a later check put in order, forbids nothing; nor does a folder or a file without a
    live case. Raises InputError for a damaged record.
    """
    session = _played(where)
    return None if session is None else session.blocked


def require_own_counts(where: Path) -> None:
    """Raise GateRefusedError where the case dropped counts of the scan at `where`: another counter's are among them.

    A folder, or a file without a live case, holds nothing that was dropped.
    """
    session = _played(where)
    if session is None:
        return
    phase = open_source(where)[1]
    for name, scan in session.scans.items():
        if scan.foreign and phase in ("", name):
            raise GateRefusedError(
                f"{where}: {scan.foreign} counting intervals of {name} are another counter's,"
                " which the case did not use"
            )


def require_one_reference(before: Path, after: Path) -> None:
    """Raise InputError where records say that the reference was placed anew between two of their scans.

    Folders, and files without a live case, say nothing of it.
    """
    first, second = _played(before), _played(after)
    if first is None or second is None:
        return
    told = reference_fault(first, open_source(before)[1], second, open_source(after)[1])
    if told is not None:
        raise InputError(f"{before} and {after} cannot be compared: {told}")


def reference_fault(first: Session, before: str, second: Session, after: str) -> str | None:
    """Why places of the scan `before` of one session are none of the scan `after` of another, or of the same."""
    if first.settings.case_id != second.settings.case_id:
        return "they are of two cases, and the reference was placed anew between them"
    one, other = first.scans.get(before), second.scans.get(after)
    if one is None or other is None or one.frame == other.frame:
        return None
    return "the reference was moved between them"


def _played(where: Path) -> Session | None:
    """The session at the end of a live case's record, None where there is none."""
    if where.is_dir():
        return None
    source, _ = open_source(where)
    if not isinstance(source, Record) or SETTINGS_KEY not in source.meta:
        return None
    session = Session(settings_of(source))
    for event in source.events(*PLAYED):
        with suppress(GammanavError):  # it was refused then, too
            session.handle(EngineEvent(event.source, event.arrival_s, event.kind, event.payload))
    return session
