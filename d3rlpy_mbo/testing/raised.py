"""What a component raised, in words, with the line of its own that it came from."""

import inspect
import traceback
from pathlib import Path
from typing import Any

from ..registry.component import Component
from ..registry.json_form import parts

__all__ = ["place_of", "raised"]

_OURS = __name__.partition(".")[0]


def raised(error: BaseException, component: Any) -> str:
    """Returns an error's type and message, and where the component's code raised it.

    Args:
        error: It was caught.
        component: An instance or a class.
    """
    message = str(error).rstrip(".")
    return f"{type(error).__name__}: {message}{place_of(error, component)}"


def place_of(error: BaseException, component: Any) -> str:
    """Returns ", at FILE:LINE", the innermost line of the component's own modules.

    Nothing where none of them was on the way: it was refused before it was asked.
    """
    packages = _packages(component)
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] in packages and not name.startswith(__package__):
            place = f", at {_shown(frame.f_code.co_filename)}:{line}"
    return place


def _packages(component: Any) -> set[str]:
    """Returns the packages of a component and its parts; ours only if it is of us."""
    made: list[Any] = [component]
    if isinstance(component, Component):
        made = list(parts(component))
    classes = [each if inspect.isclass(each) else type(each) for each in made]
    packages = {each.__module__.partition(".")[0] for each in classes}
    return packages - {_OURS} or packages


def _shown(file: str) -> str:
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
