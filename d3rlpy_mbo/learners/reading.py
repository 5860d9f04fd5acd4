"""Asks learners, d3rlpy's algorithms, without visiting the host.

What is inside a learner is read here and in `q_values`; `pretraining` and `state` also
change it.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Optional, TypeAlias, Union, cast

import torch
from d3rlpy.algos import DiscreteSACConfig, QLearningAlgoBase, TransformerAlgoBase
from d3rlpy.base import LearnableConfig
from d3rlpy.constants import ActionSpace
from d3rlpy.ope import FQE, DiscreteFQE

from ..data.action_sets import ActionChoices
from ..support.devices import ROWS_OF_A_LEARNER
from ..support.errors import CompositionError, DivergedError
from .distributions import unvalidated

__all__ = [
    "AnyLearner",
    "Learner",
    "acts_greedily",
    "check",
    "check_actions",
    "check_built",
    "critics_of",
    "device_of",
    "discount",
    "grad_step",
    "has_critic",
    "impl_of",
    "is_built",
    "is_discrete",
    "is_distributed",
    "is_evaluation",
    "is_transformer",
    "modes_kept",
    "needs_returns_to_go",
    "predict_action",
    "sample_action",
    "scaled_observations",
    "validate_real_ratio",
    "validate_scalers_fitted",
    "validate_tensor",
    "with_networks",
]

Learner: TypeAlias = QLearningAlgoBase[Any, Any]
AnyLearner: TypeAlias = Union[Learner, TransformerAlgoBase[Any, Any]]


def check(learner: Any) -> None:
    """Refuses what cannot train on imagined transitions.

    Raises:
        CompositionError: A config, or no d3rlpy algorithm at all.
    """
    name = type(learner).__name__
    if isinstance(learner, LearnableConfig):
        raise CompositionError(
            f"learner is the config {name}(...), expected what it creates: "
            f"{name}(...).create(device)."
        )
    if isinstance(learner, type):
        name = f"The class {learner.__name__}"
    if not isinstance(learner, (QLearningAlgoBase, TransformerAlgoBase)):
        raise CompositionError(
            f"{name} cannot train on imagined transitions: expected one of d3rlpy's "
            "algorithms, for Q-learning (SAC, CQL, IQL, DQN, ...) or a transformer."
        )


def needs_returns_to_go(name: str) -> str:
    """Returns the error message for learners that need returns-to-go in every row."""
    return (
        f"{name} needs returns-to-go, which rows that are imagined forwards do not have: "
        "they lead to no real state. Cal-QL can do without them, unless its reward "
        "scaler stands in the way: pass ImaginedReplayBuffer(dataset, imagination, "
        "learner=algo), so that the buffer can validate that."
    )


def validate_real_ratio(learner: AnyLearner, real_ratio: float) -> None:
    """Asks a learner whether it can train on such a share of real rows, if it minds.

    Args:
        learner: Any; a plugin's may have a method ``validate_real_ratio``.
        real_ratio: Of its batches, in expectation.

    Raises:
        CompositionError: As the learner says.
    """
    validate = getattr(learner, "validate_real_ratio", None)
    if validate is not None:
        validate(real_ratio)


def is_transformer(learner: Any) -> bool:
    """Returns whether the learner trains on trajectories instead of transitions."""
    return isinstance(learner, TransformerAlgoBase)


def grad_step(learner: AnyLearner) -> int:
    """Returns how many gradient steps the learner has taken."""
    return learner.grad_step


def discount(learner: Learner) -> float:
    """Returns the learner's gamma."""
    return float(learner.config.gamma)


def is_built(learner: AnyLearner) -> bool:
    """Returns whether the learner has networks."""
    return learner.impl is not None


def is_distributed(learner: AnyLearner) -> bool:
    """Returns whether the learner shares its gradients with other processes (DDP)."""
    return bool(learner._enable_ddp)


def is_evaluation(learner: Any) -> bool:
    """Returns whether it judges another learner's policy and does not act: FQE."""
    return isinstance(learner, FQE | DiscreteFQE)


def is_discrete(learner: AnyLearner) -> bool:
    """Returns whether the learner chooses among finitely many actions."""
    return learner.get_action_type() == ActionSpace.DISCRETE


def check_actions(learner: AnyLearner, n_actions: Optional[int]) -> None:
    """Refuses a learner of another kind of actions than the data's.

    Args:
        learner: Any d3rlpy algorithm, built or not.
        n_actions: Choices that the data has, None where its actions are continuous.

    Raises:
        CompositionError: Names both, and learners of the data's kind.
    """
    if learner.get_action_type() == ActionSpace.BOTH:
        return
    if is_discrete(learner) == (n_actions is not None):
        return
    name = type(learner).__name__
    if n_actions is None:
        raise CompositionError(
            f"{name} is for discrete actions, but the dataset's are continuous. Use a "
            "continuous algorithm such as SAC, CQL, IQL or BCQ. If the actions are indices "
            "of choices, say so where the dataset is made: n_actions of "
            "mbo.dataset_from_arrays, action_space and action_size of d3rlpy's "
            "MDPDataset."
        )
    raise CompositionError(
        f"{name} is for continuous actions, but the dataset's are {n_actions} choices. Use "
        "a discrete algorithm such as DQN, DiscreteCQL, DiscreteBCQ or DiscreteSAC. If the "
        "actions are numbers that are whole only by chance, build the dataset with "
        "action_space=d3rlpy.ActionSpace.CONTINUOUS and action_size."
    )


def check_built(
    learner: AnyLearner,
    observation_size: int,
    action_size: int,
    critic: bool = False,
    n_actions: Optional[int] = None,
) -> None:
    """Refuses a learner that cannot be asked about states and actions of these sizes.

    Args:
        learner: Any d3rlpy algorithm.
        observation_size: D.
        action_size: A; 1 where actions are indices of choices.
        critic: Whether its Q-values will be asked for.
        n_actions: How many choices there are, if actions are choices and that is known.

    Raises:
        CompositionError: It has no networks yet, other sizes, or no critic.
    """
    name, impl = type(learner).__name__, impl_of(learner)
    columns = 1 if is_discrete(learner) else impl.action_size
    built = tuple(impl.observation_shape), columns
    if built != ((observation_size,), action_size):
        raise CompositionError(
            f"{name} was built for observations of shape {built[0]} and actions of size "
            f"{built[1]}, but the data has ({observation_size},) and {action_size}. "
            "Build it on this dataset."
        )
    if n_actions is not None and n_actions != impl.action_size:
        raise CompositionError(
            f"{name} was built for {impl.action_size} choices, but the data has "
            f"{n_actions}. Build it on this dataset."
        )
    if critic:
        critics_of(learner)


def impl_of(learner: AnyLearner) -> Any:
    """Returns what d3rlpy keeps its networks in; CompositionError if there are none."""
    if isinstance(learner, type) or not hasattr(learner, "impl"):
        check(learner)  # a config, or no learner at all: says which
    if learner.impl is None:
        raise CompositionError(
            f"{type(learner).__name__} is not built, so it has neither actions nor "
            "values. Call learner.build_with_dataset(dataset), or start learner.fit. If "
            "another learner is being trained: a buffer asks the one that it was made "
            "with."
        )
    return learner.impl


def critics_of(learner: AnyLearner, target: bool = False) -> Any:
    """Returns the modules of Q-values, or their targets; CompositionError without any."""
    try:
        critics = impl_of(learner).q_function
        return learner.impl.modules.targ_q_funcs if target else critics  # type: ignore[union-attr]
    except (NotImplementedError, AttributeError) as error:  # a transformer has none
        # With its cause: it may be a mistake in a plugin's `q_function`.
        raise CompositionError(
            f"{type(learner).__name__} has no critic, so nobody can say what an imagined "
            "state is worth. Use an actor-critic learner such as SAC, TD3+BC, CQL or IQL."
        ) from error


def has_critic(learner: Learner) -> bool:
    """Returns whether a learner that is built has Q-values."""
    try:
        critics_of(learner)
    except CompositionError:
        return False
    return True


@contextlib.contextmanager
def modes_kept(learner: Optional[Learner]) -> Iterator[None]:
    """Puts a learner's networks back into the modes they were in before it was asked.

    Asking sets them to evaluation; training sets them back, but nothing else does.
    """
    networks = [] if learner is None else _networks(learner)
    modes = [(part, part.training) for each in networks for part in each.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _networks(learner: Learner) -> list[torch.nn.Module]:
    return list(impl_of(learner).modules.get_torch_modules().values())


def device_of(learner: Learner) -> torch.device:
    """Returns where a learner's networks are."""
    return torch.device(impl_of(learner).device)


def with_networks(
    learner: Learner, change: Callable[[torch.nn.Module], torch.nn.Module]
) -> Learner:
    """Returns a view of a learner, to be asked, with other networks in their place.

    The learner stays as it is, but for its networks' mode: they are set to evaluation, as
    whoever asks them does, before any part of them may be shared.

    Args:
        learner: Any d3rlpy Q-learning algorithm, built.
        change: Returns what takes a network's place; it may share its parameters.
    """
    view, impl = copy.copy(learner), copy.copy(impl_of(learner))
    impl.modules.set_eval()
    networks = impl.modules.get_torch_modules()
    impl._modules = dataclasses.replace(
        impl.modules, **{name: change(network) for name, network in networks.items()}
    )
    view._impl = impl
    return view


def sample_action(
    learner: Learner, observations: torch.Tensor, epsilon: float = 0.0
) -> torch.Tensor:
    """Samples the learner's actions, as `learner.sample_action` would.

    Args:
        learner: Any d3rlpy Q-learning algorithm, built.
        observations: (B, D) in dataset units, on any device.
        epsilon: Share of uniform choices instead, for a learner that `acts_greedily`.

    Returns:
        (B, A) float32 in dataset units, on the device of the observations; for a discrete
        learner (B, 1), indices of choices.

    Raises:
        CompositionError: The learner has no networks yet, or networks for observations of
            another size.
        DivergedError: A discrete learner's networks give no probabilities.
    """
    actions = _act(learner, observations, "sample_action")
    if not epsilon or not acts_greedily(learner):
        return actions
    choices = ActionChoices(impl_of(learner).action_size, str(actions.device))
    explored = torch.rand(len(actions), 1, device=actions.device) < epsilon
    return torch.where(explored, choices.sample(len(actions)), actions)


def predict_action(learner: Learner, observations: torch.Tensor) -> torch.Tensor:
    """Returns the learner's best actions, as `learner.predict` would.

    Args, Returns, Raises: as `sample_action`. BCQ, BEAR and CRR choose among random
    actions, so theirs are random too.
    """
    return _act(learner, observations, "predict_best_action")


@torch.no_grad()
def _act(learner: Learner, observations: torch.Tensor, method: str) -> torch.Tensor:
    impl, config = impl_of(learner), learner.config
    if is_transformer(learner):
        raise CompositionError(
            f"{type(learner).__name__} acts from a whole context, not at single states: "
            "expected one of d3rlpy's Q-learning algorithms (SAC, CQL, IQL, BCQ, ...)."
        )
    validate_scalers_fitted(learner)
    validate_tensor("observations", observations)
    shape = tuple(impl.observation_shape)
    if tuple(observations.shape[1:]) != shape:
        raise CompositionError(
            f"{type(learner).__name__} was built for observations of shape {shape}, but is "
            f"asked about rows of shape {tuple(observations.shape[1:])}. Ask the one that "
            "was built on data of this size."
        )

    def act(rows: torch.Tensor) -> torch.Tensor:
        x = scaled_observations(config, rows.to(impl.device))
        try:
            actions = getattr(impl, method)(x)
        except RuntimeError as error:
            if "probability tensor" not in str(error):  # torch's words of NaN in it
                raise
            # Of NaN a continuous policy makes NaN, which whoever asks sees by itself.
            raise DivergedError(
                f"{type(learner).__name__} cannot choose an action ({error}): its networks "
                "have diverged. Lower its learning rate, or look for outliers in the data."
            ) from error
        if config.action_scaler:
            actions = config.action_scaler.reverse_transform(actions)
        # Of discrete learners (B,) int64; d3rlpy's own mini-batches hold them like this.
        return cast(torch.Tensor, actions).float().view(len(rows), -1).to(rows.device)

    # BCQ, BEAR, CRR and PLAS choose among this many actions for each row.
    size = max(ROWS_OF_A_LEARNER // getattr(config, "n_action_samples", 1), 1)
    starts = range(0, len(observations), size)
    with unvalidated():  # whoever asks looks at the actions, once for all rows
        return torch.cat([act(observations[first : first + size]) for first in starts])


def acts_greedily(learner: Learner) -> bool:
    """Returns whether a discrete learner's sampled action is always its best one.

    Of d3rlpy's discrete algorithms only DiscreteSAC samples from a policy. Continuous
    ones explore by themselves or are cloned, so they do not count as greedy.
    """
    return is_discrete(learner) and not isinstance(learner.config, DiscreteSACConfig)


def validate_scalers_fitted(learner: Learner) -> None:
    """Raises CompositionError where a scaler has no numbers yet."""
    config: Any = learner.config
    for name in ("observation_scaler", "action_scaler", "reward_scaler"):
        scaler = getattr(config, name, None)
        if scaler is not None and not scaler.built:
            raise CompositionError(
                f"The {name} of {type(learner).__name__}, {type(scaler).__name__}, is not "
                "fitted: building a learner does not fit its scalers. Start learner.fit, "
                "or give the scaler its numbers."
            )


def validate_tensor(name: str, rows: Any) -> None:
    """Raises CompositionError for what d3rlpy's own methods take and networks do not."""
    is_tensor = isinstance(rows, torch.Tensor)
    if not is_tensor or rows.dtype == torch.float64 or rows.ndim < 2:
        found = f"{tuple(rows.shape)} of {rows.dtype}" if is_tensor else type(rows)
        raise CompositionError(
            f"The {name} are {found}, expected a float32 tensor (rows, size): "
            "torch.as_tensor(rows, dtype=torch.float32). d3rlpy's own predict and "
            "predict_value take NumPy's arrays."
        )


def scaled_observations(config: Any, observations: torch.Tensor) -> torch.Tensor:
    """Returns what a learner's networks are given, from dataset units."""
    if config.observation_scaler:
        observations = config.observation_scaler.transform(observations)
    return observations
