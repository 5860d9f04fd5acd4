"""Numbers as verdicts and tables say them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .results import Values

__all__ = ["STEPS_SHOWN", "counted", "places"]

# Of many steps those that tables have, besides the last.
STEPS_SHOWN = {1, 2, 5, 10, 20, 50, 100, 200, 500}


def places(number: float) -> str:
    """Returns a number with two places; a large one, as of a ruined model, by its size."""
    return f"{number:.2f}" if abs(number) < 1000 else f"{number:.3g}"


def counted(found: "Values") -> list[str]:
    """Returns what Q-values count besides the dataset's rewards, a sentence each."""
    sentences = []
    if found.reward_scaler is not None:
        sentences.append(
            f"Q-values and returns are of rewards as the learner's {found.reward_scaler} "
            "shifts or clips them."
        )
    if found.entropy:
        sentences.append(
            f"Of the Q-values up to {found.entropy:.4g} may be for the policy's entropy."
        )
    return sentences
