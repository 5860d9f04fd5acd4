"""Studies and runs as a page: its numbers, and whatever may lie in their folders."""

import json
import math
import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from study_folders import STUDY, content, log, study, write

from page_reader import PageReader

pytest.importorskip("altair")
pytest.importorskip("joblib")
pytest.importorskip("vl_convert")

from d3rlpy_mbo.cli import main
from d3rlpy_mbo.study import page_charts
from d3rlpy_mbo.study.commands import page_of
from d3rlpy_mbo.study.execution import KILLED
from d3rlpy_mbo.study.page_charts import learning_curves, metric_charts
from d3rlpy_mbo.study.results import Row

A, B = "maze/a-v0", "maze/b-v0"
OLD = Path(__file__).parents[1] / "version_0_1" / "study"


def reported(tmp_path, *folders, exit_code=0):
    page = tmp_path / "page.html"
    arguments = ["report", *map(str, folders), "--html", str(page)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == exit_code, result.output
    return PageReader(page), result.output


def test_beside_real_rewards_it_is_said_what_imagined_ones_hold():
    metrics = {
        "real_reward_mean": 2.0,
        "mopo_reward_mean": -1.0,
        "mopo_penalty_mean": 3,
    }
    content = {"evaluations": [], "metrics": [metrics], "steps": [10]}
    charts = {c.title: c for c in metric_charts({"m": [Row(0, content, 1)]}, {}, 9)}
    assert "after a penalty" in charts["Imagined rewards against real ones"].caption
    assert "after a" not in charts["Penalty on imagined rows"].caption


def test_names_of_metrics_are_looked_at_once_a_run_however_many_epochs(monkeypatch):
    asked, follows = [], page_charts._follows
    monkeypatch.setattr(
        page_charts, "_follows", lambda *names: asked.append(1) or follows(*names)
    )
    counts = []
    for n_epochs in (2, 50):
        metrics = [{"mopo_penalty_mean": i, "loss": 1.0} for i in range(n_epochs)]
        metrics[0] = {"loss": 1.0}  # a name may be of later epochs alone
        content = {
            "evaluations": [], "metrics": metrics, "steps": [*range(n_epochs)],
        }  # fmt: skip
        asked.clear()
        (chart,) = metric_charts({"m": [Row(0, content, 1)]}, {}, 99)
        values = chart.spec["data"]["values"]
        assert [(p["x"], p["y"]) for p in values] == [
            (i, i) for i in range(1, n_epochs)
        ]
        counts.append(len(asked))
    assert counts[0] == counts[1]


_COLUMN = {"name": "x", "error": 0.5, "bias": 0.0, "naive_error": 1.0}
DIAGNOSIS = {
    **dict.fromkeys(("calibration", "ends", "rollouts", "values")),
    "imagination": "romi",
    "direction": "reverse",
    "rollout_length": 5,
    "rows": 10,
    "judged_on": "10 rows",
    "seed": 0,
    "one_step": {
        "columns": [{**_COLUMN, "unexplained": 0.25, "spread": 2.0}],
        "rare_reward": None,
        "alignment": None,
        "finite_share": 1.0,
    },
    "open_loop": [],
    "penalties": [],
    "left_out": [],
    "verdicts": [{"subject": "reward", "ok": False, "text": "not learned"}],
}


def drawn(read, title):
    """(series, x, y) of each point of a chart."""
    spec = read.charts[title]
    return {(p["series"], p["x"], p["y"]) for p in spec["data"]["values"]}


def test_numbers_in_the_page_are_those_of_the_results(tmp_path):
    metrics = [
        {},
        {"q_real_mean": 2.25},
        {"q_real_mean": 2.5, "romi_model_holdout_error": 0.125},
    ]
    runs = {
        (A, "bcq", 0): content([1.5, 20.25, 30.125]),
        (A, "bcq", 1): content([2.5, 40.0, 50.0], seed=1),
        (A, "romi", 0): content([3.5, 60.5, 70.75], metrics, imagination="romi"),
    }
    folder = study(tmp_path / "s", runs)
    read, _ = reported(tmp_path, folder)
    for (_, method, seed), result in runs.items():
        run = str(folder / "maze-a-v0" / method / f"seed-{seed}")
        assert read.data["evaluations"][run] == result["evaluations"]
        last = [each["return"] for each in result["evaluations"][-2:]]
        ((_, numbers),) = (row for row in read.tables["Runs"] if row[0] == run)
        assert numbers == [seed, sum(last) / 2, last[-1], 7.5, 90.25]
    returns = dict(read.tables["Returns"][1:])
    assert returns["bcq"][:3] == [2, (25.1875 + 45) / 2, (25.1875 + 45) / 4]
    difference = dict(read.tables["Differences in pairs of one seed"][1:])
    assert difference["romi - bcq"] == [1, 65.625 - 25.1875]
    assert drawn(read, "Learning curves") == {
        ("bcq", 10, 2.0),
        ("bcq", 20, 30.125),
        ("bcq", 30, 40.0625),
        ("romi", 10, 3.5),
        ("romi", 20, 60.5),
        ("romi", 30, 70.75),
    }
    band = [p for p in read.charts["Learning curves"]["data"]["values"] if "low" in p]
    assert {(p["x"], p["low"], p["high"]) for p in band} == {
        (10, 1.5, 2.5),
        (20, 20.25, 40.0),
        (30, 30.125, 50.0),
    }
    assert drawn(read, "What the learner believes") == {
        ("romi", 20, 2.25),
        ("romi", 30, 2.5),
    }
    assert drawn(read, "The model on its hold-out rows") == {("romi", 30, 0.125)}


def test_a_chart_has_a_line_for_each_of_several_imaginations(tmp_path):
    one = {"romi_model_holdout_error": 0.5, "romi_reward_mean": 4.0}
    two = {**one, "real_reward_mean": 3.0, "mopo_model_holdout_error": 0.25}
    runs = {
        (A, "bcq", 0): content([1.0] * 3, [{}, {}, one], imagination="romi"),
        (A, "romi", 0): content([1.0] * 3, [{}, {}, two], imagination="romi+mopo"),
    }
    read, _ = reported(tmp_path, study(tmp_path / "s", runs))
    chart = read.charts["The model on its hold-out rows"]["data"]["values"]
    assert {(p["series"], p["style"], p["y"]) for p in chart} == {
        ("bcq", "all columns, romi", 0.5),
        ("romi", "all columns, romi", 0.5),
        ("romi", "all columns, mopo", 0.25),
    }
    chart = read.charts["Imagined rewards against real ones"]["data"]["values"]
    assert {(p["series"], p["style"], p["y"]) for p in chart} == {
        ("bcq", "imagined", 4.0),
        ("romi", "imagined", 4.0),
        ("romi", "real", 3.0),
    }


def test_references_of_a_single_run_that_are_equal_are_none(tmp_path):
    what = {**content([2.0, 4.0]), "reference_scores": [0.0, 0.0]}
    read, _ = reported(tmp_path, write(tmp_path / "run" / "result.json", what))
    assert dict(read.tables["Returns"][1:])["bcq"][:2] == [1, 3.0]
    assert "is 100" not in read.text


def test_a_seed_that_diverged_leaves_gaps_and_is_named_in_the_page(tmp_path):
    whole = [{"q_real_mean": 1.0}, {"q_real_mean": 2.0}, {"q_real_mean": 3.0}]
    torn = [{"q_real_mean": 3.0}, {"q_real_mean": None}, {"q_real_mean": None}]
    runs = {
        (A, "bcq", 0): content([1.0, 2.0, 3.0], whole),
        (A, "bcq", 1): content([3.0, 4.0, None], torn, seed=1),
    }
    read, _ = reported(tmp_path, study(tmp_path / "s", runs))
    assert "not finite in 1 of 2" in read.text
    assert "In 1 of the finished runs returns are not finite" in read.text
    assert dict(read.tables["Returns"][1:])["bcq"][:1] == [2]
    assert drawn(read, "Learning curves") == {("bcq", 10, 2.0), ("bcq", 20, 3.0)}
    assert drawn(read, "What the learner believes") == {("bcq", 10, 2.0)}
    ((_, numbers),) = (row for row in read.tables["Runs"] if "seed-1" in row[0])
    assert numbers == [1, 7.5, 90.25]  # neither a score nor a last evaluation


def test_a_study_that_runs_is_shown_as_far_as_it_is(tmp_path):
    folder = study(tmp_path / "s", {(A, "bcq", 0): content([1.0, 2.0, 3.0])})
    running = folder / "maze-a-v0" / "romi" / "seed-1"
    log(
        running,
        environment="1,10,4.5\n2,20,5.5\n3,30,6",  # the last line is being written
        q_real_mean="1,10,0.25\n2,20,nan\n",
        romi_fit_dynamics_holdout_error="1,500,0.5\n",
        **{"q_funcs.0.weight_grad": "1,10,1.0\n"},
    )
    write(running.with_name("seed-1.error.txt"), KILLED)
    read, _ = reported(tmp_path, folder)
    assert "1 of 8 runs" in read.text
    assert "maze-a-v0/romi/seed-1: 20 of 30 steps" in read.text
    assert "killed before" not in read.text  # who knows: it may well run
    assert ("romi", 20, 5.5) in drawn(read, "Learning curves")
    assert ("romi", 30, 6) not in drawn(read, "Learning curves")
    assert drawn(read, "What the learner believes") == {("romi", 10, 0.25)}
    assert [row[0] for row in read.tables["Returns"][1:]] == ["bcq"]  # finished ones


def test_what_a_kill_left_empty_or_torn_of_a_run_is_no_error(tmp_path):
    folder = study(tmp_path / "s", {})
    running = folder / "maze-a-v0" / "romi" / "seed-1"
    log(running, environment="1,10,4.5\n2,20,5.5\n")
    torn = running / "unfinished" / "logs" / "q_real_mean.csv"
    torn.write_bytes(b"1,10,0.25\n2,2\xff")
    write(running.with_name("seed-1.error.txt"), "")
    read, _ = reported(tmp_path, folder)
    assert "maze-a-v0/romi/seed-1: 20 of 30 steps" in read.text
    assert drawn(read, "What the learner believes") == {("romi", 10, 0.25)}


def test_an_empty_study_says_that_nothing_is_there_yet(tmp_path):
    read, _ = reported(tmp_path, study(tmp_path / "s", {}))
    assert "0 of 8 runs" in read.text
    assert "not run" in read.text
    assert not read.tables
    assert not read.charts


@pytest.mark.parametrize(
    ("torn", "words"),
    [
        (json.dumps(content([1.0, 2.0, 3.0]))[:-40], "is damaged"),
        ({"weights": [1, 2]}, "evaluations is None"),
        (content([1.0, 2.0]), "has 2 evaluations, expected 3"),
        ({**content([1.0, 2.0, 3.0]), "seconds": "long"}, "seconds is 'long'"),
    ],
)
def test_a_result_that_cannot_be_read_is_named_and_the_rest_is_shown(
    tmp_path, torn, words
):
    runs = {(A, "bcq", 0): torn, (A, "romi", 0): content([1.0, 2.0, 4.0])}
    read, output = reported(tmp_path, study(tmp_path / "s", runs), exit_code=1)
    for text in (read.text, output):
        assert words in " ".join(text.split())
        assert "bcq/seed-0/result.json" in text
    assert [row[0] for row in read.tables["Returns"][1:]] == ["romi"]


def test_a_failed_run_is_named_with_its_error(tmp_path):
    folder = study(tmp_path / "s", {(A, "bcq", 0): content([1.0, 2.0, 3.0])})
    error = "Traceback ...\nd3rlpy_mbo.DivergedError: all of it is NaN\n"
    write(folder / "maze-a-v0" / "romi" / "seed-0.error.txt", error)
    read, _ = reported(tmp_path, folder)
    assert "DivergedError: all of it is NaN" in read.text


def test_a_study_of_version_0_1_is_shown(tmp_path):
    read, _ = reported(tmp_path, OLD)
    runs = [row for row in read.tables["Runs"] if "romi/seed-0" in row[0]]
    written = json.loads((OLD / "v01-umaze-v0/romi/seed-0/result.json").read_text())
    assert runs[0][1][2] == written["evaluations"][-1]["return"]


def test_runs_of_different_datasets_stand_apart_and_are_never_averaged(tmp_path):
    runs = [
        write(tmp_path / "a" / "result.json", content([1.0, 3.0])),
        write(tmp_path / "b" / "result.json", content([100.0, 300.0], dataset=B)),
    ]
    read, _ = reported(tmp_path, *runs)
    assert dict(read.tables["Returns"][1:])["bcq"][:2] == [1, 2.0]
    assert dict(read.tables["Returns (2)"][1:])["bcq"][:2] == [1, 200.0]
    assert drawn(read, "Learning curves") == {("bcq", 10, 1.0), ("bcq", 20, 3.0)}
    assert drawn(read, "Learning curves (2)") == {
        ("bcq", 10, 100.0),
        ("bcq", 20, 300.0),
    }
    assert "All datasets together" not in read.text


def test_runs_that_differ_but_for_the_seed_are_one_method_others_are_apart(tmp_path):
    larger = {"batch_size": 64}
    runs = [
        write(tmp_path / name / "result.json", what)
        for name, what in {
            "a": content([2.0, 4.0]),
            "b": content([4.0, 8.0], seed=1),
            "c": content([6.0, 6.0], learner_settings=larger),
            "copy": content([2.0, 4.0]),
        }.items()
    ]
    read, _ = reported(tmp_path, *runs)
    returns = dict(read.tables["Returns"][1:])
    assert returns[f"bcq ({tmp_path / 'a'})"][:2] == [2, (3 + 6) / 2]
    assert returns[f"bcq ({tmp_path / 'c'})"][:2] == [1, 6.0]
    assert f"{tmp_path / 'copy'} has the settings and the seed" in read.text
    settings = [name for name, _ in read.tables["Settings that differ"][1:]]
    assert settings == ["learner_settings.batch_size"]


def test_versions_that_differ_say_in_how_many_runs(tmp_path):
    newer = content([2.0], seed=1)
    newer["versions"] = {"python": "3.12.1", "torch": "2.13.0"}
    runs = [
        write(tmp_path / name / "result.json", what)
        for name, what in {"a": content([1.0]), "b": newer}.items()
    ]
    read, _ = reported(tmp_path, *runs)
    assert "3.11.7 (1 runs), 3.12.1 (1 runs)" in read.text
    assert "2.13.0 (" not in read.text


def test_runs_that_nobody_evaluated_are_shown_by_what_was_logged(tmp_path):
    what = content([1.0, 2.0], [{"q_real_mean": 0.5}, {"q_real_mean": 0.75}])
    what |= {"evaluations": [], "final_evaluation": None, "reference_scores": None}
    read, _ = reported(tmp_path, write(tmp_path / "a" / "result.json", what))
    assert "its dataset names no environment" in read.text
    assert drawn(read, "What the learner believes") == {
        ("bcq", 10, 0.5),
        ("bcq", 20, 0.75),
    }
    assert "Returns" not in read.tables


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("{", "is damaged"),
        ({**content([1.0]), "experiment": 3}, "experiment is 3"),
        ({k: v for k, v in content([1.0]).items() if k != "experiment"}, "experiment"),
    ],
)
def test_a_run_that_cannot_be_read_is_named_beside_the_others(tmp_path, what, words):
    good = write(tmp_path / "a" / "result.json", content([1.0, 3.0]))
    torn = write(tmp_path / "torn" / "result.json", what)
    read, output = reported(tmp_path, torn, good, exit_code=1)
    for text in (read.text, output):
        assert words in text
        assert str(torn) in text
    assert dict(read.tables["Returns"][1:])["bcq"][1] == 2.0


def test_a_run_that_has_just_begun_is_named(tmp_path):
    (tmp_path / "run" / "unfinished").mkdir(parents=True)
    read, _ = reported(tmp_path, tmp_path / "run")
    assert "no epoch is complete yet" in read.text


def test_a_folder_that_is_neither_is_refused_by_name(tmp_path):
    (tmp_path / "nothing").mkdir()
    result = CliRunner().invoke(
        main, ["report", str(tmp_path / "nothing"), "--html", str(tmp_path / "x.html")]
    )
    assert result.exit_code == 1
    assert "nothing" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "x.html").exists()


def test_names_of_methods_and_folders_are_text_never_markup(tmp_path):
    name = "<script>alert(1)<img src=x onerror=alert(1)>"
    text = STUDY.replace("[methods.romi]", f'[methods."{name}"]')
    text = text.replace('["romi", "bcq"]', f'["{name}", "bcq"]')
    runs = {
        (A, "bcq", 0): content([1.0, 2.0, 3.0]),
        (A, name, 0): content([1.0, 2.0, 3.0], imagination="<b>romi"),
    }
    read, _ = reported(tmp_path, study(tmp_path / "<i>s", runs, text))
    tags = [tag for tag, _ in read.tags]
    assert "img" not in tags
    assert "i" not in tags
    assert name in read.text
    assert {series for series, *_ in drawn(read, "Learning curves")} == {"bcq", name}


def test_names_of_datasets_and_learners_are_text_never_markup(tmp_path):
    hostile = "</script><script>alert(1)</script>"
    what = content([1.0, 2.0], dataset=f"a/{hostile}-v0", learner=hostile)
    what["versions"] = {hostile: hostile}
    (tmp_path / "run").mkdir()
    read, _ = reported(tmp_path, write(tmp_path / "run" / "result.json", what))
    plain, _ = reported(
        tmp_path, write(tmp_path / "plain" / "result.json", content([1.0, 2.0]))
    )
    scripts = [[tag for tag, _ in each.tags].count("script") for each in (read, plain)]
    assert scripts[0] == scripts[1]
    assert f"a/{hostile}-v0" in read.text
    assert {series for series, *_ in drawn(read, "Learning curves")} == {hostile}


def test_a_diagnosis_beside_a_run_is_in_the_page_and_a_damaged_one_is_named(tmp_path):
    folder = write(tmp_path / "run" / "result.json", content([1.0]))
    write(folder / "old.diagnosis.json", '{"imagination": "romi"')
    read, _ = reported(tmp_path, folder, exit_code=1)
    assert "old.diagnosis.json" in read.text
    write(folder / "diagnosis.json", DIAGNOSIS)
    read, _ = reported(tmp_path, folder, exit_code=1)
    assert "1 of 1 verdicts are NOT ok" in read.text
    assert dict(read.tables["One step, by column"][1:])["x"] == [0.5, 1.0, 0, 0.25, 2.0]


def test_a_diagnosis_that_cannot_be_shown_is_named_and_costs_nobody_the_page(tmp_path):
    run = content([1.0, 2.0, 3.0])
    folder = study(tmp_path / "s", {(A, "bcq", 0): run, (A, "romi", 0): run})
    others = ("low", "high", "standing_still", "columns", "finite")
    torn = {"sequences": 3, "median": [0.5], **{each: [] for each in others}}
    write(folder / "diagnosis.json", {**DIAGNOSIS, "open_loop": [torn]})
    write(folder / "good.diagnosis.json", DIAGNOSIS)
    read, output = reported(tmp_path, folder, exit_code=1)
    for text in (read.text, output):
        assert f"{folder / 'diagnosis.json'}: it cannot be shown" in text
    assert "1 of 1 verdicts are NOT ok" in read.text
    assert len(read.tables["Returns"]) == 3
    assert page_of(folder).startswith("Wrote")


def test_what_was_written_as_nan_is_null_in_the_page(tmp_path):
    what = content([1.0, 2.0, 3.0])
    what["evaluations"][1]["return"] = math.nan
    folder = write(tmp_path / "run" / "result.json", what)
    read, _ = reported(tmp_path, folder)
    returns = [each["return"] for each in read.data["evaluations"][str(folder)]]
    assert returns == [1.0, None, 3.0]


def test_work_that_is_done_does_not_end_in_the_fault_of_its_page(tmp_path, monkeypatch):
    folder = write(tmp_path / "run" / "result.json", content([1.0]))

    def failing(*_):
        raise ZeroDivisionError("of somebody's")

    monkeypatch.setattr("d3rlpy_mbo.study.page.write_page", failing)
    said = page_of(folder)
    assert "No page was written: ZeroDivisionError: of somebody's." in said
    assert f"d3rlpy-mbo report {folder} --html" in said


def test_what_would_write_the_page_can_be_pasted(tmp_path):
    folder = tmp_path / "a run; of 'mine'"
    words = shlex.split(page_of(folder).partition("Then run: ")[2])
    assert words[1:] == ["report", str(folder), "--html", str(folder / "report.html")]


def test_a_folder_whose_name_is_no_utf8_is_shown_with_that_byte_escaped(tmp_path):
    folder = tmp_path / os.fsdecode(b"run-\xe9")
    write(folder / "result.json", content([1.0]))
    read, _ = reported(tmp_path, folder)
    assert r"run-\udce9" in read.text


def test_a_page_of_many_long_runs_is_below_five_megabytes(tmp_path):
    metrics = [{"q_real_mean": 1 / (i + 1)} for i in range(1000)]
    runs = [
        write(
            tmp_path / f"{i}" / "result.json",
            content(
                [math.sin(i * step) for step in range(1000)],
                metrics,
                learner_settings={"batch_size": i},
            ),
        )
        for i in range(6)
    ]
    page = tmp_path / "page.html"
    CliRunner().invoke(main, ["report", *map(str, runs), "--html", str(page)])
    assert 1_000_000 < page.stat().st_size < 5_000_000


def test_a_long_curve_keeps_its_last_point():
    rows = [Row(0, content([float(i) for i in range(101)]), 2)]
    chart = learning_curves({"bcq": rows}, {}, "", most=10)
    points = chart.spec["data"]["values"]
    assert len(points) <= 10
    assert points[-1]["x"] == 1010
    assert points[-1]["y"] == 100.0


def test_tables_of_runs_are_printed_without_a_page(tmp_path):
    folder = write(tmp_path / "run" / "result.json", content([2.0, 4.0]))
    result = CliRunner().invoke(main, ["report", str(folder)])
    assert result.exit_code == 0, result.output
    assert "| bcq | 1 | 3.0 |" in result.output
