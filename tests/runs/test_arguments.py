"""What is asked of a fit is refused before it, by argument."""

import types
from pathlib import Path

import d3rlpy
import pytest
from refusals import Line, limited, refused, transformer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.arguments import validate_arguments
from d3rlpy_mbo_rambo import RAMBOConfig
from toys import (
    QUIET,
    line_dataset,
    line_imagination,
    small_learner,
)


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


def test_a_folder_that_is_missing_is_made_by_save(tmp_path):
    path = tmp_path / "models" / "new" / "x.mbo"
    line_imagination("reverse", line_dataset()).save(path)
    assert mbo.load_imagination(path).fitted


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
