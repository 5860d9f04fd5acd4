import copy
import dataclasses
import itertools
import math
import operator
import pickle

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics import ensemble
from d3rlpy_mbo.components.dynamics.networks import (
    GaussianNetworks,
    Standardizer,
    mixture_log_prob,
)
from d3rlpy_mbo.components.dynamics.samples import batches
from d3rlpy_mbo.components.dynamics.training import (
    decay_loss,
    ensemble_loss,
    train_ensemble,
)
from d3rlpy_mbo.runs.settings import apply_settings
from toys import LineDynamicsConfig, line_transitions, small_ensemble

DIRECTIONS = ["forward", "reverse"]


def fitted(direction="forward", transitions=None, **settings):
    model = small_ensemble(direction, **settings).create()
    model.fit(transitions or line_transitions())
    return model


@pytest.mark.training
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_it_learns_s_plus_a_within_one_percent_of_the_datas_scale(direction):
    transitions = line_transitions(4000)
    model = fitted(
        direction,
        transitions,
        hidden_units=[64, 64],
        max_steps=2500,
        learning_rate=3e-3,
    )
    fresh = line_transitions(1000)
    given = fresh.given_observations(direction)
    prediction = model.predict(given, fresh.actions, all_members=True)
    sign = 1 if direction == "forward" else -1
    means = prediction.means[: model.config.n_elites]
    error = (means[..., :1] - (given + sign * fresh.actions)).square().mean().sqrt()
    scale = transitions.observations.std()
    assert error < 0.01 * scale
    reward_error = (means[..., 1:] - fresh.rewards).square().mean().sqrt()
    assert reward_error < 0.01 * transitions.rewards.std()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_saved_and_loaded_it_predicts_bit_for_bit_the_same(direction):
    model = fitted(direction)
    copy = model.config.create()
    copy.load_state_dict(model.state_dict())
    fresh = line_transitions(50)
    for all_members in (False, True):
        predictions = []
        for each in (model, copy):
            torch.manual_seed(1)
            predictions.append(
                each.predict(fresh.observations, fresh.actions, all_members)
            )
        for field in dataclasses.fields(mbo.Prediction):
            first, second = (getattr(p, field.name) for p in predictions)
            same = torch.equal if isinstance(first, torch.Tensor) else operator.eq
            assert same(first, second), field.name
    assert torch.equal(model.holdout_indices, copy.holdout_indices)


def test_shapes_are_those_of_the_contract():
    model = fitted(transitions=line_transitions(size=3))
    fresh = line_transitions(7, size=3)
    prediction = model.predict(fresh.observations, fresh.actions, all_members=True)
    assert prediction.observations.shape == (7, 3)
    assert prediction.rewards.shape == (7, 1)
    assert prediction.means.shape == prediction.stds.shape == (3, 7, 4)
    lean = model.predict(fresh.observations, fresh.actions, all_members=False)
    assert lean.means is None
    assert lean.stds is None
    assert lean.observations.shape == (7, 3)


def test_training_draws_only_from_the_training_rows(monkeypatch):
    drawn = []

    def spy(samples, *arguments):
        drawn.append(samples)
        yield from batches(samples, *arguments)

    monkeypatch.setattr("d3rlpy_mbo.components.dynamics.training.batches", spy)
    model = fitted(transitions=line_transitions(600))
    assert not torch.isin(torch.cat(drawn), model.holdout_indices).any()


def test_every_member_gets_its_own_bootstrap_sample(monkeypatch):
    drawn = []

    def spy(samples, *arguments):
        drawn.append(samples)
        yield from batches(samples, *arguments)

    monkeypatch.setattr("d3rlpy_mbo.components.dynamics.training.batches", spy)
    fitted(transitions=line_transitions(600))
    for first, second in itertools.combinations(drawn[0], 2):
        assert not torch.equal(first.sort().values, second.sort().values)
    # With replacement about 63 % of the rows are there.
    assert 0.55 < len(drawn[0][0].unique()) / len(drawn[0][0]) < 0.72


def test_at_most_a_thousand_rows_are_held_out():
    model = fitted(transitions=line_transitions(8000), max_steps=2)
    assert len(model.holdout_indices) == 1000


def test_elites_are_the_members_with_the_least_holdout_error(monkeypatch):
    built = []

    def train(network, *_, **__):
        built.append(network)
        return torch.tensor([3.0, 1.0, 2.0]), 1

    monkeypatch.setattr("d3rlpy_mbo.components.dynamics.ensemble.train_ensemble", train)
    model = fitted()
    assert len(built) == 1
    for parameter, elites, others in zip(
        *(n.parameters() for n in (built[0], model._elites, model._others)), strict=True
    ):
        assert torch.equal(elites, parameter[[1, 2]])
        assert torch.equal(others, parameter[[0]])


def test_each_member_is_left_at_its_best_epoch():
    transitions = line_transitions(1000)
    config = small_ensemble(max_steps=None, patience=0, learning_rate=0.05)
    x = torch.cat([transitions.observations, transitions.actions], dim=1)
    y = torch.cat([transitions.actions, transitions.rewards], dim=1)
    x, y = Standardizer.fit(x).standardize(x), Standardizer.fit(y).standardize(y)
    network = GaussianNetworks(3, [2, 32, 32, 2], (-10.0, 0.5))
    training, holdout = torch.arange(800), torch.arange(800, 1000)
    names = ("learning_rate", "weight_decays", "batch_size", "bounds_weight")
    settings = {
        name: getattr(config, name) for name in (*names, "patience", "max_steps")
    }
    errors, _ = train_ensemble(network, x, y, training, holdout, **settings)
    with torch.no_grad():
        mean, _ = network(x[holdout].expand(3, -1, -1))
    torch.testing.assert_close((mean - y[holdout]).square().mean(dim=(1, 2)), errors)


@pytest.mark.training
def test_the_error_before_and_after_each_epoch_and_its_mean_loss_are_kept():
    model = fitted(max_steps=None, patience=1, transitions=line_transitions(400))
    errors = [record for record in model.history if record.name == "holdout_error"]
    losses = [record for record in model.history if record.name == "loss"]
    assert [error.epoch for error in errors] == list(range(len(errors)))
    # 320 rows are two batches of 256 at most.
    assert [error.step for error in errors] == [2 * error.epoch for error in errors]
    assert [(loss.epoch, loss.step) for loss in losses] == [
        (error.epoch, error.step) for error in errors[1:]
    ]
    assert errors[0].step == 0
    assert errors[-1].step == model.metrics["model_steps"]
    # Each member's best is kept, to 1 %, and the elites are the best of them.
    least = min(each.value for each in errors)
    assert 0.99 * model.metrics["model_holdout_error"] <= least
    assert losses[-1].value < losses[0].value


def test_an_interrupted_fit_keeps_the_history_of_the_one_before(monkeypatch):
    model = fitted()
    before = list(model.history)

    def interrupt(*_, history, **__):
        history.append(before[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "d3rlpy_mbo.components.dynamics.ensemble.train_ensemble", interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(line_transitions(400))
    assert model.history == before


@pytest.mark.usefixtures("talkative")
@pytest.mark.parametrize(
    ("max_steps", "announced"),
    [
        (
            None,
            "takes about 20 s per epoch. It ends after 3 epochs in a row in which no",
        ),
        (400, "takes at most about 67 min at this pace (400 steps)."),
    ],
)
@pytest.mark.training
def test_after_the_first_epoch_it_says_how_long_it_takes_at_most_or_what_ends_it(
    max_steps, announced, monkeypatch
):
    clock = itertools.count(step=10)  # a step asks once
    name = "d3rlpy_mbo.support.progress.monotonic"
    monkeypatch.setattr(name, lambda: float(next(clock)))
    with capture_logs() as lines:
        fitted(max_steps=max_steps, patience=2, transitions=line_transitions(400))
    assert announced in lines[0]["event"]
    shown = [line for line in lines[1:-1] if "epoch" in line]
    kind = "at most" if max_steps else "at least"
    assert shown
    assert all(kind in line["left"] and "holdout_error" in line for line in shown)
    assert lines[-1]["event"] == "Fitting dynamics: done"


@pytest.mark.training
def test_early_stopping_ends_training_without_a_step_limit():
    model = fitted(max_steps=None, patience=1, transitions=line_transitions(400))
    assert model.metrics["model_steps"] < 1000


def test_loss_is_the_sum_over_members_of_mean_nll_plus_the_bounds_width():
    network = GaussianNetworks(2, [1, 1], (-10.0, 0.5))
    with torch.no_grad():
        for parameter in (*network.weights, *network.biases):
            parameter.zero_()
    x, y = torch.zeros(2, 3, 1), torch.full((2, 3, 1), 2.0)
    softplus = torch.nn.functional.softplus
    raw = torch.tensor(0.0)
    log_variance = 0.5 - softplus(0.5 - raw)
    log_variance = -10 + softplus(log_variance + 10)
    each = 4 * torch.exp(-log_variance) + log_variance
    expected = 2 * each + 0.01 * 2 * 10.5
    torch.testing.assert_close(ensemble_loss(network, x, y, 0.01), expected)


@pytest.mark.training
def test_with_over_a_hundred_columns_the_bounds_still_leave_room_for_the_truth():
    observations, actions = torch.randn(2000, 120), torch.rand(2000, 1)
    outcomes = observations + actions + 0.01 * torch.randn(2000, 120)
    zeros = torch.zeros(2000)
    transitions = mbo.Transitions.from_arrays(
        observations, actions, zeros, outcomes, zeros
    )
    model = fitted(
        transitions=transitions,
        n_models=7,
        hidden_units=[16],
        weight_decays=[0.0, 0.0],
        learning_rate=3e-3,
        batch_size=64,
        max_steps=1000,
        patience=1000,
    )
    prediction = model.predict(observations, actions, all_members=True)
    error = (prediction.means[..., :-1] - outcomes).std()
    claimed = prediction.stds[..., :-1].mean()
    assert 0.7 < float(claimed / error) < 1.5


def test_log_variance_bounds_belong_to_their_member():
    model = fitted()
    assert model._elites.max_log_variance.shape == (2, 1, 2)
    assert not torch.equal(*model._elites.max_log_variance)


def test_a_column_that_never_changes_is_predicted_exactly():
    transitions = line_transitions(1000, size=2)
    for column in (transitions.observations, transitions.next_observations):
        column[:, 1] = 0.123
    prediction = fitted(transitions=transitions).predict(
        transitions.observations, transitions.actions, all_members=False
    )
    assert torch.equal(prediction.observations[:, 1], transitions.observations[:, 1])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_change_that_is_the_same_everywhere_is_predicted_exactly(direction):
    transitions = line_transitions(1000)
    drift = dataclasses.replace(
        transitions,
        observations=transitions.observations.round(),
        next_observations=transitions.observations.round() + 7,
    )
    prediction = fitted(direction, drift).predict(
        drift.given_observations(direction), drift.actions, all_members=False
    )
    expected = drift.predicted_observations(direction)
    assert torch.equal(prediction.observations, expected)


def test_elites_do_not_depend_on_the_scale_of_a_dimension():
    elites = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        np.random.seed(0)
        plain = line_transitions(1000, size=2)
        factor = torch.tensor([1.0, scale])
        scaled = dataclasses.replace(
            plain,
            observations=plain.observations * factor,
            next_observations=plain.next_observations * factor,
        )
        first = fitted(transitions=scaled)._elites.biases[-1]
        elites.append(first.detach().flatten(1))
    torch.testing.assert_close(*elites, rtol=1e-2, atol=1e-3)


def test_each_row_is_asked_of_one_elite_only_and_of_all_elites_alike():
    model = fitted(n_models=3, n_elites=2)
    asked = []
    for networks in (model._elites, model._others):
        networks.register_forward_pre_hook(lambda *call: asked.append(call))
    fresh = line_transitions(9)
    model.predict(fresh.observations, fresh.actions, all_members=False)
    (((networks, (rows,))),) = asked
    assert networks is model._elites
    assert rows.shape == (2, 5, 2)  # 9 rows dealt to 2 elites, one row of padding


@pytest.mark.training
@pytest.mark.parametrize("n_rows", [1, 2, 9, 10])
def test_dealing_rows_to_elites_gives_every_row_its_own_answer(n_rows):
    model = fitted()
    with torch.no_grad():  # no noise: both elites the same function
        for parameter in model._elites.parameters():
            parameter[:] = parameter[0]
        model._elites.min_log_variance.fill_(-60)
        model._elites.max_log_variance.fill_(-50)
    fresh = line_transitions(n_rows)
    one = model.predict(fresh.observations, fresh.actions, all_members=False)
    every = model.predict(fresh.observations, fresh.actions, all_members=True)
    torch.testing.assert_close(one.observations, every.observations)
    torch.testing.assert_close(one.observations, every.means[0][:, :1])


def plain_predictions(model, transitions):
    """(E, B, D + 1) means and stds of every member, one after the other."""
    inputs, targets = model._inputs, model._targets
    softplus = torch.nn.functional.softplus
    asked = torch.cat([transitions.observations, transitions.actions], dim=1)
    means, stds = [], []
    for network, member in [
        *((model._elites, member) for member in range(len(model._elites))),
        *((model._others, member) for member in range(len(model._others))),
    ]:
        hidden = (asked - inputs.mean) / inputs.std
        for i, (weight, bias) in enumerate(
            zip(network.weights, network.biases, strict=True)
        ):
            hidden = hidden @ weight[member] + bias[member]
            if i < len(network.weights) - 1:
                hidden = hidden * torch.sigmoid(hidden)
        mean, log_variance = hidden.chunk(2, dim=1)
        high = network.max_log_variance[member]
        low = network.min_log_variance[member]
        log_variance = high - softplus(high - log_variance)
        log_variance = low + softplus(log_variance - low)
        mean = mean * targets.std + targets.mean
        mean[:, :-1] += transitions.observations
        means.append(mean)
        stds.append(torch.exp(log_variance / 2) * targets.std)
    return torch.stack(means), torch.stack(stds)


@pytest.mark.parametrize("all_members", [False, True])
def test_predictions_are_the_plain_formulas_given_members_and_noise(all_members):
    model = fitted(n_models=4, n_elites=3)
    fresh = line_transitions(10)
    with torch.no_grad():
        means, stds = plain_predictions(model, fresh)
    torch.manual_seed(7)
    prediction = model.predict(fresh.observations, fresh.actions, all_members)
    torch.manual_seed(7)
    if all_members:
        drawn = torch.randint(3, (10,))
        torch.testing.assert_close(prediction.means, means, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(prediction.stds, stds, rtol=1e-4, atol=1e-5)
    else:
        # Twelve cards, two of them blank, go to three elites in hands of four.
        drawn = torch.empty(12, dtype=torch.int64)
        drawn[torch.randperm(12)] = torch.arange(12) // 4
        drawn = drawn[:10]
    chosen = drawn, torch.arange(10)  # the elites are the first of the four
    sample = means[chosen] + stds[chosen] * torch.randn(10, 2)
    found = torch.cat([prediction.observations, prediction.rewards], dim=1)
    torch.testing.assert_close(found, sample, rtol=1e-4, atol=1e-5)


def test_each_elite_is_drawn_equally_often():
    model = fitted(n_models=3, n_elites=3)
    with torch.no_grad():  # member k predicts a change of k, whatever it is asked
        for parameter in (*model._elites.weights, *model._elites.biases):
            parameter.zero_()
        model._elites.biases[-1][:, 0, 0] = torch.arange(3.0)
        model._elites.min_log_variance.fill_(-60)
        model._elites.max_log_variance.fill_(-50)
    model._targets = Standardizer(torch.zeros(2), torch.ones(2))
    zeros = torch.zeros(3001, 1)
    for all_members in (False, True):
        reached = model.predict(zeros, zeros, all_members).observations.round()
        shares = [(reached == k).float().mean().item() for k in range(3)]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.04)
    single = [
        model.predict(zeros[:1], zeros[:1], False).observations.round().item()
        for _ in range(300)
    ]
    assert {0.0, 1.0, 2.0} == set(single)


def test_too_few_rows_are_refused_with_the_number_needed():
    with pytest.raises(mbo.DatasetError, match="got 319 .* at least 320"):
        fitted(transitions=line_transitions(319))
    fitted(transitions=line_transitions(320), max_steps=1)


def test_a_row_is_held_out_however_few_there_are():
    model = fitted(transitions=line_transitions(4), batch_size=2, max_steps=1)
    assert len(model.holdout_indices) == 1


def test_an_interrupted_fit_leaves_the_model_as_it_was(monkeypatch):
    model = fitted()
    before = model.state_dict()

    def interrupt(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "d3rlpy_mbo.components.dynamics.ensemble.train_ensemble", interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(line_transitions())
    for networks in ("elites", "others"):
        for name, values in before[networks].items():
            assert torch.equal(values, model.state_dict()[networks][name])


def test_a_loss_that_is_not_finite_is_a_diverged_error():
    transitions = line_transitions()
    with pytest.raises(mbo.DivergedError, match="learning_rate"):
        fitted(transitions=transitions, learning_rate=1e30)


def test_an_unfitted_model_refuses_to_predict():
    fresh = line_transitions(2)
    with pytest.raises(mbo.NotFittedError, match="not fitted"):
        small_ensemble().create().predict(fresh.observations, fresh.actions, False)


@pytest.mark.parametrize(
    ("hidden_units", "decays"),
    [
        ([200] * 4, [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4]),  # as the papers and 0.1
        ([64, 64], [2.5e-5, 5e-5, 1e-4]),
        ([64], [2.5e-5, 1e-4]),
        ([], [1e-4]),
        ([64] * 5, [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 7.5e-5, 1e-4]),
    ],
)
def test_weight_decays_follow_the_hidden_units_unless_given(hidden_units, decays):
    config = mbo.ProbabilisticEnsembleConfig(hidden_units=hidden_units)
    assert config.layer_weight_decays == decays
    given = mbo.ProbabilisticEnsembleConfig(hidden_units=[8], weight_decays=[0.0, 0.1])
    assert given.layer_weight_decays == [0.0, 0.1]


def test_hidden_units_alone_can_be_changed_in_code_and_by_setting():
    changed = dataclasses.replace(
        mbo.ProbabilisticEnsembleConfig(), hidden_units=[8, 8]
    )
    assert len(changed.layer_weight_decays) == 3
    imagination = apply_settings(
        mbo.ImaginationConfig(dynamics=mbo.ProbabilisticEnsembleConfig()),
        {"dynamics.hidden_units": [8, 8]},
    )
    assert imagination.dynamics.layer_weight_decays == [2.5e-5, 5e-5, 1e-4]


def test_members_are_decayed_as_the_default_says():
    ensemble = fitted(hidden_units=[8, 8], weight_decays=None, max_steps=1)
    rows = line_transitions(10)
    weights = ensemble.state_dict()["elites"]
    expected = sum(
        0.5 * decay * weights[f"weights.{layer}"].square().sum()
        for layer, decay in enumerate([2.5e-5, 5e-5, 1e-4])
    )
    ensemble.config.weight_decays = [0.0] * 3
    bare = ensemble.training_loss(rows)
    ensemble.config.weight_decays = None
    found = (ensemble.training_loss(rows) - bare).item()
    assert found == pytest.approx(float(expected), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_elites": 4}, "n_elites"),
        ({"direction": "backward"}, "direction"),
        ({"weight_decays": [0.0]}, "weight_decays"),
        ({"max_steps": 0}, "max_steps"),
        (
            {"hidden_units": [0, 8]},
            r"hidden_units is \[0, 8\], expected a list, each entry a whole",
        ),
        (
            {"learning_rate": 0.0},
            "learning_rate is 0.0, expected a number, more than 0",
        ),
        ({"batch_size": 0}, "batch_size is 0"),
        (
            {"holdout_ratio": 0.0},
            "holdout_ratio is 0.0, expected a number, more than 0 and less than 1",
        ),
        (
            {"holdout_ratio": 1.0},
            "holdout_ratio is 1.0, expected a number, more than 0 and less than 1",
        ),
        ({"max_holdout": 0}, "max_holdout is 0"),
        ({"log_variance_bounds": (1.0, -1.0)}, "log_variance_bounds .* the lower one"),
        ({"bounds_weight": -0.1}, "bounds_weight is -0.1"),
        ({"patience": -1}, "patience is -1"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(mbo.CompositionError, match=words):
        small_ensemble(**settings)


# What updaters use.


def mixture_at_zero(means: list[float], size: int) -> torch.Tensor:
    stacked = torch.tensor(means).view(-1, 1, 1).expand(-1, 1, size)
    zeros = torch.zeros(len(means), 1, size)
    values, counted = torch.zeros(1, size), torch.ones(size)
    return mixture_log_prob(stacked, zeros, values, counted)


def test_the_mixtures_likelihood_equals_the_cases_computed_by_hand():
    assert float(mixture_at_zero([0.0, 2.0], 1)) == pytest.approx(-1.485158, abs=1e-6)
    assert float(mixture_at_zero([0.0, 3.0], 100)) == pytest.approx(
        -92.587001, abs=1e-4
    )
    both = float(mixture_at_zero([10.0, 10.0], 100))  # the density itself is 0.0
    assert both == pytest.approx(-5091.893853, rel=1e-6)


def test_the_mixtures_gradient_is_shared_by_responsibility():
    means = torch.tensor([0.0, 2.0], requires_grad=True)
    mixture_log_prob(
        means.view(2, 1, 1), torch.zeros(2, 1, 1), torch.zeros(1, 1), torch.ones(1)
    ).backward()
    assert means.grad is not None
    assert means.grad.tolist() == pytest.approx([0, -0.238406], abs=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_likelihood_is_the_elites_mixture_in_dataset_units(direction):
    transitions = line_transitions(400, size=2)
    dynamics = small_ensemble(direction).create()
    dynamics.fit(transitions)
    some = transitions[:50]
    given = some.given_observations(direction)
    prediction = dynamics.predict(given, some.actions, all_members=True)
    target = torch.cat([some.predicted_observations(direction), some.rewards], dim=1)
    members = torch.distributions.Normal(prediction.means, prediction.stds)
    each = members.log_prob(target).sum(dim=-1)[:2]  # the elites of three
    expected = torch.logsumexp(each, dim=0) - math.log(2)
    ours = dynamics.log_prob(some)
    assert ours.shape == (50, 1)
    torch.testing.assert_close(ours[:, 0], expected, rtol=1e-3, atol=1e-3)


def test_the_likelihood_leaves_out_columns_that_never_change():
    transitions = line_transitions(400, size=2)
    constant = dataclasses.replace(
        transitions, rewards=torch.full_like(transitions.rewards, 3.0)
    )
    dynamics = small_ensemble().create()
    dynamics.fit(constant)
    assert bool(torch.isfinite(dynamics.log_prob(constant)).all())


def test_the_training_loss_has_the_gradient_that_fitting_follows():
    transitions = line_transitions(400)
    dynamics = small_ensemble(weight_decays=[0.1, 0.2, 0.3]).create()
    dynamics.fit(transitions)
    network = dynamics._elites
    rows = transitions[: 2 * 20]
    loss = dynamics.training_loss(rows)
    gradients = torch.autograd.grad(loss, list(network.weights))
    x, y = dynamics._standardized(rows)
    plain = ensemble_loss(network, x.view(2, 20, -1), y.view(2, 20, -1), 0.01)
    expected = torch.autograd.grad(plain, list(network.weights))
    for ours, theirs, weight, decay in zip(
        gradients, expected, network.weights, [0.1, 0.2, 0.3], strict=True
    ):
        torch.testing.assert_close(ours, theirs + decay * weight)


def test_what_a_member_learns_does_not_depend_on_the_others():
    # So nothing is lost where, after fit, only elites go on learning.
    members = GaussianNetworks(3, [2, 8, 2], (-6.0, 0.5))
    x, y = torch.randn(3, 10, 2), torch.randn(3, 10, 2)
    some = torch.tensor([2, 0])
    gradients = []
    for networks, rows in ((members, slice(None)), (members[some], some)):
        loss = ensemble_loss(networks, x[rows], y[rows], 0.01)
        loss = loss + decay_loss(networks, [0.1, 0.2])
        gradients.append(torch.autograd.grad(loss, list(networks.parameters())))
    for whole, part in zip(*gradients, strict=True):
        torch.testing.assert_close(whole[some], part)


def test_every_elite_gets_its_own_share_of_a_training_batch():
    transitions = line_transitions(400)
    dynamics = fitted(transitions=transitions, n_models=4, n_elites=3)
    rows = transitions[:30]
    weight = dynamics._elites.weights[0]

    def gradient(batch):
        return torch.autograd.grad(dynamics.training_loss(batch), weight)[0]

    other = mbo.Transitions.concatenate([rows[:20], transitions[100:110]])
    changed = (gradient(rows) != gradient(other)).flatten(1).any(dim=1)
    assert changed.tolist() == [False, False, True]
    with pytest.raises(mbo.CompositionError, match="multiple of the 3 elites"):
        dynamics.training_loss(transitions[:31])


@pytest.mark.training
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n_elites", [2, 3])  # of three
def test_loss_sample_and_likelihood_at_once_are_those_of_one_after_the_other(
    direction, n_elites
):
    transitions = line_transitions(400, size=2)
    dynamics = small_ensemble(
        direction, n_elites=n_elites, weight_decays=[0.1, 0.2, 0.3]
    ).create()
    dynamics.fit(transitions)
    rows, some = transitions[: n_elites * 20], transitions[100:150]
    given = some.given_observations(direction)
    loss, prediction, log_prob = dynamics.training_loss_and_sample(
        rows, given, some.actions
    )
    assert torch.equal(prediction.given_observations, given)
    assert torch.equal(prediction.actions, some.actions)
    assert not prediction.observations.requires_grad
    imagined = prediction.transitions(direction)
    parameters = list(dynamics.parameters())
    for at_once, alone in [
        (loss, dynamics.training_loss(rows)),
        (log_prob, dynamics.log_prob(imagined)),
    ]:
        torch.testing.assert_close(at_once, alone, rtol=1e-4, atol=1e-4)
        ours, theirs = (
            torch.autograd.grad(each.sum(), parameters, retain_graph=True)
            for each in (at_once, alone)
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_samples_beside_the_loss_come_from_random_elites():
    transitions = line_transitions(400)
    dynamics = fitted(transitions=transitions, n_elites=2, n_models=3)
    with torch.no_grad():  # elite k says k for the reward, whatever it is asked
        network = dynamics._elites
        network.weights[-1].zero_()
        network.biases[-1][:, 0, 1] = torch.tensor([0.0, 1.0])
        network.max_log_variance.fill_(-20)
        network.min_log_variance.fill_(-21)
    asked = torch.zeros(4000, 1)
    _, prediction, _ = dynamics.training_loss_and_sample(transitions[:30], asked, asked)
    targets = dynamics._targets
    said = (prediction.rewards - targets.mean[-1]) / targets.std[-1]
    assert set(said.round().flatten().tolist()) == {0.0, 1.0}
    share = float(said.round().mean())
    assert share == pytest.approx(0.5, abs=0.03)


def test_holdout_errors_are_the_elites_shares_of_unexplained_variance():
    transitions = line_transitions(400)
    dynamics = fitted(transitions=transitions, n_elites=2)
    with torch.no_grad():  # both say the mean of everything
        dynamics._elites.weights[-1].zero_()
        dynamics._elites.biases[-1].zero_()
    unexplained = []
    for target in (transitions.actions, transitions.rewards):
        held_out = target[dynamics.holdout_indices]
        error = (held_out - target.mean()).square().mean()
        unexplained.append(float(error / target.var(correction=0)))
    errors = dynamics.holdout_errors(transitions)
    assert errors["model_reward_error"] == pytest.approx(unexplained[1], rel=1e-4)
    assert errors["model_holdout_error"] == pytest.approx(
        sum(unexplained) / 2, rel=1e-4
    )


def test_the_errors_logged_after_fitting_are_those_on_the_holdout_rows():
    transitions = line_transitions(400)
    dynamics = fitted(transitions=transitions)
    for name, error in dynamics.holdout_errors(transitions).items():
        assert dynamics.metrics[name] == pytest.approx(error), name


def test_models_that_offer_updaters_nothing_say_so():
    dynamics = LineDynamicsConfig().create()
    transitions = line_transitions(10)
    for ask in (dynamics.log_prob, dynamics.training_loss):
        with pytest.raises(mbo.CompositionError, match="LineDynamics offers no"):
            ask(transitions)
    assert dynamics.n_members == 1
    assert len(dynamics.holdout_indices) == 0
    assert dynamics.holdout_errors(transitions) == {}


@pytest.mark.training
@pytest.mark.parametrize(
    ("observations", "actions", "words"),
    [
        (np.zeros((3, 1), np.float32), torch.zeros(3, 1), "observations .*ndarray"),
        (torch.zeros(3, 1).double(), torch.zeros(3, 1), "observations .*float64"),
        (torch.zeros(3, 1), torch.zeros(3, 2), r"actions .*\(3, 2\).*\(rows, 1\)"),
        (torch.zeros(1), torch.zeros(1), r"observations .*\(1,\).*\(rows, 1\)"),
    ],
)
def test_a_user_who_asks_with_other_rows_is_told_what_to_ask_with(
    observations, actions, words
):
    with pytest.raises(mbo.CompositionError, match=words):
        fitted(max_steps=2).predict(observations, actions, all_members=False)


def test_rows_are_recognised_once_and_not_read_again_at_each_update(monkeypatch):
    transitions = line_transitions(400)
    dynamics = fitted(transitions=transitions, max_steps=3)
    n_read, read = [0], ensemble.Regression.standardizer

    def counted(own, columns):
        n_read[0] += 1
        return read(own, columns)

    monkeypatch.setattr(ensemble.Regression, "standardizer", counted)
    expected = dynamics.holdout_errors(transitions)
    same = dataclasses.replace(transitions)
    copied = copy.deepcopy(dynamics)
    assert n_read[0] == 0  # as `fit` got them
    for _ in range(3):
        assert dynamics.holdout_errors(same) == expected
    assert n_read[0] == 1
    with pytest.raises(mbo.CompositionError, match="as many others"):
        dynamics.holdout_errors(
            dataclasses.replace(same, observations=same.actions + 9)
        )
    copied.load_state_dict(dynamics.state_dict())
    assert copied.holdout_errors(same) == expected
    assert n_read[0] == 3
    pickle.loads(pickle.dumps(dynamics))
