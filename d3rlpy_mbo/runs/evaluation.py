"""What a run is worth: evaluations on the way, and final episodes for pairs."""

import math
import statistics
from typing import Any, Optional

import gymnasium
from d3rlpy.interface import StatefulTransformerAlgoProtocol

from ..metrics import normalized_score
from .transformers import acting

__all__ = ["FIRST_FINAL_SEED", "evaluation", "final_evaluation", "finite"]

# Final episodes start from reset(seed=...) of this and the following seeds, so that all
# runs on a task end with the same ones and can be compared in pairs.
FIRST_FINAL_SEED = 1_000_000


def evaluation(
    step: int, metrics: dict[str, float], scores: Optional[tuple[float, float]]
) -> dict[str, Any]:
    """Returns an evaluation as ``result.json`` has it.

    Args:
        step: Gradient steps before it.
        metrics: Of its epoch; ``"environment"`` is the mean return.
        scores: Returns that score 0 and 100, if there are such.
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
        n_trials: Number of episodes.
        scores: Returns that score 0 and 100, if there are such.
        target_return: What a transformer is asked to reach.
    """
    acts = acting(learner, target_return)
    returns = [
        _episode_return(acts, env, FIRST_FINAL_SEED + i) for i in range(n_trials)
    ]
    played = finite({str(i): value for i, value in enumerate(returns)})
    return {
        "returns": list(played.values()),
        **_judged(statistics.fmean(returns), scores),
    }


def _judged(
    value: float, scores: Optional[tuple[float, float]]
) -> dict[str, Optional[float]]:
    """Returns a mean return and its score; null where it, or the scale, is none."""
    scaled = scores is not None and scores[0] != scores[1]
    judged = {"return": value, "normalized_score": math.nan}
    if scaled and scores is not None:
        judged["normalized_score"] = normalized_score(value, scores)
    return finite(judged)


def finite(metrics: dict[str, float]) -> dict[str, Optional[float]]:
    """Returns numbers as JSON has them: null where one is NaN or infinite."""
    return {
        name: float(value) if math.isfinite(value) else None
        for name, value in metrics.items()
    }


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
