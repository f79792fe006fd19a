"""The report of a case: HTML and PDF with the same words, tables and pictures, made from the result folders alone."""

from __future__ import annotations

from navigation.report.write import write_report

__all__ = ["write_report"]
