"""What a page is made of."""

import dataclasses
import math
from typing import Any, Optional, Union

__all__ = ["Cell", "Chart", "Note", "Page", "Section", "Table", "number"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: As a reader sees it.
        value: The number behind it, in full; the page keeps it beside the text.
    """

    text: str
    value: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Args:
        title: What it is about.
        head: Names of its columns, the rows' names first.
        rows: Of as many cells each.
        caption: What a reader must know.
    """

    title: str
    head: list[str]
    rows: list[list[Cell]]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart: drawn already, and as what a browser draws anew to answer the pointer.

    Args:
        title: What it shows.
        spec: In Vega-Lite.
        svg: Drawn; for readers without scripts, and for paper. Empty: nothing is to be
            drawn, and the chart has no place in a page.
        caption: What a reader must know.
    """

    title: str
    spec: dict[str, Any]
    svg: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Note:
    """A line with a mark.

    Args:
        mark: ``"ok"``, ``"not"`` or ``"note"``.
        subject: Of whom it speaks.
        text: What it says.
    """

    mark: str
    subject: str
    text: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page, with a heading.

    Args:
        title: The heading.
        lead: Paragraphs.
        notes: A list.
        parts: Tables and charts in their order.
        sections: Smaller ones within.
        data: Numbers in full, as JSON, for programs that read the page; by name. Null
            where one is not finite.
    """

    title: str
    lead: list[str] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    parts: list[Union[Table, Chart]] = dataclasses.field(default_factory=list)
    sections: list["Section"] = dataclasses.field(default_factory=list)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: The browser's, and the heading.
        lead: Paragraphs below it.
        sections: Of the page.
    """

    title: str
    lead: list[str]
    sections: list[Section]


def number(value: Optional[float]) -> Cell:
    """Returns a number as a cell; a dash where there is none, a word where not finite."""
    if value is None:
        return Cell("-", None)
    return Cell(f"{value:.4g}", value if math.isfinite(value) else None)
