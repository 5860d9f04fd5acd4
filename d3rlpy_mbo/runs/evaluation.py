"""What a run is worth: evaluations on the way, and final episodes for pairs."""

import statistics
from typing import Any, Optional

import gymnasium

from ..metrics import normalized_score

__all__ = ["FIRST_FINAL_SEED", "evaluation", "final_evaluation"]

# Final episodes start from reset(seed=...) of this and the following seeds, so that all
# runs on a task end with the same ones and can be compared in pairs.
FIRST_FINAL_SEED = 1_000_000


def evaluation(
    step: int, metrics: dict[str, float], scores: Optional[tuple[float, float]]
) -> dict[str, Optional[float]]:
    """Returns an evaluation as ``result.json`` has it.

    Args:
        step: Gradient steps before it.
        metrics: Of its epoch; ``"environment"`` is the mean return.
        scores: Returns that score 0 and 100, if there are such.
    """
    value = metrics["environment"]
    return {
        "step": step,
        "return": value,
        "normalized_score": normalized_score(value, scores) if scores else None,
    }


def final_evaluation(
    learner: Any,
    env: gymnasium.Env[Any, Any],
    n_trials: int,
    scores: Optional[tuple[float, float]],
) -> dict[str, Any]:
    """Plays episodes after training, and returns them as ``result.json`` has them.

    Args:
        learner: A d3rlpy algorithm.
        env: To play in; its starts are the same for every run.
        n_trials: Number of episodes.
        scores: Returns that score 0 and 100, if there are such.
    """
    returns = [
        _episode_return(learner, env, FIRST_FINAL_SEED + i) for i in range(n_trials)
    ]
    mean = statistics.mean(returns)
    return {
        "returns": returns,
        "return": mean,
        "normalized_score": normalized_score(mean, scores) if scores else None,
    }


def _episode_return(learner: Any, env: gymnasium.Env[Any, Any], seed: int) -> float:
    observation, _ = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        action = learner.predict(observation[None])[0]
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        done = terminated or truncated
    return total
