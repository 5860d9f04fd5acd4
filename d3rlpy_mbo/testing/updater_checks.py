"""Checks of dynamics updaters."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from ..learners.reading import Learner, grad_step
from .running import conformance_check
from .subjects import Subject

__all__ = ["check_only_the_dynamics_change"]


@conformance_check("dynamics_updater")
def check_only_the_dynamics_change(subject: Subject) -> None:
    """Checks that an update changes the dynamics, and nothing of the learner."""
    inputs = subject.inputs()
    dynamics, _, learner = inputs
    before = _learner_state(learner)
    parameters = [parameter.detach().clone() for parameter in dynamics.parameters()]
    subject.ask(subject.ready, inputs)
    changed = sorted(_differences(before, _learner_state(learner)))
    if changed:
        raise subject.violation(
            "the learner must stay as it was",
            f"{len(changed)} changed parts, the first {changed[0]!r}",
            "a step of the learner's optimizer, learner.update, or parameters of both "
            "given to one optimizer",
        )
    if all(map(torch.equal, parameters, dynamics.parameters())):
        raise subject.violation(
            "an update must change dynamics.parameters()",
            "the same values as before",
            "no optimizer step, a loss that was detached, or a copy that was changed",
        )


def _learner_state(learner: Learner) -> dict[str, Any]:
    """Returns networks, optimizers and the step count, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learner.pt"
        learner.save_model(str(path))
        return {"grad_step": grad_step(learner), **torch.load(path, weights_only=True)}


def _differences(before: Any, after: Any, name: str = "") -> set[str]:
    """Returns the names of the values that differ in two nested states."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {
            difference
            for key in before.keys() | after.keys()
            for difference in _differences(
                before.get(key), after.get(key), f"{name}.{key}".lstrip(".")
            )
        }
    if isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor):
        return set() if torch.equal(before, after) else {name}
    return set() if before == after else {name}
