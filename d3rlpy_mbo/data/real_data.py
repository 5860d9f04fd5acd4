"""RealData: a dataset that was read once, for everything that follows."""

import dataclasses
import functools
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.dataset import MixedReplayBuffer, ReplayBuffer, ReplayBufferBase

from ..support.errors import DatasetError
from .action_sets import ActionSet
from .columns import read_columns
from .episode_rewards import EpisodeRewards
from .kept_rows import KeptRows
from .packed_rows import PackedLayout
from .suspicions import warn_of_suspicions
from .transitions import Direction, Transitions, transitions_of

__all__ = ["RealData", "start_rows"]

# How d3rlpy's buffer draws.
_DRAWS = {
    name: getattr(ReplayBuffer, name)
    for name in (
        "sample_transition",
        "sample_transition_batch",
        "sample_trajectory",
        "sample_trajectory_batch",
    )
}


@dataclasses.dataclass(frozen=True, eq=False)  # == of tensors is no bool
class RealData:
    """A d3rlpy dataset's transitions as one packed matrix, and sets of its rows.

    Made by `RealData.of`, and accepted wherever a dataset is: to call several functions
    with one dataset, read it once and pass this on. Nothing here is ever changed; it is
    what the dataset held when it was read.

    Args:
        dataset: Where it was read from.
        packed: (N, width) float32 on the host.
        layout: Where the columns lie in a row.
        transitions: The same rows as `Transitions` on the CPU, views of `packed`.
        episode_starts: (episodes + 1,) int64; the rows of an episode are consecutive.
        kept: Which of the dataset's transitions the rows are.
    """

    dataset: ReplayBufferBase
    packed: npt.NDArray[np.float32]
    layout: PackedLayout
    transitions: Transitions
    episode_starts: torch.Tensor
    kept: KeptRows

    @classmethod
    def of(cls, dataset: Union[ReplayBufferBase, "RealData"]) -> "RealData":
        """Reads a dataset; returns a `RealData` as it is.

        Nothing is kept for the next call: datasets can grow.

        Raises:
            DatasetError: See `Transitions.from_dataset`.
        """
        if isinstance(dataset, RealData):
            return dataset
        columns = read_columns(dataset)
        transitions = transitions_of(columns)
        starts = torch.from_numpy(columns.episode_starts)
        warn_of_suspicions(transitions, starts)
        return cls(
            dataset,
            columns.packed,
            columns.layout,
            transitions,
            starts,
            columns.kept,
        )

    def __repr__(self) -> str:
        rows = self.transitions
        actions = f"actions of size {rows.action_size}"
        if rows.n_actions is not None:
            actions = f"{rows.n_actions} choices"
        return (
            f"<RealData: {len(self)} rows of {len(self.episode_starts) - 1} episodes, "
            f"observations of size {rows.observation_size}, {actions}, "
            f"{int(rows.terminals.sum())} terminals>"
        )

    def __len__(self) -> int:
        return len(self.transitions)

    @functools.cached_property
    def episode_returns(self) -> torch.Tensor:
        """(episodes,) float64 sums of the rewards of each episode's rows."""
        rewards = self.transitions.rewards[:, 0].double()
        sums = torch.cat([torch.zeros(1, dtype=torch.float64), rewards.cumsum(dim=0)])
        return sums[self.episode_starts].diff()

    @functools.cached_property
    def model_rows(self) -> torch.Tensor:
        """Indices of the rows whose next observation is known: what models learn from."""
        known = self.transitions.next_observation_known
        return torch.arange(len(self)) if known is None else torch.nonzero(known)[:, 0]

    @property
    def for_models(self) -> Transitions:
        """The `model_rows`, which know their episodes.

        No copy if they are all rows; else one copy, kept as long as it is in use.
        """
        rows: Optional[Transitions] = self._for_models()
        if rows is None:
            lengths = self.episode_starts.diff()
            numbers = torch.arange(len(lengths), dtype=torch.int32)
            rows = dataclasses.replace(
                self.transitions, episode_ids=numbers.repeat_interleave(lengths)
            )
            if len(self.model_rows) == len(self):
                rows = dataclasses.replace(rows, next_observation_known=None)
            else:
                rows = rows[self.model_rows]
            self.__dict__["_for_models"] = weakref.ref(rows)
        return rows

    @functools.cached_property
    def _for_models(self) -> Callable[[], Optional[Transitions]]:
        return lambda: None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_for_models"}

    @functools.cached_property
    def learner_rows(self) -> npt.NDArray[np.int64]:
        """Indices of the rows that learners draw: those d3rlpy would draw."""
        rows: npt.NDArray[np.int64] = torch.nonzero(self.transitions.learner_rows())[
            :, 0
        ].numpy()
        return rows

    @functools.cached_property
    def rewards(self) -> EpisodeRewards:
        """The rewards of whole episodes: what follows a row.

        Raises:
            DatasetError: One is not finite.
        """
        return EpisodeRewards.of(self.kept)

    def validate_for_learners(self) -> None:
        """Refuses a dataset that learners cannot draw from.

        Warns of one that draws rows by itself: here each is as likely as any other.

        Raises:
            DatasetError: It has no row for them, or it draws from its parts in a ratio of
                its own, which would be lost if every row were equally likely.
        """
        if isinstance(self.dataset, MixedReplayBuffer):
            raise DatasetError(
                "The dataset is a MixedReplayBuffer, which draws its two parts in a "
                "ratio of its own and gives no single transitions, as learners need. "
                "Expected one buffer; join the parts (each row is then as likely as any "
                "other): d3rlpy.dataset.create_infinite_replay_buffer(mixed.episodes, "
                "transition_picker=mixed.transition_picker)."
            )
        if not len(self.learner_rows):
            raise DatasetError(
                "No transition of the dataset has a known next action or is terminal, so "
                "learners have nothing to train on: every row is an episode of its own. "
                "Were the rows shuffled? Keep them in their order, and load them with "
                "mbo.load_minari, mbo.load_hdf5 or mbo.dataset_from_arrays."
            )
        _warn_of_own_draws(self.dataset)

    @functools.cached_property
    def action_set(self) -> ActionSet:
        """The actions of the data: what proposed ones are projected to."""
        return self.transitions.action_set()

    def start_rows(self, direction: Direction) -> torch.Tensor:
        """Returns the indices of the rows that rollouts may start from, found once.

        Raises:
            DatasetError: There is none.
        """
        if direction not in self._starts:
            self._starts[direction] = start_rows(direction, self.transitions)
        return self._starts[direction]

    @functools.cached_property
    def _starts(self) -> dict[Any, torch.Tensor]:
        return {}


def _warn_of_own_draws(dataset: ReplayBufferBase) -> None:
    """Warns of a subclass of d3rlpy's buffer that draws in its own way, by priority say."""
    kind = type(dataset)
    own = [name for name in _DRAWS if getattr(kind, name) is not _DRAWS[name]]
    if isinstance(dataset, ReplayBuffer) and own:
        warnings.warn(
            f"The dataset is a {kind.__name__}, whose own {' and '.join(own)} will not be "
            "asked: batches hold each real row with the same probability, and rollouts "
            "start from each. If it draws evenly too, nothing is lost; priorities and "
            "weights of rows are.",
            stacklevel=4,
        )


def start_rows(direction: Direction, transitions: Transitions) -> torch.Tensor:
    """Returns the indices of the rows that rollouts may start from.

    Forwards from any s. Backwards only from a true s', which may be terminal but never
    zero-filled; what follows the first imagined row is the dataset's, so its action must
    be known.

    Raises:
        DatasetError: There is none.
    """
    if direction == "forward":
        return torch.arange(len(transitions))
    usable = transitions.learner_rows()
    if transitions.next_observation_known is not None:
        usable = usable & transitions.next_observation_known
    rows = torch.nonzero(usable)[:, 0]
    if not len(rows):
        raise DatasetError(
            "No transition of the dataset has both a known next observation and a known "
            "next action, so no reverse rollout has a real state to lead to. Load the "
            "data with mbo.load_minari, mbo.load_hdf5 or mbo.dataset_from_arrays."
        )
    return rows
