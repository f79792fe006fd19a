"""`gammanav report`: the report of a case, from its result folders or by replaying its record."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    "report",
    epilog="Example: gammanav report demo-out/record.gnav --out report",
    short_help="Report of a case.",
)
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the report.")
@click.option("--force", is_flag=True, help="Overwrite an existing report.")
def command(record: Path, out: Path, force: bool) -> None:
    """Write report.html, report.pdf and pictures of RECORD.

    RECORD is a folder of results (scan-1, scan-2), or a record: it is replayed, its results are put into OUT too.
    """
    from navigation.report import write_report
    from tracking.errors import InputError

    if not record.exists():
        raise InputError(f"{record}: no such record or folder")
    existing = out / "report.html"
    if existing.exists() and not force:
        raise InputError(f"{existing}: exists already; use --force to overwrite it")
    if record.is_file():
        replay_into(record, out, force)
    write_report(out, record if record.is_dir() else out)
    click.echo(str(existing))


def replay_into(record: Path, out: Path, force: bool) -> None:
    """The results of a record, made anew in `out` as `gammanav replay` makes them."""
    from navigation.cli.replay import command as replay

    arguments = [str(record), "--out", str(out)] + (["--force"] if force else [])
    replay.main(arguments, standalone_mode=False)
