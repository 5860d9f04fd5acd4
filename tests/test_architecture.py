"""Imports point one way, plugins are strangers, core knows none of them by name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Union

import pytest

import d3rlpy_mbo as mbo

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())
CORE = sorted((ROOT / "d3rlpy_mbo").rglob("*.py"))
FOR_OTHERS = ("d3rlpy_mbo", "plugins", "examples")  # run on any machine
OURS = [
    path
    for folder in ("d3rlpy_mbo", "plugins", "examples", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ROOT / "tests" / "example_plugin" not in path.parents
]


def imports(path: Path) -> list[Union[ast.Import, ast.ImportFrom]]:
    tree = ast.parse(path.read_text())
    return [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize(
    "path", [p for folder in PLUGINS for p in folder.glob("*.py")], ids=lambda p: p.name
)
def test_plugins_use_only_public_names_of_the_core_and_never_each_other(path):
    for node in imports(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level > 0 or not (node.module or "").startswith("d3rlpy_mbo")
        else:
            for alias in node.names:
                assert not alias.name.startswith("d3rlpy_mbo.")
                assert alias.name == "d3rlpy_mbo" or "d3rlpy_mbo_" not in alias.name
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "mbo" or node.attr in mbo.__all__


def test_every_package_is_typed_for_those_who_import_it():
    for folder in (ROOT / "d3rlpy_mbo", *PLUGINS):
        assert (folder / "py.typed").exists(), folder


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_knows_no_plugin_by_name(path):
    for folder in PLUGINS:
        assert folder.name not in path.read_text()


def test_the_core_reads_learners_in_one_module_and_writes_them_in_two_others():
    readers = [p.relative_to(ROOT) for p in CORE if ".impl" in p.read_text()]
    wing = Path("d3rlpy_mbo/learners")
    names = ["pretraining.py", "reading.py", "state.py"]
    assert readers == [wing / name for name in names]


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "setup.py",
        *(p for f in FOR_OTHERS for p in sorted((ROOT / f).rglob("*.py"))),
    ],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_text_is_read_and_written_in_a_named_encoding(path):
    # Else it is the locale's: a study's log could not hold the name of its own folder.
    # Ruff's PLW1514 sees no method of a path whose type it does not know.
    unnamed = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and in_the_locales_encoding(node)
    ]
    assert unnamed == []


def in_the_locales_encoding(call: ast.Call) -> bool:
    words = {
        each.value
        for each in [*call.args, *(keyword.value for keyword in call.keywords)]
        if isinstance(each, ast.Constant)
    }
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    if name in ("read_text", "write_text"):
        return "utf-8" not in words
    binary = any(re.fullmatch("[rwxa+]*b[rwxa+]*", str(each)) for each in words)
    of_os = (
        isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "os"
    )
    return name == "open" and not of_os and not binary and "utf-8" not in words


def annotations(path: Path) -> Iterator[ast.expr]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield node.returns


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_annotations_say_optional_and_union_as_d3rlpys_do(path):
    # Ruff's UP007 and UP045 hold the other dialect; it has no rule for this one.
    bars = [
        f"line {part.lineno}: {ast.unparse(part)}"
        for annotation in annotations(path)
        for part in ast.walk(annotation)
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr)
    ]
    assert bars == []
