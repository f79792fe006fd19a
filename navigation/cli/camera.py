"""`gammanav calibrate camera`: a video camera's lens, and where it sits on its tracked marker."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from navigation.cli.numbers import Finite
from navigation.cli.pivot import refuse_existing
from tracking.errors import InputError

if TYPE_CHECKING:
    from navigation.ui.camera.model import CameraModel
    from navigation.ui.camera.solve import Board, BoardView

LONGEST_SECONDS = 1800.0
TELL_S = 1.0


@click.command(
    "camera",
    epilog="Example: gammanav calibrate camera --video opencv:0 --live localhost:18944 --square-mm 20 --out cam.json",
    short_help="A video camera: its lens, and where it sits on its marker.",
)
@click.argument("views", required=False, type=click.Path(path_type=Path))
@click.option("--video", help="Take views now: openigtlink:HOST:PORT[/DEVICE] or opencv:CAMERA, with --live.")
@click.option("--live", help="HOST:PORT that sends the marker's poses: the engine, or a tracker.")
@click.option("--device", default="CameraToReference", show_default=True, help="Their name there.")
@click.option("--board", default="9x6", show_default=True, help="Inner corners of the checkerboard.")
@click.option(
    "--square-mm", required=True, type=Finite(1.0, 500.0), help="Side of one of its squares, as measured."
)
@click.option("--wanted", default=15, show_default=True, type=click.IntRange(8, 40), help="Views to take.")
@click.option(
    "--seconds",
    default=300.0,
    show_default=True,
    type=Finite(5.0, LONGEST_SECONDS),
    help="For so long at most.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Result file, camera.json.")
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(
    views: Path | None,
    video: str | None,
    live: str | None,
    device: str,
    board: str,
    square_mm: float,
    wanted: int,
    seconds: float,
    out: Path,
    force: bool,
) -> None:
    """Calibrate a camera from pictures of a checkerboard that lies still, while the camera moves round it.

    VIEWS is a folder with views.csv, as live views are kept beside the result. The error told is that of views the
    fit did not know: what the overlay is off by at the board's distance.
    """
    from navigation.ui.camera.model import write_camera
    from navigation.ui.camera.solve import calibrate, parse_board
    from navigation.ui.camera.views import read_views

    refuse_existing(out, force)
    plan = parse_board(board, square_mm)
    if (views is None) == (video is None) or (video is None) != (live is None):
        raise InputError("camera: either a folder VIEWS, or --video together with --live")
    if views is not None:
        found, size, lost = read_views(views, plan)
        if lost:
            click.echo(f"the whole board is not seen in {', '.join(lost)}: left out", err=True)
    else:
        found, size = _take(str(video), str(live), device, plan, wanted, seconds, out)
    model = replace(calibrate(found, plan, size), made_at=datetime.now(UTC).isoformat(timespec="seconds"))
    write_camera(out, model)
    click.echo(_told(out, model))


def _take(
    video: str, live: str, device: str, board: Board, wanted: int, seconds: float, out: Path
) -> tuple[list[BoardView], tuple[int, int]]:
    """Views taken now, and kept beside the result whatever becomes of them."""
    from navigation.livepose import parse_live
    from navigation.ui.camera.frames import open_frames
    from navigation.ui.camera.views import MarkerLink, take_views, write_views

    role = parse_live(live)
    frames, marker = open_frames(video), MarkerLink(role.host, role.port, device)
    frames.start()
    marker.start()
    try:
        found, pictures, size = take_views(frames, marker, board, wanted, seconds, _Teller().tell)
    finally:
        frames.stop()
        marker.stop()
    kept = out.with_name(f"{out.stem}-views")
    kept.mkdir(parents=True, exist_ok=True)
    write_views(kept, pictures, found)
    click.echo(f"{kept}: {len(found)} views", err=True)
    return found, size


class _Teller:
    """Says what to do next on stderr, when it changes, at most once a second."""

    def __init__(self) -> None:
        self._told, self._told_s = "", float("-inf")

    def tell(self, words: str) -> None:
        if words != self._told and time.monotonic() - self._told_s >= TELL_S:
            self._told, self._told_s = words, time.monotonic()
            click.echo(words, err=True)


def _told(out: Path, model: CameraModel) -> str:
    return (
        f"{out}: {model.views} views, lens to {model.lens_rms_px:.2f} px, "
        f"a view left out is missed by {model.error_px:.2f} px RMS"
    )
