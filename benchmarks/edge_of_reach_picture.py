"""Q minus what followed, by rollout index: as a table, and as a picture."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # a file, whatever screen there is

from matplotlib import pyplot as plt
from matplotlib.ticker import ScalarFormatter

from d3rlpy_mbo.study.intervals import paired

__all__ = ["draw_edges", "edges_table", "interval"]

_KINDS = ("real", "interior", "edge")
_COLUMNS = 5

# Of every run: what edge_of_reach.json holds, and its seed.
Runs = Sequence[Mapping[str, Any]]
Found = Mapping[str, Runs]


def edges_table(found: Found, pairs: Sequence[Sequence[str]] = ()) -> str:
    """Returns three tables: by method and index, and two of pairs of methods.

    Args:
        found: Of each method.
        pairs: The study's `compare`.
    """
    lines = [
        "Q is the least of the critics at the greedy action; what follows is discounted. "
        "Means over states, then ± the standard deviation over seeds.",
        "",
        "| method | index | | states a seed | Q | what followed | Q minus what followed "
        "| per seed | in a wall |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, runs in found.items():
        for index, kind in _places(runs):
            rows = [_row(run, index, kind) for run in runs]
            known = [row for row in rows if row is not None]
            differences = [row["difference"] for row in known]
            share = sum(r["in_walls"] for r in known) / sum(r["states"] for r in known)
            cells = [
                method,
                str(index),
                kind,
                f"{statistics.mean(r['states'] for r in known):.0f}",
                f"{statistics.mean(r['q'] for r in known):.1f}",
                f"{statistics.mean(r['monte_carlo'] for r in known):.1f}",
                _spread(differences),
                ", ".join(f"{value:.1f}" for value in differences),
                f"{share:.1%}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The same index, one run minus another of its seed and direction; where that is an "
        "edge to one and interior to the other, the edge comes first, and a second row has "
        "the same without what the two differ by at index 0, at real states: the part that "
        "is the edge's own. Intervals are Student's, over seeds.",
        "",
        "| methods | index | | mean | above 0 | per seed |",
        "|---|---|---|---|---|---|",
    ]
    for pair in pairs:
        lines += _same_index_rows(found, pair)
    lines += [
        "",
        "A run without edges, at the index where its Q exceeds what followed most, minus "
        "one of its seed with edges, at those; then without what they differ by at index "
        "0.",
        "",
        "| methods | mean | below 0 | per seed |",
        "|---|---|---|---|",
    ]
    for pair in pairs:
        lines += _level_rows(found, pair)
    return "\n".join(lines) + "\n"


def _same_index_rows(found: Found, pair: Sequence[str]) -> list[str]:
    """Returns a row an index that both judged; none where directions differ."""
    first, second = pair
    directions = {_direction(found[name]) for name in pair if name in found}
    if len(directions) != 1 or first not in found or second not in found:
        return []
    shared = _shared_places(found[first], found[second])
    if any(kind != "edge" == other for _, kind, other in shared):
        first, second = second, first  # the one with the edge comes first
        shared = _shared_places(found[first], found[second])
    lines = []
    for index, kind, other in shared:
        both = [
            (ours["difference"] - theirs["difference"], _level(a, b))
            for a, b in _of_one_seed(found[first], found[second])
            if (ours := _row(a, index, kind)) and (theirs := _row(b, index, other))
        ]
        cells = [f"{first} - {second}", str(index), f"{kind} - {other}"]
        lines += _rows_beside_the_level(cells, both, sign=1)[: 1 + (kind != other)]
    return lines


def _level(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Returns what two runs differ by at index 0, where states are real to both."""
    ours, theirs = (_row(run, 0, "real") for run in (first, second))
    return float(ours["difference"] - theirs["difference"])


def _rows_beside_the_level(
    cells: list[str], both: Sequence[tuple[float, float]], sign: int
) -> list[str]:
    """Returns a line of differences, and one of what is left of them without the level.

    Args:
        cells: What is compared; the last cell gets the words.
        both: Of each seed the difference, and what there is at index 0.
        sign: Which differences are counted: 1 those above 0, -1 those below.
    """
    lines = []
    for values, words in (
        ([value for value, _ in both], ""),
        ([value - level for value, level in both], ", beyond index 0"),
    ):
        counted = sum(sign * value > 0 for value in values)
        lines += _seeds_row([*cells[:-1], cells[-1] + words], values, counted)
    return lines


def _shared_places(first: Runs, second: Runs) -> list[tuple[int, str, str]]:
    """Returns (index, kind of the first, kind of the second) where both have states."""
    return [
        (index, kind, other)
        for index, kind in _places(first)
        for at, other in _places(second)
        if at == index
    ]


def _level_rows(found: Found, pair: Sequence[str]) -> list[str]:
    """Returns a row where one of the two has edges and the other none."""
    with_edges = [name for name in pair if _edges(found.get(name, []))]
    without = [name for name in pair if name in found and name not in with_edges]
    if len(with_edges) != 1 or len(without) != 1:
        return []
    both = [
        (
            max(row["difference"] for row in a["by_index"])
            - statistics.mean(_edges([b])),
            _level(a, b),
        )
        for a, b in _of_one_seed(found[without[0]], found[with_edges[0]])
        if _edges([b])
    ]
    return _rows_beside_the_level([f"{without[0]} - {with_edges[0]}"], both, sign=-1)


def _direction(runs: Runs) -> Any:
    return runs[0]["direction"]


def _edges(runs: Runs) -> list[float]:
    rows = [row for run in runs for row in run["by_index"]]
    return [float(row["difference"]) for row in rows if row["kind"] == "edge"]


def _of_one_seed(
    first: Runs, second: Runs
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return [(a, b) for a in first for b in second if a["seed"] == b["seed"]]


def _seeds_row(cells: list[str], values: Sequence[float], n_as_said: int) -> list[str]:
    """Returns a line of the table, none without a seed."""
    if not values:
        return []
    each = ", ".join(f"{value:.1f}" for value in values)
    said = f"{n_as_said} of {len(values)}"
    return [f"| {' | '.join([*cells, interval(values), said, each])} |"]


def interval(values: Sequence[float]) -> str:
    """Returns a mean with its 95 % t-interval, as text; of one value, that alone."""
    mean, low, high = paired(values)
    return f"{mean:.1f}" if len(values) < 2 else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _places(runs: Runs) -> list[tuple[int, str]]:
    found = {(each["index"], each["kind"]) for run in runs for each in run["by_index"]}
    return sorted(found, key=lambda place: (place[0], _KINDS.index(place[1])))


def _row(run: Mapping[str, Any], index: int, kind: str) -> Any:
    """Returns what a run says of an index and kind, None if it has no such state."""
    for each in run["by_index"]:
        if (each["index"], each["kind"]) == (index, kind):
            return each
    return None


def draw_edges(found: Found, path: Path) -> None:
    """Draws a panel a method: a line a seed, and a ring around every edge.

    Args:
        found: What is drawn.
        path: A PNG.
    """
    n_rows = -(-len(found) // _COLUMNS)
    figure, grid = plt.subplots(
        n_rows,
        min(_COLUMNS, len(found)),
        figsize=(3 * min(_COLUMNS, len(found)) + 0.6, 2.7 * n_rows + 0.7),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axes, (method, runs) in zip(grid.flat, found.items(), strict=False):
        for run in runs:
            _draw_run(axes, run["by_index"], f"C{run['seed'] % 10}")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_yscale("symlog", linthresh=10)  # collapsed critics reach thousands
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set_title(method, fontsize=10)
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in list(grid.flat)[len(found) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("Q minus what followed", fontsize=9)
    figure.supxlabel("steps of the rollout from its real state (0)", fontsize=9)
    figure.suptitle(
        "A line a seed; a ring: states at the edge, which rows lead to and none leaves",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_run(axes: Any, rows: Sequence[Mapping[str, Any]], color: str) -> None:
    rows = sorted(rows, key=lambda row: row["index"])
    places = [row["index"] for row in rows]
    differences = [row["difference"] for row in rows]
    axes.plot(places, differences, "o-", color=color, markersize=3, linewidth=1)
    edges = [row for row in rows if row["kind"] == "edge"]
    axes.plot(
        [row["index"] for row in edges],
        [row["difference"] for row in edges],
        "o",
        color=color,
        markersize=9,
        fillstyle="none",
    )
