"""NDI Polaris and Vega without PlusServer between: the driver runs in a process of its own."""

from __future__ import annotations

from tracking.ndi.device import NdiDevice
from tracking.ndi.rom import Rom, read_rom
from tracking.ndi.settings import DEFAULT_PORT, NdiSettings, NdiTool, require_driver

__all__ = ["DEFAULT_PORT", "NdiDevice", "NdiSettings", "NdiTool", "Rom", "read_rom", "require_driver"]
