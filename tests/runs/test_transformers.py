"""Transformers through mbo.fit and the command line, evaluated as all learners are."""

import json
from pathlib import Path

import d3rlpy
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.evaluation import FIRST_FINAL_SEED, final_evaluation
from d3rlpy_mbo.runs.transformers import environment_evaluator, target_return_of
from toys import QUIET, line_dataset, line_imagination, small_learner


def transformer(**settings):
    return small_learner(
        "decision_transformer", context_size=3, max_timestep=24, **settings
    )


class Line(gymnasium.Env):
    """s' = s + a for three steps, r = s'; counts its episodes."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    max_episode_steps = 3
    episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes += 1
        self.state = self.np_random.uniform(-5, 5, 1).astype(np.float32)
        self.steps = 0
        return self.state, {}

    def step(self, action):
        self.steps += 1
        self.state = (self.state + action).astype(np.float32)
        return self.state, float(self.state[0]), False, self.steps == 3, {}


@pytest.fixture(scope="module")
def fitted():
    """(learner, epochs, environment, calls) of a run of two epochs."""
    d3rlpy.seed(1)
    learner, env, calls = transformer(), Line(), []
    epochs = mbo.fit(
        learner,
        line_dataset(n_episodes=5),
        line_imagination("reverse", rollout_batch_size=20),
        4,
        n_steps_per_epoch=2,
        env=env,
        n_trials=3,
        evaluators={"mine": lambda algo, data: float(algo.grad_step)},
        callback=lambda algo, epoch, step: calls.append((epoch, step)),
        **QUIET,
    )
    return learner, epochs, env, calls


@pytest.mark.training
def test_fit_returns_the_metrics_of_each_epoch_as_for_all_learners(fitted):
    learner, epochs, _, calls = fitted
    assert learner.grad_step == 4
    assert [epoch for epoch, _ in epochs] == [1, 2]
    for epoch, metrics in epochs:
        assert metrics["mine"] == 2 * epoch
        assert np.isfinite([metrics["loss"], metrics["environment"]]).all()
        assert 0 < metrics["imagined_share"] < 1
        assert metrics["custom_rows"] == 100
        assert "unknown_returns_share" not in metrics
    assert calls == [(1, 1), (1, 2), (2, 3), (2, 4)]


@pytest.mark.training
def test_it_plays_as_many_episodes_as_it_was_told(fitted):
    assert fitted[2].episodes == 2 * (1 + 3)  # one reset seeds each evaluation


@pytest.mark.training
def test_it_is_asked_for_the_best_return_of_the_data_unless_told_otherwise(
    fitted, monkeypatch
):
    learner, asked = fitted[0], []
    wrapper = type(learner).as_stateful_wrapper

    def noted(self, target_return, action_sampler=None):
        asked.append((target_return, action_sampler))
        return wrapper(self, target_return, action_sampler)

    monkeypatch.setattr(type(learner), "as_stateful_wrapper", noted)
    dataset = line_dataset(n_episodes=3)
    real = mbo.RealData.of(dataset)
    best = max(episode.compute_return() for episode in dataset.episodes)
    assert target_return_of(learner, real) == pytest.approx(best, rel=1e-5)
    sampler = d3rlpy.algos.IdentityTransformerActionSampler()
    environment_evaluator(learner, Line(), 1, 7.5, sampler)(learner, dataset)
    final_evaluation(learner, Line(), 1, None, target_return=-2.0)
    assert asked == [(7.5, sampler), (-2.0, None)]


@pytest.mark.training
def test_final_episodes_begin_where_all_learners_begin_without_a_memory(fitted):
    learner = fitted[0]
    twice = [final_evaluation(learner, Line(), 2, None, 10.0) for _ in range(2)]
    assert twice[0] == twice[1]
    env, total = Line(), 0.0
    acts = learner.as_stateful_wrapper(10.0)
    observation, reward, done = env.reset(seed=FIRST_FINAL_SEED)[0], 0.0, False
    while not done:
        action = acts.predict(observation, reward)
        observation, reward, _, done, _ = env.step(action)
        total += reward
    assert twice[0]["returns"][0] == pytest.approx(total)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("td3_plus_bc", {"target_return": 3.0}, "only transformers can"),
        ("decision_transformer", {"target_return": float("nan")}, "target_return"),
        ("decision_transformer", {"eval_env": Line()}, "Pass env, n_trials"),
        ("decision_transformer", {"eval_target_return": 1.0}, "ten episodes by itself"),
        ("decision_transformer", {"n_epochs": 1}, "neither mbo.fit nor Decision"),
    ],
)
def test_arguments_of_no_use_are_refused_before_anything_is_fitted(
    name, settings, words
):
    imagination = line_imagination("reverse")
    learner = transformer() if name == "decision_transformer" else small_learner(name)
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(learner, line_dataset(), imagination, 2, **settings, **QUIET)
    assert not imagination.fitted


@pytest.mark.parametrize(
    ("imagination", "settings", "words"),
    [
        ("forward", {}, "imagines forwards"),
        ("reverse", {"max_timestep": 23}, "max_timestep=24"),
    ],
)
def test_what_a_transformer_cannot_train_on_is_refused_before_anything_is_fitted(
    imagination, settings, words
):
    imagination = line_imagination(imagination)
    learner = transformer()
    learner.config.max_timestep = settings.get("max_timestep", 24)
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(learner, line_dataset(), imagination, 2, **QUIET)
    assert not imagination.fitted


@pytest.mark.training
def test_its_logs_hold_what_was_evaluated(tmp_path: Path):
    mbo.fit(
        transformer(),
        line_dataset(n_episodes=2),
        [],
        2,
        n_steps_per_epoch=1,
        env=Line(),
        n_trials=1,
        show_progress=False,
        logger_adapter=d3rlpy.logging.FileAdapterFactory(root_dir=str(tmp_path)),
        experiment_name="logs",
        with_timestamp=False,
    )
    lines = (tmp_path / "logs" / "environment.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["1", "1"], ["2", "2"]]
    assert (tmp_path / "logs" / "loss.csv").exists()
    assert json.loads((tmp_path / "logs" / "params.json").read_text())
