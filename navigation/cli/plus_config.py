"""`gammanav plus-config`: ready configurations for PlusServer, and calibrations into PLUS files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tracking.errors import InputError

DEFAULT_PORT = 18954
KINDS = ("vega", "polaris", "fake")


@click.command("plus-config", epilog="Example: gammanav plus-config vega --host 192.168.1.10 --out plus.xml")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@click.option("--out", type=click.Path(path_type=Path), help="File to write a configuration of KIND to.")
@click.option("--force", is_flag=True, help="Overwrite it.")
@click.option("--host", help="The tracker's address (vega).")
@click.option(
    "--serial-port", type=click.IntRange(0), help="The tracker's serial port: 5 for COM5 (polaris)."
)
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535), help="To listen on."
)
@click.option("--probe-rom", help="Tool definition, relative to the configuration.")
@click.option("--stylus-rom", help="Likewise.")
@click.option("--reference-rom", help="Likewise.")
@click.option("--into", type=click.Path(path_type=Path), help="An existing PLUS file, instead of KIND.")
@click.option("--tip", type=click.Path(path_type=Path), help="tip.json to put in as ProbeTipToProbe.")
@click.option("--stylus", type=click.Path(path_type=Path), help="stylus.json, as StylusTipToStylus.")
def command(
    kind: str | None,
    out: Path | None,
    force: bool,
    into: Path | None,
    tip: Path | None,
    stylus: Path | None,
    **places: Any,
) -> None:
    """Write a PlusServer configuration of KIND, or put calibrations INTO an existing one.

    vega is an NDI tracker on the network, polaris one on a serial line, fake PLUS's own simulation. Everything
    else in an existing file stays as it is.
    """
    from tracking.plus import write_coordinate_definition

    if (kind is None) == (into is None):
        raise InputError("plus-config needs either KIND or --into")
    if into is not None:
        _refuse_ignored(out, places)
    tips = [_tip(tool, file) for tool, file in (("Probe", tip), ("Stylus", stylus)) if file is not None]
    if kind is not None:
        if out is None:
            raise InputError("plus-config needs --out for a new configuration")
        into = _write_new(kind, out, force, places)
    assert into is not None
    for tool, matrix, error_mm in tips:
        write_coordinate_definition(into, f"{tool}Tip", tool, matrix, error_mm)
    click.echo(str(into))


def _refuse_ignored(out: Path | None, places: dict[str, Any]) -> None:
    """Raise InputError for what only a new configuration takes."""
    given = [key for key, value in {"out": out, **places}.items() if value not in (None, DEFAULT_PORT)]
    if given:
        raise InputError(
            f"plus-config --into changes a file in place: --{given[0].replace('_', '-')} is not for it"
        )


def _write_new(kind: str, out: Path, force: bool, places: dict[str, Any]) -> Path:
    from tracking.jsonfile import write_text
    from tracking.plus import plus_configuration

    if out.exists() and not force:
        raise InputError(f"{out}: already exists (--force overwrites it)")
    roms = {tool: places.pop(f"{tool.lower()}_rom") for tool in ("Probe", "Stylus", "Reference")}
    given = {tool: rom for tool, rom in roms.items() if rom is not None}
    write_text(out, plus_configuration(kind, roms=given, **places))
    return out


def _tip(tool: str, file: Path) -> tuple[str, Any, float | None]:
    """A tool, its tip's matrix, and the error as PLUS keeps it; a stylus without an axis points away from its
    marker.
    """
    import numpy as np

    from tracking.jsonfile import number_of, read_json
    from tracking.tip import read_tip, tip_matrix

    values = read_tip([file], tool)
    if tool == "Stylus" and "axis" not in values and "tip_offset_mm" in values:
        offset = np.asarray(values["tip_offset_mm"], dtype=np.float64)
        length = float(np.linalg.norm(offset))
        values = {"axis": (offset / length).tolist() if length else [0.0, 0.0, 1.0], **values}
    error_mm = None if file.suffix.lower() == ".xml" else number_of(read_json(file), "rms_mm", file, 0.0)
    return tool, tip_matrix(values, str(file)), error_mm
