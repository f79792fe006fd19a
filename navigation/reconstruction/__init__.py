"""List-mode reconstruction: the live map, the spots and the state a bed check needs."""

from __future__ import annotations

from navigation.reconstruction.live import LiveReconstruction, ScanState, reconstruct
from navigation.reconstruction.livescan import LiveScan
from navigation.reconstruction.setup import ImagingSetup

__all__ = ["ImagingSetup", "LiveReconstruction", "LiveScan", "ScanState", "reconstruct"]
