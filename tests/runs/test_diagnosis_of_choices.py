"""A diagnosis where actions are choices."""

import dataclasses

import d3rlpy
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.diagnosis import penalties
from d3rlpy_mbo.runs.diagnosis.nearness import nearness
from toys import ChoiceDynamicsConfig, choice_dataset, line_imagination, small_learner

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def real() -> mbo.RealData:
    d3rlpy.seed(0)
    return mbo.RealData.of(choice_dataset(60, 30))


@dataclasses.dataclass()
class OlderPenalty(mbo.Penalty):
    """A stranger's, who has not heard of choices."""

    @staticmethod
    def get_type() -> str:
        return "older"

    def __call__(self, prediction, learner=None):
        return prediction.actions


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_every_part_of_a_diagnosis_knows_choices_or_says_what_it_left_out(
    direction, real, monkeypatch
):
    dynamics = ChoiceDynamicsConfig(direction=direction, noise=0.1)
    imagination = line_imagination(direction, real, dynamics=dynamics)
    learner = small_learner("discrete_cql")
    learner.build_with_dataset(real.dataset)
    named = lambda own: [("older", OlderPenalty()), ("max_aleatoric", None)]  # noqa: E731
    monkeypatch.setattr(penalties, "_all", named)
    found = mbo.diagnose(imagination, real, learner, n_rollouts=50)
    assert len(found.one_step.columns) == 2
    assert all(abs(each.error) < 1e-5 for each in found.one_step.columns)
    assert found.open_loop[0].median[-1] == pytest.approx(0, abs=1e-4)
    assert [each.name for each in found.penalties] == ["max_aleatoric"]
    assert any("older" in left and "discrete" in left for left in found.left_out)
    assert found.values is not None
    assert found.rollouts.clipped_share == 0
    assert str(found)


def test_actions_are_as_near_as_the_same_choice_or_another(real):
    rows = real.transitions
    same = rows[:200]
    other = dataclasses.replace(same, actions=(same.actions + 1) % 3)
    steps = torch.zeros(200, dtype=torch.int64)
    _, of_same = nearness(same, steps, 1, rows, reverse=False)
    _, of_other = nearness(other, steps, 1, rows, reverse=False)
    assert of_same.median[0] == 0  # most neighbours take the same, of three
    assert of_other.median[0] > 1


def test_a_diagnosis_refuses_a_learner_and_held_out_data_of_the_other_kind(real):
    imagination = line_imagination(
        dataset=real, dynamics=ChoiceDynamicsConfig(direction="reverse")
    )
    learner = small_learner("sac")
    learner.create_impl((1,), 1)
    with pytest.raises(mbo.CompositionError, match="SAC is for continuous"):
        mbo.diagnose(imagination, real, learner)
    other = mbo.dataset_from_arrays([[[0.0], [1.0], [2.0]]], [[[1], [1]]], [[0, 0]])
    with pytest.raises(
        mbo.CompositionError, match="held_out has .*continuous.*, but .* 3 choices"
    ):
        mbo.diagnose(imagination, real, held_out=other)
