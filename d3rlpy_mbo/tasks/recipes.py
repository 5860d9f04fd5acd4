"""Core's own tasks: their settings. The work is done in the modules beside."""

import dataclasses
import types
from importlib.util import find_spec
from typing import Any, Optional, TypeVar

from ..registry.fields import flag, number, text
from . import hiv, icu_sepsis, pointmaze_collection, relabel, replay
from .interface import Task

__all__ = [
    "TASKS",
    "HIVTask",
    "ICUSepsisTask",
    "PointMazeTask",
    "RelabelTask",
    "ReplayTask",
]

TTask = TypeVar("TTask", bound=Task)


@dataclasses.dataclass()
class PointMazeTask(Task):
    """A walk through PointMaze by D4RL's maze2d recipe; see `collect_pointmaze`.

    Args:
        n_steps: Number of transitions.
        seed: Determines all of the dataset.
        n_reference_episodes: Episodes behind each reference score.
    """

    n_steps: int = number(1_000_000, at_least=1, whole=True)
    seed: int = number(0, at_least=0, whole=True)
    n_reference_episodes: int = number(1000, at_least=1, whole=True)

    @property
    def default_id(self) -> str:
        """``pointmaze/umaze-sparse-v0`` and the like."""
        return pointmaze_collection.pointmaze_id(self.get_type())

    @classmethod
    def smallest_settings(cls) -> Optional[dict[str, Any]]:
        """Returns half a second's walk, where the simulator is installed."""
        if not (find_spec("gymnasium_robotics") and find_spec("mujoco")):
            return None
        return {"n_steps": 50, "n_reference_episodes": 1}

    def collect(self, dataset_id: Optional[str] = None, *, force: bool = False) -> str:
        """Makes the dataset, see `collect_pointmaze`."""
        return pointmaze_collection.collect_pointmaze(
            self.get_type(),
            n_steps=self.n_steps,
            seed=self.seed,
            n_reference_episodes=self.n_reference_episodes,
            dataset_id=dataset_id,
            force=force,
        )


@dataclasses.dataclass()
class ReplayTask(Task):
    """All that a learner sees while it learns online; see `collect_replay`.

    Args:
        environment: Gymnasium's id, such as ``"Hopper-v5"``.
        n_steps: Number of transitions.
        seed: Determines all of the dataset.
        device: A torch device name.
    """

    environment: Optional[str] = text(None)
    n_steps: Optional[int] = number(None, at_least=1, whole=True)
    seed: int = number(0, at_least=0, whole=True)
    device: str = text("cpu")

    @staticmethod
    def get_type() -> str:
        """Returns ``"replay"``."""
        return "replay"

    @property
    def default_id(self) -> str:
        """``replay/hopper-v5-v0`` and the like."""
        self.check_set()
        assert self.environment is not None
        return replay.replay_id(self.environment)

    @classmethod
    def smallest_settings(cls) -> Optional[dict[str, Any]]:
        """Returns a few steps of an environment that needs no simulator."""
        return {"environment": "Pendulum-v1", "n_steps": 50}

    def collect(self, dataset_id: Optional[str] = None, *, force: bool = False) -> str:
        """Makes the dataset, see `collect_replay`."""
        self.check_set()
        assert self.environment is not None
        assert self.n_steps is not None
        return replay.collect_replay(
            self.environment,
            n_steps=self.n_steps,
            seed=self.seed,
            device=self.device,
            dataset_id=dataset_id,
            force=force,
        )


@dataclasses.dataclass()
class HIVTask(Task):
    """MOPO's HIV treatment: all that a learner sees of it while it learns online.

    SAC, or with four choices DoubleDQN; see `HIV` and `collect_replay`. The reward's
    scale is ours, see `HIVReward`.

    Args:
        n_steps: Number of transitions, one a day; MOPO's 200,000.
        discrete: Whether each drug is given in full or not at all.
        seed: Determines all of the dataset.
        device: A torch device name.
    """

    n_steps: int = number(200_000, at_least=1, whole=True)
    discrete: bool = flag(False)
    seed: int = number(0, at_least=0, whole=True)
    device: str = text("cpu")

    @staticmethod
    def get_type() -> str:
        """Returns ``"hiv"``."""
        return "hiv"

    @property
    def default_id(self) -> str:
        """``mopo/hiv-v0``, or ``mopo/hiv-choices-v0``."""
        return "mopo/hiv-choices-v0" if self.discrete else "mopo/hiv-v0"

    @classmethod
    def smallest_settings(cls) -> Optional[dict[str, Any]]:
        """Returns a few days."""
        return {"n_steps": 50}

    def collect(self, dataset_id: Optional[str] = None, *, force: bool = False) -> str:
        """Makes the dataset, see `collect_replay`."""
        return replay.collect_replay(
            hiv.hiv_spec(self.discrete),
            n_steps=self.n_steps,
            seed=self.seed,
            device=self.device,
            dataset_id=dataset_id or self.default_id,
            force=force,
        )


@dataclasses.dataclass()
class ICUSepsisTask(Task):
    """ICU-Sepsis, logged by a mixture of experts and chance; see `collect_icu_sepsis`.

    Policies are worth what a linear system says: `ICUSepsis.exact_return`.

    Args:
        n_steps: Number of transitions.
        expert_share: Probability that an action is the expert's, else uniform.
        seed: Determines all of the dataset.
    """

    n_steps: int = number(100_000, at_least=1, whole=True)
    expert_share: float = number(0.5, at_least=0, at_most=1)
    seed: int = number(0, at_least=0, whole=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"icu-sepsis"``."""
        return "icu-sepsis"

    @property
    def default_id(self) -> str:
        """``sepsis/icu-sepsis-v0``."""
        return "sepsis/icu-sepsis-v0"

    @classmethod
    def smallest_settings(cls) -> Optional[dict[str, Any]]:
        """Returns some patients, where the package is installed."""
        return {"n_steps": 50} if find_spec("icu_sepsis") else None

    def collect(self, dataset_id: Optional[str] = None, *, force: bool = False) -> str:
        """Makes the dataset, see `collect_icu_sepsis`."""
        return icu_sepsis.collect_icu_sepsis(
            n_steps=self.n_steps,
            expert_share=self.expert_share,
            seed=self.seed,
            dataset_id=dataset_id or self.default_id,
            force=force,
        )


@dataclasses.dataclass()
class RelabelTask(Task):
    """A local dataset with the rewards of one of MOPO's tasks; see `relabel`.

    Args:
        source: Id of a local Minari dataset.
    """

    source: Optional[str] = text(None)

    @property
    def default_id(self) -> str:
        """``mopo/ant-angle-v0`` and the like."""
        return relabel.relabelled_id(self.get_type())

    def collect(self, dataset_id: Optional[str] = None, *, force: bool = False) -> str:
        """Makes the dataset, see `relabel`."""
        self.check_set()
        assert self.source is not None
        return relabel.relabel(
            self.get_type(), self.source, dataset_id=dataset_id, force=force
        )


def _named(base: type[TTask], name: str) -> type[TTask]:
    """Returns a task that is its base under a name, by which the base knows its work."""
    contents = {
        "__doc__": base.__doc__,
        "__module__": __name__,
        "get_type": staticmethod(lambda: name),
    }
    class_name = name.title().replace("-", "")
    return types.new_class(class_name, (base,), {}, lambda body: body.update(contents))


TASKS: tuple[type[Task], ...] = (
    *(_named(PointMazeTask, n) for n in pointmaze_collection.POINTMAZE_TASKS),
    ReplayTask,
    HIVTask,
    ICUSepsisTask,
    *(_named(RelabelTask, n) for n in relabel.RELABELLED_TASKS),
)
