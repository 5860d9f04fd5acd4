import copy
import dataclasses
import pickle

import d3rlpy
import gymnasium
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode, CompleteTransitionPicker
from d3rlpy_mbo.data.real_data import start_rows
from d3rlpy_mbo.registry.json_form import encode
from toys import (
    QUIET,
    BeyondTermination,
    ConstantPenalty,
    LineDynamicsConfig,
    ReadingConfig,
    ScriptedPolicyConfig,
    choice_dataset,
    choice_imagination,
    line_dataset,
    line_imagination,
    small_ensemble,
    small_learner,
)


@pytest.fixture
def dataset() -> d3rlpy.dataset.ReplayBuffer:
    return line_dataset()


def learned(direction: str = "reverse", **settings) -> mbo.Imagination:
    settings.setdefault("dynamics", small_ensemble(direction))
    settings.setdefault("rollout_batch_size", 100)
    return mbo.ImaginationConfig(**settings).create()


def test_models_never_see_a_zero_filled_next_observation():
    ending = line_dataset(n_episodes=6, length=4, terminated=True)
    imagination = line_imagination("reverse", ending, termination=mbo.NoTermination())
    fit_transitions = imagination.dynamics.fit_transitions
    assert len(fit_transitions) == 6 * 3  # the terminal row of each episode is left out
    torch.testing.assert_close(
        fit_transitions.next_observations,
        fit_transitions.observations + fit_transitions.actions,
    )


def complete_dataset(terminated: bool) -> d3rlpy.dataset.ReplayBuffer:
    """One episode: s = 0, 1, 2, then 3, with actions 1 +- nothing."""
    episode = CompleteEpisode(
        torch.arange(4.0).reshape(-1, 1).numpy(),
        torch.tensor([[1.0], [1.0], [1.0]]).numpy() + 0.0,
        torch.zeros(3, 1).numpy(),
        terminated,
    )
    return d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=[episode],
        transition_picker=CompleteTransitionPicker(),
        action_space=d3rlpy.ActionSpace.CONTINUOUS,
        action_size=1,
    )


def test_reverse_rollouts_start_from_true_terminals_but_not_without_a_next_action():
    for terminated, targets in ((True, [0, 1, 2]), (False, [0, 1])):
        dataset = complete_dataset(terminated)
        rows = start_rows("reverse", mbo.Transitions.from_dataset(dataset))
        assert rows.tolist() == targets


def test_reverse_rollouts_never_start_from_a_zero_filled_state():
    ending = line_dataset(n_episodes=6, length=4, terminated=True)
    transitions = mbo.Transitions.from_dataset(ending)
    rows = start_rows("reverse", transitions)
    assert len(rows) == 18
    assert not transitions.terminals[rows].any()


def test_imagine_returns_rows_with_ids_for_every_rollout(dataset):
    imagination = line_imagination("reverse", dataset, rollout_length=3)
    imagination._rows_together = 4  # several chunks
    imagined = imagination.imagine(dataset, 10)
    assert imagined.rollout_ids.tolist() == [i for i in range(10) for _ in range(3)]


def test_imagine_starts_from_chosen_transitions_and_goes_as_far_as_told(dataset):
    imagination = line_imagination("forward", dataset)
    chosen = mbo.Transitions.from_dataset(dataset)[[3]]
    imagined = imagination.imagine(chosen, 4, rollout_length=2)
    assert len(imagined) == 8
    assert (imagined.observations[::2] == chosen.observations).all()


def test_ratio_interval_and_length_must_make_sense():
    for name, value in (
        ("rollout_length", 0),
        ("rollout_batch_size", 2.5),
        ("rollout_interval", 0),
        ("retained_refreshes", True),
    ):
        with pytest.raises(mbo.CompositionError, match=name):
            mbo.ImaginationConfig(**{name: value})


def test_a_learner_policy_with_reverse_dynamics_is_refused_before_any_training():
    config = mbo.ImaginationConfig(
        dynamics=LineDynamicsConfig(direction="reverse"),
        rollout_policy=mbo.LearnerPolicyConfig(),
    )
    with pytest.raises(mbo.CompositionError, match="'learner'.*'forward'.*Uniform"):
        config.create()


@pytest.mark.training
@pytest.mark.parametrize(
    "policy",
    [mbo.UniformPolicyConfig(), mbo.BehaviorCloningPolicyConfig(n_steps=5)],
)
def test_saved_and_loaded_it_imagines_bit_for_bit_the_same(policy, dataset, tmp_path):
    imagination = learned(
        rollout_policy=policy,
        termination=mbo.NoTermination(),
        penalty=ConstantPenalty(0.25),
    )
    imagination.fit(dataset)
    imagination.save(tmp_path / "x.mbo")
    loaded = mbo.load_imagination(tmp_path / "x.mbo")
    assert loaded.config == imagination.config
    assert loaded.metrics == imagination.metrics != {}
    results = []
    for each in (imagination, loaded):
        torch.manual_seed(3)
        results.append(each.imagine(dataset, 20))
    for field in dataclasses.fields(mbo.Transitions):
        first, second = (getattr(r, field.name) for r in results)
        assert first is second is None or torch.equal(first, second)


def test_a_file_records_the_distribution_and_version_of_every_component(
    dataset, tmp_path
):
    imagination = learned(penalty=ConstantPenalty())
    imagination.fit(dataset)
    imagination.save(tmp_path / "x.mbo")
    content = torch.load(tmp_path / "x.mbo", weights_only=True)
    recorded = {part["type"]: part["distribution"] for part in content["components"]}
    assert recorded["probabilistic_ensemble"] == "d3rlpy-mbo"
    assert recorded["constant"] == "none (not installed)"
    assert all("version" in part for part in content["components"])


@pytest.mark.training
@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        ("gone", "from gone 7, which is not installed. Run: pip install 'gone==7'"),
        ("d3rlpy-mbo", "Did you mean 'uniform'.*from d3rlpy-mbo 7"),
        ("none (not installed)", "Did you mean 'uniform'.*from none"),
    ],
)
def test_a_file_with_a_component_that_is_not_here_names_what_it_was_saved_with(
    dataset, tmp_path, distribution, words
):
    imagination = learned()
    imagination.fit(dataset)
    imagination.save(tmp_path / "x.mbo")
    content = torch.load(tmp_path / "x.mbo", weights_only=True)
    content["config"] = content["config"].replace("uniform", "uniforn")
    content["components"].append(
        {
            "kind": "rollout_policy",
            "type": "uniforn",
            "distribution": distribution,
            "version": "7",
        }
    )
    del content["digest"]  # as version 0.1 wrote files
    torch.save(content, tmp_path / "x.mbo")
    with pytest.raises(mbo.LoadError, match=words):
        mbo.load_imagination(tmp_path / "x.mbo")


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a file ran code')",))


def test_a_file_can_run_no_code(tmp_path):
    with open(tmp_path / "bomb.mbo", "wb") as file:
        pickle.dump(Bomb(), file)
    torch.save({"format": Bomb()}, tmp_path / "bomb2.mbo")
    for name in ("bomb.mbo", "bomb2.mbo"):
        with pytest.raises(mbo.LoadError, match="no saved imagination"):
            mbo.load_imagination(tmp_path / name)


def test_corrupt_and_foreign_files_are_load_errors(dataset, tmp_path):
    imagination = learned()
    imagination.fit(dataset)
    good = tmp_path / "good.mbo"
    imagination.save(good)
    cut = tmp_path / "cut.mbo"
    cut.write_bytes(good.read_bytes()[:-200])
    empty, text, foreign = (tmp_path / n for n in ("empty", "text", "foreign"))
    empty.write_bytes(b"")
    text.write_text("hello")
    torch.save({"weights": torch.zeros(2)}, foreign)
    for path in (cut, empty, text, foreign, tmp_path / "nowhere", tmp_path):
        with pytest.raises(mbo.LoadError):
            mbo.load_imagination(path)


def test_a_state_that_does_not_fit_its_config_is_a_load_error(dataset, tmp_path):
    imagination = learned()
    imagination.fit(dataset)
    imagination.save(tmp_path / "x.mbo")
    content = torch.load(tmp_path / "x.mbo", weights_only=True)
    del content["state"]["components"]["dynamics"]["elites"]["weights.0"]
    del content["digest"]  # as version 0.1 wrote files
    torch.save(content, tmp_path / "x.mbo")
    with pytest.raises(mbo.LoadError, match="damaged"):
        mbo.load_imagination(tmp_path / "x.mbo")


def test_a_failing_save_leaves_the_old_file(dataset, tmp_path, monkeypatch):
    imagination = learned()
    imagination.fit(dataset)
    imagination.save(tmp_path / "x.mbo")
    before = (tmp_path / "x.mbo").read_bytes()

    def fail(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(OSError, match="disk full"):
        imagination.save(tmp_path / "x.mbo")
    assert (tmp_path / "x.mbo").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.mbo"]


@pytest.mark.parametrize("length", [0, -1])
def test_a_rollout_has_a_step_at_least(dataset, length):
    imagination = line_imagination("reverse", dataset)
    with pytest.raises(mbo.CompositionError, match=f"rollout_length is {length}"):
        imagination.imagine(dataset, 3, rollout_length=length)


def test_what_is_not_fitted_cannot_be_saved_or_imagine(dataset, tmp_path):
    imagination = learned()
    with pytest.raises(mbo.NotFittedError, match="Call fit"):
        imagination.save(tmp_path / "x.mbo")
    with pytest.raises(mbo.NotFittedError, match="load_imagination"):
        imagination.imagine(dataset, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_fitted_model_that_is_given_is_shared_and_not_fitted_again(dataset):
    fitted = line_imagination("forward", dataset)
    rows = fitted.dynamics.fit_transitions
    penalised = dataclasses.replace(fitted.config, penalty=ConstantPenalty(0.5))
    imagination = penalised.create(dynamics=fitted.dynamics)
    assert not imagination.fitted
    imagination.fit(dataset)
    assert imagination.fitted
    assert imagination.dynamics is fitted.dynamics
    assert imagination.dynamics.fit_transitions is rows


def test_a_model_other_than_the_configs_or_not_fitted_is_refused(dataset):
    config = mbo.ImaginationConfig(dynamics=small_ensemble(n_models=2, n_elites=1))
    with pytest.raises(mbo.NotFittedError, match="not fitted"):
        config.create(dynamics=config.dynamics.create())
    config.dynamics.max_steps = 1
    fitted = config.create()
    fitted.fit(dataset)
    other = dataclasses.replace(fitted.config, dynamics=small_ensemble(max_steps=2))
    with pytest.raises(mbo.CompositionError, match='"max_steps": 2'):
        other.create(dynamics=fitted.dynamics)


def test_a_model_that_was_fitted_on_other_data_is_refused_before_anything_is_fitted(
    dataset,
):
    config = mbo.ImaginationConfig(dynamics=small_ensemble(max_steps=1))
    fitted = config.create()
    fitted.fit(dataset)
    imagination = config.create(dynamics=fitted.dynamics)
    with pytest.raises(mbo.CompositionError, match=r"dynamics given.*size 1.*has 2"):
        imagination.fit(line_dataset(size=2))
    assert not imagination.fitted
    # More rows of the same kind are no harm, where nobody goes on fitting the model.
    imagination.fit(line_dataset(n_episodes=30))


@pytest.mark.training
def test_a_shared_model_that_was_fitted_on_other_data_is_noticed(dataset):
    config = mbo.ImaginationConfig(dynamics=small_ensemble(), rollout_length=2)
    owner = config.create()
    owner.fit(dataset)
    other = config.create(dynamics=owner.dynamics)
    other.fit(dataset)
    wide = line_dataset(size=2)
    owner.fit(wide)  # as many rows
    for ask in (
        lambda: other.imagine(dataset, 3),
        lambda: mbo.diagnose(other, dataset),
    ):
        with pytest.raises(
            mbo.CompositionError, match="The dynamics of .*size 2.*has 1"
        ):
            ask()
    with pytest.raises(mbo.CompositionError, match="fitted on 480 transitions and got"):
        owner.dynamics.holdout_errors(mbo.RealData.of(dataset).for_models)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("rollout_policy", mbo.LearnerPolicyConfig()),
        ("dynamics", LineDynamicsConfig(direction="reverse")),
        ("termination", mbo.LearnedTerminationConfig()),
        ("halt", ReadingConfig()),
    ],
)
def test_parts_that_learn_and_are_changed_afterwards_are_told_and_not_saved(
    dataset, tmp_path, field, part
):
    imagination = line_imagination("forward", dataset)
    before = encode(imagination.config)
    setattr(imagination.config, field, part)
    for ask in (
        lambda: imagination.fit(dataset),
        lambda: imagination.imagine(dataset, 3),
    ):
        with pytest.warns(
            UserWarning, match=rf"{field} was changed.*keeps.*config\.create"
        ):
            ask()
    imagination.save(tmp_path / "x.mbo")
    assert encode(mbo.load_imagination(tmp_path / "x.mbo").config) == before


@dataclasses.dataclass()
class LateConfig(mbo.LearnedPenaltyConfig):
    @staticmethod
    def get_type() -> str:
        return "late"


@pytest.mark.filterwarnings("ignore:.* was changed from")  # as the test above says
def test_a_rule_in_whose_place_something_is_put_that_would_learn_is_kept_as_told(
    dataset,
):
    rule, penalty = BeyondTermination(limit=-100.0), ConstantPenalty(0.5)
    imagination = line_imagination(
        "forward", dataset, termination=rule, penalty=penalty
    )
    imagination.config.termination = mbo.LearnedTerminationConfig()
    imagination.config.penalty = LateConfig()
    assert imagination.termination is rule
    assert imagination.penalty is penalty
    assert imagination.imagine(dataset, 3).terminals.tolist() == [[1.0]] * 3


@pytest.mark.filterwarnings("ignore:.* was changed from")
def test_data_that_ends_is_refused_where_a_termination_came_too_late_to_learn():
    imagination = line_imagination("reverse")
    imagination.config.termination = mbo.LearnedTerminationConfig()
    with pytest.raises(mbo.TerminationRequiredError):
        imagination.fit(line_dataset(n_episodes=5, terminated=True))


def test_an_equal_part_put_into_the_config_again_is_no_other(dataset):
    imagination = line_imagination("forward", dataset)
    imagination.config.rollout_policy = mbo.UniformPolicyConfig()
    imagination.imagine(dataset, 3)


@pytest.mark.training
def test_a_learned_termination_that_a_rule_replaces_is_not_asked_any_more(dataset):
    config = mbo.ImaginationConfig(
        LineDynamicsConfig(), termination=mbo.LearnedTerminationConfig()
    )
    imagination = config.create()
    config.termination = BeyondTermination(limit=-100.0)
    imagination._learned_termination = None  # needs data that ends to be fitted
    imagination.fit(dataset)
    assert imagination.imagine(dataset, 3).terminals.tolist() == [[1.0]] * 3


def test_rules_that_are_changed_in_the_config_afterwards_are_followed(dataset):
    imagination = line_imagination("forward", dataset)
    imagination.config.termination = BeyondTermination(limit=-100.0)
    imagined = copy.deepcopy(imagination).imagine(dataset, 3)
    assert imagined.terminals.tolist() == [[1.0]] * 3


@dataclasses.dataclass()
class ValuePenalty(ConstantPenalty):
    """Asks the critic about s', when rows are drawn, and compares elites."""

    when = "drawn"
    needs_critic = True
    compares = "elites"

    @staticmethod
    def get_type() -> str:
        return "value"


@pytest.mark.parametrize(
    ("direction", "settings", "words"),
    [
        ("reverse", {}, "reverse dynamics predict the states before"),
        ("forward", {"dynamics": small_ensemble(n_elites=1)}, "is to have 1"),
        (
            "forward",
            {"rollout_policy": mbo.LearnerPolicyConfig(), "steps_per_row": 2},
            "a row holds several steps",
        ),
    ],
)
def test_a_penalty_that_is_put_into_the_config_later_is_refused_as_at_creation(
    dataset, direction, settings, words
):
    imagination = line_imagination(direction, **settings)
    imagination.fit(dataset)
    imagination.config.penalty = ValuePenalty()
    for ask in (
        lambda: imagination.fit(dataset),
        lambda: imagination.imagine(dataset, 3),
        lambda: mbo.fit(small_learner("sac"), dataset, imagination, 2, **QUIET),
        lambda: mbo.ImaginedReplayBuffer(dataset, imagination, small_learner("sac")),
    ):
        with pytest.raises(mbo.CompositionError, match=words):
            ask()


def test_rows_of_several_steps_that_are_asked_for_later_are_refused_as_at_creation(
    dataset,
):
    imagination = line_imagination("forward", dataset)
    imagination.config.steps_per_row = 2
    with pytest.raises(mbo.CompositionError, match="the rollout policy is 'uniform'"):
        mbo.ImaginedReplayBuffer(dataset, imagination, small_learner("sac"))


def test_a_penalty_for_other_actions_that_is_put_into_the_config_later_is_refused():
    choices = choice_dataset(5)
    imagination = choice_imagination()
    imagination.fit(choices)
    imagination.config.penalty = ConstantPenalty()
    with pytest.raises(mbo.CompositionError, match="'constant' is for continuous"):
        imagination.imagine(choices, 3)


@pytest.mark.training
def test_a_config_that_is_changed_for_the_next_imagination_makes_no_file_of_this_one(
    dataset, tmp_path
):
    path, ensemble = tmp_path / "first.mbo", small_ensemble(max_steps=5)
    config = mbo.ImaginationConfig(dynamics=ensemble)
    imagination = config.create()
    imagination.fit(dataset)
    units, config.dynamics.hidden_units = config.dynamics.hidden_units, [16, 16]
    with pytest.raises(mbo.CompositionError) as refused:
        imagination.save(path)
    assert "dynamics.hidden_units is [16, 16], and was [32, 32]" in str(refused.value)
    assert not path.exists()
    config.dynamics.hidden_units = units
    config.dynamics.max_steps = 7  # of no matter to what is fitted
    imagination.save(path)
    assert mbo.load_imagination(path).config.dynamics.max_steps == 7


@pytest.mark.training
def test_an_interrupted_fit_is_no_fit(dataset, monkeypatch):
    imagination = learned()
    imagination.fit(dataset)

    def interrupt(transitions):
        raise KeyboardInterrupt

    monkeypatch.setattr(imagination.rollout_policy, "fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        imagination.fit(dataset)
    assert not imagination.fitted


@pytest.mark.training
def test_a_dataset_that_the_dynamics_refuse_leaves_what_was_fitted_before(dataset):
    imagination = learned()
    with pytest.raises(mbo.DatasetError, match="expected at least"):
        imagination.fit(line_dataset(1, 5))
    assert not imagination.fitted
    imagination.fit(dataset)
    shown = repr(imagination)
    with pytest.raises(mbo.DatasetError, match="expected at least"):
        imagination.fit(line_dataset(1, 5))
    assert repr(imagination) == shown
    context = imagination.dynamics.context
    assert context.action_set is imagination.action_set
    assert len(imagination.imagine(dataset, 3))


def test_a_bad_dataset_is_refused_before_anything_is_fitted():
    dataset = line_dataset()
    dataset.episodes[0].rewards[0] = float("nan")
    imagination = line_imagination("reverse")
    with pytest.raises(mbo.DatasetError, match="NaN"):
        imagination.fit(dataset)
    assert imagination.dynamics.n_rows_fitted is None


def test_a_composition_survives_json():
    config = mbo.ImaginationConfig(
        dynamics=small_ensemble("reverse"),
        termination=BeyondTermination(limit=7.0),
        penalty=ConstantPenalty(2.0),
        rollout_interval=10,
    )
    assert mbo.ImaginationConfig.deserialize(config.serialize()) == config


def test_the_action_range_is_the_datasets_unless_told_and_is_saved(dataset, tmp_path):
    policy = ScriptedPolicyConfig(script=[3.0])
    imagination = line_imagination("forward", dataset, rollout_policy=policy)
    greatest = float(mbo.Transitions.from_dataset(dataset).actions.max())
    assert float(imagination.imagine(dataset, 5).actions.max()) == greatest
    imagination.action_range = mbo.ActionRange(
        torch.tensor([-2.0]), torch.tensor([2.0])
    )
    imagination.save(tmp_path / "wide.mbo")
    loaded = mbo.load_imagination(tmp_path / "wide.mbo")
    for each in (imagination, loaded):
        assert float(each.imagine(dataset, 5).actions.max()) == 2.0


def test_an_action_range_is_the_environments_as_gymnasium_has_it(dataset):
    space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float64)
    imagination = line_imagination("forward", dataset)
    imagination.action_range = mbo.ActionRange(space.low, space.high)
    imagined = imagination.imagine(dataset, 5)
    assert imagined.actions.dtype == torch.float32
    assert imagination.action_range.high.tolist() == [2.0]


def test_an_action_range_of_what_is_not_fitted_is_refused_and_leaves_it_so(dataset):
    """It would have counted as fitted, on 0 rows."""
    imagination = line_imagination("forward")
    with pytest.raises(mbo.NotFittedError, match="is not fitted. Call"):
        imagination.action_range = mbo.ActionRange(np.float32([-2]), np.float32([2]))
    assert not imagination.fitted
    imagination.fit(dataset)
    assert imagination.fitted


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (mbo.ActionRange(torch.zeros(2), torch.ones(2)), "for the dataset's actions"),
        (mbo.ActionChoices(3), "for the dataset's actions"),
        ((-1.0, 1.0), "for the dataset's actions"),
        (mbo.ActionRange(torch.ones(1), torch.zeros(1)), "none of low above"),
        (mbo.ActionRange(torch.tensor(0.0), torch.tensor(1.0)), "as many finite"),
        (mbo.ActionRange(-torch.full((1,), torch.inf), torch.ones(1)), "finite"),
    ],
)
def test_an_action_set_that_is_not_of_the_dataset_is_refused(dataset, wrong, words):
    imagination = line_imagination("forward", dataset)
    before = imagination.action_set
    with pytest.raises(mbo.CompositionError, match=words):
        imagination.action_set = wrong
    assert imagination.action_set is before


def test_a_ring_that_stays_empty_is_an_error_that_suspects_the_termination(dataset):
    imagination = line_imagination(
        "reverse", dataset, termination=BeyondTermination(limit=-100.0)
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    with pytest.raises(mbo.DivergedError, match="termination"):
        buffer.sample_transition_batch(4)


def ending_dataset() -> d3rlpy.dataset.ReplayBuffer:
    """Episodes of s' = s + 1 from around 0 that end where s' > 3, last states kept."""
    episodes = []
    for _ in range(60):
        observations = [np.random.uniform(-1, 1)]
        while observations[-1] <= 3:
            observations.append(observations[-1] + np.random.uniform(0.5, 1.0))
        column = np.array(observations, np.float32).reshape(-1, 1)
        actions = np.diff(column, axis=0)
        episodes.append(CompleteEpisode(column, actions, column[:-1], True))
    return d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=episodes,
        transition_picker=CompleteTransitionPicker(),
    )


@pytest.mark.training
def test_a_learned_termination_is_fitted_saved_loaded_and_ends_rollouts(tmp_path):
    dataset = ending_dataset()
    imagination = line_imagination(
        "forward", dataset, termination=mbo.LearnedTerminationConfig(n_steps=600)
    )
    assert imagination.metrics["termination_recall"] > 0.8
    imagination.save(tmp_path / "x.mbo")
    loaded = mbo.load_imagination(tmp_path / "x.mbo")
    imagined = loaded.imagine(dataset, 300)
    beyond = imagined.next_observations > 3
    agreement = (beyond.float() == imagined.terminals).float().mean()
    assert agreement > 0.95
    # Rows after an imagined terminal are dropped: it is the last of its rollout.
    ends = imagined.terminals[:-1, 0] > 0
    assert (imagined.rollout_ids[:-1][ends] != imagined.rollout_ids[1:][ends]).all()


@pytest.mark.filterwarnings("ignore:All 20 episodes that end")  # of the toys
def test_a_learned_termination_refuses_zero_filled_terminals_before_any_fit():
    imagination = line_imagination(
        "forward", termination=mbo.LearnedTerminationConfig(n_steps=10)
    )
    with pytest.raises(mbo.DatasetError, match="zeros"):
        imagination.fit(line_dataset(n_episodes=5, terminated=True))
    assert imagination.dynamics.n_rows_fitted is None
