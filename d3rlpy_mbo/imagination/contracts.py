"""What components return in a rollout, held against their contracts."""

from collections.abc import Callable
from typing import Optional, Union

import torch

from ..components.dynamics.interface import Prediction
from ..components.halts import Halt, HaltDecision
from ..components.penalties import LearnedPenalty, Penalty
from ..registry import discovery
from ..support.errors import CompositionError

__all__ = ["ComponentChecks"]


class ComponentChecks:
    """Shapes and types are checked at once, values together at the end.

    Looking at a value waits for the device; looking at all of them at the end waits
    once.
    """

    def __init__(self) -> None:
        self._found: list[tuple[object, str, Callable[[], bool]]] = []
        self._flags: list[torch.Tensor] = []

    def shape(
        self,
        component: object,
        values: torch.Tensor,
        expected: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Raises CompositionError unless values are a tensor of this shape and type."""
        if not isinstance(values, torch.Tensor):
            raise CompositionError(
                f"{_name(component)} returned a {type(values).__name__}, expected a tensor "
                f"of shape {expected} of {dtype}."
            )
        found = tuple(values.shape), values.dtype
        if found != (expected, dtype):
            raise CompositionError(
                f"{_name(component)} returned shape {found[0]} of {found[1]}, expected "
                f"{expected} of {dtype}."
            )

    def prediction(
        self, component: object, prediction: Prediction, asked: torch.Tensor
    ) -> None:
        """Raises CompositionError unless outcomes have the shapes and type of a model's.

        Args:
            component: The dynamics.
            prediction: What they predict.
            asked: (B, D) observations that they were given.
        """
        n_rows, size = asked.shape
        self.shape(component, prediction.observations, (n_rows, size))
        self.shape(component, prediction.rewards, (n_rows, 1))
        for values in (prediction.means, prediction.stds):
            if values is not None:
                expected = (len(values) if values.ndim else 0, n_rows, size + 1)
                self.shape(component, values, expected)

    def members(
        self, judge: Union[Penalty, LearnedPenalty, Halt], prediction: Prediction
    ) -> None:
        """Raises CompositionError if a penalty or halt has nothing to compare.

        A config need not say how many members its model will have; the model does.
        """
        if judge.compares == "" or prediction.means is None:
            return
        found = len(prediction.means)
        if judge.compares == "elites" and prediction.n_elites is not None:
            found = prediction.n_elites
        if found < 2:
            raise CompositionError(
                f"{_name(judge)} compares the {judge.compares} of the dynamics, and these "
                f"have {found}: expected 2 or more."
            )

    def finite(
        self,
        component: object,
        values: torch.Tensor,
        where: Optional[torch.Tensor] = None,
        unless: Callable[[], bool] = lambda: False,
    ) -> None:
        """Notes whether values (B, n) are finite in the rows where (B, 1) holds.

        Args:
            component: Returned them.
            values: What it returned.
            where: None for all rows.
            unless: Asked if there are others, at the end: whether they are excused.
        """
        bad = ~torch.isfinite(values)
        self._note(component, "NaN or infinite", bad, where, unless)

    def positive(
        self,
        component: object,
        values: torch.Tensor,
        where: Optional[torch.Tensor] = None,
    ) -> None:
        """Notes whether values (B, n) are at least 0 in the rows where (B, 1) holds."""
        self._note(component, "negative", values < 0, where)

    def halt(
        self, component: object, decision: HaltDecision, where: torch.Tensor
    ) -> None:
        """Holds a halt's decision about B rows against its contract.

        Raises:
            CompositionError: A wrong shape or type, or a state of other rollouts.
        """
        n_rows = len(where)
        for values in (decision.stop, decision.keep, decision.terminal):
            self.shape(component, values, (n_rows, 1), torch.bool)
        if decision.reward is not None:
            self.shape(component, decision.reward, (n_rows, 1))
            self.finite(component, decision.reward, where & decision.stop)
        if decision.state is not None and decision.state.shape[:1] != (n_rows,):
            raise CompositionError(
                f"{_name(component)} carries a state of shape "
                f"{tuple(decision.state.shape)}, expected {n_rows} rows, one for each "
                "rollout."
            )
        contradictory = decision.terminal & ~(decision.stop & decision.keep)
        what = "contradictory (terminal, but dropped or not stopped)"
        self._note(component, what, contradictory, where)

    def _note(
        self,
        component: object,
        what: str,
        bad: torch.Tensor,
        where: Optional[torch.Tensor],
        unless: Callable[[], bool] = lambda: False,
    ) -> None:
        self._found.append((component, what, unless))
        self._flags.append((bad if where is None else bad & where).sum())

    def raise_found(self) -> None:
        """Raises CompositionError for the first component that broke its contract."""
        if not self._flags:
            return
        counts = torch.stack(self._flags).tolist()
        found = zip(self._found, counts, strict=True)
        for (component, what, unless), count in found:
            if count and not unless():
                raise CompositionError(
                    f"{_name(component)} returned {int(count)} {what} values for finite "
                    "states. The component, or what it was fitted on, is at fault; where "
                    "it asks the learner, the learner may have diverged."
                )


def _name(component: object) -> str:
    distribution, version = discovery.origin(type(component))
    origin = f"from {distribution} {version}"
    if distribution == discovery.NOT_INSTALLED:
        origin = "of no installed distribution"
    return f"{type(component).__name__} ({origin})"
