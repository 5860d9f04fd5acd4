"""What the learner believes of real rows and of imagined ones."""

from typing import Any

import numpy as np
import torch
from d3rlpy.metrics import EvaluatorProtocol

from ..data.environments import evaluation_environment
from ..data.minari_files import open_minari
from ..data.transitions import Transitions
from ..learners.q_values import without_scale
from ..learners.reading import is_transformer

__all__ = ["ImaginedQ", "InsideWalls", "RealQ", "evaluators"]

_N_ROWS = 2000


def evaluators(
    dataset_id: str, trust_environment: bool = False
) -> dict[str, EvaluatorProtocol]:
    """Returns what a study logs besides returns.

    Args:
        dataset_id: Of the dataset trained on.
        trust_environment: As `load_minari` has it.
    """
    source = open_minari(dataset_id, trust_environment)
    env: Any = evaluation_environment(source, trust_environment)
    walls = getattr(getattr(env, "unwrapped", None), "walls", None)
    found: dict[str, EvaluatorProtocol] = {
        "q_real_mean": RealQ(),
        "q_imagined_mean": ImaginedQ(),
    }
    if walls is not None:
        found["imagined_in_wall_share"] = InsideWalls(walls)
    return found


class RealQ:
    """Mean of the learner's Q at fixed real rows, of all its critics, in dataset units."""

    def __init__(self) -> None:
        self._rows: Any = None

    def __call__(self, algo: Any, dataset: Any) -> float:
        """Returns it; NaN where the learner has no Q.

        Args:
            algo: The learner.
            dataset: The buffer it learns from.
        """
        if self._rows is None:
            rows = dataset.real_data.transitions  # read again it would be held twice
            some = np.linspace(0, len(rows) - 1, _N_ROWS).astype(int)
            self._rows = rows.observations[some].numpy(), rows.actions[some].numpy()
        return _mean_q(algo, *self._rows)


class ImaginedQ:
    """Likewise at imagined rows; NaN where nothing is imagined."""

    def __call__(self, algo: Any, dataset: Any) -> float:
        """Returns it.

        Args:
            algo: The learner.
            dataset: The buffer it learns from.
        """
        rows = _imagined_rows(dataset)
        if not len(rows):
            return float("nan")
        return _mean_q(algo, rows.observations.numpy(), rows.actions.numpy())


class InsideWalls:
    """Share of imagined observations whose position lies in a wall of the maze.

    Args:
        walls: Centres of walls of one unit square, with shape (M, 2).
    """

    def __init__(self, walls: Any):
        self._walls = walls

    def __call__(self, algo: Any, dataset: Any) -> float:
        """Returns it; NaN where nothing is imagined.

        Args:
            algo: The learner.
            dataset: The buffer it learns from.
        """
        rows = _imagined_rows(dataset)
        if not len(rows):
            return float("nan")
        observations = torch.cat([rows.observations, rows.next_observations]).numpy()
        offsets = np.abs(observations[:, None, :2] - self._walls)
        return float((offsets < 0.5).all(axis=2).any(axis=1).mean())


def _imagined_rows(dataset: Any) -> Transitions:
    rows: Transitions = dataset.sample_imagined(_N_ROWS)
    return rows


def _mean_q(algo: Any, observations: Any, actions: Any) -> float:
    if is_transformer(algo):  # they predict actions, and d3rlpy's have no predict_value
        return float("nan")
    try:
        values = algo.predict_value(observations, actions)
    except NotImplementedError:  # behavioural cloning has no Q
        return float("nan")
    # d3rlpy's are in the unit of scaled rewards, another one for each learner's scaler.
    return float(without_scale(algo, torch.as_tensor(values)).mean())
