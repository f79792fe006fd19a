"""Physical constants and conversions that cross module borders: mm, s, kBq, cps."""

from __future__ import annotations

KBQ_PER_MBQ = 1000.0
MM3_PER_ML = 1000.0
