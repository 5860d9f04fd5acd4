"""What a run is worth: evaluations on the way, and final episodes for pairs."""

import math
import statistics
from typing import Any, Optional

import d3rlpy
import gymnasium
import numpy as np
from d3rlpy.dataset import ReplayBufferBase
from d3rlpy.interface import StatefulTransformerAlgoProtocol
from d3rlpy.metrics import EvaluatorProtocol

from ..learners.reading import is_transformer
from ..metrics import normalized_score
from ..support.json_values import plain
from .transformers import acting

__all__ = [
    "FIRST_FINAL_SEED",
    "EnvironmentEvaluations",
    "evaluation",
    "final_evaluation",
]

# Final episodes start from reset(seed=...) of this and the following seeds, so that all
# runs on a task end with the same ones and can be compared in pairs.
FIRST_FINAL_SEED = 1_000_000


class EnvironmentEvaluations:
    """Mean raw return, from starts that depend on seed and number of the evaluation only.

    So a run goes on as it would have, without keeping anything of the environment.

    Args:
        env: To play in. If it has `exact_return(predict)`, that is called instead.
        evaluator: Plays in it, see `environment_evaluator`.
        seed: Of the first evaluation.
        n_done: Evaluations before this process.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        evaluator: EvaluatorProtocol,
        seed: int,
        n_done: int = 0,
    ):
        self._env, self._seed, self._n_done = env, seed, n_done
        self._evaluator = evaluator

    def __call__(self, algo: Any, dataset: ReplayBufferBase) -> float:
        """See d3rlpy's `EnvironmentEvaluator`."""
        exact = _exact_value(algo, self._env)
        if exact is not None:
            return exact
        seed = self._seed
        if self._n_done:
            sequence = np.random.SeedSequence([self._seed, self._n_done])
            seed = int(sequence.generate_state(1)[0]) >> 1
        self._n_done += 1
        d3rlpy.envs.seed_env(self._env, seed)
        return self._evaluator(algo, dataset)


def evaluation(
    step: int, metrics: dict[str, float], scores: Optional[tuple[float, float]]
) -> dict[str, Any]:
    """Returns an evaluation as ``result.json`` has it.

    Args:
        step: Gradient steps before it.
        metrics: Of its epoch; ``"environment"`` is the mean return.
        scores: Returns that score 0 and 100, if there are any.
    """
    value = metrics["environment"]
    return {"step": step, **_judged(value, scores)}


def final_evaluation(
    learner: Any,
    env: gymnasium.Env[Any, Any],
    n_trials: int,
    scores: Optional[tuple[float, float]],
    target_return: Optional[float] = None,
) -> dict[str, Any]:
    """Plays episodes after training, and returns them as ``result.json`` has them.

    Args:
        learner: A d3rlpy algorithm.
        env: To play in; its starts are the same for every run.
        n_trials: Number of episodes; an exact return stands for all of them.
        scores: Returns that score 0 and 100, if there are such.
        target_return: What a transformer is asked to reach.
    """
    exact = _exact_value(learner, env)
    if exact is not None:
        returns = [exact]
    else:
        acts = acting(learner, target_return)
        returns = [
            _episode_return(acts, env, FIRST_FINAL_SEED + i) for i in range(n_trials)
        ]
    return {
        "returns": plain(returns),
        **_judged(statistics.fmean(returns), scores),
    }


def _exact_value(learner: Any, env: gymnasium.Env[Any, Any]) -> Optional[float]:
    """Returns what an environment says a policy is worth, None if it has to be played.

    A transformer's actions depend on more than the state.
    """
    exact = getattr(env.unwrapped, "exact_return", None)
    if exact is None or is_transformer(learner):
        return None
    return float(exact(learner.predict))


def _judged(
    value: float, scores: Optional[tuple[float, float]]
) -> dict[str, Optional[float]]:
    """Returns a mean return and its score; null where it, or the scale, is none."""
    judged = {"return": value, "normalized_score": math.nan}
    if scores is not None:
        judged["normalized_score"] = normalized_score(value, scores)
    return dict(plain(judged))


def _episode_return(
    acts: StatefulTransformerAlgoProtocol, env: gymnasium.Env[Any, Any], seed: int
) -> float:
    observation, _ = env.reset(seed=seed)
    acts.reset()
    total, reward, done = 0.0, 0.0, False
    while not done:
        action = acts.predict(observation, reward)
        observation, given, terminated, truncated, _ = env.step(action)
        reward = float(given)
        total += reward
        done = terminated or truncated
    return total
