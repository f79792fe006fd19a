"""`gammanav calibrate approve`, `activate`, `undo` and `records`: the life of a calibration after it was made."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracking.errors import GateRefusedError, InputError

if TYPE_CHECKING:
    from calibration.records.binding import Identity
    from calibration.records.journal import Entry
    from calibration.records.store import Row

COLUMNS = ("", "id", "kind", "probe", "nuclide", "window keV", "date", "expiry", "state")
# Digits of a hash that a person can compare with a printout.
HASH_DIGITS = 16


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --store of the commands that use one."""
    folder = click.Path(path_type=Path)
    return click.option("--store", required=True, type=folder, help="Folder of the hospital's records.")(
        command
    )


@click.command(
    "approve",
    epilog='Example: gammanav calibrate approve probe.json --by "Dr. B. Ruiz"',
    short_help="A second person approves a draft.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--by", required=True, help="Who approves; not the operator who measured.")
@click.option("--out", type=click.Path(path_type=Path), help="Approved record; default: FILE itself.")
@click.option("--force", is_flag=True, help="Overwrite an existing --out.")
def approve(file: Path, by: str, out: Path | None, force: bool) -> None:
    """Approve the draft in FILE, as somebody other than the operator named in it.

    Nothing else of it changes: the approved record keeps its id and the checksum of the draft. It is written
    read-only.
    """
    from calibration.records.record import approved
    from calibration.records.store import READ_ONLY
    from navigation.cli.pivot import refuse_existing
    from tracking.jsonfile import read_json, to_json, write_text

    if out is not None:
        refuse_existing(out, force)
    signed = approved(read_json(file), by, file)
    if out is None:
        _require_own(file)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out or file, to_json(signed) + "\n", READ_ONLY, lasting=True)
    click.echo(f"{signed['id']}: approved by {signed['approved_by']}, measured by {signed['operator']}")


def _require_own(file: Path) -> None:
    """A read-only record, such as one in a store, is not replaced where it lies."""
    if file.is_file() and not file.stat().st_mode & stat.S_IWUSR:
        raise InputError(f"{file}: is read-only; --out names another file for the approved record")


@click.command(
    "activate",
    epilog='Example: gammanav calibrate activate probe.json --store calibrations --by "A. Klein"',
    short_help="Put a record of a store to use.",
)
@click.argument("file", type=click.Path(path_type=Path))
@store_option
@click.option("--by", required=True, help="Who puts it to use.")
def activate(file: Path, store: Path, by: str) -> None:
    """Keep the record in FILE in the store, and use it from now on for its probe, nuclide and window.

    The store is made if there is none. A case file and every --probe option may name the folder instead of a
    file. A draft is taken too, and is named as one in every result.
    """
    from calibration.records.record import DRAFT, state_of
    from calibration.records.store import Store
    from tracking.jsonfile import read_json

    content = read_json(file)
    entry = Store(store).activate(content, by, file)
    draft = ": a DRAFT, approved by nobody" if state_of(content) == DRAFT else ""
    click.echo(f"{entry.id} is in use{draft}")


def which_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that tell which of the records in use is meant."""
    for option in reversed(
        (
            click.option("--kind", help="Kind of record, such as detector or tip."),
            click.option("--nuclide", help="Nuclide of the record."),
            click.option("--probe-serial", help="Serial number of the probe."),
        )
    ):
        command = option(command)
    return command


def _identity(nuclide: str | None, probe_serial: str | None) -> Identity:
    from calibration.records.binding import Identity

    return Identity.of({"nuclide": nuclide, "probe_serial": probe_serial}, "options")


@click.command(
    "undo",
    epilog='Example: gammanav calibrate undo --store calibrations --by "A. Klein"',
    short_help="Back to the record used before.",
)
@store_option
@click.option("--by", required=True, help="Who goes back.")
@which_options
@click.option("--withdraw", is_flag=True, help="To none: the record is taken out of use.")
def undo(
    store: Path, by: str, kind: str | None, nuclide: str | None, probe_serial: str | None, withdraw: bool
) -> None:
    """Back to the record that was in use before the one in use now; the journal keeps both.

    Where several are in use, --kind, --nuclide or --probe-serial tell which is meant.
    """
    from calibration.records.store import Store

    was, now = Store(store).undo(by, kind, _identity(nuclide, probe_serial), withdraw)
    click.echo(
        f"{was.words} is out of use; {'none takes its place' if now is None else f'{now.words} is in use'}"
    )


@click.command(
    "records",
    epilog="Example: gammanav calibrate records --store calibrations",
    short_help="What a store holds, and its history.",
)
@store_option
def records(store: Path) -> None:
    """The records of a store, which of them are in use, and who put them to use when.

    The last line is the journal's hash: noted elsewhere, it proves later that nothing before it was changed.
    """
    from calibration.records.store import Store

    opened = Store(store)
    entries = opened.entries()
    rows = opened.rows()
    for line in table([COLUMNS, *(cells(row) for row in rows)]):
        click.echo(line)
    click.echo("")
    for entry in entries:
        click.echo(history_line(entry))
    click.echo(f"journal of {len(entries)} entries, whole: {entries[-1].hash[:HASH_DIGITS]}")
    faults = [f"{row.entry.id}: {row.fault}" for row in rows if row.fault is not None and row.active]
    if faults:
        raise GateRefusedError(f"in use, but not usable: {'; '.join(faults)}")


def cells(row: Row) -> tuple[str, ...]:
    """One record as the table shows it."""
    from calibration.records.record import state_of

    content, (kind, serial, nuclide, window, _) = row.content, row.entry.slot
    state = state_of(content) if content else "unknown"
    return (
        "in use" if row.active else "",
        row.entry.id,
        kind,
        serial or "not stated",
        nuclide or "-",
        window.replace(",", "-") or "-",
        str(content.get("date") or "-")[:10],
        str(content.get("expiry") or "-"),
        state if row.fault is None else f"{state}, NOT USABLE: {row.fault}",
    )


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows in columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def history_line(entry: Entry) -> str:
    """One entry of the journal in words."""
    what = {"activate": "put to use", "undo": "out of use, back to the one before", "withdraw": "out of use"}
    return f"{entry.number:4d}  {entry.at}  {entry.words} {what[entry.action]}, by {entry.by}"
