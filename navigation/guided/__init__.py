"""Guided calibration: samples from sockets into a guide, its words to a terminal or a window, results by commands."""

from __future__ import annotations
