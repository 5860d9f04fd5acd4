"""Declared fields: what cannot work is refused when the config is made."""

import contextlib
import dataclasses
import math
from typing import Any, Optional

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry.discovery import registry
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig


@dataclasses.dataclass()
class Every(mbo.Penalty):
    """One field of every kind."""

    share: float = mbo.number(0.5, at_least=0, less_than=1)
    steps: int = mbo.number(10, at_least=1, whole=True)
    limit: Optional[int] = mbo.number(None, at_least=1, whole=True)
    units: list[int] = mbo.number_list([8], at_least=1, whole=True)
    weights: Optional[list[float]] = mbo.number_list(None, at_least=0)
    bounds: tuple[float, float] = mbo.interval(0.0, 1.0)
    range: tuple[float, float] = mbo.interval(-math.inf, 1.0, infinite=True)
    word: str = mbo.choice("mean", ["mean", "max"])
    on: bool = mbo.flag(False)
    inner: Optional[mbo.Termination] = mbo.component_field("termination")

    @staticmethod
    def get_type() -> str:
        return "every"

    def __call__(self, prediction: Any, learner: Any = None) -> torch.Tensor:
        return torch.zeros_like(prediction.rewards)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("share", 1, "a number, at least 0 and less than 1"),
        ("share", -0.1, "a number, at least 0 and less than 1"),
        ("share", math.nan, "a number"),
        ("share", math.inf, "a number"),
        ("share", True, "a number"),
        ("share", "0.5", "a number"),
        ("share", None, "a number"),
        ("share", 10**400, "a number"),
        ("share", torch.tensor(0.5), "a number"),
        ("steps", 0, "a whole number, at least 1"),
        ("steps", 2.5, "a whole number, at least 1"),
        ("steps", 3.0, "a whole number, at least 1"),
        ("steps", None, "a whole number, at least 1"),
        ("limit", 0, "a whole number, at least 1, or None"),
        ("units", 8, "a list, each entry a whole number, at least 1"),
        ("units", [8, 0], "a list, each entry a whole number, at least 1"),
        ("units", "88", "a list, each entry a whole number, at least 1"),
        ("units", None, "a list, each entry a whole number, at least 1"),
        ("weights", [-1], "None, or a list, each entry a number, at least 0"),
        ("bounds", (1.0, 1.0), "a pair of finite numbers, the lower one first"),
        ("bounds", (2.0, 1.0), "a pair of finite numbers, the lower one first"),
        ("bounds", (-math.inf, 1.0), "a pair of finite numbers, the lower one first"),
        ("bounds", (0, 1, 2), "a pair of finite numbers, the lower one first"),
        ("range", (math.nan, 1.0), "a pair of numbers, infinite ones included"),
        ("word", "median", "'mean' or 'max'"),
        ("word", None, "'mean' or 'max'"),
        ("on", 1, "True or False"),
        ("on", "false", "True or False"),
        ("on", None, "True or False"),
        ("inner", "hopper", "a component of kind 'termination', or None"),
        ("inner", mbo.UniformPolicyConfig(), "a component of kind 'termination'"),
        ("inner", math.isnan, "a component of kind 'termination', or None"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_field_value_and_what_is(
    field, value, expected
):
    with pytest.raises(mbo.CompositionError) as made:
        Every(**{field: value})
    assert str(made.value).startswith(f"Every.{field} is ")
    assert f", expected {expected}" in str(made.value)
    component = Every()
    with pytest.raises(mbo.CompositionError) as assigned:
        setattr(component, field, value)
    assert str(assigned.value) == str(made.value)
    assert component == Every()


@pytest.mark.parametrize(
    ("value", "advice"), [(1e3, " Write 1_000."), (2.5, ""), (0.0, ""), (math.inf, "")]
)
def test_a_count_written_as_a_float_is_told_how_to_write_it(value, advice):
    with pytest.raises(mbo.CompositionError) as made:
        Every(limit=value)
    assert str(made.value).endswith(f", at least 1, or None.{advice}")


def test_what_is_allowed_is_kept_and_numpy_numbers_become_pythons():
    assert Every().weights is None
    made = Every(
        weights=np.array([0.5]),
        share=np.float32(0.25),
        steps=np.int64(3),
        limit=np.int32(2),
        units=(4, np.int64(5)),
        bounds=[np.float64(-1), 2],
        inner=mbo.LearnedTerminationConfig(),
    )
    values = (made.share, made.steps, made.limit, *made.units, *made.bounds)
    assert values == (0.25, 3, 2, 4, 5, -1.0, 2.0)
    assert {type(value) for value in values} == {int, float}
    assert made.bounds == (-1.0, 2.0)
    assert made.weights == [0.5]
    again = Every.deserialize(made.serialize())
    assert again == made


def test_a_subclass_that_changes_a_default_alone_keeps_what_its_base_declares():
    @dataclasses.dataclass()
    class Longer(Every):
        steps: int = 20

    assert Longer().steps == 20
    with pytest.raises(mbo.CompositionError, match=r"Longer.steps is 0, expected"):
        Longer(steps=0)


def test_a_field_that_declares_nothing_holds_anything_as_in_version_0_1():
    @dataclasses.dataclass()
    class Undeclared(mbo.Penalty):
        coef: float = 1.0

    assert Undeclared(coef="much").coef == "much"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MOPOConfig(penalty="max_aleatoric"), "penalty is 'max_aleatoric'"),
        (
            lambda: MOPOConfig(termination=mbo.HopperTermination),
            r"termination is the class HopperTermination, not HopperTermination\(\)",
        ),
        (
            lambda: MOPOConfig(termination=math.isnan),
            r"is the function 'isnan', which no file holds \(docs/components/termination",
        ),
        (
            lambda: MOPOConfig(penalty=mbo.UniformPolicyConfig()),
            r"penalty is UniformPolicyConfig\(\), a component of kind 'rollout_policy'",
        ),
        (
            lambda: MOPOConfig(penalty=mbo.Component()),
            r"penalty is .*, a component of kind None, expected a component of kind",
        ),
        (lambda: MOPOConfig(rollout_policy=None), "rollout_policy is None, expected a"),
        (lambda: CVAEPolicyConfig(n_steps=0), "n_steps is 0"),
        (lambda: CVAEPolicyConfig(latent_clip=-1), "latent_clip is -1"),
        (lambda: CVAEPolicyConfig(kl_weight=-3), "kl_weight is -3"),
        (
            lambda: mbo.ProbabilisticEnsembleConfig(learning_rate=-1),
            "learning_rate is -1",
        ),
        (
            lambda: AdversarialUpdaterConfig(update_interval=2.5),
            "update_interval is 2.5, expected a whole number",
        ),
        (lambda: MaxAleatoric(coef=math.nan), "coef is nan"),
        (lambda: MaxAleatoric(coef=True), "coef is True"),
        (lambda: ROMIConfig(direction="sideways"), "direction is 'sideways'"),
        (lambda: ROMIConfig(real_ratio=1.5), "real_ratio is 1.5"),
    ],
)
def test_what_version_0_1_took_and_failed_with_after_fitting_is_refused(make, message):
    with pytest.raises(mbo.CompositionError, match=message):
        make()


STRANGE: list[Any] = [
    None, True, False, "", "1", "uniform", b"x", 1j, {}, {"type": "uniform"}, [], [0],
    [-1], [8, 8], [math.nan], ["x"], (0.0, 1.0), (1.0, 0.0), (None, None), object(),
    0, -1, 1, 3, 2**70, -0.5, 0.0, 0.5, 1.0, 2.5, 1e308, math.nan, math.inf, -math.inf,
    np.float32(0.5), np.int64(2), np.bool_(True), np.array([1.0]), torch.tensor(1.0),
    mbo.UniformPolicyConfig, mbo.UniformPolicyConfig(), mbo.NoTermination,
    mbo.NoTermination(), mbo.ProbabilisticEnsembleConfig(), ROMIConfig(),
]  # fmt: skip


def _registered_fields() -> list[tuple[type[mbo.Component], str]]:
    return [
        (component, field.name)
        for plugin in registry().plugins
        if plugin.distribution == "d3rlpy-mbo"
        for component in plugin.components
        if issubclass(component, mbo.Component)
        for field in dataclasses.fields(component)
    ]


@given(data=st.data())
def test_any_value_of_any_field_makes_a_config_that_works_or_is_refused_by_name(data):
    component, field = data.draw(st.sampled_from(_registered_fields()))
    value = data.draw(
        st.one_of(st.sampled_from(STRANGE), st.floats(), st.integers(), st.text())
    )
    try:
        config = component(**{field: value})
    except mbo.CompositionError as error:
        message = str(error)
        assert field in message
        assert " expected " in message
        return
    again = component.deserialize(config.serialize())
    assert again == config
    if hasattr(config, "create"):
        with contextlib.suppress(mbo.CompositionError):  # parts that do not go together
            config.create()


def test_every_field_of_ours_is_declared():
    from d3rlpy_mbo.registry.component import _declarations

    undeclared = [
        f"{component.__name__}.{field}"
        for component, field in _registered_fields()
        if field not in _declarations(component)
    ]
    assert undeclared == []
