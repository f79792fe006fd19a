"""The report as PDF, set with reportlab; every page carries the stamps and its number."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import singledispatch
from html import escape
from pathlib import Path
from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, SimpleDocTemplate, Spacer
from reportlab.platypus import PageBreak as NewPage
from reportlab.platypus import Paragraph as Text
from reportlab.platypus import Table as Grid

from navigation.report.document import (
    Block,
    Document,
    Heading,
    Items,
    PageBreak,
    Paragraph,
    Picture,
    Row,
    Signatures,
    Statement,
    Table,
)

MARGIN = 16 * mm
TEXT_WIDTH = A4[0] - 2 * MARGIN
# A picture never takes more than this share of a page, so that its caption stays with it.
TALLEST_PICTURE = 0.40 * A4[1]
TONES = {"finding": ("#20406a", "#eef2f7"), "alert": ("#b00020", "#fbeef0"), "open": ("#c4760a", "#fdf4e6")}
# Lists and tables up to this many rows are never split over pages.
KEPT_WHOLE = 14
# White between pictures that stand side by side.
ROW_GAP = 3 * mm
# Room to write by hand.
SIGNED_LINE = 11 * mm
GREY = colors.HexColor("#4a505a")


def render_pdf(report: Document) -> bytes:
    """The PDF's bytes."""
    _register_fonts()
    target = io.BytesIO()
    template = SimpleDocTemplate(
        target,
        pagesize=A4,
        title=report.title,
        author="gammanav",
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=25 * mm,
        bottomMargin=18 * mm,
    )
    story: list[Flowable] = [Text(escape(report.title), _style("title", 19, bold=True, leading=24))]
    story.append(Text(escape(report.subtitle), _style("subtitle", 10, color=GREY, after=8)))
    story.extend(_story(report.blocks))

    def furniture(canvas: Canvas, page: Any) -> None:
        _page_furniture(canvas, page.page, report)

    template.build(story, onFirstPage=furniture, onLaterPages=furniture)
    return target.getvalue()


def _story(blocks: Sequence[Block]) -> list[Flowable]:
    """All blocks in order; a heading stays with what follows it, and a short list or table in one piece."""
    story: list[Flowable] = []
    heading: list[Flowable] = []
    for block in blocks:
        flow = _flow(block)
        if isinstance(block, Heading):
            heading = heading + flow
        elif heading or _short(block):
            story.append(KeepTogether(heading + flow))
            heading = []
        else:
            story.extend(flow)
    return story + heading


def _short(block: Block) -> bool:
    rows = block.rows if isinstance(block, Table) else block.texts if isinstance(block, Items) else ()
    return 0 < len(rows) <= KEPT_WHOLE


def _register_fonts() -> None:
    """DejaVu Sans as matplotlib ships it: a font with every sign that a reason may hold."""
    if "Body" in pdfmetrics.getRegisteredFontNames():
        return
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    pdfmetrics.registerFont(TTFont("Body", str(folder / "DejaVuSans.ttf")))
    pdfmetrics.registerFont(TTFont("Body-Bold", str(folder / "DejaVuSans-Bold.ttf")))


def _style(
    name: str,
    size: float,
    *,
    bold: bool = False,
    leading: float | None = None,
    color: colors.Color = colors.black,
    after: float = 4,
) -> ParagraphStyle:
    return ParagraphStyle(
        name,
        fontName="Body-Bold" if bold else "Body",
        fontSize=size,
        leading=leading or size * 1.4,
        textColor=color,
        spaceAfter=after,
    )


def _page_furniture(canvas: Canvas, page: int, report: Document) -> None:
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(colors.HexColor("#15181d"))
    canvas.rect(0, height - 12 * mm, width, 12 * mm, stroke=0, fill=1)
    canvas.setFillColor(colors.white)
    canvas.setFont("Body-Bold", 11)
    canvas.drawRightString(width - MARGIN, height - 8 * mm, "RESEARCH USE ONLY")
    if report.simulated:
        canvas.setFillColor(colors.HexColor("#6a1b7a"))
        canvas.rect(0, height - 12 * mm, width * 0.55, 12 * mm, stroke=0, fill=1)
        canvas.setFillColor(colors.white)
        canvas.setFont("Body-Bold", 17)
        canvas.drawString(MARGIN, height - 8.6 * mm, "S I M U L A T I O N")
    canvas.setFillColor(GREY)
    canvas.setFont("Body", 8)
    canvas.drawString(MARGIN, 9 * mm, report.title)
    canvas.drawRightString(width - MARGIN, 9 * mm, f"page {page}")
    canvas.restoreState()


@singledispatch
def _flow(block: Block) -> list[Flowable]:
    raise TypeError(f"no PDF for {type(block).__name__}")


@_flow.register
def _(block: Heading) -> list[Flowable]:
    style = _style("heading", 14, bold=True, after=4)
    style.spaceBefore = 10
    return [Text(escape(block.text), style)]


@_flow.register
def _(block: Paragraph) -> list[Flowable]:
    style = _style("small", 8.5, color=GREY) if block.small else _style("text", 10)
    return [Text(escape(block.text), style)]


@_flow.register
def _(block: Statement) -> list[Flowable]:
    edge, ground = TONES[block.tone]
    cell = [
        Text(escape(block.title), _style("claim", 12, bold=True, after=2)),
        Text(escape(block.text), _style("words", 11.5, after=0)),
    ]
    box = Grid([[cell]], colWidths=[TEXT_WIDTH])
    box.setStyle(
        [
            ("BACKGROUND", (0, 0), (-1, -1), colors.HexColor(ground)),
            ("LINEBEFORE", (0, 0), (0, -1), 6, colors.HexColor(edge)),
            ("LEFTPADDING", (0, 0), (-1, -1), 12),
            ("TOPPADDING", (0, 0), (-1, -1), 6),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
        ]
    )
    return [box, Spacer(1, 6)]


@_flow.register
def _(block: Items) -> list[Flowable]:
    style = _style("item", 10, after=2)
    style.leftIndent, style.bulletIndent = 12, 2
    lines: list[Flowable] = [Text(escape(text), style, bulletText="•") for text in block.texts]
    return lines


@_flow.register
def _(block: Table) -> list[Flowable]:
    head, cell = _style("head", 8.5, bold=True, after=0), _style("cell", 8.5, after=0)
    rows = [[Text(escape(c), head) for c in block.header]]
    rows += [[Text(escape(c), cell) for c in row] for row in block.rows]
    share = TEXT_WIDTH / sum(block.widths)
    grid = Grid(rows, colWidths=[w * share for w in block.widths], repeatRows=1)
    grid.setStyle(
        [
            ("GRID", (0, 0), (-1, -1), 0.5, colors.HexColor("#c3c8d0")),
            ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#e6e9ee")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 4),
            ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ]
    )
    return [grid, Spacer(1, 6)]


@_flow.register
def _(block: Picture) -> list[Flowable]:
    return [KeepTogether([Spacer(1, 4), *_figure(block, TEXT_WIDTH)])]


def _figure(block: Picture, room: float) -> list[Flowable]:
    """The picture as wide as there is room for, and its caption."""
    width, height = ImageReader(str(block.path)).getSize()
    scale = min(room / width, TALLEST_PICTURE / height)
    picture = Image(str(block.path), width * scale, height * scale)
    return [picture, Text(escape(block.caption), _style("caption", 8.5, color=GREY, after=6))]


@_flow.register
def _(block: Row) -> list[Flowable]:
    column = TEXT_WIDTH / len(block.pictures)
    cells = [_figure(p, column - ROW_GAP) for p in block.pictures]
    grid = Grid([cells], colWidths=[column] * len(cells))
    grid.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
    return [Spacer(1, 4), grid]


@_flow.register
def _(block: Signatures) -> list[Flowable]:
    role, small = _style("role", 10, bold=True, after=0), _style("field", 8.5, color=GREY, after=0)
    rows = [[Text(escape(r), role) for r in block.roles]]
    rows += [[Text(field, small) for _ in block.roles] for field in ("Name", "Date", "Signature")]
    column = TEXT_WIDTH / len(block.roles)
    grid = Grid(rows, colWidths=[column] * len(block.roles), rowHeights=[8 * mm, *[SIGNED_LINE] * 3])
    lines = [("LINEBELOW", (n, 1), (n, -1), 0.5, colors.black) for n in range(len(block.roles))]
    grid.setStyle([("VALIGN", (0, 0), (-1, -1), "BOTTOM"), *lines])
    return [Spacer(1, 6), grid]


@_flow.register
def _(block: PageBreak) -> list[Flowable]:
    return [NewPage()]
