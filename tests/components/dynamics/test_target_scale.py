"""Targets in the unit of the change or of the state: the same model where these agree."""

import d3rlpy
import pytest
import torch

import d3rlpy_mbo as mbo

pytestmark = pytest.mark.training


def standardised(n_rows, size):
    """Returns columns of mean 0 and deviation 1, exactly."""
    values = torch.randn(n_rows, size)
    return (values - values.mean(dim=0)) / values.std(dim=0, correction=0)


def transitions(factors=(1.0, 1.0), shifts=(0.0, 0.0), change=1.0, n_rows=600):
    """Rows whose states and changes have deviation 1, after an affine map of the states."""
    d3rlpy.seed(1)
    states, changes = standardised(n_rows, 2), change * standardised(n_rows, 2)
    factors, shifts = torch.tensor(factors), torch.tensor(shifts)
    observations = states * factors + shifts
    actions, rewards = standardised(n_rows, 1), standardised(n_rows, 1)
    return mbo.Transitions(
        observations,
        actions,
        rewards,
        observations + changes * factors,
        actions,
        torch.zeros(n_rows, 1),
    )


def fitted(scale, rows, **settings):
    small = {"hidden_units": [16], "n_models": 2, "n_elites": 2, "max_steps": 30}
    dynamics = mbo.ProbabilisticEnsembleConfig(
        target_scale=scale, **{**small, **settings}
    ).create()
    d3rlpy.seed(2)
    dynamics.fit(rows)
    return dynamics


def predicted(dynamics, rows):
    return dynamics.predict(rows.observations, rows.actions, True)


@pytest.mark.parametrize(
    ("factors", "shifts"), [((1.0, 1.0), (0.0, 0.0)), ((4.0, 0.5), (3.0, -1.0))]
)
def test_in_standardised_units_both_scales_are_one_and_an_affine_map_changes_nothing(
    factors, shifts
):
    rows = transitions(factors, shifts)
    of_state, of_change = (fitted(scale, rows) for scale in ("state", "change"))

    expected, found = predicted(of_change, rows), predicted(of_state, rows)

    torch.testing.assert_close(found.means, expected.means, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.stds, expected.stds, rtol=1e-4, atol=1e-4)
    plain = transitions()
    mapped = predicted(fitted("state", plain), plain).means
    back = (found.means[..., :-1] - torch.tensor(shifts)) / torch.tensor(factors)
    torch.testing.assert_close(back, mapped[..., :-1], rtol=1e-4, atol=1e-4)


def test_where_changes_are_a_tenth_of_the_states_targets_are_a_tenth_as_large():
    rows = transitions(factors=(4.0, 0.5), change=0.1)
    of_state, of_change = (fitted(scale, rows) for scale in ("state", "change"))

    torch.testing.assert_close(
        of_state._targets.std, torch.tensor([4.0, 0.5, 1.0]), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        of_change._targets.std, torch.tensor([0.4, 0.05, 1.0]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("scale", ["state", "change"])
def test_hold_out_errors_are_shares_of_the_targets_variance_in_either_unit(scale):
    rows = transitions(factors=(4.0, 0.5), change=0.1)
    dynamics = fitted(scale, rows)

    held_out = rows[dynamics.holdout_indices]
    truth = torch.cat([held_out.next_observations, held_out.rewards], dim=1)
    squares = (predicted(dynamics, held_out).means - truth).square().mean(dim=(0, 1))
    variance = torch.tensor([0.4, 0.05, 1.0]).square()
    shares = squares / variance

    errors = dynamics.holdout_errors(rows)
    assert errors["model_holdout_error"] == pytest.approx(
        float(shares.mean()), rel=1e-3
    )
    assert errors["model_reward_error"] == pytest.approx(float(shares[-1]), rel=1e-3)


def test_a_column_that_never_changes_is_predicted_exactly_in_the_unit_of_states():
    rows = transitions()
    rows.next_observations[:, 0] = rows.observations[:, 0] + 2.0
    found = predicted(fitted("state", rows), rows)
    torch.testing.assert_close(
        found.means[..., 0], (rows.observations[:, 0] + 2.0).expand(2, -1)
    )
    assert not found.stds[..., 0].any()


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_flag_that_no_state_has_yet_is_learned_in_the_unit_of_its_change(direction):
    rows = transitions(n_rows=400)
    given, reached = rows.observations, rows.next_observations
    if direction == "reverse":
        given, reached = reached, given
    given[:, 1] = 0.0
    reached[:, 1] = (given[:, 0] > 0.3).float()  # in s' alone, as episodes end
    dynamics = fitted("state", rows, direction=direction, learning_rate=1e-2)
    assert dynamics._targets.std[1] == reached[:, 1].std(correction=0)
    flags = dynamics.predict(given, rows.actions, True).means[..., 1].mean(dim=0)
    assert flags[reached[:, 1] > 0].mean() > flags[reached[:, 1] == 0].mean() + 0.2


def test_the_unit_is_saved_and_files_without_one_are_in_that_of_the_change():
    rows = transitions(change=0.1)
    made = fitted("state", rows)
    loaded = made.config.create()
    loaded.load_state_dict(made.state_dict())
    assert loaded.holdout_errors(rows) == made.holdout_errors(rows)

    old = fitted("change", rows)
    assert "target_std" not in old.state_dict()  # as version 0.1 wrote it
    assert mbo.ProbabilisticEnsembleConfig().target_scale == "change"
