"""The ways of deploying a policy that its page names work, and one does not yet."""

import importlib
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.preprocessing import MinMaxActionScaler, StandardObservationScaler

import d3rlpy_mbo as mbo
from pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "deploying.md"

pytestmark = [
    pytest.mark.training,
    # torch's exporters, of their own code and of shapes that d3rlpy's scalers assert.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

OBSERVATIONS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


@pytest.fixture(params=["trained", "loaded"])
def learner(request, tmp_path) -> d3rlpy.algos.SAC:
    """A loaded one has not acted yet, and its scalers hold no tensors."""
    rng = np.random.default_rng(0)
    dataset = d3rlpy.dataset.MDPDataset(
        observations=rng.normal(size=(40, 3)).astype(np.float32),
        actions=rng.uniform(-3, 3, size=(40, 2)).astype(np.float32),
        rewards=np.zeros(40, dtype=np.float32),
        terminals=np.arange(40) % 20 == 19,
    )
    scalers = {
        "observation_scaler": StandardObservationScaler(),
        "action_scaler": MinMaxActionScaler(),
    }
    sac = d3rlpy.algos.SACConfig(batch_size=4, **scalers).create()
    silent = d3rlpy.logging.NoopAdapterFactory()
    sac.fit(dataset, 1, 1, logger_adapter=silent, show_progress=False)
    if request.param == "trained":
        return sac
    sac.save(str(tmp_path / "policy.d3"))
    return mbo.load_learner(tmp_path / "policy.d3")


@pytest.fixture
def page() -> dict[str, Any]:
    """The names that the page's module defines."""
    [block] = [block for block in blocks(PAGE) if block.title == "export_policy.py"]
    names: dict[str, Any] = {}
    exec(compile(block.code, str(PAGE), "exec"), names)
    return names


def test_an_exported_program_as_the_page_writes_it_acts_as_the_learner(
    tmp_path, page, learner
):
    path = str(tmp_path / "policy.pt2")
    torch.export.save(page["program_of"](learner), path)
    policy = torch.export.load(path).module()
    for n_rows in (1, 7):
        batch = OBSERVATIONS[:n_rows]
        actions = policy(torch.from_numpy(batch)).detach().numpy()
        assert np.allclose(actions, learner.predict(batch), atol=1e-6)


def test_onnx_as_the_page_writes_it_acts_as_the_learner(tmp_path, page, learner):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = str(tmp_path / "policy.onnx")
    page["save_onnx"](learner, path)
    session = runtime.InferenceSession(path)
    for n_rows in (1, 7):
        batch = OBSERVATIONS[:n_rows]
        [actions] = session.run(None, {"observations": batch})
        assert np.allclose(actions, learner.predict(batch), atol=1e-5)


def test_d3rlpys_own_onnx_fails_as_the_page_says(tmp_path, learner):
    pytest.importorskip("onnxscript")
    error = importlib.import_module("torch.onnx").OnnxExporterError
    with pytest.raises(error, match="Failed to export the model"):
        learner.save_policy(str(tmp_path / "policy.onnx"))
