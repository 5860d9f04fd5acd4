"""What we lean on in d3rlpy beyond its documentation. A new version is read here first."""

import copy
import dataclasses
import inspect
import json
import pickle
import re

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.algos import SACConfig
from d3rlpy.base import LearnableConfig, register_learnable
from d3rlpy.dataset import ReplayBufferBase, TransitionMiniBatch
from d3rlpy.metrics.utility import evaluate_qlearning_with_environment
from d3rlpy.models.builders import create_normal_policy
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.models.torch.policies import build_squashed_gaussian_distribution
from d3rlpy.serializable_config import CONFIG_STORAGE

import d3rlpy_mbo as mbo
from toys import QUIET, line_dataset, small_learner


def test_the_pinned_version_is_installed():
    assert d3rlpy.__version__.startswith("2.8.")


def test_the_seam_implements_every_abstract_method_of_the_buffer():
    assert not getattr(mbo.ImaginedReplayBuffer, "__abstractmethods__", None)
    for name in ReplayBufferBase.__abstractmethods__:
        assert name in vars(mbo.ImaginedReplayBuffer), name


def test_fit_draws_one_batch_for_each_step_before_the_update():
    dataset = line_dataset()
    learner = small_learner("td3_plus_bc")
    seen = []

    class Watched(mbo.ImaginedReplayBuffer):
        def sample_transition_batch(self, batch_size):
            seen.append((learner.grad_step, learner.impl is not None))
            return super().sample_transition_batch(batch_size)

    learner.fit(Watched(dataset, []), n_steps=4, n_steps_per_epoch=2, **QUIET)
    assert seen == [(0, True), (1, True), (2, True), (3, True)]


def test_an_unbuilt_learner_asks_for_one_transition_to_learn_the_shapes():
    source = inspect.getsource(d3rlpy.algos.QLearningAlgoBase.fitter)
    assert "dataset.sample_transition()" in source


def test_in_its_module_only_the_mixed_buffer_asks_buffers_that_it_was_given():
    mixed = d3rlpy.dataset.MixedReplayBuffer
    rest = inspect.getsource(inspect.getmodule(mixed))
    rest = rest.replace(inspect.getsource(mixed), "")
    asked = r"([\w.]+)\.(?:sample_transition|sample_trajectory|transition_picker)\b"
    assert set(re.findall(asked, rest)) == {"self"}


def test_a_mini_batch_has_these_columns_and_accepts_views():
    names = [f for f in TransitionMiniBatch.__dataclass_fields__]
    assert names == [
        "observations", "actions", "rewards", "next_observations", "next_actions",
        "terminals", "intervals", "transitions",
    ]  # fmt: skip
    rows = np.zeros((4, 6), np.float32)
    batch = TransitionMiniBatch(
        **{name: rows[:, i : i + 1] for i, name in enumerate(names[:6])},
        intervals=np.ones((4, 1), np.float32),
        transitions=[],
    )
    assert len(batch) == 4


def test_only_learners_that_need_returns_to_go_look_at_a_batchs_transitions():
    assert small_learner("cal_ql").need_returns_to_go
    assert not small_learner("cql").need_returns_to_go


def test_grad_step_counts_updates_and_can_be_set_back():
    learner = small_learner("td3_plus_bc")
    learner.fit(line_dataset(), n_steps=3, n_steps_per_epoch=3, **QUIET)
    assert learner.grad_step == 3
    learner.set_grad_step(0)
    assert learner.grad_step == 0


def test_a_truncated_episode_loses_its_last_row_and_a_terminal_is_zero_filled():
    episode = d3rlpy.dataset.Episode(
        np.ones((3, 2), np.float32), np.full((3, 1), 0.5, np.float32),
        np.ones((3, 1), np.float32), True,
    )  # fmt: skip
    picker = d3rlpy.dataset.BasicTransitionPicker()
    assert episode.transition_count == 3
    assert picker(episode, 2).next_observation.tolist() == [0, 0]
    assert picker(episode, 2).next_action.tolist() == [0]


def test_evaluation_seeds_nothing_by_itself_and_seed_env_resets_with_a_seed():
    assert "seed" not in inspect.getsource(evaluate_qlearning_with_environment)
    seeds = []

    class Env:
        def reset(self, seed=None):
            seeds.append(seed)

    d3rlpy.envs.seed_env(Env(), 5)
    assert seeds == [5]


def test_a_logger_adapters_write_params_can_be_wrapped(tmp_path):
    factory = d3rlpy.logging.FileAdapterFactory(root_dir=str(tmp_path))
    adapter = factory.create(small_learner("td3"), "name", 1)
    calls = []
    adapter.write_params = calls.append
    adapter.write_params({"a": 1})
    assert calls == [{"a": 1}]


def test_the_file_logger_makes_a_file_of_a_metrics_name(tmp_path):
    factory = d3rlpy.logging.FileAdapterFactory(root_dir=str(tmp_path))
    adapter = factory.create(small_learner("td3"), "name", 1)
    with pytest.raises(FileNotFoundError):
        adapter.write_metric(0, 0, "a/b", 1.0)


def test_a_tanh_gaussian_policy_has_a_likelihood_with_its_jacobian():
    policy = create_normal_policy(
        (2,),
        1,
        VectorEncoderFactory([8]),
        min_logstd=-5.0,
        device="cpu:0",
        enable_ddp=False,
    )
    distribution = build_squashed_gaussian_distribution(policy(torch.zeros(1, 2)))
    unit = torch.linspace(-0.9999, 0.9999, 20001).reshape(-1, 1)
    with torch.no_grad():
        density = distribution.log_prob(unit).exp()
    assert float(torch.trapezoid(density[:, 0], unit[:, 0])) == pytest.approx(
        1, abs=0.01
    )


def test_seed_reaches_numpy_and_torch():
    d3rlpy.seed(3)
    first = np.random.random(), torch.rand(1).item()
    d3rlpy.seed(3)
    assert first == (np.random.random(), torch.rand(1).item())


def test_d3rlpys_list_of_learners_holds_each_name_once_and_is_what_files_are_read_by():
    listed = CONFIG_STORAGE[LearnableConfig].config_list
    assert listed["sac"] is SACConfig
    with pytest.raises(AssertionError, match="sac seems to be already registered"):
        register_learnable(SACConfig)

    class Theirs(SACConfig):
        @staticmethod
        def get_type():
            return "theirs_for_the_contract"

    register_learnable(Theirs)
    assert listed.pop("theirs_for_the_contract") is Theirs


def test_a_saved_learner_is_a_pickle_of_text_and_bytes_with_the_type_in_its_config(
    tmp_path,
):
    learner = small_learner("td3")
    learner.build_with_dataset(line_dataset())
    learner.save(str(tmp_path / "x.d3"))
    content = pickle.loads((tmp_path / "x.d3").read_bytes())
    assert {name: type(value) for name, value in content.items()} == {
        "torch": bytes,
        "config": str,
        "version": str,
    }
    assert json.loads(content["config"])["config"]["type"] == "td3"


def test_loggers_are_known_by_these_names_and_combined_in_this_attribute():
    assert d3rlpy.logging.WanDBAdapter.__name__ == "WanDBAdapter"
    assert d3rlpy.logging.TensorboardAdapter.__name__ == "TensorboardAdapter"
    noop = d3rlpy.logging.NoopAdapterFactory().create(None, "logs", 1)
    assert d3rlpy.logging.CombineAdapter([noop])._adapters == [noop]
    source = inspect.getsource(d3rlpy.logging.WanDBAdapter.write_metric)
    assert "step=step" in source  # W&B takes none below its last
    source = inspect.getsource(d3rlpy.logging.TensorboardAdapter.after_write_metric)
    assert "add_hparams" in source


def test_hyperparameters_are_written_before_any_metric():
    source = inspect.getsource(d3rlpy.algos.QLearningAlgoBase.fitter)
    assert source.index("save_config(self, logger)") < source.index("add_metric")


def test_networks_are_swapped_in_a_copy_of_a_learner_and_nowhere_else():
    # `with_networks` replaces an Impl's `_modules`, a frozen dataclass, and nothing else.
    learner = d3rlpy.algos.SACConfig().create()
    learner.create_impl((2,), 1)
    impl = learner.impl
    other = torch.nn.ModuleList(impl.modules.targ_q_funcs)
    view, view_impl = copy.copy(learner), copy.copy(impl)
    view_impl._modules = dataclasses.replace(impl.modules, targ_q_funcs=other)
    view._impl = view_impl
    assert view.impl.modules.targ_q_funcs is other
    assert learner.impl is impl
    assert impl.modules.targ_q_funcs is not other
    assert set(impl.modules.get_torch_modules()) == {
        "policy", "q_funcs", "targ_q_funcs", "log_temp",
    }  # fmt: skip
