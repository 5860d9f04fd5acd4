"""Small runs of every sort that trains, and everything that a run leaves, to compare."""

import io
from pathlib import Path
from typing import Any, NamedTuple, Optional

import d3rlpy
import numpy as np
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo_mobile import BellmanSpread, MOBILEConfig
from d3rlpy_mbo_mopo import MOPOConfig
from d3rlpy_mbo_morel import DisagreementHaltConfig
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig
from toys import choice_dataset, line_dataset, small_ensemble, small_learner

SORTS = [
    "learner alone", "SAC + MOPO", "SAC + RAMBO", "BCQ + ROMI", "two imaginations",
    "MOBILE that halts", "COMBO", "EDAC", "Decision Transformer + ROMI", "choices",
]  # fmt: skip


class Killed(BaseException):
    """What nobody catches: as a kill, but the test goes on."""


class Left(NamedTuple):
    """What a run leaves: weights, metrics but for times, and where generators stand."""

    weights: list[Any]
    metrics: list[tuple[int, dict[str, float]]]
    next_numbers: tuple[float, float]


def mopo() -> mbo.Imagination:
    dynamics = small_ensemble("forward", batch_size=64, max_steps=21)
    settings = {"rollout_batch_size": 30, "rollout_interval": 3}
    return MOPOConfig(dynamics=dynamics, **settings).create()


def rambo() -> mbo.Imagination:
    dynamics = small_ensemble("forward", batch_size=64, max_steps=21)
    updater = AdversarialUpdaterConfig(update_interval=3, n_updates=4, batch_size=16)
    settings = {"rollout_batch_size": 30, "rollout_interval": 3}
    return RAMBOConfig(dynamics=dynamics, dynamics_updater=updater, **settings).create()


def romi() -> mbo.Imagination:
    dynamics = small_ensemble("reverse", batch_size=64, max_steps=21)
    policy = CVAEPolicyConfig(hidden_units=16, n_steps=5)
    settings = {"rollout_batch_size": 30}
    return ROMIConfig(dynamics=dynamics, rollout_policy=policy, **settings).create()


def mobile() -> mbo.Imagination:
    """With a penalty when drawn and a halt."""
    return MOBILEConfig(
        dynamics=small_ensemble("forward", batch_size=64, max_steps=21),
        penalty=BellmanSpread(n_samples=2),
        halt=DisagreementHaltConfig(beta=1.0, offset=-1e4),
        rollout_batch_size=30,
        rollout_interval=3,
    ).create()


def parts(sort: str) -> tuple[Any, list[mbo.Imagination]]:
    if sort == "learner alone":
        scaler = d3rlpy.preprocessing.StandardObservationScaler()
        return small_learner("td3_plus_bc", observation_scaler=scaler), []
    if sort == "BCQ + ROMI":
        return small_learner("bcq"), [romi()]
    if sort == "MOBILE that halts":
        return small_learner("mobile_sac"), [mobile()]
    if sort == "choices":
        dynamics = small_ensemble("forward", batch_size=64, max_steps=21)
        settings = {"rollout_batch_size": 30, "rollout_interval": 3}
        composition = mbo.ImaginationConfig(dynamics=dynamics, **settings)
        return small_learner("discrete_cql"), [composition.create()]
    if sort == "COMBO":
        return small_learner("combo"), [rambo()]
    if sort == "EDAC":
        return small_learner("edac", n_critics=3), [mopo()]
    if sort == "Decision Transformer + ROMI":
        sizes = {"context_size": 3, "max_timestep": 24, "num_layers": 1}
        return small_learner("decision_transformer", **sizes), [romi()]
    imaginations = {
        "SAC + MOPO": [mopo],
        "SAC + RAMBO": [rambo],
        "two imaginations": [romi, mopo],
    }
    return small_learner("sac"), [make() for make in imaginations[sort]]


def run(
    sort: str, logs: Path, checkpoint: Optional[Path] = None, **settings: Any
) -> Left:
    """Trains 6 steps in epochs of 3; a checkpoint wherever there can be one."""
    d3rlpy.seed(3)
    learner, imaginations = parts(sort)
    if checkpoint is not None:
        settings = {"checkpoint": checkpoint, "checkpoint_interval": 1, **settings}
    if len(imaginations) > 1:
        settings["real_ratio"] = 0.5
    metrics = mbo.fit(
        learner,
        settings.pop("dataset", None) or dataset_of(learner),
        imaginations,
        settings.pop("n_steps", 6),
        n_steps_per_epoch=settings.pop("n_steps_per_epoch", 3),
        logger_adapter=d3rlpy.logging.FileAdapterFactory(str(logs)),
        show_progress=False,
        **settings,
    )
    return Left(
        [networks(learner), *[each.checkpoint_state() for each in imaginations]],
        [(epoch, without_times(each)) for epoch, each in metrics],
        (float(torch.rand(1)), float(np.random.rand())),
    )


def dataset_of(learner: Any) -> d3rlpy.dataset.ReplayBuffer:
    discrete = learner.get_action_type() == d3rlpy.ActionSpace.DISCRETE
    return choice_dataset() if discrete else line_dataset()


def networks(learner: Any) -> Any:
    content = io.BytesIO()
    learner.impl.save_model(content)
    content.seek(0)
    return torch.load(content)


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if not k.startswith("time_")}


def same(a: Any, b: Any) -> bool:
    """Whether two nests of tensors and values are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b or (a != a and b != b))


def log_files(logs: Path) -> dict[str, bytes]:
    """What the one run in a folder of logs wrote, but for times and pickles."""
    (folder,) = logs.iterdir()
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if not path.name.startswith("time_") and path.suffix != ".d3"
    }
