"""The model of a saved imagination, instead of one that a run would fit."""

import dataclasses
import warnings
from collections.abc import Collection

from ..components.dynamics.interface import Dynamics
from ..imagination.imagination import ImaginationConfig
from ..imagination.loading import load_imagination
from ..support.errors import CompositionError

__all__ = ["with_given_dynamics"]


def with_given_dynamics(
    config: ImaginationConfig, settings: Collection[str], path: str, device: str
) -> tuple[ImaginationConfig, Dynamics]:
    """Returns a config that asks for the model of a file, and that model.

    Args:
        config: Of an imagination; its other parts stay.
        settings: The dotted paths that the user set of it.
        path: A saved imagination.
        device: Where the model is to lie.

    Raises:
        LoadError, CompositionError: See `load_imagination`.
        CompositionError: The model has the other direction, or the user set fields of a
            model that is fitted already. Its direction may be set: it makes ROMI FOMI.
    """
    of_model = sorted(
        key
        for key in settings
        if key.partition(".")[0] == "dynamics" and key != "dynamics.direction"
    )
    if of_model:
        raise CompositionError(
            f"The model of {path!r} is fitted, so {of_model} of the imagination cannot "
            "be set any more. Leave these settings out, or the file, to have a model "
            "fitted."
        )
    saved = load_imagination(path, device)
    wanted, found = config.dynamics.direction, saved.dynamics.direction
    if wanted != found:
        raise CompositionError(
            f"The model of {path!r} is {found}, but the imagination {config.get_type()!r} "
            f"imagines {wanted}. Give the file of a {wanted} one, or an imagination that "
            f"is {found}: dynamics.direction={found}."
        )
    if saved.changed_for_another(None):
        warnings.warn(
            f"The model of {path!r} has been changed while another learner trained, and "
            "this run goes on from there. For an independent run, give a file that was "
            "saved before training.",
            stacklevel=3,
        )
    return dataclasses.replace(config, dynamics=saved.dynamics.config), saved.dynamics
