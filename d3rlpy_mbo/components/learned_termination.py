"""A termination learned from data, where nobody knows the rule."""

import dataclasses
import math
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg
from torch import nn
from torch.nn import functional

from ..configs import Component, LearnedComponent
from ..errors import CompositionError, DatasetError
from ..transitions import Transitions
from .gaussian_networks import Standardizer

__all__ = ["LearnedTermination", "LearnedTerminationConfig"]

# Ours: with fewer rows of a class, one row or none is held out and nothing is measured.
_MIN_ROWS = 10


@dataclasses.dataclass()
class LearnedTerminationConfig(Component):
    """A classifier of (s, a, s') that says whether the step ended its episode.

    It needs the true s' of terminal rows. Data whose terminal rows hold the next
    episode's first state instead (D4RL's ``qlearning_dataset``) teaches it nonsense,
    and nothing can tell.

    Args:
        hidden_units: Units of the hidden layers (ours: as the cloned behavior's).
        learning_rate: Of Adam (ours: as the ensemble's).
        batch_size: Rows in a step, half of them terminal (ours: as the ensemble's).
        n_steps: Gradient steps (ours: on Hopper the hold-out is flat by then).
        holdout_ratio: Share of the rows of either class kept for the metrics (ours).

    Raises:
        CompositionError: A number out of range.
    """

    kind: ClassVar[str] = "termination"
    hidden_units: list[int] = dataclasses.field(default_factory=lambda: [256, 256])
    learning_rate: float = 1e-3
    batch_size: int = 256
    n_steps: int = 10_000
    holdout_ratio: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.holdout_ratio < 1.0:
            raise CompositionError(
                f"holdout_ratio is {self.holdout_ratio}, expected a share between 0 and 1."
            )
        if self.batch_size < 2:
            raise CompositionError(
                f"batch_size is {self.batch_size}, expected at least 2: half of the rows "
                "of a batch are terminal."
            )

    @staticmethod
    def get_type() -> str:
        """Returns ``"learned"``."""
        return "learned"

    def create(self, device: DeviceArg = False) -> "LearnedTermination":
        """Returns an unfitted classifier on a device, given as to d3rlpy's `create`."""
        return LearnedTermination(self, device)


class LearnedTermination(LearnedComponent):
    """Callable as a `Termination`, once it is fitted.

    Its metrics are of held-out rows at the data's own rate of terminals:
    ``termination_precision`` (0 if it predicts none), ``termination_recall`` and
    ``termination_holdout_terminals``, on how many terminals they rest.
    """

    config: LearnedTerminationConfig
    _network: Optional[nn.Sequential] = None
    _inputs: Standardizer
    _log_odds: float  # of a terminal row in the data

    @property
    def fitted(self) -> bool:
        """Whether it was fitted or loaded."""
        return self._network is not None

    def check_transitions(self, transitions: Transitions) -> None:
        """Checks that there is something to learn from.

        Args:
            transitions: All of the dataset's, not only those for models.

        Raises:
            DatasetError: Terminal rows without a true next observation, or too few
                rows of either class.
        """
        terminal = transitions.terminals[:, 0] > 0
        n_terminals, known = int(terminal.sum()), transitions.next_observation_known
        n_unknown = 0 if known is None else int((terminal & ~known).sum())
        if n_unknown:
            raise DatasetError(
                f"{n_unknown} of the {n_terminals} terminal rows have no true next "
                "observation: d3rlpy fills them with zeros, and a learned termination "
                "would learn to recognise zeros. Load the data with mbo.load_minari, "
                "which keeps them, or pass the rule itself as termination."
            )
        if n_terminals < _MIN_ROWS:
            raise DatasetError(
                f"{n_terminals} of the {len(terminal)} rows are terminal, and a learned "
                f"termination needs at least {_MIN_ROWS}. If the task only times out, pass "
                "termination=NoTermination(). If it does end, its terminal rows were lost, "
                "perhaps because d3rlpy fills their next observations with zeros: load "
                "the data with mbo.load_minari, or collect more."
            )
        if len(terminal) - n_terminals < _MIN_ROWS:
            raise DatasetError(
                f"All but {len(terminal) - n_terminals} of the {len(terminal)} rows are "
                f"terminal, and a learned termination needs at least {_MIN_ROWS} that are "
                "not. Are the terminals of this dataset what they should be?"
            )

    def fit(self, transitions: Transitions) -> None:
        """Fits the classifier from scratch and measures it on held-out rows.

        Args:
            transitions: Real transitions on the CPU.

        Raises:
            DatasetError: See `check_transitions`.
            DivergedError: The loss is not finite.
        """
        self.check_transitions(transitions)
        known = transitions.for_models()
        values = _inputs_of(known.observations, known.actions, known.next_observations)
        terminal = known.terminals[:, 0] > 0
        training_ends, holdout_ends = self._split(values[terminal])
        training_rest, holdout_rest = self._split(values[~terminal])
        inputs = Standardizer.fit(torch.cat([training_ends, training_rest]))
        network = self._build(values.shape[1])
        ends = inputs.standardize(training_ends).to(self.device)

        def loss(rest: torch.Tensor) -> torch.Tensor:
            # However rare terminals are, half of each batch is terminal.
            rows = torch.randint(len(ends), (len(rest),), device=self.device)
            logits = network(torch.cat([ends[rows], rest]))
            targets = torch.zeros_like(logits)
            targets[: len(rest)] = 1.0
            return functional.binary_cross_entropy_with_logits(logits, targets)

        value = self.fit_by_gradient(
            torch.optim.Adam(network.parameters(), lr=self.config.learning_rate),
            loss,
            (inputs.standardize(training_rest),),
            n_steps=self.config.n_steps,
            batch_size=self.config.batch_size // 2,
            description="Fitting termination",
        )
        self._inputs = inputs.to(self.device)
        self._log_odds = math.log(len(training_ends) / len(training_rest))
        self._network = network
        self.metrics = {
            "termination_loss": value,
            **self._holdout_metrics(holdout_ends, holdout_rest),
        }

    def _split(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the rows to train on and those held out, at least one of each."""
        n_holdout = round(self.config.holdout_ratio * len(rows))
        n_holdout = min(max(n_holdout, 1), len(rows) - 1)
        shuffled = rows[torch.randperm(len(rows))]
        return shuffled[n_holdout:], shuffled[:n_holdout]

    def _build(self, size: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for units in self.config.hidden_units:
            layers += [nn.Linear(size, units), nn.ReLU()]
            size = units
        return nn.Sequential(*layers, nn.Linear(size, 1)).to(self.device)

    def _holdout_metrics(
        self, ends: torch.Tensor, rest: torch.Tensor
    ) -> dict[str, float]:
        found = int(self._ends(ends.to(self.device)).sum())
        mistaken = int(self._ends(rest.to(self.device)).sum())
        return {
            "termination_precision": found / max(found + mistaken, 1),
            "termination_recall": found / len(ends),
            "termination_holdout_terminals": float(len(ends)),
        }

    @torch.no_grad()
    def _logits(self, values: torch.Tensor) -> torch.Tensor:
        self.check_fitted()
        assert self._network is not None
        # Training on half terminals learns the odds in such a mixture; those in the
        # data are smaller by the classes' odds (Bayes' rule).
        balanced: torch.Tensor = self._network(self._inputs.standardize(values))
        return balanced + self._log_odds

    def _ends(self, values: torch.Tensor) -> torch.Tensor:
        # Ours: the more probable outcome, the fewest wrong rows in expectation.
        return self._logits(values) > 0

    def probability(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Returns (B, 1) the probability that the step ends the episode.

        Args:
            observations: (B, D) s in dataset units on the device.
            actions: (B, A) a.
            next_observations: (B, D) s'.
        """
        values = _inputs_of(observations, actions, next_observations)
        return torch.sigmoid(self._logits(values))

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """See `Termination`; the more probable of the two."""
        return self._ends(_inputs_of(observations, actions, next_observations))

    def state_dict(self) -> dict[str, Any]:
        """Returns the network, the scaling of its inputs and the rate of terminals."""
        self.check_fitted()
        assert self._network is not None
        return {
            "network": {k: v.cpu() for k, v in self._network.state_dict().items()},
            "inputs": self._inputs.state_dict(),
            "log_odds": self._log_odds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a fitted classifier of the same config."""
        self._inputs = Standardizer(**state["inputs"]).to(self.device)
        self._log_odds = state["log_odds"]
        network = self._build(len(self._inputs.mean))
        network.load_state_dict(state["network"])
        self._network = network


def _inputs_of(
    observations: torch.Tensor, actions: torch.Tensor, next_observations: torch.Tensor
) -> torch.Tensor:
    """Returns (B, 2 D + A)."""
    return torch.cat([observations, actions, next_observations], dim=1)
