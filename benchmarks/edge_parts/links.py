"""Reverse rollouts that no longer end in a real state, nor near one."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Optional

import d3rlpy_mbo as mbo
from d3rlpy_mbo.imagination.rollout import Rollout
from d3rlpy_mbo.support.devices import Device

__all__ = ["WithoutLastLink", "WithoutLastLinkConfig", "without_last_link"]


@dataclasses.dataclass()
class WithoutLastLinkConfig(mbo.ImaginationConfig):
    """Config of reverse rollouts whose last rows in time, up to the real s', are dropped.

    A rollout s_h -> ... -> s_1 -> s_0 with a real s_0 loses s_1 -> s_0, and with n_links of
    n all from s_n on. The model, and every row that is left, are those of the same
    imagination with the links. But from s_n learners get no row any more, only the one
    that leads there: an edge, as the last state of a forward rollout is one (arXiv
    2402.12527), and the farther from the data the more links are dropped.

    For learners that ask for no returns-to-go: these would be taken from a chain that has a
    hole.

    Args:
        n_links: Rows of each rollout that are dropped, those nearest to the real state.
    """

    dynamics: mbo.DynamicsConfig = mbo.component_field(
        "dynamics", lambda: mbo.ProbabilisticEnsembleConfig(direction="reverse")
    )
    n_links: int = mbo.number(1, at_least=1, whole=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"without_last_link"``."""
        return "without_last_link"

    def create(
        self, device: Device = False, dynamics: Optional[mbo.Dynamics] = None
    ) -> "WithoutLastLink":
        """See `ImaginationConfig.create`.

        Raises:
            CompositionError: It is not reverse, or nothing would be left of a rollout.
        """
        direction, length = self.dynamics.direction, self.rollout_length
        if direction != "reverse" or length <= self.n_links:
            raise mbo.CompositionError(
                f"without_last_link was given a {direction} model and rollouts of "
                f"{length}, expected a reverse one and {self.n_links + 1} steps or more: "
                f"the last in time, n_links = {self.n_links}, are dropped."
            )
        return WithoutLastLink(self, device, dynamics)


class WithoutLastLink(mbo.Imagination):
    """Imagines as any other, and passes on all rows but the last links."""

    config: WithoutLastLinkConfig

    def rollouts(self, *args: Any, **kwargs: Any) -> Iterator[Rollout]:
        """See `Imagination.rollouts`; what is counted is what was imagined."""
        for imagined in super().rollouts(*args, **kwargs):
            yield without_last_link(imagined, self.config.n_links)


def without_last_link(imagined: Rollout, n_links: int = 1) -> Rollout:
    """Returns the rows that lie more than n_links steps from where they lead to."""
    kept = imagined.distances > n_links
    return dataclasses.replace(
        imagined,
        transitions=imagined.transitions[kept],
        penalties=imagined.penalties[kept],
        start_rows=imagined.start_rows[kept],
        distances=imagined.distances[kept],
        spared=imagined.spared[kept],
    )
