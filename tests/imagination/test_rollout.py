import dataclasses

import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.action_sets import ActionRange
from d3rlpy_mbo.imagination.rollout import Rollout, rollout
from toys import (
    BeyondTermination,
    ConstantPenalty,
    LineDynamics,
    LineDynamicsConfig,
    ScriptedPolicyConfig,
    line_dataset,
    line_imagination,
    line_transitions,
)

WIDE = ActionRange(torch.tensor([-10.0]), torch.tensor([10.0]))


def start(s=0.0, a=0.0, next_s=0.0, next_a=0.0, terminal=0.0) -> mbo.Transitions:
    return mbo.Transitions.from_arrays(
        [[s]], [[a]], [0.0], [[next_s]], [terminal], [[next_a]]
    )


def imagine(direction, script, starts, length, **parts) -> Rollout:
    parts.setdefault("action_set", WIDE)
    dynamics = parts.pop("dynamics", LineDynamicsConfig(direction=direction)).create()
    policy = ScriptedPolicyConfig(script=script).create()
    return rollout(dynamics, policy, starts, length, **parts)


def rows(imagined: Rollout) -> list[tuple[float, ...]]:
    t = imagined.transitions
    columns = [t.observations, t.actions, t.rewards, t.next_observations]
    return [tuple(row) for row in torch.cat(columns, dim=1).tolist()]


def test_reverse_rows_come_out_in_time_order_with_the_rewards_of_s():
    # By hand: s' = s + a, r = s, target 5, actions 1, 2, 3.
    imagined = imagine("reverse", [1, 2, 3], start(next_s=5), 3)
    assert rows(imagined) == [(-1, 3, -1, 2), (2, 2, 2, 4), (4, 1, 4, 5)]
    to_go, expected = 10.0, [13.0, 13.7, 11.33]
    for (_, _, reward, _), value in zip(
        reversed(rows(imagined)), expected, strict=True
    ):
        to_go = reward + 0.9 * to_go
        np.testing.assert_allclose(to_go, value, rtol=1e-6)


def test_forward_rows_chain_and_stop_after_rollout_length():
    imagined = imagine("forward", [1, 2, 3], start(s=5), 2)
    assert rows(imagined) == [(5, 1, 5, 6), (6, 2, 6, 8)]


def test_next_actions_forward_are_the_next_steps_and_one_more_draw():
    imagined = imagine("forward", [1, 2, 3], start(s=5, next_a=9), 2)
    assert imagined.transitions.next_actions.flatten().tolist() == [2, 3]


def test_next_actions_reverse_end_in_the_datasets_own():
    imagined = imagine("reverse", [1, 2, 3], start(next_s=5, next_a=0.25), 3)
    assert imagined.transitions.next_actions.flatten().tolist() == [2, 1, 0.25]


def test_reverse_rollout_from_a_true_terminal_marks_its_last_row_only():
    imagined = imagine("reverse", [1, 1], start(next_s=5, terminal=1), 2)
    assert imagined.transitions.terminals.flatten().tolist() == [0, 1]


def test_forward_rollout_ends_after_an_imagined_terminal():
    imagined = imagine("forward", [1], start(s=1), 5, termination=BeyondTermination())
    assert rows(imagined) == [(1, 1, 1, 2), (2, 1, 2, 3), (3, 1, 3, 4)]
    assert imagined.transitions.terminals.flatten().tolist() == [0, 0, 1]
    assert imagined.counts.survivors.tolist() == [1, 1, 1, 0, 0]


def test_reverse_row_that_leaves_a_terminal_state_ends_the_rollout_and_is_dropped():
    # s = 5 - (-1) = 6 > 3 would be terminal already on the second step.
    imagined = imagine(
        "reverse", [3, -2, 1], start(next_s=5), 3, termination=BeyondTermination()
    )
    assert rows(imagined) == [(2, 3, 2, 5)]
    assert imagined.counts.survivors.tolist() == [1, 0, 0]


def test_rollouts_of_a_batch_keep_their_rows_together_with_one_id_each():
    imagined = imagine("reverse", [1, 2, 3], line_transitions(7), 3)
    assert imagined.transitions.rollout_ids.tolist() == [
        i for i in range(7) for _ in range(3)
    ]
    s, s_next = (
        imagined.transitions.observations,
        imagined.transitions.next_observations,
    )
    for i in range(7):
        torch.testing.assert_close(s_next[3 * i : 3 * i + 2], s[3 * i + 1 : 3 * i + 3])


def test_proposed_actions_are_clipped_to_the_datasets_range_and_counted():
    narrow = ActionRange(torch.tensor([-0.5]), torch.tensor([0.5]))
    imagined = imagine("forward", [2, 0.1], start(), 1, action_set=narrow)
    assert imagined.transitions.actions.item() == 0.5
    assert imagined.counts.report()["clipped_share"] == 0.5


def test_backwards_no_action_is_proposed_that_no_row_would_hold():
    narrow = ActionRange(torch.tensor([-0.5]), torch.tensor([0.5]))
    script = [0.1, 0.2, 9]  # the third would be clipped
    imagined = imagine("reverse", script, start(next_s=5), 2, action_set=narrow)
    assert len(imagined.transitions) == 2
    assert imagined.counts.report()["clipped_share"] == 0


def test_a_row_that_is_not_finite_is_dropped_counted_and_ends_its_rollout():
    broken = LineDynamicsConfig(direction="forward", broken_at=6.5)
    imagined = imagine("forward", [1], start(s=5), 4, dynamics=broken)
    assert rows(imagined) == [(5, 1, 5, 6)]
    assert imagined.counts.dropped_share == 0.5


class Exponential(mbo.RewardFunction):
    """10 to the power of s', as HIV's: infinite from 38.6 on in float32."""

    def __call__(self, observations, actions, next_observations):
        return torch.pow(10.0, next_observations)


def test_an_absurd_row_whose_known_reward_is_infinite_is_dropped_as_one_that_is_itself():
    real, known = start(s=20, next_s=20), Exponential()
    imagined = imagine("forward", [9], real, 4, reward_function=known)
    assert [row[3] for row in rows(imagined)] == [29, 38]  # not 47
    assert imagined.counts.dropped_share == pytest.approx(1 / 3)


def test_an_absurd_number_of_viruses_or_effectors_drops_a_row_of_the_hiv_task():
    states = torch.full((4, 6), 3.0)
    columns = states, torch.full((4, 2), 0.1), torch.zeros(4, 1), states
    real = mbo.Transitions(*columns, columns[1], columns[2])

    class Absurd(mbo.Dynamics):
        fitted = True
        fit = state_dict = load_state_dict = None

        def predict(self, observations, actions, all_members):
            reached = observations.clone()
            reached[0, 4] = 39.0  # log10 of a count of viruses
            reached[1, 4:] = 39.0  # more effectors than infinitely many: NaN
            return mbo.Prediction(observations, actions, reached, reached[:, :1])

    policy = mbo.UniformPolicyConfig().create()
    policy.fit(real)
    imagined = rollout(
        Absurd(LineDynamicsConfig()),
        policy,
        real,
        1,
        action_set=real.action_set(),
        reward_function=mbo.HIVReward(),
    )
    assert imagined.start_rows.tolist() == [2, 3]


@pytest.mark.parametrize("known", [[True, True], [True, False]])
def test_a_known_reward_that_is_not_finite_for_real_rows_is_at_fault_by_name(known):
    class Root(mbo.RewardFunction):
        def __call__(self, observations, actions, next_observations):
            return next_observations.sqrt()

    real = mbo.Transitions.from_arrays(
        [[5.0], [5.0]], [[1.0], [1.0]], [0, 0], [[6.0], [-1.0]], [0, 0], [[0.0], [0.0]]
    )
    real = dataclasses.replace(real, next_observation_known=torch.tensor(known))
    if all(known):
        with pytest.raises(mbo.CompositionError, match=r"Root.* 2 NaN or infinite"):
            imagine("forward", [-9], real, 1, reward_function=Root())
    else:  # d3rlpy's zeros and the like say nothing of it
        imagined = imagine("forward", [-9], real, 1, reward_function=Root())
        assert imagined.counts.dropped_share == 1.0


def test_policy_is_never_asked_about_a_state_that_is_not_finite(monkeypatch):
    asked = []
    policy = ScriptedPolicyConfig(script=[1.0]).create()
    sample = policy.sample_action
    monkeypatch.setattr(
        policy,
        "sample_action",
        lambda s, learner: asked.append(s) or sample(s, learner),
    )
    broken = LineDynamicsConfig(direction="forward", broken_at=6.5).create()
    rollout(broken, policy, start(s=5), 4, action_set=WIDE)
    assert torch.isfinite(torch.cat(asked)).all()


def test_penalty_is_subtracted_from_the_reward():
    plain = imagine("forward", [1], start(s=5), 2)
    penalised = imagine("forward", [1], start(s=5), 2, penalty=ConstantPenalty(0.5))
    difference = plain.transitions.rewards - penalised.transitions.rewards
    assert difference.flatten().tolist() == [0.5, 0.5]
    assert penalised.penalties.flatten().tolist() == [0.5, 0.5]


def test_known_rewards_are_asked_in_time_order_in_both_directions():
    @dataclasses.dataclass()
    class Difference(mbo.RewardFunction):
        def __call__(self, observations, actions, next_observations):
            return 100 * (next_observations - observations) + actions

    for direction in ("forward", "reverse"):
        imagined = imagine(
            direction, [2], start(5, next_s=5), 2, reward_function=Difference()
        )
        assert imagined.transitions.rewards.flatten().tolist() == [202, 202]


def test_wrong_shapes_are_refused_by_the_components_name():
    @dataclasses.dataclass()
    class Flat(mbo.Penalty):
        def __call__(self, prediction, learner=None):
            return prediction.rewards[:, 0]

    with pytest.raises(mbo.CompositionError, match=r"Flat.*expected \(1, 1\)"):
        imagine("forward", [1], start(), 1, penalty=Flat())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rewards": torch.zeros(1)}, r"shape \(1,\) of .*expected \(1, 1\)"),
        ({"rewards": torch.zeros(1, 1).double()}, "of torch.float64"),
        ({"observations": torch.zeros(1, 2)}, r"shape \(1, 2\).*expected \(1, 1\)"),
        ({"means": torch.zeros(3, 1, 1)}, r"expected \(3, 1, 2\)"),
        ({"stds": torch.zeros(1, 2)}, r"expected \(1, 1, 2\)"),
    ],
)
def test_a_prediction_of_another_shape_or_type_is_the_models_fault_by_name(
    change, words, monkeypatch
):
    model = type(LineDynamicsConfig().create())
    predict = model.predict

    def other(self, *asked):
        return dataclasses.replace(predict(self, *asked), **change)

    monkeypatch.setattr(model, "predict", other)
    with pytest.raises(mbo.CompositionError, match=rf"{model.__name__} .*{words}"):
        imagine("forward", [1], start(), 1)


def test_reverse_rollouts_end_in_real_dataset_states():
    dataset = line_dataset()
    imagined = line_imagination("reverse", dataset).imagine(dataset, 50)
    real = mbo.Transitions.from_dataset(dataset).for_models().next_observations
    ids = imagined.rollout_ids
    last = torch.ones(len(ids), dtype=torch.bool)
    last[:-1] = ids[1:] != ids[:-1]
    distances = torch.cdist(imagined.next_observations[last], real).amin(dim=1)
    assert int(last.sum()) == 50
    assert float(distances.max()) == 0.0


def test_an_action_at_the_border_is_not_outside_by_float32s_rounding():
    # -0.3 + (0.7 - -0.3) is more than 0.7 in float32: a saturated policy is there always.
    low, high = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0))
    sets = [ActionRange(-low[i : i + 1], high[i : i + 1]) for i in range(1000)]
    beyond = [each for each in sets if each.from_unit(torch.ones(1)) > each.high]
    assert len(beyond) > 50
    imagined = imagine(
        "forward",
        [float(beyond[0].from_unit(torch.ones(1)))] * 2,
        start(),
        1,
        action_set=beyond[0],
    )
    assert imagined.transitions.actions.item() == float(beyond[0].high)
    assert imagined.counts.report()["clipped_share"] == 0
    far = [float(beyond[0].high) + 1e-4] * 2
    imagined = imagine("forward", far, start(), 1, action_set=beyond[0])
    assert imagined.counts.report()["clipped_share"] == 1


def test_what_happened_is_counted_in_whole_numbers():
    counts = imagine("forward", [1, 1], start(), 1).counts
    for field in dataclasses.fields(counts):
        assert not getattr(counts, field.name).is_floating_point(), field.name


class OneElite(LineDynamics):
    def predict(self, observations, actions, all_members):
        prediction = super().predict(observations, actions, all_members)
        return dataclasses.replace(prediction, n_elites=1)


def test_a_model_that_turns_out_to_have_one_member_is_refused_where_two_are_compared():
    assert LineDynamicsConfig().members is None  # so that nobody could know before
    model = OneElite(LineDynamicsConfig())
    policy = ScriptedPolicyConfig(script=[1]).create()
    penalty = ConstantPenalty()
    for penalty.compares in ("", "members"):
        rollout(model, policy, start(), 1, action_set=WIDE, penalty=penalty)
    penalty.compares = "elites"
    words = "ConstantPenalty .* compares the elites of the dynamics, and these have 1"
    with pytest.raises(mbo.CompositionError, match=words):
        rollout(model, policy, start(), 1, action_set=WIDE, penalty=penalty)


class Accelerates(LineDynamics):
    def begin_rollouts(self, n_rollouts):
        self.speeds = torch.zeros(n_rollouts, 1)

    def predict(self, observations, actions, all_members):
        self.speeds = self.speeds + actions  # what the last steps did is carried along
        return super().predict(observations, self.speeds, all_members)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_model_is_told_where_rollouts_begin_and_may_carry_something_along(direction):
    model = Accelerates(LineDynamicsConfig(direction=direction))
    sign = 1 if direction == "forward" else -1
    for _ in range(2):  # the second time nothing is left of the first
        policy = ScriptedPolicyConfig(script=[1, 1, 1]).create()
        starts = start(s=5, next_s=5)
        imagined = rollout(model, policy, starts, 3, action_set=WIDE).transitions
        reached = imagined.predicted_observations(direction).flatten().tolist()
        assert reached[::sign] == [5 + sign * way for way in (1, 3, 6)]
