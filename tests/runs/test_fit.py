import json

import d3rlpy
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import d3rlpy_mbo as mbo
from toys import QUIET, line_dataset, line_imagination, small_learner


class Line(gymnasium.Env):
    """s' = s + a from a random start; the return tells starts apart."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    max_episode_steps = 3

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-5, 5, 1).astype(np.float32)
        self.steps = 0
        return self.state, {}

    def step(self, action):
        self.steps += 1
        self.state = (self.state + action).astype(np.float32)
        return self.state, float(self.state[0]), False, self.steps == 3, {}


def run(imaginations, **settings) -> list[tuple[int, dict[str, float]]]:
    d3rlpy.seed(7)
    dataset = line_dataset(n_episodes=5)
    learner = small_learner("td3_plus_bc")
    settings = {"n_steps_per_epoch": 2, **QUIET, **settings}
    return mbo.fit(learner, dataset, imaginations, 4, **settings)


def test_it_fits_what_is_not_fitted_and_evaluates_each_epoch():
    imagination = line_imagination("reverse")
    results = run(imagination, env=Line(), n_trials=2)
    assert imagination.fitted
    assert [epoch for epoch, _ in results] == [1, 2]
    assert all("environment" in metrics for _, metrics in results)
    assert all("custom_reward_mean" in metrics for _, metrics in results)


def test_epochs_have_their_own_evaluations_where_steps_are_logged():
    # d3rlpy has those of an epoch among the next one's metrics, and the last ones nowhere.
    asked = []
    results = run(
        [],
        env=Line(),
        n_trials=1,
        logging_strategy=d3rlpy.LoggingStrategy.STEPS,
        logging_steps=1,
        evaluators={"asked": lambda algo, dataset: asked.append(1) or len(asked)},
    )
    assert [metrics["asked"] for _, metrics in results] == [1, 2]
    by_epoch = run([], env=Line(), n_trials=1)
    for (_, one), (_, other) in zip(results, by_epoch, strict=True):
        assert one["environment"] == other["environment"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"real_ratio": 2.0}, "real_ratio is 2.0"),
        ({"shares": [1.0, 1.0]}, "shares is"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_anything_is_fitted(settings, words):
    imagination = line_imagination("reverse")
    with pytest.raises(mbo.CompositionError, match=words):
        run(imagination, **settings)
    assert not imagination.fitted
    assert imagination.dynamics.n_rows_fitted is None


@pytest.mark.filterwarnings("ignore:All 20 episodes that end")  # of the toys
def test_data_that_ends_is_refused_before_any_of_several_is_fitted():
    imaginations = [
        line_imagination("forward", termination=mbo.NoTermination()),
        line_imagination("reverse"),
    ]
    learner, dataset = small_learner("td3_plus_bc"), line_dataset(terminated=True)
    with pytest.raises(mbo.TerminationRequiredError):
        mbo.fit(learner, dataset, imaginations, 4, real_ratio=0.5, **QUIET)
    assert not imaginations[0].fitted


def test_a_learner_built_for_other_data_is_refused_before_anything_is_fitted():
    learner, imagination = small_learner("td3_plus_bc"), line_imagination("reverse")
    learner.build_with_dataset(line_dataset(size=2))
    with pytest.raises(mbo.CompositionError, match="built for observations of shape"):
        mbo.fit(learner, line_dataset(), imagination, 4, **QUIET)
    assert not imagination.fitted


def test_it_does_not_fit_again_what_is_fitted():
    imagination = line_imagination("reverse", line_dataset())
    imagination.dynamics.fit = None
    run(imagination)


def test_same_seed_same_result_evaluation_included():
    metrics = [run(line_imagination("reverse"), env=Line())[-1][1] for _ in range(2)]
    for each in metrics:
        for name in [name for name in each if name.startswith("time_")]:
            del each[name]
    assert metrics[0] == metrics[1]


def test_the_evaluations_starts_depend_on_the_seed_alone_not_on_what_is_imagined():
    starts = []

    class Watched(Line):
        def reset(self, *, seed=None, options=None):
            observation, info = super().reset(seed=seed)
            starts.append(float(observation[0]))
            return observation, info

    run([], env=Watched())
    alone = starts.copy()
    starts.clear()
    run(line_imagination("reverse"), env=Watched())
    assert starts == alone


def test_several_imaginations_and_none_are_accepted():
    run([line_imagination(d) for d in ("reverse", "forward")], real_ratio=0.5)
    metrics = run([])[-1][1]
    assert metrics["imagined_share"] == 0.0


@pytest.mark.parametrize(("n_steps", "per_epoch"), [(5, 2), (0, 1), (4, 0)])
def test_steps_that_d3rlpy_would_leave_out_silently_are_refused(n_steps, per_epoch):
    learner = small_learner("td3_plus_bc")
    with pytest.raises(mbo.CompositionError, match="whole number"):
        mbo.fit(
            learner, line_dataset(), [], n_steps, n_steps_per_epoch=per_epoch, **QUIET
        )
    assert learner.impl is None


def test_fewer_steps_than_an_epoch_are_one_epoch():
    learner = small_learner("td3_plus_bc")
    results = mbo.fit(learner, line_dataset(), [], 3, **QUIET)
    assert [epoch for epoch, _ in results] == [1]
    assert learner.grad_step == 3


def test_the_imaginations_config_is_written_beside_the_learners(tmp_path):
    imagination = line_imagination("reverse")
    run(
        imagination,
        logger_adapter=d3rlpy.logging.FileAdapterFactory(root_dir=str(tmp_path)),
        experiment_name="logs",
        with_timestamp=False,
    )
    params = json.loads((tmp_path / "logs" / "params.json").read_text())
    assert params["imaginations"][0]["params"]["dynamics"]["type"] == "line"
    loaded = d3rlpy.algos.TD3PlusBC.from_json(str(tmp_path / "logs" / "params.json"))
    assert loaded.impl is not None


def test_a_learner_that_cannot_train_is_refused_before_anything_is_fitted():
    imagination = line_imagination("forward")
    clip = d3rlpy.preprocessing.ClipRewardScaler(-1.0, 1.0)
    learner = small_learner("cal_ql", reward_scaler=clip)
    with pytest.raises(mbo.CompositionError, match="return-to-go that is not known"):
        mbo.fit(learner, line_dataset(), imagination, 2, **QUIET)
    assert not imagination.fitted
