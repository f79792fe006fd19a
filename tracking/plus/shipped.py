"""Ready configurations for PlusServer, with the places filled in that differ from site to site."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from xml.sax.saxutils import quoteattr

from tracking.errors import InputError

KINDS = {
    "vega": "ndi_vega.xml",
    "polaris": "ndi_polaris.xml",
    "fake": "fake.xml",
}
DEFAULT_PORT = 18954
TOOLS = ("Probe", "Stylus", "Reference")


def plus_configuration(
    kind: str,
    *,
    roms: Mapping[str, str] | None = None,
    host: str | None = None,
    serial_port: int | None = None,
    port: int = DEFAULT_PORT,
) -> str:
    """The text of a configuration out of KINDS, with the tools' .rom files (by TOOLS), the tracker's
    address, the serial port's number and the listening port put in.

    Raises InputError for what that kind has no place for.
    """
    if kind not in KINDS:
        raise InputError(f"PLUS configuration {kind!r} is none of {', '.join(KINDS)}")
    file = resources.files("tracking.plus") / "config" / KINDS[kind]
    text = _with(file.read_text(encoding="utf-8"), "ListeningPort", str(port), kind)
    for tool, rom in (roms or {}).items():
        text = _with(text, "RomFile", rom, kind, f'Id="{tool}" ')
    if host is not None:
        text = _with(text, "NetworkHostname", host, kind)
    if serial_port is not None:
        text = _with(text, "SerialPort", str(serial_port), kind)
    return text


def _with(text: str, key: str, value: str, kind: str, after: str = "") -> str:
    """`text` with the one attribute `key` (that follows `after`) set to `value`."""
    changed, places = re.subn(
        rf'({re.escape(after)}{key}=)"[^"]*"', lambda m: m[1] + quoteattr(value), text, count=1
    )
    if not places:
        raise InputError(f"PLUS configuration {kind!r} has no {after}{key}")
    return changed
