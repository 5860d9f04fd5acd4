"""The plugins under examples/plugins, as strangers would have and install them."""

import ast
import shutil
from pathlib import Path

import pytest

import d3rlpy_mbo as mbo
from environments import LITTER, Environment, our_wheel

PLUGINS = Path(__file__).parents[2] / "examples" / "plugins"
NAMES = sorted(path.parent.name for path in PLUGINS.glob("*/pyproject.toml"))


def test_there_are_four():
    assert set(NAMES) == {
        "divergent-policy", "double-check", "knn-penalty", "tabular-dynamics",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_has_at_most_100_lines_and_imports_public_names_alone(name):
    (module,) = (PLUGINS / name).glob("*.py")
    assert len(module.read_text().splitlines()) <= 100
    allowed = {"d3rlpy_mbo", "dataclasses", "sklearn.neighbors", "torch", "typing"}
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= allowed
        if isinstance(node, ast.ImportFrom):
            assert node.module in allowed
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mbo":
            assert node.attr in mbo.__all__


@pytest.mark.training
def test_installed_beside_our_wheel_each_is_found_and_passes_its_own_tests(tmp_path):
    environment = Environment(tmp_path)
    copies = [tmp_path / "theirs" / name for name in NAMES]
    for name, copy in zip(NAMES, copies, strict=True):
        shutil.copytree(PLUGINS / name, copy, ignore=LITTER)
    environment.install(our_wheel(tmp_path), *copies)
    tests = [str(copy / "tests") for copy in copies]
    done = environment.run(
        "python", "-m", "pytest", "-q", "--import-mode=importlib", *tests
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
