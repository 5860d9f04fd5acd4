"""Q minus what followed, by rollout index: as a table, and as a picture."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import matplotlib

matplotlib.use("Agg")  # a file, whatever screen there is

from matplotlib import pyplot as plt
from matplotlib.ticker import ScalarFormatter

from d3rlpy_mbo.study.intervals import paired

__all__ = ["draw_edges", "edges_table", "interval"]

_KINDS = ("real", "interior", "edge")
_COLUMNS = 5

# Of every run: what edge_of_reach.json holds, and its seed.
Found = Mapping[str, Sequence[Mapping[str, Any]]]


def edges_table(found: Found) -> str:
    """Returns the table: a row a method and index, means and deviations over seeds."""
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
        "The edge less the mean of the interior indices, run by run, with a 95 % "
        "t-interval over seeds.",
        "",
        "| method | edge minus interior | per seed |",
        "|---|---|---|",
    ]
    for method, runs in found.items():
        by_seed = [_edge_less_interior(run["by_index"]) for run in runs]
        values = [value for value in by_seed if value is not None]
        if values:
            each = ", ".join(f"{value:.1f}" for value in values)
            lines.append(f"| {method} | {interval(values)} | {each} |")
    return "\n".join(lines) + "\n"


def _edge_less_interior(rows: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Returns the difference of two means over indices, None where a kind is missing."""
    edges, interior = (
        [float(row["difference"]) for row in rows if row["kind"] == kind]
        for kind in ("edge", "interior")
    )
    if not edges or not interior:
        return None
    return statistics.mean(edges) - statistics.mean(interior)


def interval(values: Sequence[float]) -> str:
    """Returns a mean with its 95 % t-interval, as text; of one value, that alone."""
    mean, low, high = paired(values)
    return f"{mean:.1f}" if len(values) < 2 else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _places(runs: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
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
