"""What a report is made of, whatever it is printed on: blocks of text, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text; `small` for explanations."""

    text: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """Words that must be seen first: `tone` is "finding" (neutral), "alert" (activity) or "open" (not examined)."""

    title: str
    text: str
    tone: str = "finding"


@dataclass(frozen=True, slots=True)
class Items:
    """A list of short sentences."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a header; `widths` are relative."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG on disk and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures side by side, of equal width."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Signatures:
    """A field to be signed by hand for each role."""

    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageBreak:
    """A new page where there are pages."""


Block = Heading | Paragraph | Statement | Items | Table | Picture | Row | Signatures | PageBreak


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report; `simulated` stamps every page."""

    title: str
    subtitle: str
    simulated: bool
    blocks: tuple[Block, ...] = field(default=())
