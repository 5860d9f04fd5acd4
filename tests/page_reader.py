"""A page read back as a program would: its tables, charts and numbers."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class PageReader(HTMLParser):
    """Reads a page.

    Attributes:
        text: All words that a reader sees.
        tables: By title ("Runs (2)": the second of that title), for each row its first
            cell and its numbers in full.
        charts: Likewise, the specification.
        data: JSON by name.
        tags: Names of all elements, and every attribute of them.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.text, self.tags = "", []
        self.tables: dict[str, list[tuple[str, list[float]]]] = {}
        self.charts: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self._inside: list[tuple[str, dict[str, Any]]] = []
        self._title = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag not in ("meta", "link", "br"):
            self._inside.append((tag, found))
        if tag == "table":
            self.tables[_unused(found["aria-label"], self.tables)] = []
        elif tag == "tr" and self.tables:
            self.tables[[*self.tables][-1]].append(("", []))
        elif tag == "td" and "data-value" in found:
            self.tables[[*self.tables][-1]][-1][1].append(float(found["data-value"]))

    def handle_endtag(self, tag):
        assert self._inside.pop()[0] == tag, "an element is not closed"

    def handle_data(self, text):
        tag, attributes = self._inside[-1] if self._inside else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            content = json.loads(text)
            if "data-name" in attributes:
                self.data[attributes["data-name"]] = content
            else:
                self.charts[_unused(self._title, self.charts)] = content
        elif tag not in ("script", "style"):
            self.text += text
            if tag == "b":
                self._title = text
            if tag == "th" and attributes.get("scope") == "row":
                rows = self.tables[[*self.tables][-1]]
                rows[-1] = (text, rows[-1][1])


def _unused(title, taken):
    """The title, numbered if the page has had one of it before."""
    before = sum(1 for each in taken if each.partition(" (")[0] == title)
    return f"{title} ({before + 1})" if before else title
