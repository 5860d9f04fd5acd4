"""Toy dynamics with answers computed by hand: s' = s + a, r = s."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import d3rlpy
import numpy as np
import torch

import d3rlpy_mbo as mbo

# d3rlpy's continuous Q-learners.
LEARNERS = [
    "bc", "td3", "ddpg", "sac", "bcq", "bear", "crr", "cql", "awac", "plas",
    "plas_with_perturbation", "td3_plus_bc", "iql", "rebrac", "prdc", "cal_ql",
]  # fmt: skip

# Its discrete ones.
DISCRETE = [
    "dqn", "double_dqn", "nfq", "discrete_sac", "discrete_bcq", "discrete_cql",
    "discrete_bc",
]  # fmt: skip


def line_episodes(
    n_episodes: int, length: int, terminated: bool = False, size: int = 1
) -> list[d3rlpy.dataset.Episode]:
    """Episodes of s' = s + a, r = s[0], as d3rlpy stores them: T observations."""
    episodes = []
    for _ in range(n_episodes):
        actions = np.random.uniform(-1, 1, (length, size)).astype(np.float32)
        steps = np.vstack([np.random.uniform(-5, 5, (1, size)), actions[:-1]])
        observations = np.cumsum(steps, axis=0, dtype=np.float32)
        episodes.append(
            d3rlpy.dataset.Episode(
                observations, actions, observations[:, :1].copy(), terminated
            )
        )
    return episodes


def line_dataset(
    n_episodes: int = 20, length: int = 25, terminated: bool = False, size: int = 1
) -> d3rlpy.dataset.ReplayBuffer:
    return d3rlpy.dataset.create_infinite_replay_buffer(
        line_episodes(n_episodes, length, terminated, size)
    )


def line_transitions(n_rows: int = 2000, size: int = 1) -> mbo.Transitions:
    observations = np.random.uniform(-5, 5, (n_rows, size))
    actions = np.random.uniform(-1, 1, (n_rows, size))
    return mbo.Transitions.from_arrays(
        observations,
        actions,
        observations[:, 0],
        observations + actions,
        np.zeros(n_rows),
        np.random.uniform(-1, 1, (n_rows, size)),
    )


# Three choices on a line: s' = s + STEPS[a], r = s; their indices say nothing of it.
STEPS = (0.5, -1.0, 2.0)


def choice_dataset(
    n_episodes: int = 20, length: int = 25, terminated: bool = False
) -> d3rlpy.dataset.ReplayBuffer:
    """Episodes of s' = s + STEPS[a] with their last observations; s drifts to 0."""
    observations, actions, rewards = [], [], []
    for _ in range(n_episodes):
        states, taken = [float(np.random.uniform(-5, 5))], []
        for _ in range(length):
            up, stay, down = (0.1, 0.3, 0.6) if states[-1] > 0 else (0.5, 0.3, 0.2)
            taken.append(int(np.random.choice(3, p=[stay, down, up])))
            states.append(states[-1] + STEPS[taken[-1]])
        observations.append(np.array(states).reshape(-1, 1))
        actions.append(taken)
        rewards.append(states[:-1])
    flags = [terminated] * n_episodes
    return mbo.dataset_from_arrays(
        observations, actions, rewards, terminals=flags, n_actions=3
    )


@dataclasses.dataclass()
class LineDynamicsConfig(mbo.DynamicsConfig):
    """The truth, with two members that agree; `noise` is what they claim as std."""

    noise: float = 0.0
    broken_at: float = float("inf")  # states beyond it become NaN

    @staticmethod
    def get_type() -> str:
        return "line"

    def create(self, device: Any = False) -> "LineDynamics":
        return LineDynamics(self, device)


class LineDynamics(mbo.Dynamics):
    config: LineDynamicsConfig
    fitted = True
    n_rows_fitted: Optional[int] = None

    def fit(self, transitions: mbo.Transitions) -> None:
        self.n_rows_fitted = len(transitions)
        self.fit_transitions = transitions

    def moves(self, actions: torch.Tensor) -> torch.Tensor:
        return actions

    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> mbo.Prediction:
        sign = 1 if self.direction == "forward" else -1
        reached = observations + sign * self.moves(actions)
        reached = torch.where(reached.abs() > self.config.broken_at, torch.nan, reached)
        before = observations if self.direction == "forward" else reached
        means = torch.cat([reached, before[:, :1]], dim=1).expand(2, -1, -1)
        stds = torch.full_like(means, self.config.noise)
        return mbo.Prediction(
            observations,
            actions,
            reached,
            before[:, :1],
            means if all_members else None,
            stds if all_members else None,
        )

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclasses.dataclass()
class ChoiceDynamicsConfig(LineDynamicsConfig):
    """The truth where the choices are STEPS."""

    action_spaces = ("discrete",)

    @staticmethod
    def get_type() -> str:
        return "choice_line"

    def create(self, device: Any = False) -> "ChoiceDynamics":
        return ChoiceDynamics(self, device)


class ChoiceDynamics(LineDynamics):
    n_actions = 3

    def moves(self, actions: torch.Tensor) -> torch.Tensor:
        return torch.tensor(STEPS)[actions[:, 0].long()][:, None]


@dataclasses.dataclass()
class DoubtfulLineConfig(LineDynamicsConfig):
    """The truth, whose two members lie |s| apart (reverse |s'|), `doubt` times as much."""

    doubt: float = 1.0

    @staticmethod
    def get_type() -> str:
        return "doubtful_line"

    def create(self, device: Any = False) -> "DoubtfulLine":
        return DoubtfulLine(self, device)


class DoubtfulLine(LineDynamics):
    config: DoubtfulLineConfig

    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> mbo.Prediction:
        prediction = super().predict(observations, actions, all_members)
        if prediction.means is None:
            return prediction
        means = prediction.means.clone()
        offset = 0.5 * self.config.doubt * observations.abs()
        means[0, :, :-1] += offset
        means[1, :, :-1] -= offset
        return dataclasses.replace(prediction, means=means)


@dataclasses.dataclass()
class ReadingConfig(mbo.HaltConfig):
    """Halts where the members lie more than `threshold` apart, in one of three readings."""

    threshold: float = 1.5
    reading: str = "morel"
    reward: float = -31.0

    @staticmethod
    def get_type() -> str:
        return "reading"

    def create(self, device: Any = False) -> "Reading":
        return Reading(self, device)


class Reading(mbo.Halt):
    config: ReadingConfig
    fitted = True

    def fit(self, dynamics: mbo.Dynamics, transitions: mbo.Transitions) -> None:
        doubts = [self.doubt(each) for each in dynamics.predictions(transitions)]
        self.metrics = {"largest_doubt": float(torch.cat(doubts).max())}

    def doubt(self, prediction: mbo.Prediction) -> torch.Tensor:
        assert prediction.means is not None
        return (prediction.means[0] - prediction.means[1])[:, :-1].norm(
            dim=1, keepdim=True
        )

    def __call__(
        self, prediction: mbo.Prediction, state: Optional[torch.Tensor]
    ) -> mbo.HaltDecision:
        doubt = self.doubt(prediction)
        if self.config.reading == "tatu":
            doubt = doubt if state is None else doubt + state
            far = doubt > self.config.threshold
            return mbo.HaltDecision(far, ~far, torch.zeros_like(far), state=doubt)
        far = doubt > self.config.threshold
        if self.config.reading == "neubay":
            return mbo.HaltDecision(far, torch.ones_like(far), torch.zeros_like(far))
        reward = torch.full_like(doubt, self.config.reward)
        return mbo.HaltDecision(far, torch.ones_like(far), far, reward)

    def state_dict(self) -> dict[str, Any]:
        return {"metrics": self.metrics}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclasses.dataclass()
class ScriptedPolicyConfig(mbo.RolloutPolicyConfig):
    """Proposes given numbers, one after the other, for every row."""

    script: list[float] = dataclasses.field(default_factory=list)

    @staticmethod
    def get_type() -> str:
        return "scripted"

    def create(self, device: Any = False) -> "ScriptedPolicy":
        return ScriptedPolicy(self, device)


class ScriptedPolicy(mbo.RolloutPolicy):
    config: ScriptedPolicyConfig
    fitted = True
    position = 0

    def fit(self, transitions: mbo.Transitions) -> None:
        pass

    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Any]
    ) -> torch.Tensor:
        script = self.config.script
        value = script[self.position % len(script)]
        self.position += 1
        return torch.full_like(observations, value)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclasses.dataclass()
class BeyondTermination(mbo.Termination):
    """Terminal wherever s' > limit."""

    limit: float = 3.0

    @staticmethod
    def get_type() -> str:
        return "beyond"

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        return next_observations[:, :1] > self.limit


@dataclasses.dataclass()
class ConstantPenalty(mbo.Penalty):
    value: float = 0.5

    @staticmethod
    def get_type() -> str:
        return "constant"

    def __call__(
        self, prediction: mbo.Prediction, learner: Optional[Any] = None
    ) -> torch.Tensor:
        assert prediction.means is not None
        return torch.full_like(prediction.rewards, self.value)


def choice_imagination(direction: str = "reverse", **settings: Any) -> mbo.Imagination:
    """One with the true dynamics of the choices."""
    dynamics = ChoiceDynamicsConfig(direction=direction)
    return line_imagination(direction, dynamics=dynamics, **settings)


def line_imagination(
    direction: str = "reverse", dataset: Any = None, **settings: Any
) -> mbo.Imagination:
    """An imagination with the true dynamics, fitted if a dataset is given."""
    settings.setdefault("dynamics", LineDynamicsConfig(direction=direction))
    settings.setdefault("rollout_batch_size", 200)
    imagination = mbo.ImaginationConfig(**settings).create()
    if dataset is not None:
        imagination.fit(dataset)
    return imagination


def small_ensemble(direction: str = "forward", **settings: Any) -> Any:
    settings = {
        "n_models": 3,
        "n_elites": 2,
        "hidden_units": [32, 32],
        "weight_decays": [0.0, 0.0, 0.0],
        "max_steps": 50,
        **settings,
    }
    return mbo.ProbabilisticEnsembleConfig(direction=direction, **settings)


def small_learner(name: str, **settings: Any) -> Any:
    """A d3rlpy algorithm by its type's name, with small networks."""
    from d3rlpy_mbo.learners.names import learner_config

    config = learner_config(name)(batch_size=16, **settings)
    encoder = d3rlpy.models.VectorEncoderFactory([16])
    for field in dataclasses.fields(config):
        if field.name.endswith("encoder_factory"):
            setattr(config, field.name, encoder)
        if field.name == "n_action_samples":
            setattr(config, field.name, 2)
    return config.create()


QUIET = {"show_progress": False, "logger_adapter": d3rlpy.logging.NoopAdapterFactory()}


def rows_of(batch: Any) -> Sequence[tuple[float, ...]]:
    """The rows of a batch or of transitions as tuples, to compare as sets."""
    names = (
        "observations",
        "actions",
        "rewards",
        "next_observations",
        "next_actions",
        "terminals",
    )
    columns = [np.asarray(getattr(batch, name)) for name in names]
    return [tuple(row) for row in np.concatenate(columns, axis=1).tolist()]
