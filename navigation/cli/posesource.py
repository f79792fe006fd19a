"""Where a command's marker poses come from: files, or a running tracker with --live; options shared by some."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from navigation.cli.numbers import Finite
from tracking.errors import InputError, SurroundingsError

if TYPE_CHECKING:
    from calibration.gates import Gates
    from calibration.tip.posefile import PoseSet
    from calibration.tip.posestream import PoseStream

# A hand goes through a cone twice in that time.
DEFAULT_SECONDS = 30.0
LONGEST_SECONDS = 600.0
# The line of progress is written anew this often.
PROGRESS_S = 0.5

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PoseRequest:
    """What the command line says of the poses: a file, or a tracker and a device; `out` is the result's file."""

    poses: Path | None
    live: str | None
    device: str
    seconds: float
    transform: str | None
    out: Path
    force: bool

    @property
    def kept(self) -> Path:
        """Where live poses are kept: beside the result."""
        return self.out.with_name(f"{self.out.stem}-poses.csv")


def pose_options(tool: str) -> Callable[[Function], Function]:
    """The options --live, --device, --seconds and --case of a command whose poses are usually of `tool`."""

    def decorate(function: Function) -> Function:
        for option in reversed(_options(tool)):
            function = option(function)
        return function

    return decorate


def _options(tool: str) -> tuple[Callable[[Function], Function], ...]:
    return (
        click.option("--live", help="Record now, instead of POSES: HOST:PORT of a tracker, or a CASE.toml."),
        click.option(
            "--device", default=f"{tool}ToTracker", show_default=True, help="The tool recorded with --live."
        ),
        click.option(
            "--seconds",
            default=DEFAULT_SECONDS,
            show_default=True,
            type=Finite(1.0, LONGEST_SECONDS),
            help="For so long, from the first pose on.",
        ),
        click.option(
            "--case", type=click.Path(path_type=Path), help="Case file; its table [gates] sets thresholds."
        ),
    )


def gates_for(case: Path | None, live: str | None) -> Gates:
    """The thresholds of --case, else of a case given with --live, else the defaults."""
    from calibration.gates import read_gates
    from navigation.livepose import CASE_SUFFIX

    if case is None and live is not None and live.lower().endswith(CASE_SUFFIX):
        return read_gates(Path(live))
    return read_gates(case)


def take_poses(request: PoseRequest) -> PoseSet:
    """The poses asked for. Raises InputError for a file, SurroundingsError for a tracker.

    Live poses are kept in `request.kept`, whatever ends the recording.
    """
    if (request.poses is None) == (request.live is None):
        raise InputError("give either POSES or --live HOST:PORT")
    if request.poses is not None:
        from calibration.tip.posefile import read_poses

        return read_poses(request.poses, request.transform)
    return _record(request)


def _record(request: PoseRequest) -> PoseSet:
    from calibration.tip.posestream import PoseStream
    from navigation.livepose import parse_live, record_poses, wire_name

    if request.kept.exists() and not request.force:
        raise InputError(f"{request.kept}: exists already; --force overwrites it")
    assert request.live is not None
    role = parse_live(request.live)
    stream = PoseStream(wire_name(request.device), role.volume)
    try:
        record_poses(role, stream, request.seconds, _Progress(request.seconds))
    except SurroundingsError as error:
        kept = f"; {len(stream)} poses are kept in {request.kept}" if len(stream) else ""
        raise SurroundingsError(f"{error}{kept}") from error
    finally:
        if len(stream):
            stream.write_csv(request.kept)
    return stream.pose_set()


class _Progress:
    """One line on a terminal's stderr, written anew; nothing in a pipe."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next_s = 0.0
        self._shown = sys.stderr.isatty()

    def __call__(self, elapsed_s: float, stream: PoseStream) -> None:
        if not self._shown or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + PROGRESS_S
        poses = stream.pose_set()
        left_out = ", ".join(f"{n} {cause}" for cause, n in sorted(poses.skipped.items())) or "none"
        line = f"{elapsed_s:3.0f} of {self._seconds:.0f} s: {len(poses.matrices)} poses, left out: {left_out}"
        click.echo(f"\r\x1b[K{line}", err=True, nl=False)
        if elapsed_s + PROGRESS_S >= self._seconds:
            click.echo(err=True)


def told_of(content: dict[str, Any], poses: PoseSet, request: PoseRequest) -> dict[str, Any]:
    """The result with whose poses it rests on, where they are kept, and that they were simulated if they were."""
    more: dict[str, Any] = {}
    if poses.source is not None:
        more["transform"] = poses.source
    if request.live is not None:
        more["poses_file"] = request.kept.name
    if poses.simulated:
        more["simulated"] = True
    return {**content, **more}


def with_max_rms(gates: Gates, max_rms_mm: float | None) -> Gates:
    """The gates with the 3D RMS that the command line allows, which goes before the case's."""
    return gates if max_rms_mm is None else replace(gates, pivot=replace(gates.pivot, max_rms_mm=max_rms_mm))
