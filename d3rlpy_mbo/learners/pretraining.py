"""Clones the data's behavior into a learner's policy, before it trains."""

import math
from typing import Any, Union, cast

import torch
from d3rlpy.algos import (
    BEARConfig,
    CQLConfig,
    CRRConfig,
    DDPGConfig,
    DiscreteSACConfig,
    PRDCConfig,
    ReBRACConfig,
    SACConfig,
    TD3Config,
    TD3PlusBCConfig,
)
from d3rlpy.algos.utility import build_scalers_with_transition_picker
from d3rlpy.dataset import ReplayBuffer, ReplayBufferBase
from d3rlpy.models.torch.policies import (
    build_gaussian_distribution,
    build_squashed_gaussian_distribution,
)
from d3rlpy.torch_utility import hard_sync

from ..data.real_data import RealData
from ..registry.fields import COUNT, Number
from ..support.devices import ROWS_OF_A_LEARNER, on_device
from ..support.errors import CompositionError, DivergedError
from ..support.progress import Progress
from ..support.resuming import Loop
from .building import build
from .distributions import unvalidated
from .reading import Learner, check, check_actions
from .scalers import validate_scalers, warn_beyond_range

__all__ = ["pretrain_policy", "validate_pretraining"]

# How these act, and so what the likelihood of an action is.
_TANH_GAUSSIAN = (SACConfig, CQLConfig, BEARConfig)
_GAUSSIAN = (CRRConfig,)
_CATEGORICAL = (DiscreteSACConfig,)
_DETERMINISTIC = (DDPGConfig, TD3Config, TD3PlusBCConfig, ReBRACConfig, PRDCConfig)

# Clipped controllers sit at exactly +-1, where a tanh-Gaussian has no density (ours).
_MARGIN = 0.99


def pretrain_policy(
    learner: Learner,
    dataset: Union[ReplayBufferBase, RealData],
    *,
    n_epochs: int = 50,
    learning_rate: float = 1e-4,
    batch_size: int = 256,
) -> float:
    """Fits the learner's policy to the dataset's actions by maximum likelihood.

    As RAMBO does before it trains; defaults from its official code. d3rlpy's BC
    minimises the error of one sample instead, which lets the deviation collapse.

    Only the policy changes, and its target network if there is one: critics, optimizers
    and step count stay as they are. A learner that is not built is built, and its
    scalers are fitted on the dataset, as `learner.fit` would do.

    Args:
        learner: SAC, CQL, BEAR (tanh-Gaussian likelihood), CRR (Gaussian, as it acts),
            DiscreteSAC (of its choices), or DDPG, TD3, TD3+BC, ReBRAC, PRDC (squared
            error, the likelihood of a constant deviation).
        dataset: Real data. Scaled actions beyond 0.99 of the learner's range [-1, 1]
            count as 0.99, those below -0.99 as -0.99.
        n_epochs: Passes over it; the last, incomplete batch of each is left out.
        learning_rate: Of an Adam of its own.
        batch_size: Rows of a gradient step.

    Returns:
        Mean loss of the last epoch.

    Raises:
        CompositionError: Another learner, whose policy is no distribution over actions,
            or is cloned from the data anyway; or one for another kind of actions than the
            data's.
        DatasetError: The dataset cannot be read.
        DivergedError: The loss became NaN or infinite; the policy is then as it was.
    """
    validate_pretraining(learner, n_epochs)
    Number(more_than=0).validated("learning_rate", learning_rate)
    COUNT.validated("batch_size", batch_size)
    real = RealData.of(dataset)
    check_actions(learner, real.transitions.n_actions)
    validate_scalers(learner, real)
    warn_beyond_range(learner, real)
    rows, episodes = real.transitions, cast(ReplayBuffer, real.dataset)
    if learner.impl is None:
        build(learner, episodes)
    build_scalers_with_transition_picker(learner, episodes)
    impl: Any = learner.impl
    x, a = _scaled(learner, rows.observations, rows.actions)
    parameters = list(impl.policy.parameters())
    kept = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    impl.modules.set_train()
    try:
        mean = _fit(learner, x, a, optimizer, n_epochs, min(batch_size, len(x)))
    except DivergedError:
        _restore(parameters, kept)
        raise
    if hasattr(impl.modules, "targ_policy"):  # equal to the policy, as when built
        hard_sync(impl.modules.targ_policy, impl.policy)
    return mean


def validate_pretraining(
    learner: Learner, n_epochs: int, name: str = "n_epochs"
) -> None:
    """Raises what `pretrain_policy` would, before anything is done.

    Args:
        learner: See `pretrain_policy`.
        n_epochs: Likewise.
        name: What the user knows that number by.
    """
    check(learner)
    known = _TANH_GAUSSIAN + _GAUSSIAN + _CATEGORICAL + _DETERMINISTIC
    if not isinstance(learner.config, known):
        names = ", ".join(config.__name__.removesuffix("Config") for config in known)
        raise CompositionError(
            f"The policy of {type(learner).__name__} cannot be pretrained: it acts through "
            "a generative model or by its critic alone, or is cloned from the data anyway. "
            f"Those that can: {names}."
        )
    COUNT.validated(name, n_epochs)


def _scaled(
    learner: Learner, observations: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns both as the learner's networks see them, on its device.

    Observations are those given, without a copy, if they are there and nothing scales
    them; else one copy, and no other beside it.
    """
    config, device = learner.config, cast(Any, learner.impl).device
    scaler = config.observation_scaler
    actions = on_device(actions, device)
    if scaler:
        scaled = torch.empty(observations.shape, device=device)
        for first in range(0, len(observations), ROWS_OF_A_LEARNER):
            some = slice(first, first + ROWS_OF_A_LEARNER)
            there = on_device(observations[some], device)
            scaled[some] = cast(torch.Tensor, scaler.transform(there))
        observations = scaled
    else:
        observations = on_device(observations, device)
    if isinstance(config, _CATEGORICAL):
        return observations, actions.long()
    if config.action_scaler:
        actions = config.action_scaler.transform(actions)
    return observations, actions.clamp(-_MARGIN, _MARGIN)


def _fit(
    learner: Learner,
    x: torch.Tensor,
    a: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    n_epochs: int,
    batch_size: int,
) -> float:
    """Returns the mean loss of the last epoch; raises DivergedError."""
    n_batches = len(x) // batch_size
    loop = Loop(policy=cast(Any, learner.impl).policy, optimizer=optimizer)
    at = loop.go_on(epoch=0, mean=math.nan)
    first, mean = int(at["epoch"]), float(at["mean"])
    progress = Progress(
        "Pretraining", total=n_epochs * n_batches, initial=first * n_batches
    )
    with unvalidated(), progress:
        for epoch in range(first + 1, n_epochs + 1):
            order = torch.randperm(len(x), device=x.device)
            total = torch.zeros((), dtype=torch.float64, device=x.device)
            for batch in order[: n_batches * batch_size].view(n_batches, batch_size):
                loss = _loss(learner, x[batch], a[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.detach()
                progress.advance(rows=batch_size)
            mean = float(total) / n_batches  # the one look at the device of an epoch
            if not math.isfinite(mean):
                raise DivergedError(
                    f"Pretraining the policy of {type(learner).__name__}: its loss "
                    f"became {mean} in epoch {epoch}. Lower the learning_rate, or look "
                    "for outliers in the dataset. The policy is as it was before."
                )
            progress.note(epoch=epoch, loss=mean)
            loop.reached(epoch=epoch, mean=mean)
    return mean


def _loss(learner: Learner, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Returns the mean negative log-likelihood of scaled actions, or of choices."""
    output = cast(Any, learner.impl).policy(x)
    if isinstance(learner.config, _CATEGORICAL):
        return cast(torch.Tensor, -output.log_prob(a[:, 0]).mean())
    if isinstance(learner.config, _DETERMINISTIC):
        return cast(torch.Tensor, (output.squashed_mu - a).square().mean())
    if isinstance(learner.config, _GAUSSIAN):
        return -build_gaussian_distribution(output).log_prob(a).mean()
    return -build_squashed_gaussian_distribution(output).log_prob(a).mean()


def _restore(parameters: list[torch.nn.Parameter], kept: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
