"""`gammanav verify`: whether a record can be believed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracking.errors import InputError, WireError

if TYPE_CHECKING:
    from tracking.recording import Event, Verdict


@click.command("verify", epilog="Example: gammanav verify demo-out/record.gnav --key site.key")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="File with the key that signed the record.")
def command(record: Path, key: Path | None) -> None:
    """Read RECORD from end to end: every row there, in order, as it was written, every message whole.

    The first bad row is named (exit 2). The digest printed at the end stands for all rows and the head: noted
    elsewhere, it shows even a record that was rewritten as a whole. A record that was not closed, or that is
    older than the hash chain, is no error; the line says so. With --key it is one: only a seal can be signed.
    """
    from tracking.recording import read_key, verify

    verdict = verify(record, None if key is None else read_key(key), lambda event: _check(record, event))
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(verdict.kinds.items(), key=lambda k: -k[1]))
    click.echo(f"{record}: {verdict.rows} rows ({kinds or 'empty'}), {_told(verdict)}")


def _told(verdict: Verdict) -> str:
    if verdict.chain is None:
        return "complete and in order; version 1, rows carry no hash chain"
    return f"chain whole, {_end(verdict)}; chain {verdict.chain.hex()}"


def _end(verdict: Verdict) -> str:
    seal = verdict.seal
    if seal is None:
        return "open (not closed: how many rows followed cannot be told)"
    closed = datetime.fromtimestamp(seal.closed_s, UTC).isoformat(timespec="seconds")
    if verdict.signed:
        return f"sealed {closed}, signature fits"
    return f"sealed {closed}, {'not signed' if seal.signature is None else 'signed (no --key to check it)'}"


def _check(record: Path, event: Event) -> None:
    """A raw message by its own checksum, whatever it says: what a source sent wrongly is recorded as it came."""
    from tracking.igtl.crc import crc64
    from tracking.igtl.header import HEADER_BYTES, Header

    if event.kind == "raw":
        try:
            header = Header.unpack(event.payload)
        except WireError as error:
            raise InputError(f"{record}, row {event.id}: {error}") from None
        body = event.payload[HEADER_BYTES:]
        if len(body) != header.body_bytes or crc64(body) != header.crc:
            raise InputError(f"{record}, row {event.id}: {header.type} is not whole (size or CRC mismatch)")
