"""CABI's double check (NeurIPS 2022): rows that the opposite model leads back nearest."""

import dataclasses

import d3rlpy_mbo as mbo
import torch


@dataclasses.dataclass()
class DoubleCheckConfig(mbo.HaltConfig):
    """Drops imagined rows that the opposite model does not lead back.

    Of a forward row the reverse model is asked for s, of a reverse one the forward model
    for s'. What comes back is compared with what the row left from, by the mean squared
    difference. CABI keeps the best fifth of the rows imagined; here the share is that of
    the data's own states and actions, so that a row is judged by itself, and a dropped
    row ends its rollout.

    Args:
        share: Of the data's rows that would be kept.
    """

    share: float = mbo.number(0.2, more_than=0, at_most=1)

    @staticmethod
    def get_type():
        return "double_check"

    def create(self, device=False):
        return DoubleCheck(self, device)


class DoubleCheck(mbo.Halt):
    """Has a model of its own in the opposite direction."""

    _other = None
    _threshold = 0.0

    @property
    def fitted(self):
        return self._other is not None

    def fit(self, dynamics, transitions):
        other = self._opposite(dynamics.config)
        other.fit(transitions)
        self._other = other
        errors = [self._error(each) for each in dynamics.predictions(transitions)]
        self._threshold = float(torch.cat(errors).quantile(self.config.share))
        self._model = dynamics.config
        self.metrics = {"double_check_threshold": self._threshold}

    def _opposite(self, config):
        direction = "forward" if config.direction == "reverse" else "reverse"
        return dataclasses.replace(config, direction=direction).create(self.device)

    def _error(self, prediction):
        back = self._other.predict(prediction.observations, prediction.actions, True)
        means = back.means[: back.n_elites].mean(dim=0)  # without a draw
        difference = means[:, :-1] - prediction.given_observations
        return difference.square().mean(dim=1, keepdim=True)

    def __call__(self, prediction, state):
        self.check_fitted()
        keep = self._error(prediction) <= self._threshold
        return mbo.HaltDecision(stop=~keep, keep=keep, terminal=torch.zeros_like(keep))

    def state_dict(self):
        return {
            "model": [self._model.get_type(), self._model.serialize()],
            "other": self._other.state_dict(),
            "threshold": self._threshold,
        }

    def load_state_dict(self, state):
        name, config = state["model"]
        self._model = mbo.get_component("dynamics", name).deserialize(config)
        self._other = self._opposite(self._model)
        self._other.load_state_dict(state["other"])
        self._threshold = state["threshold"]


@mbo.hookimpl
def register_components():
    return [DoubleCheckConfig]
