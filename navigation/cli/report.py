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
@click.option(
    "--study",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Imported study of the case, for pictures in the CT; by default the folder study beside the results.",
)
@click.option("--dicom/--no-dicom", default=True, help="Results as DICOM objects in OUT/dicom, by default.")
@click.option(
    "--identified",
    is_flag=True,
    help="DICOM objects name the patient and the study; the study must have been imported with --keep-identity.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing report.")
def command(record: Path, out: Path, study: Path | None, dicom: bool, identified: bool, force: bool) -> None:
    """Write report.html, report.pdf and pictures of RECORD, and its results as DICOM without the patient's identity.

    RECORD is a folder of results (scan-1, scan-2), or a record: it is replayed, its results are put into OUT too.
    """
    from navigation.dicomresults.write import FOLDER, context_of, refuse_foreign, write_dicom
    from navigation.report import write_report
    from navigation.report.results import read_case
    from tracking.errors import InputError

    if identified and not dicom:
        raise click.UsageError("--identified says whose the DICOM objects are: not with --no-dicom")
    if not record.exists():
        raise InputError(f"{record}: no such record or folder")
    existing = out / "report.html"
    if existing.exists() and not force:
        raise InputError(f"{existing}: exists already; use --force to overwrite it")
    if dicom:
        refuse_foreign(out / FOLDER)
    if record.is_file():
        replay_into(record, out, force)
    results = record if record.is_dir() else out
    kept = record if record.is_file() else None
    case = read_case(results, kept) if dicom else None
    if case is not None:
        context_of(case, study, identified)  # before anything is written: it may be refused
    write_report(out, results, study, kept)
    if case is not None:
        for words in write_dicom(case, out, study, identified).left_out:
            click.echo(f"not among the DICOM objects: {words}", err=True)
    click.echo(str(existing))


def replay_into(record: Path, out: Path, force: bool) -> None:
    """The results of a record, made anew in `out` as `gammanav replay` makes them."""
    from navigation.cli.replay import command as replay

    arguments = [str(record), "--out", str(out)] + (["--force"] if force else [])
    replay.main(arguments, standalone_mode=False)
