"""The rewards of steps that end episodes, where d3rlpy keeps no next observation."""

import warnings

import d3rlpy
import numpy as np
import pytest

import d3rlpy_mbo as mbo
from toys import BeyondTermination, LineDynamicsConfig, line_imagination

OBSERVATIONS = [np.arange(n + 1.0)[:, None] for n in (3, 4)]  # s' = s + 1
ACTIONS = [np.ones((n, 1)) for n in (3, 4)]


def at_the_end(reward: float) -> list[np.ndarray]:
    return [np.append(np.zeros(n - 1), reward) for n in (3, 4)]


def as_d3rlpy_stores_them(reward: float) -> d3rlpy.dataset.ReplayBuffer:
    return d3rlpy.dataset.MDPDataset(
        np.float32(np.concatenate([each[:-1] for each in OBSERVATIONS])),
        np.float32(np.concatenate(ACTIONS)),
        np.float32(np.concatenate(at_the_end(reward)))[:, None],
        terminals=np.float32([0, 0, 1, 0, 0, 0, 1]),
        action_space=d3rlpy.ActionSpace.CONTINUOUS,
    )


def with_their_ends(reward: float) -> d3rlpy.dataset.ReplayBuffer:
    return mbo.dataset_from_arrays(
        OBSERVATIONS, ACTIONS, at_the_end(reward), terminals=[True, True]
    )


class Known(mbo.RewardFunction):
    @staticmethod
    def get_type():
        return "known_at_the_end"

    def __call__(self, observations, actions, next_observations):
        return (next_observations[:, :1] > 2).float()


@pytest.mark.parametrize("reward", [1.0, -100.0])
def test_a_reward_that_only_the_last_steps_have_is_missed_aloud(reward):
    imagination = line_imagination("forward", termination=BeyondTermination(2.5))
    unlike = f"2 of these rewards, from {reward:g} to {reward:g}, are unlike .* 0 to 0"
    with pytest.warns(UserWarning, match=f"2 of the .* 2 terminal rows.*{unlike}"):
        imagination.fit(as_d3rlpy_stores_them(reward))


def test_lost_rewards_as_all_others_are_said_without_alarm():
    imagination = line_imagination("forward", termination=BeyondTermination(2.5))
    with pytest.warns(UserWarning, match="dataset_from_arrays") as said:
        imagination.fit(as_d3rlpy_stores_them(0.0))
    assert "unlike" not in str(said[0].message)


def partly_known(reward: float) -> d3rlpy.dataset.ReplayBuffer:
    """Where the second of two ends led is not known: it is zero, as d3rlpy makes it up."""
    after = np.concatenate([each[1:] for each in OBSERVATIONS]) + 1
    after[-1] = 0
    second = np.arange(7.0)[:, None] + 5  # never zero: zeros are no place
    with pytest.warns(match="1 of 2 terminal rows is zero"):
        return mbo.dataset_from_arrays(
            np.hstack([after * 0 + np.concatenate([e[:-1] for e in OBSERVATIONS]) + 1,
                       second]),
            np.concatenate(ACTIONS),
            np.concatenate(at_the_end(reward)) * np.float32([1, 1, 0, 1, 1, 1, 1]),
            np.hstack([after, np.where(np.arange(7)[:, None] < 6, second + 1, 0)]),
            terminals=[0, 0, 1, 0, 0, 0, 1],
        )  # fmt: skip


def test_one_lost_end_among_others_is_said_only_if_its_reward_is_like_no_other():
    settings = {"termination": mbo.NoTermination()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line_imagination("forward", partly_known(0.0), **settings)
    with pytest.warns(match="nothing of the rewards of these steps.*unlike") as said:
        line_imagination("forward", partly_known(-9.0), **settings)
    assert "how episodes end" not in str(said[0].message)


@pytest.mark.parametrize(
    ("direction", "settings", "dataset"),
    [
        ("forward", {}, with_their_ends(-100.0)),
        ("forward", {"reward_function": Known()}, as_d3rlpy_stores_them(-100.0)),
        ("reverse", {}, as_d3rlpy_stores_them(-100.0)),
    ],
    ids=["kept", "known", "reverse rollouts lead to none"],
)
def test_nothing_is_said_where_no_reward_is_lost(direction, settings, dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line_imagination(
            direction, dataset, termination=BeyondTermination(2.5), **settings
        )


def test_a_model_that_was_fitted_before_is_not_blamed_again():
    config = LineDynamicsConfig(direction="forward")
    model = line_imagination(
        dataset=with_their_ends(1.0), dynamics=config, termination=mbo.NoTermination()
    ).dynamics
    again = mbo.ImaginationConfig(config, termination=mbo.NoTermination())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.create(dynamics=model).fit(as_d3rlpy_stores_them(1.0))
