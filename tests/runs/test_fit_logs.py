import csv

import d3rlpy
import pytest
from d3rlpy.logging import CombineAdapterFactory, FileAdapterFactory
from structlog.testing import capture_logs

import d3rlpy_mbo as mbo
from toys import QUIET, line_dataset, line_imagination, small_ensemble, small_learner

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("talkative")]


def imagination(**settings) -> mbo.Imagination:
    return line_imagination(
        dynamics=small_ensemble("reverse", batch_size=64, **settings),
        rollout_policy=mbo.BehaviorCloningPolicyConfig(hidden_units=[8], n_steps=7),
        rollout_batch_size=20,
    )


def run(imaginations, **settings) -> None:
    learner = small_learner("td3_plus_bc")
    ratio = {} if isinstance(imaginations, mbo.Imagination) else {"real_ratio": 0.5}
    settings = {"n_steps_per_epoch": 2, **QUIET, **ratio, **settings}
    mbo.fit(learner, line_dataset(), imaginations, 4, **settings)


def rows(path) -> list[list[float]]:
    with path.open() as file:
        return [[float(value) for value in row] for row in csv.reader(file)]


def test_the_fits_errors_and_losses_are_written_beside_the_trainings(tmp_path):
    fitted = imagination()
    run(
        fitted,
        logger_adapter=FileAdapterFactory(str(tmp_path)),
        experiment_name="logs",
        with_timestamp=False,
    )
    logs = tmp_path / "logs"
    written = rows(logs / "custom_fit_dynamics_holdout_error.csv")
    assert written == [
        [record.epoch, record.step, record.value]
        for record in fitted.dynamics.history
        if record.name == "holdout_error"
    ]
    assert [epoch for epoch, *_ in written] == list(range(len(written)))
    assert written[-1][1] == fitted.dynamics.metrics["model_steps"]
    assert len(rows(logs / "custom_fit_dynamics_loss.csv")) == len(written) - 1
    assert len(rows(logs / "custom_fit_rollout_policy_loss.csv")) == 7
    training = rows(logs / "custom_model_holdout_error.csv")
    assert [(epoch, step) for epoch, step, _ in training] == [(1, 2), (2, 4)]


def test_two_imaginations_of_a_type_are_told_apart(tmp_path):
    run(
        [imagination(), imagination()],
        logger_adapter=FileAdapterFactory(str(tmp_path)),
        experiment_name="logs",
        with_timestamp=False,
    )
    for i in range(2):
        assert (tmp_path / f"logs/custom_{i}_fit_dynamics_holdout_error.csv").exists()


class Adapter(d3rlpy.logging.LoggerAdapter):
    """Keeps what it is told."""

    def __init__(self, kept):
        self.kept = kept

    def write_metric(self, epoch, step, name, value):
        self.kept.append((epoch, step, name))

    def after_write_metric(self, epoch, step):
        self.kept.append("after")


class Factory:
    def __init__(self, kind):
        self.kind, self.kept = kind, []

    def create(self, algo, experiment_name, n_steps_per_epoch):
        return type(self.kind, (Adapter,), {})(self.kept)


class Shared(d3rlpy.logging.LoggerAdapter):
    """A logger that is its own factory, and so the same one in every run."""

    def __init__(self):
        self.params, self.names = [], []

    def create(self, algo, experiment_name, n_steps_per_epoch):
        return self

    def write_params(self, params):
        self.params.append(params["imaginations"][0]["params"]["rollout_length"])

    def write_metric(self, epoch, step, name, value):
        self.names.append(name)


def test_a_logger_that_two_runs_share_is_told_of_each_ones_own_imagination():
    shared = Shared()
    for rollout_length in (2, 3):
        each = line_imagination(rollout_length=rollout_length, rollout_batch_size=20)
        run(each, logger_adapter=shared)
    assert shared.params == [2, 3]


def test_no_logger_loses_the_training_to_the_fits_steps_even_combined():
    kinds = ("WanDBAdapter", "TensorboardAdapter", "MyAdapter")
    factories = [Factory(kind) for kind in kinds]
    run(imagination(), logger_adapter=CombineAdapterFactory(factories))
    for factory in factories:
        written = [each for each in factory.kept if each != "after"]
        steps = [step for _, step, name in written if "_fit_" in name]
        assert len(steps) > 8
        assert (set(steps) == {0}) == (factory.kind == "WanDBAdapter")
        # W&B drops what comes at a step below its last.
        if factory.kind == "WanDBAdapter":
            assert steps == sorted(steps)
        trained = next(i for i, each in enumerate(written) if "_fit_" not in each[2])
        assert all("_fit_" not in name for _, _, name in written[trained:])
    tensorboard, other = factories[1].kept, factories[2].kept
    assert tensorboard.count("after") == 2  # the training's epochs
    assert other.count("after") > 2


def test_a_name_that_is_no_file_is_refused_before_training():
    fitted = imagination()
    fitted.fit(line_dataset())
    bad = fitted.dynamics.history[0]._replace(name="error/mean")
    fitted.dynamics.history.append(bad)
    with pytest.raises(mbo.CompositionError, match="must not contain"):
        run(fitted)


def test_a_loaded_imagination_has_no_history_and_the_run_logs_none(tmp_path):
    fitted = imagination()
    fitted.fit(line_dataset())
    assert set(fitted.fit_history) == {"dynamics", "rollout_policy"}
    fitted.save(tmp_path / "fitted.mbo")
    loaded = mbo.load_imagination(tmp_path / "fitted.mbo")
    assert loaded.fit_history == {}


OURS = ("Fitting", "Cloning", "Imagining", "imagines at most")


@pytest.mark.parametrize("shown", [True, False])
def test_a_run_without_progress_is_quiet_in_its_fits_too(shown):
    with capture_logs() as lines:
        run(imagination(max_steps=None, patience=0), show_progress=shown)
    events = [line["event"] for line in lines if any(o in line["event"] for o in OURS)]
    assert bool(events) == shown
    if shown:
        assert "It ends after 1 epochs in a row" in events[0]
        assert [each for each in events if each.endswith(": done")] == [
            "Fitting dynamics: done",
            "Cloning behavior: done",
            "Imagining: done",
        ]
