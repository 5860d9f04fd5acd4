"""Times everything against d3rlpy and OfflineRL-Kit, and prints one table.

    python benchmarks/speed/run.py [--offlinerl-kit PATH] [--out DIR] [--threads N]
        [--parts PART ...]

Each row is the median ratio of alternating rounds. Rows of OfflineRL-Kit need a
checkout of github.com/yihaosun1124/OfflineRL-Kit and are skipped without one. Twenty
minutes on one quiet core. DIR gets speed.json and speed.png, anew after each row;
with --parts, rows of other parts stay as they are there.
"""

import argparse
import json
import logging
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import learning
import many_rows
import numpy as np
import picture
import rollouts
import sampling
import steps
import structlog
import torch
import training
import updates
from measuring import Row
from peer import OfflineRLKit
from task import half_cheetah

import d3rlpy_mbo as mbo

PARTS = [
    "training",
    "rollouts",
    "adversary",
    "learning",
    "steps",
    "sampling",
    "many_rows",
    "wide_rows",
]


def rows(kit: Optional[OfflineRLKit], parts: list[str]) -> Iterator[Row]:
    dataset = half_cheetah(30)
    data = mbo.Transitions.from_dataset(dataset).for_models()
    for part in parts:
        if part == "training":
            yield from training.rows(data, kit)
        elif part == "sampling":
            yield from sampling.rows()
        elif part == "many_rows":
            yield from many_rows.rows()
        elif part == "wide_rows":
            yield from many_rows.wide_rows()
        else:
            modules: dict[str, Any] = {
                "rollouts": rollouts,
                "adversary": updates,
                "steps": steps,
            }
            module = modules.get(part, learning)
            yield from module.rows(dataset, kit)


def machine() -> dict[str, Any]:
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": f"{names[0]}, {len(names)} cores" if names else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def line(row: Row) -> str:
    result: dict[str, Any] = row.as_dict()
    name = f"{row.work}\n    against {row.against}"
    if row.ratio is None:
        return f"{name}\n    skipped: needs --offlinerl-kit PATH"
    ratio, ours, theirs = result["ratio"], result["ours"], result["theirs"]
    return (
        f"{name}\n    {ratio['median']:.3g} {row.goal.kind} "
        f"({ratio['min']:.3g} to {ratio['max']:.3g}), goal {row.goal}: "
        f"{'met' if result['met'] else 'NOT MET'}; ours {ours['median']:.4g}, "
        f"theirs {theirs['median']:.4g} {row.unit}, {result['rounds']} rounds"
        + (f"; {row.note}" if row.note else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offlinerl-kit", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    # Nobody talks while being timed.
    warnings.simplefilter("ignore")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    torch.set_num_threads(arguments.threads)
    d3rlpy.seed(0)
    path = arguments.offlinerl_kit
    kit = None if path is None else OfflineRLKit(path)
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "d3rlpy": d3rlpy.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "rows": [],
    }
    if arguments.parts != PARTS and arguments.out is not None:
        result["rows"] = kept(arguments.out)
    for row in rows(kit, arguments.parts):
        print(line(row), flush=True)
        put(row.as_dict(), result["rows"])
        if arguments.out is not None:
            write(result, arguments.out)


def kept(directory: Path) -> list[dict[str, Any]]:
    """Returns the rows of an earlier run, of which some parts are measured anew."""
    path = directory / "speed.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def put(row: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Replaces the row of the same work, or adds it."""
    for i, each in enumerate(rows):
        if (each["work"], each["against"]) == (row["work"], row["against"]):
            rows[i] = row
            return
    rows.append(row)


def write(result: dict[str, Any], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "speed.json").write_text(json.dumps(result, indent=1) + "\n")
    picture.draw(result, directory / "speed.png")


if __name__ == "__main__":
    main()
