import contextlib
import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium_robotics")
image = pytest.importorskip("matplotlib.image")
pytest.importorskip("altair")

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import demo  # noqa: E402
import demo_picture  # noqa: E402
from page_reader import PageReader  # noqa: E402

pytestmark = pytest.mark.training

TINY = demo.Settings(
    n_rows=3_000,
    n_reference_episodes=1,
    n_models=2,
    n_elites=1,
    max_model_steps=20,
    rollout_batch_size=100,
    hidden_units=(8,),
    n_steps=6,
    n_steps_per_epoch=2,
    n_trials=1,
    n_final_epochs=2,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the whole demo: folder, printed text, table, result.json of each."""
    found = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", "set by the runs, restored after")
        for _ in range(2):
            folder = tmp_path_factory.mktemp("demo")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                lines = demo.run(dataclasses.replace(TINY, folder=folder), map)
            result = json.loads((folder / "result.json").read_text())
            found.append((folder, printed.getvalue(), lines, result))
    return found


def test_table_has_a_row_for_each_method_and_is_printed(runs):
    _, printed, lines, result = runs[0]
    assert [line[:12].strip() for line in lines[1:]] == list(demo.METHODS)
    assert "\n".join(lines) in printed
    assert [len(returns) for returns in result["returns"].values()] == [3, 3]


def test_picture_is_not_empty(runs):
    pixels = image.imread(runs[0][0] / "romi.png")
    assert pixels.shape[0] > 500
    assert pixels.min() < 0.1 < 0.9 < pixels.max()


def test_same_seed_gives_the_same_numbers(runs):
    (_, _, lines, result), (_, _, lines_again, result_again) = runs
    assert lines_again == lines
    for name in ("returns", "imagined_states_inside_walls"):
        assert result_again[name] == result[name]


def test_everything_stays_in_the_demos_folder(runs):
    names = {path.name for path in runs[0][0].iterdir()}
    expected = {"datasets", "forward.mbo", "reverse.mbo", "result.json", "romi.png"}
    assert names == expected | {"model.html"}


def test_the_page_about_the_reverse_model_is_written_and_named(runs):
    folder, printed, *_ = runs[0]
    assert f"Open {folder / 'model.html'} in a browser." in printed
    read = PageReader(folder / "model.html")
    assert read.data["diagnosis"]["direction"] == "reverse"
    assert "Rollouts in the maze" in read.charts


def test_reported_return_is_the_mean_of_the_last_evaluations(monkeypatch):
    class Stored:
        class storage:  # noqa: N801
            metadata = {  # noqa: RUF012
                "ref_min_score": 0.0,
                "ref_max_score": 200.0,
                "d4rl_ref_min_score": 20.0,
                "d4rl_ref_max_score": 120.0,
            }

    monkeypatch.setattr(demo.minari, "load_dataset", lambda dataset_id: Stored)
    lines = demo.table(TINY, [[500.0, 60.0, 80.0], [500.0, 20.0, 20.0]])
    assert lines[1].split() == ["BCQ", "70.0", "±", "10.0", "35.0", "50.0"]
    assert lines[2].split() == ["BCQ", "+", "ROMI", "20.0", "±", "0.0", "10.0", "0.0"]


def test_a_state_is_inside_a_wall_up_to_its_faces():
    positions = [(0.0, 0.0), (0.51, 0.0), (-1.0, 1.49), (0.0, -1.6)]
    states = torch.tensor([(*position, 0.0, 0.0) for position in positions])
    inside = demo_picture.inside_walls(demo_picture.PointMaze(), states)
    assert inside.tolist() == [True, False, False, True]


def test_missing_extra_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(
        demo, "find_spec", lambda name: None if name == "matplotlib" else name
    )
    with pytest.raises(
        SystemExit, match=r"needs matplotlib\..*'d3rlpy-mbo\[mujoco,plot,report\]'"
    ):
        demo.main(TINY)


def test_rollouts_are_drawn_as_long_as_those_trained_on(runs, monkeypatch):
    folder, _, lines, result = runs[0]
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "datasets"))
    dataset, _, maze = demo.load_walk()
    drawn = []
    monkeypatch.setattr(
        demo_picture,
        "draw_rollouts",
        lambda axes, maze, imagined: drawn.append(imagined.rollout_ids.bincount()),
    )
    paths = [[np.zeros((2, 4))] * 3] * 2
    shares = result["imagined_states_inside_walls"]
    demo_picture.draw(folder, dataset, maze, 5, paths, lines, shares)
    assert demo.Settings.rollout_length == 5
    for lengths in drawn:
        assert len(lengths) == demo_picture.N_DRAWN
        assert lengths.max() == 5
