"""What is known in a case of where the probe's tip is: words and figures for views, publisher and report."""

from __future__ import annotations

from dataclasses import dataclass

NOT_CHECKED = "not checked in this case"
IN_ORDER, WRONG, UNPROVEN, CHECKING = "in order", "WRONG", "not proven", "being checked"


@dataclass(frozen=True, slots=True)
class TipState:
    """As views show it: the probe's tip in words, the newest figures, and what is under way."""

    state: str = NOT_CHECKED
    rms_mm: float | None = None
    shift_mm: float | None = None
    shift_sd_mm: float | None = None
    checked_s: float | None = None  # Unix
    poses: int = 0
    reason: str | None = None

    @property
    def words(self) -> str:
        """One line, such as "in order: 3D RMS 0.21 mm, moved by 0.10 mm"."""
        if self.reason is not None:
            return f"{self.state}: {self.reason}"
        if self.rms_mm is None:
            return self.state
        moved = "" if self.shift_mm is None else f", moved by {self.shift_mm:.2f} mm"
        return f"{self.state}: 3D RMS {self.rms_mm:.2f} mm{moved}"
