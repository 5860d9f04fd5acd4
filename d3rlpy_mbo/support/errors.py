"""One exception type per failure; every message says what, whose, and what next."""

import contextlib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

__all__ = [
    "CheckpointError",
    "CompositionError",
    "ConformanceError",
    "D3RLPyMBOError",
    "DatasetError",
    "DivergedError",
    "DuplicateComponentError",
    "LearnerMismatchError",
    "LoadError",
    "NotFittedError",
    "PluginError",
    "TerminationRequiredError",
    "UnknownComponentError",
    "listed",
    "suggest",
    "told_of",
]


# Names that a message lists at most (ours: d3rlpy has 26 algorithms).
_SHOWN = 60

# Of what may be as many as the data has columns (ours).
_LISTED = 10


class D3RLPyMBOError(Exception):
    """Base of every error that d3rlpy-mbo raises on purpose."""


class CheckpointError(D3RLPyMBOError):
    """A checkpoint that is torn, foreign, or of a run with other settings."""


class CompositionError(D3RLPyMBOError):
    """Components, learner or settings that cannot work together."""


class ConformanceError(D3RLPyMBOError, AssertionError):
    """A component breaks its contract; raised by `d3rlpy_mbo.testing` alone."""


class DatasetError(D3RLPyMBOError):
    """A dataset that cannot be found, read or used."""


class NotFittedError(D3RLPyMBOError):
    """A learned component was asked before it was fitted."""


class TerminationRequiredError(CompositionError):
    """Nothing says when episodes end: those of data with terminals, or an environment's."""


class LearnerMismatchError(D3RLPyMBOError):
    """The learner that trains is not the one the buffer was given."""


class UnknownComponentError(D3RLPyMBOError):
    """No component, learner or setting has this name."""


class DuplicateComponentError(D3RLPyMBOError):
    """Two distributions provide a component of the same kind and name."""


class PluginError(D3RLPyMBOError):
    """A plugin could not be loaded, or is switched off."""


class DivergedError(D3RLPyMBOError):
    """A model or a learner produced too many non-finite values to go on."""


class LoadError(D3RLPyMBOError):
    """A file is no saved imagination or learner, is damaged, or cannot be read here."""


def listed(items: Iterable[object], separator: str = ", ") -> str:
    """Returns the first of what may be a thousand things, and how many follow."""
    every = list(map(str, items))
    more = f" and {len(every) - _LISTED:,} more" if len(every) > _LISTED else ""
    return separator.join(every[:_LISTED]) + more


@contextlib.contextmanager
def told_of(whose: str) -> Iterator[None]:
    """Has the errors that we raise inside begin with whose they are."""
    try:
        yield
    except D3RLPyMBOError as error:
        # The same error: a plugin's own may be made of something else than a message.
        error.args = (f"{whose}: {error}",)
        raise


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns the tail of an error message about an unknown name.

    Args:
        name: What was asked for.
        known: What there is.

    Returns:
        The nearest known name if one is near, else all of them.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    if not near:  # as d3rlpy's classes are written: TD3PlusBC for td3_plus_bc
        by_letters = {each.casefold(): each for each in names}
        nearest = get_close_matches(name.casefold(), by_letters, n=1)
        near = [by_letters[each] for each in nearest]
    if near:
        return f"Did you mean {near[0]!r}?"
    shown = ", ".join(names[:_SHOWN]) if names else "none"
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"Known: {shown}{more}."
