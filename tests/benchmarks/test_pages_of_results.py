"""Numbers that pages state of studies are those of the files, rounded once."""

import json
import re
import statistics
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rliable")

from scipy import stats

from d3rlpy_mbo.study.intervals import welch
from d3rlpy_mbo.study.results import read_results

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TABLES = sorted(RESULTS.glob("discrete-*/README.md"))
PAGES = [ROOT / "benchmarks" / "RESULTS.md", *ROOT.glob("docs/methods/*.md")]

_N = r"-?[\d,]*\.?\d+"
_SPREAD = re.compile(rf"({_N}) ± ({_N})")
_ENDS = re.compile(rf"\[({_N}), ({_N})\]")
_NAMED = re.compile(rf"(DiscreteCQL|DiscreteBCQ|with \w+) ({_N}) ± ({_N})")
_BOTH = re.compile(
    rf"({_N})(?: returns)? \[({_N}), ({_N})\](?:;|, by) Welch \[({_N}), ({_N})\]"
)


def says(text: str, value: float, slack: float = 0.0) -> bool:
    """Returns whether a number is a value rounded once, to the places it is given with.

    Args:
        text: As it is written, with commas between thousands.
        value: What it should be.
        slack: What the value itself may be off by, where it was rounded before.
    """
    places = len(text.partition(".")[2])
    off = abs(float(text.replace(",", "")) - value)
    return off <= 0.5 * 10.0**-places + slack + 1e-9


def scores_of(folder: Path) -> dict[str, list[float]]:
    [task] = read_results(folder).tasks
    return {
        method: [row.score for row in rows] for method, rows in task.methods.items()
    }


def bootstraps_of(folder: Path) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Returns the ends of each difference's bootstrap, and what rounding made of them.

    As the committed report has them: ten thousand draws are too long for a test.
    """
    found = {}
    row = re.compile(rf"^\| (\S+) - (\S+) \| 5 \| .+? \| {_N} {_ENDS.pattern}", re.M)
    for one, other, low, high in row.findall((folder / "report.md").read_text()):
        slack = 0.5 * 10.0 ** -len(low.partition(".")[2])
        ends = [float(end.replace(",", "")) for end in (low, high)]
        found[one, other] = (*ends, slack)
    return found


def method_of(learner: str, label: str) -> str:
    """Returns a study's name for what a page calls "with ROMI", of one learner."""
    name = learner.removeprefix("Discrete").lower()
    words = ("uniform", "romi", "fomi", "mopo")
    return next((f"{name}-{word}" for word in words if word in label.lower()), name)


@pytest.mark.parametrize("page", TABLES, ids=lambda path: path.parent.name)
def test_a_table_of_returns_is_that_of_the_runs(page):
    text, folder = page.read_text(), page.parent
    unit = 1000 if "in thousands" in text else 1
    scores, bootstraps = scores_of(folder), bootstraps_of(folder)
    seen, learner = set(), ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or not _SPREAD.fullmatch(cells[1]):
            continue
        if cells[0].startswith("Discrete"):
            learner = cells[0]
        method = method_of(learner, cells[0])
        own, alone = scores[method], scores[method_of(learner, "")]
        seen.add(method)
        center, spread = _SPREAD.fullmatch(cells[1]).groups()
        assert says(center, statistics.mean(own) / unit), line
        assert says(spread, statistics.stdev(own) / unit), line
        if not cells[2]:
            continue
        mean, *ends = welch(own, alone)
        low, high, slack = bootstraps[method, method_of(learner, "")]
        assert says(cells[2], mean / unit), line
        for cell, truth, off in ((cells[3], (low, high), slack), (cells[4], ends, 0)):
            for end, value in zip(_ENDS.fullmatch(cell).groups(), truth, strict=True):
                assert says(end, value / unit, off / unit), line
    assert seen == set(scores)


def parts(page: Path) -> list[tuple[str, Path]]:
    """Returns what a page says of one study with choices each, and the study's folder.

    A row of RESULTS.md links its folder; on a method's page a folder stands in brackets
    behind what is said of it.
    """
    found = []
    for line in page.read_text().splitlines():
        links = set(re.findall(r"\(results/(discrete-[\w-]+)/README.md\)", line))
        found += [(line, RESULTS / name) for name in links]
        said = re.split(r"\(`(discrete-[\w-]+)`\)", line)
        named = zip(said[::2], said[1::2], strict=False)
        found += [(text, RESULTS / name) for text, name in named]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_returns_in_a_sentence_are_those_of_the_runs(page):
    for text, folder in parts(page):
        unit = 1000 if "in thousands" in text else 1
        scores, learner = scores_of(folder), ""
        for label, center, spread in _NAMED.findall(text):
            if label.startswith("Discrete"):
                learner = label
            own = scores[method_of(learner, label)]
            assert says(center, statistics.mean(own) / unit), (label, text)
            assert says(spread, statistics.stdev(own) / unit), (label, text)


def test_differences_with_both_intervals_are_those_of_a_study():
    """Of any study: a sentence need not name its folder."""
    folders = [path.parent for path in RESULTS.glob("*/report.md")]
    known = []
    for folder in folders:
        scores = scores_of(folder)
        for (one, other), (low, high, slack) in bootstraps_of(folder).items():
            mean, *ends = welch(scores[one], scores[other])
            known.append(((mean, low, high, *ends), (0, slack, slack, 0, 0)))
    n_seen = 0
    for page in PAGES:
        for line in page.read_text().splitlines():
            unit = 1000 if "in thousands" in line else 1
            for stated in _BOTH.findall(line):
                n_seen += 1
                assert any(
                    all(
                        says(text, value / unit, off / unit)
                        for text, value, off in zip(stated, *each, strict=True)
                    )
                    for each in known
                ), (page.name, stated)
    assert n_seen >= 6


def holm(folder: Path) -> dict[tuple[str, str], float]:
    """Returns what Holm's rule makes of the p of Welch's test of each comparison."""
    scores = scores_of(folder)
    pairs = tomllib.loads((folder / "study.toml").read_text())["compare"]
    p_values = {
        (one, other): float(
            stats.ttest_ind(scores[one], scores[other], equal_var=False).pvalue
        )
        for one, other in pairs
    }
    adjusted, largest = {}, 0.0
    for i, pair in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, (len(pairs) - i) * p_values[pair])
        adjusted[pair] = min(largest, 1.0)
    return adjusted


def test_what_stands_by_holms_rule_is_what_the_results_say():
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    said = re.findall(r"\((?:p )?(\.\d+)\)", text.split("by Holm's rule")[1])[:3]
    hiv, cart_pole = (holm(RESULTS / f"discrete-{of}") for of in ("hiv", "cartpole"))
    shown = [hiv["bcq-mopo", "bcq"], hiv["bcq-romi", "bcq-fomi"]]
    shown += [cart_pole["cql-romi", "cql"]]
    assert len(hiv) == len(cart_pole) == 8
    for text, p_value in zip(said, shown, strict=True):
        assert says(text, p_value)
    standing = [p for p in (*hiv.values(), *cart_pole.values()) if p < 0.05]
    assert standing == shown[:1]


STAGES = [
    ("BCQ", "romi-umaze-sparse", "bcq"),
    ("BCQ + ROMI", "romi-umaze-sparse", "romi"),
    ("BCQ + FOMI", "romi-umaze-sparse", "fomi"),
    ("BCQ + FOMI, the simulator as model", "romi-umaze-sparse", "fomi-simulator"),
    ("SAC", "mopo-hopper-50k", "sac"),
    ("MBPO (no penalty)", "mopo-hopper-50k", "mbpo"),
    ("MOPO, coef 1", "mopo-hopper-50k", "mopo"),
    ("SAC", "mopo-hopper-five-seeds-anew", "sac"),
    ("MBPO (no penalty)", "mopo-hopper-five-seeds-anew", "mbpo"),
    ("MOPO, coef 1", "mopo-hopper-five-seeds-anew", "mopo"),
    ("MOPO, coef 5", "mopo-hopper-five-seeds-anew", "mopo-5"),
    ("RAMBO, weight 3e-4", "rambo-hopper-replay", "rambo"),
    ("without any updates", "rambo-hopper-replay", "rambo-no-updater"),
]


def is_of(row: list[str], runs: Any) -> bool:
    """Returns whether a row has the scores and final returns of a method's runs."""
    per_seed, final = row[4].split(", "), row[5]
    scores = [run.score for run in runs]
    if len(per_seed) != len(runs) or not all(map(says, per_seed, scores)):
        return False
    for cell, values in ((row[1], scores), (final, [run.final_return for run in runs])):
        center, spread = _SPREAD.fullmatch(cell).groups()
        if not says(center, statistics.mean(values)):
            return False
        if not says(spread, statistics.stdev(values)):
            return False
    return True


def test_the_tables_of_stages_are_those_of_the_runs():
    lines = (ROOT / "benchmarks" / "RESULTS.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    labels = {label for label, _, _ in STAGES}
    # Those of one seed have no spread.
    left = [row for row in rows if row[0] in labels and " ± " in row[1]]
    for label, folder, method in STAGES:
        [task] = read_results(RESULTS / folder).tasks
        runs = task.methods[method]
        found = [row for row in left if row[0] == label and is_of(row, runs)]
        assert len(found) == 1, (label, folder)
        left.remove(found[0])
    assert not left


TRUTHS = ("at the data's edge", "0.05 wider")
POLICIES = {
    "RAMBO, coef 3e-4": "rambo_0.0003",
    "RAMBO, coef 3e-2": "rambo_0.03",
    "RAMBO, coef 0.3": "rambo_0.3",
    "the same, coef 0": "coef_0",
    "no updater": "no_updater",
    "SAC on the data alone": "sac",
    "COMBO, beta 5": "combo",
}


def test_the_single_transitions_tables_are_those_of_the_files():
    folders = ("single-transition", "single-transition-two-truths")
    for folder, n_truths in zip(folders, (1, 2), strict=True):
        text = (RESULTS / folder / "README.md").read_text()
        known = json.loads((RESULTS / folder / "single_transition.json").read_text())
        seen = set()
        for label, method in POLICIES.items():
            name = method if method in known else method.removesuffix("_0.0003")
            for row in re.findall(rf"^\| {re.escape(label)}[^|]*\| (.+)$", text, re.M):
                seen.add(name)
                scores = known[name]["scores"]
                of_truths = [scores] if n_truths == 1 else [scores[t] for t in TRUTHS]
                for cell, values in zip(row.split(" | "), of_truths, strict=False):
                    center, spread = _SPREAD.fullmatch(cell).groups()
                    assert says(center, statistics.mean(values)), row
                    assert says(spread, statistics.stdev(values)), row
        assert seen == set(known)
