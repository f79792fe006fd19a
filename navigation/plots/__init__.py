"""Pictures of calibrations for the physicist who signs them: drawn from the result and its measurements.

Colours are told apart by colour-blind readers (Okabe and Ito's set) and never mean good or bad.
"""

from __future__ import annotations

from navigation.plots.write import plots_option, write_plots

__all__ = ["plots_option", "write_plots"]
