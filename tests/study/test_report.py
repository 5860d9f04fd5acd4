import importlib
import io
import json
import math
import os
import re
import shutil
import statistics
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

import matplotlib
from click.testing import CliRunner
from study_folders import content, write

from d3rlpy_mbo.cli import main
from d3rlpy_mbo.study import figures, records, report
from d3rlpy_mbo.study.intervals import interquartile_mean, mean, paired, welch
from d3rlpy_mbo.study.results import Row, Task
from d3rlpy_mbo.support.errors import CompositionError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STUDY = """
datasets = ["maze/a-v0"]
seeds = [{seeds}]
n_steps = 30
n_steps_per_epoch = 10
n_trials = 1
n_last = 2
compare = [["romi", "bcq"]]
differs = ["smaller networks"]

[methods.bcq]
learner = "bcq"

[methods.romi]
learner = "bcq"
imagination = "romi"

[paper.romi]
source = "Wang et al. 2021, Table 1"
"maze/a-v0" = 139.5
"""


@pytest.fixture
def folder(tmp_path):
    """Writes a study's folder: the last two returns of each run, by method and seed."""

    def write(returns: dict[str, list[tuple[float, float]]], n_seeds=None, **more):
        n_seeds = n_seeds or len(returns["bcq"])
        seeds = ", ".join(map(str, range(n_seeds)))
        (tmp_path / "study.toml").write_text(STUDY.format(seeds=seeds))
        for method, runs in returns.items():
            for seed, last in enumerate(runs):
                path = tmp_path / "maze-a-v0" / method / f"seed-{seed}" / "result.json"
                path.parent.mkdir(parents=True)
                evaluations = [
                    {"step": 10 * (i + 1), "return": value}
                    for i, value in enumerate((1000.0, *last))
                ]
                content = {
                    "evaluations": evaluations,
                    "reference_scores": [0.0, 200.0],
                    "d4rl_reference_scores": [23.85, 161.86],
                    "final_evaluation": {"return": 7.0},
                    "metrics": [
                        {},
                        {},
                        {
                            "q_real_mean": 3.0,
                            "romi_q_value_mean": 9.0,
                            "romi_clipped_share": 0.5,
                        },
                    ],
                    "seconds": 1800,
                    **more,
                }
                path.write_text(json.dumps(content))
        return tmp_path

    return write


def reported(*arguments: object):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The cells of every table by first cell and column."""
    done = reported(folder)
    assert done.exit_code == 0, done.output
    found: dict[str, dict[str, str]] = {}
    head: list[str] = []
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif cells[0] != "---":
            found.setdefault(cells[0], {}).update(zip(head, cells, strict=True))
    return found


def test_the_score_is_the_mean_of_the_last_evaluations_never_the_best(folder):
    written = folder({"bcq": [(10, 20), (30, 40)], "romi": [(50, 70)]}, 2)
    table = rows(written)
    assert table["bcq"]["return"] == f"25.0 ± {statistics.stdev([15, 35]):.1f}"
    assert table["bcq"]["per seed"] == "15.0, 35.0"
    assert table["bcq"]["last evaluation"].startswith("30.0 ")
    assert table["bcq"]["final episodes"] == "7.0 ± 0.0"
    assert table["romi"]["seeds"] == "1"
    assert table["romi"]["return"] == "60.0"


def test_raw_returns_stand_beside_both_normalisations_and_the_papers_number(folder):
    values = [206.38, 226.38]
    written = folder({"bcq": [(v, v) for v in values], "romi": [(216.38, 216.38)]})
    table = rows(written)
    assert table["romi"]["return"] == "216.4"
    assert table["romi"]["score"] == "108.2"
    assert table["romi"]["D4RL score"] == table["romi"]["paper's D4RL score"] == "139.5"
    assert table["bcq"]["paper's D4RL score"] == "-"
    spread = statistics.stdev(values) / 10 * 7.2459  # a std of 10 is 7.2459
    assert table["bcq"]["D4RL score"] == f"139.5 ± {spread:.1f}"


def test_results_written_before_d4rls_scores_were_recorded_ask_the_dataset(
    folder, monkeypatch
):
    asked = []

    def known(dataset, prefix):
        asked.append((dataset, prefix))
        return 23.85, 161.86

    monkeypatch.setattr("d3rlpy_mbo.study.results.reference_scores", known)
    written = folder({"bcq": [(216.38, 216.38)], "romi": []})
    path = written / "maze-a-v0/bcq/seed-0/result.json"
    content = json.loads(path.read_text())
    del content["d4rl_reference_scores"], content["final_evaluation"]
    path.write_text(json.dumps(content))
    table = rows(written)
    assert table["bcq"]["D4RL score"] == "139.5"
    assert table["bcq"]["final episodes"] == "-"
    assert asked == [("maze/a-v0", "d4rl_")]


def test_returns_that_are_shares_have_places_enough_to_differ(folder):
    table = rows(folder({"bcq": [(0.78, 0.79)], "romi": [(0.787, 0.787)]}))
    assert table["bcq"]["return"] == table["bcq"]["per seed"] == "0.7850"
    assert table["bcq"]["last evaluation"] == "0.7900"
    assert table["romi - bcq"]["mean"] == "0.0020"
    assert table["romi - bcq"]["per seed"] == "+0.0020"


def test_returns_in_millions_are_grouped_and_told_apart(folder):
    millions = [(2_722_182.7, 2_722_182.7), (1e6, 1e6)]
    table = rows(folder({"bcq": millions, "romi": [(5e6, 5e6), (999.9, 999.9)]}))
    assert table["bcq"]["return"] == "1,861,091 ± 1,217,767"
    assert table["bcq"]["per seed"] == "2,722,183; 1,000,000"
    assert table["romi - bcq"]["per seed"] == "+2,277,817; -999,000"


def test_differences_are_of_pairs_of_one_seed(folder):
    written = folder({"bcq": [(1, 1), (100, 100)], "romi": [(2, 2), (103, 103)]})
    difference = rows(written)["romi - bcq"]
    assert difference["per seed"] == "+1.0, +3.0"
    assert difference["mean"] == "2.0 ± 1.4"


def test_fewer_than_five_seeds_have_a_spread_and_no_interval(folder):
    four = [(float(i), float(i)) for i in range(4)]
    written = folder({"bcq": four, "romi": four})
    table = rows(written)
    assert "interquartile mean [95 %]" not in table["bcq"]
    assert table["romi - bcq"]["mean [95 %]"] == "-"
    assert table["romi - bcq"]["Welch's [95 %]"] == "-"
    assert "±" in table["bcq"]["return"]


@pytest.mark.training
def test_five_seeds_have_the_interquartile_mean_and_intervals(folder):
    pytest.importorskip("rliable")
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    written = folder(
        {"bcq": [(0.0, 0.0)] * 5, "romi": [(value, value) for value in values]}
    )
    table = rows(written)
    # Of five, one at each end is left out.
    assert table["romi"]["interquartile mean [95 %]"].startswith("3.0 [")
    assert table["romi - bcq"]["mean [95 %]"].startswith("22.0 [")
    # One does not spread: 2.776 standard errors of the other, 43.618 / 5 ** 0.5.
    assert table["romi - bcq"]["Welch's [95 %]"] == "22.0 [-32.2, 76.2]"


@pytest.mark.parametrize(
    ("name", "column"),
    [("reference_scores", "score"), ("d4rl_reference_scores", "D4RL score")],
)
def test_references_that_are_equal_are_none(folder, name, column):
    written = folder({"bcq": [(1, 1)], "romi": [(2, 2)]}, **{name: [0.0, 0.0]})
    table = rows(written)
    assert column not in table["bcq"]
    assert table["bcq"]["return"] == "1.0"
    report.write([written], written / "tables.md")
    assert (written / "tables-maze-a-v0.png").read_bytes()[1:4] == b"PNG"


def test_a_seed_without_a_finite_return_is_counted_and_no_mean_hides_it(folder):
    written = folder({"bcq": [(1, 0.25), (1, None)], "romi": [(0.5, 0.5)] * 2})
    table = rows(written)
    for column in ("return", "score", "last evaluation"):
        assert table["bcq"][column] == "not finite in 1 of 2"
    assert table["bcq"]["per seed"] == "0.6250, not finite"
    # The first score is finite or not: places are those of the scores that there are.
    assert table["romi"]["return"] == "0.5000 ± 0.0000"
    assert table["romi - bcq"]["mean"] == "not finite in 1 of 2"
    assert table["romi - bcq"]["per seed"] == "-0.1250, not finite"
    report.write([written], written / "tables.md")
    assert (written / "tables-maze-a-v0.png").read_bytes()[1:4] == b"PNG"


def test_returns_have_the_places_of_the_finite_ones_whichever_seed_diverged(folder):
    table = rows(folder({"bcq": [(None, None)], "romi": [(0.787, 0.787)]}))
    assert table["bcq"]["return"] == "not finite in 1 of 1"
    assert table["romi"]["return"] == "0.7870"


@pytest.mark.training
def test_of_five_seeds_one_that_diverged_is_no_outlier_to_be_trimmed(folder):
    pytest.importorskip("rliable")
    table = rows(folder({"bcq": [(1, 1)] * 5, "romi": [(2, 2)] * 4 + [(2, None)]}))
    for column in ("return", "interquartile mean [95 %]", "score"):
        assert table["romi"][column] == "not finite in 1 of 5"
    assert table["bcq"]["interquartile mean [95 %]"] == "1.0 [1.0, 1.0]"
    assert table["romi - bcq"]["mean [95 %]"] == "not finite in 1 of 5"
    assert table["romi - bcq"]["Welch's [95 %]"] == "not finite"
    diverged = [[2.0]] * 4 + [[math.nan]]
    for estimate in (interquartile_mean, mean):
        assert all(map(math.isnan, estimate(diverged)))
    for values in (paired([1.0, math.nan]), welch([1.0, math.inf], [1.0, 2.0])):
        assert all(map(math.isnan, values))


def test_evidence_that_one_seed_lacks_is_no_mean_of_the_others(folder):
    written = folder({"bcq": [(1, 1), (1, 1)], "romi": [(1, 1), (1, 1)]})
    path = written / "maze-a-v0/romi/seed-1/result.json"
    path.write_text(
        path.read_text().replace('"q_real_mean": 3.0', '"q_real_mean": null')
    )
    table = rows(written)
    assert table["romi"]["Q, real rows"] == "not finite in 1 of 2"
    assert table["bcq"]["Q, real rows"] == "3"


def test_what_several_imaginations_measured_is_shown_for_each(folder):
    written = folder({"bcq": [(1, 1)], "romi": [(1, 1)]})
    path = written / "maze-a-v0/romi/seed-0/result.json"
    single = written / "maze-a-v0/bcq/seed-0/result.json"
    one = json.loads(single.read_text())
    one["metrics"][-1] |= {"romi_model_holdout_error": 0.5}
    single.write_text(json.dumps(one))
    content = json.loads(path.read_text())
    last = content["metrics"][-1]
    last |= {"romi_model_holdout_error": 0.25, "mopo_model_holdout_error": 0.75}
    last |= {"mopo_penalty_mean": 2.0}
    path.write_text(json.dumps(content))
    table = rows(written)
    assert table["romi"]["model's hold-out error, romi"] == "0.25"
    assert table["romi"]["model's hold-out error, mopo"] == "0.75"
    assert table["romi"]["penalty"] == "2"
    assert table["bcq"]["model's hold-out error, romi"] == "0.5"
    assert table["bcq"]["model's hold-out error, mopo"] == "-"


def test_the_legend_says_of_how_many_seeds_a_curve_has_gaps(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda f, *_, **__: drawn.append(f))
    evaluations = [
        [{"step": 10, "return": 1.0}, {"step": 20, "return": last}]
        for last in (3.0, None)
    ]
    methods = {
        "bcq": [Row(i, {"evaluations": e}, 1) for i, e in enumerate(evaluations)]
    }
    figures.draw_curves(Task("maze/a-v0", methods, None, None), 1, io.BytesIO())
    (axes,) = drawn[0].axes
    (line,) = axes.get_lines()
    assert line.get_ydata()[0] == 1
    assert math.isnan(line.get_ydata()[1])
    assert line.get_label() == "bcq (2 seeds, 1 with gaps: not finite)"


def test_welchs_interval_is_that_of_his_degrees_of_freedom():
    # Variances 1 and 4: 1/3 + 4/3; freedom (5/3)^2 / ((1/3)^2 / 2 + (4/3)^2 / 2) = 50/17.
    center, low, high = welch([1.0, 2.0, 3.0], [0.0, 2.0, 4.0])
    half = 3.2188 * (5 / 3) ** 0.5  # of Student's t at 2.941
    assert center == 0
    assert (low, high) == pytest.approx((-half, half), rel=1e-3)
    assert welch([2.0, 2.0], [1.0, 1.0]) == (1, 1, 1)


def test_an_interval_of_pairs_is_students():
    assert paired([1.0, 3.0]) == pytest.approx((2, 2 - 12.706, 2 + 12.706), rel=1e-4)
    assert math.isnan(paired([1.0])[1])


@pytest.mark.training
def test_intervals_are_the_same_each_time_and_hold_the_estimate():
    pytest.importorskip("rliable")
    scores = [[2**0.5 * i**1.5] for i in range(9)]
    assert interquartile_mean(scores) == interquartile_mean(scores)
    assert mean(scores) == mean(scores)
    point, low, high = mean(scores)
    assert 0 <= low < point < high <= 32
    assert mean([[7.0]] * 5) == (7.0, 7.0, 7.0)


def test_what_explains_the_returns_and_what_is_missing_is_said(folder):
    written = folder({"bcq": [(1, 1)], "romi": [(2, 2)]}, n_seeds=2)
    (written / "maze-a-v0/romi/seed-1.error.txt").write_text("Traceback\nBoom: no\n")
    table = rows(written)
    assert table["romi"]["Q, real rows"] == "3"
    assert table["romi"]["clipped"] == "0.5"
    report.write([written], written / "tables.md")
    text = (written / "tables.md").read_text()
    for line in (
        "2 of 4 runs of 30 gradient steps, 1.0 process-hours",
        "- Not run: maze-a-v0/romi/seed-1",
        "- Failed: maze-a-v0/romi/seed-1.error.txt: Boom: no",
        "- Paper's romi: Wang et al. 2021, Table 1.",
        "- Differs from the paper: smaller networks",
        "(tables-maze-a-v0.png)",
    ):
        assert line in text
    assert (written / "tables-maze-a-v0.png").read_bytes()[1:4] == b"PNG"


def test_pictures_and_folders_of_any_name_are_in_the_report(folder, tmp_path):
    study = folder({"bcq": [(10, 10)], "romi": [(20, 20)]})
    odd = tmp_path / os.fsdecode(b"odd \xe9 (1)")
    shutil.copytree(study, odd)
    done = reported(study, odd, "--out", odd / "my report (2).md")
    assert done.exit_code == 0, done.output
    text = (odd / "my report (2).md").read_text("utf-8")
    assert r"odd \udce9 (1)" in text
    links = re.findall(r"!\[.*\]\((\S+)\)\n", text)  # a space would end one
    assert [(odd / unquote(link)).exists() for link in links] == [True, True]


def test_a_folder_that_is_no_studys_is_refused(tmp_path):
    done = reported(tmp_path)
    assert done.exit_code == 1
    assert "study.toml" in done.stderr
    assert "Traceback" not in done.output


def test_several_studies_stand_one_below_the_other_and_are_never_averaged(
    folder, tmp_path
):
    first = folder({"bcq": [(10, 10)], "romi": [(20, 20)]})
    second = tmp_path / "second"
    shutil.copytree(first, second)
    path = second / "maze-a-v0/bcq/seed-0/result.json"
    path.write_text(path.read_text().replace("10", "90"))
    done = reported(first, second, "--out", tmp_path / "both.md")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "both.md").read_text()
    assert text.index(f"# {first}\n") < text.index(f"# {second}\n")
    for value in ("10.0", "90.0"):
        assert (
            f"| bcq | 1 | {value} | 45.0 |".replace("45.0", f"{float(value) / 2:.1f}")
            in text
        )
    assert "| 50.0 |" not in text
    for number in (1, 2):
        picture = f"both-{number}-maze-a-v0.png"
        assert f"({picture})" in text
        assert (tmp_path / picture).read_bytes()[1:4] == b"PNG"
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "[1, 2]", "a table"),
        (lambda text: text.replace('"return": 30', '"return": "30"'), "a number"),
        (lambda text: text.replace('"metrics": [', '"metrics": [3, '), "a table"),
        (lambda text: text.replace('"seconds"', '"secs"'), "seconds is None"),
        (lambda text: text.replace("[0.0, 200.0]", "[1]"), "two numbers"),
        (lambda text: text.replace('{"return": 7.0}', '"x"'), "final_evaluation"),
        (lambda text: re.sub(r'"step": 30, .*?\}', '"step": 30}', text), "a return"),
        (lambda text: re.sub(r', \{"step": 30, .*?\}', "", text), "none"),
        (
            lambda text: re.sub(r'"evaluations": .*?\]', '"evaluations": []', text),
            "none",
        ),
    ],
    ids=range(10),
)
def test_a_damaged_result_is_named_and_the_others_are_reported(folder, damage, why):
    written = folder({"bcq": [(10, 20), (30, 40)], "romi": [(50, 70)]}, 2)
    path = written / "maze-a-v0/bcq/seed-1/result.json"
    path.write_text(damage(path.read_text()))
    done = reported(written)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert str(path) in done.stderr
    if why != "none":
        assert "is damaged" in done.stderr
        assert why in done.stderr
    assert f"- Damaged: {path}" in done.stdout
    assert "| bcq | 1 | 15.0 |" in done.stdout
    assert "- Not run: maze-a-v0/romi/seed-1" in done.stdout
    assert "- Not run: maze-a-v0/bcq/seed-1" not in done.stdout


def test_mopos_committed_results_give_the_table_of_their_readme():
    table = rows(BENCHMARKS / "results/mopo-hopper-replay")
    returns = {
        "bc": "264 ± 51",
        "sac": "335 ± 30",
        "mbpo": "432 ± 48",
        "mopo": "469 ± 48",
    }
    for method, expected in returns.items():
        found = table[method]["return"].split(" ± ")
        assert " ± ".join(f"{float(value):.0f}" for value in found) == expected
    assert table["mopo"]["score"].startswith("15.0 ")


def test_of_the_metrics_of_a_result_only_what_is_no_float_is_asked(
    tmp_path, monkeypatch
):
    asked, require = [], records.require

    def noted(value, hint, where):
        asked.extend(value if hint == dict[str, float] else [])
        require(value, hint, where)

    monkeypatch.setattr(records, "require", noted)
    path = tmp_path / "result.json"
    metrics = [{"loss": 0.5, "rows": 3, "q": None} for _ in range(4)]
    write(path, content([1.0] * 4, metrics))
    assert records.read_scores(path)["metrics"] == metrics
    assert asked == ["rows"] * 4
    for wrong in ("many", True, [0.5]):
        metrics[2]["rows"] = wrong
        write(path, content([1.0] * 4, metrics))
        with pytest.raises(CompositionError, match="metrics.rows is .* a number"):
            records.read_scores(path)


@pytest.mark.parametrize("length", [8, 20, 40])
def test_the_legend_of_many_methods_stays_inside_the_picture(monkeypatch, length):
    drawn = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda f, *_, **__: drawn.append(f))
    row = Row(0, {"evaluations": [{"step": 10, "return": 1.0}]}, 1)
    methods = {f"{i}{'n' * length}": [row] for i in range(8)}
    figures.draw_curves(Task("maze/a-v0", methods, None, None), 1, io.BytesIO())
    (figure,) = drawn
    (legend,) = figure.legends
    inside = legend.get_window_extent()
    assert inside.x0 >= 0
    assert inside.x1 <= figure.bbox.width
    assert len(legend.get_texts()) == 8


def test_curves_are_drawn_beside_whatever_a_notebook_draws_with():
    backend = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        importlib.reload(figures)
        file = io.BytesIO()
        row = Row(0, {"evaluations": [{"step": 1, "return": 2.0}]}, 1)
        figures.draw_curves(Task("maze/a-v0", {"bcq": [row]}, None, None), 1, file)
        assert file.getvalue().startswith(b"\x89PNG")
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(backend)
