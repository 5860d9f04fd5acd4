import warnings

import pytest
from structlog.testing import capture_logs

import d3rlpy_mbo as mbo
from d3rlpy_mbo.buffer.fill import Fill, validate_fills
from d3rlpy_mbo.data.real_data import RealData
from d3rlpy_mbo_mopo import MOPOConfig
from d3rlpy_mbo_romi import ROMIConfig
from toys import QUIET, LineDynamicsConfig, line_dataset, small_learner

# Bytes of a packed row: s, a, r, s', a', terminal; and where it comes from.
WIDTH = 4 * (2 * 1 + 2 * 1 + 2) + 2 * 8

pytestmark = pytest.mark.usefixtures("talkative")


def romi(**settings) -> ROMIConfig:
    return ROMIConfig(
        dynamics=LineDynamicsConfig(direction="reverse"),
        rollout_policy=mbo.UniformPolicyConfig(),
        **settings,
    )


def transformer():
    return small_learner("decision_transformer", context_size=3, max_timestep=30)


@pytest.fixture
def memory(monkeypatch):
    """A machine with as many bytes as a test says."""

    def set_to(n_bytes):
        monkeypatch.setattr("d3rlpy_mbo.buffer.fill.memory_allowed", lambda: n_bytes)

    return set_to


@pytest.fixture(scope="module")
def real() -> RealData:
    return RealData.of(line_dataset(n_episodes=1000, length=11))


@pytest.mark.parametrize(
    ("n_starts", "expected"),
    [
        (100, 50_000),
        (5_000, 50_000),
        (20_000, 200_000),
        (100_930, 800_000),
        (10**6, 800_000),
    ],
)
def test_a_default_has_ten_rollouts_for_each_start_at_most(
    n_starts, expected, real, monkeypatch
):
    monkeypatch.setattr(RealData, "start_rows", lambda *_: range(n_starts))
    assert Fill(romi(), real).n_rollouts == expected


@pytest.mark.filterwarnings("ignore:All 1000 episodes that end")  # of the toys
def test_only_states_that_rollouts_may_start_from_are_counted(real):
    terminated = line_dataset(n_episodes=1000, length=11, terminated=True)
    rows = RealData.of(terminated)  # d3rlpy fills its 1,000 last s' with zeros
    assert len(rows) == 11_000
    assert Fill(romi(), rows).n_rollouts == Fill(romi(), real).n_rollouts == 100_000


def test_a_batch_size_that_was_given_is_used_as_it_is(real):
    assert Fill(romi(rollout_batch_size=700_000), real).n_rollouts == 700_000


def test_other_papers_defaults_are_used_on_the_smallest_data():
    few = RealData.of(line_dataset(n_episodes=1, length=5))
    assert Fill(MOPOConfig(), few).n_rollouts == 50_000
    assert Fill(mbo.ImaginationConfig(), few).n_rollouts == 50_000


def test_the_buffer_imagines_what_is_justified_and_says_so_once():
    dataset = line_dataset()
    imagination = romi(rollout_length=1).create()
    imagination.fit(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    with capture_logs() as lines:
        buffer.sample_transition_batch(8)
        buffer.refresh()
    assert len(buffer.sources[0].ring) == 50_000
    assert lines[0]["event"] == (
        "'romi' imagines at most 50,000 rows from 50,000 rollouts, into a store of "
        f"{50_000 * WIDTH / 1e6:.3g} MB. Its default of 800,000 rollouts is meant for more "
        f"data: on {len(RealData.of(dataset)):,} rows it is lowered. Any other "
        "rollout_batch_size is used as it is."
    )
    assert [line["event"] for line in lines[1:]] == ["Imagining: done"]
    assert lines[1]["rollouts"] == "50,000 of 50,000"


def test_a_default_of_more_than_a_quarter_of_the_memory_is_refused_before_any_fit(
    memory,
):
    size = 50_000 * 5 * WIDTH
    memory(4 * size - 4)
    imagination = romi().create()
    learner = small_learner("td3_plus_bc")
    with pytest.raises(mbo.CompositionError, match="Lower rollout_batch_size") as found:
        mbo.fit(learner, line_dataset(), imagination, 4, **QUIET)
    assert "'romi' would need a store of 10 MB" in str(found.value)
    assert "this machine has 40 MB of memory" in str(found.value)
    assert "retained_refreshes" in str(found.value)
    assert not imagination.fitted


@pytest.mark.parametrize("known", [True, False])
def test_what_transformers_need_beside_the_store_is_announced_with_it(known):
    dataset = line_dataset()
    imagination = romi(rollout_length=2, rollout_batch_size=100).create()
    imagination.fit(dataset)
    learner = transformer() if known else None
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    with capture_logs() as lines:
        buffer.sample_trajectory_batch(8, 3)
    (source,), (lead_ins,) = buffer.sources, buffer._trajectories._leads
    assert source.ring.nbytes == 200 * WIDTH
    assert source.fill.nbytes == source.ring.nbytes + lead_ins.nbytes
    assert lead_ins.nbytes == 200 * 32
    assert f"into a store of {200 * (WIDTH + 32) / 1e6:.3g} MB" in lines[0]["event"]


def test_it_is_held_against_the_memory_before_any_fit(memory):
    memory(4 * 50_000 * 5 * (WIDTH + 32) - 4)
    imagination = romi().create()
    with pytest.raises(mbo.CompositionError, match="would need a store of 18 MB"):
        mbo.fit(transformer(), line_dataset(), imagination, 4, **QUIET)
    assert not imagination.fitted
    imagination.fit(line_dataset())
    buffer = mbo.ImaginedReplayBuffer(line_dataset(), imagination)
    for _ in range(2):
        with pytest.raises(mbo.CompositionError, match="would need a store of 18 MB"):
            buffer.sample_trajectory_batch(8, 3)  # nobody said so before


def test_a_quarter_of_the_memory_is_no_matter(memory, real):
    memory(4 * Fill(romi(), real).nbytes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Fill(romi(), real).validate()


@pytest.mark.parametrize(
    "settings", [{"rollout_batch_size": 200_000}, {"retained_refreshes": 2}]
)
def test_a_large_store_that_was_asked_for_is_a_warning(settings, memory, real):
    fill = Fill(romi(**settings), real)
    memory(4 * fill.nbytes - 4)
    with pytest.warns(UserWarning, match="more than a quarter"):
        fill.validate()


def test_a_store_beyond_all_memory_is_refused_even_if_asked_for(memory, real):
    fill = Fill(romi(rollout_batch_size=200_000), real)
    memory(fill.nbytes - 1)
    with pytest.raises(mbo.CompositionError, match="expected less than that"):
        fill.validate()
    memory(fill.nbytes - 1)
    imagination = romi(rollout_batch_size=200_000).create()
    imagination.fit(real)
    with pytest.raises(mbo.CompositionError, match="expected less than that"):
        mbo.ImaginedReplayBuffer(real, imagination)


def test_two_stores_that_memory_holds_one_by_one_are_refused_together(memory):
    imaginations = [romi().create(), romi().create()]
    fill = Fill.of(imaginations[0], RealData.of(line_dataset()), None)
    memory(8 * fill.nbytes)
    validate_fills([fill, fill])
    memory(1.9 * fill.nbytes)
    for each in imaginations:
        each.config.rollout_batch_size = 50_001  # asked for
    words = "2 imaginations would need stores of .*B \\('romi' .*, 'romi' .*less than"
    learner = small_learner("td3_plus_bc")
    with (
        pytest.warns(UserWarning, match="more than a quarter"),
        pytest.raises(mbo.CompositionError, match=words),
    ):
        mbo.fit(learner, line_dataset(), imaginations, 4, real_ratio=0.5, **QUIET)
    assert not any(each.fitted for each in imaginations)
    for each in imaginations:
        each.fit(line_dataset())
    with (
        pytest.warns(UserWarning, match="more than a quarter"),
        pytest.raises(mbo.CompositionError, match=words),
    ):
        mbo.ImaginedReplayBuffer(line_dataset(), imaginations, real_ratio=0.5)


def test_a_machine_that_does_not_tell_its_memory_refuses_nothing(memory, real):
    memory(None)
    Fill(romi(), real).validate()
