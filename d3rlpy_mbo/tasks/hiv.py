"""The HIV treatment of MOPO's appendix F: six equations, two drugs."""

from typing import Any, Optional

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from ..components.known_rewards import HIV_CHOICES, HIVReward

__all__ = ["HIV", "hiv_rates", "hiv_spec"]

Counts = npt.NDArray[np.float64]

# Adams et al. 2004, table 1, as the simulator of whynot has them: rates a day, per ml.
_SOURCE_1, _SOURCE_2, _DEATH_1, _DEATH_2 = 1e4, 31.98, 0.01, 0.01
_INFECTION_1, _INFECTION_2 = 8e-7, 1e-4
_EFFICACY_2 = 0.34  # of the first drug in macrophages
_INFECTED_DEATH, _CLEARANCE = 0.7, 1e-5
_VIRIONS, _VIRUS_DEATH = 100.0, 13.0
_IMMUNE_SOURCE, _IMMUNE_DEATH = 1.0, 0.1
_BIRTH, _BIRTH_HALF, _LOSS, _LOSS_HALF = 0.3, 100.0, 0.25, 500.0

# whynot's: an early infection of a healthy patient; 400 decisions, one a day.
_START = np.array([1e6, 1e-4, 3198.0, 1e-4, 1.0, 10.0])
_DAYS = 400
_TOLERANCE = 1e-6  # of the solver; no count is less, so that each has a logarithm
_MOST = np.array(HIV_CHOICES[-1])


def hiv_rates(
    counts: Counts, doses: npt.NDArray[np.floating[Any]]
) -> tuple[float, ...]:
    """Returns the changes of the six counts a day.

    Args:
        counts: (6,) T cells, infected T cells, macrophages, infected macrophages (each
            per ml), free virus (copies per ml), immune effectors (cells per ml).
        doses: (2,) efficacies of the reverse transcriptase and of the protease inhibitor.

    Source: Adams et al. 2004, equation 5.1.
    """
    cells, infected, others, infected_others, virus, immune = counts
    first, second = doses
    new = (1 - first) * _INFECTION_1 * virus * cells
    new_others = (1 - _EFFICACY_2 * first) * _INFECTION_2 * virus * others
    every = infected + infected_others
    growth = _BIRTH * every / (every + _BIRTH_HALF) - _LOSS * every / (
        every + _LOSS_HALF
    )
    return (
        _SOURCE_1 - _DEATH_1 * cells - new,
        new - (_INFECTED_DEATH + _CLEARANCE * immune) * infected,
        _SOURCE_2 - _DEATH_2 * others - new_others,
        new_others - (_INFECTED_DEATH + _CLEARANCE * immune) * infected_others,
        (1 - second) * _VIRIONS * _INFECTED_DEATH * every
        - _VIRUS_DEATH * virus
        - new
        - new_others,
        _IMMUNE_SOURCE + (growth - _IMMUNE_DEATH) * immune,
    )


class HIV(gymnasium.Env[npt.NDArray[np.float64], Any]):
    """A patient, treated day by day.

    The observation is the decimal logarithm of the six counts of `hiv_rates`. The
    reward is `HIVReward`'s, of the doses and the counts a day later. Nothing
    terminates, and nothing is random: the patient is the same in every episode. The
    time limit is the spec's (`hiv_spec`), not this class's.

    Args:
        discrete: Whether there are four choices, each drug at its full dose or none, in
            whynot's order: none, the second, the first, both. Otherwise actions are
            doses, of 0 to 0.7 and 0 to 0.3, and beyond that are clipped.
        render_mode: None.

    Source: Yu et al. 2020, appendix F; the simulator ``hiv`` of whynot.
    """

    metadata = {"render_modes": []}  # noqa: RUF012, as gymnasium declares it

    def __init__(self, discrete: bool = False, render_mode: Optional[str] = None):
        self.render_mode = render_mode
        self._discrete = discrete
        self.observation_space = spaces.Box(-6.0, np.inf, (6,), np.float64)
        self.action_space: Any = spaces.Box(
            np.zeros(2, np.float32), _MOST.astype(np.float32)
        )
        if discrete:
            self.action_space = spaces.Discrete(len(HIV_CHOICES))

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[dict[str, Any]] = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Starts with an early infection, always the same one.

        Returns:
            Observation with shape (6,), and no further information.
        """
        super().reset(seed=seed)
        self._counts = _START.copy()
        return np.log10(self._counts), {}

    def step(
        self, action: Any
    ) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Treats the patient for a day.

        Args:
            action: Doses with shape (2,), or the number of a choice.

        Returns:
            Observation with shape (6,), reward, twice False, no further information.
        """
        from scipy.integrate import odeint  # d3rlpy's scikit-learn brings it

        if self._discrete:
            doses = np.array(HIV_CHOICES[int(action)])
        else:
            doses = np.clip(np.asarray(action, dtype=np.float64), 0.0, _MOST)
        counts = odeint(
            lambda counts, _: hiv_rates(counts, doses),
            self._counts,
            (0.0, 1.0),
            rtol=_TOLERANCE,
            atol=_TOLERANCE,
        )[-1]
        self._counts = np.maximum(counts, _TOLERANCE)
        reward = HIVReward.of_counts(self._counts[4], self._counts[5], doses)
        return np.log10(self._counts), float(reward), False, False, {}


def hiv_spec(discrete: bool) -> EnvSpec:
    """Returns the spec of `HIV` with its time limit of 400 days."""
    return EnvSpec(
        id="d3rlpy_mbo/HIV-v0",
        entry_point="d3rlpy_mbo.tasks.hiv:HIV",
        max_episode_steps=_DAYS,
        disable_env_checker=True,
        kwargs={"discrete": discrete},
    )
