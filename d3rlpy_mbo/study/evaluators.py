"""What the learner believes of real rows and of imagined ones."""

from typing import Any

import minari
import numpy as np
from d3rlpy.metrics import EvaluatorProtocol

import d3rlpy_mbo as mbo

from ..data.packed_rows import PackedLayout

_N_ROWS = 2000


def evaluators(dataset_id: str) -> dict[str, EvaluatorProtocol]:
    """Returns what a study logs besides returns.

    Args:
        dataset_id: Of the dataset trained on.
    """
    env: Any = minari.load_dataset(dataset_id).recover_environment(eval_env=True)
    walls = getattr(env.unwrapped, "walls", None)
    found: dict[str, EvaluatorProtocol] = {
        "q_real_mean": RealQ(),
        "q_imagined_mean": ImaginedQ(),
    }
    if walls is not None:
        found["imagined_in_wall_share"] = InsideWalls(walls)
    return found


class RealQ:
    """Mean of the learner's Q at fixed real rows."""

    def __init__(self) -> None:
        self._rows: Any = None

    def __call__(self, algo: Any, dataset: Any) -> float:
        if self._rows is None:
            rows = mbo.Transitions.from_dataset(dataset)
            some = np.linspace(0, len(rows) - 1, _N_ROWS).astype(int)
            self._rows = rows.observations[some].numpy(), rows.actions[some].numpy()
        return _mean_q(algo, *self._rows)


class ImaginedQ:
    """Mean of the learner's Q at imagined rows; NaN where nothing is imagined."""

    def __call__(self, algo: Any, dataset: Any) -> float:
        rows = imagined_columns(dataset)
        if not rows:
            return float("nan")
        return _mean_q(algo, rows["observations"], rows["actions"])


class InsideWalls:
    """Share of imagined observations whose position lies in a wall of the maze.

    Args:
        walls: Centres of walls of one unit square, with shape (M, 2).
    """

    def __init__(self, walls: Any):
        self._walls = walls

    def __call__(self, algo: Any, dataset: Any) -> float:
        rows = imagined_columns(dataset)
        if not rows:
            return float("nan")
        observations = np.concatenate([rows["observations"], rows["next_observations"]])
        offsets = np.abs(observations[:, None, :2] - self._walls)
        return float((offsets < 0.5).all(axis=2).any(axis=1).mean())


def imagined_columns(buffer: mbo.ImaginedReplayBuffer) -> dict[str, Any]:
    """Draws imagined rows, without a trace in the random numbers that train.

    Returns:
        Columns by name; empty if nothing has been imagined.
    """
    sources = [source for source in buffer.sources if len(source.ring)]
    if not sources:
        return {}
    info = buffer.dataset_info
    layout = PackedLayout(
        info.observation_signature.shape[0][0], info.action_signature.shape[0][0]
    )
    rows = np.empty((len(sources), _N_ROWS, layout.width), dtype=np.float32)
    state = np.random.get_state()
    for source, out in zip(sources, rows, strict=True):
        source.sample(out)
    np.random.set_state(state)
    return layout.columns(rows.reshape(-1, layout.width))


def _mean_q(algo: Any, observations: Any, actions: Any) -> float:
    try:
        return float(algo.predict_value(observations, actions).mean())
    except NotImplementedError:  # behavioural cloning has no Q
        return float("nan")
