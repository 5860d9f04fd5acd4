import math

import d3rlpy_mbo as mbo
import torch
from d3rlpy_mbo.testing import parametrize_with_checks
from knn_penalty import KNNPenaltyConfig


@parametrize_with_checks([KNNPenaltyConfig(k=3)])
def test_conformance(component, check):
    check(component)


def test_the_distance_to_the_second_nearest_row_by_hand():
    penalty = KNNPenaltyConfig(coef=2.0, k=2).create()
    rows = torch.tensor([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]])  # s, a, s'
    penalty.load_state_dict({"rows": rows, "std": torch.ones(3)})
    zero = torch.zeros(1, 1)
    (found,) = penalty(mbo.Prediction(zero, zero, zero, zero)).flatten().tolist()
    assert math.isclose(found, 2 * math.log(2), rel_tol=1e-6)


def test_it_is_found_by_name_where_it_is_installed():
    assert mbo.get_component("penalty", "knn") is KNNPenaltyConfig
