"""What a learner's Q-values are, and what they sum, in dataset units."""

from typing import Any, cast

import torch
from d3rlpy.algos import BEARConfig
from d3rlpy.models.torch.parameters import get_parameter
from d3rlpy.models.torch.policies import build_squashed_gaussian_distribution

from .reading import (
    Learner,
    check_built,
    critics_of,
    impl_of,
    is_discrete,
    scaled_observations,
    validate_scalers_fitted,
    validate_tensor,
)

__all__ = [
    "counted_reward",
    "entropy_reward",
    "q_value",
    "samples_actions",
    "without_scale",
]


@torch.no_grad()
def q_value(
    learner: Learner,
    observations: torch.Tensor,
    actions: torch.Tensor,
    target: bool = False,
) -> torch.Tensor:
    """Returns the least of the Q-values of the learner's critics.

    d3rlpy's `predict_value` returns their mean, in the unit of scaled rewards.

    Args:
        learner: Any d3rlpy Q-learning algorithm with a critic, built.
        observations: (B, D) in dataset units, on any device.
        actions: (B, A) in dataset units; for a discrete learner (B, 1), indices of
            choices.
        target: Whether the target critics are asked, those that TD targets are made with.

    Returns:
        (B, 1) on the device of the observations, in dataset units: the scale of a
        reward scaler is undone. If it also shifts or clips rewards, that remains, since
        what it adds up to depends on the steps that are left: `counted_reward` has the
        rewards that these values sum.

    Raises:
        CompositionError: The learner has no critic, or no networks yet.
    """
    validate_tensor("observations", observations)
    validate_tensor("actions", actions)
    check_built(learner, observations.shape[1], actions.shape[1])
    impl, config = impl_of(learner), learner.config
    validate_scalers_fitted(learner)
    critics = critics_of(learner, target)
    impl.modules.set_eval()
    x = scaled_observations(config, observations.to(impl.device))
    a = actions.to(impl.device)
    if is_discrete(learner):
        # A critic's values of all choices, of which the one taken is read.
        each = [critic(x).q_value.gather(1, a.long()) for critic in critics]
    else:
        if config.action_scaler:
            a = config.action_scaler.transform(a)
        each = [critic(x, a).q_value for critic in critics]
    values = torch.stack(each).amin(dim=0)
    return without_scale(learner, values).to(observations.device)


def counted_reward(learner: Learner, rewards: torch.Tensor) -> torch.Tensor:
    """Returns the rewards that a learner's Q-values sum, to compare these with returns.

    Args:
        learner: Any of d3rlpy's.
        rewards: (B, 1) in dataset units.

    Returns:
        (B, 1) in dataset units, as shifted or clipped by the learner's reward scaler;
        its scale is undone, as in `q_value`. The rewards themselves without a scaler.

    Raises:
        CompositionError: The scaler is not fitted.
    """
    scaler = learner.config.reward_scaler
    if not scaler:
        return rewards
    validate_scalers_fitted(learner)
    return without_scale(learner, scaler.transform(rewards))


def without_scale(learner: Learner, scaled: torch.Tensor) -> torch.Tensor:
    """Returns what is in the unit of scaled rewards in dataset units; shifts remain."""
    if not learner.config.reward_scaler:
        return scaled
    reverse = learner.config.reward_scaler.reverse_transform
    return cast(torch.Tensor, reverse(scaled) - reverse(torch.zeros_like(scaled)))


@torch.no_grad()
def entropy_reward(learner: Learner, observations: torch.Tensor) -> torch.Tensor:
    """Returns what a learner's TD targets add in a state for its policy's entropy.

    Q-values hold it of every state but their own, as if it were reward: -alpha log pi
    (Haarnoja et al. 2018, equation 3). SAC's target entropy of minus the number of actions
    makes it a cost once the temperature has settled.

    Args:
        learner: Any d3rlpy Q-learning algorithm, built.
        observations: (B, D) in dataset units, on any device.

    Returns:
        (B, 1) on the device of the observations, in dataset units. Of a continuous policy
        estimated from one action a state; 0 if the learner's targets leave entropy out.

    Raises:
        CompositionError: The learner has no networks yet, or a scaler is not fitted.
    """
    impl, config = impl_of(learner), learner.config
    validate_tensor("observations", observations)
    log_temp = getattr(impl.modules, "log_temp", None)
    if log_temp is None or _leaves_entropy_out(config):
        return torch.zeros(len(observations), 1, device=observations.device)
    validate_scalers_fitted(learner)
    impl.modules.set_eval()
    policy = impl.modules.policy(
        scaled_observations(config, observations.to(impl.device))
    )
    if is_discrete(learner):
        log_prob = (policy.probs * policy.logits).sum(dim=1, keepdim=True)
    else:
        gaussian = build_squashed_gaussian_distribution(policy)
        _, log_prob = gaussian.sample_with_log_prob()
    temperature = get_parameter(log_temp).exp()
    bound = getattr(config, "max_temperature", None)  # MOBILE's SAC, of a learned one
    if bound is not None and impl.modules.temp_optim:
        temperature = temperature.clamp(max=bound)
    bonus = -temperature * log_prob
    return without_scale(learner, bonus).to(observations.device)


def _leaves_entropy_out(config: Any) -> bool:
    """Returns whether a SAC's targets are without entropy, by its settings."""
    soft = getattr(config, "soft_q_backup", True)  # CQL and COMBO
    # MOBILE's SAC, and CQL, which then is not soft.
    best_of_some = getattr(config, "max_q_backup", False)
    deterministic = getattr(config, "deterministic_backup", False)
    return bool(not soft or best_of_some or deterministic)


def samples_actions(learner: Learner) -> bool:
    """Returns whether a learner's targets take actions that its policy samples.

    Then its Q-values are those of a policy that goes on sampling, as SAC's; else they are
    of the actions that it thinks best, as d3rlpy's CQL and COMBO have it, or nearly.

    Args:
        learner: Any d3rlpy Q-learning algorithm, built.
    """
    config: Any = learner.config
    # SAC's own, and what is made of it.
    is_sac = hasattr(impl_of(learner).modules, "log_temp")
    best_of_some = isinstance(config, BEARConfig) or getattr(
        config, "max_q_backup", False
    )
    soft = getattr(config, "soft_q_backup", True)  # CQL and COMBO
    return bool(is_sac and soft and not best_of_some)
