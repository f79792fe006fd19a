"""The report as one HTML file that needs no other: styles inside, pictures as data URIs."""

from __future__ import annotations

import base64
from functools import singledispatch
from html import escape

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

STYLE = """
body { font: 17px/1.5 "DejaVu Sans", "Segoe UI", Arial, sans-serif; color: #15181d; background: #fff; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 1.2em 1.6em 4em; }
.band { background: #15181d; color: #fff; font-weight: bold; text-align: center; padding: .45em; letter-spacing: .06em;
  position: sticky; top: 0; z-index: 2; }
.band.simulation { background: #6a1b7a; font-size: 1.25em; letter-spacing: .3em; }
h1 { font-size: 1.9em; margin: .6em 0 0; }
h2 { font-size: 1.35em; margin: 1.8em 0 .4em; border-bottom: 2px solid #15181d; }
.subtitle { color: #4a505a; margin-top: .2em; }
.statement { border-left: .6em solid #20406a; background: #eef2f7; padding: .7em 1em; margin: 1em 0;
  font-size: 1.15em; }
.statement.alert { border-color: #b00020; background: #fbeef0; }
.statement.open { border-color: #c4760a; background: #fdf4e6; }
.statement b { display: block; letter-spacing: .03em; }
.small { font-size: .86em; color: #4a505a; }
table { border-collapse: collapse; width: 100%; margin: .6em 0; font-size: .9em; }
th, td { text-align: left; vertical-align: top; padding: .35em .6em; border: 1px solid #c3c8d0;
  overflow-wrap: anywhere; }
th { background: #e6e9ee; }
figure { margin: 1.2em 0; break-inside: avoid; }
.row { display: flex; gap: 1.2em; flex-wrap: wrap; align-items: flex-start; }
.row figure { flex: 1 1 22em; margin: .6em 0; }
img { max-width: 100%; height: auto; }
figcaption { font-size: .9em; color: #4a505a; }
.signatures { display: flex; gap: 2em; flex-wrap: wrap; break-inside: avoid; margin: 1.2em 0; }
.signatures div { flex: 1 1 22em; }
.signatures span { display: block; border-bottom: 1px solid #15181d; padding-top: 1.5em; font-size: .86em;
  color: #4a505a; }
@media print {
  .band { position: static; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .newpage { break-before: page; }
}
"""


def render_html(report: Document) -> str:
    """The whole page."""
    stamp = '<div class="band simulation">SIMULATION</div>' if report.simulated else ""
    body = "\n".join(_html(block) for block in report.blocks)
    title = escape(report.title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>{stamp}"
        f'<div class="band">RESEARCH USE ONLY</div>\n<main><h1>{title}</h1>'
        f'<p class="subtitle">{escape(report.subtitle)}</p>\n{body}\n</main></body></html>\n'
    )


@singledispatch
def _html(block: Block) -> str:
    raise TypeError(f"no HTML for {type(block).__name__}")


@_html.register
def _(block: Heading) -> str:
    return f"<h2>{escape(block.text)}</h2>"


@_html.register
def _(block: Paragraph) -> str:
    kind = ' class="small"' if block.small else ""
    return f"<p{kind}>{escape(block.text)}</p>"


@_html.register
def _(block: Statement) -> str:
    return f'<div class="statement {block.tone}"><b>{escape(block.title)}</b>{escape(block.text)}</div>'


@_html.register
def _(block: Items) -> str:
    return "<ul>" + "".join(f"<li>{escape(t)}</li>" for t in block.texts) + "</ul>"


@_html.register
def _(block: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.header)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in block.rows)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@_html.register
def _(block: Picture) -> str:
    data = base64.b64encode(block.path.read_bytes()).decode("ascii")
    caption = escape(block.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


@_html.register
def _(block: Row) -> str:
    return '<div class="row">' + "".join(_html(p) for p in block.pictures) + "</div>"


@_html.register
def _(block: Signatures) -> str:
    fields = "".join(
        f"<div><b>{escape(role)}</b><span>Name</span><span>Date</span><span>Signature</span></div>"
        for role in block.roles
    )
    return f'<div class="signatures">{fields}</div>'


@_html.register
def _(block: PageBreak) -> str:
    return '<div class="newpage"></div>'
