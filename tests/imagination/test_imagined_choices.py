"""Imagining where actions are choices: s' = s + STEPS[a], r = s, three of them."""

import dataclasses
from typing import Any

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.imagination.rollout import rollout
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig
from toys import (
    DISCRETE,
    QUIET,
    STEPS,
    ChoiceDynamicsConfig,
    ScriptedPolicyConfig,
    choice_dataset,
    choice_imagination,
    line_dataset,
    line_imagination,
    small_ensemble,
    small_learner,
)

CLONED = mbo.BehaviorCloningPolicyConfig(
    hidden_units=[16], n_steps=150, learning_rate=1e-2
)
POLICIES = [
    mbo.UniformPolicyConfig(),
    CLONED,
    CVAEPolicyConfig(discrete=CLONED),
    mbo.LearnerPolicyConfig(),
]


@pytest.fixture(scope="module")
def dataset() -> d3rlpy.dataset.ReplayBuffer:
    d3rlpy.seed(0)
    return choice_dataset(40)


@pytest.fixture(scope="module")
def real(dataset) -> mbo.RealData:
    return mbo.RealData.of(dataset)


def moves(actions: torch.Tensor) -> torch.Tensor:
    return torch.tensor(STEPS)[actions[:, 0].long()][:, None]


def built(name: str) -> Any:
    learner = small_learner(name)
    learner.create_impl((1,), 3)
    return learner


@pytest.mark.training
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_an_ensemble_learns_three_steps_on_a_line_to_1_percent(direction, real):
    config = small_ensemble(
        direction, n_models=2, n_elites=1, max_steps=600, learning_rate=5e-3
    )
    ensemble = config.create()
    ensemble.fit(real.for_models)
    states = torch.linspace(-5, 5, 30).reshape(-1, 1)
    scale = real.transitions.observations.std()
    for action in range(3):
        actions = torch.full_like(states, action)
        means = ensemble.predict(states, actions, True).means
        sign = 1 if direction == "forward" else -1
        truth = states + sign * STEPS[action]
        error = (means[0, :, :1] - truth).abs().mean() / scale
        assert float(error) < 0.01


@pytest.mark.training
def test_an_ensemble_of_choices_saves_what_it_predicts_with(real):
    ensemble = small_ensemble(max_steps=5).create()
    ensemble.fit(real.for_models)
    loaded = small_ensemble(max_steps=5).create()
    loaded.load_state_dict(ensemble.state_dict())
    assert loaded.fitted_on == (len(real), 1, 1)
    assert loaded.n_actions == 3
    rows = real.transitions[:20]
    answers = [
        each.predict(rows.observations, rows.actions, True).means
        for each in (ensemble, loaded)
    ]
    assert torch.equal(*answers)
    torch.testing.assert_close(ensemble.log_prob(rows), loaded.log_prob(rows))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_imagined_rows_chain_step_by_choice_and_meet_a_real_state(direction, real):
    imagination = choice_imagination(direction)
    imagination.fit(real)
    imagined = imagination.imagine(real, 50)
    torch.testing.assert_close(
        imagined.next_observations, imagined.observations + moves(imagined.actions)
    )
    assert imagined.n_actions == 3
    same = imagined.rollout_ids[1:] == imagined.rollout_ids[:-1]
    for ahead, then in (("next_observations", "observations"), ("next_actions", "act")):
        then = "actions" if then == "act" else then
        before, after = getattr(imagined, ahead)[:-1], getattr(imagined, then)[1:]
        torch.testing.assert_close(before[same], after[same], atol=1e-5, rtol=0)
    last = torch.cat([~same, torch.tensor([True])])
    first = torch.cat([torch.tensor([True]), ~same])
    known = real.transitions
    met, among = (
        (imagined.next_observations[last], known.next_observations)
        if direction == "reverse"
        else (imagined.observations[first], known.observations)
    )
    assert torch.isin(met, among).all()


@pytest.mark.training
@pytest.mark.parametrize("config", POLICIES, ids=lambda each: each.get_type())
def test_every_proposed_action_is_one_of_the_choices(config, real):
    imagination = choice_imagination("forward", rollout_policy=config)
    imagination.fit(real)
    learner = built("discrete_sac") if imagination.needs_learner else None
    imagined = imagination.imagine(real, 100, learner)
    for actions in (imagined.actions, imagined.next_actions):
        assert actions.dtype == torch.float32
        assert set(actions.flatten().tolist()) <= {0, 1, 2}


def greedy_by_sign(name: str) -> Any:
    """A learner whose hand-made Q takes choice 2 below 0, choice 1 above."""
    learner = built(name)
    learner.impl._q_func_forwarder.compute_expected_q = lambda x: torch.cat(
        [torch.full_like(x, -9), x, -x], dim=1
    )
    return learner


def test_a_rollout_with_a_hand_made_q_takes_its_greedy_actions(real):
    imagination = choice_imagination(
        "forward", rollout_policy=mbo.LearnerPolicyConfig(epsilon=0.0)
    )
    imagination.fit(real)
    imagined = imagination.imagine(real, 100, greedy_by_sign("double_dqn"))
    expected = torch.where(imagined.observations > 0, 1.0, 2.0)
    assert torch.equal(imagined.actions, expected)


def test_a_tenth_of_a_greedy_learners_actions_explore_and_that_is_recorded(real):
    imagination = choice_imagination(
        "forward", rollout_policy=mbo.LearnerPolicyConfig()
    )
    assert '"epsilon": 0.1' in imagination.config.serialize()
    imagination.fit(real)
    imagined = imagination.imagine(real, 4000, greedy_by_sign("dqn"))
    greedy = torch.where(imagined.observations > 0, 1.0, 2.0)
    other = float((imagined.actions != greedy).float().mean())
    assert other == pytest.approx(0.1 * 2 / 3, abs=0.01)  # a third explores to it


def test_a_learner_that_samples_explores_by_itself_alone():
    learner = built("discrete_sac")
    states = torch.randn(50, 1)
    drawn = []
    for epsilon in (0.0, 0.9):
        torch.manual_seed(0)
        drawn.append(mbo.learners.sample_action(learner, states, epsilon))
    assert torch.equal(*drawn)
    assert [n for n in DISCRETE if not mbo.learners.acts_greedily(built(n))] == [
        "discrete_sac"
    ]


@pytest.mark.training
def test_rows_of_several_steps_are_a_discrete_learners_own_or_refused(real):
    learner = small_learner("double_dqn")

    def buffer(epsilon):
        imagination = choice_imagination(
            "forward",
            rollout_policy=mbo.LearnerPolicyConfig(epsilon=epsilon),
            steps_per_row=3,
        )
        imagination.fit(real)
        return mbo.ImaginedReplayBuffer(real, imagination, learner)

    with pytest.raises(mbo.CompositionError, match="share of 0.1.*epsilon=0.0"):
        buffer(0.1)
    learner.fit(buffer(0.0), n_steps=3, n_steps_per_epoch=3, **QUIET)
    assert learner.grad_step == 3
    batch = buffer(0.0).sample_transition_batch(64)
    assert set(batch.intervals.flatten().tolist()) == {1, 2, 3}


def test_proposals_beside_the_choices_are_projected_and_counted(real):
    @dataclasses.dataclass()
    class Scripted(ScriptedPolicyConfig):
        action_spaces = ("discrete",)

    imagined = rollout(
        ChoiceDynamicsConfig(direction="forward").create(),
        Scripted(script=[7.0, 0.4, 1.0]).create(),
        real.transitions[:5],
        2,
        action_set=real.action_set,
    )
    assert imagined.transitions.actions.flatten().tolist() == [2, 0] * 5
    assert imagined.transitions.next_actions.flatten().tolist() == [0, 1] * 5
    assert imagined.counts.report()["clipped_share"] == pytest.approx(2 / 3)


def test_a_penalty_asks_the_members_about_the_choice(real):
    dynamics = ChoiceDynamicsConfig(direction="forward", noise=0.5)
    imagination = line_imagination("forward", dynamics=dynamics, penalty=MaxAleatoric())
    imagination.fit(real)
    imagined = imagination.imagine(real, 20)
    norm = 0.5 * np.sqrt(2)
    torch.testing.assert_close(imagined.rewards, imagined.observations - norm)


@pytest.mark.training
def test_a_learned_termination_learns_which_choice_ends_an_episode():
    taken = np.random.randint(3, size=2000)
    states = np.random.uniform(-5, 5, (2000, 1))
    after = states + np.take(STEPS, taken)[:, None]
    ends = (taken == 1).astype(float)
    rows = mbo.Transitions.from_arrays(
        states, taken, np.zeros(2000), after, ends, taken, n_actions=3
    )
    config = mbo.LearnedTerminationConfig(
        hidden_units=[16], n_steps=200, learning_rate=1e-2, dropout=0.0
    )
    termination = config.create()
    termination.fit(rows)
    loaded = config.create()
    loaded.load_state_dict(termination.state_dict())
    for each in (termination, loaded):
        found = each(rows.observations, rows.actions, rows.next_observations)
        assert float((found == (rows.terminals > 0)).float().mean()) > 0.99


@pytest.mark.training
def test_an_imagination_of_choices_comes_back_from_its_file_and_imagines_alike(
    real, tmp_path
):
    romi = ROMIConfig(
        dynamics=small_ensemble("reverse", max_steps=5),
        rollout_policy=CVAEPolicyConfig(discrete=CLONED),
    ).create()
    romi.fit(real)
    romi.save(tmp_path / "romi.mbo")
    loaded = mbo.load_imagination(tmp_path / "romi.mbo")
    assert loaded.action_set.n_actions == 3
    with pytest.raises(mbo.CompositionError, match="ActionChoices.*no range"):
        _ = loaded.action_range
    imagined = []
    for each in (romi, loaded):
        torch.manual_seed(0)
        imagined.append(each.imagine(real, 10))
    assert torch.equal(imagined[0].observations, imagined[1].observations)
    assert torch.equal(imagined[0].actions, imagined[1].actions)


# Stochastic worlds: reverse proposals decide which law is imagined.


def two_actions() -> d3rlpy.dataset.ReplayBuffer:
    """From 0, action 0 leads to 1 with probability .5, action 1 with .05, else to -1.

    A step on to 5 follows, so that learners, and rollouts, know what comes after.
    """
    outcomes = [(0, 1)] * 10 + [(0, -1)] * 10 + [(1, 1)] * 1 + [(1, -1)] * 19
    return mbo.dataset_from_arrays(
        [[[0.0], [after], [5.0]] for _, after in outcomes],
        [[action, 0] for action, _ in outcomes],
        [[0.0, 0.0]] * 40,
        n_actions=2,
    )


@dataclasses.dataclass()
class FromZeroConfig(ChoiceDynamicsConfig):
    """The exact reverse model of `two_actions`: every s' comes from 0."""

    @staticmethod
    def get_type() -> str:
        return "from_zero"

    def create(self, device: Any = False) -> Any:
        dynamics = super().create(device)
        dynamics.n_actions = 2
        dynamics.moves = lambda actions: torch.full_like(actions, torch.nan)
        exact = dynamics.predict

        def predict(observations, actions, all_members):
            dynamics.moves = lambda actions: observations
            return exact(observations, actions, all_members)

        dynamics.predict = predict
        return dynamics


def imagined_law(rollout_policy: mbo.RolloutPolicyConfig) -> list[float]:
    """p(s' = 1 | s = 0, a) in what is imagined, for both actions."""
    d3rlpy.seed(0)
    romi = ROMIConfig(
        dynamics=FromZeroConfig(direction="reverse"),
        rollout_policy=rollout_policy,
        rollout_length=1,
    ).create()
    data = mbo.RealData.of(two_actions())
    romi.fit(data)
    rows = romi.imagine(data, 60_000)
    assert not rows.observations.any()
    law = []
    for action in (0, 1):
        after = rows.next_observations[rows.actions == action]
        law.append(float((after == 1).sum() / (after < 5).sum()))
    return law


def test_uniform_reverse_proposals_imagine_another_law_where_the_world_is_random():
    # .275 of the data reaches 1; each action is proposed there as often as elsewhere.
    assert imagined_law(mbo.UniformPolicyConfig()) == pytest.approx(
        [0.275] * 2, abs=0.01
    )


@pytest.mark.training
@pytest.mark.parametrize(
    "policy",
    [CLONED, CVAEPolicyConfig(discrete=CLONED)],
    ids=["cloned", "romi's default"],
)
def test_cloned_reverse_proposals_imagine_the_data_s_own_law(policy):
    assert imagined_law(policy) == pytest.approx([0.5, 0.05], abs=0.02)


def test_discrete_romi_clones_by_default():
    default = ROMIConfig().rollout_policy
    assert isinstance(default, CVAEPolicyConfig)
    assert default.discrete == mbo.BehaviorCloningPolicyConfig()


# What is refused.


def test_a_part_that_does_not_say_it_knows_choices_is_refused_before_any_fit(real):
    imagination = choice_imagination(rollout_policy=ScriptedPolicyConfig(script=[0.0]))
    with pytest.raises(
        mbo.CompositionError,
        match="'scripted' is for continuous.*3 choices.*behavior_cloning.*uniform",
    ):
        imagination.fit(real)
    assert imagination.dynamics.n_rows_fitted is None
    with pytest.raises(mbo.CompositionError, match="'line' is for continuous"):
        line_imagination().fit(real)


def test_a_part_for_choices_alone_is_refused_on_continuous_data():
    with pytest.raises(mbo.CompositionError, match="'choice_line' is for discrete"):
        choice_imagination().fit(line_dataset())


def test_a_reward_of_a_continuous_task_is_refused_by_name(real):
    reward = mbo.HalfCheetahJumpReward()
    with pytest.raises(
        mbo.CompositionError, match="reward_function 'halfcheetah_jump'"
    ):
        choice_imagination(reward_function=reward).fit(real)


@pytest.mark.training
def test_models_of_choices_do_not_imagine_from_continuous_data_nor_the_reverse(real):
    config = mbo.ImaginationConfig(dynamics=small_ensemble(max_steps=5))
    discrete, continuous = config.create(), config.create()
    discrete.fit(real)
    continuous.fit(line_dataset())
    with pytest.raises(mbo.CompositionError, match="on 3 choices.*has continuous"):
        discrete.imagine(line_dataset(), 5)
    with pytest.raises(mbo.CompositionError, match="on continuous.*has 3 choices"):
        continuous.imagine(real, 5)
    given = config.create(dynamics=continuous.dynamics)
    with pytest.raises(mbo.CompositionError, match="dynamics given was fitted on cont"):
        given.fit(real)


@pytest.mark.parametrize(
    ("learner", "data", "words"),
    [
        ("discrete_cql", "line", "DiscreteCQL is for discrete"),
        ("sac", "choice", "SAC is for continuous"),
    ],
)
def test_a_learner_of_the_other_kind_is_refused_before_anything_is_fitted(
    learner, data, words, real
):
    rows = real if data == "choice" else mbo.RealData.of(line_dataset())
    imagination = choice_imagination() if data == "choice" else line_imagination()
    algo = small_learner(learner)
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(algo, rows, imagination, 2, **QUIET)
    assert not imagination.fitted
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.ImaginedReplayBuffer(rows, [], algo)


def test_mopo_of_choices_asks_for_a_learner_that_is_built_for_them(real):
    mopo = MOPOConfig(dynamics=ChoiceDynamicsConfig(direction="forward")).create()
    mopo.fit(real)
    learner = small_learner("dqn")
    learner.create_impl((1,), 4)
    with pytest.raises(mbo.CompositionError, match="built for 4 choices.*has 3"):
        mbo.ImaginedReplayBuffer(real, mopo, learner)
