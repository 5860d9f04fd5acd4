"""How a termination or a reward function is asked: with sizes that it is for."""

import functools
from typing import Any, Optional, Union

import torch

from ..support.errors import ConformanceError
from . import line_world as world
from .subjects import N_ROWS, Subject

__all__ = ["RuleSubject"]

# Rules are written for one environment and read its columns; these sizes are tried.
_OBSERVATION_SIZES = [*range(world.OBSERVATION_SIZE, 401), 2, 1]
_ACTION_SIZES = [*range(world.ACTION_SIZE, 31), 1]


class RuleSubject(Subject):
    """A termination or a reward function."""

    def data(self) -> Any:
        """Returns rows of which some end."""
        return self.world.ending_transitions()

    def elsewhere(self, device: str) -> Subject:
        """Returns the same on another device, of the same sizes."""
        there = super().elsewhere(device)
        there.sizes = self.sizes  # type: ignore[attr-defined]  # not looked for again
        return there

    @functools.cached_property
    def sizes(self) -> tuple[int, int]:
        """Sizes of observations and actions that it accepts.

        Raises:
            ConformanceError: It accepts none of those that are tried.
        """
        if self.learned:
            return world.OBSERVATION_SIZE, self.world.action_size
        if isinstance(self._search, list):
            raise self._refused(self._search) from self._search[-1]
        return self._search

    @functools.cached_property
    def _search(self) -> Union[tuple[int, int], list[Exception]]:
        """The first sizes that it accepts, else the last error of each type.

        It may refuse by any error, such as a guard's; and slices refuse by an answer
        without a column, or by the mean of nothing.
        """
        errors: dict[type[Exception], Exception] = {}
        fallback: Optional[tuple[int, int]] = None
        states = ((size, self._states(2, size)) for size in _OBSERVATION_SIZES)
        actions = [(size, self._actions(2, size)) for size in self._action_sizes]
        pairs = ((one, other) for one in states for other in actions)
        for (size, (given, reached)), (action_size, taken) in pairs:
            sizes, inputs = (size, action_size), (given, taken, reached)
            try:
                (found,) = self.ask(self.component, inputs).values()
            except Exception as error:
                errors[type(error)] = error
                continue
            if not isinstance(found, torch.Tensor) or _says_something(found):
                return sizes
            if found.numel():  # its numbers are a check's business
                fallback = fallback or sizes
            else:
                shape = tuple(found.shape)
                errors[ValueError] = ValueError(f"2 rows answered by shape {shape}")
        return fallback or list(errors.values())

    @property
    def _action_sizes(self) -> list[int]:
        return [1] if self.world.choices else _ACTION_SIZES

    def _refused(self, errors: list[Exception]) -> ConformanceError:
        return self.violation(
            f"it accepted no size up to {max(_OBSERVATION_SIZES)} columns of observations "
            f"and {max(self._action_sizes)} of actions",
            "; ".join(map(self.raised, errors)),
            "a mistake in its code (check_component shows the traceback), or a column "
            "beyond those, which the checks do not ask about",
        )

    def _states(self, n_rows: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns s and s' (B, D)."""
        given, reached = (4 * world.draw(n_rows, size, seed) - 2 for seed in (1, 3))
        return given.to(self.device), reached.to(self.device)

    def _actions(self, n_rows: int, size: int) -> torch.Tensor:
        if self.world.choices:
            return self.world.actions(n_rows, 2).to(self.device)
        return (2 * world.draw(n_rows, size, 2) - 1).to(self.device)

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        """Returns s, a and s' of sizes that it accepts."""
        given, reached = self._states(n_rows, self.sizes[0])
        return given, self._actions(n_rows, self.sizes[1]), reached

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        """Returns its terminals, or its rewards."""
        name = "terminals" if self.component.kind == "termination" else "rewards"
        return {name: ready(*inputs)}


def _says_something(values: torch.Tensor) -> bool:
    """Whether there is a number in it: slices beyond the last column hold none."""
    return values.numel() > 0 and not bool(torch.isnan(values).all())
