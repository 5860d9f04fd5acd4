"""A penalty on how far imagined rows lie from the data: SUMO's rule (AAAI 2025).

Its authors released no code; this is the first public implementation that we know of.
"""

import dataclasses

import d3rlpy_mbo as mbo
import torch
from sklearn.neighbors import NearestNeighbors


@dataclasses.dataclass()
class KNNPenaltyConfig(mbo.LearnedPenaltyConfig):
    """log(1 + d): d is the distance of a row to the k-th nearest of the data's.

    Args:
        coef: What it is multiplied with.
        k: Which neighbour. SUMO's entropy estimate is a logarithm of this distance; the 1
            keeps penalties at least 0, as the contract wants (ours).
        max_rows: Of the data, at random.
    """

    coef: float = mbo.number(1.0, at_least=0)
    k: int = mbo.number(1, at_least=1, whole=True)
    max_rows: int = mbo.number(100_000, at_least=1, whole=True)

    @staticmethod
    def get_type():
        return "knn"

    def create(self, device=False):
        return KNNPenalty(self, device)


class KNNPenalty(mbo.LearnedPenalty):
    """Measures rows (s, a, s') in standard deviations of the data."""

    fitted = False

    def fit(self, dynamics, transitions):
        rows = self._rows(
            transitions.given_observations(dynamics.direction),
            transitions.actions,
            transitions.predicted_observations(dynamics.direction),
        )
        std = rows.std(dim=0)
        std = torch.where(std > 0, std, torch.ones_like(std))
        rows = rows[torch.randperm(len(rows))[: self.config.max_rows]]
        self.load_state_dict({"rows": rows, "std": std})

    def __call__(self, prediction, learner=None):
        self.check_fitted()
        asked = self._rows(
            prediction.given_observations, prediction.actions, prediction.observations
        ).cpu()
        finite = torch.isfinite(asked).all(dim=1, keepdim=True)
        asked = torch.where(finite, asked / self._std.cpu(), torch.zeros_like(asked))
        distances, _ = self._tree.kneighbors(asked.numpy())
        farthest = torch.as_tensor(
            distances[:, -1:], dtype=torch.float32, device=prediction.rewards.device
        )
        return self.config.coef * torch.log1p(farthest)

    @staticmethod
    def _rows(given, actions, reached):
        return torch.cat([given, actions, reached], dim=1)

    def state_dict(self):
        return {"rows": self._data, "std": self._std}

    def load_state_dict(self, state):
        self._data, self._std = state["rows"], state["std"]
        k = min(self.config.k, len(self._data))
        tree = NearestNeighbors(n_neighbors=k)
        self._tree = tree.fit((self._data / self._std).numpy())
        self.fitted = True


@mbo.hookimpl
def register_components():
    return [KNNPenaltyConfig]
