"""Our own components pass the checks that everybody's must, through the public door."""

from d3rlpy.models.encoders import VectorEncoderFactory

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry import discovery
from d3rlpy_mbo.tasks.recipes import TASKS
from d3rlpy_mbo.testing import parametrize_with_checks
from d3rlpy_mbo_combo import COMBOConfig, COMBOImaginationConfig
from d3rlpy_mbo_edac import EDACConfig
from d3rlpy_mbo_mobile import BellmanSpread, MOBILEConfig, MOBILESACConfig
from d3rlpy_mbo_mopo import Disagreement, MaxAleatoric, MeanAleatoric, MOPOConfig
from d3rlpy_mbo_morel import DisagreementHaltConfig, MOReLConfig
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig
from toys import small_ensemble

ENCODER = VectorEncoderFactory([16])
CLONED = mbo.BehaviorCloningPolicyConfig(hidden_units=[32], n_steps=50)
CVAE = CVAEPolicyConfig(hidden_units=32, n_steps=20, discrete=CLONED)
ADVERSARY = AdversarialUpdaterConfig(update_interval=1, batch_size=32, n_updates=5)
STATELESS = [
    mbo.NoTermination,
    mbo.AntTermination,
    mbo.HopperTermination,
    mbo.HumanoidTermination,
    mbo.InvertedDoublePendulumTermination,
    mbo.AcrobotTermination,
    mbo.CartPoleTermination,
    mbo.MountainCarTermination,
    mbo.ICUSepsisTermination,
    mbo.InvertedPendulumTermination,
    mbo.Walker2dTermination,
    mbo.HalfCheetahJumpReward,
    mbo.AntAngleReward,
    mbo.HIVReward,
    MaxAleatoric,
    MeanAleatoric,
    Disagreement,
    BellmanSpread,
]
LEARNED = [
    small_ensemble("forward"),
    small_ensemble("reverse"),
    mbo.UniformPolicyConfig(),
    mbo.LearnerPolicyConfig(),
    CLONED,
    mbo.LearnedTerminationConfig(hidden_units=[32], n_steps=50),
    CVAE,
    ADVERSARY,
    mbo.ImaginationConfig(dynamics=small_ensemble(), rollout_batch_size=50),
    MOPOConfig(dynamics=small_ensemble(), rollout_batch_size=50),
    ROMIConfig(
        dynamics=small_ensemble("reverse"), rollout_policy=CVAE, rollout_batch_size=50
    ),
    COMBOImaginationConfig(dynamics=small_ensemble(), rollout_batch_size=50),
    MOBILEConfig(
        dynamics=small_ensemble(),
        penalty=BellmanSpread(n_samples=2),
        rollout_batch_size=50,
    ),
    MOBILESACConfig(actor_encoder_factory=ENCODER, critic_encoder_factory=ENCODER),
    DisagreementHaltConfig(offset=-1e4),
    MOReLConfig(
        dynamics=small_ensemble(),
        halt=DisagreementHaltConfig(beta=1.0, offset=-1e4),
        rollout_batch_size=50,
    ),
    COMBOConfig(
        n_action_samples=2,
        actor_encoder_factory=ENCODER,
        critic_encoder_factory=ENCODER,
    ),
    EDACConfig(
        n_critics=3, actor_encoder_factory=ENCODER, critic_encoder_factory=ENCODER
    ),
    RAMBOConfig(
        dynamics=small_ensemble(), dynamics_updater=ADVERSARY, rollout_batch_size=50
    ),
]


@parametrize_with_checks([*STATELESS, *LEARNED, *TASKS])
def test_our_components_keep_their_contracts(component, check):
    check(component)


def test_every_component_that_we_register_is_checked():
    checked = {c if isinstance(c, type) else type(c) for c in [*STATELESS, *LEARNED]}
    ours = {
        component
        for plugin in discovery.registry().plugins
        if plugin.distribution == "d3rlpy-mbo"
        for component in plugin.components
    }
    assert ours == {*checked, *TASKS}
