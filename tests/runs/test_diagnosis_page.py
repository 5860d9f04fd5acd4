"""A diagnosis as a page: its numbers, and names that would be markup."""

import dataclasses
import json

import d3rlpy
import pytest

from page_reader import PageReader

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from diagnosis_toys import ModelOfNoiseConfig, imagination_of, noisy_line

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.diagnosis.page import _imagined
from d3rlpy_mbo.runs.pages import html
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import BeyondTermination

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def diagnosis():
    d3rlpy.seed(0)
    data = noisy_line(n_episodes=20, length=35)
    imagination = imagination_of(data, ModelOfNoiseConfig(), penalty=MaxAleatoric())
    return mbo.diagnose(imagination, data, n_rollouts=50)


@pytest.fixture(scope="module")
def page(diagnosis, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "model.html"
    diagnosis.save_html(path)
    return PageReader(path), path


def test_every_number_in_the_page_is_that_of_to_json(diagnosis, page):
    read, _ = page
    assert read.data["diagnosis"] == json.loads(diagnosis.to_json())
    columns = diagnosis.one_step.columns
    for name, numbers in read.tables["One step, by column"][1:]:
        (its,) = (each for each in columns if each.name == name)
        expected = its.error, its.naive_error, its.bias, its.unexplained, its.spread
        assert numbers == [value for value in expected if value is not None]
    assert len(read.tables["One step, by column"]) == len(columns) + 1
    for name, numbers in read.tables["Calibration, by column"][1:]:
        (its,) = (c for c in diagnosis.calibration.columns if c.name == name)
        shares = its.within_one_std, its.within_two_stds, its.log_likelihood
        assert numbers == [*shares, *its.pit]
    loop = diagnosis.open_loop[0]
    for step, numbers in read.tables["3 steps along real actions"][1:]:
        i = int(step) - 1
        curves = loop.median, loop.low, loop.high, loop.standing_still, loop.finite
        assert numbers == [each[i] for each in curves]
    for (name, numbers), rank in zip(
        read.tables["Penalties"][1:], diagnosis.penalties, strict=True
    ):
        assert name.startswith(rank.name)
        ranks = rank.spearman, rank.null_spearman
        found = [*ranks, rank.worst_tenth, rank.null_worst_tenth]
        assert numbers == [value for value in found if value is not None]
    quantiles = dict(read.tables["Rewards, before the penalty"][1:])
    rewards = diagnosis.rollouts.rewards
    assert quantiles["imagined"] == [rewards.mean, rewards.std, *rewards.quantiles]


def test_a_chart_holds_the_numbers_in_full(diagnosis, page):
    read, _ = page
    spec = read.charts["3 steps along real actions"]
    values = spec["data"]["values"]
    drawn = [each["y"] for each in values if each["series"] == "model"]
    assert drawn == diagnosis.open_loop[0].median


def test_of_which_rows_a_halts_share_is_stands_below_the_chart(diagnosis):
    halting = dataclasses.replace(diagnosis.rollouts, halted=[0.5, 0.25, 0.5])
    halts = dataclasses.replace(diagnosis, rollouts=halting)
    for found, said in ((diagnosis, False), (halts, True)):
        charts = {chart.title: chart for chart in _imagined(found)}
        assert ("of its step" in charts["Rollouts that go on"].caption) == said


def test_what_is_judged_and_left_out_stands_in_the_page_in_words(diagnosis, page):
    read, _ = page
    for verdict in diagnosis.verdicts:
        assert verdict.text in read.text
    for text in diagnosis.left_out:
        assert text in read.text


def test_a_page_is_small_and_names_no_address_to_fetch_from(page):
    read, path = page
    assert path.stat().st_size < 5_000_000
    for tag, attributes in read.tags:
        assert tag not in ("img", "iframe", "object", "base", "form")
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, value)


def test_names_are_text_never_markup(diagnosis, tmp_path):
    name = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    columns = [
        dataclasses.replace(each, name=name) for each in diagnosis.one_step.columns
    ]
    hostile = dataclasses.replace(
        diagnosis,
        imagination=name,
        judged_on=name,
        one_step=dataclasses.replace(diagnosis.one_step, columns=columns),
        verdicts=[mbo.Verdict(name, False, name)],
        left_out=[name],
    )
    hostile.save_html(tmp_path / "model.html")
    diagnosis.save_html(tmp_path / "plain.html")
    read, plain = (PageReader(tmp_path / f) for f in ("model.html", "plain.html"))
    kinds = [tag for tag, _ in read.tags]
    assert "img" not in kinds
    assert kinds.count("script") == [tag for tag, _ in plain.tags].count("script")
    assert name in read.text


def test_a_diagnosis_comes_back_from_its_json(diagnosis):
    again = mbo.Diagnosis.from_json(diagnosis.to_json())
    assert again == diagnosis
    older = json.loads(diagnosis.to_json())
    del older["maze"]  # as it was before rollouts were drawn
    newer = {**json.loads(diagnosis.to_json()), "of the future": 1}
    for content in (older, newer):
        assert mbo.Diagnosis.from_json(json.dumps(content)) == diagnosis


@pytest.fixture(scope="module")
def cut_short():
    """Of five steps no rollout gets beyond the first: there all of them end."""
    d3rlpy.seed(0)
    data = noisy_line(n_episodes=10, length=10, limit=1.0)
    imagination = imagination_of(
        data,
        ModelOfNoiseConfig(),
        termination=BeyondTermination(-50.0),
        rollout_length=5,
    )
    return mbo.diagnose(imagination, data, n_rollouts=50)


def test_steps_that_no_rollout_reached_have_their_place_and_no_number(
    cut_short, tmp_path
):
    found = cut_short.rollouts
    assert found.survival == [1, 0, 0, 0, 0]
    for near in (found.states, found.actions):
        assert [each is None for each in near.median] == [False] + [True] * 4
        assert [each is None for each in near.high] == [False] + [True] * 4
    assert mbo.Diagnosis.from_json(cut_short.to_json()) == cut_short
    (line,) = (each for each in str(cut_short).splitlines() if "  step 5" in each)
    assert line.split()[4:] == ["-"] * 4
    (states,) = (each for each in cut_short.verdicts if each.subject == "states")
    assert "in step 1 are" in states.text
    cut_short.save_html(tmp_path / "model.html")
    read = PageReader(tmp_path / "model.html")
    first, *others, real = read.tables["Rollouts"][1:]
    assert len(first[1]) == 6
    alive = enumerate(found.real_survival, start=1)
    assert others == [(str(step), [0, real]) for step, real in alive][1:]
    assert len(real[1]) == 4


def test_a_file_from_before_such_steps_had_a_place_is_shown_alike(cut_short, tmp_path):
    older = json.loads(cut_short.to_json())
    for near in (older["rollouts"]["states"], older["rollouts"]["actions"]):
        near["median"], near["high"] = near["median"][:1], near["high"][:1]
    again = mbo.Diagnosis.from_json(json.dumps(older))
    assert str(again) == str(cut_short)
    for each, name in ((again, "old.html"), (cut_short, "new.html")):
        each.save_html(tmp_path / name)
    old, new = (PageReader(tmp_path / name) for name in ("old.html", "new.html"))
    assert old.tables == new.tables


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "[" * 100_000, "damaged"),
        (lambda text: "[]", "the fields of Diagnosis"),
        (lambda text: "{}", "lacks 'imagination'"),
        (
            lambda text: text.replace('"rows": ', '"rows": "x", "_": ', 1),
            "expected int",
        ),
        (
            lambda text: text.replace('"bias": ', '"bias": NaN, "_": ', 1),
            "expected float",
        ),
        (
            lambda text: text.replace('"bias": ', f'"bias": {"9" * 400}, "_": ', 1),
            "expected float",
        ),
        (
            lambda text: text.replace('"pit": [', '"pit": 3, "_": [', 1),
            "expected a list",
        ),
    ],
)
def test_json_that_is_no_diagnosis_is_refused_by_what_is_wrong(
    diagnosis, change, words
):
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.Diagnosis.from_json(change(diagnosis.to_json()))


def test_without_the_extra_a_page_is_refused_with_what_installs_it(
    diagnosis, tmp_path, monkeypatch
):
    monkeypatch.setattr(html, "_PACKAGES", ("altair", "no_such_package_for_pages"))
    with pytest.raises(mbo.CompositionError, match=r"d3rlpy-mbo\[report\]"):
        diagnosis.save_html(tmp_path / "model.html")
    assert not any(tmp_path.iterdir())
