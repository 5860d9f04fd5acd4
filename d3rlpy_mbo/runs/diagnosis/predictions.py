"""What a model says of real rows: every member's means and standard deviations."""

import dataclasses
from typing import Any, TypeVar

import torch

from ...components.dynamics.interface import Dynamics, Prediction
from ...components.rewards import RewardFunction
from ...data.transitions import Direction, Transitions
from ...support.errors import DivergedError

__all__ = [
    "Predicted",
    "moments",
    "predicted",
    "some_rows",
    "targets",
    "with_known_rewards",
]

_Rows = TypeVar("_Rows", Transitions, torch.Tensor)

# Rows that are judged where more could be (ours: a share of 0.5 is then known to 0.005).
_ROWS = 10_000

# Of models that have no members: their mean and spread are those of samples (ours).
_SAMPLES = 30


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Real rows and what a model says of them.

    Args:
        rows: B real rows, on the CPU.
        targets: (B, D + 1) what is predicted, reward last; float64 as all that follows.
        given: (B, D) what the model was asked about.
        means: (M, B, D + 1) of the members, those that imagine first.
        stds: (M, B, D + 1).
        n_elites: How many imagine.
        prediction: What `Dynamics.predict` returned for these rows, for penalties.
        finite_share: Share of the rows asked about for which everything is finite; only
            these are kept here.
    """

    rows: Transitions
    targets: torch.Tensor
    given: torch.Tensor
    means: torch.Tensor
    stds: torch.Tensor
    n_elites: int
    prediction: Prediction
    finite_share: float

    @property
    def elite_means(self) -> torch.Tensor:
        """(n_elites, B, D + 1)."""
        return self.means[: self.n_elites]

    @property
    def elite_stds(self) -> torch.Tensor:
        """(n_elites, B, D + 1)."""
        return self.stds[: self.n_elites]


def some_rows(rows: _Rows) -> _Rows:
    """Returns as many random rows as are judged, or all in a random order if fewer."""
    return rows[torch.randperm(len(rows))[:_ROWS]]


def targets(rows: Transitions, direction: Direction) -> torch.Tensor:
    """Returns (B, D + 1) what a model of that direction predicts, reward last."""
    return torch.cat([rows.predicted_observations(direction), rows.rewards], dim=1)


def moments(
    dynamics: Dynamics, observations: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, int, Prediction]:
    """Asks all members.

    Args:
        dynamics: Fitted.
        observations: (B, D) s, in reverse s', on the model's device.
        actions: (B, A).

    Returns:
        Means and standard deviations (M, B, D + 1), how many of the first members
        imagine, and the prediction. A model without members is one, by its samples.
    """
    prediction = dynamics.predict(observations, actions, True)
    if prediction.means is None or prediction.stds is None:
        samples = [prediction]
        for _ in range(_SAMPLES - 1):
            samples.append(dynamics.predict(observations, actions, False))
        values = torch.stack(
            [torch.cat([each.observations, each.rewards], dim=1) for each in samples]
        )
        # In float32 the spread of 1e25 is infinite: no square of it is a number there.
        mean, std = values.double().mean(dim=0), values.double().std(dim=0)
        return mean.to(values)[None], std.to(values)[None], 1, prediction
    n_elites = prediction.n_elites or len(prediction.means)
    return prediction.means, prediction.stds, n_elites, prediction


@torch.no_grad()
def predicted(dynamics: Dynamics, rows: Transitions) -> Predicted:
    """Asks a model about real rows.

    Raises:
        DivergedError: It predicts nothing finite.
    """
    direction = dynamics.direction
    on_device = rows.to(dynamics.device)
    means, stds, n_elites, prediction = moments(
        dynamics, on_device.given_observations(direction), on_device.actions
    )
    finite = torch.isfinite(torch.stack([means, stds])).all(dim=3).all(dim=1).all(dim=0)
    if not bool(finite.any()):
        raise DivergedError(
            f"{type(dynamics).__name__} predicts NaN or infinite values for every one of "
            f"{len(rows)} real rows, so there is nothing to judge. Fit it again with a "
            "lower learning rate, or look for outliers in the dataset."
        )
    columns = {
        field.name: _rows(getattr(prediction, field.name), finite)
        for field in dataclasses.fields(Prediction)
    }
    rows = rows[finite.cpu()]
    return Predicted(
        rows=rows,
        targets=targets(rows, direction).double(),
        given=rows.given_observations(direction).double(),
        means=means[:, finite].cpu().double(),
        stds=stds[:, finite].cpu().double(),
        n_elites=n_elites,
        prediction=Prediction(**columns),
        finite_share=float(finite.double().mean()),
    )


def _rows(value: Any, kept: torch.Tensor) -> Any:
    """Returns the kept rows of what is (B, n) or (E, B, n); a number as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return value[kept] if value.ndim == 2 else value[:, kept]


def with_known_rewards(
    judged: Predicted, reward_function: RewardFunction, dynamics: Dynamics
) -> torch.Tensor:
    """Returns the elites' means with the reward that is known in the predicted's place.

    Args:
        judged: Real rows and what the model says of them.
        reward_function: The imagination's.
        dynamics: Says direction and device.

    Returns:
        (n_elites, B, D + 1). If a rule has no answer for an impossible state, it counts
        as being off by as much as float32 can be.
    """
    given = judged.given.float().to(dynamics.device)
    actions = judged.rows.actions.to(dynamics.device)
    means = judged.elite_means.clone()
    for mean in means:
        before, after = given, mean[:, :-1].float().to(dynamics.device)
        if dynamics.direction == "reverse":
            before, after = after, before
        known = reward_function(before, actions, after).cpu()
        mean[:, -1:] = torch.nan_to_num(known, nan=torch.finfo(known.dtype).max)
    return means
