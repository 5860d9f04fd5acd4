"""The documentation's code runs, every kind has a page, links lead somewhere."""

import ast
import dataclasses
import functools
import importlib
import inspect
import itertools
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium
import numpy as np
import pytest
import torch
from d3rlpy.metrics import EnvironmentEvaluator
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import TimeLimit

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components import base as configs
from d3rlpy_mbo.components.terminations import lookup
from d3rlpy_mbo.data.episodes import CompleteEpisode, CompleteTransitionPicker
from d3rlpy_mbo.registry import discovery, hookspecs
from d3rlpy_mbo.registry.kinds import LEARNER, key_of
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig
from pages import blocks, look_again, run_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CODE = [page for page in PAGES if any(b.language != "text" for b in blocks(page))]


class Falling(PendulumEnv):
    """Stands upright at first and ends where it leans too far: by Hopper's rule.

    (cos, sin, speed) of the pendulum in the place of (height, angle, ...) of Hopper.
    """

    def reset(self, *, seed=None, options=None):
        upright = {"x_init": 0.1, "y_init": 0.1}
        return super().reset(seed=seed, options={**upright, **(options or {})})

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        leans = not (observation[0] > 0.7 and abs(observation[1]) < 0.2)
        return observation, reward, leans, truncated, info


def stand_in(dataset_id: str) -> tuple[d3rlpy.dataset.ReplayBuffer, Any]:
    """Random episodes of an environment that needs no simulator: 400 rows or more.

    Those in the place of Hopper's terminate, as Hopper's do.
    """
    falls = "hopper" in dataset_id
    env: gymnasium.Env[Any, Any] = TimeLimit(Falling() if falls else PendulumEnv(), 50)
    env = gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
    env.action_space.seed(0)
    episodes: list[CompleteEpisode] = []
    while sum(len(episode.actions) for episode in episodes) < 400:
        observations, actions, rewards = [env.reset(seed=len(episodes))[0]], [], []
        ended = truncated = False
        while not (ended or truncated):
            actions.append(env.action_space.sample())
            observation, reward, ended, truncated, _ = env.step(actions[-1])
            observations.append(observation)
            rewards.append([reward])
        columns = [np.float32(column) for column in (observations, actions, rewards)]
        episodes.append(CompleteEpisode(*columns, terminated=ended))
    dataset = d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=episodes,
        transition_picker=CompleteTransitionPicker(),
    )
    return dataset, env


def test_what_stands_for_hopper_terminates_so_that_pages_have_to_say_when():
    falling, _ = stand_in("mujoco/hopper/medium-v0")
    swinging, _ = stand_in("pointmaze/umaze-sparse-v0")
    assert any(episode.terminated for episode in falling.episodes)
    assert not any(episode.terminated for episode in swinging.episodes)
    [episode, *_] = [each for each in falling.episodes if each.terminated]
    ends = mbo.HopperTermination()(*[torch.tensor(episode.observations[1:])] * 3)
    assert ends.flatten().tolist() == [False] * (len(ends) - 1) + [True]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, minari_root: Path) -> None:
    """Pages say what a reader would run; here it runs on little data and few steps.

    `mbo.load_minari` returns a `stand_in`. Whatever trains for more than 1000 steps takes
    two, ensembles without a limit are small and take two, imaginations make 20 rollouts,
    evaluations have one episode, collected mazes 700 steps. What a page, or a conformance
    check, makes small itself is left alone.
    """
    from d3rlpy_mbo.tasks import pointmaze_collection

    def wrap(owner: Any, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def changed(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **{**kwargs, **change(kwargs)})

        monkeypatch.setattr(owner, name, changed)

    def two_steps(given: dict[str, Any]) -> dict[str, Any]:
        return {"n_steps": 2} if given["n_steps"] > 1000 else {}

    def two_epochs(given: dict[str, Any]) -> dict[str, Any]:
        few = {"n_steps_per_epoch": 1} if two_steps(given) else {}
        return {**two_steps(given), **few, "show_progress": False}

    create_ensemble = mbo.ProbabilisticEnsembleConfig.create
    create_imagination = mbo.ImaginationConfig.create

    def create_small(config: Any, device: Any = False) -> Any:
        size = {"n_models": 2, "n_elites": 2, "hidden_units": [16], "max_steps": 2}
        if config.max_steps is None:
            config = dataclasses.replace(config, weight_decays=[0.0, 0.0], **size)
        return create_ensemble(config, device)

    def create_brief(config: Any, *arguments: Any, **named: Any) -> Any:
        if config.rollout_batch_size > 1000:
            config = dataclasses.replace(config, rollout_batch_size=20)
        return create_imagination(config, *arguments, **named)

    monkeypatch.setattr(mbo, "load_minari", stand_in)
    monkeypatch.setitem(lookup._BY_MODULE, __name__, mbo.HopperTermination)
    monkeypatch.setattr(mbo.ProbabilisticEnsembleConfig, "create", create_small)
    monkeypatch.setattr(mbo.ImaginationConfig, "create", create_brief)
    wrap(mbo, "pretrain_policy", lambda _: {"n_epochs": 1})
    wrap(configs.LearnedComponent, "fit_by_gradient", two_steps)
    wrap(d3rlpy.algos.QLearningAlgoBase, "fit", two_epochs)
    wrap(d3rlpy.algos.TransformerAlgoBase, "fit", two_epochs)
    wrap(EnvironmentEvaluator, "__init__", lambda _: {"n_trials": 1})
    few = {"n_steps": 700, "n_reference_episodes": 1}
    wrap(pointmaze_collection, "collect_pointmaze", lambda _: few)


@pytest.fixture
def forgotten(tmp_path: Path) -> Iterator[None]:
    """What a page installs or imports from its folder is gone after it."""
    look_again()
    yield
    look_again()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.training
# d3rlpy's scalers assert shapes, which a traced policy then takes for given.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.filterwarnings("ignore:100% of the episodes were cut")  # those of stand_in
@pytest.mark.filterwarnings("ignore::UserWarning:minari")  # of what a page leaves out
@pytest.mark.parametrize("page", CODE, ids=lambda p: str(p.relative_to(DOCS)))
@pytest.mark.usefixtures("forgotten", "small")
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    if "d3rlpy-mbo collect" in page.read_text():
        pytest.importorskip("gymnasium_robotics")
    if page.stem == "studies":
        for needed in ("gymnasium_robotics", "joblib", "matplotlib", "rliable"):
            pytest.importorskip(needed)
    if page.stem == "own-data":
        pytest.importorskip("pandas")
    run_page(page, tmp_path, monkeypatch)


KIT = DOCS / "from-offlinerl-kit.md"


@pytest.mark.usefixtures("small")
def test_the_script_beside_run_mopo_has_the_settings_of_run_mopo(monkeypatch):
    begun: list[Any] = []
    monkeypatch.setattr(
        mbo, "fit", lambda *given, **named: begun.append((given, named))
    )
    [script, *_] = [block for block in blocks(KIT) if block.language == "python"]
    exec(script.code, {})
    [((sac, _, mopo), named)] = begun
    model, learner = mopo.config.dynamics, sac.config
    # run_mopo.py: trained with max_epochs_since_update=5, which stops at the fifth.
    assert (model.patience, model.n_models, model.n_elites) == (5 - 1, 7, 5)
    assert (mopo.config.rollout_interval, mopo.config.retained_refreshes) == (1000, 5)
    assert (mopo.config.rollout_length, mopo.config.penalty.coef) == (5, 5.0)
    assert mopo.config.real_ratio == 0.05
    assert (learner.actor_learning_rate, learner.critic_learning_rate) == (1e-4, 3e-4)
    assert (learner.temp_learning_rate, learner.initial_temperature) == (1e-4, 1.0)
    assert (learner.gamma, learner.tau, learner.n_critics) == (0.99, 0.005, 2)
    assert learner.batch_size == 256
    schedule = learner.actor_optim_factory.lr_scheduler_factory
    assert schedule.T_max == named["n_steps"] == 1000 * named["n_steps_per_epoch"]


def test_what_the_scripts_default_to_are_fields_with_other_defaults():
    schedule = d3rlpy.optimizers.lr_schedulers.CosineAnnealingLRFactory(T_max=10)
    names = {
        **vars(d3rlpy.algos),
        **vars(d3rlpy.preprocessing),
        **vars(d3rlpy.optimizers),
        **vars(mbo),
        "schedule": schedule,
        "large": d3rlpy.models.VectorEncoderFactory(hidden_units=[256, 256, 256]),
    }
    for plugin in ("mopo", "rambo", "combo", "mobile", "edac"):
        names |= vars(importlib.import_module(f"d3rlpy_mbo_{plugin}"))
    table = KIT.read_text().partition("## Defaults")[2].partition("\n## ")[0]
    calls = re.findall(r"`(\w+Config\(\w.*?\))`", table)
    assert len(calls) == 13
    for text in calls:
        config, call = eval(text, names), ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        for keyword in call.keywords:
            default = getattr(type(config)(), str(keyword.arg))
            assert getattr(config, str(keyword.arg)) != default, (text, keyword.arg)


def kinds() -> set[str]:
    """The kinds of components that d3rlpy_mbo defines."""
    found, pending = set(), [mbo.Component]
    while pending:
        component = pending.pop()
        pending += component.__subclasses__()
        if component.__module__.startswith("d3rlpy_mbo."):
            found.add(getattr(component, "kind", None))
    return {*found, LEARNER} - {None}


def test_every_kind_has_a_page_with_its_contract_and_an_example():
    pages = {page.stem: page for page in (DOCS / "components").glob("*.md")}
    assert set(pages) == kinds()
    for kind, page in pages.items():
        text = page.read_text()
        assert text.startswith(f"# `{kind}`\n")
        assert "## Contract\n" in text
        assert "## Example\n" in text
        assert "check_component(" in text


def test_what_is_promised_counts_the_kinds_and_the_plugins_that_there_are():
    words = dict(enumerate(("six", "seven", "eight", "nine", "ten", "eleven"), start=6))
    page = (DOCS / "compatibility.md").read_text()
    n_plugins = len([*(ROOT / "plugins").glob("d3rlpy_mbo_*/__init__.py")])
    assert f"the {words[n_plugins]} built-in plugins export" in page
    assert f"contracts of the {words[len(kinds())]} kinds" in page
    index = (DOCS / "index.md").read_text()
    assert f"## The {words[len(kinds())]} kinds of component" in index


def test_the_page_of_a_kind_names_everything_of_it_that_is_built_in():
    for plugin in discovery.registry().plugins:
        if plugin.distribution != "d3rlpy-mbo":
            continue
        for component in plugin.components:
            kind, name = key_of(component)
            text = (DOCS / "components" / f"{kind}.md").read_text()
            _, built_in = re.split(r"^(?:## )?Built in", text, flags=re.MULTILINE)
            named = set(re.findall(r"`([^`\s]+)`", built_in))
            for each in [name for name in named if "{" in name]:  # as shells expand it
                parts = re.split(r"\{([^}]*)\}", each)
                choices = [part.split(",") for part in parts]
                named |= {"".join(chosen) for chosen in itertools.product(*choices)}
            assert {name, component.__name__} & named, f"{kind} {name}"


def test_the_hook_stands_in_the_documentation_with_its_exact_signature():
    hooks = [
        value
        for value in vars(hookspecs).values()
        if hasattr(value, f"{hookspecs.ENTRY_POINT_GROUP}_spec")
    ]
    page = (DOCS / "hook.md").read_text()
    documented = re.findall(r"^def .*:$", page, re.MULTILINE)
    expected = []
    for hook in hooks:
        signature = inspect.getsource(hook).split("\n")[1].partition("  #")[0]
        expected.append(signature.replace('"', ""))
    assert documented == expected
    assert f"[project.entry-points.{hookspecs.ENTRY_POINT_GROUP}]" in page


def test_every_public_name_is_in_the_reference():
    pages = (DOCS / "reference").glob("*.md")
    shown = re.findall(
        r"^::: ([\w.]+)$", "\n".join(p.read_text() for p in pages), re.MULTILINE
    )
    parts = {"d3rlpy_mbo.learners": mbo.learners, "d3rlpy_mbo.metrics": mbo.metrics}
    modules = {"d3rlpy_mbo": mbo, **parts}
    for folder in (ROOT / "plugins").glob("d3rlpy_mbo_*"):
        modules[folder.name] = importlib.import_module(folder.name)
    expected = {
        f"{m}.{name}" for m, module in modules.items() for name in module.__all__
    }
    expected -= {"d3rlpy_mbo.__version__", *parts}  # a text, modules
    shown_as_the_cores = {
        "d3rlpy_mbo.metrics.imagination_evaluators",
        "d3rlpy_mbo_rambo.Candidate",
        "d3rlpy_mbo_rambo.rank_by_q_values",
    }
    for path in shown_as_the_cores:
        module, name = path.rsplit(".", 1)
        assert getattr(modules[module], name) is getattr(mbo, name)
    expected -= shown_as_the_cores
    assert sorted(shown) == sorted({*expected, "d3rlpy_mbo.testing"})


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {"-".join(heading.split()) for heading in words}


@pytest.mark.parametrize(
    "page",
    [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("benchmarks/**/*.md")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        # What is rendered is that folder alone: a link out of it leads nowhere there.
        if page.is_relative_to(DOCS):
            assert linked.is_relative_to(DOCS), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(navigation) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_a_methods_page_names_every_whole_study_of_it():
    """Whole: all of its runs are there, and five seeds or more, as a verdict needs."""
    missing, n_studies = [], 0
    for path in sorted(ROOT.glob("benchmarks/results/*/study.toml")):
        study, folder = tomllib.loads(path.read_text()), path.parent
        seeds, methods = study["seeds"], study["methods"].values()
        n_runs = len(study["datasets"]) * len(methods) * len(seeds)
        if len(seeds) < 5 or len([*folder.rglob("result.json")]) < n_runs:
            continue
        n_studies += 1
        for name in {method.get("imagination", "none") for method in methods}:
            page = DOCS / "methods" / f"{name}.md"
            if page.exists() and folder.name not in page.read_text():
                missing.append((page.name, folder.name))
    assert n_studies
    assert missing == []


def test_what_rambos_lambda_means_is_said_for_either_unit_of_the_targets():
    page = (DOCS / "papers.md").read_text().split("\n## RAMBO\n")[1]
    for text in (page.split("\n## ")[0], AdversarialUpdaterConfig.__doc__):
        for words in ("target_scale", '"change"', '"state"', "proportion"):
            assert words in text
