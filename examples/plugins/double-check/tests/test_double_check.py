import d3rlpy_mbo as mbo
import torch
from d3rlpy_mbo.testing import parametrize_with_checks
from double_check import DoubleCheckConfig


@parametrize_with_checks([DoubleCheckConfig(share=0.5)])
def test_conformance(component, check):
    check(component)


def test_a_row_that_leads_back_is_kept_and_another_is_dropped():
    class Back:  # says s = s' - a
        def predict(self, s, a, all_members):
            means = torch.cat([s - a, a], dim=1)[None]
            return mbo.Prediction(s, a, s, a, means, means, 1)

    halt = DoubleCheckConfig().create()
    halt._other, halt._threshold = Back(), 0.5
    s, a = torch.zeros(2, 1), torch.ones(2, 1)
    decision = halt(mbo.Prediction(s, a, torch.tensor([[1.0], [3.0]]), s), None)
    assert decision.keep.flatten().tolist() == [True, False]


def test_it_is_found_by_name_where_it_is_installed():
    assert mbo.get_component("halt", "double_check") is DoubleCheckConfig
