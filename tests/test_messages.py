"""What an error tells whoever made the mistake: whose it is, and what to do next."""

import dataclasses
import warnings
from pathlib import Path

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo import learners
from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.runs.identity import validate_same_run
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo.study.results import read_results
from d3rlpy_mbo.tasks.replay import collect_replay
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from toys import (
    LineDynamicsConfig,
    choice_dataset,
    line_dataset,
    line_imagination,
    line_transitions,
    small_learner,
)

SAC = d3rlpy.algos.SACConfig


def fitted_mopo() -> mbo.Imagination:
    config = MOPOConfig(dynamics=LineDynamicsConfig(), rollout_batch_size=50)
    imagination = config.create()
    imagination.fit(line_dataset())
    return imagination


def built(size: int) -> d3rlpy.algos.SAC:
    learner = small_learner("sac")
    learner.create_impl((size,), 1)
    return learner


@pytest.mark.parametrize(
    "ask",
    [
        lambda: learners.sample_action(SAC(), torch.zeros(2, 1)),
        lambda: learners.q_value(SAC(), torch.zeros(2, 1), torch.zeros(2, 1)),
        lambda: mbo.pretrain_policy(SAC(), line_dataset()),
        lambda: fitted_mopo().imagine(line_dataset(), 3, learner=SAC()),
    ],
)
def test_a_config_in_the_place_of_a_learner_is_told_to_be_created(ask):
    with pytest.raises(
        mbo.CompositionError, match=r"SACConfig\(...\).create\(device\)"
    ):
        ask()


def test_a_class_in_the_place_of_a_learner_is_named():
    with pytest.raises(mbo.CompositionError, match="The class SAC cannot train"):
        learners.sample_action(d3rlpy.algos.SAC, torch.zeros(2, 1))


def test_a_learner_of_other_data_is_named_where_torch_spoke_of_matrices():
    words = r"SAC was built for observations of shape \(5,\).*shape \(1,\)"
    with pytest.raises(mbo.CompositionError, match=words):
        fitted_mopo().imagine(line_dataset(), 3, learner=built(5))
    with pytest.raises(mbo.CompositionError, match=words):
        learners.predict_action(built(5), torch.zeros(2, 1))


def test_a_mistake_in_a_plugins_critic_is_the_cause_of_its_having_none():
    class Impl:
        @property
        def q_function(self):
            return self.q_functoin

    learner = built(1)
    learner._impl = Impl()
    with pytest.raises(mbo.CompositionError, match="SAC has no critic") as caught:
        learners.reading.critics_of(learner)
    assert "q_functoin" in str(caught.value.__cause__)


def test_a_dataset_in_the_place_of_what_was_read_of_it_is_told_how_to_read_it():
    with pytest.raises(mbo.DatasetError, match=r"Transitions.from_dataset\(dataset\)"):
        list(fitted_mopo().rollouts(line_dataset(), 3, built(1)))


def test_metrics_name_the_argument_that_is_something_else():
    rows = line_transitions(20)
    with pytest.raises(
        mbo.CompositionError, match="type Imagination.*imagination.dynamics"
    ):
        mbo.metrics.one_step_model_error(line_imagination(), rows)
    for path in ([[0.0, 0.0]], [0.0]):
        with pytest.raises(
            mbo.CompositionError, match=r"trajectory has .*\(steps, 1\)"
        ):
            mbo.metrics.average_trajectory_discrepancy(rows, path)
    for scores in (None, (3.0, 3.0)):
        with pytest.raises(
            mbo.CompositionError, match="reference_scores is .*raw returns"
        ):
            mbo.metrics.normalized_score(1.0, scores)


@pytest.mark.parametrize("given", ["diagnosis.json", Path("diagnosis.json")])
def test_a_files_name_in_the_place_of_its_text_is_told_to_be_read(given):
    with pytest.raises(mbo.CompositionError, match=r"not its name: .*read_text"):
        mbo.Diagnosis.from_json(given)


def test_what_is_no_path_is_refused_by_its_kind():
    with pytest.raises(
        mbo.DatasetError, match="load_hdf5 was given a dict.*_from_arrays"
    ):
        mbo.load_hdf5({"observations": np.zeros((3, 1))})
    with pytest.raises(mbo.LoadError, match="A NoneType was given to load"):
        mbo.load_imagination(None)


def test_a_learner_that_cannot_be_rebuilt_names_the_device_that_was_meant(
    tmp_path, monkeypatch
):
    built(1).save(str(tmp_path / "learner.d3"))

    def fails(path, device):
        raise RuntimeError("no")

    monkeypatch.setattr(d3rlpy, "load_learnable", fails)
    with pytest.raises(mbo.LoadError, match="the device 'cpu:0' not there"):
        mbo.load_learner(tmp_path / "learner.d3")


def test_a_misspelt_kind_is_not_called_a_kind_without_names():
    with pytest.raises(
        mbo.UnknownComponentError, match="kind .*'imaginaton'.*'imagination'"
    ):
        mbo.get_component("imaginaton", "romi")


def test_shares_say_how_many_there_must_be_whatever_the_number():
    with pytest.raises(mbo.CompositionError, match=r"one for each imagination \(1\)"):
        mbo.ImaginedReplayBuffer(line_dataset(), fitted_mopo(), built(1), shares=0.5)


@pytest.mark.parametrize("device", ["gpu", "cuda:7"])
def test_a_device_to_collect_on_that_is_not_here_is_refused_before_anything(
    device, minari_root
):
    with pytest.raises(mbo.CompositionError, match=f"evice.*{device}"):
        collect_replay("CartPole-v1", n_steps=10, device=device)
    assert not minari_root.exists()


@pytest.mark.parametrize("batch_size", [0, -5, 1e3])
def test_a_batch_size_that_is_none_is_refused_before_models_are_fitted(batch_size):
    imagination = line_imagination()
    learner = SAC(batch_size=batch_size).create()
    with pytest.raises(
        mbo.CompositionError, match=r"SACConfig.batch_size is .*at least 1"
    ):
        mbo.fit(learner, line_dataset(), imagination, n_steps=1)
    assert not imagination.fitted


def test_epochs_of_pretraining_are_named_as_the_command_line_does(tmp_path):
    run = Experiment("any/data-v0", "sac", "none", 1, n_pretraining_epochs=-1)
    with pytest.raises(mbo.CompositionError, match="n_pretraining_epochs is -1"):
        run.run(tmp_path / "out")


def test_data_held_out_of_another_task_is_named_and_not_the_dataset():
    real, other = line_dataset(), line_dataset(size=2)
    imagination = line_imagination()
    imagination.fit(real)
    with pytest.raises(
        mbo.CompositionError, match="held_out has .*size 2.* dataset has"
    ):
        mbo.diagnose(imagination, real, held_out=other)
    choices = choice_dataset()
    with pytest.raises(mbo.CompositionError, match="held_out has .*3 choices"):
        mbo.diagnose(imagination, real, held_out=choices)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"real_ratio": 0.3, "penalty": 3},
            "^penalty is 3, expected the name of a comp",
        ),
        ({"penalty": {"typ": "x"}}, "^penalty is {'typ': 'x'}, expected the name"),
        (
            {"dynamics": {"type": "any", "params": [1]}},
            "^dynamics is .*expected the name",
        ),
        ({"rollout_policy": ["uniform"]}, "^rollout_policy is .*expected the name"),
        (
            {"penalty": {"type": "max_aleatoric", "params": {"coeff": 1}}},
            "^penalty: MaxAleatoric has no parameter 'coeff'. Did you mean 'coef'.$",
        ),
        (
            {"termination.healthy_z_range": [0.7, None]},
            "setting 'termination.healthy_z_range' yet: .*: termination=NAME",
        ),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_not_what_python_made_of_it(
    settings, words
):
    with pytest.raises(mbo.D3RLPyMBOError, match=words):
        apply_settings(MOPOConfig(), settings)


def test_the_parameters_of_an_empty_scaler_ask_for_its_name():
    words = "yet: observation_scaler is empty. .*observation_scaler=NAME"
    with pytest.raises(mbo.UnknownComponentError, match=words):
        apply_settings(SAC(), {"observation_scaler.eps": 0.5})


def test_a_components_form_may_leave_its_parameters_out_as_d3rlpys_may():
    settings = {"penalty": {"type": "max_aleatoric"}, "penalty.coef": 2.5}
    assert apply_settings(MOPOConfig(), settings).penalty == MaxAleatoric(coef=2.5)


@pytest.mark.parametrize("whose", ["learner", "imagination"])
def test_settings_of_a_run_say_whether_they_are_the_learners(whose):
    run = Experiment("any/data-v0", "sac", "romi", 1, **{f"{whose}_settings": {"x": 1}})
    name = {"learner": "sac", "imagination": "romi"}[whose]
    with pytest.raises(
        mbo.UnknownComponentError, match=f"of the {whose} '{name}': .*'x'"
    ):
        {"learner": run.learner_config, "imagination": run.mixture}[whose]()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[imagination_settings.romi]\nreel_ratio = 0.5\n[methods.one]\nlearner = "sac"'
            '\nimagination = "romi"',
            "The method 'one' on 'any/data-v0': .*'romi': .*Did you mean 'real_ratio'",
        ),
        (
            '[methods.two]\nlearner = "bcq"\nn_pretraining_epochs = 3',
            "The method 'two' on .*: The policy of BCQ cannot be pretrained",
        ),
        (
            '[methods.one]\nlearner = "sac"\n[collect."any/data-v0"]\ntask = "hiv"\nn = 3',
            "collect.'any/data-v0': There is no setting 'n'",
        ),
    ],
)
def test_what_a_study_refuses_names_the_method_or_the_dataset_it_is_of(
    tmp_path, text, words
):
    pytest.importorskip("joblib")
    from d3rlpy_mbo.study import grid

    file = tmp_path / "study.toml"
    file.write_text(
        'datasets = ["any/data-v0"]\nseeds = [0]\nn_steps = 1\nn_steps_per_epoch = 1\n'
        f"n_trials = 1\nn_last = 1\n{text}\n"
    )
    with pytest.raises(mbo.D3RLPyMBOError, match=words):
        grid.run_file(file, tmp_path / "out")


def test_a_report_of_a_folder_above_runs_says_where_they_are(tmp_path):
    with pytest.raises(mbo.CompositionError, match="There is no folder .*no'"):
        read_results(tmp_path / "no")
    words = "neither a run, .*study.toml. Give the --out"
    with pytest.raises(mbo.CompositionError, match=words):
        read_results(tmp_path)
    (tmp_path / "maze" / "bcq-romi-seed0").mkdir(parents=True)
    (tmp_path / "maze" / "bcq-romi-seed0" / "result.json").touch()
    words = r"runs, such as .*bcq-romi-seed0' \(1 of them\)"
    with pytest.raises(mbo.CompositionError, match=words):
        read_results(tmp_path)


def test_a_folder_of_something_else_is_not_offered_for_replacement_as_a_run(tmp_path):
    run, folder = Experiment("any/data-v0", "sac", "none", 1), tmp_path / "mine"
    (folder / "notes").mkdir(parents=True)
    words = (
        "holds 'notes', and no result.json of a run.* --force a run is written beside"
    )
    with pytest.raises(mbo.CompositionError, match=words):
        run.folder(folder).validate_free(force=False)
    run.folder(folder).validate_free(force=True)
    (folder / "logs").mkdir()
    words = (
        "holds 'logs', 'notes', and no result.json.* would remove 'logs': if that may"
    )
    for force in (False, True):  # no run is in it to be replaced
        with pytest.raises(mbo.CompositionError, match=words):
            run.folder(folder).validate_free(force)
    (folder / "result.json").touch()
    with pytest.raises(mbo.CompositionError, match="--force to replace the run in it"):
        run.folder(folder).validate_free(force=False)
    run.folder(folder).validate_free(force=True)
    for force in (False, True):
        with pytest.raises(mbo.CompositionError, match="is a file. Choose another"):
            run.folder(folder / "result.json").validate_free(force)


def test_of_hundreds_of_columns_ten_are_listed():
    zeros = np.zeros((4, 300))
    rows = (
        zeros,
        np.zeros((4, 1)),
        np.zeros(4),
        np.full((4, 300), np.nan),
        np.zeros(4),
    )
    with pytest.raises(mbo.DatasetError, match=r"\[0, .*, 9 and 290 more\] and 4 rows"):
        mbo.Transitions.from_arrays(*rows)
    episodes = [np.arange(11)[:, None] * np.eye(1, 300)] * 2
    actions = [np.random.uniform(-1, 1, (10, 1))] * 2
    data = mbo.dataset_from_arrays(episodes, actions, [np.zeros(10)] * 2)
    scaler = d3rlpy.preprocessing.MinMaxObservationScaler()
    learner = SAC(observation_scaler=scaler).create()
    with pytest.raises(mbo.CompositionError, match=r"columns \[1, .*10 and 289 more\]"):
        mbo.fit(learner, data, [], n_steps=1)
    saved, ours = ({"learner": {"mean": [x] * 300}} for x in (0.0, 1.0))
    with pytest.raises(
        mbo.CheckpointError, match=r"mean\[9\] is .* and 290 more. Give"
    ):
        validate_same_run(saved, ours, Path("kept"))


def test_a_components_name_in_its_place_is_told_what_to_write():
    words = r"'uniform', expected .*'rollout_policy'. Write UniformPolicyConfig\(\)."
    with pytest.raises(mbo.CompositionError, match=words):
        MOPOConfig(rollout_policy="uniform")
    with pytest.raises(mbo.CompositionError, match="'unifrom'.* Names are for files"):
        MOPOConfig(rollout_policy="unifrom")


def test_of_slow_rollouts_one_warning_is_enough_though_the_measured_time_differs(
    monkeypatch,
):
    monkeypatch.setattr("d3rlpy_mbo.imagination.readiness._SLOW", 0.0)
    imagination, data, learner = fitted_mopo(), line_dataset(), built(1)
    imagination._rows_together = 5
    with pytest.warns(UserWarning, match="10 rollouts .* minutes"):
        imagination.imagine(data, 10, learner)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            imagination.imagine(data, 10, learner)
    with pytest.warns(
        UserWarning, match="20 rollouts .* minutes"
    ):  # more than was said
        imagination.imagine(data, 20, learner)


@pytest.mark.parametrize(
    ("length", "advice"), [(1, "accident. Fit"), (2, "now 2, or fit")]
)
def test_rows_that_are_not_finite_are_those_of_an_imagination_and_the_advice_fits_it(
    length, advice
):
    broken = LineDynamicsConfig(broken_at=0.1)
    imagination = line_imagination(dynamics=broken, rollout_length=length)
    imagination.fit(line_dataset())
    words = f"the rows that 'custom' imagined .*{advice} the dynamics on more data"
    with pytest.raises(mbo.DivergedError, match=words):
        imagination.imagine(line_dataset(), 20)


@pytest.mark.filterwarnings("ignore:All 20 episodes that end")  # of the toys
def test_the_imagination_without_a_termination_is_named_and_the_studys_table():
    words = (
        "imagination 'mopo' has no termination: .* = NAME in its imagination_settings"
    )
    with pytest.raises(mbo.TerminationRequiredError, match=words):
        MOPOConfig(dynamics=LineDynamicsConfig()).create().fit(
            line_dataset(terminated=True)
        )


@dataclasses.dataclass()
class AnotherTasks(mbo.RewardFunction):
    """Reads a column that the data has not, or answers in another form."""

    answer: str = "none"

    @staticmethod
    def get_type() -> str:
        return "another_tasks"

    def __call__(self, observations, actions, next_observations):
        if self.answer == "none":
            return next_observations[:, 7]
        return 1.0 if self.answer == "number" else next_observations[:, 0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            "none",
            "reward_function AnotherTasks cannot be asked .* size 1 .* IndexError",
        ),
        (
            "number",
            r"AnotherTasks .* returned a float, expected a tensor of shape \(2, 1",
        ),
        ("flat", r"AnotherTasks .* returned shape \(2,\) .* expected \(2, 1\)"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_refused_before_the_model_is_fitted(
    answer, words
):
    rule = AnotherTasks(answer)
    imagination = MOPOConfig(
        dynamics=LineDynamicsConfig(), reward_function=rule
    ).create()
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(SAC().create(), line_dataset(), imagination, n_steps=1)
    assert imagination.dynamics.n_rows_fitted is None


def test_a_known_reward_with_a_create_is_told_that_nothing_calls_it():
    class Learns(mbo.RewardFunction):
        def create(self, device=False):
            raise AssertionError("nothing calls it")

    config = mbo.ImaginationConfig(
        dynamics=LineDynamicsConfig(), reward_function=Learns()
    )
    words = (
        "Learns .*: NotImplementedError. A reward_function is asked itself: its create"
    )
    with pytest.raises(mbo.CompositionError, match=words):
        config.create().fit(line_dataset())


def test_a_loss_that_became_nan_ends_the_fit_at_the_next_hundredth():
    policy, parameter = mbo.BehaviorCloningPolicyConfig().create(), torch.zeros(1)
    parameter.requires_grad_()
    asked = []

    def loss(rows):
        asked.append(len(rows))
        return parameter.sum() * float("nan")

    optimizer = torch.optim.SGD([parameter], lr=0.1)
    rows = (torch.zeros(5, 1),)
    with pytest.raises(mbo.DivergedError, match="Fitting it: the loss became nan"):
        policy.fit_by_gradient(
            optimizer, loss, rows, n_steps=2000, batch_size=4, description="Fitting it"
        )
    assert len(asked) == 20


def test_a_batch_without_a_row_that_counts_ends_no_fit():
    policy, parameter = mbo.BehaviorCloningPolicyConfig().create(), torch.zeros(1)
    parameter.requires_grad_()
    asked = []

    def loss(rows):
        asked.append(len(rows))
        counts = torch.full_like(rows, len(asked) != 7, dtype=torch.bool)
        return (rows - parameter)[counts].square().mean()  # NaN, without a gradient

    optimizer = torch.optim.SGD([parameter], lr=0.1)
    mean = policy.fit_by_gradient(
        optimizer,
        loss,
        (torch.ones(5, 1),),
        n_steps=200,
        batch_size=4,
        description="It",
    )
    assert len(asked) == 200
    assert mean < 1e-6
