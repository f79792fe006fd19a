"""`gammanav import` and `export`: scans and sequences into records, records into files that others open."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracking.errors import InputError

if TYPE_CHECKING:
    from tracking.recording import Event
    from tracking.recording.phases import Phase, Source
    from tracking.scanfolder import Scan

FORMS = ("csv", "mha", "nrrd", "mcap")
SUFFIXES = {"mha": ".mha", "nrrd": ".nrrd", "mcap": ".mcap"}
SEQUENCE_ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")
# By these names Slicer and PLUS know a sequence from an image.
SEQUENCE_SUFFIXES = {"mha": ".igs.mha", "nrrd": ".seq.nrrd", "mcap": ".mcap"}
# The recorder takes events faster than a disk; an import can wait for it.
MOST_WAITING, WAIT_S = 20_000, 0.005


@click.command(
    "import",
    epilog="Example: gammanav import freehand.igs.mha --counts counts.csv --nuclide Tc-99m --out r.gnav",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Record to write.")
@click.option(
    "--counts", type=click.Path(path_type=Path), help="Counts (t_s,counts,window_s) for a sequence."
)
@click.option("--counts-offset-s", default=0.0, help="Added to their t_s to give the sequence's timestamps.")
@click.option("--nuclide", help="Nuclide of a sequence's counts, such as Tc-99m.")
@click.option("--tip", "tips", multiple=True, type=click.Path(path_type=Path), help="tip.json and axis.json.")
@click.option("--probe", help="Transform of the probe, such as ProbeToTracker.")
@click.option("--reference", help="Transform of the reference, such as ReferenceToTracker.")
@click.option("--calibration", type=click.Path(path_type=Path), help="probe.json, for `gammanav replay`.")
@click.option("--force", is_flag=True, help="Overwrite an existing record.")
def import_command(
    source: Path,
    out: Path,
    counts: Path | None,
    counts_offset_s: float,
    nuclide: str | None,
    tips: tuple[Path, ...],
    probe: str | None,
    reference: str | None,
    calibration: Path | None,
    force: bool,
) -> None:
    """Turn SOURCE into a record, as the messages that tracker and counter would have sent.

    SOURCE is a scan folder or a sequence of PLUS or Slicer (.mha, .mhd, .nrrd). A sequence holds its counts in
    fields of its frames, or they come from --counts. Poses whose status is not OK are kept as invalid.
    `gammanav reconstruct` and `export` read the record; with --calibration also `gammanav replay` maps it.
    """
    if out.exists() and not force:
        raise InputError(f"{out}: already exists (--force overwrites it)")
    _refuse_source(source, out)
    if out.suffix.lower() in SEQUENCE_ENDINGS:
        raise InputError(f"{out}: a record by such a name would be taken for a sequence")
    notes: tuple[str, ...] = ()
    if source.is_dir():
        if counts or nuclide or tips or probe or reference:
            raise InputError(f"{source}: a scan folder says itself what the options for sequences say")
        count = _import_folder(source, out, calibration)
    else:
        from tracking.recording.sequence_import import ImportOptions, SequenceRecord
        from tracking.scanfolder import read_counts_csv
        from tracking.tip import read_tip

        options = ImportOptions(
            probe,
            reference,
            None if counts is None else read_counts_csv(counts),
            counts_offset_s,
            nuclide,
            read_tip(tips) if tips else None,
            as_marker=calibration is not None,
        )
        sequence = SequenceRecord(source, options)
        count, notes = _write_record(out, sequence.meta, sequence.events(), calibration), sequence.notes
    click.echo("\n".join([f"{out}: {count} messages", *notes]))


def _import_folder(folder: Path, out: Path, calibration: Path | None) -> int:
    import numpy as np

    from tracking.recording.phases import name_of
    from tracking.scandevice import scan_epoch_s
    from tracking.scanfolder import MARKER_POSES, TIP_POSES, read_scan

    scan, name = read_scan(folder), name_of(folder.resolve())
    tip = None
    if calibration is not None and scan.pose_name == TIP_POSES:
        scan, tip = replace(scan, pose_name=MARKER_POSES), np.eye(4).tolist()
    head = {
        "nuclide": scan.nuclide,
        "epoch_s": scan_epoch_s(scan),
        "unix_time": scan.reference_time is not None,
        "dead_time_s": scan.dead_time_s,
        "count_latency_s": scan.count_latency_s,
        "simulated": scan.simulated,
        "stated": dict(scan.stated) or None,
        "imported_from": name,
        "tip": scan.tip,
        "T_probe_probetip": tip,
    }
    return _write_record(
        out, {k: v for k, v in head.items() if v is not None}, _scan_events(name, scan), calibration
    )


def _scan_events(name: str, scan: Scan) -> Iterator[Event]:
    """The scan's messages between the marks of its phase."""
    from tracking.recording import Event
    from tracking.recording.phases import Phase, phase_payload
    from tracking.scandevice import scan_epoch_s, scan_events

    epoch = scan_epoch_s(scan)
    first = epoch + float(min(scan.poses.t_s[0], (scan.counts.t_s - scan.counts.window_s).min()))
    last = epoch + float(max(scan.poses.t_s[-1], scan.counts.t_s.max()))
    phase = Phase(name, first, last, surface_mm=scan.surface_mm)
    yield Event(0, first, "import", "phase", phase_payload(phase, "start"))
    yield from scan_events(scan, "import")
    yield Event(0, last, "import", "phase", phase_payload(phase, "stop"))


def _write_record(out: Path, head: dict[str, Any], events: Iterable[Event], calibration: Path | None) -> int:
    """Write a record whole or not at all; returns the number of wire messages in it."""
    from tracking.recording import Recorder
    from tracking.recording.store import supersede

    count = 0
    if calibration is not None:
        from navigation.engine.imported import as_case

        head, events = as_case(head, events, "import", calibration)
    with _whole(out, supersede) as partial, Recorder(partial, head) as recorder:
        for event in events:
            while recorder.waiting > MOST_WAITING:
                time.sleep(WAIT_S)
            recorder.append(event.source, event.arrival_s, event.kind, event.payload)
            count += event.kind == "raw"
    return count


@contextmanager
def _whole(out: Path, place: Callable[[Path, Path], object] = os.replace) -> Iterator[Path]:
    """A path to write to that becomes `out`, by `place`, when all went well."""
    from tracking.recording.store import with_companions

    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".partial-{out.name}")
    for left in with_companions(partial):
        left.unlink(missing_ok=True)
    try:
        yield partial
        place(partial, out)
    finally:
        for rest in with_companions(partial):
            rest.unlink(missing_ok=True)


@click.command("export", epilog="Example: gammanav export demo-out/record.gnav --to mha --out case.igs.mha")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--to", "form", default="csv", show_default=True, type=click.Choice(FORMS), help="Format.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder, or one file for all but csv."
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def export_command(record: Path, form: str, out: Path, force: bool) -> None:
    """Write RECORD, or one scan of it as RECORD#scan-1, in a form that other programs read.

    csv: one scan folder for each scan. mha, nrrd: sequences for PLUS and Slicer, with the counts as fields of
    the frames. mcap: for Foxglove. These three go into the file OUT, or, if OUT has no suffix, into a folder
    with one file for each scan.
    """
    from tracking.recording.export import open_source, phases_of

    if record.is_dir():
        raise InputError(f"{record}: is a folder, not a record: `gammanav import` makes one of a scan folder")
    source, name = open_source(record)
    phases = phases_of(source)
    if name and name not in phases:
        raise InputError(f"{source.path}: has no phase {name!r}; it holds {', '.join(phases) or 'no scan'}")
    wanted = {name: phases[name]} if name else phases
    _check_names(source, wanted)
    if form == "csv":
        _export_folders(source, wanted, out, force)
    elif out.suffix and not out.is_dir():
        if out.suffix.lower() != SUFFIXES[form]:
            raise InputError(f"{out}: the name of a file in this form ends in {SUFFIXES[form]}")
        if out.exists() and not force:
            raise InputError(f"{out}: already exists (--force overwrites it)")
        _refuse_source(source.path, out)
        count = _write_file(source, form, out, wanted, wanted[name] if name else None)
        click.echo(f"{out}: {count} {'messages' if form == 'mcap' else 'frames'}")
    else:
        _export_files(source, form, wanted, out, force)


def _refuse_source(source: Path, out: Path) -> None:
    """Raise InputError where the result would take the place of what it is made of."""
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out}: is the source itself, which is never overwritten")


def _check_names(source: Source, names: Iterable[str]) -> None:
    """Raise InputError for a scan whose name is no name of a file: it would be written somewhere else."""
    for name in names:
        if name in ("", ".", "..") or "/" in name or not name.isprintable():
            raise InputError(f"{source.path}: the scan name {name!r} cannot be the name of a file")


def _export_folders(source: Source, phases: dict[str, Phase], out: Path, force: bool) -> None:
    from tracking.jsonfile import prepare_out
    from tracking.recording.export import export_scans
    from tracking.scanfolder import write_scan

    if not phases:
        raise InputError(f"{source.path}: holds no scan")
    with prepare_out(out, force, tuple(phases)) as folder:
        for name, scan in zip(phases, export_scans(source, phases.values()), strict=True):
            write_scan(scan, folder / name)
    click.echo(f"{out}: {', '.join(phases)}")


def _export_files(source: Source, form: str, phases: dict[str, Phase], out: Path, force: bool) -> None:
    """One file for each scan, or one for the whole of a record without scans."""
    from tracking.jsonfile import prepare_out

    stem, suffix = source.path.name.partition(".")[0], SEQUENCE_SUFFIXES[form]
    files: dict[str, Phase | None] = {f"{name}{suffix}": phase for name, phase in phases.items()}
    files = files or {f"{stem}{suffix}": None}
    with prepare_out(out, force, tuple(files)) as folder:
        for file, phase in files.items():
            _write_file(source, form, folder / file, {} if phase is None else {phase.name: phase}, phase)
    click.echo(f"{out}: {', '.join(files)}")


def _write_file(source: Source, form: str, out: Path, phases: dict[str, Phase], stretch: Phase | None) -> int:
    from tracking.recording.mcap_export import write_mcap
    from tracking.recording.sequence_export import write_sequence

    with _whole(out) as partial:
        if form == "mcap":
            return write_mcap(source, partial, stretch)
        return write_sequence(source, partial, phases, stretch)
