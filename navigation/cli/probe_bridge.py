"""`gammanav probe-bridge`: counts from a probe's serial line to OpenIGTLink."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import click

from tracking.errors import InputError

DEFAULT_PORT = 18955
SHIPPED = ("interval", "rate", "cumulative")


def _print_format(ctx: click.Context, _param: click.Parameter, name: str | None) -> None:
    """`--print-format`: needs no device."""
    if name is None or ctx.resilient_parsing:
        return
    from tracking.bridge import shipped_text

    click.echo(shipped_text(name), nl=False)
    ctx.exit()


@click.command(
    "probe-bridge",
    epilog="Example: gammanav probe-bridge --port-device /dev/ttyUSB0 --config probe.toml --port 18955",
)
@click.option("--port-device", required=True, metavar="DEVICE", help="Serial device, e.g. /dev/ttyUSB0.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file that says how the probe writes.")
@click.option(
    "--format", "shipped", type=click.Choice(SHIPPED), help="A format that comes along, instead of --config."
)
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to serve on. 0: any free one.",
)
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to serve on; another one lets other machines in.",
)
@click.option(
    "--counts",
    default="sensor",
    show_default=True,
    type=click.Choice(["sensor", "string"]),
    help="Form of the counts message.",
)
@click.option(
    "--print-format",
    type=click.Choice(SHIPPED),
    is_eager=True,
    expose_value=False,
    callback=_print_format,
    help="Print a format that comes along, to begin one's own from.",
)
def command(
    port_device: str, config: Path | None, shipped: str | None, port: int, listen: str, counts: str
) -> None:
    """Read a probe's lines from a serial DEVICE and serve its counts to the engine and to Slicer.

    Each change of the line's state is a JSON line on stdout and a STATUS message: a silent or unplugged
    probe is told and never replaced by a repeated count. Ends with code 0 on SIGTERM or SIGINT.
    """
    from tracking.bridge import Bridge, read_format, shipped_format

    if (config is None) == (shipped is None):
        raise InputError("probe-bridge needs either --config or --format")
    form = read_format(config) if config is not None else shipped_format(str(shipped))
    bridge = Bridge(port_device, form, port, host=listen, string=counts == "string", on_state=_report)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: bridge.stop.set())
    bridge.start()
    _emit({"ready": True, "port": bridge.port, "device": port_device, "format": form.name})
    bridge.run()


def _report(code: int, text: str) -> None:
    _emit({"status": code, "text": text})


def _emit(record: dict[str, object]) -> None:
    click.echo(json.dumps(record))
    sys.stdout.flush()
