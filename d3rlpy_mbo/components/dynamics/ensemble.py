"""The probabilistic ensemble of MBPO, MOPO, ROMI and RAMBO.

The papers' settings, with our choices: targets are standardised inside, and predictions
are returned in dataset units; each member has its own log-variance bounds, which its
snapshots include; hold-out indices are kept.
"""

import dataclasses
import weakref
from collections.abc import Iterable
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg
from torch import nn

from ...data.action_sets import columns_of
from ...data.transitions import Transitions, validate_transitions
from ...registry.fields import choice, interval, number, number_list
from ...support.errors import CompositionError
from ..history import FitRecord
from .holdout import split
from .interface import Dynamics, DynamicsConfig, Prediction
from .networks import GaussianNetworks, Standardizer, mixture_log_prob
from .regression import Regression, Standardized, in_units_of_states
from .training import (
    bounds_loss,
    decay_loss,
    ensemble_loss,
    gaussian_loss,
    holdout_errors,
    train_ensemble,
)

__all__ = ["ProbabilisticEnsemble", "ProbabilisticEnsembleConfig"]


@dataclasses.dataclass()
class ProbabilisticEnsembleConfig(DynamicsConfig):
    """Config of an ensemble of Gaussian networks.

    Defaults are those of MOPO's and ROMI's official code (Janner et al. 2019,
    appendix; Wang et al. 2021, appendix B.2) unless a field says otherwise.

    Args:
        direction: ``"forward"`` or ``"reverse"``.
        n_models: E, networks trained.
        n_elites: Networks that imagine, and that a dynamics updater goes on training:
            those with the least hold-out error. The others stay as fitted, for penalties
            (official RAMBO goes on training them too, which moves the bounds that all
            members share there).
        hidden_units: Units of the hidden layers.
        learning_rate: Of Adam.
        batch_size: Rows that each member gets in one step.
        weight_decays: One for each layer, the output layer last. None: the papers',
            2.5e-5, 5e-5, 7.5e-5, 7.5e-5 and 1e-4 for their five layers; for another
            number of layers (ours) the first two and the last of these keep their places,
            and every layer between has 7.5e-5.
        holdout_ratio: Share of rows held out ...
        max_holdout: ... and the most rows held out.
        holdout: Which rows are held out (ours): random ``"rows"``, as in official code,
            with the model fitted on their neighbours in time; or the rows of whole random
            ``"episodes"``, a harder and fairer test. The last episode may exceed
            `max_holdout`.
        target_scale: The unit in which targets are learned. ``"change"`` (ours): each in
            its own standard deviation over the data. ``"state"``: the change of a column
            in the standard deviation of the column itself, which is larger (9.6 times,
            median, on Hopper), and the reward as it is, as in official RAMBO, whose
            states are normalised; a column that never varies in s, such as an end flag,
            as in ``"change"``. The likelihood that RAMBO's adversary is weighed against,
            and the log-variance bounds, are in this unit.
        log_variance_bounds: Start of the learned soft bounds on the log-variance of
            standardised targets: by default 5 % of a target's standard deviation at least
            (ours, and RAMBO's). MOPO's -10 is meant for raw targets; with standardised
            ones, columns that are almost certain would drown a rare reward's gradient for
            good.
        bounds_weight: Weight of the bounds' width against the likelihood, both means
            over columns (ours). Official code has one pair of bounds for all members and
            a sum over columns with weight 0.01, which comes to 0.0014 (D + 1) here; with
            that weight 6 of 14 members did not learn a sparse maze's reward, with ours 1.
        patience: Training stops after more than this many epochs in which no
            member's hold-out error fell by 1 % of its best.
        max_steps: Gradient steps after which training stops anyway; None for no
            limit.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    n_models: int = number(7, at_least=1, whole=True)
    n_elites: int = number(5, at_least=1, whole=True)
    hidden_units: list[int] = number_list([200] * 4, at_least=1, whole=True)
    learning_rate: float = number(1e-3, more_than=0)
    batch_size: int = number(256, at_least=1, whole=True)
    weight_decays: Optional[list[float]] = number_list(None, at_least=0)
    holdout_ratio: float = number(0.2, more_than=0, less_than=1)
    max_holdout: int = number(1000, at_least=1, whole=True)
    log_variance_bounds: tuple[float, float] = interval(-6.0, 0.5)
    bounds_weight: float = number(0.05, at_least=0)
    patience: int = number(5, at_least=0, whole=True)
    max_steps: Optional[int] = number(None, at_least=1, whole=True)
    holdout: str = choice("rows", ["rows", "episodes"])
    target_scale: str = choice("change", ["change", "state"])

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_elites > self.n_models:
            raise CompositionError(
                f"n_elites is {self.n_elites}, expected 1 to n_models = {self.n_models}."
            )
        if len(self.layer_weight_decays) != len(self.hidden_units) + 1:
            raise CompositionError(
                f"weight_decays has {len(self.layer_weight_decays)} entries, expected one "
                f"for each of the {len(self.hidden_units) + 1} layers that hidden_units "
                "makes, or None."
            )

    @property
    def layer_weight_decays(self) -> list[float]:
        """`weight_decays`, or the defaults if that is None; one for each layer."""
        if self.weight_decays is not None:
            return self.weight_decays
        n_hidden = len(self.hidden_units)
        return [*([2.5e-5, 5e-5] + [7.5e-5] * n_hidden)[:n_hidden], 1e-4]

    @staticmethod
    def get_type() -> str:
        """Returns ``"probabilistic_ensemble"``."""
        return "probabilistic_ensemble"

    @property
    def members(self) -> tuple[int, int]:
        """See `DynamicsConfig.members`."""
        return self.n_models, self.n_elites

    def create(self, device: DeviceArg = False) -> "ProbabilisticEnsemble":
        """Returns an unfitted ensemble."""
        return ProbabilisticEnsemble(self, device)


class ProbabilisticEnsemble(Dynamics):
    """An ensemble of Gaussian networks over (change of observation, reward)."""

    config: ProbabilisticEnsembleConfig
    capturable = True

    def __init__(self, config: ProbabilisticEnsembleConfig, device: DeviceArg):
        super().__init__(config, device)
        self._fitted = False
        self._elites: GaussianNetworks  # the members that imagine, best first
        self._others: GaussianNetworks  # asked only if all members are
        self._inputs: Standardizer
        self._targets: Standardizer  # in the unit of `target_scale`
        self._target_std: torch.Tensor  # (D + 1,) standard deviation of the targets
        self._holdout_indices: torch.Tensor
        self._n_rows: int
        self._n_actions: Optional[int] = None
        # The rows that are known to be those of `fit`: to tell, all are read.
        self._recognised: Optional[weakref.ref[Transitions]] = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_recognised": None}

    @property
    def fitted(self) -> bool:
        """Whether it was fitted or loaded."""
        return self._fitted

    @property
    def holdout_indices(self) -> torch.Tensor:
        """See `Dynamics.holdout_indices`."""
        self.check_fitted()
        return self._holdout_indices

    @property
    def fitted_on(self) -> tuple[int, int, int]:
        """See `Dynamics.fitted_on`."""
        self.check_fitted()
        n_inputs, observation_size = len(self._inputs.mean), len(self._targets.mean) - 1
        action_size = 1 if self._n_actions is not None else n_inputs - observation_size
        return self._n_rows, observation_size, action_size

    @property
    def n_actions(self) -> Optional[int]:
        """See `Dynamics.n_actions`."""
        self.check_fitted()
        return self._n_actions

    def fit(self, transitions: Transitions) -> None:
        """See `Dynamics.fit`. Shows its progress; `history` has each epoch's errors."""
        validate_transitions(transitions)
        config, n_actions = self.config, transitions.n_actions
        holdout, training = split(
            transitions,
            config.holdout,
            ratio=config.holdout_ratio,
            at_most=config.max_holdout,
            batch_size=config.batch_size,
        )
        of = Regression(transitions, self.direction, n_actions)
        inputs, spread = of.standardizer(of.inputs), of.standardizer(of.targets)
        in_changes = config.target_scale == "change"
        targets = spread if in_changes else in_units_of_states(inputs, spread)
        sizes = len(inputs.mean), len(targets.mean)
        members = self._build(config.n_models, *sizes).to(self.device)
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        asked = Regression(transitions.to(self.device), self.direction, n_actions)
        x = Standardized(asked.inputs, inputs)
        y = Standardized(asked.targets, targets)
        history = list[FitRecord]()
        errors, n_steps = train_ensemble(
            members,
            x,
            y,
            training,
            holdout,
            learning_rate=config.learning_rate,
            weight_decays=config.layer_weight_decays,
            batch_size=config.batch_size,
            bounds_weight=config.bounds_weight,
            patience=config.patience,
            max_steps=config.max_steps,
            history=history,
        )

        # Assigned only now: an interrupted fit leaves the model as it was.
        self._inputs, self._targets = inputs, targets
        self._target_std = spread.std.to(self.device)
        order = torch.argsort(errors)
        self._elites = members[order[: config.n_elites]]
        self._others = members[order[config.n_elites :]]
        self._holdout_indices = holdout
        self._n_rows, self._n_actions = len(transitions), n_actions
        self._recognised = weakref.ref(transitions)
        self._fitted = True
        self.history = history
        self.metrics = {
            **self.holdout_errors(transitions),
            "model_steps": float(n_steps),
        }

    def _build(self, size: int, input_size: int, target_size: int) -> GaussianNetworks:
        config = self.config
        return GaussianNetworks(
            size,
            [input_size, *config.hidden_units, target_size],
            config.log_variance_bounds,
        )

    @torch.no_grad()
    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> Prediction:
        """See `Dynamics.predict`: every row is sampled from one random elite.

        If all members are asked, the elites come first.

        Raises:
            NotFittedError: There is nothing to ask yet.
            CompositionError: No tensors (B, D) and (B, A) of the fitted sizes, or float64
                ones.
        """
        _, *sizes = self.fitted_on
        _validate_asked(observations, actions, *sizes)
        x = self._asked(observations, actions)
        if not all_members:
            dealt = self._elites.one_for_each(x)
            return self._sampled(observations, actions, *dealt)
        pairs = zip(self._elites(x), self._others(x), strict=True)
        mean, log_variance = map(torch.cat, pairs)
        chosen = self._random_elites(x)
        means, stds = self._in_dataset_units(mean, log_variance, observations)
        prediction = self._sampled(
            observations, actions, mean[chosen], log_variance[chosen]
        )
        return dataclasses.replace(
            prediction, means=means, stds=stds, n_elites=len(self._elites)
        )

    def _asked(self, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Returns (B, inputs): states and actions as the networks see them."""
        columns = columns_of(actions, self._n_actions)
        return self._inputs.standardize(torch.cat([observations, columns], dim=1))

    def _random_elites(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (B,) a random elite for each row, and the rows."""
        draw = torch.randint(len(self._elites), (len(rows),), device=rows.device)
        return draw, torch.arange(len(rows), device=rows.device)

    def _sampled(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        mean: torch.Tensor,
        log_variance: torch.Tensor,
    ) -> Prediction:
        """Samples from the (B, D + 1) outputs of the members chosen for the rows."""
        mean, std = self._in_dataset_units(mean, log_variance, observations)
        sample = mean + std * torch.randn_like(mean)
        return Prediction(observations, actions, sample[:, :-1], sample[:, -1:])

    def _in_dataset_units(
        self,
        mean: torch.Tensor,
        log_variance: torch.Tensor,
        observations: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns means and stds (..., B, D + 1) of observation and reward."""
        mean = mean * self._targets.std + self._targets.mean
        mean[..., :-1] += observations
        return mean, torch.exp(0.5 * log_variance) * self._targets.std

    def state_dict(self) -> dict[str, Any]:
        """Returns the networks, standardizers and hold-out indices."""
        self.check_fitted()
        networks = {"elites": self._elites, "others": self._others}
        return {
            **{
                name: {k: v.cpu() for k, v in network.state_dict().items()}
                for name, network in networks.items()
            },
            "inputs": self._inputs.state_dict(),
            "targets": self._targets.state_dict(),
            "holdout_indices": self._holdout_indices,
            "n_rows": self._n_rows,
            **({} if self._n_actions is None else {"n_actions": self._n_actions}),
            **self._own_target_std(),
        }

    def _own_target_std(self) -> dict[str, torch.Tensor]:
        """Returns the targets' standard deviation if `_targets` is in another unit."""
        own = self.config.target_scale != "change"
        return {"target_std": self._target_std.cpu()} if own else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a fitted ensemble of the same config."""
        inputs, targets = (
            Standardizer(**state["inputs"]),
            Standardizer(**state["targets"]),
        )
        n_elites, n_models = self.config.n_elites, self.config.n_models
        networks = []
        for name, size in (("elites", n_elites), ("others", n_models - n_elites)):
            network = self._build(size, len(inputs.mean), len(targets.mean))
            network.load_state_dict(state[name])
            networks.append(network.to(self.device))
        self._elites, self._others = networks
        self._inputs, self._targets = inputs.to(self.device), targets.to(self.device)
        self._target_std = state.get("target_std", targets.std).to(self.device)
        self._holdout_indices = state["holdout_indices"]
        self._n_rows = state["n_rows"]
        self._n_actions = state.get("n_actions")
        self._recognised = None
        self._fitted = True

    @property
    def n_members(self) -> int:
        """The elites: the others do not imagine, so nothing changes them after `fit`."""
        return self.config.n_elites

    def holdout_errors(self, transitions: Transitions) -> dict[str, float]:
        """See `Dynamics.holdout_errors`: squared errors of the elites' means.

        A target's error is the share of its variance that the means leave unexplained:
        ``model_holdout_error`` is the mean over targets, ``model_reward_error`` the
        reward's, near 1 if nothing of a rare reward was learned.
        """
        self.check_fitted()
        self._validate_fitted_on(transitions)
        rows = transitions[self._holdout_indices].to(self.device)
        x, y = self._standardized(rows)
        errors = holdout_errors(self._elites, x, y).mean(dim=0)
        units = torch.where(
            self._target_std > 0, self._targets.std / self._target_std, 1.0
        )
        errors = errors * units.square()
        return {
            "model_holdout_error": float(errors.mean()),
            "model_reward_error": float(errors[-1]),
        }

    def _validate_fitted_on(self, transitions: Transitions) -> None:
        """Refuses other rows than `fit` got: hold-out indices would mean nothing."""
        if self._recognised is not None and self._recognised() is transitions:
            return
        sizes = transitions.observation_size, transitions.action_size
        got = f"{len(transitions)} with observations and actions of sizes {sizes}"
        same = (len(transitions), *sizes) == self.fitted_on
        if same:
            mean, std = self._inputs.mean, self._inputs.std
            of = Regression(transitions, self.direction, self._n_actions)
            found = of.standardizer(of.inputs).mean.to(mean)
            # Rounding leaves 1e-6 of either; other data differs by far more.
            same = bool(((found - mean).abs() <= 1e-3 * std + 1e-4 * mean.abs()).all())
            got = "as many others: the means of their columns differ"
        if not same:
            raise CompositionError(
                f"The ensemble was fitted on {self._n_rows} transitions and got {got}. "
                "Give those that were given to fit, in the same order: the rows held out "
                "are known by their indices."
            )
        self._recognised = weakref.ref(transitions)

    def log_prob(self, transitions: Transitions) -> torch.Tensor:
        """See `Dynamics.log_prob`: of the equal mixture of the elites.

        Columns that never change in the data are predicted exactly and have no density.
        """
        self.check_fitted()
        x, y = self._standardized(transitions)
        mean, log_variance = self._elites(x)
        return self._mixture_log_prob(mean, log_variance, y)

    def _mixture_log_prob(
        self, mean: torch.Tensor, log_variance: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        std = self._targets.std
        log_prob = mixture_log_prob(mean, log_variance, y, counted=(std > 0).float())
        return log_prob - torch.where(std > 0, std, torch.ones_like(std)).log().sum()

    def training_loss(self, transitions: Transitions) -> torch.Tensor:
        """See `Dynamics.training_loss`: `ensemble_loss` and the weight decays."""
        x, y = self._dealt(transitions)
        loss = ensemble_loss(self._elites, x, y, self.config.bounds_weight)
        return loss + decay_loss(self._elites, self.config.layer_weight_decays)

    def training_loss_and_sample(
        self,
        transitions: Transitions,
        observations: torch.Tensor,
        actions: torch.Tensor,
    ) -> tuple[torch.Tensor, Prediction, torch.Tensor]:
        """See `Dynamics.training_loss_and_sample`.

        The rows that an elite trains on and those it is asked about pass it as one batch.
        """
        x, y = self._dealt(transitions)
        asked = self._asked(observations, actions).expand(len(self._elites), -1, -1)
        mean, log_variance = self._elites(torch.cat([x, asked], dim=1))
        real, imagined = (
            (mean[:, rows], log_variance[:, rows])
            for rows in (slice(x.shape[1]), slice(x.shape[1], None))
        )
        loss = gaussian_loss(*real, y)
        loss = loss + bounds_loss(self._elites, self.config.bounds_weight)
        loss = loss + decay_loss(self._elites, self.config.layer_weight_decays)

        chosen = self._random_elites(observations)
        drawn = (outputs[chosen].detach() for outputs in imagined)
        prediction = self._sampled(observations, actions, *drawn)
        _, outcome = self._standardized(prediction.transitions(self.direction))
        return loss, prediction, self._mixture_log_prob(*imagined, outcome)

    def _dealt(self, transitions: Transitions) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns standardised inputs (K, B, D + A) and targets (K, B, D + 1)."""
        self.check_fitted()
        n_members, n_rows = self.n_members, len(transitions)
        if not n_rows or n_rows % n_members:
            raise CompositionError(
                f"training_loss got {n_rows} rows, expected a multiple of the {n_members} "
                "elites among which they are dealt: dynamics.n_members times a batch."
            )
        x, y = self._standardized(transitions)
        batch = n_rows // n_members
        return x.view(n_members, batch, -1), y.view(n_members, batch, -1)

    def _standardized(
        self, transitions: Transitions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns standardised inputs (B, D + A) and targets (B, D + 1)."""
        asked = Regression(transitions, self.direction, self._n_actions)
        return (
            self._inputs.standardize(asked.inputs()),
            self._targets.standardize(asked.targets()),
        )

    def parameters(self) -> Iterable[nn.Parameter]:
        """Returns the weights, biases and log-variance bounds of the elites."""
        self.check_fitted()
        return self._elites.parameters()


def _validate_asked(
    observations: Any, actions: Any, observation_size: int, action_size: int
) -> None:
    """Refuses anything but tensors of the fitted sizes: users may ask, too."""
    for name, rows, size in (
        ("observations", observations, observation_size),
        ("actions", actions, action_size),
    ):
        is_tensor = isinstance(rows, torch.Tensor)
        if (
            not is_tensor
            or rows.dtype == torch.float64
            or tuple(rows.shape[1:]) != (size,)
        ):
            kind = f"{tuple(rows.shape)} of {rows.dtype}" if is_tensor else type(rows)
            raise CompositionError(
                f"The {name} to predict from are {kind}, expected a float32 tensor (rows, "
                f"{size}) on the model's device: torch.as_tensor(rows, "
                "dtype=torch.float32, device=dynamics.device)."
            )
