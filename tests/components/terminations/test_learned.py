import dataclasses
import json
import math

import d3rlpy
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.terminations import learned
from d3rlpy_mbo.components.terminations.learned import (
    LearnedTerminationConfig,
    _best_threshold,
)
from d3rlpy_mbo.registry.json_form import decode, encode
from sizes import Made
from toys import line_dataset, line_transitions


def ending(transitions, ends):
    """The same rows, terminal where `ends` (B,) says so."""
    return mbo.Transitions.from_arrays(
        transitions.observations,
        transitions.actions,
        transitions.rewards,
        transitions.next_observations,
        ends.float(),
    )


def line(n_rows, ratio=None):
    """Rows of the toy that end where s' > 3; one in `ratio` of them, else one in five."""
    transitions = line_transitions(n_rows)
    ends = transitions.next_observations[:, 0] > 3
    transitions = ending(transitions, ends)
    if ratio is None:
        return transitions
    n_ends = int((~ends).sum()) // (ratio - 1)
    rows = [torch.nonzero(~ends)[:, 0], torch.nonzero(ends)[:n_ends, 0]]
    return transitions[torch.cat(rows)]


def create(**settings):
    settings = {"n_steps": 300, "hidden_units": [32, 32], **settings}
    return LearnedTerminationConfig(**settings).create()


def predictions(termination, transitions):
    return termination(
        transitions.observations, transitions.actions, transitions.next_observations
    )


def precision_and_recall(termination, transitions):
    predicted, true = predictions(termination, transitions), transitions.terminals > 0
    hits = float((predicted & true).sum())
    return hits / float(predicted.sum()), hits / float(true.sum())


@pytest.mark.training
def test_ends_one_in_200_rows_are_found_in_new_data_and_few_are_invented():
    termination = LearnedTerminationConfig(n_steps=1000).create()
    termination.fit(line(40_000, ratio=200))
    precision, recall = precision_and_recall(termination, line(40_000, ratio=200))
    assert recall > 0.9
    assert precision > 0.8


@pytest.mark.training
def test_ends_are_found_as_reverse_rollouts_ask_whatever_the_action_that_leaves_them():
    termination = LearnedTerminationConfig(n_steps=1000).create()
    termination.direction = "reverse"
    termination.fit(line(20_000, ratio=200))
    ends = torch.linspace(3.1, 4.5, 200)[:, None]
    rest = torch.linspace(-4.5, 2.9, 200)[:, None]
    for action in (-0.9, 0.0, 0.9):  # only steps to the right lead there
        actions = torch.full((200, 1), action)
        assert float(termination(ends, actions, ends).float().mean()) > 0.9
        assert float(termination(rest, actions, rest).float().mean()) < 0.05
    assert termination.metrics["termination_recall"] > 0.8


@pytest.mark.training
def test_an_end_may_depend_on_the_action_and_on_s():
    def rows():
        transitions = line_transitions(5000)
        ends = (transitions.actions > 0.5) & (transitions.observations < 0)
        return ending(transitions, ends[:, 0])

    termination = create(n_steps=1000)
    termination.fit(rows())
    assert min(precision_and_recall(termination, rows())) > 0.9


def test_metrics_count_held_out_terminals_and_are_fit_for_a_log():
    termination = create()
    transitions = line(5000, ratio=50)
    termination.fit(transitions)
    n_terminals = float(transitions.terminals.sum())
    assert termination.metrics["termination_holdout_terminals"] == round(
        n_terminals / 10
    )
    assert set(termination.metrics) == {
        "termination_loss",
        "termination_precision",
        "termination_recall",
        "termination_holdout_terminals",
    }
    assert all(map(math.isfinite, termination.metrics.values()))


@pytest.mark.training
def test_metrics_are_of_rows_that_were_not_trained_on():
    # Nothing explains these ends, so whoever finds them has seen them before.
    transitions = line_transitions(400, size=4)
    transitions = ending(transitions, torch.rand(400) < 0.1)
    termination = create(n_steps=1000, hidden_units=[256, 256], dropout=0.0)
    termination.fit(transitions)
    assert min(precision_and_recall(termination, transitions)) > 0.8
    assert termination.metrics["termination_precision"] < 0.5
    assert termination.metrics["termination_recall"] < 0.5


def test_ten_terminals_are_enough_to_report_on():
    termination = create()
    termination.fit(ending(line_transitions(1000), torch.arange(1000) < 10))
    assert termination.metrics["termination_holdout_terminals"] == 1
    assert all(map(math.isfinite, termination.metrics.values()))


def test_the_threshold_has_the_greatest_f1():
    ends = torch.tensor([[3.0], [2.0], [-1.0]])
    rest = torch.tensor([[0.0], [-2.0], [-3.0], [-4.0]])
    # Above -1.5: 3 of 3 ends and one other, F1 6/7; above 1: 2 of 3 alone, F1 4/5.
    assert _best_threshold(ends, rest) == -1.5
    assert _best_threshold(ends[:2], rest) == 1.0


def test_it_returns_one_bool_a_row_and_changes_nothing():
    transitions, termination = line(2000), create()
    termination.fit(transitions)
    copy = transitions.next_observations.clone()
    answers = predictions(termination, transitions)
    assert answers.shape == (2000, 1)
    assert answers.dtype == torch.bool
    assert not answers.requires_grad
    assert torch.equal(transitions.next_observations, copy)


def test_saved_and_loaded_it_answers_the_same_and_unfitted_it_refuses():
    termination, copy, rows = create(), create(), line(5000)
    with pytest.raises(mbo.NotFittedError, match="not fitted"):
        predictions(termination, rows)
    with pytest.raises(mbo.NotFittedError, match="not fitted"):
        termination.state_dict()
    termination.fit(line(2000))
    copy.load_state_dict(termination.state_dict())
    assert copy.fitted
    assert torch.equal(predictions(copy, rows), predictions(termination, rows))


@pytest.mark.training
def test_the_same_seed_gives_the_same_classifier():
    rows, states = line(2000), []
    for _ in range(2):
        d3rlpy.seed(5)
        termination = create()
        termination.fit(rows)
        states.append(termination.state_dict())
    assert states[0]["threshold"] == states[1]["threshold"]
    for name, weight in states[0]["network"].items():
        assert torch.equal(weight, states[1]["network"][name])


def test_its_config_survives_json():
    config = LearnedTerminationConfig(hidden_units=[8], dropout=0.1, n_steps=7)
    assert decode("termination", json.loads(json.dumps(encode(config)))) == config


def test_zero_filled_terminals_are_refused_and_the_loader_that_keeps_them_is_named():
    transitions = mbo.Transitions.from_dataset(line_dataset(20, terminated=True))
    with pytest.raises(mbo.DatasetError, match=r"20 of the 20.*zeros.*load_minari"):
        create().check_transitions(transitions)
    # What an imagination fits its models on no longer has those rows at all.
    with pytest.raises(mbo.DatasetError, match=r"0 of the.*zeros.*load_minari"):
        create().fit(transitions.for_models())


def test_a_few_terminals_whose_outcome_nobody_knows_are_left_out_and_counted():
    rows = line(200)
    known = torch.ones(len(rows), dtype=torch.bool)
    known[torch.nonzero(rows.terminals)[:3, 0]] = False
    rows = dataclasses.replace(rows, next_observation_known=known)
    termination = create(n_steps=1)
    n_terminals = int(rows.terminals.sum())
    with pytest.warns(match=f"3 of the {n_terminals} terminal rows.*without them"):
        termination.check_transitions(rows)
    with pytest.warns(match="fitted without them"):
        termination.fit(rows)


@pytest.mark.parametrize(
    ("n_terminals", "message"),
    [
        (0, r"0 of the 500.*NoTermination\(\).*collect more"),
        (9, r"9 of the 500.*at least 10"),
        (491, r"All but 9 of the 500"),
    ],
)
def test_data_with_too_few_rows_of_either_outcome_is_refused(n_terminals, message):
    termination = create()
    with pytest.raises(mbo.DatasetError, match=message):
        termination.fit(ending(line_transitions(500), torch.arange(500) < n_terminals))
    assert not termination.fitted


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"holdout_ratio": 1.0}, "holdout_ratio is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"batch_size": 1}, "batch_size is 1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting, message):
    with pytest.raises(mbo.CompositionError, match=message):
        LearnedTerminationConfig(**setting)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_it_is_fitted_without_a_matrix_of_all_rows(direction, monkeypatch):
    for name in ("ROWS_IN_DOUBLE", "ROWS_OF_A_TERMINATION"):
        monkeypatch.setattr(learned, name, 100)
    transitions = line(3000)
    n_rows, n_actions = len(transitions), 400
    transitions = dataclasses.replace(
        transitions,
        actions=torch.randint(n_actions, (n_rows, 1)).float(),
        n_actions=n_actions,
    )
    termination = create(n_steps=3, batch_size=64, hidden_units=[8])
    termination.direction = direction
    with Made() as made:
        termination.fit(transitions)
    assert made.largest < 0.2 * n_rows * n_actions * 4
    assert predictions(termination, transitions).shape == (n_rows, 1)
