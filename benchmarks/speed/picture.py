"""The table as a picture: each ratio, in units of its goal."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(result: dict[str, Any], path: Path) -> None:
    rows = [row for row in reversed(result["rows"]) if row["ratio"]]
    figure, axes = plt.subplots(figsize=(11, 0.62 * len(rows) + 1.8))
    for i, row in enumerate(rows):
        fast = "fast" in row["goal"]
        goal = float(row["goal"].split()[1])
        low, middle, high = (
            row["ratio"][name] / goal if fast else goal / row["ratio"][name]
            for name in ("min", "median", "max")
        )
        color = "#2a7f62" if row["met"] else "#b5472f"
        axes.barh(i, middle, height=0.5, color=color)
        axes.plot([low, high], [i, i], color="black", linewidth=1.2)
        number = f"{row['ratio']['median']:.3g} {row['goal'].split('(')[1][:-1]}"
        axes.text(
            max(middle, low, high) * 1.04,
            i,
            f"{number}, goal {row['goal'].split(' (')[0]}",
            va="center",
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    labels = [f"{row['work']}\nagainst {row['against']}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.3, axes.get_xlim()[1] * 5)
    axes.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "goal", "2 x", "5 x", "10 x"])
    axes.minorticks_off()
    axes.set_xlabel("better than its goal by this factor (line: all rounds)")
    axes.spines[["top", "right"]].set_visible(False)
    machine = result["machine"]
    axes.set_title(
        f"{machine['processor']}, {machine['threads']} thread(s), "
        f"torch {result['versions']['torch']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
