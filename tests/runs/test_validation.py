"""Nothing is known and said only after the fit."""

import types
import warnings
from pathlib import Path
from typing import Any

import d3rlpy
import gym
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.arguments import validate_arguments
from d3rlpy_mbo.runs.environments import validate_environment
from d3rlpy_mbo.runs.validation import validate_parts
from d3rlpy_mbo_rambo import RAMBOConfig
from toys import (
    QUIET,
    choice_dataset,
    line_dataset,
    line_episodes,
    line_imagination,
    small_ensemble,
    small_learner,
)

SCALERS = d3rlpy.preprocessing


class Line(gymnasium.Env):
    """s' = s + a, never ending."""

    def __init__(self, observation_size: int = 1, action_size: int = 1):
        self.observation_space = spaces.Box(-np.inf, np.inf, (observation_size,))
        self.action_space = spaces.Box(-1.0, 1.0, (action_size,))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = np.zeros(self.observation_space.shape, np.float32)
        return self.state, {}

    def step(self, action: Any) -> Any:
        self.state = self.state + action
        return self.state, 0.0, False, False, {}


def transformer(**settings: Any) -> Any:
    config = d3rlpy.algos.DecisionTransformerConfig(
        context_size=3, batch_size=4, num_heads=1, num_layers=1, **settings
    )
    return config.create()


def limited(env: Any) -> Any:
    return gymnasium.wrappers.TimeLimit(env, 5)


def refused(message: str, learner: Any = None, dataset: Any = None, **arguments: Any):
    """Fits; expects an error and an imagination that was not fitted."""
    imagination = arguments.pop("imagination", line_imagination("reverse"))
    arguments = {"n_steps": 4, **QUIET, **arguments}
    with pytest.raises(mbo.D3RLPyMBOError, match=message):
        mbo.fit(
            small_learner("td3_plus_bc") if learner is None else learner,
            line_dataset() if dataset is None else dataset,
            imagination,
            **arguments,
        )
    if isinstance(imagination, mbo.Imagination):
        assert not imagination.fitted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"n_steps": 1e6},
            r"n_steps is 1000000.0, expected a whole number, at least 1. Write 1_000_000.",
        ),
        (
            {"callback": [print]},
            r"callback is \[.*expected a function of \(algo, epoch",
        ),
        ({"epoch_callback": 3}, "epoch_callback is 3, expected a function"),
        ({"experiment_name": Path("a")}, r"experiment_name is .*'a'\), expected text"),
        (
            {"logging_strategy": "epoch"},
            "logging_strategy is 'epoch', .*Strategy.EPOCH",
        ),
        (
            {"logging_strategy": d3rlpy.LoggingStrategy.STEPS},
            "logging_steps is 500, but an epoch has 4: d3rlpy would",
        ),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"n_steps": True}, "n_steps is True"),
        ({"n_steps_per_epoch": 2.0}, "n_steps_per_epoch is 2.0"),
        ({"n_steps": 5, "n_steps_per_epoch": 2}, "no whole number of epochs"),
        ({"n_trials": 0}, "n_trials is 0, expected a whole number, at least 1"),
        (
            {"n_epochs": 1},
            "argument 'n_epochs', which neither mbo.fit nor TD3PlusBC.fit",
        ),
        ({"save_intervall": 1}, "Did you mean 'save_interval'"),
        ({"evaluators": [len]}, "evaluators is list, expected a dict"),
        ({"evaluators": {"a/b": len}}, "a/b"),
        (
            {"evaluators": {"td": d3rlpy.metrics.TDErrorEvaluator()}, "n_trials": "1"},
            "n_trials is '1'",
        ),
        (
            {"logger_adapter": d3rlpy.logging.NoopAdapterFactory},
            r"is the class NoopAdapterFactory, expected an instance",
        ),
        ({"save_interval": 0}, "save_interval is 0, expected a whole number"),
        ({"evaluators": {"td": d3rlpy.metrics.TDErrorEvaluator}}, "an instance"),
        (
            {"learner": d3rlpy.algos.SACConfig()},
            r"learner is the config SACConfig\(...\)",
        ),
        ({"learner": d3rlpy.algos.SAC}, "The class SAC cannot train on imagined"),
        ({"shares": ["much"]}, "shares is \\['much'\\], expected a list of numbers"),
        ({"logger_adapter": "tensorboard"}, "expected one of d3rlpy's factories"),
        ({"imagination": "romi"}, "imagination is 'romi', expected an Imagination"),
        (
            {"imagination": RAMBOConfig()},
            r"the config RAMBOConfig\(...\), expected .*create\(device\)",
        ),
        ({"real_ratio": 2.0}, "real_ratio is 2.0, expected a number, at least 0 and"),
    ],
)
def test_an_argument_of_no_use_is_refused_before_anything_is_fitted(arguments, message):
    refused(message, **arguments)


def test_what_is_no_imagination_or_no_buffer_is_refused_where_one_is_looked_at():
    dataset = line_dataset()
    with pytest.raises(mbo.CompositionError, match=r"the config RAMBOConfig\(...\)"):
        mbo.diagnose(RAMBOConfig(), dataset)  # type: ignore[arg-type]
    with pytest.raises(
        mbo.CompositionError, match="imagination is <d3rlpy.*, expected an"
    ):
        mbo.diagnose(dataset, dataset)  # type: ignore[arg-type]
    with pytest.raises(
        mbo.CompositionError, match="ImaginedReplayBuffer that the learner"
    ):
        mbo.imagination_evaluators(line_imagination("forward"))  # type: ignore[arg-type]


def test_logs_that_cannot_be_written_are_refused_before_anything_is_fitted(
    tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    for place in ("/proc/logs", tmp_path / "file", tmp_path / "file" / "logs"):
        files = d3rlpy.logging.FileAdapterFactory(str(place))
        both = d3rlpy.logging.CombineAdapterFactory([files])
        refused(f"logs cannot be written to '{place}'", logger_adapter=both)
    monkeypatch.chdir("/proc/self")  # read-only, and d3rlpy logs there by default
    refused("logs cannot be written to '/proc.*d3rlpy_logs'", logger_adapter=None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("package", ["tensorboardX", "wandb"])
def test_a_logger_whose_package_is_missing_is_refused_by_name(package, monkeypatch):
    factories = {
        "tensorboardX": d3rlpy.logging.TensorboardAdapterFactory("logs"),
        "wandb": d3rlpy.logging.WanDBAdapterFactory(),
    }
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    combined = d3rlpy.logging.CombineAdapterFactory([factories[package]])
    refused(f"needs the package '{package}'", logger_adapter=combined)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            limited(Line(observation_size=4)),
            r"observations are Box.*dataset's have size 1",
        ),
        (limited(Line(action_size=2)), r"actions are Box.*dataset's have size 1"),
        (gymnasium.vector.SyncVectorEnv([Line]), "vector environment"),
        ("Line-v0", "env is builtins.str, expected a gymnasium.Env"),
        (gym.Env(), "env is gym.*of gym, which is no longer.*gymnasium.make"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(env, message):
    refused(message, env=env)


class Chooses(gymnasium.Env):
    observation_space = spaces.Box(-9, 9, (1,), np.float32)

    def __init__(self, space):
        self.action_space = space


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Discrete(2), r"Discrete\(2\), but the dataset's are 3 choices"),
        (spaces.Box(-1, 1, (1,)), "Box.*, but the dataset's are 3 choices"),
        (spaces.Discrete(3, start=1), "counted from 1.*TransformAction"),
    ],
)
def test_an_environment_of_other_choices_is_refused(space, words):
    real = mbo.RealData.of(choice_dataset(5))
    with pytest.raises(mbo.CompositionError, match=words):
        validate_environment(Chooses(space), real)


def test_an_environment_of_choices_is_refused_for_continuous_data():
    real = mbo.RealData.of(line_dataset())
    with pytest.raises(mbo.CompositionError, match=r"actions are Discrete\(3\)"):
        validate_environment(Chooses(spaces.Discrete(3)), real)


def test_an_environment_of_goals_is_refused_by_the_wrapper_that_helps():
    env = Line()
    env.observation_space = spaces.Dict(observation=env.observation_space)
    refused(r"one that mbo\.load_minari returns.*GoalConcatWrapper", env=limited(env))


@pytest.mark.parametrize(("terminated", "does"), [(True, "some do"), (False, "none")])
def test_an_environment_without_a_limit_is_a_warning(terminated, does):
    class Ending(Line):
        def step(self, action: Any) -> Any:
            return self.state, 1.0, True, False, {}

    dataset = line_dataset(n_episodes=4, terminated=terminated)
    learner = small_learner("td3_plus_bc")
    with pytest.warns(UserWarning, match=f"declares no step limit.*{does}.*TimeLimit"):
        mbo.fit(learner, dataset, [], n_steps=2, env=Ending(), **QUIET)
    limits = [limited(Ending()), Ending()]
    limits[1].max_episode_steps = 1
    for env in limits:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mbo.fit(learner, dataset, [], n_steps=2, env=env, **QUIET)


@pytest.mark.parametrize(
    ("column", "scaler", "message"),
    [
        (
            "observations",
            {"observation_scaler": SCALERS.MinMaxObservationScaler()},
            r"observation_scaler of TD3PlusBC.*columns \[1\] of the observations",
        ),
        (
            "actions",
            {"action_scaler": SCALERS.MinMaxActionScaler()},
            r"action_scaler of TD3PlusBC.*columns \[1\] of the actions",
        ),
        (
            "rewards",
            {"reward_scaler": SCALERS.MinMaxRewardScaler()},
            r"reward_scaler of TD3PlusBC.*columns \[0\] of the rewards",
        ),
        (
            "observations",
            {"observation_scaler": SCALERS.StandardObservationScaler(eps=0.0)},
            r"observation_scaler .*StandardObservationScaler, divides by zero",
        ),
        (
            "rewards",
            {"reward_scaler": SCALERS.ReturnBasedRewardScaler()},
            r"ReturnBasedRewardScaler, divides by zero.*of the returns of episodes",
        ),
        (
            "rewards",
            {"reward_scaler": SCALERS.MultiplyRewardScaler(0.0)},
            r"MultiplyRewardScaler, has a multiplier of 0",
        ),
    ],
)
def test_a_scaler_that_divides_by_zero_is_refused_by_column(column, scaler, message):
    episodes = line_episodes(4, 10, size=2)
    for episode in episodes:
        getattr(episode, column)[:, -1] = 0.25
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    refused(message, learner=small_learner("td3_plus_bc", **scaler), dataset=dataset)


@pytest.mark.parametrize(
    ("name", "kind", "field"),
    [
        ("observation_scaler", SCALERS.StandardObservationScaler, "mean"),
        ("observation_scaler", SCALERS.MinMaxObservationScaler, "minimum"),
        ("action_scaler", SCALERS.MinMaxActionScaler, "minimum"),
    ],
)
def test_a_scaler_that_another_learner_fitted_on_other_data_is_refused(
    name, kind, field
):
    first = small_learner("td3_plus_bc", **{name: kind()})
    first.fit(line_dataset(size=2), n_steps=1, n_steps_per_epoch=1, **QUIET)
    again = first.config.create()  # whose scaler is the first one's, fitted
    refused(
        rf"{name} of TD3PlusBC, {kind.__name__}, has a {field} of shape \(2,\), .*size 1",
        learner=again,
    )


def test_a_scaler_of_one_number_for_all_columns_trains():
    scaler = SCALERS.MinMaxActionScaler(minimum=np.array(-1.0), maximum=np.array(1.0))
    learner = small_learner("td3_plus_bc", action_scaler=scaler)
    mbo.fit(learner, line_dataset(), [], 1, n_steps_per_epoch=1, **QUIET)


@pytest.mark.parametrize(
    "scaler", [SCALERS.StandardRewardScaler(), SCALERS.MinMaxRewardScaler()]
)
def test_a_scaler_that_no_transformer_can_fit_is_refused_by_name_not_later(scaler):
    episodes = line_episodes(2, 7) + line_episodes(2, 5)
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    refused(
        f"reward_scaler of DecisionTransformer, {type(scaler).__name__}, cannot be fitted"
        ".*different lengths.*ReturnBased",
        learner=transformer(reward_scaler=scaler),
        dataset=dataset,
    )
    assert not scaler.built
    alike = d3rlpy.dataset.create_infinite_replay_buffer(episodes[:2])
    validate_parts(transformer(reward_scaler=scaler), mbo.RealData.of(alike), [])
    assert not scaler.built


@pytest.mark.parametrize(
    "scaler", [SCALERS.ReturnBasedRewardScaler, SCALERS.MinMaxRewardScaler]
)
@pytest.mark.parametrize("last", [3.0, 0.0])
def test_a_transformers_scaler_sees_the_last_rewards_of_cut_episodes(scaler, last):
    # Of those alone, as in delayed data, d3rlpy's transitions hold none.
    episodes = line_episodes(4, 6)
    for number, episode in enumerate(episodes):
        episode.rewards[:] = 0.0
        episode.rewards[-1] = last * number
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    learner = transformer(reward_scaler=scaler())
    if last:
        validate_parts(learner, mbo.RealData.of(dataset), [])
    else:
        refused("reward_scaler.*divides by zero", learner=learner, dataset=dataset)
    q_learner = small_learner("td3_plus_bc", reward_scaler=scaler())
    refused("reward_scaler.*divides by zero", learner=q_learner, dataset=dataset)


def test_what_rounding_leaves_of_equal_returns_is_no_difference_to_a_transformer():
    episodes = line_episodes(3, 6)
    for number, episode in enumerate(episodes):
        episode.rewards[:] = 0.1
        episode.rewards[-1] += 1e-7 * number
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    learner = transformer(reward_scaler=SCALERS.ReturnBasedRewardScaler())
    refused("divides by zero.*returns of episodes", learner=learner, dataset=dataset)


def test_d3rlpy_finds_both_bounds_anew_where_one_is_missing():
    episodes = line_episodes(4, 6)
    for episode in episodes:
        episode.rewards[:] = 1.0
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    scaler = SCALERS.MinMaxRewardScaler(minimum=0.0)
    learner = small_learner("td3_plus_bc", reward_scaler=scaler)
    refused("reward_scaler.*divides by zero", learner=learner, dataset=dataset)


def test_actions_beyond_the_learners_range_are_a_warning_that_names_the_scaler():
    episodes = line_episodes(4, 10)
    for episode in episodes:
        episode.actions[:] = 50 + 40 * episode.actions
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    with pytest.warns(
        UserWarning, match=r"outside \[-1, 1\] in columns \[0\].*action_sc"
    ):
        mbo.fit(small_learner("td3_plus_bc"), dataset, [], n_steps=2, **QUIET)
    with pytest.warns(UserWarning, match="action_scaler"):
        mbo.pretrain_policy(small_learner("td3_plus_bc"), dataset, n_epochs=1)
    scaled = small_learner("td3_plus_bc", action_scaler=SCALERS.MinMaxActionScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mbo.fit(scaled, dataset, [], n_steps=2, **QUIET)


def test_a_learner_that_cannot_be_built_is_refused_before_models_are_fitted():
    config = d3rlpy.algos.SACConfig(
        actor_encoder_factory=d3rlpy.models.VectorEncoderFactory(["many"])
    )
    refused("SAC cannot be built on this dataset", learner=config.create())


def test_the_trial_build_leaves_no_trace():
    real, learner = mbo.RealData.of(line_dataset()), small_learner("td3_plus_bc")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    validate_parts(learner, real, [line_imagination("reverse")])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert learner.impl is None


@pytest.mark.parametrize("device", ["cuda:99", "gpu", 99])
def test_a_device_that_is_not_here_is_refused_by_name(device, tmp_path):
    with pytest.raises(mbo.CompositionError, match="99|gpu"):
        mbo.ImaginationConfig().create(device)
    line_imagination("reverse", line_dataset()).save(tmp_path / "x.mbo")
    with pytest.raises(mbo.CompositionError, match="99|gpu"):
        mbo.load_imagination(tmp_path / "x.mbo", device)
    learner = d3rlpy.algos.SACConfig().create(device)
    refused("99|gpu", learner=learner)


def test_a_learner_whose_scalers_are_not_fitted_is_refused_by_scaler():
    dataset = line_dataset()
    learner = small_learner(
        "sac", observation_scaler=SCALERS.StandardObservationScaler()
    )
    learner.build_with_dataset(dataset)
    imagination = line_imagination(
        "forward", dataset, rollout_policy=mbo.LearnerPolicyConfig()
    )
    with pytest.raises(mbo.CompositionError, match="observation_scaler of SAC.*fitted"):
        imagination.imagine(dataset, 5, learner=learner)


def test_an_imagination_is_pickled_after_its_model_was_changed():
    import pickle

    dataset = line_dataset()
    imagination = RAMBOConfig(
        dynamics=small_ensemble(), rollout_batch_size=20, rollout_length=2
    )
    imagination.dynamics_updater = type(imagination.dynamics_updater)(
        update_interval=2, n_updates=1, batch_size=8
    )
    made = imagination.create()
    learner = small_learner("sac")
    mbo.fit(learner, dataset, made, n_steps=4, **QUIET)
    copied = pickle.loads(pickle.dumps(made))
    assert len(copied.imagine(dataset, 5, learner=learner)) > 0
    assert copied.changed_for_another(learner)
    assert not made.changed_for_another(learner)


def test_a_folder_that_is_missing_is_made_by_save(tmp_path):
    path = tmp_path / "models" / "new" / "x.mbo"
    line_imagination("reverse", line_dataset()).save(path)
    assert mbo.load_imagination(path).fitted


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("batch_size", 0, "a whole number, at least 1"),
        ("gamma", 99, "a number, at least 0 and at most 1"),
        ("tau", -0.005, "a number, at least 0 and at most 1"),
    ],
)
def test_a_number_that_d3rlpy_takes_and_cannot_use_is_refused_before_any_fit(
    field, value, expected
):
    learner, dataset = small_learner("td3_plus_bc"), line_dataset()
    setattr(learner.config, field, value)
    imagination = mbo.ImaginationConfig(small_ensemble("reverse")).create()
    words = f"TD3PlusBCConfig.{field} is {value}, expected {expected}"
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(learner, dataset, imagination, n_steps=2, **QUIET)
    assert not imagination.fitted


def test_models_that_no_batch_draws_from_are_told_of_before_they_are_fitted():
    learner, dataset = small_learner("td3_plus_bc"), line_dataset()
    imagination = mbo.ImaginationConfig(
        small_ensemble("reverse", max_steps=2), rollout_batch_size=20, real_ratio=1.0
    ).create()
    with pytest.warns(UserWarning, match="'custom' has none of the rows.*fitted all"):
        mbo.fit(learner, dataset, imagination, n_steps=2, **QUIET)
    # Fitted once, it costs nothing any more, and nothing is said.
    mbo.fit(small_learner("td3_plus_bc"), dataset, imagination, n_steps=2, **QUIET)


@pytest.mark.parametrize("name", ["", "taken/x.mbo"])
def test_a_path_that_cannot_be_written_is_refused_by_its_name(name, tmp_path):
    (tmp_path / "taken").write_text("a file")
    imagination = line_imagination("reverse", line_dataset())
    with pytest.raises(mbo.CompositionError, match="folder") as refusal:
        imagination.save(tmp_path / name)
    assert ".tmp" not in str(refusal.value)
    with pytest.raises(mbo.LoadError, match="is a folder, expected a file"):
        mbo.load_imagination(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_epochs": 1.5}, "n_epochs is 1.5"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_pretraining_is_refused_by_argument(arguments, message):
    learner = small_learner("td3_plus_bc")
    with pytest.raises(mbo.CompositionError, match=message):
        mbo.pretrain_policy(learner, line_dataset(), **arguments)
    assert learner.impl is None


def test_evaluators_are_pickled():
    import pickle

    dataset = line_dataset()
    imagination = line_imagination("reverse", dataset, rollout_batch_size=10)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    pickle.dumps(mbo.imagination_evaluators(buffer))


def test_two_runs_that_start_within_a_second_have_folders_of_their_own(tmp_path):
    dataset = line_dataset()
    factory = d3rlpy.logging.FileAdapterFactory(str(tmp_path))
    for _ in range(3):
        mbo.fit(
            small_learner("td3_plus_bc"),
            dataset,
            [],
            n_steps=2,
            logger_adapter=factory,
            show_progress=False,
        )
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 3
    for folder in folders:
        assert len((folder / "critic_loss.csv").read_text().split()) == 1


@pytest.mark.parametrize(
    "evaluator",
    [
        d3rlpy.metrics.EnvironmentEvaluator(limited(Line())),
        d3rlpy.metrics.TDErrorEvaluator(),
        d3rlpy.metrics.ContinuousActionDiffEvaluator(),
    ],
)
def test_an_evaluator_of_single_states_is_refused_for_a_transformer(evaluator):
    name = type(evaluator).__name__
    arguments = {"learner": transformer(), "evaluators": {"mine": evaluator}}
    refused(f"'mine': d3rlpy's {name} asks.*whole context.*pass env", **arguments)


def test_an_evaluator_of_values_is_refused_for_a_learner_that_has_none():
    values = d3rlpy.metrics.SoftOPCEvaluator(0.0)
    learner = small_learner("bc")
    refused(
        "SoftOPCEvaluator asks for Q-values, but BC", learner, evaluators={"v": values}
    )
    actions = d3rlpy.metrics.ContinuousActionDiffEvaluator()
    learner.build_with_dataset(line_dataset(2, 5))
    evaluated = {"n_steps": 1, "evaluators": {"difference": actions}, **QUIET}
    [(_, metrics)] = mbo.fit(learner, line_dataset(2, 5), [], **evaluated)
    assert metrics["difference"] >= 0


@pytest.mark.parametrize("built", [False, True])
def test_an_evaluation_by_fqe_is_fitted_as_any_learner(built, tmp_path):
    dataset, judged = line_dataset(4, 10), small_learner("td3_plus_bc")
    fqe = d3rlpy.ope.FQE(judged, d3rlpy.ope.FQEConfig(batch_size=8))
    refused("FQE cannot be built.*target algorithm is not", fqe, dataset)
    judged.build_with_dataset(dataset)
    if built:
        fqe.build_with_dataset(dataset)
    refused("FQE estimates is a policy's.*Leave", fqe, dataset, checkpoint=tmp_path)
    asks = line_imagination("forward", rollout_policy=mbo.LearnerPolicyConfig())
    refused("asks the learner, but FQE does not act", fqe, dataset, imagination=asks)
    asks.fit(dataset)
    with pytest.raises(mbo.CompositionError, match="FQE does not act"):
        mbo.ImaginedReplayBuffer(dataset, asks, learner=fqe)
    values = {"value": d3rlpy.metrics.InitialStateValueEstimationEvaluator()}
    romi = line_imagination("reverse")
    [(_, found)] = mbo.fit(fqe, dataset, romi, n_steps=3, evaluators=values, **QUIET)
    assert 0 < found["imagined_share"] <= 1
    assert np.isfinite(found["value"])
    assert judged.grad_step == 0


def test_a_learner_that_learns_nothing_is_refused():
    random = d3rlpy.algos.RandomPolicyConfig().create()
    refused("RandomPolicy has no networks, so there is nothing to train", random)


class OwnFit(d3rlpy.algos.TD3PlusBC):
    """Does something of its own before d3rlpy's fit, as PRDC does."""

    def fit(self, dataset, n_steps, **others):
        self.n_rows = dataset.transition_count
        return super().fit(dataset, n_steps, **others)


def test_a_fit_that_hands_its_arguments_on_takes_d3rlpys():
    learner = OwnFit(small_learner("td3_plus_bc").config, False, False)
    steps = d3rlpy.LoggingStrategy.STEPS
    refused("logging_steps is 500, but an epoch", learner, logging_strategy=steps)
    refused("'save_intervall'.*Did you mean 'save_interval'", learner, save_intervall=1)
    seen: list[int] = []
    epochs = mbo.fit(
        learner,
        line_dataset(4, 10),
        [],
        n_steps=2,
        epoch_callback=lambda algo, epoch, step: seen.append(step),
        **QUIET,
    )
    assert seen == [2]
    assert len(epochs) == 1
    assert learner.n_rows == 36


def test_evaluators_may_be_any_mapping():
    validate_arguments(
        small_learner("sac"),
        n_trials=1,
        evaluators=types.MappingProxyType({"td": d3rlpy.metrics.TDErrorEvaluator()}),
        logger_adapter=None,
        fit_arguments={},
    )
