"""The rule of a dataset's own environment, where nobody chose another termination."""

from collections.abc import Mapping
from typing import Any, Optional

import click
import gymnasium
from d3rlpy.dataset import ReplayBuffer

from ..components.terminations.lookup import termination_for
from ..imagination.imagination import ImaginationConfig
from ..registry.json_form import encode
from ..support.errors import TerminationRequiredError
from .settings import apply_settings

__all__ = ["known_termination", "with_known_termination"]


def known_termination(
    dataset: ReplayBuffer, env: Optional[gymnasium.Env[Any, Any]]
) -> Optional[dict[str, Any]]:
    """Returns the JSON form of the termination that data needs and its environment has.

    Args:
        dataset: As `load_minari` returns it.
        env: Its environment, likewise.

    Returns:
        None if no episode terminates, or the environment's rule is not known: the
        imagination then refuses the data, and says what is needed.
    """
    if env is None or not any(episode.terminated for episode in dataset.episodes):
        return None
    try:
        return encode(termination_for(env))
    except TerminationRequiredError:
        return None


def with_known_termination(
    config: ImaginationConfig,
    settings: Mapping[str, Any],
    dataset: ReplayBuffer,
    env: Optional[gymnasium.Env[Any, Any]],
    path: str = "termination",
) -> Optional[ImaginationConfig]:
    """Returns a config with the environment's termination, and prints which one it is.

    Args:
        config: Of an imagination.
        settings: What the user set of it: a termination among them stays, be it none.
        dataset: See `known_termination`.
        env: See `known_termination`.
        path: Of the termination among the imagination's settings, for what is printed.

    Returns:
        None if the config is to stay as it is.
    """
    if config.termination is not None or "termination" in settings:
        return None
    found = known_termination(dataset, env)
    if found is None:
        return None
    click.echo(
        f"The dataset holds terminals: imagined episodes end by the rule of its "
        f"environment, {found['type']!r}. For another: "
        f"--set imagination.{path}=NAME."
    )
    return apply_settings(config, {"termination": found})
