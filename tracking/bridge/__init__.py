"""The probe bridge: lines from a probe's serial port in, counts as OpenIGTLink messages out."""

from __future__ import annotations

from tracking.bridge.bridge import Bridge
from tracking.bridge.lineformat import SHIPPED, LineFormat, read_format, shipped_format, shipped_text

__all__ = ["SHIPPED", "Bridge", "LineFormat", "read_format", "shipped_format", "shipped_text"]
