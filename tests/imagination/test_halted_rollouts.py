"""Halts: where rollouts stop because the model is not to be trusted, by hand."""

import dataclasses

import d3rlpy
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.action_sets import ActionRange
from d3rlpy_mbo.imagination.rollout import rollout
from toys import (
    BeyondTermination,
    ConstantPenalty,
    DoubtfulLineConfig,
    LineDynamicsConfig,
    Reading,
    ReadingConfig,
    ScriptedPolicyConfig,
    line_dataset,
    line_imagination,
)

WIDE = ActionRange(torch.tensor([-10.0]), torch.tensor([10.0]))


def imagine(reading, direction="forward", s=0.0, n_rollouts=1, **parts):
    """Rollouts of four steps of s' = s + 1, whose members lie |s| (reverse |s'|) apart."""
    start = mbo.Transitions.from_arrays(
        [[s]] * n_rollouts, [[0.0]] * n_rollouts, [0.0] * n_rollouts,
        [[s]] * n_rollouts, [parts.pop("terminal", 0.0)] * n_rollouts,
        [[0.25]] * n_rollouts,
    )  # fmt: skip
    return rollout(
        DoubtfulLineConfig(direction=direction).create(),
        ScriptedPolicyConfig(script=[1.0]).create(),
        start,
        4,
        action_set=WIDE,
        halt=ReadingConfig(reading=reading).create(),
        **parts,
    )


def rows(imagined):
    t = imagined.transitions
    columns = [t.observations, t.rewards, t.next_observations, t.terminals]
    return [tuple(row) for row in torch.cat(columns, dim=1).tolist()]


def test_morels_reading_keeps_the_halted_row_terminal_and_with_its_own_reward():
    # By hand, METHODS 2 case 3: r_min -1, offset -30. |s| is 0, 1, 2: 2 > 1.5.
    imagined = imagine("morel")
    assert rows(imagined) == [(0, 0, 1, 0), (1, 1, 2, 0), (2, -31, 3, 1)]


def test_tatus_reading_adds_up_along_the_rollout_and_drops_the_row():
    # |s| adds up to 0, 1, 3: the third row is beyond 1.5. A sum of the last two alone,
    # or of the row's own, would let s = 1 ... and s = 2 through.
    assert rows(imagine("tatu")) == [(0, 0, 1, 0), (1, 1, 2, 0)]
    # From s = 1: 1, 3. Its own |s| = 1 alone never passes twice.
    assert rows(imagine("tatu", s=1.0)) == [(1, 1, 2, 0)]


def test_neubays_reading_cuts_the_rollout_after_a_row_that_bootstraps():
    assert rows(imagine("neubay")) == [(0, 0, 1, 0), (1, 1, 2, 0), (2, 2, 3, 0)]


def test_in_reverse_the_terminal_row_is_the_first_in_time_and_next_actions_stay():
    # From s' = 0: s = -1 (doubt 0), -2 (1), -3 (2, halted); then nothing.
    imagined = imagine("morel", "reverse")
    assert rows(imagined) == [(-3, -31, -2, 1), (-2, -2, -1, 0), (-1, -1, 0, 0)]
    assert imagined.transitions.next_actions.flatten().tolist() == [1, 1, 0.25]


def test_a_halt_decides_of_each_rollout_by_itself():
    starts = mbo.Transitions.from_arrays(
        [[0.0], [5.0], [1.0]],
        [[0.0]] * 3,
        [0.0] * 3,
        [[0.0]] * 3,
        [0.0] * 3,
        [[0.0]] * 3,
    )
    imagined = rollout(
        DoubtfulLineConfig().create(),
        ScriptedPolicyConfig(script=[1.0]).create(),
        starts,
        4,
        action_set=WIDE,
        halt=ReadingConfig(reading="tatu").create(),
    )
    assert imagined.transitions.rollout_ids.tolist() == [0, 0, 2]
    assert imagined.counts.halt_report() == {
        "halted_1": pytest.approx(1 / 3),
        "halted_2": 0.5,
        "halted_3": 1.0,
        "halted_4": 0.0,  # nobody is left to be asked about
    }


def test_its_reward_replaces_the_penalised_one_and_nothing_was_subtracted_there():
    imagined = imagine("morel", penalty=ConstantPenalty(0.5))
    assert imagined.transitions.rewards.flatten().tolist() == [-0.5, 0.5, -31]
    assert imagined.penalties.flatten().tolist() == [0.5, 0.5, 0]
    assert imagined.spared.flatten().tolist() == [False, False, True]
    assert not imagine("neubay").spared.any()  # halts, and leaves the reward


def test_a_row_that_the_environment_ends_as_well_has_the_halts_reward():
    imagined = imagine("morel", termination=BeyondTermination(2.5))  # s' = 3 ends
    assert rows(imagined) == [(0, 0, 1, 0), (1, 1, 2, 0), (2, -31, 3, 1)]
    # Backwards, s = -3 is an end itself: dropped before the halt is asked.
    ends_before = Mirrored()
    imagined = imagine("morel", "reverse", termination=ends_before)
    assert rows(imagined) == [(-2, -2, -1, 0), (-1, -1, 0, 0)]
    assert imagined.counts.halted.tolist() == [0, 0, 0, 0]


@dataclasses.dataclass()
class Mirrored(mbo.Termination):
    """Terminal wherever s' < -2.5."""

    @staticmethod
    def get_type():
        return "mirrored"

    def __call__(self, observations, actions, next_observations):
        return next_observations[:, :1] < -2.5


def test_members_that_agree_halt_nothing_at_a_threshold_of_zero():
    imagined = rollout(
        LineDynamicsConfig().create(),
        ScriptedPolicyConfig(script=[1.0]).create(),
        mbo.Transitions.from_arrays([[3.0]], [[0.0]], [0.0], [[0.0]], [0.0], [[0.0]]),
        4,
        action_set=WIDE,
        halt=ReadingConfig(threshold=0.0).create(),
    )
    assert len(imagined.transitions) == 4
    assert not imagined.counts.halted.any()


class Scripted(Reading):
    """Returns one decision, whatever it is asked."""

    def __init__(self, **said):
        super().__init__(ReadingConfig())
        yes = torch.ones(1, 1, dtype=torch.bool)
        self.said = mbo.HaltDecision(
            **{"stop": yes, "keep": yes, "terminal": yes, **said}
        )

    def __call__(self, prediction, state):
        return self.said


NO = torch.zeros(1, 1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"stop": NO[:, 0]}, r"Scripted .* returned shape \(1,\)"),
        ({"keep": torch.ones(1, 1)}, "torch.float32, expected .* torch.bool"),
        ({"keep": NO}, r"1 contradictory \(terminal, but dropped or not stopped\)"),
        ({"stop": NO}, r"1 contradictory \(terminal, but dropped or not stopped\)"),
        ({"reward": torch.tensor([[torch.nan]])}, "1 NaN or infinite values"),
        ({"state": torch.zeros(3, 1)}, r"a state of shape \(3, 1\), expected 1 rows"),
    ],
    ids=["shape", "type", "terminal and dropped", "terminal and on", "reward", "state"],
)
def test_a_halt_that_breaks_its_contract_is_named(said, words):
    with pytest.raises(mbo.CompositionError, match=words):
        rollout(
            LineDynamicsConfig().create(),
            ScriptedPolicyConfig(script=[1.0]).create(),
            mbo.Transitions.from_arrays(
                [[3.0]], [[0.0]], [0.0], [[0.0]], [0.0], [[0.0]]
            ),
            2,
            action_set=WIDE,
            halt=Scripted(**said),
        )


def halting(threshold, direction="forward", **settings):
    dataset = line_dataset(5, 20)
    imagination = line_imagination(
        direction,
        dataset,
        dynamics=DoubtfulLineConfig(direction=direction),
        halt=ReadingConfig(threshold=threshold),
        **settings,
    )
    return dataset, imagination


def test_the_share_that_halts_at_each_step_is_logged():
    dataset, imagination = halting(2.0, rollout_length=3)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    evaluators = mbo.imagination_evaluators(buffer)
    buffer.sample_transition_batch(8)
    (source,) = buffer.sources
    logged = [evaluators[f"custom_halted_{i}"](None, None) for i in (1, 2, 3)]
    assert logged == [source.metrics[f"halted_{i}"] for i in (1, 2, 3)]
    starts = imagination.imagine(dataset, 2000)  # terminal rows are those that halted
    share = float(starts.terminals.sum()) / 2000
    assert 0.2 < logged[0] < 0.9
    assert logged[0] < share


def test_a_halt_that_stops_almost_everything_at_once_is_refused_with_what_it_measured():
    dataset, imagination = halting(0.0)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    words = r"'reading' \(largest_doubt [\d.]+\) stops 100.0% of the rollouts"
    with pytest.raises(mbo.DivergedError, match=words):
        buffer.sample_transition_batch(8)


def test_a_halt_that_never_stops_anything_is_warned_of_once():
    dataset, imagination = halting(1e6, rollout_interval=1)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    with pytest.warns(UserWarning, match="stopped not one rollout"):
        buffer.sample_transition_batch(8)
    buffer.sample_transition_batch(8)  # imagines anew, without a word


def test_a_halt_is_fitted_told_saved_and_loaded_with_its_imagination(tmp_path):
    _, imagination = halting(2.0)
    assert imagination.halt.context.direction == "forward"
    assert imagination.metrics["largest_doubt"] > 0
    imagination.save(tmp_path / "halting.mbo")
    loaded = mbo.load_imagination(tmp_path / "halting.mbo")
    assert loaded.config.halt == ReadingConfig(threshold=2.0)
    assert loaded.metrics["largest_doubt"] == imagination.metrics["largest_doubt"]


def test_without_a_halt_nothing_of_it_is_logged():
    dataset = line_dataset(5, 20)
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("forward", dataset))
    assert not [name for name in mbo.imagination_evaluators(buffer) if "halted" in name]


def test_in_reverse_the_return_of_a_terminal_row_is_its_own_reward():
    dataset, imagination = halting(4.0, direction="reverse", rollout_length=3)
    learner = d3rlpy.algos.CalQLConfig().create()
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner, real_ratio=0.0)
    batch = buffer.sample_transition_batch(64)
    ended = batch.terminals[:, 0] == 1
    assert 0 < ended.sum() < 64
    for transition, terminal in zip(batch.transitions, ended, strict=True):
        rewards = transition.rewards_to_go[:, 0].tolist()
        if terminal:  # what lies ahead of it is never reached
            assert rewards == [-31.0]
        else:
            assert len(rewards) > 1
            assert -31.0 not in rewards
