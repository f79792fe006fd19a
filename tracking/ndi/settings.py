"""Where the tracker is and which tools it is to follow, checked before any hardware is asked."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.errors import InputError, SurroundingsError
from tracking.igtl.names import transform_name
from tracking.ndi.rom import read_rom

DEFAULT_PORT = 8765
DEFAULT_BAUD = 115200
TRACKER = "Tracker"
# The digit that COMM takes for each speed (NDI Combined API guide); 14400 is not offered by the driver.
BAUD_DIGITS = {9600: 0, 19200: 2, 38400: 3, 57600: 4, 115200: 5}


@dataclass(frozen=True, slots=True)
class NdiTool:
    """A passive tool: the name of its frame (Probe, Stylus, Reference) and its NDI tool definition."""

    name: str
    rom: Path


@dataclass(frozen=True, slots=True)
class NdiSettings:
    """A tracker at `host`:`port` or on the serial line `serial`, and its tools.

    Raises InputError when neither or both are given, when a tool is named twice or not as a frame, and when
    the speed is not one the driver offers; the tools' files are judged by `check_files`.
    """

    tools: tuple[NdiTool, ...]
    host: str | None = None
    port: int = DEFAULT_PORT
    serial: str | None = None
    baud: int = DEFAULT_BAUD

    def __post_init__(self) -> None:
        if (self.host is None) == (self.serial is None):
            raise InputError("an NDI tracker has either a host or a serial line")
        if self.baud not in BAUD_DIGITS:
            raise InputError(f"baud {self.baud} is none of {', '.join(map(str, BAUD_DIGITS))}")
        names = [tool.name for tool in self.tools]
        if not names or len(set(names)) < len(names):
            raise InputError(f"NDI tools {names}: none, or one named twice")
        for name in names:
            transform_name(name, TRACKER)

    def check_files(self) -> None:
        """Raise InputError for the first tool whose file is no tool definition, and for one used twice."""
        parts: dict[bytes, str] = {}
        for tool in self.tools:
            other = parts.setdefault(read_rom(tool.rom).data, tool.name)
            if other != tool.name:
                raise InputError(f"{tool.rom}: {tool.name} and {other} have the same tool definition")

    @property
    def where(self) -> str:
        """Host and port, or the serial line: for messages."""
        return f"{self.host}:{self.port}" if self.host is not None else str(self.serial)

    def to_json(self) -> dict[str, Any]:
        """Everything, for a record and for the process that holds the driver."""
        return {
            "tools": {tool.name: str(tool.rom) for tool in self.tools},
            "host": self.host,
            "port": self.port,
            "serial": self.serial,
            "baud": self.baud,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> NdiSettings:
        """What `to_json` wrote."""
        rest = dict(found)
        tools = tuple(NdiTool(name, Path(rom)) for name, rom in rest.pop("tools").items())
        return NdiSettings(tools, **rest)


def require_driver() -> None:
    """Raise SurroundingsError, in one line, when the driver is not installed."""
    if importlib.util.find_spec("ndicapy") is None:
        raise SurroundingsError("an NDI tracker needs the package ndicapi: pip install gammanav[ndi]")
