"""BC, SAC, MBPO and MOPO on one dataset and seed, in one command.

    python benchmarks/mopo.py --dataset ID --settings FILE --seed S --out DIR

One JSON a method, DIR/METHOD-seedS.json, written when it is complete; a run that is
there is skipped, so the same command continues after an interruption. The dynamics
are fitted once a seed (DIR/dynamics-seedS.mbo) and shared by MBPO and MOPO.
`--report` prints the table of everything in DIR.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import tomllib
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.configs import encode
from d3rlpy_mbo.datasets import reference_scores
from d3rlpy_mbo.experiment import learner_configs, versions
from d3rlpy_mbo.files import atomic_write
from d3rlpy_mbo.metrics import normalized_score
from d3rlpy_mbo.settings import apply_settings
from d3rlpy_mbo_mopo import MOPOConfig


def imagination(
    method: str,
    dataset: Any,
    env: Any,
    settings: dict[str, Any],
    model: Path,
    seed: int,
) -> list[mbo.Imagination]:
    """None for BC and SAC; MOPO with the seed's model, without its penalty as MBPO."""
    if method in ("bc", "sac"):
        return []
    if not model.exists():
        d3rlpy.seed(seed)
        config = MOPOConfig(termination=mbo.termination_for(env))
        mopo = apply_settings(config, settings).create()
        mopo.fit(dataset)
        mopo.save(model)
    loaded = mbo.load_imagination(model)
    if method == "mbpo":
        loaded.config.penalty = None
    return [loaded]


class QValue:
    """Mean of the learner's Q at fixed real rows; NaN for BC, which has none."""

    def __init__(self, dataset: Any):
        rows = mbo.Transitions.from_dataset(dataset)
        some = np.linspace(0, len(rows) - 1, 2000).astype(int)
        self.rows = rows.observations[some].numpy(), rows.actions[some].numpy()

    def __call__(self, algo: Any, dataset: Any) -> float:
        if isinstance(algo, d3rlpy.algos.BC):
            return float("nan")
        return float(algo.predict_value(*self.rows).mean())


def run(
    method: str, dataset_id: str, study: dict[str, Any], seed: int, out: Path
) -> None:
    started = time.perf_counter()
    dataset, env = mbo.load_minari(dataset_id)
    imagined = imagination(
        method,
        dataset,
        env,
        study["imagination"],
        out / f"dynamics-seed{seed}.mbo",
        seed,
    )
    d3rlpy.seed(seed)
    name = "bc" if method == "bc" else "sac"
    learner: Any = apply_settings(learner_configs()[name](), study["learner"]).create()
    epochs = mbo.fit(
        learner,
        dataset,
        imagined,
        study["n_steps"],
        n_steps_per_epoch=study["n_steps_per_epoch"],
        env=env,
        n_trials=study["n_trials"],
        evaluators={"q_value_mean": QValue(dataset)},
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    returns = [metrics["environment"] for _, metrics in epochs]
    score = statistics.mean(returns[-study["n_last"] :])
    scores = reference_scores(dataset_id)
    result = {
        "method": method,
        "seed": seed,
        "dataset": dataset_id,
        "study": study,
        "returns": returns,
        "return": score,
        "normalized_score": normalized_score(score, scores) if scores else None,
        "imagination": [encode(each.config) for each in imagined],
        "metrics": [
            {k: float(v) if np.isfinite(v) else None for k, v in metrics.items()}
            for _, metrics in epochs
        ],
        "seconds": time.perf_counter() - started,
        "versions": versions(),
    }
    with atomic_write(out / f"{method}-seed{seed}.json") as file:
        file.write(json.dumps(result, indent=1, allow_nan=False).encode())


def report(out: Path) -> None:
    results = [
        json.loads(path.read_text()) for path in sorted(out.glob("*-seed*.json"))
    ]
    print(f"{'method':8} {'seeds':>5} {'return':>16} {'score':>7}  per seed")
    for method in dict.fromkeys(r["method"] for r in results):
        rows = [r for r in results if r["method"] == method]
        values = [r["return"] for r in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        scores = [
            r["normalized_score"] for r in rows if r["normalized_score"] is not None
        ]
        score = f"{statistics.mean(scores):7.1f}" if scores else "      -"
        each = ", ".join(f"{value:.0f}" for value in values)
        print(
            f"{method:8} {len(rows):5} {statistics.mean(values):8.1f} +- {spread:5.1f} "
            f"{score}  {each}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset")
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.out)
        return
    if arguments.dataset is None or arguments.settings is None:
        parser.error("--dataset and --settings are needed to run")
    torch.set_num_threads(1)  # networks this small gain nothing from more
    study = tomllib.loads(arguments.settings.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    for method in study["methods"]:
        if (arguments.out / f"{method}-seed{arguments.seed}.json").exists():
            print(f"{method}, seed {arguments.seed}: already there")
            continue
        run(method, arguments.dataset, study, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
