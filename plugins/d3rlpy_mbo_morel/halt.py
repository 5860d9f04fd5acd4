"""MOReL's halt: where the members of the ensemble disagree more than they should."""

import dataclasses
import warnings
from typing import Any, ClassVar, Optional

import d3rlpy
import torch

import d3rlpy_mbo as mbo


@dataclasses.dataclass()
class DisagreementHaltConfig(mbo.HaltConfig):
    """Config of a halt on disagreement (Kidambi et al. 2020, equation 2).

    The disagreement of a row is the largest distance between two members' mean s',
    without the reward. A row above the threshold is kept, terminal, with a reward of its
    own: it leads into the paper's absorbing state HALT. A row at the threshold counts as
    known.

    Settings per task are in ``benchmarks/settings/morel.toml``.

    Args:
        threshold: ``"deviations"``, mean + beta times the (population) standard deviation
            of the data's disagreements, as in J-MOReL; or ``"largest"``, the data's
            largest disagreement divided by coef, as in the official code.
        beta: For ``"deviations"``; 10 to 50 in J-MOReL.
        coef: For ``"largest"``; 3 on hopper-medium in the official code. With 1 or
            less, no row of the data would halt.
        offset: Added to the least reward of all real rows, which gives the reward of a
            halted row, as in unifloral (-30 to -200; J-MOReL adds as much to the row's
            own reward). The official code's configs all have 0, and never mark a halted
            path as terminal.
        value: ``"once"``, that reward and nothing after it; or ``"for_ever"``, the value
            of that reward in every step from there on, 1 / (1 - gamma) times as much: the
            paper's absorbing state.
        gamma: The learner's, for ``"for_ever"`` and to tell whether halting pays.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    threshold: str = mbo.choice("deviations", ["deviations", "largest"])
    beta: float = mbo.number(10.0, at_least=0)
    coef: float = mbo.number(3.0, more_than=0)
    offset: float = mbo.number(-50.0, at_most=0)
    value: str = mbo.choice("once", ["once", "for_ever"])
    gamma: float = mbo.number(0.99, at_least=0, less_than=1)

    @staticmethod
    def get_type() -> str:
        """Returns ``"disagreement"``."""
        return "disagreement"

    def create(self, device: d3rlpy.base.DeviceArg = False) -> "DisagreementHalt":
        """Returns an unfitted halt."""
        return DisagreementHalt(self, device)


class DisagreementHalt(mbo.Halt):
    """Halts where members disagree more than on the data; see its config."""

    config: DisagreementHaltConfig
    compares = "members"
    _threshold: Optional[float] = None
    _reward: float

    @property
    def fitted(self) -> bool:
        """Whether it was fitted or loaded."""
        return self._threshold is not None

    def fit(self, dynamics: mbo.Dynamics, transitions: mbo.Transitions) -> None:
        """Measures the members' disagreement on the data.

        Warns if halting is worth as much as going on for ever at the least reward of a
        step that does not end an episode, or more.

        Raises:
            CompositionError: The dynamics have fewer than two members.
        """
        config = self.config
        every = [_disagreement(each) for each in dynamics.predictions(transitions)]
        found = torch.cat(every).double()
        mean, std = float(found.mean()), float(found.std(correction=0))
        largest = float(found.max())
        threshold = mean + config.beta * std
        if config.threshold == "largest":
            threshold = largest / config.coef
        rewards = transitions.rewards
        least = float(rewards.min())
        if self.context is not None and self.context.reward_range is not None:
            least, _ = self.context.reward_range  # a crash without a known s' included
        self._reward = least + config.offset
        if config.value == "for_ever":
            self._reward /= 1 - config.gamma
        going_on = rewards[transitions.terminals == 0]
        least = float(going_on.min()) if len(going_on) else least
        living = least / (1 - config.gamma)
        if self._reward >= living:
            warnings.warn(
                f"A halted row has the reward {self._reward:.4g}, but going on for ever "
                f"at the least reward of a step that goes on, {least:.4g}, is worth "
                f"{living:.4g} at gamma {config.gamma:g}, so the learner would seek to "
                "halt. Lower the halt's offset, or set value='for_ever'.",
                stacklevel=2,
            )
        self._threshold = threshold
        self.metrics = {
            "halt_threshold": threshold,
            "halt_reward": self._reward,
            "disagreement_mean": mean,
            "disagreement_std": std,
            "disagreement_max": largest,
        }

    def __call__(
        self, prediction: mbo.Prediction, state: Optional[torch.Tensor]
    ) -> mbo.HaltDecision:
        """Stops at rows above the threshold; they are kept, terminal, with its reward."""
        self.check_fitted()
        assert self._threshold is not None
        unknown = _disagreement(prediction)[:, None] > self._threshold
        return mbo.HaltDecision(
            stop=unknown,
            keep=torch.ones_like(unknown),
            terminal=unknown,
            reward=torch.full_like(prediction.rewards, self._reward),
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns threshold and reward."""
        self.check_fitted()
        return {"threshold": self._threshold, "reward": self._reward}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over threshold and reward."""
        self._threshold, self._reward = state["threshold"], state["reward"]


def _disagreement(prediction: mbo.Prediction) -> torch.Tensor:
    """Returns (B,) the largest distance of two members' means of s'."""
    means = prediction.means
    if means is None or len(means) < 2:
        members = "none" if means is None else str(len(means))
        raise mbo.CompositionError(
            "The halt 'disagreement' compares the members of an ensemble, and this model "
            f"has {members}: expected 2 or more. Use ProbabilisticEnsembleConfig as "
            "dynamics."
        )
    states = means[..., :-1].transpose(0, 1)  # (B, E, D)
    # By differences: a matrix product would leave rounding where members are identical.
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(states, states, compute_mode=mode).amax(dim=(1, 2))
