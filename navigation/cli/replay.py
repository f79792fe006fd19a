"""`gammanav replay`: the engine on a record, and whether it gives the same results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from navigation.viewer import Window
from tracking.errors import InputError, SurroundingsError

if TYPE_CHECKING:
    from tqdm import tqdm

    from navigation.engine.replay import ReplayEngine
    from tracking.recording import Event, Record


@click.command("replay", epilog="Example: gammanav replay demo-out/record.gnav --speed max --out replayed")
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--speed", help="Times real time, or max; default: max, with --window 1.")
@click.option("--out", type=click.Path(path_type=Path), help="Write scan folders and results here.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Publish over OpenIGTLink on this port meanwhile."
)
@click.option("--window", is_flag=True, help="A rehearsal: show it in the window, marked as such.")
@click.option("--study", type=click.Path(path_type=Path), help="Study folder, for the CT in the window.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    record: Path,
    speed: str | None,
    out: Path | None,
    port: int | None,
    window: bool,
    study: Path | None,
    force: bool,
) -> None:
    """Play RECORD through the engine: the same readings, the same map, bit for bit."""
    from tracking.jsonfile import prepare_out
    from tracking.recording import Record, parse_speed

    if study is not None and not window:
        raise InputError("--study is for the window: not without --window")
    pace, source = parse_speed(speed or ("1" if window else "max")), Record(record)
    shown = Window(False, None, study) if window else None
    port = 0 if window and port is None else port
    if out is None:
        click.echo(verdict(_play(source, pace, port, shown)))
        return
    with prepare_out(out, force) as folder:
        engine = _play(source, pace, port, shown)
        _write(engine, folder.path)
    click.echo(verdict(engine))


def _play(source: Record, speed: float, port: int | None, window: Window | None = None) -> ReplayEngine:
    from tqdm import tqdm

    from navigation.engine.assembly import settings_of
    from navigation.engine.imaging import Imager
    from navigation.engine.reconstruct import build_imaging
    from navigation.engine.replay import ReplayEngine
    from navigation.engine.session import Session
    from navigation.publish import Publisher
    from tracking.recording import Replay

    publisher = None if port is None else Publisher(port)
    show = (lambda snapshot: None) if publisher is None else publisher.show
    engine = ReplayEngine(Session(settings_of(source)), Imager(build_imaging), show, _told_of(source))
    if publisher is not None:
        publisher.start()
    try:
        if window is not None and publisher is not None:
            window.open(publisher.server.port)
            if window.remark is not None:
                raise SurroundingsError(window.remark)
        with tqdm(disable=not sys.stderr.isatty(), unit=" events", leave=False) as bar:
            Replay(_counted(source, bar), engine.on_event, speed).run()
        engine.analyze_rest()
    finally:
        if window is not None:
            window.close()
        if publisher is not None:
            publisher.stop()
    return engine


def _told_of(source: Record) -> str:
    """Of when the record is, for whoever looks at its rehearsal."""
    first = next(iter(source.events()), None)
    if first is None:
        return "a record, not live"
    return f"a record of {datetime.fromtimestamp(first.arrival_s, UTC):%Y-%m-%d %H:%M} UTC, not live"


def _counted(source: Record, bar: tqdm[NoReturn]) -> Iterator[Event]:
    for event in source.events():
        yield event
        bar.update()


def _write(engine: ReplayEngine, folder: Path) -> None:
    from navigation.engine.results import write_results
    from tracking.jsonfile import write_json

    write_results(engine.session, engine.outcomes, folder)
    comparison = engine.comparison
    write_json(
        folder / "replay.json",
        {
            "compared": comparison.compared,
            "identical": not comparison.differing,
            "differing": [list(key) for key in comparison.differing],
            "refused": engine.refused,
        },
    )


def verdict(engine: ReplayEngine) -> str:
    """One line: were the results those of the record?"""
    comparison = engine.comparison
    if not comparison.compared:
        return "The record holds no result to compare with."
    if comparison.differing:
        return f"{len(comparison.differing)} of {comparison.compared} results differ from the record."
    return f"All {comparison.compared} results are those of the record, bit for bit."
