"""The plugins under examples/plugins, as strangers would have and install them."""

import ast
import re
import shutil
from pathlib import Path

import pytest

import d3rlpy_mbo as mbo
from environments import LITTER, Environment, our_wheel
from pages import blocks

DOCS = Path(__file__).parents[2] / "docs"
PLUGINS = Path(__file__).parents[2] / "examples" / "plugins"
NAMES = sorted(path.parent.name for path in PLUGINS.glob("*/pyproject.toml"))


# d3rlpy's Impls are in no public module: whoever writes a learner of its own needs them.
IMPLS = {f"d3rlpy.algos.qlearning.torch.{name}_impl" for name in ("ddpg", "sac")}


def test_there_are_five_and_the_examples_page_links_each():
    assert set(NAMES) == {
        "divergent-policy", "double-check", "expectile-critic", "knn-penalty",
        "tabular-dynamics",
    }  # fmt: skip
    page = (PLUGINS.parent / "README.md").read_text()
    assert "are five packages" in page
    assert all(f"](plugins/{name})" in page for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_its_kind_names_it(name):
    (module,) = (PLUGINS / name).glob("*.py")
    (base,) = re.findall(
        r"^class \w+\((?:d3rlpy\.algos|mbo)\.(\w+Config)\)", module.read_text(), re.M
    )
    kinds = {
        "DynamicsConfig": "dynamics", "HaltConfig": "halt", "SACConfig": "learner",
        "LearnedPenaltyConfig": "penalty", "RolloutPolicyConfig": "rollout_policy",
    }  # fmt: skip
    page = DOCS / "components" / f"{kinds[base]}.md"
    assert f"`examples/plugins/{name}`" in page.read_text()


def test_the_learners_page_shows_the_whole_of_its_example():
    (module,) = (PLUGINS / "expectile-critic").glob("*.py")
    shown = [block.code for block in blocks(DOCS / "components" / "learner.md")]
    assert module.read_text() in shown


@pytest.mark.parametrize("name", NAMES)
def test_each_has_at_most_100_lines_and_imports_public_names_alone(name):
    (module,) = (PLUGINS / name).glob("*.py")
    assert len(module.read_text().splitlines()) <= 100
    allowed = {"d3rlpy_mbo", "dataclasses", "sklearn.neighbors", "torch", "typing"}
    allowed |= {"d3rlpy", *IMPLS}
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
