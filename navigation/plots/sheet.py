"""The page every calibration picture is drawn on: title, figures, REFUSED with its reasons, SIMULATION."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navigation.pictures import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, without their green.
BLUE, ORANGE, VERMILLION, SKY, PURPLE, BLACK = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#000000",
)
QUIET = "#60646c"
REFUSED_COLOUR = "#8b1a1a"
# Characters of a line under the title, and lines of reasons that a page has room for.
LINE_LENGTH, MOST_LINES = 144, 3
# What the word REFUSED at the upper right takes of a line.
BADGE_LENGTH = 20
# Room for the title, for each line under it, and for the line at the foot.
TITLE_INCH, LINE_INCH, FOOT_INCH = 0.46, 0.25, 0.3
WIDE_INCH = (13.5, 9.6)


@contextmanager
def sheet(
    path: Path,
    content: Mapping[str, Any],
    title: str,
    figures: str = "",
    size_inch: tuple[float, float] = WIDE_INCH,
) -> Iterator[Figure]:
    """A page saved to `path` at the end; `content` is the result: `accepted`, `reasons`, `simulated`, `id`, `date`."""
    with figure(size_inch, path, bool(content.get("simulated", False))) as drawing:
        refused = content.get("accepted") is False
        lines = _heading(content, figures)
        inch = TITLE_INCH + LINE_INCH * len(lines)
        height = inch / size_inch[1]
        drawing.text(0.012, 0.99, title, fontsize=19, weight="bold", va="top")
        drawing.text(
            0.012, 1.0 - TITLE_INCH / size_inch[1], "\n".join(lines), fontsize=13, va="top", linespacing=1.25
        )
        if refused:
            _stamp_refused(drawing)
        foot = FOOT_INCH / size_inch[1]
        drawing.text(0.988, 0.25 * foot, _foot(content), fontsize=10, color=QUIET, ha="right", va="bottom")
        engine = drawing.get_layout_engine()
        if engine is not None:
            # matplotlib's stubs know the general engine only.
            engine.set(rect=(0.01, foot, 0.98, 1.0 - height - foot))  # type: ignore[call-arg]
        yield drawing


def _stamp_refused(drawing: Figure) -> None:
    drawing.text(
        0.985,
        0.985,
        "REFUSED",
        fontsize=22,
        weight="bold",
        color="white",
        ha="right",
        va="top",
        bbox={"boxstyle": "square,pad=0.25", "fc": REFUSED_COLOUR, "ec": "none"},
    )


def _heading(content: Mapping[str, Any], figures: str) -> list[str]:
    width = LINE_LENGTH - (BADGE_LENGTH if content.get("accepted") is False else 0)
    lines = textwrap.wrap(figures, width)
    reasons = "; ".join(str(r) for r in content.get("reasons") or ())
    if reasons:
        word = "Refused: " if content.get("accepted") is False else "Doubts: "
        wrapped = textwrap.wrap(word + reasons, width)
        lines += wrapped[:MOST_LINES]
        if len(wrapped) > MOST_LINES:
            lines[-1] += " ..."
    return lines


def _foot(content: Mapping[str, Any]) -> str:
    known = [content.get("id"), content.get("probe_serial"), content.get("date"), content.get("state")]
    return "   ".join([*(str(k) for k in known if k), "gammanav: research use only"])


def quiet_grid(axes: Axes) -> None:
    """A grid that stays behind the data."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def nothing_to_draw(drawing: Figure, words: str) -> None:
    """A page that says why it is empty."""
    drawing.text(0.5, 0.45, words, fontsize=18, color=QUIET, ha="center", va="center", wrap=True)
