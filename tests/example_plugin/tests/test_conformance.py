from d3rlpy_mbo.testing import parametrize_with_checks
from replayed_actions import ReplayedActionsConfig, RewardDispute


@parametrize_with_checks([RewardDispute(), ReplayedActionsConfig()])
def test_conformance(component, check):
    check(component)
