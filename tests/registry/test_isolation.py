"""Plugins of strangers, broken in every way: blamed by name, harmless to the rest."""

import gc
import importlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.learners.names import learner_config, learner_configs
from d3rlpy_mbo.registry import discovery, entry_points, importing
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo_mopo import MOPOConfig
from strangers import GOOD, HEAD, forget, hook, one_warning
from toys import line_dataset, line_imagination


@pytest.fixture(autouse=True, scope="module")
def classes_go_with_their_modules():
    yield
    gc.collect()


BROKEN = {
    "raises what is no exception": (
        "class Odd(BaseException):\n    pass\nraise Odd('x')",
        "Odd: x",
    ),
    "raises at import": ("raise ValueError('odd')", "ValueError: odd"),
    "imports what is missing": ("import not_there", "No module named 'not_there'"),
    "exits at import": ("sys.exit('bye')", "SystemExit: bye"),
    "raises in the hook": (hook("raise ValueError('odd')"), "ValueError: odd"),
    "exits in the hook": (hook("sys.exit(3)"), "SystemExit: 3"),
    "raises half-way": (hook("yield penalty('half')\n1 / 0"), "division by zero"),
    "returns None": (hook("pass"), "returned None, expected a list"),
    "returns a class": (hook("return penalty('x')"), "expected a list"),
    "returns a name": (hook("return 'penalty'"), "expected subclasses"),
    "returns numbers": (hook("return [penalty('x'), 42]"), "returned 42, expected"),
    "returns a stranger": (hook("return [dict]"), "expected subclasses"),
    "returns a base": (hook("return [mbo.Penalty]"), "Penalty has no name"),
    "has no kind": (hook("return [mbo.Component]"), "expected subclasses"),
    "has no name": (hook("return [type('P', (mbo.Penalty,), {})]"), "P has no name"),
    "fails to say its name": (
        hook("P = penalty('x')\nP.get_type = lambda: 1 / 0\nreturn [P]"),
        "Made has no name, its get_type() raised ZeroDivisionError",
    ),
    "exits at its name": (
        hook("P = penalty('x')\nP.get_type = sys.exit\nreturn [P]"),
        "Made has no name",
    ),
    "has a number for a name": (hook("return [penalty(7)]"), "returned 7, expected"),
    "claims its own name": (
        hook("return [penalty('x'), penalty('x')]"),
        "two different penalty components named 'x'",
    ),
    "provides nothing": (hook("return []"), "provides no components"),
    "has no hook": ("x = 1", "provides no components"),
    "does not decorate its hook": (
        "def register_components():\n    return [penalty('x')]",
        "hookimpl",
    ),
    "misspells the hook": (
        "@mbo.hookimpl\ndef register_component():\n    return []",
        "unknown hook 'register_component'",
    ),
    "returns a d3rlpy algorithm": (hook("return [d3rlpy.algos.SAC]"), "expected sub"),
    "returns an algorithm's object": (
        hook("return [d3rlpy.algos.SACConfig().create()]"),
        "expected subclasses",
    ),
    "returns a d3rlpy class of another kind": (
        hook("return [d3rlpy.models.VectorEncoderFactory]"),
        "expected subclasses",
    ),
    "returns an environment": (
        "import gymnasium\n" + hook("return [gymnasium.Env]"),
        "expected subclasses",
    ),
    "returns a task that is made already": (
        hook("return [task('x')()]"),
        "expected subclasses",
    ),
    "returns the base of tasks": (hook("return [mbo.Task]"), "Task has no name"),
    "returns the base of learners": (
        hook("return [LearnableConfig]"),
        "LearnableConfig has no name",
    ),
    "provides a learner that cannot be created": (
        "class L(LearnableConfig):\n    get_type = staticmethod(lambda: 'x')\n"
        + hook("return [L]"),
        "L has no create() of its own",
    ),
    "provides a learner that takes d3rlpy's name": (
        hook("return [learner('sac')]"),
        "Made is named 'sac', as is d3rlpy.algos.qlearning.sac.SACConfig",
    ),
    "provides a learner that inherits its name": (
        "class L(d3rlpy.algos.DQNConfig):\n    pass\n" + hook("return [L]"),
        "evil.L is named 'dqn', as is d3rlpy.algos.qlearning.dqn.DQNConfig",
    ),
    "registers with d3rlpy under d3rlpy's name": (
        "d3rlpy.base.register_learnable(learner('sac'))\n"
        + hook("return [penalty('x')]"),
        "AssertionError: sac seems to be already registered",
    ),
    "claims its own learner's name": (
        hook("return [learner('x'), learner('x')]"),
        "two different learner components named 'x'",
    ),
    "takes arguments": (
        "@mbo.hookimpl\ndef register_components(registry):\n    return []",
        "Argument(s) {'registry'} are declared in the hookimpl",
    ),
}


def is_blamed(name: str, reason: str) -> None:
    """One warning and one failure; the good plugin and core keep working."""
    with one_warning(f"{name}:main (1.2)", reason):
        assert mbo.get_component("penalty", "good").__module__ == "good"
    assert mbo.get_component("rollout_policy", "uniform") is mbo.UniformPolicyConfig
    assert [p.name for p in discovery.registry().failures()] == [f"{name}:main"]
    with pytest.raises(mbo.PluginError, match=f"{name}:main .1.2"):
        mbo.get_component("penalty", "half")
    shown = CliRunner().invoke(main, ["plugins"])
    assert shown.exit_code == 1
    assert f"{name} 1.2: main\n  failed: " in shown.output
    assert reason in shown.output
    assert "  penalty good" in shown.output


@pytest.mark.training
@pytest.mark.parametrize(("code", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_one_warning_and_everything_else_keeps_working(
    install, code, reason
):
    install("evil", code)
    install("good", GOOD)
    is_blamed("evil", reason)


def test_an_interrupt_is_the_users_and_not_the_plugins_but_says_whose_import_it_was(
    install,
):
    install("evil", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt, match="evil:main .1.2. was imported"):
        mbo.get_component("rollout_policy", "uniform")


@pytest.mark.training
def test_an_import_that_hangs_is_named_and_given_up(install, monkeypatch, capsys):
    monkeypatch.setattr(importing, "LIMIT", 0.5)
    monkeypatch.setattr(importing, "_NOTICE", 0.1)
    install("evil", "import time\ntime.sleep(60)")
    install("good", GOOD)
    is_blamed("evil", "its import had not ended after 0.5 seconds")
    assert "Plugin evil:main (1.2) has been importing" in capsys.readouterr().err


def test_what_ends_the_process_has_been_named(install):
    install("evil", "import os\nos._exit(3)")
    named = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os._exit", lambda code: named.append("ended"))
        with one_warning("evil:main"):  # here it goes on, and provides nothing
            discovery.announced(named.append)
    assert named[named.index("evil") + 1] == "ended"


@pytest.mark.parametrize(
    "requires",
    ["d3rlpy-mbo<0.2", "D3RLPY_mbo >=99", "d3rlpy-mbo!=0.3; python_version>='3'"],
)
def test_a_plugin_for_another_version_of_ours_is_not_even_imported(
    install, monkeypatch, requires
):
    monkeypatch.setattr(entry_points, "__version__", "0.3")
    install("evil", "raise AssertionError('imported')", requires)
    install("good", GOOD)
    is_blamed("evil", "requires d3rlpy-mbo")
    assert "evil" not in sys.modules


def test_a_bound_below_our_version_counts_before_its_release_too(install, monkeypatch):
    monkeypatch.setattr(entry_points, "__version__", "0.2.0.dev0")
    install("evil", "raise AssertionError('imported')", "d3rlpy-mbo>=0.1,<0.2")
    install("good", GOOD, "d3rlpy-mbo>=0.2.0.dev0,<1")
    is_blamed("evil", "requires d3rlpy-mbo<0.2,>=0.1, installed is 0.2.0.dev0")


@pytest.mark.parametrize(
    ("requires", "ours"),
    [
        ("d3rlpy-mbo>=0.1,<1", "0.3"),
        ("d3rlpy-mbo>=0.1", "0.3.0rc1"),  # a prerelease of ours
        ("d3rlpy-mbo==0.3.*", "0.3.1.dev4+local"),
        ("d3rlpy-mbo>=99; python_version<'3'", "0.3"),
        ("d3rlpy-mbo>=99; extra == 'newest'", "0.3"),
        ("another>=99", "0.3"),
        ("d3rlpy mbo what?", "0.3"),  # what pip let pass is not ours to refuse
    ],
)
def test_a_plugin_whose_requirements_are_met_or_do_not_apply_is_loaded(
    install, monkeypatch, requires, ours
):
    monkeypatch.setattr(entry_points, "__version__", ours)
    install("good", GOOD, requires)
    assert mbo.get_component("penalty", "good").__module__ == "good"


CLAIMS = hook("return [penalty('max_aleatoric'), penalty('mean_aleatoric')]")


def test_a_claimed_name_has_no_winner_and_nothing_else_suffers(install):
    install("evil", CLAIMS.replace("penalty('mean", "penalty('spare'), penalty('mean"))
    with one_warning("d3rlpy-mbo:mopo (", "evil:main (1.2)", "'max_aleatoric'"):
        assert mbo.get_component("imagination", "mopo") is MOPOConfig
    assert mbo.get_component("penalty", "spare").__module__ == "evil"
    with pytest.raises(
        mbo.DuplicateComponentError, match=r"d3rlpy-mbo:mopo .*evil:main \(1.2\)"
    ):
        mbo.get_component("penalty", "max_aleatoric")
    shown = CliRunner().invoke(main, ["plugins"])
    assert shown.exit_code == 1
    assert "duplicate: penalty max_aleatoric" in shown.output
    assert "evil:main (1.2)" in shown.output


BOTH = hook("return [learner('theirs'), task('theirs'), penalty('spare')]")


def test_a_task_and_a_learner_of_one_name_are_no_conflict_and_have_no_winner_if_two_are(
    install,
):
    install("good", BOTH)
    assert mbo.get_component("task", "theirs").__module__ == "good"
    assert learner_config("theirs").__module__ == "good"
    install("evil", BOTH.replace("penalty('spare')", "penalty('more')"))
    with one_warning("evil:main (1.2)", "good:main (1.2)", "learner 'theirs'"):
        assert "theirs" not in learner_configs()
    assert mbo.get_component("penalty", "spare").__module__ == "good"
    assert mbo.get_component("penalty", "more").__module__ == "evil"
    both = r"evil:main \(1.2\) and good:main \(1.2\)"
    for look_up in (
        lambda: mbo.get_component("task", "theirs"),
        lambda: mbo.get_component("learner", "theirs"),
        lambda: learner_config("theirs"),
    ):
        with pytest.raises(mbo.DuplicateComponentError, match=both):
            look_up()
    shown = CliRunner().invoke(main, ["plugins"])
    assert shown.exit_code == 1
    assert "duplicate: learner theirs is provided by evil:main" in shown.output
    assert "duplicate: task theirs is provided by evil:main" in shown.output


def test_settings_look_up_what_they_name_and_leave_the_rest_as_it_is(install):
    install("evil", CLAIMS)
    config = apply_settings(MOPOConfig(), {"rollout_length": 2, "penalty.coef": 3.0})
    assert config == MOPOConfig(rollout_length=2, penalty=type(MOPOConfig().penalty)(3))
    assert discovery.registry.cache_info().currsize == 0
    with one_warning("'max_aleatoric', penalty 'mean_aleatoric'"):
        for value in ("max_aleatoric", {"type": "max_aleatoric", "params": {}}):
            with pytest.raises(mbo.DuplicateComponentError):
                apply_settings(MOPOConfig(), {"penalty": value})


def test_a_class_that_two_plugins_register_is_no_conflict(install):
    again = "from good import register_components"
    install("good", GOOD)
    install("again", again)
    assert mbo.get_component("penalty", "good").__module__ == "good"
    assert discovery.registry().duplicates() == {}


@pytest.mark.parametrize("name", ["My.Evil-One:main", "my_evil_one : main,"])
def test_a_plugin_switched_off_is_not_imported_and_listed_as_such(
    install, monkeypatch, name
):
    install("My-Evil.one", "raise AssertionError('imported')")
    install("good", GOOD)
    monkeypatch.setenv("D3RLPY_MBO_DISABLE", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mbo.get_component("penalty", "good").__module__ == "good"
    with pytest.raises(mbo.PluginError, match="D3RLPY_MBO_DISABLE.*My-Evil.one:main"):
        mbo.get_component("penalty", "theirs_perhaps")
    shown = CliRunner().invoke(main, ["plugins"])
    assert shown.exit_code == 0
    assert "My-Evil.one 1.2: main\n  disabled by D3RLPY_MBO_DISABLE" in shown.output


def test_switching_a_claimant_off_settles_whose_the_name_is(install, monkeypatch):
    install("evil", CLAIMS)
    monkeypatch.setenv("D3RLPY_MBO_DISABLE", "evil:main")
    found = mbo.get_component("penalty", "max_aleatoric")
    assert found.__module__ == "d3rlpy_mbo_mopo.penalties"


def test_a_built_in_plugin_can_be_switched_off_even_when_imported(monkeypatch, install):
    monkeypatch.setenv("D3RLPY_MBO_DISABLE", "d3rlpy-mbo:mopo")
    forget()
    assert isinstance(MOPOConfig().create(), mbo.Imagination)
    with pytest.raises(mbo.PluginError, match="D3RLPY_MBO_DISABLE.*d3rlpy-mbo:mopo"):
        mbo.get_component("imagination", "mopo")
    options = "--dataset x --learner sac --imagination mopo --n-steps 1"
    result = CliRunner().invoke(
        main, ["train", *options.split(), "--n-steps-per-epoch", "1"]
    )
    assert result.exit_code == 1
    assert "D3RLPY_MBO_DISABLE" in result.output


@pytest.mark.parametrize("entry", ["good:mian", "good"])
def test_switching_off_what_is_not_there_is_one_warning(install, monkeypatch, entry):
    install("good", GOOD)
    monkeypatch.setenv("D3RLPY_MBO_DISABLE", entry)
    with one_warning("D3RLPY_MBO_DISABLE", repr(entry), "'good:main'"):
        assert mbo.get_component("penalty", "good").__module__ == "good"


def forget_module(module: str) -> None:
    """Forgets an imported module and the classes it defined."""
    del sys.modules[module]
    gc.collect()


def save_with(penalty: str, path: Path) -> None:
    """Saves an imagination with a penalty by name."""
    component = mbo.get_component("penalty", penalty)
    line_imagination("forward", line_dataset(), penalty=component()).save(path)
    forget()


@pytest.mark.training
@pytest.mark.parametrize("rival_imported", [False, True])
def test_a_file_loads_the_distribution_it_was_saved_with_and_no_other(
    install, tmp_path, rival_imported
):
    install("good", GOOD)
    save_with("good", tmp_path / "x.mbo")
    install("rival", GOOD)
    forget_module("good")
    if rival_imported:
        importlib.import_module("rival")
    loaded = mbo.load_imagination(tmp_path / "x.mbo")
    assert type(loaded.config.penalty).__module__ == "good"
    assert ("rival" in sys.modules) is rival_imported
    with (
        one_warning("same names: penalty 'good'"),
        pytest.raises(mbo.DuplicateComponentError, match="good:main .*rival:main"),
    ):
        mbo.get_component("penalty", "good")


@pytest.mark.training
def test_nobody_stands_in_for_a_distribution_that_is_gone_or_broken(install, tmp_path):
    site = install("gone", hook("return [penalty('theirs')]"))
    save_with("theirs", tmp_path / "x.mbo")
    install("rival", hook("return [penalty('theirs')]"))
    forget_module("gone")
    (site / "gone.py").write_text("raise ValueError('odd')")
    forget()
    with (
        pytest.warns(UserWarning, match="gone:main"),
        pytest.raises(mbo.LoadError, match="gone:main .1.2.: ValueError: odd"),
    ):
        mbo.load_imagination(tmp_path / "x.mbo")
    (site / "gone.py").unlink()
    shutil.rmtree(site / "gone-1.2.dist-info")
    forget()
    with pytest.raises(mbo.LoadError, match="'theirs' is from gone 1.2, which is not"):
        mbo.load_imagination(tmp_path / "x.mbo")


@pytest.mark.training
def test_a_component_that_moved_to_another_distribution_is_found_there(
    install, tmp_path
):
    site = install("good", hook("return [penalty('moved'), penalty('stays')]"))
    save_with("moved", tmp_path / "x.mbo")
    forget_module("good")
    (site / "good.py").write_text(f"{HEAD}\n" + hook("return [penalty('stays')]"))
    install("split-off", hook("return [penalty('moved')]"))
    loaded = mbo.load_imagination(tmp_path / "x.mbo")
    assert type(loaded.config.penalty).__module__ == "split_off"


def test_the_origin_is_the_entry_points_where_metadata_lists_no_packages(install):
    site = install("good", GOOD)
    (site / "good-1.2.dist-info" / "top_level.txt").unlink()  # some editable installs
    forget()
    component = mbo.get_component("penalty", "good")
    assert discovery.origin(component) == ("good", "1.2")


USE = """
import os
import sys

import d3rlpy

import d3rlpy_mbo as mbo
from d3rlpy_mbo_romi import ROMIConfig
from d3rlpy_mbo_mopo import MOPOConfig
from toys import QUIET, line_dataset, small_ensemble, small_learner

dataset = line_dataset()
for imagination in (
    ROMIConfig(
        small_ensemble("reverse"),
        rollout_policy=mbo.UniformPolicyConfig(),
        rollout_batch_size=20,
    ),
    MOPOConfig(small_ensemble("forward"), rollout_batch_size=20),
):
    imagination = imagination.create()
    imagination.fit(dataset)
    imagination.save(sys.argv[1])
    imagination = mbo.load_imagination(sys.argv[1])
    learner = small_learner("sac")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner=learner)
    learner.fit(buffer, n_steps=2, n_steps_per_epoch=2, **QUIET)
try:
    imagination.imagine(line_dataset(terminated=True), 3)
except mbo.TerminationRequiredError as error:
    assert "hopper" in str(error), error
else:
    raise AssertionError
assert "gym " not in "".join(sys.modules)
print("used", flush=True)
mbo.get_component("rollout_policy", "uniform")
"""


@pytest.mark.training
def test_what_is_imported_runs_saves_and_loads_without_importing_a_plugin_it_does_not_use(
    install, tmp_path
):
    site = install("evil", "import os\nos._exit(7)")  # nothing catches this
    paths = [str(site), str(Path(__file__).parents[1])]
    result = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "x.mbo")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert "used" in result.stdout, result.stderr
    assert result.returncode == 7  # a look-up by name asks everybody


@pytest.mark.parametrize("ask", ["a name", "a learner's name", "a file", "a learner's"])
def test_a_plugin_that_is_installed_while_the_process_runs_is_found(
    install, tmp_path, ask
):
    # As by a notebook's %pip install, after something was looked up.
    code = "Good, Theirs = penalty('good'), learner('theirs')\n" + hook(
        "return [Good, Theirs]"
    )
    site = install("good", code)
    save_with("good", tmp_path / "x.mbo")
    learner = learner_config("theirs")().create()
    learner.create_impl((1,), 1)
    learner.save(tmp_path / "x.d3")
    (site / "good.py").unlink()
    shutil.rmtree(site / "good-1.2.dist-info")
    forget_module("good")
    forget()
    asked = {
        "a name": lambda: mbo.get_component("penalty", "good"),
        "a learner's name": lambda: learner_config("theirs"),
        "a file": lambda: mbo.load_imagination(tmp_path / "x.mbo").config.penalty,
        "a learner's": lambda: mbo.load_learner(tmp_path / "x.d3").config,
    }[ask]
    with pytest.raises(mbo.D3RLPyMBOError, match="good|theirs"):
        asked()
    install("good", code, known=False)
    found = asked()
    assert (found if isinstance(found, type) else type(found)).__module__ == "good"
