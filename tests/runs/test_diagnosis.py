"""What diagnose() promises besides its numbers."""

import copy
import dataclasses
import json
import random
import threading

import d3rlpy
import numpy as np
import pytest
import torch
from diagnosis_toys import ModelOfNoiseConfig, imagination_of, judgement, noisy_line

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry import discovery
from d3rlpy_mbo.registry.discovery import Plugin, Registry, registry
from d3rlpy_mbo.runs.diagnosis import penalties
from d3rlpy_mbo.runs.diagnosis.generators import own_generators
from d3rlpy_mbo.testing.line_world import line_dataset as line_world
from d3rlpy_mbo.testing.line_world import line_dynamics, line_learner
from d3rlpy_mbo_mobile import BellmanSpread
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import (
    BeyondTermination,
    DoubtfulLineConfig,
    LineDynamicsConfig,
    ReadingConfig,
    line_dataset,
    line_imagination,
    rows_of,
    small_learner,
)

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore:All [0-9]+ episodes that end"),  # of the toys
]


@pytest.fixture(scope="module")
def fitted():
    """Data that ends, a fitted ensemble with everything, and a learner."""
    d3rlpy.seed(1)
    data = line_world(terminated=True)
    config = mbo.ImaginationConfig(
        dynamics=line_dynamics(),
        rollout_policy=mbo.LearnerPolicyConfig(),
        termination=mbo.NoTermination(),
        rollout_length=2,
        rollout_batch_size=30,
        rollout_interval=2,
    )
    imagination = config.create()
    imagination.fit(data)
    return data, imagination, line_learner()


def generators():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def states_of(imagination, learner):
    networks = learner.impl.modules.get_torch_modules()
    tensors = [t for each in networks.values() for t in each.state_dict().values()]
    modes = [part.training for each in networks.values() for part in each.modules()]
    return (
        copy.deepcopy(imagination.dynamics.state_dict()),
        [tensor.clone() for tensor in tensors],
        modes,
        learner.grad_step,
        dict(imagination.dynamics.metrics),
    )


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for each, its in zip(one, other, strict=True):
            assert_same(each, its)
    else:
        assert one == other


@pytest.mark.parametrize("training", [True, False])
def test_diagnosing_changes_nothing(fitted, training):
    data, imagination, learner = fitted
    modules = learner.impl.modules
    (modules.set_train if training else modules.set_eval)()
    before = states_of(imagination, learner)
    d3rlpy.seed(3)
    undisturbed = generators()
    d3rlpy.seed(3)
    mbo.diagnose(imagination, data, learner, n_rollouts=20, seed=5)
    assert generators() == undisturbed
    assert_same(before, states_of(imagination, learner))


def test_a_buffer_goes_on_as_if_nobody_had_diagnosed(fitted):
    data, imagination, learner = fitted
    batches = []
    for diagnosed in (False, True):
        d3rlpy.seed(4)
        buffer = mbo.ImaginedReplayBuffer(data, imagination, learner=learner)
        drawn = [buffer.sample_transition_batch(16)]
        if diagnosed:
            mbo.diagnose(imagination, data, learner, n_rollouts=20)
        drawn += [buffer.sample_transition_batch(16) for _ in range(3)]
        batches.append([rows_of(batch) for batch in drawn])
    assert batches[0] == batches[1]


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(fitted):
    data, imagination, learner = fitted
    said = []
    for seed in (7, np.int64(7), 8):
        torch.rand(1)  # wherever the generators stand
        diagnosis = mbo.diagnose(imagination, data, learner, 20, seed)
        said.append(diagnosis.to_json().replace(f'"seed": {seed}', ""))
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_every_part_is_there_and_its_json_holds_the_same_numbers(fitted):
    data, imagination, learner = fitted
    diagnosis = mbo.diagnose(imagination, data, learner, n_rollouts=20)
    read = json.loads(diagnosis.to_json())
    assert (
        read["one_step"]["columns"][0]["error"] == diagnosis.one_step.columns[0].error
    )
    assert [c["name"] for c in read["one_step"]["columns"]][-1] == "reward"
    assert len(read["one_step"]["columns"]) == 4
    assert [len(loop["median"]) for loop in read["open_loop"]] == [2, 20]
    assert read["rollouts"]["rollouts"] == 20
    assert read["values"]["returns_rows"] == diagnosis.values.returns_rows
    assert read["rows"] == len(imagination.dynamics.holdout_indices)
    assert [v["subject"] for v in read["verdicts"]] == [*judgement(diagnosis)]
    assert {p["name"] for p in read["penalties"]} >= {"max_aleatoric", "disagreement"}
    assert len(read["left_out"]) == 1  # what is outside the data


def test_printed_it_fits_a_hundred_columns_and_shows_every_verdict(fitted):
    data, imagination, learner = fitted
    diagnosis = mbo.diagnose(imagination, data, learner, n_rollouts=20)
    assert repr(diagnosis) == str(diagnosis)  # what a notebook's cell shows
    lines = str(diagnosis).splitlines()
    assert max(map(len, lines)) <= 100
    for verdict in diagnosis.verdicts:
        mark = "ok " if verdict.ok else "NOT"
        assert any(line.startswith(f"  {mark} {verdict.subject}:") for line in lines)
    titles = "ONE STEP", "2 STEPS", "20 STEPS", "PENALTIES", "TERMINATION", "REWARDS"
    for title in (*titles, "ROLLOUTS", "Q-VALUES", "LEFT OUT", "VERDICTS"):
        assert any(line.startswith(title) for line in lines), title


def test_it_judges_on_hold_out_rows_or_on_data_that_was_held_out(fitted):
    data, imagination, learner = fitted
    diagnosis = mbo.diagnose(imagination, data, learner, 5)
    assert "hold-out rows" in diagnosis.judged_on
    held_out = line_world(n_episodes=3)
    diagnosis = mbo.diagnose(imagination, data, learner, 5, held_out=held_out)
    assert diagnosis.judged_on == "75 rows of data that were held out"
    assert diagnosis.rows == 75
    assert diagnosis.open_loop[0].sequences == 3 * 24
    assert judgement(diagnosis)["data"]


def test_what_no_episode_is_long_enough_for_is_left_out_by_name():
    data = noisy_line(length=20)
    imagination = imagination_of(data, ModelOfNoiseConfig(), rollout_length=3)
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=5)
    assert [len(loop.median) for loop in diagnosis.open_loop] == [3]
    assert any("30 steps" in each and "20" in each for each in diagnosis.left_out)
    short = noisy_line(length=2)
    imagination = imagination_of(short, ModelOfNoiseConfig(), rollout_length=3)
    diagnosis = mbo.diagnose(imagination, short, n_rollouts=5)
    assert diagnosis.open_loop == []
    assert "k steps" not in judgement(diagnosis)


def test_without_a_learner_what_needs_one_is_left_out_by_name(fitted):
    data, imagination, _ = fitted
    diagnosis = mbo.diagnose(imagination, data)
    assert diagnosis.rollouts is None
    assert diagnosis.values is None
    left_out = "\n".join(diagnosis.left_out)
    assert "give learner=" in left_out
    assert "values" in left_out
    assert "ROLLOUTS" not in str(diagnosis)


def test_a_penalty_that_asks_a_critic_when_imagined_is_no_fault_of_rollouts():
    data = line_dataset()
    penalty = BellmanSpread(when="imagined")
    imagination = line_imagination("forward", data, penalty=penalty)
    found = mbo.diagnose(imagination, data, n_rollouts=20)
    assert found.rollouts is None
    assert "rollouts" not in judgement(found)
    assert any("the penalty bellman_spread asks a l" in each for each in found.left_out)


def test_a_learner_without_a_critic_acts_but_has_no_values():
    data = line_world()
    imagination = imagination_of(
        data, line_dynamics(), rollout_policy=mbo.LearnerPolicyConfig()
    )
    learner = small_learner("bc")
    learner.create_impl((3,), 2)
    diagnosis = mbo.diagnose(imagination, data, learner, n_rollouts=5)
    assert diagnosis.rollouts is not None
    assert diagnosis.values is None
    assert "values: BC has no critic" in diagnosis.left_out


def test_values_of_a_learner_that_diverged_are_left_out_by_name():
    data = line_world()
    imagination = imagination_of(data, line_dynamics())
    learner = line_learner()
    with torch.no_grad():
        for critic in learner.impl.q_function:
            critic._fc.bias += torch.nan
    diagnosis = mbo.diagnose(imagination, data, learner, n_rollouts=5)
    assert diagnosis.values is None
    assert any("diverged" in each for each in diagnosis.left_out)
    json.loads(diagnosis.to_json())


@pytest.mark.filterwarnings("ignore:Where 20 of the")  # terminals are lost to models
def test_terminals_that_d3rlpy_zero_filled_are_left_out_by_name():
    data = line_dataset(terminated=True)
    imagination = line_imagination("forward", data, termination=BeyondTermination(99))
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=5)
    assert any("20 terminal rows" in each for each in diagnosis.left_out)
    assert judgement(diagnosis)["termination"]


def test_a_model_that_states_no_spread_has_no_calibration_and_a_table_still():
    data = line_dataset()
    diagnosis = mbo.diagnose(line_imagination("reverse", data), data, n_rollouts=5)
    assert diagnosis.calibration is None
    assert "calibration: the model predicts no spread" in diagnosis.left_out
    assert "s[0]" in str(diagnosis)


def test_a_penalty_that_cannot_be_asked_is_left_out_by_name(monkeypatch):
    from d3rlpy_mbo_mopo import Disagreement

    def fail(*arguments):
        raise ValueError("not today")

    monkeypatch.setattr(Disagreement, "uncertainty", fail)
    data = noisy_line()
    diagnosis = mbo.diagnose(imagination_of(data, ModelOfNoiseConfig()), data)
    asked = [penalty.name for penalty in diagnosis.penalties]
    assert "disagreement" not in asked
    assert "mean_aleatoric" in asked
    assert "the penalty disagreement: ValueError: not today" in diagnosis.left_out


def test_a_penalty_that_would_have_to_learn_first_is_nobody_elses_business(
    monkeypatch,
):
    @dataclasses.dataclass()
    class InstalledConfig(mbo.LearnedPenaltyConfig):
        @staticmethod
        def get_type() -> str:
            return "installed_beside"

    beside = Plugin("beside", "1.0", "main", (InstalledConfig,))
    found = Registry([*registry().plugins, beside])
    monkeypatch.setattr(penalties, "registry", lambda: found)
    data = noisy_line()
    diagnosis = mbo.diagnose(imagination_of(data, ModelOfNoiseConfig()), data)
    assert "max_aleatoric" in str(diagnosis)
    assert "installed_beside" not in str(diagnosis)


def test_what_the_penalty_of_another_plugin_draws_moves_no_other_number(monkeypatch):
    @dataclasses.dataclass()
    class Drawing(MaxAleatoric):
        @staticmethod
        def get_type() -> str:
            return "drawing"

        def uncertainty(self, means, stds):
            return torch.rand(means.shape[1])

    data = noisy_line()
    imagination = imagination_of(data, ModelOfNoiseConfig())
    alone = mbo.diagnose(imagination, data)
    beside = Plugin("beside", "1.0", "main", (Drawing,))
    found = Registry([*registry().plugins, beside])
    for module in (penalties, discovery):
        monkeypatch.setattr(module, "registry", lambda: found)
    both = mbo.diagnose(imagination, data)
    (drawing,) = (each for each in both.penalties if each.name == "drawing")
    others = [each for each in both.penalties if each is not drawing]
    assert str(dataclasses.replace(both, penalties=others)) == str(alone)
    assert both.rollouts == alone.rollouts


def test_two_penalties_of_one_name_are_left_out_and_end_no_diagnosis(monkeypatch):
    def made():
        @dataclasses.dataclass()
        class Twice(MaxAleatoric):
            @staticmethod
            def get_type() -> str:
                return "twice"

        return Twice

    both = [Plugin(name, "1.0", "main", (made(),)) for name in ("one", "two")]
    found = Registry([*registry().plugins, *both])
    for module in (penalties, discovery):
        monkeypatch.setattr(module, "registry", lambda: found)
    data = noisy_line()
    diagnosis = mbo.diagnose(imagination_of(data, ModelOfNoiseConfig()), data)
    assert any("the penalty twice: Dup" in each for each in diagnosis.left_out)


def test_a_model_without_members_is_judged_by_its_samples():
    class Sampling(ModelOfNoiseConfig):
        @staticmethod
        def get_type() -> str:
            return "sampling"

        def create(self, device=False):
            model = super().create(device)
            ask = model.predict
            model.predict = lambda observations, actions, all_members: ask(
                observations, actions, False
            )
            return model

    data = noisy_line()
    diagnosis = mbo.diagnose(imagination_of(data, Sampling()), data)
    assert all(verdict.ok for verdict in diagnosis.verdicts)
    for column in diagnosis.calibration.columns:
        assert column.within_two_stds == pytest.approx(0.95, abs=0.03)
    assert any("max_aleatoric" in each for each in diagnosis.left_out)


def test_columns_have_names_where_the_environment_s_are_known():
    import gymnasium

    from d3rlpy_mbo.runs.diagnosis.column_names import column_names

    env = gymnasium.make("Pendulum-v1")
    assert column_names(env, 3) == ["cos", "sin", "v_angle"]
    assert column_names(env, 2) == ["s[0]", "s[1]"]
    assert column_names(None, 1) == ["s[0]"]


def test_what_cannot_be_judged_is_refused_before_anything_is_asked(fitted, monkeypatch):
    data, imagination, learner = fitted
    monkeypatch.setattr(
        type(imagination.dynamics), "predict", lambda *_: pytest.fail("asked")
    )
    unfitted = mbo.ImaginationConfig(dynamics=LineDynamicsConfig()).create()
    with pytest.raises(mbo.NotFittedError, match="not fitted"):
        mbo.diagnose(unfitted, data)
    with pytest.raises(mbo.CompositionError, match="observations of size 3"):
        mbo.diagnose(imagination, line_dataset())
    with pytest.raises(mbo.CompositionError, match="observations of size 3"):
        mbo.diagnose(imagination, data, held_out=line_dataset())
    with pytest.raises(mbo.CompositionError, match="n_rollouts is 0"):
        mbo.diagnose(imagination, data, learner, n_rollouts=0)
    with pytest.raises(mbo.CompositionError, match="seed is -1"):
        mbo.diagnose(imagination, data, learner, seed=-1)
    with pytest.raises(mbo.CompositionError, match=r"env is builtins\.str.*gymnasium"):
        mbo.diagnose(imagination, data, learner, env="Hopper-v5")
    with pytest.raises(mbo.CompositionError, match="not built"):
        mbo.diagnose(imagination, data, small_learner("sac"))
    other = small_learner("sac")
    other.create_impl((1,), 1)
    with pytest.raises(mbo.CompositionError, match="built for observations"):
        mbo.diagnose(imagination, data, other)


def test_a_model_that_says_nothing_finite_is_a_diverged_one():
    data = noisy_line()
    imagination = imagination_of(data, ModelOfNoiseConfig(broken_from=-1.0))
    with pytest.raises(mbo.DivergedError, match="for every one of"):
        mbo.diagnose(imagination, data)


def test_an_interrupted_diagnosis_puts_the_random_numbers_back_too():
    data = noisy_line()
    imagination = imagination_of(data, ModelOfNoiseConfig(broken_from=-1.0))
    d3rlpy.seed(3)
    undisturbed = generators()
    d3rlpy.seed(3)
    with pytest.raises(mbo.DivergedError):
        mbo.diagnose(imagination, data)
    assert generators() == undisturbed


def test_two_diagnoses_in_threads_draw_their_own_numbers_one_after_the_other():
    def draw() -> None:
        begun.set()
        with own_generators(4):
            drawn.append(np.random.random())

    begun, drawn = threading.Event(), []
    other = threading.Thread(target=draw)
    d3rlpy.seed(5)
    undisturbed = generators()
    d3rlpy.seed(5)
    with own_generators(3):
        other.start()
        begun.wait()
        other.join(timeout=0.1)
        drawn.append(np.random.random())
    other.join()
    assert drawn == [np.random.RandomState(seed).random() for seed in (3, 4)]
    assert generators() == undisturbed


def test_whole_episodes_that_fit_set_aside_are_what_it_is_judged_on():
    data = line_world(terminated=True, n_episodes=20)
    lengths = [len(episode.rewards) for episode in data.episodes]
    dynamics = dataclasses.replace(line_dynamics(), holdout="episodes", max_holdout=20)
    imagination = mbo.ImaginationConfig(
        dynamics=dynamics,
        termination=mbo.NoTermination(),
        rollout_length=2,
        rollout_batch_size=30,
    ).create()
    d3rlpy.seed(4)
    imagination.fit(data)
    ids = mbo.RealData.of(data).for_models.episode_ids
    held_out = set(ids[imagination.dynamics.holdout_indices].tolist())
    assert 1 <= len(held_out) < len(lengths)
    diagnosis = mbo.diagnose(imagination, data)
    assert diagnosis.judged_on == (
        f"{sum(lengths[each] for each in held_out)} hold-out rows: {len(held_out)} whole "
        "episodes that the model was not fitted on"
    )
    # k steps go along these too: so many windows of two rows they have.
    windows = sum(max(lengths[each] - 1, 0) for each in held_out)
    assert diagnosis.open_loop[0].sequences == min(windows, 500)


@pytest.mark.parametrize(("threshold", "share"), [(-1.0, 1.0), (1e9, 0.0)])
def test_the_share_that_a_halt_stops_is_told_by_step(threshold, share):
    data = line_dataset(length=30)
    imagination = line_imagination(
        dynamics=DoubtfulLineConfig(), halt=ReadingConfig(threshold), rollout_length=3
    )
    imagination.fit(data)
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=20)
    # What stops in the first step is asked about nothing after it.
    later = 0.0 if share == 1.0 else share
    assert diagnosis.rollouts.halted == [share, later, later]
    assert "stopped by the halt" in str(diagnosis)


def test_a_halts_own_reward_is_none_that_the_model_invents():
    data = line_dataset(length=30)
    real = mbo.RealData.of(data).transitions
    # Members lie |s| apart: about half of the rows get the reward of the halt.
    halt = ReadingConfig(float(real.observations.abs().median()), reward=-1000.0)
    imagination = line_imagination(dynamics=DoubtfulLineConfig(), halt=halt)
    imagination.fit(data)
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=200)
    assert 0.1 < diagnosis.rollouts.halted[0] < 0.9
    assert diagnosis.rollouts.rewards.quantiles[0] > float(real.rewards.min()) - 10
    (verdict,) = (v for v in diagnosis.verdicts if v.subject == "imagined rewards")
    assert verdict.ok


def test_without_a_halt_nothing_is_said_of_one():
    data = line_dataset(length=30)
    imagination = line_imagination(dynamics=LineDynamicsConfig(noise=0.1))
    imagination.fit(data)
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=20)
    assert diagnosis.rollouts.halted == []
    assert "stopped by the halt" not in str(diagnosis)


@pytest.mark.filterwarnings("ignore:Where [0-9]+ of")
def test_the_rows_for_models_are_copied_once_however_many_parts_ask(monkeypatch):
    dataset = line_dataset(terminated=True)  # d3rlpy loses where terminals lead
    imagination = line_imagination("forward", dataset, termination=mbo.NoTermination())
    real = mbo.RealData.of(dataset)
    n_copies, take = [0], mbo.Transitions.__getitem__

    def counted(own, rows):
        n_copies[0] += rows is real.model_rows
        return take(own, rows)

    monkeypatch.setattr(mbo.Transitions, "__getitem__", counted)
    mbo.diagnose(imagination, real, n_rollouts=10)
    assert len(real.model_rows) < len(real)
    assert n_copies[0] == 1
