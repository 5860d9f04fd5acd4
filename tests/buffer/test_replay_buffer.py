import dataclasses
import io

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.buffer.progress import LearnerProgress
from d3rlpy_mbo.buffer.shares import split_batch
from d3rlpy_mbo.data.episodes import CompleteEpisode
from toys import (
    LEARNERS,
    QUIET,
    ConstantPenalty,
    DoubtfulLineConfig,
    ReadingConfig,
    line_dataset,
    line_imagination,
    rows_of,
    small_learner,
)


@pytest.fixture
def dataset() -> d3rlpy.dataset.ReplayBuffer:
    return line_dataset()


def count_refreshes(buffer: mbo.ImaginedReplayBuffer, source: int = 0) -> list[int]:
    """Records the step of every refresh from now on."""
    steps: list[int] = []
    target = buffer.sources[source]
    refresh = target.refresh
    target.refresh = lambda step: steps.append(step) or refresh(step)
    return steps


@pytest.mark.training
@pytest.mark.parametrize("name", LEARNERS)
def test_every_continuous_learner_trains_unbuilt_through_plain_fit(name, dataset):
    imagination = line_imagination("reverse", dataset, rollout_batch_size=50)
    learner = small_learner(name)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    results = learner.fit(buffer, n_steps=2, n_steps_per_epoch=1, **QUIET)
    losses = [v for k, v in results[-1][1].items() if not k.startswith("time")]
    assert np.isfinite(losses).all()
    assert learner.grad_step == 2


@pytest.mark.training
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("batch_size", [10, 100, 256])
def test_the_mix_is_exact_in_expectation(ratio, batch_size):
    # By hand: batch 10 at 0.05 is 0.5 rows on average, where int() gives 0.
    shares = np.array([ratio, 1 - ratio])
    counts = np.array([split_batch(batch_size, shares) for _ in range(4000)])
    assert (counts.sum(axis=1) == batch_size).all()
    expected = batch_size * ratio
    assert set(counts[:, 0]) <= {np.floor(expected), np.ceil(expected)}
    assert counts[:, 0].mean() == pytest.approx(expected, abs=0.04)


def test_several_imaginations_share_the_imagined_rest_as_told(dataset):
    both = [line_imagination(d, dataset) for d in ("reverse", "forward")]
    buffer = mbo.ImaginedReplayBuffer(dataset, both, real_ratio=0.25, shares=[1, 2])
    for _ in range(400):
        buffer.sample_transition_batch(10)
    np.testing.assert_allclose(buffer._rows_drawn / 4000, [0.25, 0.25, 0.5], atol=0.01)
    assert buffer.imagined_share == pytest.approx(0.75, abs=0.01)


def test_batches_hold_real_rows_and_imagined_rows_and_nothing_else(dataset):
    imagination = line_imagination("reverse", dataset, rollout_batch_size=20)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.5)
    drawn = set(rows_of(buffer.sample_transition_batch(4000)))
    real = set(rows_of(mbo.Transitions.from_dataset(dataset).for_learners()))
    imagined = {tuple(row) for row in buffer.sources[0].ring.rows().tolist()}
    assert {len(row) for row in imagined} == {6}
    assert drawn == (drawn & real) | (drawn & imagined)
    assert len(drawn & real) > 0.9 * len(real)
    assert len(drawn & imagined) > 0.9 * len(imagined)


def test_imagined_rows_can_be_looked_at_without_a_trace_in_what_is_drawn(dataset):
    both = [line_imagination(d, dataset) for d in ("reverse", "forward")]
    buffer = mbo.ImaginedReplayBuffer(dataset, both, real_ratio=0.5, shares=[1, 0])
    assert len(buffer.sample_imagined(7)) == len(buffer.sample_imagined(7, 1)) == 0
    buffer.refresh()  # the second has no share, so it imagines nothing
    stored = set(rows_of_array(buffer.sources[0].ring.rows()))
    np.random.seed(3)
    expected = buffer.sample_transition_batch(50)
    np.random.seed(3)
    drawn = buffer.sample_imagined(4000)
    assert rows_of(buffer.sample_transition_batch(50)) == rows_of(expected)
    assert set(rows_of(drawn)) <= stored
    assert len(set(rows_of(drawn))) > 0.95 * len(stored)
    assert drawn.observations.device.type == "cpu"
    assert len(buffer.sample_imagined(7, 1)) == 0


def test_another_bit_generator_of_numpys_goes_on_as_well(dataset):
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    buffer.refresh()
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(0))
    try:
        expected = np.random.rand()
        np.random.set_bit_generator(np.random.PCG64(0))
        buffer.sample_imagined(5)  # NumPy warns where its state is asked for otherwise
        assert np.random.rand() == expected
    finally:
        np.random.set_bit_generator(before)


def test_rows_to_look_at_are_split_equally_over_all_that_imagined(dataset):
    both = [line_imagination(d, dataset) for d in ("reverse", "forward")]
    buffer = mbo.ImaginedReplayBuffer(dataset, both, real_ratio=0.5)
    buffer.refresh()
    drawn = rows_of(buffer.sample_imagined(9))
    for rows, source in zip((drawn[:5], drawn[5:]), buffer.sources, strict=True):
        assert len(rows) in (4, 5)
        assert set(rows) <= set(rows_of_array(source.ring.rows()))


@pytest.mark.parametrize(
    ("n_rows", "imagination"),
    [(-1, None), (1e3, None), ("5", None), (3, 1), (3, -1), (3, "romi")],
)
def test_rows_of_an_imagination_that_is_not_there_are_refused(
    dataset, n_rows, imagination
):
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    with pytest.raises(mbo.CompositionError, match=str(imagination or n_rows)):
        buffer.sample_imagined(n_rows, imagination)


def rows_of_array(rows) -> list[tuple[float, ...]]:
    return [tuple(row) for row in rows.tolist()]


def test_no_imagination_is_the_real_data_alone(dataset):
    buffer = mbo.ImaginedReplayBuffer(dataset, [])
    drawn = set(rows_of(buffer.sample_transition_batch(5000)))
    assert drawn == set(rows_of(mbo.Transitions.from_dataset(dataset).for_learners()))


def test_scalers_and_evaluators_see_real_data_only(dataset):
    imagination = line_imagination("reverse", dataset, penalty=ConstantPenalty(1000.0))
    learner = small_learner(
        "td3_plus_bc",
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        reward_scaler=d3rlpy.preprocessing.StandardRewardScaler(),
    )
    seen = []
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner, real_ratio=0.0)
    learner.fit(
        buffer, n_steps=1, n_steps_per_epoch=1,
        evaluators={"seen": lambda algo, data: float(len(seen.append(data) or seen))},
        **QUIET,
    )  # fmt: skip
    alone = small_learner(
        "td3_plus_bc",
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        reward_scaler=d3rlpy.preprocessing.StandardRewardScaler(),
    )
    alone.fit(dataset, n_steps=1, n_steps_per_epoch=1, **QUIET)
    ours, theirs = learner.config, alone.config
    assert ours.reward_scaler.mean == theirs.reward_scaler.mean
    np.testing.assert_array_equal(
        ours.observation_scaler.mean, theirs.observation_scaler.mean
    )
    assert seen[0].episodes is dataset.episodes
    assert seen[0].buffer is dataset.buffer


def test_learners_receive_the_penalised_reward_before_their_scaler(dataset):
    imagination = line_imagination("reverse", dataset, penalty=ConstantPenalty(1000.0))
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.0)
    batch = buffer.sample_transition_batch(50)
    np.testing.assert_allclose(batch.rewards, batch.observations - 1000, atol=1e-3)


def test_it_fills_itself_at_the_first_batch_and_once_only_without_an_interval(dataset):
    learner = small_learner("td3_plus_bc")
    buffer = mbo.ImaginedReplayBuffer(
        dataset, line_imagination("reverse", dataset), learner
    )
    steps = count_refreshes(buffer)
    learner.fit(buffer, n_steps=10, n_steps_per_epoch=5, **QUIET)
    assert steps == [0]


def test_it_refreshes_every_rollout_interval_of_the_learners_steps(dataset):
    learner = small_learner("td3_plus_bc")
    imagination = line_imagination("reverse", dataset, rollout_interval=4)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    steps = count_refreshes(buffer)
    learner.fit(buffer, n_steps=10, n_steps_per_epoch=5, **QUIET)
    assert steps == [0, 4, 8]


def test_evaluators_and_fqe_that_sample_do_not_disturb_the_schedule(dataset):
    learner = small_learner("td3_plus_bc")
    imagination = line_imagination("reverse", dataset, rollout_interval=4)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    steps = count_refreshes(buffer)

    def greedy_evaluator(algo, data) -> float:
        for _ in range(50):
            data.sample_transition_batch(4)
        return 0.0

    learner.fit(
        buffer, n_steps=10, n_steps_per_epoch=2,
        evaluators={"greedy": greedy_evaluator}, **QUIET,
    )  # fmt: skip
    fqe = d3rlpy.ope.FQE(learner, d3rlpy.ope.FQEConfig(batch_size=4))
    fqe.fit(buffer, n_steps=200, n_steps_per_epoch=100, **QUIET)
    assert steps == [0, 4, 8]


@pytest.mark.parametrize("limit", [None, 480])
def test_rows_appended_to_the_dataset_afterwards_are_missed_with_one_warning(limit):
    dataset, (new,) = line_dataset(), line_dataset(n_episodes=1).episodes
    if limit is not None:  # full: what is appended takes the place of what is there
        dataset = d3rlpy.dataset.create_fifo_replay_buffer(limit, dataset.episodes)
    buffer = mbo.ImaginedReplayBuffer(dataset, [])
    shown = repr(buffer)
    buffer.sample_transition_batch(4)
    dataset.append_episode(new)
    n_rows = dataset.transition_count
    with pytest.warns(UserWarning, match=f"holds {n_rows} .*the 480 of then"):
        buffer.sample_transition_batch(4)
    buffer.sample_transition_batch(4)
    assert repr(buffer) == shown


def test_a_dataset_that_makes_its_episodes_when_asked_is_not_watched():
    class Made(d3rlpy.dataset.ReplayBuffer):
        @property
        def episodes(self):
            return [dataclasses.replace(each) for each in super().episodes]

        @property
        def buffer(self):
            raise NotImplementedError

    made = Made(d3rlpy.dataset.InfiniteBuffer(), episodes=line_dataset().episodes)
    buffer = mbo.ImaginedReplayBuffer(made, [])
    for _ in range(2):
        buffer.sample_transition_batch(4)


def test_without_a_learner_batches_are_counted(dataset):
    imagination = line_imagination("reverse", dataset, rollout_interval=3)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    steps = count_refreshes(buffer)
    for _ in range(8):
        buffer.sample_transition_batch(4)
    assert steps == [0, 3, 6]


@pytest.mark.parametrize("n_steps", [0, 2])
def test_another_learner_than_the_one_given_is_noticed(dataset, n_steps):
    given, other = small_learner("td3_plus_bc"), small_learner("td3_plus_bc")
    imagination = line_imagination("reverse", dataset, rollout_interval=10)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, given)
    if n_steps:  # as where a notebook's cell makes the learner anew, not the buffer
        given.fit(buffer, n_steps=n_steps, n_steps_per_epoch=n_steps, **QUIET)
    with pytest.raises(
        mbo.LearnerMismatchError, match=r"another TD3PlusBC.*buffer for"
    ):
        other.fit(buffer, n_steps=9, n_steps_per_epoch=9, **QUIET)
    assert other.grad_step <= 2  # where a fit begins a batch may come without a step
    given.fit(buffer, n_steps=1, n_steps_per_epoch=1, **QUIET)


def test_rows_that_no_learner_had_a_say_in_may_train_another_one(dataset):
    given, other = small_learner("td3_plus_bc"), small_learner("td3_plus_bc")
    imagination = line_imagination("reverse", dataset, rollout_interval=None)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, given)
    for learner in (given, other):
        learner.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)


def test_a_learner_whose_fit_is_anothers_is_followed(monkeypatch):
    given, inner = small_learner("td3_plus_bc"), small_learner("td3_plus_bc")
    monkeypatch.setattr("d3rlpy_mbo.buffer.progress._fitted_learner", lambda: inner)
    progress = LearnerProgress(given)
    for _ in range(3):
        progress.observe()
        given._grad_step += 1
    assert progress.observe() == 3
    progress.observe()
    with pytest.raises(mbo.LearnerMismatchError):
        progress.observe()


def test_another_learner_that_no_fit_of_d3rlpys_trains_is_noticed_after_a_while(
    dataset,
):
    given, other = small_learner("td3_plus_bc"), small_learner("td3_plus_bc")
    buffer = mbo.ImaginedReplayBuffer(
        dataset, line_imagination("reverse", dataset), given
    )
    for learner in (given, other):
        learner.build_with_dataset(dataset)
    for _ in range(100):
        other.update(buffer.sample_transition_batch(4))
    with pytest.raises(mbo.LearnerMismatchError, match="another one trains"):
        buffer.sample_transition_batch(4)


def test_another_transformer_than_the_one_given_is_noticed(dataset):
    given, other = (
        d3rlpy.algos.DecisionTransformerConfig(batch_size=4, context_size=3).create()
        for _ in range(2)
    )
    imagination = line_imagination("reverse", dataset, rollout_interval=10)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, given)
    with pytest.raises(mbo.LearnerMismatchError, match="another DecisionTransformer"):
        other.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "or without learner if that one trains no more"),
        ({"rollout_policy": mbo.LearnerPolicyConfig()}, "for FQE use the dataset"),
    ],
)
def test_who_evaluates_a_trained_learner_is_told_what_will_work(dataset, parts, words):
    learner = small_learner("bc")
    learner.build_with_dataset(dataset)
    imagination = line_imagination("forward", dataset, rollout_batch_size=10, **parts)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    for _ in range(100):
        buffer.sample_transition_batch(2)
    with pytest.raises(mbo.LearnerMismatchError, match=rf"{words}.*\.$"):
        buffer.sample_transition_batch(2)


def test_a_learner_that_counts_from_zero_again_keeps_the_schedule():
    learner = small_learner("td3_plus_bc")
    learner.set_grad_step(1000)
    progress = LearnerProgress(learner)
    seen = []
    for grad_step in (1000, 1001, 0, 1, 2):
        learner.set_grad_step(grad_step)
        seen.append(progress.observe())
    assert seen == [0, 1, 1, 2, 3]


def test_refresh_is_public_and_replaces_what_was_imagined(dataset):
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    buffer.refresh()
    before = buffer.sources[0].ring.rows()
    buffer.refresh()
    assert before.shape == buffer.sources[0].ring.rows().shape
    assert not np.array_equal(before, buffer.sources[0].ring.rows())


def test_a_refresh_that_was_cut_short_is_done_again_before_the_next_batch(
    dataset, monkeypatch
):
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    buffer.sample_transition_batch(8)
    (source,) = buffer.sources
    n_rows, rollouts = len(source.ring), mbo.Imagination.rollouts

    def interrupted(self, real, n_rollouts, *others):
        yield from rollouts(self, real, n_rollouts // 2, *others)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mbo.Imagination, "rollouts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            buffer.refresh()
    assert len(source.ring) < n_rows  # and nothing is due: it imagines once
    assert source.checkpoint_state()["refreshed"] is None
    steps = count_refreshes(buffer)
    buffer.sample_transition_batch(8)
    buffer.sample_transition_batch(8)
    assert (len(source.ring), len(steps)) == (n_rows, 1)


def test_an_imagination_without_a_share_never_imagines(dataset):
    buffer = mbo.ImaginedReplayBuffer(
        dataset, line_imagination("reverse", dataset), real_ratio=1.0
    )
    steps = count_refreshes(buffer)
    buffer.sample_transition_batch(8)
    buffer.refresh()
    assert steps == []


def test_sample_transition_works_and_is_real(dataset):
    buffer = mbo.ImaginedReplayBuffer(
        dataset, line_imagination("reverse", dataset), real_ratio=0.0
    )
    transition = buffer.sample_transition()
    observations = np.concatenate([e.observations for e in dataset.episodes])
    assert transition.observation in observations


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("append", (np.zeros(1), np.zeros(1), 0.0)),
        ("append_episode", (None,)),
        ("clip_episode", (True,)),
    ],
)
def test_real_data_is_read_only(method, arguments, dataset):
    buffer = mbo.ImaginedReplayBuffer(dataset, [])
    count = dataset.transition_count
    with pytest.raises(mbo.CompositionError, match=f"{method}: .*algo.fit"):
        getattr(buffer, method)(*arguments)
    assert dataset.transition_count == count


def test_dump_writes_the_real_data(dataset):
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    file = io.BytesIO()
    buffer.dump(file)
    loaded = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    assert loaded.transition_count == dataset.transition_count


def test_everything_else_is_the_datasets(dataset):
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    assert buffer.size() == dataset.size()
    for name in ("transition_count", "transition_picker", "trajectory_slicer",
                 "dataset_info", "episodes", "buffer"):  # fmt: skip
        assert getattr(buffer, name) is getattr(dataset, name) or (
            getattr(buffer, name) == getattr(dataset, name)
        )
    for constructor in (buffer.load, buffer.from_episode_generator):
        with pytest.raises(mbo.CompositionError, match="ImaginedReplayBuffer"):
            constructor(None, None)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_real_ratio_that_is_no_share_is_refused(ratio, dataset):
    imagination = line_imagination("reverse", dataset)
    with pytest.raises(mbo.CompositionError, match="real_ratio"):
        mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=ratio)
    with pytest.raises(mbo.CompositionError, match="real_ratio"):
        mbo.ImaginationConfig(real_ratio=ratio)


def test_several_imaginations_need_a_ratio_and_fitting_shares(dataset):
    both = [line_imagination("reverse", dataset)] * 2
    with pytest.raises(mbo.CompositionError, match="Pass real_ratio"):
        mbo.ImaginedReplayBuffer(dataset, both)
    for shares in ([1], [0, 0], [1, -1], [1, float("nan")]):
        with pytest.raises(mbo.CompositionError, match="shares"):
            mbo.ImaginedReplayBuffer(dataset, both, real_ratio=0.5, shares=shares)
    with pytest.raises(mbo.CompositionError, match="no imagination"):
        mbo.ImaginedReplayBuffer(dataset, [], real_ratio=0.5)


def test_a_learner_missing_where_the_rollout_policy_needs_one_is_refused(dataset):
    imagination = line_imagination(
        "forward", dataset, rollout_policy=mbo.LearnerPolicyConfig()
    )
    with pytest.raises(mbo.CompositionError, match="learner=algo"):
        mbo.ImaginedReplayBuffer(dataset, imagination)


def test_the_learners_own_policy_imagines_forward(dataset):
    imagination = line_imagination(
        "forward", dataset, rollout_policy=mbo.LearnerPolicyConfig()
    )
    learner = small_learner("sac")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner, real_ratio=0.5)
    learner.fit(buffer, n_steps=2, n_steps_per_epoch=1, **QUIET)
    assert len(buffer.sources[0].ring) == 1000


def test_an_imagination_that_is_not_fitted_or_fitted_on_other_shapes_is_refused(
    dataset,
):
    with pytest.raises(mbo.NotFittedError, match="fit"):
        mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse"))
    other = line_imagination("reverse", line_dataset(size=2))
    with pytest.raises(mbo.CompositionError, match="size 2.* has 1 and 1"):
        mbo.ImaginedReplayBuffer(dataset, other)


@pytest.mark.filterwarnings("ignore:All 20 episodes that end")  # of the toys
def test_a_dataset_that_terminates_needs_a_termination():
    ending = line_dataset(terminated=True)
    with pytest.raises(mbo.TerminationRequiredError, match="never"):
        line_imagination("reverse").fit(ending)
    mbo.ImaginedReplayBuffer(
        ending, line_imagination("reverse", ending, termination=mbo.NoTermination())
    )


def test_too_many_rows_that_are_not_finite_are_a_diverged_error(dataset):
    from toys import LineDynamicsConfig

    imagination = line_imagination(
        "forward", dataset, dynamics=LineDynamicsConfig(broken_at=0.1)
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    with pytest.raises(mbo.DivergedError, match="NaN"):
        buffer.sample_transition_batch(4)


@dataclasses.dataclass()
class Exploding(mbo.RewardFunction):
    """As HIV's, whose reward has 10 to the power of a column in it."""

    factor: float = 1.0

    def __call__(self, observations, actions, next_observations):
        return self.factor * next_observations[:, :1]


def test_rewards_far_from_the_datas_are_warned_of_once(dataset):
    # The line's rewards are about as large as its states.
    imagination = line_imagination(
        "forward", dataset, reward_function=Exploding(factor=1e6)
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    words = r"of the \d+ rewards that 'custom' imagined lie beyond those of the data"
    with pytest.warns(UserWarning, match=words):
        buffer.refresh()
    buffer.refresh()  # once is enough: warnings are errors


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_with_a_halt_they_are_the_models_own_whatever_the_halt_pays(dataset, factor):
    # A threshold of 0.5 halts some of the rows, and -1e9 is what MOReL may say of them.
    imagination = line_imagination(
        "forward",
        dataset,
        dynamics=DoubtfulLineConfig(),
        halt=ReadingConfig(reading="morel", threshold=0.5, reward=-1e9),
        reward_function=Exploding(factor=factor),
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    if factor == 1:
        buffer.refresh()  # warnings are errors
        assert buffer.sample_imagined(1000).rewards.min() == -1e9
        return
    with pytest.warns(UserWarning, match="imagined lie beyond those of the data"):
        buffer.refresh()


def test_a_large_penalty_is_no_reward_far_from_the_datas(dataset):
    imagination = line_imagination("forward", dataset, penalty=ConstantPenalty(1e9))
    mbo.ImaginedReplayBuffer(dataset, imagination).refresh()  # warnings are errors


def test_same_seed_gives_bit_identical_learners(dataset):
    weights = []
    for _ in range(2):
        d3rlpy.seed(0)
        learner = small_learner("sac")
        imagination = line_imagination("reverse", dataset, rollout_interval=5)
        buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
        learner.fit(buffer, n_steps=20, n_steps_per_epoch=20, **QUIET)
        weights.append(list(learner.impl.policy.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_last_row_of_a_truncated_episode_is_never_drawn():
    episode = CompleteEpisode(
        np.arange(4, dtype=np.float32).reshape(-1, 1),
        np.array([[0.5], [1.5], [2.5]], np.float32),
        np.zeros((3, 1), np.float32),
        False,
    )
    from d3rlpy_mbo.data.episodes import CompleteTransitionPicker

    dataset = d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=[episode],
        transition_picker=CompleteTransitionPicker(),
    )
    batch = mbo.ImaginedReplayBuffer(dataset, []).sample_transition_batch(200)
    assert set(batch.observations.flatten().tolist()) == {0, 1}
    assert set(batch.next_actions.flatten().tolist()) == {1.5, 2.5}
