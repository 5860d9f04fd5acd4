"""The data of the benchmarks: HalfCheetah's physics under random actions."""

import d3rlpy
import gymnasium
import numpy as np

import d3rlpy_mbo as mbo

OBSERVATION, ACTION, BATCH = 17, 6, 256
EPISODE = 1000


def half_cheetah(n_episodes: int) -> d3rlpy.dataset.ReplayBuffer:
    """Returns episodes of 1000 steps of uniformly random actions."""
    env = gymnasium.make("HalfCheetah-v5")
    env.action_space.seed(0)
    episodes = []
    for seed in range(n_episodes):
        observation, _ = env.reset(seed=seed)
        rows = []
        for _ in range(EPISODE):
            action = env.action_space.sample()
            following, reward, *_ = env.step(action)
            rows.append((observation, action, [reward]))
            observation = following
        observations, actions, rewards = (
            np.array(each, np.float32) for each in zip(*rows, strict=True)
        )
        episodes.append(d3rlpy.dataset.Episode(observations, actions, rewards, False))
    return d3rlpy.dataset.create_infinite_replay_buffer(episodes)


def random_rows(n_episodes: int) -> d3rlpy.dataset.ReplayBuffer:
    """Returns noise of the same sizes, where only the number of rows matters."""

    def column(size: int) -> np.ndarray:
        return np.random.uniform(-1, 1, (EPISODE, size)).astype(np.float32)

    episodes = [
        d3rlpy.dataset.Episode(column(OBSERVATION), column(ACTION), column(1), False)
        for _ in range(n_episodes)
    ]
    return d3rlpy.dataset.create_infinite_replay_buffer(episodes)


def model_rows(dataset: d3rlpy.dataset.ReplayBuffer) -> mbo.Transitions:
    """Returns the transitions that models are fitted on."""
    return mbo.Transitions.from_dataset(dataset).for_models()


def tiny_ensemble() -> mbo.ProbabilisticEnsembleConfig:
    """An ensemble of one small member, where only its rows matter."""
    return mbo.ProbabilisticEnsembleConfig(
        n_models=1, n_elites=1, hidden_units=[8], weight_decays=[0, 0], max_steps=1
    )
