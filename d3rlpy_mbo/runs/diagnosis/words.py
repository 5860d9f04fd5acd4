"""Numbers as verdicts and tables say them."""

__all__ = ["STEPS_SHOWN", "places"]

# Of many steps those that tables have, besides the last.
STEPS_SHOWN = {1, 2, 5, 10, 20, 50, 100, 200, 500}


def places(number: float) -> str:
    """Returns a number with two places; a large one, as of a ruined model, by its size."""
    return f"{number:.2f}" if abs(number) < 1000 else f"{number:.3g}"
