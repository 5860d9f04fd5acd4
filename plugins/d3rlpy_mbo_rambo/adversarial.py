"""RAMBO's adversary: the model gradient (Rigter et al. 2022, section 5)."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

import d3rlpy_mbo as mbo

# Gradient steps that may be undone in one update (ours).
_MAX_UNDONE = 0.1


@dataclasses.dataclass()
class AdversarialUpdaterConfig(mbo.DynamicsUpdaterConfig):
    """Config of the adversary. Defaults are those of the official code.

    Args:
        update_interval: Learner steps from one update to the next.
        coef: lambda, weight of the policy's value against the supervised loss, which
            is a mean over dimensions and a sum over members. 0 keeps fitting the data,
            where official code makes no updates at all: that is
            ``dynamics_updater=None``.
        learning_rate: Of Adam, which is kept for the whole run.
        batch_size: Imagined transitions of a gradient step, and real ones that each
            member sees in it.
        n_updates: Gradient steps of one update.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    coef: float = mbo.number(3e-4, at_least=0)
    learning_rate: float = mbo.number(3e-4, more_than=0)
    batch_size: int = mbo.number(256, at_least=1, whole=True)
    n_updates: int = mbo.number(1000, at_least=1, whole=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"adversarial"``."""
        return "adversarial"

    def create(self, device: DeviceArg = False) -> "AdversarialUpdater":
        """Returns an updater."""
        return AdversarialUpdater(self, device)


def adversarial_loss(log_prob: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Returns the loss whose gradient is the model gradient (equation 5).

    Args:
        log_prob: (B, 1) of imagined transitions, under the dynamics.
        advantages: (B, 1); standardised over the rows here, by their population
            standard deviation.
    """
    centred = advantages - advantages.mean()
    spread = advantages.std(correction=0)
    standard = torch.where(spread == 0, torch.zeros_like(centred), centred / spread)
    return (standard * log_prob).mean()


class AdversarialUpdater(mbo.DynamicsUpdater):
    """Lowers the value of the learner's policy under the model, but fits the data."""

    config: AdversarialUpdaterConfig
    needs_critic = True
    fitted = True

    def __init__(self, config: AdversarialUpdaterConfig, device: DeviceArg = False):
        super().__init__(config, device)
        names = ["supervised_loss", "q_value_mean", "undone_updates"]
        if config.coef > 0:
            names += ["adversarial_loss", "advantage_spread"]
        self.metrics = dict.fromkeys(names, float("nan"))
        self._optimizer: Optional[torch.optim.Optimizer] = None
        self._loaded: Optional[dict[str, Any]] = None  # the state of Adam from a file

    def update(
        self,
        dynamics: mbo.Dynamics,
        transitions: mbo.Transitions,
        learner: mbo.learners.Learner,
    ) -> dict[str, float]:
        """See `DynamicsUpdater.update`. A step whose loss is not finite is undone.

        Raises:
            CompositionError: The learner is not built, has no critic or other sizes.
            DivergedError: Too many steps were undone; the model is then what it was.
        """
        sizes = transitions.observation_size, transitions.action_size
        n_actions = transitions.n_actions
        mbo.learners.check_built(learner, *sizes, critic=True, n_actions=n_actions)
        parameters = list(dynamics.parameters())
        optimizer = self._optimizer_of(parameters)
        kept = [parameter.detach().clone() for parameter in parameters]
        real = transitions.to(dynamics.device)
        states = real.given_observations(dynamics.direction)

        sums: dict[str, torch.Tensor] = {}
        n_updates, undone = self.config.n_updates, torch.zeros((), device=states.device)
        for loss, terms in self._losses(dynamics, real, states, learner):
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            skipped = _not_finite(loss, parameters)
            # Fused Adam leaves a step out where this is 1, and nobody has to look.
            optimizer.found_inf = skipped  # type: ignore[attr-defined]
            optimizer.step()
            undone = undone + skipped
            for name, term in terms.items():
                counted = torch.where(skipped > 0, torch.zeros_like(term), term)
                sums[name] = sums.get(name, torch.zeros_like(term)) + counted
        n_undone = int(undone)
        if n_undone > _MAX_UNDONE * n_updates:
            self._restore(parameters, kept)
            raise mbo.DivergedError(
                f"{n_undone} of {n_updates} updates of the dynamics had a loss or "
                "gradient that is not finite. The model is as it was before them. Look "
                "at the learner's Q-values (q_value_mean): if they diverged, it is the "
                f"learner; else lower coef (now {self.config.coef}) or learning_rate."
            )
        some = states[_draw(len(states), self.config.batch_size, states.device)]
        actions = mbo.learners.predict_action(learner, some)
        return {
            **{name: float(sums[name]) / (n_updates - n_undone) for name in sums},
            "q_value_mean": float(mbo.learners.q_value(learner, some, actions).mean()),
            "undone_updates": float(n_undone),
        }

    def _losses(
        self,
        dynamics: mbo.Dynamics,
        real: mbo.Transitions,
        states: torch.Tensor,
        learner: mbo.learners.Learner,
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """Yields the loss of each gradient step and its terms, for the logs.

        A rollout goes on while the model changes: one imagined step, one gradient step.
        """
        config, device = self.config, states.device
        training = _training_rows(dynamics, len(real)).to(device)
        action_set = self.action_set or real.action_set()
        for i in range(config.n_updates):
            n_rows = config.batch_size * dynamics.n_members
            rows = real[training[_draw(len(training), n_rows, device)]]
            if config.coef == 0:
                supervised = dynamics.training_loss(rows)
                yield supervised, {"supervised_loss": supervised.detach()}
                continue
            if i % self.rollout_length == 0:
                reached = states[_draw(len(states), config.batch_size, device)]
            actions = action_set.project(self._propose(dynamics, reached, learner))
            supervised, prediction, log_prob = dynamics.training_loss_and_sample(
                rows, reached, actions
            )
            advantages, reached = self._advantages(dynamics, prediction, learner)
            adversarial = adversarial_loss(log_prob, advantages)
            yield (
                supervised + config.coef * adversarial,
                {
                    "supervised_loss": supervised.detach(),
                    "adversarial_loss": adversarial.detach(),
                    "advantage_spread": advantages.std(correction=0),
                },
            )

    def _propose(
        self,
        dynamics: mbo.Dynamics,
        observations: torch.Tensor,
        learner: mbo.learners.Learner,
    ) -> torch.Tensor:
        """Returns (B, A) actions: the learner's, as the model gradient demands.

        Backwards, where a learner cannot propose, the rollout policy's.
        """
        if dynamics.direction == "forward":
            return mbo.learners.sample_action(learner, observations)
        return self.rollout_policy.sample_action(observations, learner)

    def _advantages(
        self,
        dynamics: mbo.Dynamics,
        prediction: mbo.Prediction,
        learner: mbo.learners.Learner,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (B, 1) advantages, NaN where a state is not finite, and (B, D) states.

        The latter are those reached, terminal or not, as in the official code.
        """
        given, actions = prediction.given_observations, prediction.actions
        # Policies never see a state that is not finite; the loss will show it.
        finite = torch.isfinite(prediction.observations).all(dim=1, keepdim=True)
        reached = torch.where(finite, prediction.observations, given)
        before, after = given, reached
        if dynamics.direction == "reverse":
            before, after = reached, given
        rewards, terminals = prediction.rewards, torch.zeros_like(prediction.rewards)
        if self.reward_function is not None:
            rewards = self.reward_function(before, actions, after)
        if self.termination is not None:
            terminals = self.termination(before, actions, after).float()

        gamma = mbo.learners.discount(learner)
        next_actions = mbo.learners.predict_action(learner, after)
        value, baseline = mbo.learners.q_value(
            learner, torch.cat([after, before]), torch.cat([next_actions, actions])
        ).chunk(2)
        advantages = rewards + gamma * (1 - terminals) * value - baseline
        return torch.where(finite, advantages, torch.nan), reached

    def _optimizer_of(
        self, parameters: list[torch.nn.Parameter]
    ) -> torch.optim.Optimizer:
        """Returns Adam over these parameters: the one of the updates before, if any."""
        known = self._optimizer.param_groups[0]["params"] if self._optimizer else []
        if [id(p) for p in known] != [id(p) for p in parameters]:
            self._optimizer = torch.optim.Adam(
                parameters, lr=self.config.learning_rate, fused=True
            )
            if self._loaded is not None:
                self._optimizer.load_state_dict(self._loaded)
                self._loaded = None
        assert self._optimizer is not None
        return self._optimizer

    def _restore(
        self, parameters: list[torch.nn.Parameter], kept: list[torch.Tensor]
    ) -> None:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
        self._optimizer = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of Adam, so that a loaded run goes on as it was."""
        adam = self._optimizer.state_dict() if self._optimizer else self._loaded
        return {"optimizer": adam}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the state of Adam, for the next update."""
        self._optimizer, self._loaded = None, state["optimizer"]


def _training_rows(dynamics: mbo.Dynamics, n_rows: int) -> torch.Tensor:
    """Returns the indices of the rows that the model was fitted on."""
    training = torch.ones(n_rows, dtype=torch.bool)
    training[dynamics.holdout_indices] = False
    return torch.nonzero(training)[:, 0]


def _draw(n_rows: int, size: int, device: torch.device) -> torch.Tensor:
    """Returns random row indices, with replacement."""
    return torch.randint(n_rows, (size,), device=device)


def _not_finite(
    loss: torch.Tensor, parameters: list[torch.nn.Parameter]
) -> torch.Tensor:
    """Returns 1.0 if the loss or a gradient is not finite, else 0.0, where they are."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    return (~torch.isfinite(loss.detach() + norm)).float()
