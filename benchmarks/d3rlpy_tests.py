"""d3rlpy's own tests of its algorithms, with our buffer wherever they make a dataset.

    python benchmarks/d3rlpy_tests.py CHECKOUT [arguments of pytest]

CHECKOUT is d3rlpy's repository at the tag of the version that is installed. Of its
`tests/algos` those run that are about vector observations. Where one makes a dataset to
fit an algorithm it gets a buffer of that data and ROMI's imagined rows, and two updates on
batches of that buffer: their own test of `fit` puts a mock in the place of `update`. Left
out is what they say of saved policies: their export to ONNX fails with torch 2.13,
whatever the buffer.

Exits with pytest's code; the last line says how many passed.
"""

import importlib.util
import math
import os
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import d3rlpy  # the installed one, before the checkout's is nearer
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo_romi import ROMIConfig

_ONNX = "onnxruntime"
_TESTERS = ("tests.algos.qlearning.algo_test", "tests.algos.transformer.algo_test")


def romi(dataset: d3rlpy.dataset.ReplayBuffer) -> mbo.Imagination:
    """ROMI with a small model, fitted for two steps: what it imagines matters little."""
    dynamics = mbo.ProbabilisticEnsembleConfig(
        direction="reverse",
        n_models=2,
        n_elites=1,
        hidden_units=[16],
        weight_decays=[0.0, 0.0],
        batch_size=16,
        max_steps=2,
    )
    imagination = ROMIConfig(
        dynamics=dynamics,
        rollout_policy=mbo.UniformPolicyConfig(),
        termination=mbo.NoTermination(),
        rollout_batch_size=50,
    ).create()
    imagination.fit(dataset)
    return imagination


class OurBuffer:
    """A pytest plugin that hands d3rlpy's tests our buffer."""

    def __init__(self) -> None:
        self._made: list[mbo.ImaginedReplayBuffer] = []
        self.n_selected = 0
        self.n_passed = 0

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keeps what trains on vectors, and puts our buffer in the place of theirs."""
        kept = [item for item in items if _is_of_vectors(item)]
        config.hook.pytest_deselected(items=[i for i in items if i not in kept])
        items[:] = kept
        if getattr(sys.modules.get(_ONNX), "__spec__", None) is None:  # ours
            sys.modules.pop(_ONNX, None)
        for name in _TESTERS:
            if name in sys.modules:
                self._change(sys.modules[name])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Counts what will run."""
        self.n_selected = len(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts what passed."""
        self.n_passed += report.when == "call" and report.passed

    def _change(self, module: Any) -> None:
        create, fit_tester = module.create_infinite_replay_buffer, module.fit_tester

        def created(*arguments: Any, **named: Any) -> mbo.ImaginedReplayBuffer:
            dataset = create(*arguments, **named)
            buffer = mbo.ImaginedReplayBuffer(dataset, romi(dataset), real_ratio=0.5)
            self._made.append(buffer)
            return buffer

        def fits_and_updates(algo: Any, *arguments: Any) -> None:
            fit_tester(algo, *arguments)
            for _ in range(2):
                losses = algo.update(self._batch(algo))
                assert losses
                assert all(map(math.isfinite, losses.values())), losses

        module.create_infinite_replay_buffer = created
        module.fit_tester = fits_and_updates
        module.save_policy_tester = lambda *_: None

    def _batch(self, algo: Any) -> Any:
        buffer, size = self._made[-1], algo.config.batch_size
        if isinstance(algo, d3rlpy.algos.TransformerAlgoBase):
            return buffer.sample_trajectory_batch(size, algo.config.context_size)
        return buffer.sample_transition_batch(size)


def _is_of_vectors(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    shape = parameters.get("observation_shape", ())
    return len(shape) == 1 and isinstance(shape[0], int)


def main(arguments: list[str]) -> int:
    """Runs those of a checkout, the first argument; returns pytest's code."""
    checkout = Path(arguments[0]).resolve() if arguments else Path()
    if not arguments or not (checkout / "tests" / "algos").is_dir():
        sys.exit(f"{__doc__}\nExpected a checkout of d3rlpy with its tests.")
    if importlib.util.find_spec(_ONNX) is None:  # imported there, but used no more
        sys.modules[_ONNX] = types.ModuleType(_ONNX)
    warnings.filterwarnings("ignore", module="d3rlpy_mbo")  # toys look suspicious
    plugin = OurBuffer()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # they write into test_data
        Path("test_data").mkdir()
        tests = str(checkout / "tests" / "algos")
        own = ["-q", "-p", "no:cacheprovider", "--rootdir", str(checkout)]
        code = pytest.main([*own, tests, *arguments[1:]], plugins=[plugin])
        os.chdir(checkout)
    print(f"{plugin.n_passed} of {plugin.n_selected} passed.")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
