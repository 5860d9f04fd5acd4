import dataclasses
import json
import math
from typing import Any, Literal, Optional, Union

import d3rlpy
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.settings import apply_settings, parse_settings
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig


def test_values_are_json_where_they_parse_and_strings_otherwise():
    parsed = parse_settings(
        (
            "learner.gamma=0.5",
            "imagination.rollout_policy=uniform",
            'learner.x={"a": 1}',
        )
    )
    assert parsed["learner"] == {"gamma": 0.5, "x": {"a": 1}}
    assert parsed["imagination"] == {"rollout_policy": "uniform"}


@pytest.mark.parametrize("text", ["gamma=1", "learner.gamma", "learner.=1"])
def test_what_is_not_of_the_form_is_refused(text):
    with pytest.raises(mbo.D3RLPyMBOError, match="--set"):
        parse_settings((text,))
    with pytest.raises(mbo.UnknownComponentError, match="Did you mean 'learner'"):
        parse_settings(("lerner.gamma=1",))


def test_a_component_is_set_by_name_before_its_parameters_are():
    config = apply_settings(
        ROMIConfig(),
        {
            "rollout_policy.n_steps": 7,
            "rollout_policy": "behavior_cloning",
            "dynamics.direction": "forward",
            "dynamics.hidden_units": [8, 8],
            "dynamics.weight_decays": [0, 0, 0],
            "rollout_length": 2,
            "termination": "never",
        },
    )
    assert config == ROMIConfig(
        rollout_policy=mbo.BehaviorCloningPolicyConfig(n_steps=7),
        dynamics=mbo.ProbabilisticEnsembleConfig(
            direction="forward", hidden_units=[8, 8], weight_decays=[0, 0, 0]
        ),
        rollout_length=2,
        termination=mbo.NoTermination(),
    )


def test_settings_stay_as_they_were_given_for_the_next_run():
    base = {"penalty": {"type": "max_aleatoric", "params": {"coef": 1.0}}}
    config = apply_settings(MOPOConfig(), {**base, "penalty.coef": 5.0})
    assert config.penalty == MaxAleatoric(coef=5.0)
    assert apply_settings(MOPOConfig(), base).penalty == MaxAleatoric(coef=1.0)


def test_parameters_of_the_default_component_can_be_set_alone():
    config = apply_settings(ROMIConfig(), {"rollout_policy.n_steps": 3})
    assert config.rollout_policy == CVAEPolicyConfig(n_steps=3)


def test_none_empties_what_d3rlpy_may_do_without():
    config = d3rlpy.algos.SACConfig(
        reward_scaler=d3rlpy.preprocessing.MultiplyRewardScaler(2.0)
    )
    path = "actor_optim_factory.lr_scheduler_factory"
    emptied = apply_settings(config, {"reward_scaler": "none", path: "none"})
    assert emptied.reward_scaler is None
    assert emptied.actor_optim_factory.lr_scheduler_factory is None


def test_an_open_end_of_an_interval_may_be_written_as_infinity():
    argument = "imagination.termination.healthy_z_range=[0.6, Infinity]"
    settings = parse_settings(("imagination.termination=hopper", argument))
    config = apply_settings(mbo.ImaginationConfig(), settings["imagination"])
    assert config.termination.healthy_z_range == (0.6, float("inf"))
    json.dumps(settings, allow_nan=False)  # as a result's file has them


def test_what_a_factory_cannot_be_made_without_is_set_beside_its_name_or_asked_for():
    path = "actor_optim_factory.lr_scheduler_factory"
    settings = {path: "cosine_annealing", f"{path}.T_max": 7, "gamma": 0.5}
    config = apply_settings(d3rlpy.algos.SACConfig(), settings)
    assert config.actor_optim_factory.lr_scheduler_factory.T_max == 7
    del settings[f"{path}.T_max"]
    words = f"{path} = 'cosine_annealing' needs T_max: set {path}.T_max too"
    with pytest.raises(mbo.CompositionError, match=words):
        apply_settings(d3rlpy.algos.SACConfig(), settings)


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        (
            "reward_scaler",
            "constant_shift",
            "no RewardScaler. Known: clip, min_max, mul",
        ),
        ("q_func_factory", "qrr", "no QFunctionFactory. Did you mean 'qr'"),
        ("actor_optim_factory", "adm", "no OptimizerFactory. Did you mean 'adam'"),
    ],
)
def test_d3rlpys_scalers_and_factories_are_known_by_name(path, name, words):
    with pytest.raises(mbo.UnknownComponentError, match=f"{path} is '{name}', {words}"):
        apply_settings(d3rlpy.algos.SACConfig(), {path: name})


def test_d3rlpys_scalers_and_factories_can_be_set():
    config = apply_settings(
        d3rlpy.algos.TD3PlusBCConfig(),
        {
            "observation_scaler": "standard",
            "actor_encoder_factory": "vector",
            "actor_encoder_factory.hidden_units": [32],
            "alpha": 1,
        },
    )
    assert isinstance(
        config.observation_scaler, d3rlpy.preprocessing.StandardObservationScaler
    )
    assert config.actor_encoder_factory.hidden_units == [32]
    assert config.alpha == 1


@pytest.mark.parametrize(
    ("factory", "key", "value"),
    [
        ("adam", "weight_decay", 1e-4),  # d3rlpy's default is written as 0
        ("sgd", "momentum", 0.5),
        ("adam", "clip_grad_norm", 1),
    ],
)
def test_a_number_may_have_a_fraction_where_the_default_is_written_without(
    factory, key, value
):
    name = "critic_optim_factory"
    settings = {name: factory, f"{name}.{key}": value}
    config = apply_settings(d3rlpy.algos.SACConfig(), settings)
    assert getattr(config.critic_optim_factory, key) == value
    for wrong, words in (("much", "expected a number"), (True, "expected a number")):
        with pytest.raises(mbo.CompositionError, match=words):
            apply_settings(
                d3rlpy.algos.SACConfig(), {**settings, f"{name}.{key}": wrong}
            )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rolout_length", 3, "Did you mean 'rollout_length'"),
        ("rollout_policy", "unifrom", "Did you mean 'uniform'"),
        ("rollout_policy.n_step", 3, "Did you mean 'n_steps'"),
        ("rollout_length.more", 3, "not a field"),
        ("direction", "forward", "Did you mean 'dynamics.direction'"),
        ("rollout_length", None, "rollout_length cannot be left out"),
        ("rollout_policy.n_steps", None, "rollout_policy.n_steps cannot be left out"),
        ("rollout_length", "five", "expected an integer"),
        ("rollout_length", 2.5, "expected an integer"),
        ("rollout_length", True, "expected an integer"),
        ("real_ratio", "much", "expected a number"),
        ("real_ratio", 2, "real_ratio is 2"),
        ("dynamics.hidden_units", 3, "expected a list"),
        ("real_ratio", math.nan, "real_ratio is nan, expected a finite number"),
        (
            "rollout_policy",
            {"type": "uniform", "params": {"x": [1.0, math.inf]}},
            r"rollout_policy.params.x\[1\] is inf, expected a finite number",
        ),
    ],
)
def test_wrong_keys_names_and_values_are_refused(key, value, words):
    with pytest.raises(mbo.D3RLPyMBOError, match=words):
        apply_settings(ROMIConfig(), {key: value})


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_no_result_can_hold_is_refused_before_the_training(text):
    (asked,) = parse_settings((f"learner.gamma={text}",))["learner"].items()
    with pytest.raises(mbo.CompositionError, match="gamma is .*, expected a finite"):
        apply_settings(d3rlpy.algos.SACConfig(), dict([asked]))


def test_a_number_that_may_be_left_out_is_left_out_by_null():
    parsed = parse_settings(("imagination.rollout_interval=null",))["imagination"]
    config = apply_settings(MOPOConfig(), {**parsed, "dynamics.max_steps": 5})
    assert config.rollout_interval is None
    assert config.dynamics.max_steps == 5
    again = apply_settings(config, {"dynamics.max_steps": None})
    assert again.dynamics.max_steps is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("observation_scaler", {"type": "standrd"}, "Did you mean 'standard'"),
        (
            "observation_scaler",
            {"type": "standard", "params": {"epss": 1e-6}},
            "'observation_scaler.epss': .* Did you mean 'eps'",
        ),
        (
            "observation_scaler",
            {"name": "standard"},
            "expected the name of a scaler",
        ),
        ("observation_scaler", 3, "expected the name of a scaler or factory"),
        ("actor_encoder_factory", {"type": 3}, "expected the name of a scaler"),
        ("reward_scaler", {"type": "multiply", "params": [1]}, "expected the name of"),
        (
            "actor_optim_factory",
            {"type": "adam", "params": {"lr_scheduler_factory": {"type": "cosine"}}},
            "actor_optim_factory.lr_scheduler_factory is 'cosine'",
        ),
        (
            "actor_optim_factory.lr_scheduler_factory",
            {"type": "cosine_annealing"},
            "needs T_max",
        ),
    ],
)
def test_what_is_no_scaler_or_factory_of_d3rlpy_is_refused(key, value, words):
    """d3rlpy drops a parameter that it does not know, and raises KeyError for a name."""
    with pytest.raises(mbo.D3RLPyMBOError, match=words):
        apply_settings(d3rlpy.algos.SACConfig(), {key: value})


def test_a_scaler_that_is_not_fitted_is_set_by_name_and_by_parameter():
    """d3rlpy cannot write one, and a learner's own config may hold one."""
    by_name = {"observation_scaler": "standard", "observation_scaler.eps": 0.5}
    first = apply_settings(d3rlpy.algos.SACConfig(), by_name)
    assert first.observation_scaler.eps == 0.5
    then = apply_settings(first, {"observation_scaler.eps": 0.25, "gamma": 0.5})
    assert (then.observation_scaler.eps, then.gamma) == (0.25, 0.5)
    assert not then.observation_scaler.built
    without = apply_settings(first, {"observation_scaler": {"type": "none"}})
    assert without.observation_scaler is None


def test_scalers_keep_parameters_that_are_null_until_they_are_fitted():
    bounds = {"reward_scaler.minimum": 0.0, "reward_scaler.maximum": 100.0}
    named = apply_settings(
        d3rlpy.algos.SACConfig(), {"reward_scaler": "min_max", **bounds}
    )
    bare = d3rlpy.algos.SACConfig(
        reward_scaler=d3rlpy.preprocessing.MinMaxRewardScaler()
    )
    for config in (named, apply_settings(bare, bounds)):
        assert (config.reward_scaler.minimum, config.reward_scaler.maximum) == (0, 100)


@pytest.mark.parametrize("value", ["cosine_annealing", {"type": "cosine_annealing"}])
def test_what_a_factory_needs_may_stand_beside_its_name_or_its_form(value):
    path = "actor_optim_factory.lr_scheduler_factory"
    settings = {path: value, f"{path}.T_max": 5}
    config = apply_settings(d3rlpy.algos.SACConfig(), settings)
    assert config.actor_optim_factory.lr_scheduler_factory.T_max == 5


def test_a_form_may_name_what_is_in_it():
    parts = [{"type": "standard", "params": {}}]
    form = {"type": "tuple", "params": {"observation_scalers": parts}}
    config = apply_settings(d3rlpy.algos.SACConfig(), {"observation_scaler": form})
    assert len(config.observation_scaler.observation_scalers) == 1
    adam = {"type": "adam", "params": {"lr_scheduler_factory": "warmup"}}
    with pytest.raises(mbo.CompositionError, match="'warmup' needs warmup_steps"):
        apply_settings(d3rlpy.algos.SACConfig(), {"actor_optim_factory": adam})


def test_settings_are_looked_at_as_a_whole_not_half_way():
    for form in ({}, {"rollout_policy": {"type": "cvae", "params": {}}}):
        settings = {
            "dynamics.n_models": 3,
            "dynamics.max_steps": 200,
            **form,
            "dynamics.n_elites": 2,
        }
        config = apply_settings(ROMIConfig(), settings)
        assert (config.dynamics.n_models, config.dynamics.n_elites) == (3, 2)
        assert config.dynamics.max_steps == 200


@dataclasses.dataclass()
class _Strangers(mbo.Penalty):
    """A config whose fields say what they hold as strangers' may."""

    mode: Optional[Literal["mean", "max"]] = None
    either: Optional[Union[float, str, mbo.Penalty]] = None
    inner: Any = mbo.component_field("penalty", MaxAleatoric)

    @staticmethod
    def get_type() -> str:
        return "strangers"

    def __call__(self, prediction, learner=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("mode", "max", "max"),
        ("either", 0.5, 0.5),
        ("either", "much", "much"),
        ("inner", "none", None),
    ],
)
def test_text_and_numbers_are_what_a_field_declares(name, value, found):
    assert getattr(apply_settings(_Strangers(), {name: value}), name) == found


def test_a_component_that_may_be_left_out_is_left_out_by_none():
    config = apply_settings(MOPOConfig(), {"penalty": "none"})
    assert config.penalty is None
    scaled = apply_settings(
        d3rlpy.algos.SACConfig(),
        {"observation_scaler": {"type": "standard", "params": {"eps": 0.5}}},
    )
    assert scaled.observation_scaler.eps == 0.5
    with pytest.raises(
        mbo.CompositionError, match="dynamics is None, expected a component"
    ):
        apply_settings(MOPOConfig(), {"dynamics": "none"})
