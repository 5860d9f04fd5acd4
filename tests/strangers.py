"""Strangers' plugins, as an installer would leave them: modules and their metadata."""

import contextlib
import importlib
import re
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from d3rlpy.base import LearnableConfig
from d3rlpy.serializable_config import CONFIG_STORAGE

from d3rlpy_mbo.registry import discovery, entry_points, known_learners

HEAD = """
import dataclasses
import sys

import d3rlpy
from d3rlpy.base import LearnableConfig

import d3rlpy_mbo as mbo

def learner(name):
    @dataclasses.dataclass()
    class Made(d3rlpy.algos.TD3PlusBCConfig):
        @staticmethod
        def get_type():
            return name

    return Made

def task(name):
    @dataclasses.dataclass()
    class Made(mbo.Task):
        n_steps: int = mbo.number(10, at_least=1, whole=True)

        @staticmethod
        def get_type():
            return name

        @property
        def default_id(self):
            return f"theirs/{name}-v0"

        def collect(self, dataset_id=None, *, force=False):
            return dataset_id or f"{self.default_id} with {self.n_steps}"

    return Made

def penalty(name):
    @dataclasses.dataclass()
    class Made(mbo.Penalty):
        @staticmethod
        def get_type():
            return name

        def __call__(self, prediction, learner=None):
            return prediction.rewards.abs()

    return Made
"""


def hook(body: str) -> str:
    return "@mbo.hookimpl\ndef register_components():\n" + textwrap.indent(body, "    ")


GOOD = "Good = penalty('good')\n" + hook("return [Good]")


def forget() -> None:
    """As in a new process."""
    importlib.invalidate_caches()
    for cached in (
        discovery.registry,
        discovery._distributions,
        entry_points.plugins_of,
        entry_points.installed_points,
    ):
        cached.cache_clear()
    for name, learner in known_learners._added.items():
        listed = CONFIG_STORAGE[LearnableConfig].config_list
        if listed.get(name) is learner:
            del listed[name]
    known_learners._added.clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs plugins as an installer would: a module and its metadata on the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.delenv("D3RLPY_MBO_DISABLE", raising=False)
    before = set(sys.modules)

    def install(name: str, code: str, requires: str = "", known: bool = True) -> Path:
        """Known: before the process that asks for it begins."""
        module = re.sub("[-.]", "_", name).lower()
        (site / f"{module}.py").write_text(f"{HEAD}\n{code}\n")
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{needs}"
        )
        (info / "entry_points.txt").write_text(f"[d3rlpy_mbo]\nmain = {module}\n")
        (info / "top_level.txt").write_text(module)
        if known:
            forget()
        return site

    yield install
    for module in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
    forget()


@contextlib.contextmanager
def one_warning(*words: str):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(w.message) for w in caught if "lugin" in str(w.message)]
    assert len(messages) == 1, messages
    for word in words:
        assert word in messages[0]
