"""What an adversary asks of a model: the density of a sample that stays where it is."""

import torch

import d3rlpy_mbo as mbo
from broken_components import LinearModel, SoundDynamics


class Reparameterised(LinearModel):
    """Draws without `torch.no_grad()`, as nothing forbids."""

    def predict(self, observations, actions, all_members):
        mean = self.inputs(observations, actions) @ self.weights
        sample = mean + self.noise * torch.randn_like(mean)
        return mbo.Prediction(observations, actions, sample[:, :-1], sample[:, -1:])


def test_the_density_of_a_sample_has_a_gradient_though_predict_has_one_too():
    model = Reparameterised(SoundDynamics())
    model.weights = torch.nn.Parameter(torch.zeros(3, 2))
    model.noise = 0.1
    rows = mbo.Transitions.from_arrays(
        torch.ones(4, 1),
        torch.ones(4, 1),
        torch.ones(4),
        torch.ones(4, 1),
        torch.zeros(4),
    )
    _, prediction, log_prob = model.training_loss_and_sample(
        rows, rows.observations, rows.actions
    )
    assert not prediction.observations.requires_grad
    (gradient,) = torch.autograd.grad(log_prob.sum(), model.parameters())
    assert gradient.abs().max() > 1  # of the order of 1 / noise; through the sample 0


def test_the_density_of_a_sample_is_asked_for_with_the_choices_that_there_are():
    asked = []

    class OneHot(Reparameterised):
        def log_prob(self, transitions):
            asked.append(tuple(transitions.action_columns.shape))
            return super().log_prob(transitions)

    model = OneHot(SoundDynamics())
    model.weights, model.noise = torch.nn.Parameter(torch.zeros(3, 2)), 0.1
    ones = torch.ones(4, 1)
    rows = mbo.Transitions.from_arrays(ones, ones, ones, ones, ones, n_actions=5)
    model.training_loss_and_sample(rows, rows.observations, rows.actions)
    assert asked == [(4, 5), (4, 5)]  # for the loss, and of the sample
