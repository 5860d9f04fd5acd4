"""Numbers as verdicts say them."""

__all__ = ["places"]


def places(number: float) -> str:
    """Returns a number with two places; a large one, as of a ruined model, by its size."""
    return f"{number:.2f}" if abs(number) < 1000 else f"{number:.3g}"
