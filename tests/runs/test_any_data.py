"""Any small dataset with any composition: it works, or one of our errors says why.

`pytest -m slow tests/runs/test_any_data.py` tries 500 of them.
"""

import contextlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import d3rlpy_mbo as mbo
from d3rlpy_mbo_mopo import Disagreement, MaxAleatoric, MeanAleatoric
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig
from toys import QUIET, small_ensemble, small_learner

pytestmark = pytest.mark.training

# What works comes up more often than once, so that a third of the examples train.
SCALES = st.sampled_from([1e-30, *3 * [1e-3, 1.0, 1e3], 1e17, 1e38])
KINDS = st.sampled_from([np.float32, np.float64, np.int64])


@st.composite
def datasets(draw: Any) -> Any:
    """Episodes of one to ten steps, constant columns and strange numbers included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, n_actions = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    scales = [draw(SCALES) for _ in range(3)]
    kind, constant = draw(KINDS), draw(st.booleans())
    kind = np.float64 if kind is np.int64 and max(scales) > 1e17 else kind
    episodes = []
    for _ in range(draw(st.sampled_from([1, 2, *5 * [30]]))):
        length = draw(st.integers(1, 10))
        with np.errstate(over="ignore"):
            columns = [
                (rng.normal(size=(length, width)) * scale).astype(kind)
                for width, scale in zip((size, n_actions, 1), scales, strict=True)
            ]
        if constant:
            for column in columns:
                column[:, 0] = 1
        episodes.append(d3rlpy.dataset.Episode(*columns, draw(st.booleans())))
    return episodes


COMPOSITIONS = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["forward", "reverse"]),
        "policy": st.sampled_from(
            [
                mbo.UniformPolicyConfig(),
                mbo.LearnerPolicyConfig(),
                mbo.BehaviorCloningPolicyConfig(hidden_units=[8], n_steps=3),
                CVAEPolicyConfig(hidden_units=8, n_steps=3),
            ]
        ),
        "penalty": st.sampled_from(
            [None, MaxAleatoric(), MeanAleatoric(0.0), Disagreement(2.0)]
        ),
        "termination": st.sampled_from(
            [
                None,
                *4 * [mbo.NoTermination()],
                mbo.LearnedTerminationConfig(hidden_units=[8], n_steps=3),
            ]
        ),
        "updater": st.sampled_from(
            [
                None,
                AdversarialUpdaterConfig(update_interval=1, n_updates=1, batch_size=4),
            ]
        ),
        "learner": st.sampled_from(["sac", "td3_plus_bc", "bc", "iql"]),
        "batch_size": st.sampled_from([1, 4, 32]),
    }
)


def attempt(episodes: Any, made: dict[str, Any]) -> None:
    """Creates, fits, trains, updates, saves and loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = d3rlpy.dataset.ReplayBuffer(
            d3rlpy.dataset.InfiniteBuffer(),
            episodes=episodes,
            action_space=d3rlpy.ActionSpace.CONTINUOUS,
            action_size=episodes[0].actions.shape[1],
        )
        imagination = mbo.ImaginationConfig(
            dynamics=small_ensemble(
                made["direction"],
                hidden_units=[8],
                weight_decays=[0.0, 0.0],
                max_steps=3,
                batch_size=made["batch_size"],
            ),
            rollout_policy=made["policy"],
            penalty=made["penalty"],
            termination=made["termination"],
            dynamics_updater=made["updater"],
            rollout_batch_size=10,
            rollout_length=2,
        ).create()
        learner = small_learner(made["learner"])
        mbo.fit(learner, buffer, imagination, n_steps=2, **QUIET)
        with tempfile.TemporaryDirectory() as folder:
            imagination.save(Path(folder) / "x.mbo")
            loaded = mbo.load_imagination(Path(folder) / "x.mbo")
        loaded.imagine(buffer, 3, learner=learner)


def works_or_says_why(episodes: Any, made: dict[str, Any]) -> None:
    with contextlib.suppress(mbo.D3RLPyMBOError):
        attempt(episodes, made)


HURRY = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=50, deadline=None, suppress_health_check=HURRY, derandomize=True)
@given(datasets(), COMPOSITIONS)
def test_it_works_or_says_why(episodes, made):
    works_or_says_why(episodes, made)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=HURRY)
@given(datasets(), COMPOSITIONS)
def test_five_hundred_work_or_say_why(episodes, made):
    works_or_says_why(episodes, made)
