"""The numbers of a run under the same names wherever a user looks."""

import struct
from pathlib import Path

import pytest
from d3rlpy.logging import (
    CombineAdapterFactory,
    FileAdapterFactory,
    LoggerAdapter,
    LoggerAdapterFactory,
    TensorboardAdapterFactory,
    WanDBAdapterFactory,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import line_dataset, line_imagination, small_ensemble, small_learner

pytestmark = pytest.mark.training

DATASET = line_dataset()

# Of ours: what is imagined, what the model's fit measured.
EXPECTED = {
    "custom_reward_mean",
    "custom_penalty_mean",
    "custom_model_holdout_error",
    "custom_survival_1",
    "custom_fit_dynamics_holdout_error",
    "imagined_share",
    "real_reward_mean",
}


def train(
    folder: Path, *factories, n_steps: int = 4, logger_adapter=None, **more
) -> dict[str, list[float]]:
    """Trains; returns what d3rlpy's files say, values by name."""
    files = FileAdapterFactory(str(folder))
    mbo.fit(
        small_learner("td3_plus_bc"),
        DATASET,
        line_imagination(
            dynamics=small_ensemble("forward", batch_size=64),
            penalty=MaxAleatoric(),
            rollout_batch_size=20,
        ),
        n_steps,
        n_steps_per_epoch=2,
        logger_adapter=logger_adapter or CombineAdapterFactory([files, *factories]),
        **more,
        experiment_name="logs",
        with_timestamp=False,
        show_progress=False,
    )
    return {
        path.stem: [float(line.split(",")[2]) for line in path.read_text().splitlines()]
        for path in (folder / "logs").glob("*.csv")
        if not path.stem.endswith("_grad")
    }


def records(path: Path) -> list[bytes]:
    """The records of an event file: length, its checksum, the record, its checksum."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def logged(path: Path) -> list[bytes]:
    """The records of a W&B file: LevelDB's log format, after seven bytes of its own."""
    data, found, position = path.read_bytes(), [], 7
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:  # a block ends with less than a header
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        part = data[position + 7 : position + 7 + length]
        if kind in (1, 2):  # whole, or first
            found.append(part)
        elif kind in (3, 4):  # middle, or last
            found[-1] += part
        position += 7 + length
    return found


def test_tensorboard_has_every_number_of_the_files_under_its_name(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    files = train(tmp_path, TensorboardAdapterFactory(str(tmp_path / "board")))
    (path,) = (tmp_path / "board" / "runs" / "logs").glob("events*")
    shown: dict[str, list[float]] = {}
    for record in records(path):
        for value in Event.FromString(record).summary.value:
            if value.tag.startswith("metrics/"):
                name = value.tag.removeprefix("metrics/")
                shown.setdefault(name, []).append(value.simple_value)
    assert set(files) >= EXPECTED
    assert set(shown) == set(files)
    for name in EXPECTED:
        assert shown[name] == pytest.approx(files[name], rel=1e-6)  # float32


def test_weights_and_biases_has_the_same_names_and_the_last_numbers(
    tmp_path, monkeypatch
):
    pytest.importorskip("wandb")
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    files = train(tmp_path, WanDBAdapterFactory(project="test"))
    wandb.teardown()
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    shown: dict[str, float] = {}
    for record in logged(path):
        for item in Record.FromString(record).history.item:
            name = item.key or "/".join(item.nested_key)
            if not name.startswith(("_", "gradients/")):
                shown[name] = float(item.value_json)
    assert set(files) >= EXPECTED
    assert set(shown) - {"epoch"} == set(files)
    for name in EXPECTED:
        assert shown[name] == pytest.approx(files[name][-1], rel=1e-6)


class Live(LoggerAdapterFactory, LoggerAdapter):
    """Shows a run live: keeps all that its adapters are told, adapter by adapter."""

    def __init__(self):
        self.params, self.names = [], []

    def create(self, algo, experiment_name, n_steps_per_epoch):
        self.names.append([])
        return self

    def write_params(self, params):
        self.params.append(params)

    def before_write_metric(self, epoch, step):
        pass

    def write_metric(self, epoch, step, name, value):
        self.names[-1].append(name)

    def after_write_metric(self, epoch, step):
        pass

    def save_model(self, epoch, algo):
        pass

    def close(self):
        pass

    def watch_model(self, epoch, step):
        pass


@pytest.mark.parametrize("combined", [True, False])
def test_what_shows_a_run_live_is_told_its_parameters_when_the_run_goes_on(
    tmp_path, combined
):
    live = Live()
    for n_steps in (2, 4):
        factory = CombineAdapterFactory([live]) if combined else live
        where = {"n_steps": n_steps, "checkpoint": tmp_path / "kept"}
        train(tmp_path, logger_adapter=factory, **where)
    began, went_on = live.params
    assert went_on == began
    assert went_on["imaginations"]
    of_fits = [sum("_fit_" in name for name in names) for names in live.names]
    assert of_fits[0] > 0
    assert of_fits[1] == 0  # they were shown
    assert live.names[1]


def test_a_run_that_tensorboard_shows_goes_on(tmp_path):
    pytest.importorskip("tensorboardX")
    board = TensorboardAdapterFactory(str(tmp_path / "board"))
    for n_steps in (2, 4):
        files = train(tmp_path, board, n_steps=n_steps, checkpoint=tmp_path / "kept")
    assert len(files["imagined_share"]) == 2
