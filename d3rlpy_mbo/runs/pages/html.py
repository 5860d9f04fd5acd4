"""A page as one HTML file that asks the network for nothing."""

import functools
import importlib.util
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...support.errors import CompositionError
from ...support.files import atomic_write, utf8
from ...support.json_values import plain
from ...support.version import __version__
from .parts import Chart, Page, Section

__all__ = ["require_pages", "save_page"]

_TEMPLATE = Path(__file__).parent / "template"
_PACKAGES = ("altair", "jinja2", "vl_convert")


def require_pages() -> None:
    """Refuses to begin what ends in a page, where none can be written.

    Raises:
        CompositionError: A package of the extra ``report`` is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CompositionError(
            f"{' and '.join(missing)} cannot be imported. HTML pages are an optional "
            "extra: pip install 'd3rlpy-mbo[report]'"
        )


def save_page(page: Page, path: Path) -> None:
    """Writes a page, complete or not at all.

    Args:
        page: What it shows. Everything in it is text to the page, never markup, but for
            the drawings of its charts.
        path: The file; its folder is made if it is missing.

    Raises:
        CompositionError: The extra ``report`` is missing, or the file cannot be written.
    """
    require_pages()
    # An extra, and slow to import.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["grouped"] = _grouped
    environment.policies["json.dumps_function"] = _strict
    text = environment.get_template("page.html.jinja").render(
        page=page,
        is_chart=lambda part: isinstance(part, Chart),
        style=(_TEMPLATE / "page.css").read_text("utf-8"),
        script=(_TEMPLATE / "page.js").read_text("utf-8"),
        vega=_vega() if any(map(_has_chart, page.sections)) else "",
        version=__version__,
    )
    with atomic_write(path) as file:
        file.write(utf8(text))


def _strict(content: Any, **options: Any) -> str:
    """Returns JSON that every reader takes, null where a number is not finite."""
    return json.dumps(plain(content), allow_nan=False, **options)


def _grouped(
    parts: Sequence[Any], kind: Callable[[Any], bool]
) -> list[tuple[bool, list[Any]]]:
    """Returns neighbours of one kind together, for the template."""
    return [(of_kind, list(some)) for of_kind, some in itertools.groupby(parts, kind)]


def _has_chart(section: Section) -> bool:
    return any(isinstance(part, Chart) for part in section.parts) or any(
        map(_has_chart, section.sections)
    )


@functools.cache
def _vega() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed as one script: 0.9 MB, from a wheel."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its stub knows of no default
    return str(bundle()).replace("</script", r"<\/script")
