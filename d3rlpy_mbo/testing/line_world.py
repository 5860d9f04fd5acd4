"""The world of the checks: s' = s + M a with M a = (a1, a2, a1), and r = s1.

Linear, so that any model can learn it; D differs from A and the action ranges are neither
symmetric nor equal, so that nothing fits by accident. Where actions are discrete, M a is
that of the row of `CHOICES` that the index names, so that its size says nothing. Always the
same numbers: nothing here draws from the global random state.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import d3rlpy
import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.dataset import (
    Episode,
    EpisodeBase,
    InfiniteBuffer,
    ReplayBuffer,
    Signature,
    TransitionPickerProtocol,
)

from ..components.dynamics.ensemble import ProbabilisticEnsembleConfig
from ..data.episodes import CompleteEpisode, CompleteTransitionPicker
from ..data.real_data import RealData
from ..data.transitions import Direction, Transitions
from ..learners.reading import Learner

__all__ = [
    "ACTION_HIGH",
    "ACTION_LOW",
    "ACTION_SIZE",
    "CHOICES",
    "OBSERVATION_SIZE",
    "SMALL_NOISE",
    "LineWorld",
    "complete_dataset",
    "draw",
    "ending_transitions",
    "line_dataset",
    "line_dynamics",
    "line_learner",
    "line_transitions",
    "moves",
    "slope",
    "zero_filled_dataset",
]

OBSERVATION_SIZE, ACTION_SIZE = 3, 2
ACTION_LOW, ACTION_HIGH = torch.tensor([-1.0, -0.2]), torch.tensor([0.5, 2.0])
SMALL_NOISE = 0.057  # times 17 are deviations of 1; no round number is near its square
CHOICES = torch.tensor([[0.5, -0.2], [-1.0, 2.0], [0.2, 0.9]])

_ENCODER = d3rlpy.models.VectorEncoderFactory([16])
_BEYOND = 2.5  # episodes of `ending_transitions` end from s1 beyond it


def draw(n_rows: int, size: int, seed: int) -> torch.Tensor:
    """Returns (n_rows, size) uniform numbers in [0, 1), the same for the same seed."""
    return torch.rand(n_rows, size, generator=torch.Generator().manual_seed(seed))


def moves(actions: torch.Tensor, choices: bool = False) -> torch.Tensor:
    """Returns M a, (B, 3), for actions (B, 2), or indices (B, 1) of choices."""
    if choices:
        actions = CHOICES[actions[:, 0].long()]
    return torch.cat([actions, actions[:, :1]], dim=1)


def slope(values: torch.Tensor, over: torch.Tensor) -> float:
    """Returns the common slope of the columns of values (B, D) over those of others.

    That of s' - s over M a is 1, that of s - s' is -1.
    """
    values, over = values - values.mean(dim=0), over - over.mean(dim=0)
    return float((values * over).sum() / over.square().sum())


def zero_filled_dataset(transitions: Transitions) -> ReplayBuffer:
    """Returns rows as d3rlpy stores them: s' of terminals is lost, zeros in its place."""
    episodes = [
        Episode(
            # Without a second step, d3rlpy has no next observation to give.
            states[:1] if ended else states,
            actions[:1] if ended else actions,
            rewards[:1] if ended else rewards,
            ended,
        )
        for states, actions, rewards, ended in _single_steps(transitions)
    ]
    return _replay_buffer(episodes, transitions.n_actions)


def complete_dataset(transitions: Transitions) -> ReplayBuffer:
    """Returns rows as `load_minari` keeps them, each with its true next observation."""
    episodes = [
        CompleteEpisode(states, actions[:1], rewards[:1], ended)
        for states, actions, rewards, ended in _single_steps(transitions)
    ]
    return _replay_buffer(episodes, transitions.n_actions, CompleteTransitionPicker())


def _replay_buffer(
    episodes: Sequence[EpisodeBase],
    n_actions: Optional[int],
    transition_picker: Optional[TransitionPickerProtocol] = None,
) -> ReplayBuffer:
    def signature(size: int, dtype: Any = np.float32) -> Signature:
        return Signature(dtype=[np.dtype(dtype)], shape=[(size,)])

    actions, size = signature(ACTION_SIZE), ACTION_SIZE
    if n_actions is not None:
        actions, size = signature(1, np.int64), n_actions
    spaces = d3rlpy.constants.ActionSpace
    return ReplayBuffer(
        InfiniteBuffer(),
        transition_picker=transition_picker,
        episodes=episodes,
        # d3rlpy logs a line for each of these that it has to find out.
        observation_signature=signature(OBSERVATION_SIZE),
        action_signature=actions,
        reward_signature=signature(1),
        action_space=spaces.CONTINUOUS if n_actions is None else spaces.DISCRETE,
        action_size=size,
    )


def _stored(actions: torch.Tensor, n_actions: Optional[int]) -> npt.NDArray[Any]:
    """Returns actions as datasets hold them: choices are integers."""
    array: npt.NDArray[Any] = actions.numpy()
    return array if n_actions is None else array.astype(np.int64)


def _single_steps(
    transitions: Transitions,
) -> Iterator[
    tuple[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[np.float32], bool]
]:
    """Yields s and s' (2, D), a and a' (2, A), r twice (2, 1), and whether it ended."""
    for row in range(len(transitions)):
        step = transitions[row : row + 1]
        yield (
            torch.cat([step.observations, step.next_observations]).numpy(),
            _stored(
                torch.cat([step.actions, step.next_actions]), transitions.n_actions
            ),
            torch.cat([step.rewards, step.rewards]).numpy(),
            bool(step.terminals[0, 0]),
        )


@dataclasses.dataclass(frozen=True)
class LineWorld:
    """Data and learners of the world, for one kind of actions.

    Args:
        choices: Whether actions are indices of `CHOICES`.
    """

    choices: bool = False

    @property
    def n_actions(self) -> Optional[int]:
        """How many choices there are; None where actions are continuous."""
        return len(CHOICES) if self.choices else None

    @property
    def action_size(self) -> int:
        """A."""
        return 1 if self.choices else ACTION_SIZE

    @property
    def action_space(self) -> str:
        """Its name, as components declare it."""
        return "discrete" if self.choices else "continuous"

    @property
    def learners(self) -> tuple[str, ...]:
        """d3rlpy's algorithms that every imagination must train."""
        if self.choices:
            return "DoubleDQN", "DiscreteCQL", "DiscreteSAC"
        return "TD3PlusBC", "CQL", "IQL"

    def actions(self, n_rows: int, seed: int) -> torch.Tensor:
        """Returns (n_rows, A) actions."""
        if self.choices:
            return (len(CHOICES) * draw(n_rows, 1, seed)).floor()
        width = ACTION_HIGH - ACTION_LOW
        return ACTION_LOW + width * draw(n_rows, ACTION_SIZE, seed)

    def moves(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns M a, (B, 3)."""
        return moves(actions, self.choices)

    def line_transitions(self, n_rows: int = 1000) -> Transitions:
        """Returns rows with s in [-5, 5] that never end, each an episode of its own."""
        states = 10 * draw(n_rows, OBSERVATION_SIZE, 1) - 5
        return self._transitions(states, torch.zeros(n_rows))

    def ending_transitions(self, n_rows: int = 1000) -> Transitions:
        """Returns such rows; four of five with s1 > 2.5 are terminal, true s' kept."""
        states = 10 * draw(n_rows, OBSERVATION_SIZE, 1) - 5
        ends = (states[:, 0] > _BEYOND) & (draw(n_rows, 1, 2)[:, 0] < 0.8)
        return self._transitions(states, ends.float())

    def small_transitions(self) -> Transitions:
        """Returns rows of another world, s' = s and r = 0.1 s1 + 0.5, with noise.

        So little is 1 there that what is standardised shows. The noise is uniform, of
        standard deviation `SMALL_NOISE` in each column of s' and in r.
        """
        rows = self.line_transitions()
        unit = 12**0.5 * (draw(len(rows), OBSERVATION_SIZE + 1, 9) - 0.5)
        noise = SMALL_NOISE * unit
        return dataclasses.replace(
            rows,
            next_observations=rows.observations + noise[:, :-1],
            rewards=0.1 * rows.observations[:, :1] + 0.5 + noise[:, -1:],
        )

    def connected_transitions(self) -> Transitions:
        """Returns the rows of `line_dataset`, as an imagination hands them to `fit`."""
        return RealData.of(self.line_dataset()).for_models

    def _transitions(
        self, observations: torch.Tensor, terminals: torch.Tensor
    ) -> Transitions:
        actions = self.actions(len(observations), 3)
        return Transitions(
            observations,
            actions,
            observations[:, :1].clone(),
            observations + self.moves(actions),
            self.actions(len(observations), 4),
            terminals[:, None],
            episode_ids=torch.arange(len(observations), dtype=torch.int32),
            n_actions=self.n_actions,
        )

    def line_dataset(
        self, terminated: bool = False, n_episodes: int = 40
    ) -> ReplayBuffer:
        """Returns connected episodes of 25 steps with their last observations.

        Args:
            terminated: Whether every second episode ends in a terminal.
            n_episodes: How many.
        """
        episodes = []
        for i in range(n_episodes):
            actions = self.actions(25, 100 + i)
            start = 10 * draw(1, OBSERVATION_SIZE, 200 + i) - 5
            observations = torch.cat([start, self.moves(actions)]).cumsum(dim=0)
            episodes.append(
                CompleteEpisode(
                    observations.numpy(),
                    _stored(actions, self.n_actions),
                    observations[:-1, :1].numpy().copy(),
                    terminated and i % 2 == 0,
                )
            )
        return _replay_buffer(episodes, self.n_actions, CompleteTransitionPicker())

    def line_learner(
        self, name: Optional[str] = None, device: str = "cpu:0"
    ) -> Learner:
        """Returns a small d3rlpy algorithm, built, that acts within the action set.

        Always with the same networks.

        Args:
            name: Of its class, one of `learners`; the first of them by default.
            device: Where it is.
        """
        name = name or self.learners[0]
        config = getattr(d3rlpy.algos, f"{name}Config")(batch_size=16)
        if not self.choices:
            config.action_scaler = d3rlpy.preprocessing.MinMaxActionScaler(
                ACTION_LOW.numpy(), ACTION_HIGH.numpy()
            )
        for field in dataclasses.fields(config):
            if field.name.endswith("encoder_factory"):
                setattr(config, field.name, _ENCODER)
        learner: Learner = config.create(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            size = self.n_actions or ACTION_SIZE
            learner.create_impl((OBSERVATION_SIZE,), size)
        return learner


_CONTINUOUS = LineWorld()
line_transitions = _CONTINUOUS.line_transitions
ending_transitions = _CONTINUOUS.ending_transitions
line_dataset = _CONTINUOUS.line_dataset
line_learner = _CONTINUOUS.line_learner


def line_dynamics(direction: Direction = "forward") -> ProbabilisticEnsembleConfig:
    """Returns the config of an ensemble that fits the world in a blink."""
    return ProbabilisticEnsembleConfig(
        direction=direction,
        n_models=2,
        n_elites=1,
        hidden_units=[32],
        weight_decays=[0.0, 0.0],
        max_steps=60,
    )
