"""For researchers: the scan, its response rows on any grid, our estimators and maps, as numpy arrays.

Frames, units and axis order: docs/python.md. Nothing in the application imports this package.
"""

from __future__ import annotations

from navigation.research.answer import Answer, UncertaintyMaps
from navigation.research.estimators import Estimate, mlem, osem
from navigation.research.files import load_system, save_system, save_volume
from navigation.research.scan import OpenScan, open_scan
from navigation.research.system import Detection, System
from navigation.volume import Spot, VoxelGrid

__all__ = [
    "Answer",
    "Detection",
    "Estimate",
    "OpenScan",
    "Spot",
    "System",
    "UncertaintyMaps",
    "VoxelGrid",
    "load_system",
    "mlem",
    "open_scan",
    "osem",
    "save_system",
    "save_volume",
]
