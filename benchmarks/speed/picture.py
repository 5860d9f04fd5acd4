"""The table as a picture: how many times as fast as others' code, on one axis."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PEERS = ("OfflineRL-Kit", "d3rlpy")
MET, MISSED = "#2a7f62", "#b5472f"


def times_as_fast(row: dict[str, Any]) -> dict[str, float]:
    """Returns how many times as fast a row is, and should be: min, median, max, goal.

    A row of the kind "of theirs" holds the share of their time that we take.
    """
    sign, goal, kind = row["goal"].split(" ", 2)
    numbers = {**row["ratio"], "goal": float(goal)}
    if kind == "(times as fast)":
        return numbers
    assert (sign, kind) == ("<=", "(of theirs)"), row["goal"]
    inverse = {name: 1 / number for name, number in numbers.items()}
    return {**inverse, "min": inverse["max"], "max": inverse["min"]}


def compared_with_others(row: dict[str, Any]) -> bool:
    """Returns whether a row was measured, in time, against another project's code."""
    return bool(
        row["ratio"] and row["unit"] == "s" and row["against"].startswith(PEERS)
    )


def draw(result: dict[str, Any], path: Path) -> None:
    rows = [row for row in reversed(result["rows"]) if compared_with_others(row)]
    figure, axes = plt.subplots(figsize=(11, 0.6 * len(rows) + 2.2))
    for i, row in enumerate(rows):
        times = times_as_fast(row)
        # From 1, as fast: on a logarithmic axis a bar has no other honest beginning.
        axes.barh(
            i,
            times["median"] - 1,
            left=1,
            height=0.5,
            color=MET if row["met"] else MISSED,
        )
        axes.plot([times["min"], times["max"]], [i, i], color="black", lw=1.2)
        axes.plot([times["goal"]] * 2, [i - 0.35, i + 0.35], color="black", lw=2)
        axes.text(
            max(times["max"], times["goal"], 1) * 1.06,
            i,
            f"{times['median']:.3g} times as fast (goal {times['goal']:.3g})",
            va="center",
            fontsize=9,
        )
    labels = [
        f"{textwrap.fill(row['work'], 60)}\nagainst {row['against']}" for row in rows
    ]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    drawn = [number for row in rows for number in times_as_fast(row).values()]
    low, high = 0.9 * min([1, *drawn]), max([1, *drawn])
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= 1.5 * high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(low, 5 * high)  # to the right: the numbers
    axes.tick_params(axis="y", length=0)
    axes.minorticks_off()
    axes.set_xlabel(
        "times as fast as the other code (logarithmic; bar: median, line: all rounds, "
        "stroke: goal)\nWhat is measured against a bound of our own is in speed.json."
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    machine = result["machine"]
    axes.set_title(
        f"{machine['processor']}, {machine['threads']} thread(s), "
        f"torch {result['versions']['torch']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
