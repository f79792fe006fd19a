"""`gammanav pacs`: is a PACS there, which studies has it, bring one."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from navigation.cli.pacsoptions import peer_options, query_options
from navigation.cli.pivot import refuse_existing
from navigation.io.pacs import (
    MOST_STUDIES,
    Answers,
    Query,
    Retrieved,
    echo,
    find_series,
    find_studies,
    retrieve,
)
from navigation.io.pacscontexts import MODALITIES
from navigation.io.pacssettings import Peer
from tracking.errors import InputError
from tracking.jsonfile import prepare_out, to_json, write_text

# A list of patients is for its reader alone.
PRIVATE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
_IMPORTING = ("resample_tilt", "leave_out_defective", "drop_copies")
_STUDY_COLUMNS = {
    "date": "StudyDate",
    "modalities": "ModalitiesInStudy",
    "patient ID": "PatientID",
    "name": "PatientName",
    "born": "PatientBirthDate",
    "accession": "AccessionNumber",
    "description": "StudyDescription",
    "files": "NumberOfStudyRelatedInstances",
    "study": "StudyInstanceUID",
}
_SERIES_COLUMNS = {
    "number": "SeriesNumber",
    "modality": "Modality",
    "date": "SeriesDate",
    "description": "SeriesDescription",
    "files": "NumberOfSeriesRelatedInstances",
    "series": "SeriesInstanceUID",
}


@click.command(
    "echo",
    epilog="Example: gammanav pacs echo --settings pacs.toml",
    short_help="Does a PACS answer, and what does it offer?",
)
@peer_options
def echo_command(peer: Peer) -> None:
    """Ask a PACS whether it is there (C-ECHO) and what it offers: finding, getting, and which modalities."""
    offered = echo(peer)
    words = ", ".join(name for name in ("find", "get") if offered[name]) or "neither find nor get"
    click.echo(f"{peer.where} answers; offers {words}; sends {', '.join(offered['modalities']) or 'nothing'}")


@click.command(
    "find",
    epilog="Example: gammanav pacs find --settings pacs.toml --patient-id 12345 --modality NM",
    short_help="Find studies, or the series of one.",
)
@peer_options
@query_options
@click.option("--modality", "modalities", multiple=True, help="Studies that hold this; may be repeated.")
@click.option("--series-of", "study_uid", default="", help="A study's UID: its series are listed.")
@click.option("--most", default=MOST_STUDIES, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write a file that only you can read."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def find_command(
    peer: Peer,
    asked: dict[str, Any],
    modalities: tuple[str, ...],
    study_uid: str,
    most: int,
    json_file: Path | None,
    force: bool,
) -> None:
    """List studies of a PACS, the newest first, or the series of one study.

    An answer that does not fit the question is left out and counted. The list names patients: it goes to the
    terminal, or with --json to a file that only its owner can read. No match ends with code 2.
    """
    if json_file is not None:
        refuse_existing(json_file, force)
    query = Query(**asked, modalities=tuple(m.upper() for m in modalities), study_uid=study_uid)
    answers = find_series(peer, study_uid) if study_uid else find_studies(peer, query, most)
    level, columns = ("series", _SERIES_COLUMNS) if study_uid else ("studies", _STUDY_COLUMNS)
    if not answers.found:
        raise InputError(f"{peer.where}: no {level} found{_unfit(answers)}")
    if json_file is None:
        click.echo("\n".join(table(answers.found, columns)))
    else:
        content = {"peer": peer.where, level: answers.found, "unfit": answers.unfit}
        text = to_json({**content, "complete": answers.complete}) + "\n"
        write_text(json_file, text, mode=PRIVATE_MODE)
    more = "" if answers.complete else f"; there are more, --most {most} of them shown"
    click.echo(f"{len(answers.found)} {level}{_unfit(answers)}{more}", err=True)


def _unfit(answers: Answers) -> str:
    return f", {answers.unfit} that do not fit the question left out" if answers.unfit else ""


def table(rows: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> Iterator[str]:
    """Aligned columns with a head; the last one is not padded."""
    cells = [list(columns), *([row[key].replace("\\", "/") for key in columns.values()] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


@click.command(
    "get",
    epilog="Example: gammanav pacs get --settings pacs.toml --accession A1234 --study study",
    short_help="Bring a study, and import it.",
)
@click.argument("study_uid", required=False)
@peer_options
@query_options
@click.option(
    "--out", "--keep-dicom", "out", type=click.Path(path_type=Path), help="Folder to keep the DICOM files in."
)
@click.option("--study", type=click.Path(path_type=Path), help="Study folder to import them into.")
@click.option("--series", multiple=True, help="UID of a series; may be repeated. By default all.")
@click.option(
    "--modality",
    "modalities",
    multiple=True,
    type=click.Choice(MODALITIES, case_sensitive=False),
    help="Series of this modality only; may be repeated.",
)
@click.option("--resample-tilt", is_flag=True, help="Import: set a series from a tilted gantry upright.")
@click.option("--leave-out-defective", is_flag=True, help="Import the series that have no fatal defect.")
@click.option("--drop-copies", is_flag=True, help="Import: leave out what is there twice, byte by byte.")
@click.option("--keep-identity", is_flag=True, help="Import: store name, number and dates in plain text.")
@click.option("--force", is_flag=True, help="Overwrite what exists.")
def get_command(
    peer: Peer,
    study_uid: str | None,
    asked: dict[str, Any],
    out: Path | None,
    study: Path | None,
    series: tuple[str, ...],
    modalities: tuple[str, ...],
    force: bool,
    **importing: bool,
) -> None:
    """Bring the series of a study from a PACS (C-GET) and import them as `gammanav study` does.

    STUDY_UID is the study, as `gammanav pacs find` lists it; without it, patient, accession number or days
    must fit exactly one.
    With --study the files are imported and then removed; --out (or --keep-dicom) keeps them, in a folder that
    only you can enter. All files of all wanted series come, or nothing is kept and the exit code is 2.
    """
    if out is None and study is None:
        raise click.UsageError("give --study to import, --out to keep the DICOM files, or both")
    for folder, name in ((out, ""), (study, "study.json")):
        _refuse_filled(folder, name, force)
    uid = _the_one(peer, Query(**asked, study_uid=study_uid or ""))
    with _download_folder(out, study, force) as folder:
        wanted = tuple(m.upper() for m in modalities) or MODALITIES
        with Progress() as progress:
            got = retrieve(peer, uid, folder, series=series, modalities=wanted, on_progress=progress.show)
        lines = [summary(got)]
        if study is not None:
            lines.append(_imported(folder, study, force, importing))
    click.echo("\n".join(lines))


def _the_one(peer: Peer, query: Query) -> str:
    """The UID given, or that of the only study that fits. Raises InputError when there is none or a choice."""
    if query.study_uid:
        return query.study_uid
    answers = find_studies(peer, query)
    if len(answers.found) != 1 or not answers.complete:
        number = f"{len(answers.found)} studies fit" if answers.found else "no study fits"
        raise InputError(f"{peer.where}: {number}; `gammanav pacs find` lists them, a UID names one")
    return answers.found[0]["StudyInstanceUID"]


def _refuse_filled(folder: Path | None, name: str, force: bool) -> None:
    """InputError before anything is asked of a PACS if the result is there already."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, not a folder")
    filled = (folder / name).exists() if name else folder.is_dir() and any(folder.iterdir())
    if filled and not (force and name):
        hint = "--force overwrites it" if name else "files of another study may lie in it"
        raise InputError(f"{folder / name}: {'already exists' if name else 'is not empty'} ({hint})")


@contextmanager
def _download_folder(out: Path | None, study: Path | None, force: bool) -> Iterator[Path]:
    """A private folder for the files: it becomes `out` at the end, or is gone."""
    with ExitStack() as stack:
        if out is not None:
            folder = stack.enter_context(prepare_out(out, force)).path
        else:
            parent = Path(os.path.abspath(study or ".")).parent
            parent.mkdir(parents=True, exist_ok=True)
            # The library's files may be gone already when a retrieval has failed.
            made = tempfile.TemporaryDirectory(prefix=".pacs-", dir=parent, ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made))
        folder.chmod(PRIVATE_FOLDER_MODE)
        yield folder


def _imported(folder: Path, study: Path, force: bool, importing: Mapping[str, bool]) -> str:
    """Import as `gammanav study` does; its summary. Raises InputError with every defect."""
    from navigation.cli.study import summary as study_summary
    from navigation.io.study import import_study

    identified = importing["keep_identity"]
    options = {name: importing[name] for name in _IMPORTING}
    try:
        return study_summary(import_study(folder, study, identified=identified, force=force, **options))
    except InputError as fault:
        # The folder is ours and about to go; its name would tell the reader nothing.
        raise InputError(str(fault).replace(f"{folder}: ", "study from the PACS: ", 1)) from None


def summary(got: Retrieved) -> str:
    """One line: what has come, what stayed, what was kept out."""
    came = ", ".join(f"{s['modality']} {s['files']}" for s in got.series)
    words = [f"{got.files} files in {len(got.series)} series ({came})"]
    if got.others:
        words.append("left at the PACS: " + ", ".join(f"{n} {kind}" for kind, n in got.others.items()))
    if got.kept_out:
        words.append("kept out: " + ", ".join(f"{n} {why}" for why, n in got.kept_out.items()))
    return "; ".join(words)


class Progress:
    """A bar on a terminal, nothing in a pipe."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(disable=not sys.stderr.isatty(), unit=" files", leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, files: int, expected: int | None, size: int) -> None:
        """So many files of so many, so many bytes."""
        self._bar.total = expected
        self._bar.set_postfix_str(f"{size / 2**20:.0f} MiB", refresh=False)
        self._bar.update(files - self._bar.n)
