import dataclasses
import json
from pathlib import Path

import d3rlpy
import numpy as np
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.imagination.file_content import digest_of
from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.runs.mixtures import mixture_of, parts_of, paths_to
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

DATASET = "pointmaze/umaze-dense-v0"
MODEL = {"dynamics.n_models": 2, "dynamics.n_elites": 1, "dynamics.hidden_units": [16]}
MODEL |= {"dynamics.weight_decays": [0.0, 0.0], "dynamics.max_steps": 5}
SMALL = {**MODEL, "rollout_batch_size": 50}
TWO = {f"{name}.{path}": v for name in ("romi", "mopo") for path, v in SMALL.items()}
TWO |= {"romi.rollout_policy": "uniform", "real_ratio": 0.5, "shares": [2, 1]}


def test_names_are_those_of_the_logs():
    assert parts_of("none") == {}
    assert parts_of("romi") == {"romi": "romi"}
    assert parts_of("romi+mopo") == {"romi": "romi", "mopo": "mopo"}
    assert parts_of("romi+mopo+romi") == {
        "romi_0": "romi",
        "mopo": "mopo",
        "romi_2": "romi",
    }
    assert paths_to("romi", "termination") == {"romi": "termination"}
    assert paths_to("romi+mopo", "halt") == {"romi": "romi.halt", "mopo": "mopo.halt"}


def test_a_type_that_has_a_plus_in_its_name_is_one_imagination(monkeypatch):
    from d3rlpy_mbo.registry import discovery

    found = discovery.registry()
    monkeypatch.setattr(found, "names", lambda kind: ["mine+yours", "romi"])
    monkeypatch.setattr("d3rlpy_mbo.runs.mixtures.registry", lambda: found)
    assert parts_of("mine+yours") == {"mine+yours": "mine+yours"}
    assert parts_of("mine+yours+romi") == {
        "mine": "mine",
        "yours": "yours",
        "romi": "romi",
    }


@dataclasses.dataclass()
class OurOwn(mbo.ImaginationConfig):
    @staticmethod
    def get_type():
        return "our+own"


@dataclasses.dataclass()
class OurOthers(mbo.ImaginationConfig):
    @staticmethod
    def get_type():
        return "our.others"


def test_so_is_one_that_no_plugin_registers():
    assert list(mixture_of("our+own", {}).configs) == ["our+own"]


def test_a_type_that_has_a_point_in_its_name_has_settings_in_a_mixture():
    settings = {"our.others.rollout_length": 7, "real_ratio": 0.5}
    mixture = mixture_of("our.others+romi", settings)
    assert mixture.configs["our.others"].rollout_length == 7


def test_each_has_its_settings_and_the_buffer_has_the_rest():
    mixture = mixture_of(
        "romi+mopo",
        {
            "romi.rollout_length": 3,
            "mopo.penalty.coef": 2.5,
            "real_ratio": 0.25,
            "shares": [2, 1],
        },
    )
    assert list(mixture.configs) == ["romi", "mopo"]
    assert mixture.configs["romi"].rollout_length == 3
    assert mixture.configs["mopo"].penalty.coef == 2.5
    assert mixture.settings["romi"] == {"rollout_length": 3}
    assert (mixture.real_ratio, mixture.shares) == (0.25, [2, 1])
    one = mixture_of("romi", {"real_ratio": 0.25})
    assert one.configs["romi"].real_ratio == 0.25
    assert one.real_ratio is None


@pytest.mark.parametrize(
    ("imagination", "settings", "error", "words"),
    [
        ("romi+mopo", {}, mbo.CompositionError, r"have \[0.9, 0.05\].*real_ratio=0.5"),
        (
            "romi+mopo",
            {"rollout_length": 3, "real_ratio": 0.5},
            mbo.UnknownComponentError,
            "'rollout_length' of 'romi.mopo'.*romi.KEY or mopo.KEY",
        ),
        (
            "romi+mopo",
            {"romi.rolout_length": 3, "real_ratio": 0.5},
            mbo.UnknownComponentError,
            "rollout_length",
        ),
        (
            "romi+mopo",
            {"romi.real_ratio": 0.3, "real_ratio": 0.5},
            mbo.CompositionError,
            "romi.real_ratio would change nothing.*by shares",
        ),
        ("romi+mopa", {"real_ratio": 0.5}, mbo.UnknownComponentError, "'mopo'"),
        ("romi+", {"real_ratio": 0.5}, mbo.UnknownComponentError, "named ''"),
        ("none", {"real_ratio": 0.5}, mbo.CompositionError, "imagination is 'none'"),
    ],
)
def test_what_is_not_whose_or_not_enough_is_said(imagination, settings, error, words):
    with pytest.raises(error, match=words):
        mixture_of(imagination, settings)


def test_a_file_of_one_model_is_refused_for_several():
    run = Experiment(
        DATASET, "bcq", "romi+mopo", 2, imagination_settings=TWO, dynamics_file="a.mbo"
    )
    with pytest.raises(mbo.CompositionError, match="several models.*'a.mbo'"):
        run.mixture()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    pytest.importorskip("gymnasium_robotics")
    root = tmp_path_factory.mktemp("mixtures") / "minari"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        collect_pointmaze("pointmaze-umaze-dense", n_steps=700, n_reference_episodes=2)
        yield root


def run_of_two(**changes) -> Experiment:
    settings = {"imagination": "romi+mopo", "imagination_settings": TWO, **changes}
    batch = {"batch_size": 16}
    return Experiment(DATASET, "td3_plus_bc", n_steps=4, n_steps_per_epoch=2, n_trials=1,
                      learner_settings=batch, **settings)  # fmt: skip


@pytest.mark.training
def test_a_run_of_two_is_that_of_fit_with_both_and_leaves_both(root, tmp_path):
    result = run_of_two().run(tmp_path / "run")
    d3rlpy.seed(0)
    learner = d3rlpy.algos.TD3PlusBCConfig(batch_size=16).create()
    both = [
        mixture_of(name, {p.partition(".")[2]: v for p, v in TWO.items() if name in p})
        for name in ("romi", "mopo")
    ]
    imaginations = [each.create() for one in both for each in one.configs.values()]
    dataset, env = mbo.load_minari(DATASET)
    mbo.fit(
        learner,
        dataset,
        imaginations,
        n_steps=4,
        n_steps_per_epoch=2,
        env=env,
        n_trials=1,
        real_ratio=0.5,
        shares=[2, 1],
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    states = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
    trained = mbo.load_learner(tmp_path / "run" / "learner.d3")
    assert trained.predict(states).tolist() == learner.predict(states).tolist()
    types = [each["type"] for each in result["imagination"]]
    assert types == ["romi", "mopo"]
    for name, direction in (("romi", "reverse"), ("mopo", "forward")):
        saved = mbo.load_imagination(tmp_path / "run" / "imaginations" / f"{name}.mbo")
        assert saved.dynamics.direction == direction
        assert result["metrics"][-1][f"{name}_model_holdout_error"] > 0
    assert result["metrics"][-1]["imagined_share"] == pytest.approx(0.5, abs=0.1)
    assert not (tmp_path / "run" / "imagination.mbo").exists()


@pytest.mark.training
def test_models_of_two_are_taken_in_their_order(root, tmp_path):
    run_of_two().run(tmp_path / "own")
    files = [tmp_path / "own" / "imaginations" / f"{n}.mbo" for n in ("romi", "mopo")]
    models = [mbo.load_imagination(file).dynamics for file in files]
    for model in models:
        model.fit = None
    run_of_two(seed=1).run(tmp_path / "given", dynamics=models)
    for name, model in zip(("romi", "mopo"), models, strict=True):
        file = tmp_path / "given" / "imaginations" / f"{name}.mbo"
        saved = mbo.load_imagination(file).dynamics
        assert digest_of(saved.state_dict()) == digest_of(model.state_dict())


@pytest.mark.training
def test_a_run_that_was_killed_while_it_was_put_in_its_place_is_put_there_again(
    root, tmp_path, monkeypatch
):
    def killed(self, target):
        if target == tmp_path / "learner.d3":  # which comes after the imaginations
            raise KeyboardInterrupt
        return replace(self, target)

    replace = Path.replace
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_of_two().run(tmp_path)
    monkeypatch.setattr(Path, "replace", replace)
    result = run_of_two().run(tmp_path, resume=True)
    assert [each["type"] for each in result["imagination"]] == ["romi", "mopo"]
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    files = {"imaginations/romi.mbo", "imaginations/mopo.mbo", "learner.d3"}
    assert {*files, "result.json"} <= left
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.training
def test_a_run_that_replaces_another_leaves_none_of_its_imaginations(root, tmp_path):
    def left():
        found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.mbo"))
        written = json.loads((tmp_path / "result.json").read_bytes())["imagination"]
        return found, type(written)

    one = run_of_two(imagination="mopo", imagination_settings=SMALL)
    none = run_of_two(imagination="none", imagination_settings={})
    of_two = ["imaginations/mopo.mbo", "imaginations/romi.mbo"]
    for run, files, kind in (
        (run_of_two(), of_two, list),
        (one, ["imagination.mbo"], dict),
        (run_of_two(), of_two, list),
        (none, [], type(None)),
    ):
        run.run(tmp_path, force=True)
        assert left() == (files, kind)
        if kind is list:
            (tmp_path / "imaginations" / "mine.txt").write_text("the user's")
    assert [path.name for path in (tmp_path / "imaginations").iterdir()] == ["mine.txt"]
