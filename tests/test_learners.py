import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo import learners
from test_replay_buffer import LEARNERS
from toys import line_dataset, small_learner


def built(name: str):
    dataset = line_dataset(size=2)
    learner = small_learner(
        name,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(
            mean=np.ones(2), std=np.full(2, 3.0)
        ),
        action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(
            minimum=np.full(2, -0.4), maximum=np.full(2, 0.8)
        ),
    )
    learner.build_with_dataset(dataset)
    return learner


@pytest.mark.parametrize("name", LEARNERS)
def test_actions_equal_the_learners_own_bit_for_bit(name):
    learner = built(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    torch.manual_seed(5)
    theirs = learner.sample_action(observations)
    torch.manual_seed(5)
    ours = learners.sample_action(learner, torch.from_numpy(observations))
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_a_learner_that_is_not_built_cannot_act():
    with pytest.raises(mbo.CompositionError, match="not built"):
        learners.sample_action(small_learner("sac"), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("learner", "words"),
    [
        (d3rlpy.algos.DQNConfig().create(), "discrete"),
        (d3rlpy.algos.DecisionTransformerConfig().create(), "Transformers"),
        (d3rlpy.algos.CalQLConfig().create(), "returns-to-go"),
        ("sac", "str cannot train"),
    ],
)
def test_what_cannot_train_on_imagined_rows_is_refused_by_name(learner, words):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check(learner)
