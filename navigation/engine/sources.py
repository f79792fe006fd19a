"""Which device a source of the case is: an OpenIGTLink sender or an NDI tracker, all alike to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from navigation.engine.settings import SourceRole
from tracking.device import Device, IgtlDevice, OnRaw, OnState
from tracking.errors import InputError
from tracking.ndi.settings import DEFAULT_BAUD, DEFAULT_PORT, NdiSettings, NdiTool

NDI_KEYS = ("kind", "host", "port", "serial", "baud", "roms", "clock", "volume_mm", "good_volume_mm")
HIGHEST_PORT = 65535
# No pose and no count is larger; the images of a source that has some pass by, unheld and unrecorded (H39).
LARGEST_BYTES = 1 << 20


def device_for(
    role: SourceRole, name: str, on_raw: OnRaw, on_state: OnState | None, clock: Callable[[], float]
) -> Device:
    """The source `name` of a case, not yet started; arrivals are read from `clock`.

    Raises SurroundingsError when its driver is not installed, InputError for a tool definition that is none.
    """
    if role.ndi is not None:
        from tracking.ndi import NdiDevice

        return NdiDevice(name, role.ndi, on_raw, on_state, clock)
    return IgtlDevice(
        name,
        role.host,
        role.port,
        on_raw,
        on_state,
        hello=role.metadata,
        silence_s=role.silence_s,
        largest_bytes=LARGEST_BYTES,
        clock=clock,
    )


def ndi_settings(table: Mapping[str, Any], folder: Path, where: str) -> NdiSettings:
    """The NDI tracker that a case's table describes, its .rom files sought in `folder`.

    Raises InputError beginning with `where` and naming the key.
    """
    unknown = sorted(set(table) - set(NDI_KEYS))
    if unknown:
        raise InputError(f"{where}: an NDI tracker has no key {unknown[0]!r}")
    roms = table.get("roms")
    if not isinstance(roms, dict) or not all(isinstance(rom, str) for rom in roms.values()):
        raise InputError(f"{where}.roms: a table with the .rom file of each tool is missing")
    host, serial = (_text(table, key, where) for key in ("host", "serial"))
    port, baud = _whole(table, "port", DEFAULT_PORT, where), _whole(table, "baud", DEFAULT_BAUD, where)
    if port > HIGHEST_PORT:
        raise InputError(f"{where}.port: {port!r} is no port")
    tools = tuple(NdiTool(tool, (folder / rom).resolve()) for tool, rom in roms.items())
    try:
        made = NdiSettings(tools, host, port, serial, baud)
        made.check_files()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return made


def _text(table: Mapping[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise InputError(f"{where}.{key}: {value!r} is no text")
    return value


def _whole(table: Mapping[str, Any], key: str, default: int, where: str) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise InputError(f"{where}.{key}: {value!r} is no whole number above 0")
    return value
