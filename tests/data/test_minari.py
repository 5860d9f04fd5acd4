import dataclasses
import warnings
from collections.abc import Sequence

import d3rlpy
import gymnasium
import minari
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.minari import reference_scores
from toys import rows_of


def box(*shape: int, dtype=np.float32) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, dtype)


def write(
    dataset_id: str,
    episodes: Sequence[EpisodeBuffer],
    observation_space: spaces.Space = box(2),  # noqa: B008
    action_space: spaces.Space = box(1),  # noqa: B008
    **arguments,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            dataset_id,
            list(episodes),
            observation_space=observation_space,
            action_space=action_space,
            **arguments,
        )


def episode(length: int, terminated: bool, first: float = 0.0) -> EpisodeBuffer:
    """Observations count up, so that a shifted row shows."""
    observations = first + np.arange(2 * (length + 1), dtype=np.float32).reshape(-1, 2)
    ends = [False] * (length - 1)
    return EpisodeBuffer(
        observations=observations,
        actions=first + np.arange(length, dtype=np.float32).reshape(-1, 1),
        rewards=list(first + 0.5 * np.arange(length)),
        terminations=[*ends, terminated],
        truncations=[*ends, not terminated],
    )


def load(dataset_id: str) -> d3rlpy.dataset.ReplayBuffer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these datasets record no environment
        return mbo.load_minari(dataset_id)[0]


def reference_rows(episodes: Sequence[EpisodeBuffer], kind: str) -> list[tuple]:
    """The rows of all episodes, one by one, the plain way."""
    rows = []
    for e in episodes:
        length = len(e.rewards)
        for i in range(length):
            last = i == length - 1
            terminal = bool(e.terminations[i])
            if kind == "learners" and last and not terminal:
                continue
            next_action = np.zeros(1) if last else e.actions[i + 1]
            row = [*e.observations[i], *e.actions[i], e.rewards[i]]
            row += [*e.observations[i + 1], *next_action, float(terminal)]
            rows.append(tuple(float(np.float32(value)) for value in row))
    return rows


@pytest.mark.training
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # so short is suspicious
@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=5),
    st.integers(0, 10**9),
)
def test_random_episodes_come_out_row_by_row_as_the_plain_reference(
    minari_root, shapes, number
):
    episodes = [
        episode(length, terminated, first=100.0 * i)
        for i, (length, terminated) in enumerate(shapes)
    ]
    dataset_id = f"random/{number}-{len(list(minari_root.glob('random/*')))}-v0"
    write(dataset_id, episodes)
    dataset = load(dataset_id)

    transitions = mbo.Transitions.from_dataset(dataset)
    assert rows_of(transitions) == reference_rows(episodes, "models")
    assert len(transitions.for_models()) == sum(length for length, _ in shapes)
    expected = reference_rows(episodes, "learners")
    assert rows_of(transitions.for_learners()) == expected

    if expected:
        batch = mbo.ImaginedReplayBuffer(dataset, []).sample_transition_batch(1000)
        assert set(rows_of(batch)) == set(expected)


def test_d3rlpys_get_minari_shifts_the_second_episode_and_ours_does_not(minari_root):
    episodes = [episode(3, False), episode(4, True, first=100.0)]
    write("both/two-v0", episodes, env="Pendulum-v1")

    theirs, _ = d3rlpy.datasets.get_minari("both/two-v0")
    ours = load("both/two-v0")
    # The first action of the second episode is 100, taken in (100, 101).
    assert theirs.episodes[1].actions[0].tolist() == [100]
    assert theirs.episodes[1].observations[0].tolist() == [6, 7]  # the first one's last
    assert ours.episodes[1].observations[0].tolist() == [100, 101]


def test_the_dataset_serves_d3rlpys_own_training_dump_and_scalers(
    minari_root, tmp_path
):
    write("plain/one-v0", [episode(30, i % 2 == 0, 50.0 * i) for i in range(4)])
    dataset = load("plain/one-v0")
    algo = d3rlpy.algos.TD3PlusBCConfig(
        batch_size=8,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
    ).create()
    algo.fit(
        dataset,
        2,
        1,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        evaluators={"td": d3rlpy.metrics.TDErrorEvaluator()},
    )
    with open(tmp_path / "dump.h5", "w+b") as file:
        dataset.dump(file)


def goal_episode(achieved: list[list[float]]) -> EpisodeBuffer:
    return EpisodeBuffer(
        observations={
            "observation": np.array([[1, 2], [3, 4]], np.float32),
            "desired_goal": np.array([[9], [9]], np.float32),
            "achieved_goal": np.array(achieved, np.float32),
        },
        actions=np.zeros((1, 1), np.float32),
        rewards=[0.0],
        terminations=[False],
        truncations=[True],
    )


@pytest.mark.parametrize(
    ("achieved", "expected"),
    [
        ([[2], [4]], [[1, 2, 9], [3, 4, 9]]),  # the observation's second column
        ([[7], [7]], [[1, 2, 7, 9], [3, 4, 7, 9]]),
        ([[2], [3]], [[1, 2, 2, 9], [3, 4, 3, 9]]),  # not one column of it
    ],
    ids=["held", "elsewhere", "mixed"],
)
def test_goals_become_one_vector_with_what_was_achieved_if_nothing_else_holds_it(
    minari_root, achieved, expected
):
    parts = {"observation": box(2), "desired_goal": box(1), "achieved_goal": box(1)}
    space = spaces.Dict(parts)
    write("goal/one-v0", [goal_episode(achieved)], observation_space=space)
    assert load("goal/one-v0").episodes[0].observations.tolist() == expected


def test_what_was_achieved_is_held_only_if_it_is_in_every_episode_that_is_looked_at(
    minari_root,
):
    parts = {"observation": box(2), "desired_goal": box(1), "achieved_goal": box(1)}
    episodes = [goal_episode([[2], [4]]), goal_episode([[2], [5]])]
    write("goal/two-v0", episodes, observation_space=spaces.Dict(parts))
    assert load("goal/two-v0").episodes[0].observations.tolist() == [
        [1, 2, 2, 9],
        [3, 4, 4, 9],
    ]


def test_parts_of_observations_that_are_not_read_are_named(minari_root):
    parts = {"observation": box(2), "desired_goal": box(1), "image": box(2)}
    e = goal_episode([[7], [7]])
    e.observations["image"] = e.observations.pop("achieved_goal").repeat(2, axis=1)
    write("goal/three-v0", [e], observation_space=spaces.Dict(parts))
    with (
        pytest.warns(match="'goal/three-v0' 'image' will not be seen") as said,
        pytest.warns(match="the dataset records none"),
    ):
        mbo.load_minari("goal/three-v0")
    assert said[0].filename == __file__


def test_the_ants_place_is_seen_by_models_and_in_its_environment(minari_root):
    pytest.importorskip("gymnasium_robotics")
    env = gymnasium.make("AntMaze_UMaze-v5")
    observation, _ = env.reset(seed=0)
    moved = {k: np.stack([v, v + 0.1]) for k, v in observation.items()}
    e = dataclasses.replace(
        goal_episode([[7], [7]]), observations=moved, actions=np.zeros((1, 8))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers("goal/ant-v0", [e], env="AntMaze_UMaze-v5")
    dataset, loaded_env = mbo.load_minari("goal/ant-v0")
    place = observation["achieved_goal"].astype(np.float32)
    n_seen = len(observation["observation"])
    seen = dataset.episodes[0].observations[0]
    np.testing.assert_array_equal(seen[n_seen : n_seen + 2], place)
    first, _ = loaded_env.reset(seed=0)
    np.testing.assert_array_equal(first.astype(np.float32), seen)
    assert loaded_env.observation_space.shape == first.shape == (n_seen + 4,)


def test_goal_conditioned_environment_gives_the_same_vectors(minari_root):
    pytest.importorskip("gymnasium_robotics")
    env = gymnasium.make("PointMaze_UMaze-v3")
    observation, _ = env.reset(seed=0)
    e = EpisodeBuffer(
        observations={k: np.stack([v, v]) for k, v in observation.items()},
        actions=np.zeros((1, 2), np.float32),
        rewards=[0.0],
        terminations=[False],
        truncations=[True],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            "goal/maze-v0", [e], env="PointMaze_UMaze-v3"
        )
    dataset, loaded_env = mbo.load_minari("goal/maze-v0")
    first, _ = loaded_env.reset(seed=0)
    np.testing.assert_array_equal(
        first.astype(np.float32), dataset.episodes[0].observations[0]
    )


@pytest.mark.parametrize(
    ("observation_space", "action_space", "words"),
    [
        (box(8, 8, 3, dtype=np.float32), box(1), "expected vectors"),
        (spaces.Tuple([box(2), box(1)]), box(1), "expected vectors"),
        (spaces.Dict({"pixels": box(2)}), box(1), "desired_goal.*dataset_from_arrays"),
        (spaces.Discrete(9), box(1), "expected vectors.*dataset_from_arrays"),
        (box(2), spaces.MultiDiscrete([3, 2]), "MultiDiscrete.*number their combi"),
        (box(2), spaces.MultiBinary(2), "MultiBinary.*number their combinations"),
        (box(2), spaces.Discrete(1), "single action"),
    ],
)
def test_observations_and_actions_that_are_no_vectors_are_refused(
    minari_root, observation_space, action_space, words
):
    write("odd/one-v0", [], observation_space, action_space)
    with pytest.raises(mbo.DatasetError, match=words):
        load("odd/one-v0")


def test_a_local_dataset_never_touches_the_network(minari_root, monkeypatch):
    write("local/one-v0", [episode(3, True)])

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("minari.storage.hosting.get_cloud_storage", refuse)
    assert load("local/one-v0").transition_count == 3


def test_an_unknown_dataset_names_the_nearest_local_one(minari_root, monkeypatch):
    write("local/hopper-v0", [episode(3, True)])

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", unreachable)
    with pytest.raises(mbo.DatasetError, match="no route.*'local/hopper-v0'"):
        mbo.load_minari("local/hoper-v0")


def test_a_damaged_local_dataset_is_called_damaged_and_hides_no_other(
    minari_root, monkeypatch
):
    for name in ("local/whole-v0", "local/torn-v0"):
        write(name, [episode(3, True)])
    (minari_root / "local/torn-v0/data/metadata.json").write_text('{"half')

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", unreachable)
    with pytest.raises(mbo.DatasetError, match=r"torn-v0.*cannot be read.*damaged"):
        mbo.load_minari("local/torn-v0")
    with pytest.raises(mbo.DatasetError, match="not be downloaded.*'local/whole-v0'"):
        mbo.load_minari("local/whol-v0")


def test_reference_scores_are_the_datasets_or_none(minari_root):
    write("local/plain-v0", [episode(3, True)])
    assert reference_scores("local/plain-v0") is None
    minari.load_dataset("local/plain-v0").storage.update_metadata(
        {"ref_min_score": 1.0, "ref_max_score": 3.0}
    )
    assert reference_scores("local/plain-v0") == (1.0, 3.0)
    minari.load_dataset("local/plain-v0").storage.update_metadata(
        {"ref_max_score": 1.0}
    )
    assert reference_scores("local/plain-v0") is None  # no scale


def test_an_episode_that_goes_on_after_a_termination_is_refused(minari_root):
    broken = episode(4, True)
    broken.terminations[1] = True
    write("broken/after-v0", [episode(3, True), broken])
    with pytest.raises(mbo.DatasetError, match="Episode 1 .* step 1"):
        load("broken/after-v0")


def test_an_episode_without_its_last_observation_is_refused(minari_root):
    whole = episode(4, True)
    cut = dataclasses.replace(whole, observations=whole.observations[:-1])
    write("broken/cut-v0", [cut])
    with pytest.raises(mbo.DatasetError, match="4 observations for 4 actions"):
        load("broken/cut-v0")
