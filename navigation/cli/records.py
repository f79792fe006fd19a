"""`gammanav import` and `export`: scans in and out of records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracking.errors import InputError

if TYPE_CHECKING:
    from tracking.scanfolder import Scan


@click.command("import", epilog="Example: gammanav import occult_ideal --out occult.gnav")
@click.argument("scan_folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Record to write.")
@click.option("--force", is_flag=True, help="Overwrite an existing record.")
def import_command(scan_folder: Path, out: Path, force: bool) -> None:
    """Turn SCAN_FOLDER into a record: its rows as the messages that tracker and counter would have sent."""
    from tracking.scanfolder import read_scan

    scan = read_scan(scan_folder)
    if out.exists() and not force:
        raise InputError(f"{out}: already exists (--force overwrites it)")
    partial = out.with_name(f".{out.name}.partial")
    partial.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        count = _record(scan_folder.resolve().name, scan, partial)
        partial.replace(out)
    finally:
        for rest in (
            partial,
            partial.with_name(f"{partial.name}-wal"),
            partial.with_name(f"{partial.name}-shm"),
        ):
            rest.unlink(missing_ok=True)
    click.echo(f"{out}: {count} messages")


def _record(name: str, scan: Scan, path: Path) -> int:
    from tracking.recording import Recorder
    from tracking.scandevice import scan_epoch_s, scan_events

    epoch = scan_epoch_s(scan)
    head = {
        "nuclide": scan.nuclide,
        "epoch_s": epoch,
        "dead_time_s": scan.dead_time_s,
        "count_latency_s": scan.count_latency_s,
        "simulated": scan.simulated,
        "imported_from": name,
    }
    first = epoch + float(min(scan.poses.t_s[0], (scan.counts.t_s - scan.counts.window_s).min()))
    last = epoch + float(max(scan.poses.t_s[-1], scan.counts.t_s.max()))
    count = 0
    with Recorder(path, head) as recorder:
        recorder.append("import", first, "phase", _phase(name, "start", first))
        for event in scan_events(scan, "import"):
            recorder.append(event.source, event.arrival_s, event.kind, event.payload)
            count += 1
        recorder.append("import", last, "phase", _phase(name, "stop", last))
    return count


def _phase(name: str, action: str, t_s: float) -> bytes:
    return json.dumps({"phase": name, "action": action, "t_s": t_s}).encode()


@click.command("export", epilog="Example: gammanav export demo-out/record.gnav --to csv --out scans")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--to", "form", default="csv", show_default=True, type=click.Choice(["csv"]), help="Format.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the scan folders.")
@click.option("--force", is_flag=True, help="Overwrite existing scans.")
def export_command(record: Path, form: str, out: Path, force: bool) -> None:
    """Cut the scans out of RECORD: one scan folder for each, as any program can read."""
    from tracking.jsonfile import prepare_out
    from tracking.recording import Record
    from tracking.recording.export import export_scan, phases_of
    from tracking.scanfolder import write_scan

    phases = phases_of(Record(record))
    if not phases:
        raise InputError(f"{record}: holds no scan")
    with prepare_out(out, force, tuple(phases)) as folder:
        for name in phases:
            write_scan(export_scan(record, name), folder / name)
    click.echo(f"{out}: {', '.join(phases)}")
