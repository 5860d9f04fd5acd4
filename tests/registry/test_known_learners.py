"""A plugin's learner: found by name, registered with d3rlpy once, loaded anywhere."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import d3rlpy
import pytest
from click.testing import CliRunner
from d3rlpy.base import register_learnable

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.learners.names import learner_config, learner_configs
from d3rlpy_mbo.registry import discovery
from d3rlpy_mbo.registry.known_learners import known_learners, with_learner
from d3rlpy_mbo.runs.experiment import Experiment
from strangers import forget, hook, one_warning
from toys import line_dataset

THEIRS = "Theirs = learner('theirs')\n" + hook("return [Theirs]")
OURS = {"cql", "sac", "td3_plus_bc", "bcq", "iql", "cal_ql", "tacr", "dqn"}


def test_d3rlpys_learners_are_listed_and_the_plugins_with_them(install):
    forget()
    without = learner_configs()
    theirs = [
        each for each in without.values() if each.__module__.startswith("d3rlpy.")
    ]
    assert len(theirs) == 26
    assert without.keys() >= OURS
    assert not without.keys() & {"random_policy", "discrete_random_policy", "fqe"}
    install("good", THEIRS)
    listed = learner_configs()
    assert listed.keys() - without.keys() == {"theirs"}
    assert listed["theirs"].__module__ == "good"
    assert Experiment("x", "theirs", "none", 1).learner_config() == listed["theirs"]()


def test_d3rlpys_own_learners_are_found_without_asking_any_plugin(install):
    install("evil", "raise AssertionError('imported')")
    assert learner_config("sac") is d3rlpy.algos.SACConfig
    assert discovery.registry.cache_info().currsize == 0


def test_d3rlpys_learners_are_components_too():
    assert mbo.get_component("learner", "dqn") is d3rlpy.algos.DQNConfig


def test_an_unknown_learner_is_refused_with_the_nearest_that_can_be_named(install):
    install("good", THEIRS)
    with pytest.raises(mbo.UnknownComponentError, match="no learner named 'their'.*s'"):
        learner_config("their")
    with pytest.raises(mbo.UnknownComponentError, match="no learner named 'fqe'"):
        learner_config("fqe")


def test_a_learner_of_a_plugin_that_failed_or_is_off_is_an_error_that_says_so(
    install, monkeypatch
):
    install("evil", "raise ValueError('odd')")
    with (
        one_warning("evil:main"),
        pytest.raises(mbo.PluginError, match="no learner.*evil:main .1.2.*odd"),
    ):
        learner_config("theirs")
    monkeypatch.setenv("D3RLPY_MBO_DISABLE", "evil:main")
    forget()
    with pytest.raises(mbo.PluginError, match="Switched off.*evil:main"):
        learner_config("theirs")


@pytest.mark.parametrize(
    "code",
    [
        THEIRS,
        "Theirs = learner('self_made')\nd3rlpy.base.register_learnable(Theirs)\n"
        + hook("return [Theirs, Theirs]"),
    ],
)
def test_a_learner_is_registered_with_d3rlpy_once_whoever_does_it(install, code):
    install("good", code)
    install("again", "from good import register_components")
    name = mbo.get_component("learner", "theirs" if code is THEIRS else "self_made")
    discovery.registry.cache_clear()  # as a second look at what is installed
    assert known_learners()[name.get_type()] is name
    assert discovery.registry().failures() == []
    assert discovery.registry().duplicates() == {}


def test_a_module_imported_anew_replaces_its_learner(install):
    install("good", THEIRS)
    older = learner_config("theirs")
    del sys.modules["good"]
    discovery.registry.cache_clear()
    discovery.plugins_of.cache_clear()
    newer = learner_config("theirs")
    assert newer is not older
    assert known_learners()["theirs"] is newer


def test_a_plugin_may_not_take_the_name_of_a_learner_that_somebody_registered(install):
    @dataclasses.dataclass()
    class ByHand(d3rlpy.algos.SACConfig):
        @staticmethod
        def get_type() -> str:
            return "by_hand"

    register_learnable(ByHand)
    assert learner_config("by_hand") is ByHand
    install("evil", hook("return [learner('by_hand')]"))
    with one_warning("evil:main", "'by_hand'", "test_known_learners", "ByHand"):
        assert learner_config("by_hand") is ByHand
        assert learner_configs()["by_hand"] is ByHand


def test_plugins_that_are_loaded_while_a_learner_is_tried_out_stay_known(install):
    @dataclasses.dataclass()
    class TriedOut(d3rlpy.algos.SACConfig):
        @staticmethod
        def get_type() -> str:
            return "tried_out"

    install("good", THEIRS)
    with with_learner(TriedOut):
        theirs = learner_config("theirs")  # the first to ask: plugins are loaded here
        assert learner_config("tried_out") is TriedOut
    assert learner_config("theirs") is theirs
    assert "tried_out" not in known_learners()


def test_plugins_lists_a_learner_and_check_checks_it(install):
    install("good", THEIRS + "\nTheirs.__doc__ = 'TD3+BC, theirs.'")
    shown = CliRunner().invoke(main, ["plugins"])
    assert shown.exit_code == 0
    assert "good 1.2: main\n  learner theirs - TD3+BC, theirs.\n" in shown.output
    checked = CliRunner().invoke(main, ["check", "good"])
    assert checked.exit_code == 0, checked.output
    assert "11 checks of 1 components, 0 failed." in checked.output


def save(learner: str, path: Path) -> list[float]:
    """Saves an untrained learner by name; returns what it would do."""
    algo = learner_config(learner)(batch_size=8).create()
    dataset = line_dataset()
    algo.build_with_dataset(dataset)
    algo.save(str(path))
    return algo.predict(dataset.episodes[0].observations)[:, 0].tolist()


LOAD = """
import sys
import d3rlpy_mbo as mbo
from toys import line_dataset
assert "good" not in sys.modules
import d3rlpy
d3rlpy.seed(0)
loaded = mbo.load_learner(sys.argv[1])
print(type(loaded.config).__module__, loaded.config.batch_size)
print(loaded.predict(line_dataset().episodes[0].observations)[:, 0].tolist())
"""


@pytest.mark.training
def test_a_saved_learner_of_a_plugin_loads_in_a_new_process(install, tmp_path):
    site = install("good", THEIRS)
    d3rlpy.seed(0)
    expected = save("theirs", tmp_path / "x.d3")
    paths = [str(site), str(Path(__file__).parents[1])]
    result = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "x.d3")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    said = [line for line in result.stdout.splitlines() if "info" not in line]
    assert said[0] == "good 8"
    assert json.loads(said[1]) == pytest.approx(expected)


def test_a_learner_whose_plugin_is_gone_clashes_or_failed_is_named(install, tmp_path):
    site = install("good", THEIRS)
    save("theirs", tmp_path / "x.d3")
    install("rival", THEIRS)
    with (
        pytest.warns(UserWarning, match="same names: learner 'theirs'"),
        pytest.raises(mbo.LoadError, match="'theirs'.*good:main .*rival:main"),
    ):
        mbo.load_learner(tmp_path / "x.d3")
    for module in ("good", "rival"):
        (site / f"{module}.py").write_text("raise ValueError('odd')")
        del sys.modules[module]
    forget()
    with (
        pytest.warns(UserWarning, match="could not be loaded"),
        pytest.raises(
            mbo.LoadError, match="'theirs'.*good:main .1.2.: ValueError: odd"
        ),
    ):
        mbo.load_learner(tmp_path / "x.d3")
