"""Learners whose networks see other numbers than the dataset's."""

import d3rlpy
import numpy as np

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


def discrete(name: str, n_actions: int = 3):
    learner = small_learner(
        name,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(
            mean=np.ones(2), std=np.full(2, 3.0)
        ),
    )
    learner.create_impl((2,), n_actions)
    return learner
