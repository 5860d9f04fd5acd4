"""ICU-Sepsis: patients as a table of 716 states, where returns are worked out exactly."""

import functools
from collections.abc import Callable
from typing import Any, Optional

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from ..support.errors import DatasetError
from ..support.progress import Progress
from .local_datasets import validate_free, write_local_dataset
from .places import write_alone
from .replay_store import Replay

__all__ = [
    "ICUSepsis",
    "collect_icu_sepsis",
    "exact_value",
    "icu_sepsis_spec",
    "logged_policy",
    "optimal_value",
]

Table = npt.NDArray[np.float64]

_DEATH, _SURVIVAL = 713, 714  # states; what follows is a sink that nothing leads to
_STEPS = 500  # the package's limit


class ICUSepsis(gymnasium.Env[npt.NDArray[np.float64], np.int64]):
    """The package's patients, seen as vectors.

    The observation (D = 49) is the centre of the state's cluster, then whether the
    patient died and whether they survived: the centres of these two are the same. An
    action is one of 25 pairs of doses; 1 is the reward of survival, and every other is
    0. The time limit is the spec's (`icu_sepsis_spec`), not this class's.

    Args:
        render_mode: None.

    Raises:
        DatasetError: The package icu-sepsis is missing.

    Source: Choudhary et al. 2024, ICU-Sepsis.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, as gymnasium declares it

    def __init__(self, render_mode: Optional[str] = None):
        self.render_mode = render_mode
        self._patients = _patients()
        centres = self._patients.state_cluster_centers
        ends = np.zeros((len(centres), 2))
        ends[_DEATH, 0] = ends[_SURVIVAL, 1] = 1.0
        self._observations = np.concatenate([centres, ends], axis=1)
        self.observation_space = spaces.Box(
            -np.inf, np.inf, self._observations.shape[1:], np.float64
        )
        self.action_space = spaces.Discrete(self._patients.num_actions)

    @property
    def state(self) -> int:
        """The number of the patient's state."""
        return int(self._state)

    @property
    def expert_policy(self) -> Table:
        """(716, 25) what clinicians do, as the package estimates it."""
        return np.asarray(self._patients.expert_policy)

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[dict[str, Any]] = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Admits a patient.

        Args:
            seed: Determines who, and what happens; None goes on with the generator.
            options: Of no use.

        Returns:
            Observation with shape (49,), and the number of the state.
        """
        super().reset(seed=seed)
        self._state, _ = self._patients.reset(seed=seed)
        return self._observations[self._state].copy(), {"state": self.state}

    def step(
        self, action: np.int64
    ) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Treats the patient.

        Args:
            action: 0 to 24.

        Returns:
            Observation with shape (49,), reward, whether the patient died or survived,
            False, the number of the state.
        """
        levels = np.unravel_index(int(action), self._patients.action_space.nvec)
        self._state, reward, terminated, _, _ = self._patients.step(np.array(levels))
        observation = self._observations[self._state].copy()
        return observation, float(reward), terminated, False, {"state": self.state}

    def exact_return(
        self, predict: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    ) -> float:
        """Returns what a policy is worth: no episode is played.

        Args:
            predict: From (B, 49) observations to (B,) actions, as a learner's.
        """
        actions = np.asarray(predict(self._observations.astype(np.float32)))
        policy = np.eye(self._patients.num_actions)[actions.reshape(-1).astype(int)]
        return exact_value(policy)


def exact_value(policy: Table) -> float:
    """Returns the probability that a patient survives, by solving the linear system.

    Args:
        policy: (716, 25) probabilities of actions. Limits of time are none here: nearly
            no episode is as long as 500 steps.
    """
    _, first, transitions, rewards = _tables()
    return float(first @ _state_values(policy, transitions, rewards))


def _state_values(policy: Table, transitions: Table, rewards: Table) -> Table:
    """Returns (713,) v = r + P v of the states that are no ends."""
    kept = policy[:_DEATH, None, :]
    chain = (kept @ transitions[:, :, :_DEATH])[:, 0]
    gained = (kept[:, 0] * rewards).sum(axis=1)
    values: Table = np.linalg.solve(np.eye(_DEATH) - chain, gained)
    return values


@functools.cache
def optimal_value() -> float:
    """Returns the value of the best policy, found by policy iteration."""
    n_states, first, transitions, rewards = _tables()
    n_actions = rewards.shape[1]
    policy = np.full((n_states, n_actions), 1 / n_actions)
    best = -np.inf
    while True:
        values = _state_values(policy, transitions, rewards)
        value = float(first @ values)
        if value <= best + 1e-12:
            return best
        best = value
        gained = rewards + transitions[:, :, :_DEATH] @ values
        policy[:_DEATH] = np.eye(n_actions)[gained.argmax(axis=1)]


@functools.cache
def _tables() -> tuple[int, Table, Table, Table]:
    """Returns the number of states; of those that are no ends p(s), p(s'|s, a), E r."""
    dynamics = _patients().dynamics
    transitions = dynamics["tx_mat"][:_DEATH]
    rewards = (transitions * dynamics["r_mat"][:_DEATH]).sum(axis=2)
    return len(dynamics["tx_mat"]), dynamics["d_0"][:_DEATH], transitions, rewards


def _patients() -> Any:
    try:
        from icu_sepsis.envs import ICUSepsisEnv
    except ImportError as error:
        raise DatasetError(
            f"ICU-Sepsis needs the package icu-sepsis ({error}). Install it with: "
            "pip install 'd3rlpy-mbo[sepsis]'"
        ) from error
    return ICUSepsisEnv()


def icu_sepsis_spec() -> EnvSpec:
    """Returns the spec of `ICUSepsis` with the package's limit of 500 steps."""
    return EnvSpec(
        id="d3rlpy_mbo/ICUSepsis-v0",
        entry_point="d3rlpy_mbo.tasks.icu_sepsis:ICUSepsis",
        max_episode_steps=_STEPS,
        disable_env_checker=True,
    )


def collect_icu_sepsis(
    *,
    n_steps: int,
    expert_share: float = 0.5,
    seed: int = 0,
    dataset_id: str = "sepsis/icu-sepsis-v0",
    force: bool = False,
) -> str:
    """Makes a local Minari dataset of patients whom experts treat, or chance.

    The reference scores are exact: those of uniform actions and of the best policy.

    Args:
        n_steps: Number of transitions.
        expert_share: Probability that an action is drawn from the expert's policy; it is
            uniform otherwise.
        seed: Determines all of the dataset.
        dataset_id: Minari's ``namespace/name-v0``.
        force: Replace an existing dataset.

    Returns:
        The dataset's id.

    Raises:
        DatasetError: The package is missing, the dataset exists, or its id is malformed.
    """
    with write_alone(dataset_id):
        validate_free(dataset_id, force)
        env = gymnasium.make(icu_sepsis_spec())
        patients: Any = env.unwrapped
        policy = logged_policy(patients.expert_policy, expert_share)
        rng = np.random.default_rng(seed)
        replay = Replay(n_steps, env)
        with Progress("Treating patients", total=n_steps) as progress:
            while replay.size < n_steps:
                episode_seed, ended = int(rng.integers(2**31)), False
                observation, _ = env.reset(seed=episode_seed)
                replay.begin_episode(episode_seed, observation)
                while not ended and replay.size < n_steps:
                    action = rng.choice(policy.shape[1], p=policy[patients.state])
                    observation, reward, terminated, truncated, _ = env.step(action)
                    replay.append(action, float(reward), terminated, observation)
                    ended = terminated or truncated
                    progress.advance()
        uniform = np.full_like(policy, 1 / policy.shape[1])
        write_local_dataset(
            dataset_id,
            replay.episodes(),
            env=icu_sepsis_spec(),
            metadata={
                "description": (
                    f"{n_steps} transitions of ICU-Sepsis (Choudhary et al. 2024), logged "
                    "by a mixture: its expert's actions with probability "
                    f"{expert_share:g}, else uniform ones. Reference scores are the exact "
                    "values of uniform actions and of the best policy."
                ),
                "algorithm_name": "mixture of expert and uniform actions",
                "seed": seed,
                "expert_share": expert_share,
                "logged_value": exact_value(policy),
                "ref_min_score": exact_value(uniform),
                "ref_max_score": optimal_value(),
            },
            force=force,
        )
    return dataset_id


def logged_policy(expert: Table, expert_share: float) -> Table:
    """Returns (716, 25) probabilities of the mixture, of use in the first 713 states."""
    mixture: Table = expert_share * expert + (1 - expert_share) / expert.shape[1]
    return mixture
