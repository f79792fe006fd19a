"""`gammanav simulate`: the simulated tracker and probe as two OpenIGTLink servers on loopback."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from navigation.cli.numbers import Finite
from navigation.simulate import BENCH_SCENES, SCENES, bench_scene, build_scene
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.simulate.course import Course
    from navigation.simulate.room import Event
    from navigation.simulate.stage import Stage

DEFAULT_PORT = 18954
HIGHEST_PORT = 65534  # the probe's is one above
# Beyond this, millimetres, degrees and seconds of what happens in a room are slips of the hand.
LARGEST = 3600.0


@click.command(
    "simulate",
    epilog="Example: gammanav simulate bed --port 18954 --seed 3 --truth truth.json",
)
@click.argument("scene", type=click.Choice((*SCENES, *BENCH_SCENES)))
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, HIGHEST_PORT),
    help="Tracker; the probe is at port + 1. 0: any free ones.",
)
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.0, 100.0, min_open=True),
    help="Simulated seconds per second.",
)
@click.option(
    "--counts",
    default="sensor",
    show_default=True,
    type=click.Choice(["sensor", "string"]),
    help="Form of the counts message.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Anatomy, strengths, hand and noise.",
)
@click.option(
    "--breathing-mm", default=0.0, type=Finite(0.0, 30.0), help="Range of breathing, 5 to 15 in patients."
)
@click.option("--breathing-period-s", default=4.0, show_default=True, type=Finite(1.0, 20.0))
@click.option(
    "--shift-after-resection",
    "shift",
    metavar="X,Y,Z",
    help="Body and activity move so far (body frame, mm) once something was resected.",
)
@click.option("--bump", metavar="S,MM,DEG", help="S seconds after the start the reference marker is pushed.")
@click.option(
    "--table", metavar="S,MM,DEG", help="S seconds after the start the table is moved, camera apart."
)
@click.option("--check-marker", is_flag=True, help="A second marker, Check, on the patient.")
@click.option(
    "--interactive", is_flag=True, help="Phases are lines on stdin: `phase scan-1 30`; end of input stops."
)
@click.option(
    "--truth", type=click.Path(dir_okay=False, path_type=Path), help="Write what is really there (JSON)."
)
@click.option(
    "--setup",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write what a hospital would have: probe grid, tips, study, ...",
)
def command(
    scene: str,
    port: int,
    speed: float,
    counts: str,
    seed: int,
    breathing_mm: float,
    breathing_period_s: float,
    shift: str | None,
    bump: str | None,
    table: str | None,
    check_marker: bool,
    interactive: bool,
    truth: Path | None,
    setup: Path | None,
) -> None:
    """SIMULATION: the devices of an operating room, without a patient. Ends on SIGTERM or SIGINT.

    By itself it goes through sweep, landmarks, touch, scan-1, resect, touch-bed and scan-2, then scans
    on. Each start and stop is a JSON line on stdout. With --interactive these phases come as lines on
    stdin, in any order. The patient may breathe, the reference be pushed, the table be moved: --truth tells.

    pivot, spin, sweep, grid, check and quiet are benches to rehearse a calibration on, each moved as `gammanav
    calibrate guide` asks for it, over and over.
    """
    from navigation.simulate.stage import Stage, Timeline

    course = course_of(breathing_mm, breathing_period_s, shift, bump, table, check_marker)
    build = bench_scene if scene in BENCH_SCENES else build_scene
    stage = Stage(
        build(scene, seed),
        port,
        speed=speed,
        counts=counts,
        course=course,
        on_event=_report,
        on_error=_complain,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stage.stop.set())
    ports = stage.start()
    try:
        _write_files(stage, ports, truth, setup)
        _emit({"ready": True, "ports": list(ports), "simulation": True, "scene": scene, "seed": seed})
        if interactive:
            threading.Thread(target=_listen, args=(stage,), daemon=True).start()
        stage.play(None if interactive else Timeline(scene))
    finally:
        stage.close()


def course_of(
    breathing_mm: float,
    period_s: float,
    shift: str | None,
    bump: str | None,
    table: str | None,
    check_marker: bool,
) -> Course:
    """What the options ask for. Raises InputError."""
    from navigation.simulate.course import QUIET, Course
    from navigation.simulate.motion import Motion
    from navigation.simulate.stage import REFERENCE_AGE_S

    quiet = QUIET.breathing
    breathing = Motion(breathing_mm, period_s, dwelling=True) if breathing_mm > 0.0 else quiet
    moved = (0.0, 0.0, 0.0) if shift is None else _three("--shift-after-resection", shift)
    pushed = (None, 0.0, 0.0) if bump is None else _three("--bump", bump)
    driven = (None, 0.0, 0.0) if table is None else _three("--table", table)
    bump_s, table_s = (None if at is None else REFERENCE_AGE_S + at for at in (pushed[0], driven[0]))
    return Course(breathing, moved, bump_s, *pushed[1:], table_s, *driven[1:], check_marker)


def _three(option: str, text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text!r}: three numbers with commas between them expected") from None
    if not all(math.isfinite(v) and abs(v) <= LARGEST for v in (x, y, z)):
        raise InputError(f"{option} {text!r}: a number is not finite or beyond {LARGEST:g}")
    return x, y, z


def _write_files(stage: Stage, ports: tuple[int, int], truth: Path | None, setup: Path | None) -> None:
    if truth is not None:
        from navigation.simulate.truth import write_truth

        write_truth(stage.scene, truth, stage.reference_utc_s, stage.room.course)
    if setup is not None:
        from navigation.simulate.setup import write_setup

        study = stage.scene.name not in BENCH_SCENES
        write_setup(stage.scene, setup, stage.reference_utc_s, ports, study)


def _emit(record: dict[str, Any]) -> None:
    click.echo(json.dumps(record))
    sys.stdout.flush()


def _report(event: Event, utc_s: float) -> None:
    record = {"phase": event.phase, "action": event.action, "t_s": round(utc_s, 6)}
    _emit(record if event.name is None else {**record, "name": event.name})


def _listen(stage: Stage) -> None:
    """Obey stdin line by line; a line that is no command is answered, not fatal."""
    for line in sys.stdin:
        words = line.split()
        if words == ["quit"]:
            break
        if words:
            _obey(stage, words)
    stage.stop.set()


def _obey(stage: Stage, words: list[str]) -> None:
    try:
        if words[0] != "phase" or len(words) not in (2, 3):
            raise InputError(f"{' '.join(words)!r}: expected `phase NAME [SECONDS]` or `quit`")
        stage.command(words[1], _seconds(words[2]) if len(words) == 3 else None)
    except InputError as error:
        _complain(str(error))


def _complain(message: str) -> None:
    _emit({"error": message})


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no number of seconds") from error
