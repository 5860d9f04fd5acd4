import json
import os
import pickle

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from toys import line_dataset, small_learner


@pytest.fixture
def saved(tmp_path):
    learner = small_learner("td3_plus_bc")
    learner.build_with_dataset(line_dataset())
    learner.save(str(tmp_path / "x.d3"))
    return learner, tmp_path / "x.d3"


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_learner_is_loaded_as_d3rlpy_does_with_what_it_would_do(saved, kind):
    learner, path = saved
    loaded = mbo.load_learner(kind(path), torch.device("cpu"))
    states = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
    assert type(loaded) is type(learner)
    assert loaded.config == learner.config
    assert loaded.predict(states).tolist() == learner.predict(states).tolist()


def test_no_such_file_is_named(tmp_path):
    with pytest.raises(mbo.LoadError, match=r"no file '.*nowhere\.d3'"):
        mbo.load_learner(tmp_path / "nowhere.d3")


class Bomb:
    """What would run if a file were unpickled without looking."""

    def __reduce__(self):
        return os._exit, (7,)


OTHERS = {
    "empty": b"",
    "text": b"not a learner",
    "list": pickle.dumps([1, 2]),
    "other keys": pickle.dumps({"a": 1}),
    "config without a type": pickle.dumps(
        {"config": "{}", "torch": b"", "version": ""}
    ),
    "config that is no JSON": pickle.dumps(
        {"config": "{", "torch": b"", "version": ""}
    ),
    "code": pickle.dumps({"config": Bomb()}),
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_what_is_no_d3_file_is_refused_and_runs_nothing(tmp_path, content):
    (tmp_path / "x.d3").write_bytes(content)
    with pytest.raises(mbo.LoadError, match=r"x\.d3' is no saved learner.*a \.d3 file"):
        mbo.load_learner(tmp_path / "x.d3")


def test_a_folder_and_a_saved_imagination_are_no_learners(tmp_path):
    torch.save({"format": "an imagination"}, tmp_path / "x.mbo")
    for path in (tmp_path, tmp_path / "x.mbo"):
        with pytest.raises(mbo.LoadError, match="is no saved learner"):
            mbo.load_learner(path)


def changed(path, change):
    content = pickle.loads(path.read_bytes())
    config = json.loads(content["config"])
    change(content, config)
    path.write_bytes(pickle.dumps({**content, "config": json.dumps(config)}))


def test_a_learner_that_nobody_provides_is_named_with_the_nearest(saved):
    def rename(content, config):
        config["config"]["type"] = "td3_plus_bd"

    changed(saved[1], rename)
    with pytest.raises(
        mbo.LoadError, match="type 'td3_plus_bd'.*'td3_plus_bc'.*Install"
    ):
        mbo.load_learner(saved[1])


def test_a_damaged_config_or_state_is_an_error_that_names_the_learner(saved):
    def narrow(content, config):
        config["observation_shape"] = [5]

    changed(saved[1], narrow)
    with pytest.raises(mbo.LoadError, match="'td3_plus_bc' in .* cannot be rebuilt"):
        mbo.load_learner(saved[1])

    def unknown_part(content, config):
        config["config"]["params"]["actor_encoder_factory"]["type"] = "theirs"

    changed(saved[1], unknown_part)
    with pytest.raises(mbo.LoadError, match="KeyError: 'theirs'"):
        mbo.load_learner(saved[1])


def test_d3rlpys_transformers_load_too(tmp_path):
    transformer = d3rlpy.algos.DecisionTransformerConfig(context_size=2).create()
    transformer.build_with_dataset(line_dataset())
    transformer.save(str(tmp_path / "x.d3"))
    loaded = mbo.load_learner(tmp_path / "x.d3")
    assert loaded.config.context_size == 2
