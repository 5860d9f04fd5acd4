"""The seam: a d3rlpy replay buffer that mixes real and imagined transitions."""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn, Optional, Union, cast

import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.dataset import (
    BufferProtocol,
    DatasetInfo,
    EpisodeBase,
    FIFOBuffer,
    InfiniteBuffer,
    PartialTrajectory,
    ReplayBuffer,
    ReplayBufferBase,
    TrajectoryMiniBatch,
    TrajectorySlicerProtocol,
    Transition,
    TransitionPickerProtocol,
)

from .. import learners
from ..data.real_data import RealData
from ..data.transitions import Transitions
from ..imagination.imagination import Imagination
from ..learners.reading import AnyLearner, Learner, validate_real_ratio
from ..learners.returns import (
    uses_returns,
    validate_unknown_returns,
    warn_of_cut_episodes,
)
from ..registry.fields import Number
from ..support.errors import CompositionError
from .drawn import DrawnRows, DrawnTransitions, RealRows
from .drawn_penalties import validate_rewards_behind
from .fill import Fill, validate_fills
from .mini_batch import ImaginedMiniBatch
from .mixing import refuse_mixing
from .processes import validate_processes
from .progress import LearnerProgress
from .shares import batch_shares, imaginations_of, split_batch
from .source import ImaginedSource, validate_rows
from .trajectories import Trajectories, first_of
from .transformers import (
    validate_lead_ins,
    validate_slicer,
    validate_transformer,
    warn_of_padding,
)

__all__ = ["ImaginedReplayBuffer", "validate_dataset"]

_AMOUNT = Number(at_least=0, whole=True)


class ImaginedReplayBuffer(ReplayBufferBase):
    """Mixes real and imagined rows; imagines in `sample_transition_batch`, when due.

    Give it to `algo.fit` instead of the dataset. The first batch fills it; the time this
    takes shows as d3rlpy's `time_sample_batch`. Scalers, evaluators, `episodes` and
    `buffer` see the real data alone.

    Args:
        dataset: Real data, or what `RealData.of` read of it; never changed. Episodes that
            are appended to it afterwards are not drawn, and there is a warning.
        imagination: One, several, or none (``[]``): the real data alone.
        learner: The algorithm that will train. Required if an imagination asks it. If it
            is given, the schedule follows its `grad_step`, so that evaluators and FQE may
            sample as well; if not, batches are counted.
        real_ratio: Share of real rows in a batch, in expectation. Defaults to the
            imagination's own; required with several.
        shares: How the imagined rest is split over several imaginations, in any
            unit; equally by default.

    Raises:
        CompositionError: Ratio, shares or learner do not fit.
        DatasetError: The dataset cannot be used.
        NotFittedError: An imagination is not fitted.
        TerminationRequiredError: The data holds terminals, and an imagination has no
            termination.
    """

    def __init__(
        self,
        dataset: Union[ReplayBufferBase, RealData],
        imagination: Union[Imagination, Sequence[Imagination]],
        learner: Optional[AnyLearner] = None,
        real_ratio: Optional[float] = None,
        shares: Optional[Sequence[float]] = None,
    ):
        imaginations = imaginations_of(imagination)
        self._shares = batch_shares(imaginations, real_ratio, shares)
        self._progress = _progress(imaginations, learner)
        if learner is not None:
            validate_real_ratio(learner, float(self._shares[0]))
        validate_dataset(dataset)
        self._real = real = RealData.of(dataset)
        self._dataset = real.dataset
        rows = real.transitions
        if learner is not None:
            learners.check_actions(learner, rows.n_actions)
        if learner is not None and learners.is_built(learner):
            sizes = rows.observation_size, rows.action_size
            learners.check_built(learner, *sizes, n_actions=rows.n_actions)
        for each in imaginations:
            each.check_ready(real.transitions)
        real.validate_for_learners()
        self._learner_rows = real.learner_rows
        self._learner = learner
        if learners.is_transformer(learner):
            validate_transformer(learner, real, imaginations, self._shares)
            warn_of_padding(learner, real)
        for each in imaginations:
            validate_rows(each, learner)
        validate_fills([Fill.of(each, real, learner) for each in imaginations])
        asked = cast(Optional[Learner], learner)  # no part asks a transformer
        self._sources = [ImaginedSource(each, real, asked) for each in imaginations]
        self._rows_drawn = np.zeros(1 + len(imaginations), dtype=np.int64)
        # Other buffers may make their episodes when asked, at any cost: not watched.
        self._watched: Optional[Union[InfiniteBuffer, FIFOBuffer]] = None
        if type(self._dataset) is ReplayBuffer:
            kept = self._dataset.buffer
            if type(kept) in (InfiniteBuffer, FIFOBuffer):
                self._watched = cast(Union[InfiniteBuffer, FIFOBuffer], kept)
        if uses_returns(learner) and self._unknown_share(self._shares):
            self._validate_unknown_returns()
        if uses_returns(learner) or learners.is_transformer(learner):
            warn_of_cut_episodes(learner, real)

    def __repr__(self) -> str:
        shares = ", ".join(
            f"{share:.0%} {each.config.get_type()}"
            for share, each in zip(self._shares[1:], self.imaginations, strict=True)
        )
        n_episodes = len(self._real.episode_starts) - 1
        return (
            f"<ImaginedReplayBuffer of {n_episodes} real episodes, "
            f"{len(self._learner_rows)} rows for learners: {self._shares[0]:.0%} real"
            f"{', ' if shares else ''}{shares}>"
        )

    @property
    def learner(self) -> Optional[AnyLearner]:
        """The algorithm that was given, None if none was."""
        return self._learner

    @property
    def real_data(self) -> RealData:
        """The real rows as they were read when this buffer was made."""
        return self._real

    @property
    def imaginations(self) -> list[Imagination]:
        """What imagines, in the order given."""
        return [source.imagination for source in self._sources]

    @property
    def sources(self) -> Sequence[ImaginedSource]:
        """The imagined rows and numbers of each imagination."""
        return tuple(self._sources)

    @property
    def imagined_share(self) -> float:
        """Share of imagined rows among all drawn so far; 0.0 before the first.

        For trajectories, the share of those that begin in an imagined row.
        """
        total = int(self._rows_drawn.sum())
        return float(self._rows_drawn[1:].sum() / total) if total else 0.0

    @property
    def unknown_returns_share(self) -> float:
        """Share of the rows drawn so far whose return-to-go is not known."""
        return self._unknown_share(self._rows_drawn)

    def _unknown_share(self, weights: npt.NDArray[Any]) -> float:
        """Returns the share of rows without a known return, by weights as `shares`."""
        known = [True, *(source.leads_to_real for source in self._sources)]
        total = float(weights.sum())
        return float(weights[~np.array(known)].sum()) / total if total else 0.0

    def _validate_unknown_returns(self) -> None:
        if self._learner is None:
            raise CompositionError(learners.needs_returns_to_go("This algorithm"))
        validate_unknown_returns(self._learner)

    @functools.cached_property
    def real_reward_mean(self) -> float:
        """Mean reward of the real rows that learners draw."""
        return float(self._real.transitions.rewards.numpy()[self._learner_rows].mean())

    def refresh(self) -> None:
        """Imagines anew now, with every imagination that batches are drawn from."""
        for source, share in zip(self._sources, self._shares[1:], strict=True):
            if share > 0:
                source.refresh(self._progress.step)

    def sample_transition_batch(self, batch_size: int) -> ImaginedMiniBatch:
        """Draws a batch of real and imagined rows, after imagining if it is due.

        Args:
            batch_size: Rows, with replacement.

        Returns:
            A mini-batch in dataset units that says which rows are imagined. Its
            `transitions` are made when somebody iterates over them, as Cal-QL does for
            returns-to-go; that is possible until rows are imagined anew.

        Raises:
            LearnerMismatchError: Another learner trains than the one that was given.
            CompositionError: The imagination is no longer the one this was made for.
            DivergedError: An imagination produced too many non-finite rows.
        """
        counts = self._counts_of_next_batch(batch_size)
        rows = np.empty((batch_size, self._real.layout.width), dtype=np.float32)
        ends = np.cumsum(counts)
        drawn = np.random.randint(len(self._learner_rows), size=counts[0])
        real = self._learner_rows[drawn]
        np.take(self._real.packed, real, axis=0, out=rows[: ends[0]], mode="clip")
        parts: list[DrawnRows] = [RealRows(self._real, real)]
        intervals = np.ones((batch_size, 1), dtype=np.float32)
        for source, first, last in zip(self._sources, ends, ends[1:], strict=False):
            imagined = source.sample(rows[first:last])
            if imagined.intervals is not None:
                intervals[first:last, 0] = imagined.intervals
            parts.append(imagined)
        columns = {**self._real.layout.columns(rows), "intervals": intervals}
        return ImaginedMiniBatch(
            **columns,
            transitions=DrawnTransitions(
                columns, parts, self._validate_unknown_returns
            ),
            imagined=np.arange(batch_size)[:, None] >= counts[0],
        )

    def _counts_of_next_batch(self, batch_size: int) -> npt.NDArray[np.int64]:
        """Imagines if it is due; returns how much of a batch is real, then of each."""
        self._warn_of_new_rows()
        step = self._progress.observe()
        for source, share in zip(self._sources, self._shares[1:], strict=True):
            if share > 0:
                source.prepare(step)
        counts = split_batch(batch_size, self._shares)
        self._rows_drawn += counts
        return counts

    def _warn_of_new_rows(self) -> None:
        """Warns, once, if the dataset has other rows than those that were read."""
        if self._watched is None:
            return
        n_rows, real = self._watched.transition_count, self._real
        if n_rows == len(real):  # of a full FIFO buffer it stays
            last, _ = self._watched[n_rows - 1]
            if last is real.kept.episodes[-1]:
                return
        self._watched = None  # once is enough
        warnings.warn(
            f"The dataset was changed since this buffer read it: it holds {n_rows} "
            f"transitions, but batches and rollouts use the {len(real)} of then. Make a "
            "new buffer, and fit the imagination again if its model is to learn from the "
            "dataset as it is now.",
            stacklevel=1,
        )

    def sample_imagined(
        self, n_rows: int, imagination: Optional[int] = None
    ) -> Transitions:
        """Draws imagined rows to look at; what training draws is not affected.

        The rows are as they are kept: a penalty that is subtracted when rows are drawn is
        not subtracted here, and with `steps_per_row` a row holds up to so many steps, its
        reward folded for the learner, its s' where they end.

        Args:
            n_rows: Rows, with replacement.
            imagination: Index of one; by default the rows are split equally over all
                that have imagined something, in their order.

        Returns:
            Transitions on the CPU in dataset units; none if nothing was imagined yet.

        Raises:
            CompositionError: There is no such imagination, or a number of rows below 0.
        """
        n_rows = _AMOUNT.validated("n_rows", n_rows)
        chosen = self._sources
        if imagination is not None:
            if imagination not in range(len(self._sources)):
                raise CompositionError(
                    f"There is no imagination {imagination!r}: the buffer has "
                    f"{len(self._sources)}, counted from 0."
                )
            imagination = int(imagination)
            chosen = [self._sources[imagination]]
        chosen = [source for source in chosen if len(source.ring)]
        rows = np.empty(
            (n_rows if chosen else 0, self._real.layout.width), dtype=np.float32
        )
        # Drawn as batches are, then put back, whatever bit generator it is.
        state = np.random.get_state(legacy=False)
        try:
            for source, out in zip(
                chosen, np.array_split(rows, max(len(chosen), 1)), strict=False
            ):
                source.ring.take(source.ring.draw(len(out)), out)
        finally:
            np.random.set_state(state)
        columns = self._real.layout.columns(rows)
        return Transitions(
            **{k: torch.from_numpy(v) for k, v in columns.items()},
            n_actions=self._real.transitions.n_actions,
        )

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns where the schedule stands; the rings keep their rows themselves."""
        return {
            "progress": self._progress.checkpoint_state(),
            "rows_drawn": torch.from_numpy(self._rows_drawn),
            "sources": [source.checkpoint_state() for source in self._sources],
        }

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned."""
        self._progress.restore_checkpoint(state["progress"])
        self._rows_drawn = state["rows_drawn"].numpy().copy()
        for source, saved in zip(self._sources, state["sources"], strict=True):
            source.restore_checkpoint(saved)

    def sample_transition(self) -> Transition:
        """Returns a real transition; d3rlpy reads its shapes.

        Raises:
            CompositionError: d3rlpy's MixedReplayBuffer asks.
        """
        refuse_mixing()
        return self._dataset.sample_transition()

    def sample_trajectory(self, length: int) -> PartialTrajectory:
        """Returns one trajectory of `sample_trajectory_batch`.

        Raises:
            CompositionError: d3rlpy's MixedReplayBuffer asks.
            CompositionError, DatasetError, LearnerMismatchError, DivergedError: See
                `sample_trajectory_batch`.
        """
        refuse_mixing()  # to the schedule each would be a whole batch
        return first_of(self.sample_trajectory_batch(1, length))

    def sample_trajectory_batch(
        self, batch_size: int, length: int
    ) -> TrajectoryMiniBatch:
        """Draws sub-trajectories for transformers, after imagining if it is due.

        Real ones are those d3rlpy would draw. An imagination's begin in imagined rows of
        its reverse rollouts and continue in the real episodes that these lead to;
        timesteps and returns-to-go continue as well.

        Args:
            batch_size: Trajectories.
            length: Steps of each, padding in front included.

        Returns:
            A mini-batch in dataset units.

        Raises:
            CompositionError: An imagination imagines forwards, or its penalty is
                subtracted when single rows are drawn.
            DatasetError: The dataset has a trajectory slicer of its own.
            LearnerMismatchError, DivergedError: See `sample_transition_batch`.
        """
        trajectories = self._trajectories
        counts = self._counts_of_next_batch(batch_size)
        ends = np.random.randint(len(self._real), size=counts[0])
        places = [
            source.ring.draw(n_trajectories) if n_trajectories else ends[:0]
            for source, n_trajectories in zip(self._sources, counts[1:], strict=True)
        ]
        return trajectories.batch(length, ends, places)

    @functools.cached_property
    def _trajectories(self) -> Trajectories:
        """What trajectories are sliced from, if all imaginations lead into them."""
        validate_slicer(self._real)
        validate_lead_ins(self.imaginations, self._shares)
        for each, share in zip(self.imaginations, self._shares[1:], strict=True):
            if share > 0:
                validate_rewards_behind(each, "Trajectories hold")
        for source in self._sources:
            source.lead_in()
        return Trajectories(self._real, [source.ring for source in self._sources])

    def append(self, observation: Any, action: Any, reward: Any) -> NoReturn:
        """Raises CompositionError: real data is read-only here."""
        raise _read_only("append")

    def append_episode(self, episode: EpisodeBase) -> NoReturn:
        """Raises CompositionError: real data is read-only here."""
        raise _read_only("append_episode")

    def clip_episode(self, terminated: bool) -> NoReturn:
        """Raises CompositionError: real data is read-only here."""
        raise _read_only("clip_episode")

    def dump(self, f: BinaryIO) -> None:
        """Writes the real data, as the dataset would."""
        self._dataset.dump(f)

    @classmethod
    def from_episode_generator(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises CompositionError: build the dataset first."""
        raise _needs_dataset("from_episode_generator")

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises CompositionError: load the dataset first."""
        raise _needs_dataset("load")

    @property
    def episodes(self) -> Sequence[EpisodeBase]:
        """The real episodes."""
        return self._dataset.episodes

    def size(self) -> int:
        """Returns the number of real episodes."""
        return self._dataset.size()

    @property
    def buffer(self) -> BufferProtocol:
        """The real buffer."""
        return self._dataset.buffer

    @property
    def transition_count(self) -> int:
        """The number of real transitions."""
        return self._dataset.transition_count

    @property
    def transition_picker(self) -> TransitionPickerProtocol:
        """The dataset's.

        Raises:
            CompositionError: d3rlpy's MixedReplayBuffer asks, when it is made.
        """
        refuse_mixing()
        return self._dataset.transition_picker

    @property
    def trajectory_slicer(self) -> TrajectorySlicerProtocol:
        """The dataset's."""
        return self._dataset.trajectory_slicer

    @property
    def dataset_info(self) -> DatasetInfo:
        """The dataset's, its size of actions as `validated_n_actions` has it."""
        info = self._dataset.dataset_info
        return dataclasses.replace(info, action_size=int(info.action_size))


def validate_dataset(dataset: Union[ReplayBufferBase, RealData]) -> None:
    """Refuses a buffer that imagines in the place of the real data.

    It would be read as its real rows alone: what it imagines, and its real_ratio, would be
    lost in silence.

    Raises:
        CompositionError: Says what to pass.
    """
    given = dataset.dataset if isinstance(dataset, RealData) else dataset
    if isinstance(given, ImaginedReplayBuffer) and given.imaginations:
        raise CompositionError(
            "The dataset is an ImaginedReplayBuffer, of which only the real rows would be "
            "used. To train on it: learner.fit(buffer, ...). For mbo.fit or another buffer "
            "pass the dataset that it was made of, and beside it what imagines: "
            "buffer.imaginations, and real_ratio."
        )


def _progress(
    imaginations: Sequence[Imagination], learner: Optional[AnyLearner]
) -> LearnerProgress:
    if learner is not None:
        learners.check(learner)
    validate_processes(imaginations, learner)
    for each in imaginations:
        if each.needs_learner and learner is None:
            raise CompositionError(
                f"The imagination {each.config.get_type()!r} asks the learner (rollout "
                f"policy {each.config.rollout_policy.get_type()!r}), but the buffer got "
                "none. Pass ImaginedReplayBuffer(dataset, imagination, learner=algo)."
            )
    needed = any(each.needs_learner for each in imaginations)
    follows = any(each.config.rollout_interval is not None for each in imaginations)
    folded = any(each.config.steps_per_row > 1 for each in imaginations)
    return LearnerProgress(learner, needed, needed or follows, folded)


def _read_only(name: str) -> CompositionError:
    return CompositionError(
        f"ImaginedReplayBuffer.{name}: the real data is read-only here: use algo.fit, "
        "not fit_online. To train online afterwards, give the algorithm a new buffer: "
        "d3rlpy.dataset.create_fifo_replay_buffer(limit, episodes=buffer.episodes, "
        "env=env, transition_picker=buffer.transition_picker)."
    )


def _needs_dataset(name: str) -> CompositionError:
    return CompositionError(
        f"ImaginedReplayBuffer.{name}: make the dataset with d3rlpy's ReplayBuffer or "
        "mbo.load_minari or mbo.dataset_from_arrays, then ImaginedReplayBuffer(dataset, "
        "imagination)."
    )
