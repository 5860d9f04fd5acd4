"""Which of d3rlpy's algorithms train on imagined rows: the list is d3rlpy's own."""

import json
import warnings
from typing import Any

import d3rlpy
import gymnasium
import minari
import numpy as np
import pytest
from click.testing import CliRunner
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from d3rlpy_mbo import learners
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.learners.names import learner_config
from d3rlpy_mbo.registry.known_learners import is_of_d3rlpy, known_learners
from d3rlpy_mbo_mobile import BellmanSpread, MOBILEConfig
from d3rlpy_mbo_mopo import MOPOConfig
from d3rlpy_mbo_morel import DisagreementHaltConfig, MOReLConfig
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig
from toys import (
    DISCRETE,
    LEARNERS,
    QUIET,
    choice_dataset,
    choice_imagination,
    small_ensemble,
    small_learner,
)

# Cal-QL and the transformers, whose own tests are beside what they need.
OTHERS = {"cal_ql", "decision_transformer", "discrete_decision_transformer", "tacr"}

# They learn nothing, or judge another that they have to be given.
NO_LEARNERS = {"random_policy", "discrete_random_policy", "fqe", "discrete_fqe"}


def test_every_algorithm_of_d3rlpy_trains_here():
    theirs = {name for name, each in known_learners().items() if is_of_d3rlpy(each)}
    assert theirs - NO_LEARNERS == {*LEARNERS, *DISCRETE} | OTHERS
    assert len(theirs - NO_LEARNERS) == 26
    for name in theirs - NO_LEARNERS:
        learners.check(learner_config(name)().create())


@pytest.fixture(scope="module")
def real() -> mbo.RealData:
    d3rlpy.seed(0)
    return mbo.RealData.of(choice_dataset(20))


@pytest.mark.training
@pytest.mark.parametrize("name", DISCRETE)
def test_an_unbuilt_discrete_learner_trains_through_plain_fit(name, real):
    romi = choice_imagination()
    romi.fit(real)
    learner = small_learner(name)
    buffer = mbo.ImaginedReplayBuffer(real, romi, learner)
    learner.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)
    assert learner.grad_step == 3
    batch = buffer.sample_transition_batch(64)
    assert batch.actions.dtype == np.float32
    assert set(batch.actions.flatten().tolist()) == {0, 1, 2}


@pytest.mark.training
def test_a_discrete_transformer_trains_on_trajectories_that_rollouts_lead_into(real):
    romi = choice_imagination(real_ratio=0.0)
    romi.fit(real)
    learner = small_transformer()
    buffer = mbo.ImaginedReplayBuffer(real, romi, learner)
    learner.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)
    assert learner.grad_step == 3
    batch = buffer.sample_trajectory_batch(20, 3)
    assert batch.actions.shape == (20, 3, 1)
    assert set(batch.actions.flatten().tolist()) == {0, 1, 2}


def small_transformer() -> Any:
    sizes = {"num_layers": 1, "num_heads": 1}
    return small_learner(
        "discrete_decision_transformer", context_size=3, max_timestep=50, **sizes
    )


CLONED = mbo.BehaviorCloningPolicyConfig(hidden_units=[16], n_steps=3)
TINY = small_ensemble(n_models=2, n_elites=1, max_steps=3)
SIZE = {"rollout_batch_size": 50, "rollout_length": 2}
PAIR = small_ensemble(n_models=2, n_elites=2, max_steps=3)
HALT = DisagreementHaltConfig(beta=0.5, offset=-1e4)
ADVERSARY = AdversarialUpdaterConfig(update_interval=1, n_updates=2, batch_size=8)
COMPOSITIONS: dict[str, Any] = {
    "romi": ROMIConfig(
        dynamics=small_ensemble("reverse", max_steps=3),
        rollout_policy=CVAEPolicyConfig(discrete=CLONED),
        **SIZE,
    ),
    "fomi": ROMIConfig(
        dynamics=TINY, rollout_policy=CVAEPolicyConfig(discrete=CLONED), **SIZE
    ),
    "mopo": MOPOConfig(dynamics=TINY, rollout_interval=1, **SIZE),
    "mbpo": MOPOConfig(dynamics=TINY, rollout_interval=1, penalty=None, **SIZE),
    "rambo": RAMBOConfig(dynamics=TINY, dynamics_updater=ADVERSARY, **SIZE),
    "morel": MOReLConfig(dynamics=TINY, halt=HALT, rollout_interval=1, **SIZE),
    "mobile": MOBILEConfig(dynamics=PAIR, penalty=BellmanSpread(n_samples=2), **SIZE),
}


def trained(name: str, compositions: list[str], real: mbo.RealData) -> dict[str, float]:
    imaginations = [COMPOSITIONS[each].create() for each in compositions]
    ratio = None if len(imaginations) == 1 else 0.5
    learner = small_learner(name)
    epochs = mbo.fit(learner, real, imaginations, 2, real_ratio=ratio, **QUIET)
    return epochs[-1][1]


@pytest.mark.training
@pytest.mark.filterwarnings("ignore:The halt .* stopped not one rollout")
@pytest.mark.parametrize("composition", [*COMPOSITIONS, "romi+mopo"])
def test_every_composition_trains_every_discrete_learner_in_one_call(composition, real):
    for name in DISCRETE:
        parts = composition.split("+")
        if composition in ("rambo", "mobile") and name == "discrete_bc":
            with pytest.raises(mbo.CompositionError, match="DiscreteBC has no critic"):
                trained(name, parts, real)
            continue
        metrics = trained(name, parts, real)
        losses = {k: value for k, value in metrics.items() if "loss" in k}
        assert losses
        assert np.isfinite(list(losses.values())).all(), (name, losses)


@pytest.mark.training
def test_the_same_seed_is_the_same_discrete_learner_bit_for_bit(real):
    answers = []
    for _ in range(2):
        d3rlpy.seed(5)
        learner = small_learner("discrete_cql")
        imaginations = [COMPOSITIONS[each].create() for each in ("romi", "mopo")]
        mbo.fit(learner, real, imaginations, 3, real_ratio=0.5, **QUIET)
        answers.append(learner.predict_value(np.zeros((3, 1)), np.arange(3)))
    assert answers[0].tolist() == answers[1].tolist()


@pytest.mark.training
def test_what_d3rlpy_evaluates_discrete_learners_with_works_on_the_buffer(real):
    romi = choice_imagination()
    romi.fit(real)
    learner = small_learner("discrete_bcq")
    buffer = mbo.ImaginedReplayBuffer(real, romi, learner)
    episodes = buffer.episodes[:2]
    evaluators = {
        "match": d3rlpy.metrics.DiscreteActionMatchEvaluator(episodes),
        "td_error": d3rlpy.metrics.TDErrorEvaluator(episodes),
        **mbo.imagination_evaluators(buffer),
    }
    quiet = {**QUIET, "n_steps": 2, "n_steps_per_epoch": 2}
    ((_, metrics),) = learner.fit(buffer, evaluators=evaluators, **quiet)
    assert 0 <= metrics["match"] <= 1
    assert np.isfinite(metrics["td_error"])
    fqe = d3rlpy.ope.DiscreteFQE(learner, d3rlpy.ope.FQEConfig(batch_size=16))
    fqe.fit(mbo.ImaginedReplayBuffer(real, romi), **quiet)
    assert np.isfinite(fqe.predict_value(np.zeros((3, 1)), np.arange(3))).all()


@pytest.fixture(scope="module")
def cart_pole(tmp_path_factory) -> Any:
    """A few random episodes of CartPole as a local Minari dataset."""
    root = tmp_path_factory.mktemp("cart_pole")
    env, rng, episodes = gymnasium.make("CartPole-v1"), np.random.default_rng(0), []
    for seed in range(20):
        observations, ended = [env.reset(seed=seed)[0]], False
        columns: dict[str, list[Any]] = {
            name: [] for name in ("actions", "rewards", "terminations", "truncations")
        }
        while not ended:
            action = int(rng.integers(2))
            observation, reward, terminal, truncated, _ = env.step(action)
            observations.append(observation)
            for name, value in zip(
                columns, (action, reward, terminal, truncated), strict=True
            ):
                columns[name].append(value)
            ended = terminal or truncated
        columns["actions"] = np.array(columns["actions"])  # type: ignore[assignment]
        episodes.append(EpisodeBuffer(observations=np.array(observations), **columns))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        minari.create_dataset_from_buffers("cartpole/random-v0", episodes, env=env)
    return root


@pytest.mark.training
@pytest.mark.parametrize("name", [*DISCRETE, "discrete_decision_transformer"])
def test_a_discrete_learner_trains_from_the_command_line_by_name(
    name, cart_pole, monkeypatch, tmp_path
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(cart_pole))
    arguments = [
        "train", "--dataset", "cartpole/random-v0", "--learner", name,
        "--imagination", "romi", "--n-steps", "2", "--n-trials", "1",
        "--out", str(tmp_path / "run"), "--set", "learner.batch_size=16",
    ]  # fmt: skip
    for setting in (
        "termination=never", "rollout_batch_size=50", "dynamics.max_steps=3",
        "dynamics.n_models=2", "dynamics.n_elites=1", "dynamics.hidden_units=[16]",
        "dynamics.weight_decays=[0, 0]", "rollout_policy.discrete.n_steps=3",
    ):  # fmt: skip
        arguments += ["--set", f"imagination.{setting}"]
    if name == "discrete_decision_transformer":
        for setting in ("num_layers=1", "context_size=3", "max_timestep=500"):
            arguments += ["--set", f"learner.{setting}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["learner"]["type"] == name
    assert written["evaluations"][-1]["return"] > 5  # CartPole lasts 8 steps or more
    policy = written["imagination"]["params"]["rollout_policy"]["params"]
    assert policy["discrete"]["type"] == "behavior_cloning"
    assert mbo.load_imagination(tmp_path / "run" / "imagination.mbo").fitted
