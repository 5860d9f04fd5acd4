import d3rlpy
import numpy as np
import pytest
import torch
from scaled_learners import built, discrete

import d3rlpy_mbo as mbo
from d3rlpy_mbo import learners
from toys import DISCRETE, LEARNERS, line_dataset, small_learner


@pytest.mark.parametrize("name", LEARNERS)
def test_actions_equal_the_learners_own_bit_for_bit(name):
    learner = built(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    torch.manual_seed(5)
    theirs = learner.sample_action(observations)
    torch.manual_seed(5)
    ours = learners.sample_action(learner, torch.from_numpy(observations))
    np.testing.assert_array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize(
    "name", [n for n in LEARNERS if n not in ("bcq", "bear", "crr")]
)
def test_best_actions_equal_the_learners_own_bit_for_bit(name):
    learner = built(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    ours = learners.predict_action(learner, torch.from_numpy(observations))
    np.testing.assert_array_equal(ours.numpy(), learner.predict(observations))


@pytest.mark.parametrize("name", DISCRETE)
def test_a_discrete_learners_actions_are_a_column_of_indices_its_own_bit_for_bit(name):
    learner = discrete(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    for ours, theirs in (
        (learners.sample_action, learner.sample_action),
        (learners.predict_action, learner.predict),
    ):
        torch.manual_seed(5)
        expected = theirs(observations)
        torch.manual_seed(5)
        found = ours(learner, torch.from_numpy(observations))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), expected[:, None])


def test_a_discrete_policy_that_diverged_says_so_instead_of_an_action():
    learner = discrete("discrete_sac")
    with torch.no_grad():
        for parameter in learner.impl.policy.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(mbo.DivergedError, match="DiscreteSAC cannot choose an action"):
        learners.sample_action(learner, torch.zeros(3, 2))


def test_a_discrete_learner_built_for_other_choices_is_refused():
    with pytest.raises(mbo.CompositionError, match="built for 3 choices.* has 4"):
        learners.check_built(discrete("dqn"), 2, 1, n_actions=4)
    with pytest.raises(mbo.CompositionError, match="DiscreteBC has no critic"):
        learners.check_built(discrete("discrete_bc"), 2, 1, critic=True, n_actions=3)


@pytest.mark.parametrize(
    ("learner", "n_actions", "words"),
    [
        ("discrete_cql", None, "DiscreteCQL is for discrete.*such as SAC.*n_actions"),
        ("cql", 3, "CQL is for continuous.*3 choices.*action_space=d3rlpy"),
    ],
)
def test_a_learner_of_another_kind_of_actions_is_refused_with_what_to_use(
    learner, n_actions, words
):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check_actions(small_learner(learner), n_actions)


@pytest.mark.parametrize(
    ("learner", "sizes", "words"),
    [
        (lambda: built("bc"), (2, 2), "BC has no critic"),
        (lambda: built("sac"), (3, 2), r"observations of shape \(2,\)"),
        (lambda: built("sac"), (2, 1), "actions of size 2"),
        (lambda: small_learner("sac"), (2, 2), "not built"),
    ],
)
def test_a_learner_that_cannot_be_asked_is_refused_with_the_reason(
    learner, sizes, words
):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check_built(learner(), *sizes, critic=True)


def test_a_buffer_refuses_a_learner_that_was_built_for_other_sizes():
    with pytest.raises(mbo.CompositionError, match="Build it on this dataset"):
        mbo.ImaginedReplayBuffer(line_dataset(size=1), [], learner=built("sac"))


def test_a_learner_that_is_not_built_cannot_act():
    with pytest.raises(mbo.CompositionError, match="not built"):
        learners.sample_action(small_learner("sac"), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("learner", "words"),
    [
        (d3rlpy.algos.DecisionTransformerConfig(), "what it creates"),
        ("sac", "str cannot train"),
    ],
)
def test_what_cannot_train_on_imagined_rows_is_refused_by_name(learner, words):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check(learner)


@pytest.mark.parametrize(
    "rows", [np.zeros((3, 2), np.float32), torch.zeros(3, 2).double(), torch.zeros(2)]
)
@pytest.mark.parametrize(
    "ask", ["sample_action", "predict_action", "state_value", "q_value"]
)
def test_rows_that_are_no_float32_tensor_are_refused_by_their_kind(ask, rows):
    others = (torch.zeros(3, 2),) if ask == "q_value" else ()
    words = "observations are .*float32 tensor .*torch.as_tensor"
    with pytest.raises(mbo.CompositionError, match=words):
        getattr(learners, ask)(built("sac"), rows, *others)
