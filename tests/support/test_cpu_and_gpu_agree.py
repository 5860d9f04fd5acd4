"""What a GPU computes is what a CPU computes.

Where there is none, the device is one of the CPU's numbers that do not mix with the CPU's
own (`another_device`): then what is tested is that everything is moved to where it is used.

The random numbers of both come from the CPU (`SameDraws`), so that whole rollouts can be
compared, draws and all. Tolerances are shares of a column's spread: 1e-4 for a model that
was fitted on the CPU and moved; 1e-2 on average, over rollouts of one step, for one that
was fitted where it is, since 60 steps of Adam spread what rounding begins. Products are
taken in full float32: d3rlpy asks for TF32 where it finds a GPU.
D3RLPY_MBO_TEST_DEVICE names another device.
"""

import contextlib
import copy
import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import d3rlpy
import pytest
import torch
from same_draws import SameDraws

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry.discovery import registry
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo.support.cuda_graphs import recorded
from d3rlpy_mbo.testing.another_device import ANOTHER_DEVICE, another_device
from d3rlpy_mbo.testing.line_world import LineWorld, line_dataset, line_learner
from d3rlpy_mbo.testing.line_world import line_dynamics as line_model
from d3rlpy_mbo.testing.subjects import shortened

DEVICE = os.environ.get("D3RLPY_MBO_TEST_DEVICE", "")
if not DEVICE:
    DEVICE = "cuda:0" if torch.cuda.is_available() else ANOTHER_DEVICE

pytestmark = [
    pytest.mark.training,
    # The toy's ends all come after 25 steps, as time limits would.
    pytest.mark.filterwarnings("ignore:All 20 episodes that end:UserWarning"),
    # MOReL's settings are not the toy's.
    pytest.mark.filterwarnings("ignore:.*halt:UserWarning"),
]

MOVED, FITTED = 1e-4, 1e-2
N_ROLLOUTS = 200
# A CUDA graph is recorded after some steps; a simulated device shows all it has in two.
N_STEPS = 4 if DEVICE == ANOTHER_DEVICE else 12


def line_dynamics(direction: Any = "forward") -> mbo.ProbabilisticEnsembleConfig:
    """Returns an ensemble with two elites: MOBILE asks for their spread."""
    return dataclasses.replace(line_model(direction), n_models=3, n_elites=2)


def barely_fitted(policy: Any) -> Any:
    """Returns a rollout policy that rounding has no time to change.

    On a CPU weights that differ by 1e-6 are 4e-7 of a CVAE's actions apart after 10
    steps, 3e-4 after 20 and half of them after 60.
    """
    policy = shortened(policy)
    if hasattr(policy, "n_steps"):
        policy.n_steps = 10
    return policy


def compositions() -> dict[str, mbo.ImaginationConfig]:
    """Returns one for each imagination, rollout policy and penalty that is installed."""
    known, found = registry(), dict[str, mbo.ImaginationConfig]()
    for name in known.names("imagination"):
        config = shortened(mbo.get_component("imagination", name)())
        config.dynamics = line_dynamics(config.dynamics.direction)
        config.rollout_policy = barely_fitted(config.rollout_policy)
        found[name] = config
    for name in known.names("rollout_policy"):
        policy = barely_fitted(mbo.get_component("rollout_policy", name)())
        for direction in policy.create().directions:
            found[f"{name}, {direction}"] = mbo.ImaginationConfig(
                dynamics=line_dynamics(direction),
                rollout_policy=policy,
            )
    for name in known.names("penalty"):
        found[name] = mbo.ImaginationConfig(
            dynamics=line_dynamics(),
            rollout_policy=mbo.UniformPolicyConfig(),
            penalty=mbo.get_component("penalty", name)(),
        )
    found["learned termination"] = mbo.ImaginationConfig(
        dynamics=line_dynamics(),
        rollout_policy=mbo.UniformPolicyConfig(),
        termination=mbo.LearnedTerminationConfig(n_steps=50),
    )
    return found


COMPOSITIONS = compositions()
every_composition = pytest.mark.parametrize("name", list(COMPOSITIONS))


def dataset(name: str) -> Any:
    return line_dataset(terminated=COMPOSITIONS[name].termination is not None)


def learner(device: str) -> Any:
    """Returns the same built learner on a device."""
    made = line_learner()
    moved = made.config.create(device)
    moved.create_impl((3,), 2)
    for name, module in made.impl.modules.get_torch_modules().items():
        getattr(moved.impl.modules, name).load_state_dict(module.state_dict())
    return moved


@functools.cache
def model(direction: mbo.Direction, terminated: bool, device: str) -> mbo.Dynamics:
    """Returns a fitted model, the same one to all who do not change it."""
    config = mbo.ImaginationConfig(
        dynamics=line_dynamics(direction),
        rollout_policy=mbo.UniformPolicyConfig(),
        termination=mbo.NoTermination() if terminated else None,
    )
    d3rlpy.seed(1)
    with SameDraws():
        imagination = config.create(device)
        imagination.fit(line_dataset(terminated=terminated))
    return imagination.dynamics


def created(config: mbo.ImaginationConfig, device: str) -> mbo.Imagination:
    """Returns one whose model is fitted already, unless it changes it."""
    shared = None
    if config.dynamics_updater is None:
        terminated = config.termination is not None
        shared = model(config.dynamics.direction, terminated, device)
    d3rlpy.seed(1)
    with SameDraws():
        return config.create(device, dynamics=shared)


def fitted(name: str, device: str, rollout_length: int = 3) -> mbo.Imagination:
    config = copy.deepcopy(COMPOSITIONS[name])
    config.rollout_length = rollout_length
    imagination = created(config, device)
    with SameDraws():
        imagination.fit(dataset(name))
    return imagination


def imagined(imagination: mbo.Imagination, name: str, device: str) -> mbo.Transitions:
    d3rlpy.seed(2)
    asked = learner(device) if imagination.needs_learner else None
    with SameDraws():
        return imagination.imagine(dataset(name), N_ROLLOUTS, asked)


def trained(algorithm: Any, imagination: mbo.Imagination, data: Any = None) -> Any:
    """Trains for two epochs; the history."""
    return mbo.fit(
        algorithm,
        line_dataset() if data is None else data,
        imagination,
        n_steps=N_STEPS,
        n_steps_per_epoch=N_STEPS // 2,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )


def assert_agree(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    found, expected = found.detach().cpu(), expected.detach()
    assert found.shape == expected.shape
    scale = expected.std().nan_to_num(0.0) + expected.abs().mean() + 1e-3
    assert float((found - expected).abs().max() / scale) <= tolerance


def assert_rows_agree(
    found: mbo.Transitions, expected: mbo.Transitions, tolerance: float
) -> None:
    for name in ("observations", "actions", "rewards", "next_observations"):
        assert_agree(getattr(found, name), getattr(expected, name), tolerance)
    assert torch.equal(found.terminals.cpu(), expected.terminals)


@pytest.fixture(autouse=True)
def device_of_this_machine() -> Iterator[None]:
    with another_device() if DEVICE == ANOTHER_DEVICE else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@every_composition
def test_fitted_on_the_cpu_it_imagines_the_same_on_the_device(
    name: str, tmp_path: Path
) -> None:
    here = fitted(name, "cpu:0")
    here.save(tmp_path / "model.mbo")
    there = mbo.load_imagination(tmp_path / "model.mbo", device=DEVICE)

    assert_rows_agree(
        imagined(there, name, DEVICE), imagined(here, name, "cpu:0"), MOVED
    )


@every_composition
def test_fitted_on_the_device_it_imagines_nearly_the_same(name: str) -> None:
    there, here = (
        imagined(fitted(name, device, rollout_length=1), name, device)
        for device in (DEVICE, "cpu:0")
    )

    for column in ("observations", "actions", "rewards", "next_observations"):
        found, expected = getattr(there, column), getattr(here, column)
        difference = (found.cpu() - expected).abs().mean()
        assert float(difference / (expected.abs().mean() + 1e-3)) <= FITTED


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_likelihoods_losses_and_gradients_agree(direction: Any, tmp_path: Path) -> None:
    rows = mbo.Transitions.from_dataset(line_dataset()).for_models()
    here = line_dynamics(direction).create()
    here.fit(rows)
    there = line_dynamics(direction).create(DEVICE)
    there.load_state_dict(here.state_dict())
    gradients = []
    for dynamics in (here, there):
        moved = rows.to(dynamics.device)
        loss = dynamics.training_loss(moved) - dynamics.log_prob(moved).mean()
        gradients.append(torch.autograd.grad(loss, list(dynamics.parameters())))

    for expected, found in zip(*gradients, strict=True):
        assert_agree(found, expected, MOVED)
    assert_agree(there.log_prob(rows.to(DEVICE)), here.log_prob(rows), MOVED)
    expected = torch.tensor(list(here.holdout_errors(rows).values()))
    assert_agree(
        torch.tensor(list(there.holdout_errors(rows).values())), expected, MOVED
    )


@pytest.mark.parametrize("name", registry().names("dynamics_updater"))
def test_an_updater_changes_the_model_alike(name: str) -> None:
    updater = shortened(mbo.get_component("dynamics_updater", name)())
    parameters = []
    for device in ("cpu:0", DEVICE):
        d3rlpy.seed(1)
        with SameDraws():
            imagination = mbo.ImaginationConfig(
                dynamics=line_dynamics(), dynamics_updater=updater
            ).create()
            imagination.fit(line_dataset())
            moved = mbo.ImaginationConfig(
                dynamics=line_dynamics(), dynamics_updater=updater
            ).create(device)
            moved.fit(line_dataset())
            moved.dynamics.load_state_dict(imagination.dynamics.state_dict())
            rows = mbo.Transitions.from_dataset(line_dataset()).for_models()
            d3rlpy.seed(2)
            moved.update_dynamics(rows, learner(device))
        parameters.append([each.detach() for each in moved.dynamics.parameters()])

    for expected, found in zip(*parameters, strict=True):
        assert_agree(found, expected, FITTED)


@pytest.mark.parametrize("coef", [0.0, 0.3])
def test_recorded_updates_are_the_same_updates(coef: float) -> None:
    if "cuda" not in DEVICE:
        pytest.skip("graphs are CUDA's")
    updater = apply_settings(
        mbo.get_component("dynamics_updater", "adversarial")(),
        {"n_updates": 12, "coef": coef, "batch_size": 32},
    )
    config = mbo.ImaginationConfig(dynamics=line_dynamics(), dynamics_updater=updater)
    rows = mbo.Transitions.from_dataset(line_dataset()).for_models()
    results = []
    for capturable in (False, True):
        d3rlpy.seed(1)
        imagination = config.create(DEVICE)
        imagination.fit(line_dataset())
        dynamics: Any = imagination.dynamics
        dynamics.capturable = capturable
        d3rlpy.seed(2)
        for _ in range(2):
            imagination.update_dynamics(rows, learner(DEVICE))
        results.append(
            ([p.detach() for p in dynamics.parameters()], imagination.metrics)
        )

    (expected, logged), (found, logged_too) = results
    for each, other in zip(expected, found, strict=True):
        assert_agree(other, each.cpu(), MOVED)
    assert logged_too == pytest.approx(logged, rel=1e-3)


@pytest.mark.parametrize("name", registry().names("learner"))
@pytest.mark.parametrize("compile_graph", [False, True])
def test_our_learners_train_or_say_that_they_do_not_compiled(
    name: str, compile_graph: bool
) -> None:
    if compile_graph and "cuda" not in DEVICE:
        pytest.skip("graphs are CUDA's")
    config = mbo.get_component("learner", name)(
        batch_size=32, compile_graph=compile_graph
    )
    config.action_scaler = d3rlpy.preprocessing.MinMaxActionScaler()
    imagination = created(COMPOSITIONS["mopo"], DEVICE)
    history, refused = [], ""
    try:
        history = trained(config.create(DEVICE), imagination)
    except mbo.D3RLPyMBOError as error:
        refused = str(error)

    assert history or (compile_graph and "compile_graph" in refused)
    assert all(v == v for _, metrics in history for v in metrics.values())


@pytest.mark.parametrize(
    ("name", "imagined_by"),
    [
        ("DiscreteCQL", "mopo"),
        ("DiscreteCQL", "rambo"),
        ("DiscreteSAC", "uniform, reverse"),
        ("CalQL", "uniform, reverse"),
        ("DecisionTransformer", "uniform, reverse"),
    ],
)
def test_choices_returns_and_trajectories_are_moved(
    name: str, imagined_by: str
) -> None:
    choices = name.startswith("Discrete")
    config = getattr(d3rlpy.algos, f"{name}Config")(batch_size=16)
    if not choices:
        config.action_scaler = d3rlpy.preprocessing.MinMaxActionScaler()
    algorithm = config.create(DEVICE)
    data = LineWorld(choices=choices).line_dataset()
    trained(algorithm, COMPOSITIONS[imagined_by].create(DEVICE), data)

    assert algorithm.grad_step == N_STEPS


def test_tensors_of_two_places_do_not_mix() -> None:
    here, there = torch.ones(2), torch.ones(2, device=DEVICE)

    assert str(there.device) == DEVICE
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(TypeError):
        there.numpy()
    assert torch.equal((here.to(DEVICE) + there).cpu(), torch.full((2,), 2.0))


@pytest.mark.parametrize("name", registry().names("imagination"))
@pytest.mark.parametrize("compile_graph", [False, True])
def test_a_learner_trains_on_the_device(name: str, compile_graph: bool) -> None:
    if compile_graph and "cuda" not in DEVICE:
        pytest.skip("graphs are CUDA's")
    config = shortened(mbo.get_component("imagination", name)())
    config.dynamics = line_dynamics(config.dynamics.direction)
    scaler = d3rlpy.preprocessing.MinMaxActionScaler()
    sac = d3rlpy.algos.SACConfig(
        batch_size=32, compile_graph=compile_graph, action_scaler=scaler
    ).create(DEVICE)
    history = trained(sac, created(config, DEVICE))

    assert sac.grad_step == N_STEPS
    assert all(value == value for _, metrics in history for value in metrics.values())


def test_a_recorded_step_is_the_same_step() -> None:
    if "cuda" not in DEVICE:
        pytest.skip("graphs are CUDA's")
    total = torch.zeros(3, device=DEVICE)

    def step(given: torch.Tensor) -> torch.Tensor:
        total.add_(given.sum(dim=0))
        return 2 * given

    replayed = recorded(step)
    for size in (4, 4, 4, 4, 2, 4):  # a smaller batch between two replays
        given = torch.randn(size, 3, device=DEVICE)
        before = total.clone()
        assert torch.equal(replayed(given), 2 * given)
        torch.testing.assert_close(total, before + given.sum(dim=0))


def test_a_diagnosis_agrees() -> None:
    name = registry().names("imagination")[0]
    with SameDraws():
        here, there = (
            json.loads(
                mbo.diagnose(fitted(name, device), dataset(name), seed=0).to_json()
            )
            for device in ("cpu:0", DEVICE)
        )

    for expected, found in zip(here["verdicts"], there["verdicts"], strict=True):
        assert (found["subject"], found["ok"]) == (expected["subject"], expected["ok"])
