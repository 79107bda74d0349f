"""A page of headings, paragraphs, tables and figures, as HTML in one file or as Markdown beside its images."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Block", "Heading", "Image", "Paragraph", "Table", "to_html", "to_markdown"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #999; }
img { max-width: 100%; height: auto; }
.note { color: #555; font-size: 13px; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading of the second level, or a lower one."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Some sentences; small print if ``is_note``."""

    text: str
    is_note: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """A table of texts; its index is not shown."""

    frame: pd.DataFrame


@dataclass(frozen=True)
class Image:
    """A picture as the bytes of a PNG file, what that file is called, and what is on it."""

    png: bytes
    name: str
    caption: str

    @classmethod
    def of(cls, figure: Figure, name: str, caption: str) -> Image:
        """Draw a figure, and close it."""
        import matplotlib.pyplot as plt

        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=160)
        plt.close(figure)
        return cls(drawn.getvalue(), name, caption)


Block: TypeAlias = Heading | Paragraph | Table | Image


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The page as HTML that needs no other file."""
    body = "\n".join(map(_block_to_html, blocks))
    heading = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{heading}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>\n{body}\n</body>\n</html>\n"
    )


def _block_to_html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        kind = ' class="note"' if block.is_note else ""
        return f"<p{kind}>{html.escape(block.text)}</p>"
    if isinstance(block, Image):
        source = f"data:image/png;base64,{base64.b64encode(block.png).decode()}"
        return f'<p><img src="{source}" alt="{html.escape(block.caption, quote=True)}"></p>'
    table = block.frame.astype(str).to_html(index=False, border=0, escape=True)
    return f'<div class="wide">{table}</div>'


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """The page as Markdown that links its images by their names."""
    return "\n\n".join([f"# {title}", *map(_block_to_markdown, blocks)]) + "\n"


def _block_to_markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Image):
        return f"![{block.caption}]({quote(block.name)})"
    header = block.frame.columns.astype(str).tolist()
    rows = [header, ["---"] * len(header), *block.frame.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
