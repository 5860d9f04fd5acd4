"""Freezes public signatures; `python tests/test_public_api.py` writes them anew."""

import functools
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import d3rlpy_mbo as mbo
import d3rlpy_mbo_combo
import d3rlpy_mbo_edac
import d3rlpy_mbo_mobile
import d3rlpy_mbo_mopo
import d3rlpy_mbo_morel
import d3rlpy_mbo_rambo
import d3rlpy_mbo_romi
from d3rlpy_mbo import testing

FROZEN = Path(__file__).with_name("public_api.txt")
MODULES = {
    "d3rlpy_mbo": mbo,
    "d3rlpy_mbo.learners": mbo.learners,
    "d3rlpy_mbo.metrics": mbo.metrics,
    "d3rlpy_mbo.testing": testing,
    "d3rlpy_mbo_combo": d3rlpy_mbo_combo,
    "d3rlpy_mbo_edac": d3rlpy_mbo_edac,
    "d3rlpy_mbo_mobile": d3rlpy_mbo_mobile,
    "d3rlpy_mbo_mopo": d3rlpy_mbo_mopo,
    "d3rlpy_mbo_morel": d3rlpy_mbo_morel,
    "d3rlpy_mbo_rambo": d3rlpy_mbo_rambo,
    "d3rlpy_mbo_romi": d3rlpy_mbo_romi,
}


def signature(value: Any) -> str:
    """Names, kinds and defaults; annotations are mypy's business."""
    parameters = []
    for parameter in inspect.signature(value).parameters.values():
        default = parameter.default
        if default is not parameter.empty and "factory" in repr(default).lower():
            parameter = parameter.replace(default="<factory>")
        parameters.append(parameter.replace(annotation=parameter.empty))
    return str(inspect.Signature(parameters)).replace("'<factory>'", "<factory>")


def members_of(value: type) -> dict[str, Any]:
    """Its own, and those inherited from a base that no reference page has beside it."""
    members: dict[str, Any] = {}
    for base in reversed(value.__mro__):
        if base is value or base.__name__ in ("LearnedComponent", "Parts"):
            members.update(vars(base))
    return members


def describe(name: str, value: Any) -> Iterator[str]:
    if inspect.ismodule(value) or isinstance(value, str):
        yield name
        return
    if not inspect.isclass(value):
        yield f"{name}{signature(value)}"
        return
    bases = ", ".join(b.__name__ for b in value.__bases__)
    if issubclass(value, Exception):
        yield f"{name}({bases})"
        return
    yield f"{name}{signature(value)} <- {bases}"
    for member, attribute in sorted(members_of(value).items()):
        if member.startswith("_") and member != "__call__":
            continue
        raw = getattr(attribute, "__func__", attribute)
        if inspect.isfunction(raw):
            yield f"{name}.{member}{signature(raw)}"
        elif isinstance(attribute, property | functools.cached_property):
            yield f"{name}.{member}"


def public_api() -> str:
    lines = []
    for module, content in MODULES.items():
        for name in sorted(content.__all__):
            if name != "__version__":
                lines += describe(f"{module}.{name}", getattr(content, name))
    return "\n".join(lines) + "\n"


def test_public_signatures_are_frozen():
    assert public_api() == FROZEN.read_text(), (
        "A public signature changed. Names may be added, never renamed or removed; if "
        "that is what happened, write the file anew: python tests/test_public_api.py"
    )


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_every_public_name_and_method_has_a_docstring(module):
    for name in module.__all__:
        value = getattr(module, name)
        if not callable(value) or typing.get_origin(value):  # aliases of types
            continue
        # A dataclass without a docstring gets its signature for one.
        assert value.__doc__, name
        assert not value.__doc__.startswith(f"{name}("), name
        members = members_of(value) if inspect.isclass(value) else {}
        for member, attribute in members.items():
            ours = inspect.isfunction(attribute) and attribute.__module__.startswith(
                "d3rlpy_mbo"
            )
            if ours and not member.startswith("_"):
                assert attribute.__doc__, f"{name}.{member}"


if __name__ == "__main__":
    FROZEN.write_text(public_api())
