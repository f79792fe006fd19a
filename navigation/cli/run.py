"""`gammanav run`: a live case, driven by words on standard input."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("run", epilog="Example: gammanav run case.toml --headless --out case-7")
@click.argument("case", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Record and results; default: CASE's name.")
@click.option("--headless", is_flag=True, help="No window on this display.")
@click.option(
    "--port", default=18944, show_default=True, type=click.IntRange(0, 65535), help="For Slicer and viewers."
)
@click.option(
    "--wait",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Seconds to wait for the sources.",
)
@click.option("--resume", is_flag=True, help="Go on after a crash in the record that is there.")
@click.option("--key", type=click.Path(path_type=Path), help="File with a key that signs the record.")
def command(
    case: Path, out: Path | None, headless: bool, port: int, wait: float, resume: bool, key: Path | None
) -> None:
    """Run the live case in CASE, a TOML file: record everything, map, publish.

    Words on standard input: `surface` or `bed` (outline with the stylus), `scan [NAME]`, `stop`, `touch`,
    `check KBQ [DEPTH_MM]`, `divot [probe|stylus] [X Y Z]` (is the tip where its calibration says: rest it in a divot,
    tilt it, `stop`), `background [SECONDS] [room|patient]`, `explain REASON`, `status`, `quit`. Of the registration:
    `landmark NAME`, `register`, `check-point NAME`, `confirm` (after a crash or a bump, three points checked), `undo`,
    `accept-shift BY`. Of the study: `targets`, `target add SPOT NAME`, `target end NAME OUTCOME BY REASON`, `push`.
    Ends on `quit`, Ctrl-C or SIGTERM and writes the results then.
    """
    from navigation.engine.console import run_console
    from tracking.recording import read_key

    signing = None if key is None else read_key(key)
    run_console(case, out or case.with_suffix(""), headless, port, wait, click.echo, resume, signing)
