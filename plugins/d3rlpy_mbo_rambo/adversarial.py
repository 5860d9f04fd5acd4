"""RAMBO's adversary: the model gradient (Rigter et al. 2022, section 5)."""

import dataclasses
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

import d3rlpy_mbo as mbo

from .gradient_step import GradientStep

# Gradient steps that may be undone in one update (ours).
_MAX_UNDONE = 0.1


@dataclasses.dataclass()
class AdversarialUpdaterConfig(mbo.DynamicsUpdaterConfig):
    """Config of the adversary. Defaults are those of the official code.

    Args:
        update_interval: Learner steps from one update to the next.
        coef: lambda, weight of the policy's value against the supervised loss, which
            is a mean over dimensions and a sum over members, of targets in the unit that
            the ensemble's ``target_scale`` says: ``"change"``, the deviation of each
            column's change, or ``"state"``, that of the column itself as in official
            code, where the same coef takes other steps. Where data hold the model, the
            shift at which both balance is a share of its predicted deviation in
            proportion to coef, in either unit. With 0 the model keeps being fitted to
            the data; official code then makes no updates at all, as with
            ``dynamics_updater=None`` here.
        learning_rate: Of Adam, whose state is kept for the whole run.
        batch_size: Imagined transitions of a gradient step, and real ones that each
            member gets in it.
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


class AdversarialUpdater(mbo.DynamicsUpdater):
    """Lowers the policy's value under the model, while it keeps fitting the data."""

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
        """See `DynamicsUpdater.update`. Steps that are not finite are undone.

        Raises:
            CompositionError: The learner is not built, has no critic, or other sizes.
            DivergedError: Too many steps were undone; the model is then as it was.
        """
        sizes = transitions.observation_size, transitions.action_size
        n_actions = transitions.n_actions
        mbo.learners.check_built(learner, *sizes, critic=True, n_actions=n_actions)
        parameters = list(dynamics.parameters())
        kept = [parameter.detach().clone() for parameter in parameters]
        real = transitions.to(dynamics.device)
        states = real.given_observations(dynamics.direction)

        optimizer = self._optimizer_of(parameters)
        step = GradientStep(dynamics, real, self.config.coef, optimizer)
        self._take_steps(step, states, learner)
        n_updates, n_undone = self.config.n_updates, int(step.undone)
        if n_undone > _MAX_UNDONE * n_updates:
            self._restore(parameters, kept)
            raise mbo.DivergedError(
                f"{n_undone} of {n_updates} updates of the dynamics had a loss or "
                "gradient that is not finite. The model is as it was before them. Look "
                "at the learner's Q-values (q_value_mean): if these diverged, the "
                f"learner is the cause; else lower coef (now {self.config.coef}) or "
                "learning_rate."
            )
        some = states[_draw(len(states), self.config.batch_size, states.device)]
        actions = mbo.learners.predict_action(learner, some)
        return {
            **step.means(n_updates - n_undone),
            "q_value_mean": float(mbo.learners.q_value(learner, some, actions).mean()),
            "undone_updates": float(n_undone),
        }

    def _take_steps(
        self, step: GradientStep, states: torch.Tensor, learner: mbo.learners.Learner
    ) -> None:
        """Takes the gradient steps of one update.

        A rollout goes on while the model changes: one imagined step, one gradient step.
        """
        config, dynamics, device = self.config, step.dynamics, states.device
        training = _training_rows(dynamics, len(step.real)).to(device)
        action_set = self.action_set or step.real.action_set()
        fit, ask, learn = step.works()
        for i in range(config.n_updates):
            n_rows = config.batch_size * dynamics.n_members
            rows = training[_draw(len(training), n_rows, device)]
            if config.coef == 0:
                fit(rows)
                continue
            if i % self.rollout_length == 0:
                reached = states[_draw(len(states), config.batch_size, device)]
            actions = action_set.project(self._propose(dynamics, reached, learner))
            outcome = ask(rows, reached, actions)
            prediction = mbo.Prediction(reached, actions, *outcome)
            advantages, reached = self._advantages(dynamics, prediction, learner)
            learn(advantages)

    @torch.no_grad()  # as rollouts ask: policies and rules need not see to it
    def _propose(
        self,
        dynamics: mbo.Dynamics,
        observations: torch.Tensor,
        learner: mbo.learners.Learner,
    ) -> torch.Tensor:
        """Returns (B, A) actions: the learner's, as the model gradient requires.

        In reverse, where a learner cannot propose actions, the rollout policy's.
        """
        if dynamics.direction == "forward":
            return mbo.learners.sample_action(learner, observations)
        return self.rollout_policy.sample_action(observations, learner)

    @torch.no_grad()
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
        rewards = mbo.learners.counted_reward(learner, rewards)
        advantages = rewards + gamma * (1 - terminals) * value - baseline
        return torch.where(finite, advantages, torch.nan), reached

    def _optimizer_of(
        self, parameters: list[torch.nn.Parameter]
    ) -> torch.optim.Optimizer:
        """Returns Adam over these parameters: the one of the updates before, if any."""
        known = self._optimizer.param_groups[0]["params"] if self._optimizer else []
        if [id(p) for p in known] != [id(p) for p in parameters]:
            # What a CUDA graph replays must keep its count of steps on the device.
            on_gpu = parameters[0].is_cuda
            self._optimizer = torch.optim.Adam(
                parameters,
                lr=self.config.learning_rate,
                fused=True,
                capturable=on_gpu,
            )
            if self._loaded is not None:
                self._optimizer.load_state_dict(self._loaded)
                self._optimizer.param_groups[0]["capturable"] = on_gpu
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
