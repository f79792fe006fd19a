"""`gammanav counts`: timed counts of a record, or of a table noted by hand, with ratios and the usual rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracking.errors import GammanavError, InputError

if TYPE_CHECKING:
    from navigation.engine.session import Session
    from tracking.recording import Record

NOTED = ".csv"


@click.command("counts", epilog="Example: gammanav counts demo-out/record.gnav --out counts")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for timed_counts.json and .csv.")
@click.option("--nuclide", help="Nuclide of a table noted by hand, such as Tc-99m.")
@click.option(
    "--dead-time-s", type=click.FloatRange(0.0, 1.0), help="Dead time of the counter of such a table, s."
)
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    record: Path, out: Path | None, nuclide: str | None, dead_time_s: float | None, force: bool
) -> None:
    """The timed counts of RECORD: every count, every ratio to its background, the 10 % rule.

    Rates are those at the case's reference time, corrected for dead time; intervals are exact, of 95 %. No tracker
    and no calibration is needed for it. A record without counts gives an empty table. RECORD may also be a table
    (.csv) of counts noted by hand: kind,counts,live_s and, where they are known, specimen,name,t_s; t_s is the start
    in s after the reference time.
    """
    from navigation.timed.content import CSV_NAME, JSON_NAME, count_of, write_counts
    from navigation.timed.words import count_sentence
    from tracking.jsonfile import prepare_out

    if record.suffix.lower() == NOTED:
        content = of_table(record, nuclide, dead_time_s)
    elif nuclide is not None or dead_time_s is not None:
        raise InputError(f"{record}: a record says itself what the options for a table say")
    else:
        content = of_record(record)
    if out is not None:
        with prepare_out(out, force, (JSON_NAME, CSV_NAME)) as folder:
            write_counts(content, folder.path)
    counts = [count_of(c, str(record)) for c in content["counts"]]
    told = [*(count_sentence(c) for c in counts), *content["statements"]]
    click.echo("\n".join(told) if told else f"{record} holds no timed count.")


def of_table(path: Path, name: str | None, dead_time_s: float | None) -> dict[str, Any]:
    """timed_counts.json of a table. Raises InputError."""
    from calibration.counter.deadtime import DeadTime
    from calibration.physics.nuclide import nuclide
    from navigation.timed.content import counts_content
    from navigation.timed.noted import read_noted

    known = None if name is None else nuclide(name).name
    counts = read_noted(path, known, DeadTime(dead_time_s or 0.0))
    return counts_content(counts, known or "unverified", None, False, path.stem)


def of_record(path: Path) -> dict[str, Any]:
    """timed_counts.json of a record, as the live case wrote it. Raises InputError."""
    from navigation.timed.content import counts_content
    from tracking.recording import Record

    session = played(Record(path))
    settings, timed = session.settings, session.timed
    return counts_content(
        timed.counts, settings.nuclide, timed.reference_s, settings.simulated, settings.case_id
    )


def played(record: Record) -> Session:
    """The session at the end of the record; nothing is mapped."""
    from navigation.engine.assembly import settings_of
    from navigation.engine.events import RESULT, EngineEvent
    from navigation.engine.session import Session

    session = Session(settings_of(record))
    for event in record.events():
        if event.kind == RESULT:
            continue
        try:
            session.handle(EngineEvent(event.source, event.arrival_s, event.kind, event.payload))
        except GammanavError:
            continue  # it was refused then, too
    return session
