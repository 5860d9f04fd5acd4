"""Every example runs, in seconds, and does what it says."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

import pendulum  # noqa: E402

DEMO = {"demo", "demo_picture"}  # test_demo.py
DATA = {"pendulum"}
SCRIPTS = {path.stem for path in EXAMPLES.glob("*.py")} - DEMO - DATA

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """d3rlpy writes its logs into the current folder."""
    monkeypatch.chdir(tmp_path)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_a_plain_fit_takes_every_step():
    assert script("plain_fit").main(quick=True).grad_step == 20


def test_fitter_yields_each_epoch_and_tensorboard_has_what_was_imagined(tmp_path):
    assert len(script("fitter").main(quick=True)) == 2
    if importlib.util.find_spec("tensorboardX") is None:
        assert [*tmp_path.glob("d3rlpy_logs/*/imagined_share.csv")]
    else:
        [events] = [p for p in tmp_path.glob("tensorboard_logs/runs/*/events*")]
        assert b"imagined_share" in events.read_bytes()


def test_without_tensorboard_the_fitter_writes_files(tmp_path, monkeypatch):
    monkeypatch.setattr(script("fitter"), "find_spec", lambda name: None)
    assert len(script("fitter").main(quick=True)) == 2
    assert [*tmp_path.glob("d3rlpy_logs/*/imagined_share.csv")]


def test_saved_models_are_ordered_by_their_fqe_values():
    values = script("fqe_selection").main(quick=True)
    assert set(values) == {"model_5.d3", "model_10.d3"}
    assert [*values.values()] == sorted(values.values(), reverse=True)


def test_online_goes_on_with_the_real_rows_of_offline():
    online = script("online_after_offline").main(quick=True)
    offline = pendulum.dataset(10)
    n_online = 2 * pendulum.N_STEPS - 1  # the first of an episode counts with the next
    assert online.transition_count >= offline.transition_count + n_online - 1
    for kept, real in zip(online.episodes, offline.episodes, strict=False):
        assert np.array_equal(kept.observations, real.observations)


def test_one_process_of_several_trains_on_what_a_shared_model_imagines(
    tmp_path, monkeypatch
):
    for name, value in script("several_gpus").ALONE.items():
        monkeypatch.setenv(name, value)  # and taken back
    assert script("several_gpus").main(quick=True).grad_step == 20
    assert (tmp_path / "pendulum.mbo").exists()


@pytest.mark.slow
def test_two_processes_share_weights_and_imagine_rows_of_their_own(tmp_path):
    (tmp_path / "two.py").write_text(TWO.format(examples=str(EXAMPLES)))
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "two.py"]
    subprocess.run([sys.executable, *command], check=True, timeout=200)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["policy"].keys() == second["policy"].keys()
    for name, value in first["policy"].items():
        assert torch.equal(value, second["policy"][name])
    assert not torch.equal(first["imagined"], second["imagined"])
    assert torch.equal(first["model"], second["model"])


TWO = """
import sys, torch
sys.path.insert(0, {examples!r})
import d3rlpy_mbo as mbo
import several_gpus
buffers = []
class Watched(mbo.ImaginedReplayBuffer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        buffers.append(self)
mbo.ImaginedReplayBuffer = Watched
rank = int(several_gpus.os.environ["RANK"])
sac = several_gpus.main(quick=True)
[buffer] = buffers
found = {{
    "policy": sac.impl.policy.state_dict(),
    "imagined": torch.from_numpy(buffer.sources[0].ring.rows()),
    "model": next(iter(buffer.imaginations[0].dynamics.parameters())).detach(),
}}
torch.save(found, f"{{rank}}.pt")
"""


def test_arrays_train_as_a_loop_over_batches_did():
    assert len(script("corl_arrays").main(quick=True)) == 2


def test_a_sweep_finds_the_best_of_its_trials():
    pytest.importorskip("optuna")
    study = script("optuna_sweep").main(quick=True)
    assert len(study.trials) == 2
    assert study.best_value == max(trial.value for trial in study.trials)


def test_every_example_has_a_test_and_says_how_it_is_run_and_what_changed():
    tests = Path(__file__).read_text()
    for name in SCRIPTS:
        assert f'script("{name}").main(quick=True)' in tests
        text = (EXAMPLES / f"{name}.py").read_text()
        assert f"python examples/{name}.py [--quick]" in text
        assert "# was: " in text
