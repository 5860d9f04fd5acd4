"""The script that runs d3rlpy's own tests with our buffer: what it changes of them."""

import sys
import types
from pathlib import Path

import d3rlpy
import pytest

import d3rlpy_mbo as mbo
from toys import QUIET, line_episodes, small_learner

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import d3rlpy_tests  # noqa: E402


@pytest.mark.training
@pytest.mark.parametrize("name", ["cal_ql", "decision_transformer"])
def test_their_test_of_fit_gets_our_buffer_and_two_updates_on_it(name):
    module = types.ModuleType("algo_test")
    module.create_infinite_replay_buffer = d3rlpy.dataset.create_infinite_replay_buffer
    seen = []

    def fit_tester(algo, shape, action_size):
        dataset = module.create_infinite_replay_buffer(line_episodes(2, 25))
        seen.append(dataset)
        algo.fit(dataset, n_steps=1, n_steps_per_epoch=1, **QUIET)

    module.fit_tester = fit_tester
    d3rlpy_tests.OurBuffer()._change(module)
    sizes = {"context_size": 4, "max_timestep": 30}
    learner = small_learner(name, **sizes if name == "decision_transformer" else {})
    module.fit_tester(learner, (1,), 1)
    assert isinstance(seen[0], mbo.ImaginedReplayBuffer)
    assert learner.grad_step == 3
    assert seen[0].imagined_share == pytest.approx(0.5)


def test_where_there_is_no_checkout_it_says_what_it_expects(tmp_path):
    for arguments in ([], [str(tmp_path)]):
        with pytest.raises(SystemExit, match="Expected a checkout of d3rlpy"):
            d3rlpy_tests.main(arguments)
