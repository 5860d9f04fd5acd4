"""The numbers of a run under the same names wherever a user looks."""

import struct
from pathlib import Path

import pytest
from d3rlpy.logging import (
    CombineAdapterFactory,
    FileAdapterFactory,
    TensorboardAdapterFactory,
    WanDBAdapterFactory,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import line_dataset, line_imagination, small_ensemble, small_learner

pytestmark = pytest.mark.training

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


def train(folder: Path, *factories) -> dict[str, list[float]]:
    """Trains; returns what d3rlpy's files say, values by name."""
    files = FileAdapterFactory(str(folder))
    mbo.fit(
        small_learner("td3_plus_bc"),
        line_dataset(),
        line_imagination(
            dynamics=small_ensemble("forward", batch_size=64),
            penalty=MaxAleatoric(),
            rollout_batch_size=20,
        ),
        4,
        n_steps_per_epoch=2,
        logger_adapter=CombineAdapterFactory([files, *factories]),
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
