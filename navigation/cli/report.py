"""`gammanav report`: the report of a case, from its result folders or, where there are none yet, from its record."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", epilog="Example: gammanav report demo-out/record.gnav --out report")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the report.")
@click.option("--force", is_flag=True, help="Overwrite an existing report.")
def command(record: Path, out: Path, force: bool) -> None:
    """Write report.html, report.pdf and pictures of RECORD (a record, or a folder with results)."""
    from navigation.report import write_report
    from tracking.errors import InputError

    if not record.exists():
        raise InputError(f"{record}: no such record or folder")
    existing = out / "report.html"
    if existing.exists() and not force:
        raise InputError(f"{existing}: exists already; use --force to overwrite it")
    write_report(out, results_folder(record, out))
    click.echo(str(out / "report.html"))


def results_folder(record: Path, out: Path) -> Path:
    """Where the results of a record lie: beside it, else replayed into `out`."""
    if record.is_dir():
        return record
    if (record.parent / "scan-1" / "spots.json").is_file():
        return record.parent
    from navigation.cli.replay import _play, _write
    from tracking.recording import Record, parse_speed

    engine = _play(Record(record), parse_speed("max"), None)
    out.mkdir(parents=True, exist_ok=True)
    _write(engine, out)
    return out
