import pytest
import torch

import d3rlpy_mbo as mbo
from toys import LineDynamicsConfig, line_dataset, line_imagination


def test_a_device_of_torch_is_taken_where_a_name_is(tmp_path):
    config = mbo.ImaginationConfig(dynamics=LineDynamicsConfig(direction="forward"))
    made = config.create(device=torch.device("cpu"))
    assert made.device == made.dynamics.device == "cpu"
    made.fit(line_dataset())
    made.save(tmp_path / "line.mbo")
    loaded = mbo.load_imagination(tmp_path / "line.mbo", device=torch.device("cpu"))
    assert len(loaded.imagine(line_dataset(), 3)) == 15
    assert mbo.ProbabilisticEnsembleConfig().create(torch.device("cpu")).device == "cpu"


_A_MAC = pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is here")


@pytest.mark.parametrize("device", [pytest.param("mps", marks=_A_MAC), "xpu:1", "meta"])
def test_a_device_that_is_not_here_is_refused_and_no_file_called_damaged(
    device, tmp_path
):
    made = line_imagination()
    made.fit(line_dataset())
    made.save(tmp_path / "line.mbo")
    for use in (
        lambda: mbo.load_imagination(tmp_path / "line.mbo", device=device),
        lambda: made.config.create(device=device),
    ):
        with pytest.raises(mbo.CompositionError, match=f"'{device}' is not here, or"):
            use()


@pytest.mark.parametrize("device", ["gpu", 1.0, -1])
def test_what_is_no_device_is_refused_by_its_value(device):
    config = line_imagination().config
    with pytest.raises(
        mbo.CompositionError, match=rf"device is {device!r}, .*Expected"
    ):
        config.create(device=device)
