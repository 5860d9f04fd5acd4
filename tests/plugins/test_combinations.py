"""Any imagination with any learner: N + M pieces of code, N times M combinations."""

import math

import d3rlpy
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo_combo import COMBOImaginationConfig
from d3rlpy_mbo_mobile import BellmanSpread, MOBILEConfig
from d3rlpy_mbo_mopo import MOPOConfig
from d3rlpy_mbo_morel import DisagreementHaltConfig, MOReLConfig
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig
from toys import QUIET, line_dataset, small_ensemble, small_learner

pytestmark = pytest.mark.training

IMAGINATIONS = {
    "romi": lambda: ROMIConfig(
        dynamics=small_ensemble("reverse", batch_size=64),
        rollout_policy=CVAEPolicyConfig(hidden_units=16, n_steps=20),
        real_ratio=0.5,
    ),
    "mopo": lambda: MOPOConfig(dynamics=small_ensemble(batch_size=64)),
    "rambo": lambda: RAMBOConfig(
        dynamics=small_ensemble(batch_size=64),
        dynamics_updater=AdversarialUpdaterConfig(
            update_interval=100, n_updates=5, batch_size=32
        ),
    ),
    "morel": lambda: MOReLConfig(
        dynamics=small_ensemble(batch_size=64),
        halt=DisagreementHaltConfig(beta=0.0, offset=-1e3),
        real_ratio=0.5,
    ),
    "combo": lambda: COMBOImaginationConfig(dynamics=small_ensemble(batch_size=64)),
    "mobile": lambda: MOBILEConfig(
        dynamics=small_ensemble(batch_size=64), penalty=BellmanSpread(n_samples=2)
    ),
}
LEARNERS = ["sac", "cql", "combo", "iql", "td3_plus_bc", "mobile_sac"]


def trained(imagination, learner, n_steps):
    """The metrics of a run on the toy world."""
    d3rlpy.seed(0)
    config = IMAGINATIONS[imagination]()
    config.rollout_batch_size, config.rollout_interval = 100, 50
    ((_, metrics),) = mbo.fit(
        small_learner(learner),
        line_dataset(10, 20),
        config.create(),
        n_steps=n_steps,
        n_steps_per_epoch=n_steps,
        **QUIET,
    )
    return {
        name: value
        for name, value in metrics.items()
        # An updater that had no update yet, a rollout that nobody survived.
        if "growth" not in name and not name.startswith("rambo_")
    }


@pytest.mark.slow
@pytest.mark.parametrize("learner", [*LEARNERS, "edac"])
@pytest.mark.parametrize("imagination", IMAGINATIONS)
def test_every_combination_trains_for_200_steps_and_stays_finite(imagination, learner):
    metrics = trained(imagination, learner, 200)
    assert {k for k, v in metrics.items() if not math.isfinite(v)} == set()


PAIRS = list(zip(IMAGINATIONS, LEARNERS[2:] + LEARNERS[:2], strict=True))


@pytest.mark.parametrize(("imagination", "learner"), PAIRS)
def test_each_imagination_and_each_learner_trains_with_another_papers(
    imagination, learner
):
    metrics = trained(imagination, learner, 3)
    assert {k for k, v in metrics.items() if not math.isfinite(v)} == set()
