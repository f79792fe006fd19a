"""PLUS configuration files: ready ones to start PlusServer with, and the calibrations kept in them."""

from __future__ import annotations

from tracking.plus.coordinates import (
    CoordinateDefinition,
    read_coordinate_definitions,
    write_coordinate_definition,
)
from tracking.plus.shipped import KINDS, plus_configuration

__all__ = [
    "KINDS",
    "CoordinateDefinition",
    "plus_configuration",
    "read_coordinate_definitions",
    "write_coordinate_definition",
]
