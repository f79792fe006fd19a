"""`python -m navigation.ui`: the window on a running engine, as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tracking.errors import InputError, SurroundingsError

EXIT_INPUT = 2
LARGEST_PORT = 65535


@click.command(epilog="Example: python -m navigation.ui --connect 127.0.0.1:18944 --study study")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the engine publishes.")
@click.option("--port", default=18944, show_default=True, type=click.IntRange(1, LARGEST_PORT))
@click.option("--connect", metavar="HOST:PORT", help="Both in one.")
@click.option(
    "--study", type=click.Path(path_type=Path), help="Study folder; its CT is drawn behind the map."
)
@click.option(
    "--case", type=click.Path(path_type=Path), help="Case file; its [window] and [camera] set the window up."
)
@click.option("--screenshot", type=click.Path(path_type=Path), help="Leave a picture when the case ends.")
@click.option("--after", type=float, help="End after so many seconds.")
@click.option(
    "--talk", is_flag=True, help="Offer what can be asked for: orders to standard output, answers from input."
)
@click.option(
    "--sound", is_flag=True, help="Let the count rate be heard. Keys: M on or off, + and - the threshold."
)
def command(
    host: str,
    port: int,
    connect: str | None,
    study: Path | None,
    case: Path | None,
    screenshot: Path | None,
    after: float | None,
    talk: bool,
    sound: bool,
) -> None:
    """Show a live case. Keys: N next target, A axes of the probe or of the patient. Research use only."""
    from navigation.ui.window import Options, run_window
    from navigation.windowsettings import WindowSettings, window_settings

    if connect is not None:
        host, port = _address(connect)
    settings = WindowSettings() if case is None else window_settings(case)
    run_window(Options(host, port, study, screenshot, after, talk, sound, settings))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) <= LARGEST_PORT:
        raise InputError(f"--connect {text}: not of the form HOST:PORT")
    return host, int(port)


def main() -> None:
    """Exit code 2 with one line for bad input or no display."""
    try:
        command(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        click.echo(f"gammanav window: {error.format_message()}", err=True)
        sys.exit(EXIT_INPUT)
    except (InputError, SurroundingsError) as error:
        click.echo(f"gammanav window: {error}", err=True)
        sys.exit(EXIT_INPUT)


if __name__ == "__main__":
    main()
