import dataclasses
import gc
import subprocess
import sys
import types
from importlib.metadata import EntryPoint
from typing import Optional

import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry import discovery
from d3rlpy_mbo.registry.discovery import Registry, load_plugins
from d3rlpy_mbo.registry.entry_points import NothingProvidedError
from d3rlpy_mbo_romi import ROMIConfig
from toys import ConstantPenalty


def twin() -> type[mbo.Penalty]:
    @dataclasses.dataclass()
    class Twin(mbo.Penalty):
        @staticmethod
        def get_type() -> str:
            return "twin"

    return Twin


def module(name: str, provides=(), error: Optional[BaseException] = None, hook=None):
    """A plugin's module, importable under its name."""

    def register_components():
        if error is not None:
            raise error
        return list(provides)

    made = types.ModuleType(name)
    made.register_components = mbo.hookimpl(hook or register_components)
    return made


@pytest.fixture
def plugins(monkeypatch):
    def load(**modules) -> Registry:
        points = []
        for name, made in modules.items():
            if made is not None:
                monkeypatch.setitem(sys.modules, f"plugin_{name}", made)
            points.append(EntryPoint(name, f"plugin_{name}", "d3rlpy_mbo"))
        return Registry(load_plugins(points))

    return load


def test_core_and_built_in_plugins_come_through_the_public_entry_points():
    registry = discovery.registry()
    assert registry.failures() == []
    assert {p.name for p in registry.plugins} >= {"d3rlpy-mbo:core", "d3rlpy-mbo:romi"}
    assert mbo.get_component("imagination", "romi") is ROMIConfig
    assert mbo.get_component("rollout_policy", "uniform") is mbo.UniformPolicyConfig


def test_every_registered_component_has_a_default_construction_and_survives_json():
    for plugin in discovery.registry().plugins:
        for component in plugin.components:
            config = component()
            assert component.deserialize(config.serialize()) == config


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(mbo.UnknownComponentError, match="Did you mean 'uniform'"):
        mbo.get_component("rollout_policy", "unifrom")


def test_an_imported_component_is_found_without_being_registered():
    assert mbo.get_component("penalty", "constant") is ConstantPenalty


def test_a_class_defined_anew_as_in_a_notebook_replaces_the_older_one():
    older, newer = twin(), twin()
    assert mbo.get_component("penalty", "twin") is newer is not older


def test_an_imported_class_without_a_usable_name_breaks_no_look_up():
    nameless = [  # kept, so that they stay imported
        type("Nameless", (mbo.Penalty,), {"get_type": staticmethod(get_type)})
        for get_type in (lambda: 7, lambda: 1 / 0, sys.exit)
    ]
    with pytest.raises(mbo.UnknownComponentError, match="'constnat'.*'constant'"):
        mbo.get_component("penalty", "constnat")
    del nameless
    gc.collect()


@pytest.mark.filterwarnings("error")
def test_plugins_load_in_sorted_order_each_with_its_components(plugins):
    registry = plugins(
        b=module("b", [mbo.NoTermination]), a=module("a", [ConstantPenalty])
    )
    assert [p.entry_point for p in registry.plugins] == ["a", "b"]
    assert registry.get("penalty", "constant") is ConstantPenalty
    assert registry.names("termination") == ["never"]


def test_a_module_without_components_is_told_from_one_that_fails(plugins):
    with pytest.warns(UserWarning, match="provides no components"):
        [plugin] = plugins(idle=module("idle")).plugins
    assert isinstance(plugin.error, NothingProvidedError)


def test_two_plugins_with_one_name_are_an_error_naming_both(plugins):
    registry = plugins(a=module("a", [twin()]), b=module("b", [twin()]))
    with pytest.raises(mbo.DuplicateComponentError, match="unknown:a .*unknown:b"):
        registry.get("penalty", "twin")


def test_a_failed_plugin_becomes_the_error_when_its_component_is_asked_for(
    plugins, monkeypatch
):
    with pytest.warns(UserWarning, match="could not be loaded"):
        registry = plugins(bad=module("bad", error=ValueError("odd")))
    monkeypatch.setattr(discovery, "registry", lambda: registry)
    with pytest.raises(mbo.PluginError, match="unknown:bad"):
        mbo.get_component("penalty", "from_the_bad_one")


@pytest.mark.training
def test_importing_the_package_looks_for_no_plugins():
    code = (
        "import d3rlpy_mbo, d3rlpy_mbo_romi\n"
        "from d3rlpy_mbo.registry import discovery\n"
        "assert discovery.registry.cache_info().currsize == 0\n"
        "d3rlpy_mbo.ImaginationConfig(rollout_policy="
        "d3rlpy_mbo.UniformPolicyConfig()).create()\n"
        "assert discovery.registry.cache_info().currsize == 0\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "gym" not in (result.stdout + result.stderr).lower()
